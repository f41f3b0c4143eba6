//! The command line: its `--help` is the manual's first page. Reads the layers of settings, checks
//! them if asked to, and says what to do; the engine is started by whoever calls `run`.

use crate::engine::Engine;
use crate::settings::config::Config;
use crate::settings::layers::{Settings, SettingsError};
use crate::settings::logging;
use crate::settings::reload::Reloader;
use crate::status;
use crate::wire::close;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A WebSocket broadcast engine: many publishers, very many subscribers, every frame encoded once.
///
/// Without a command it serves until SIGTERM or SIGINT, then drains; a second signal ends it at
/// once. SIGHUP has it read its settings again. Subscribe at /v1/feed/{topic or pattern}, publish
/// at /v1/publish/{topic}; look at /healthz, /readyz and /metrics.
///
/// Settings come from four layers, the later wins: defaults, the file of --config, environment
/// variables GRIDCAST_{SECTION}_{KEY}, flags. `gridcast config --print` shows each one with its
/// meaning, its range and where its value came from.
#[derive(Debug, Parser)]
#[command(name = "gridcast", version, max_term_width = 80, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    layers: Layers,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
  gridcast                                        on 127.0.0.1:9400
  gridcast --config /etc/gridcast/gridcast.toml
  gridcast --listen 127.0.0.1:9500 --cores 2 --set limits.topics_max=1000
  gridcast config --print";

/// Settings by flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct Layers {
    /// A file of settings, in TOML
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where clients connect: server.listen
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    listen: Option<String>,
    /// Event loops, 0 is one for each CPU: server.cores
    #[arg(long, value_name = "NUMBER", global = true)]
    cores: Option<String>,
    /// The form of log lines: log.format
    #[arg(long, value_name = "FORM", global = true)]
    log: Option<LogForm>,
    /// Any setting, as in limits.message_bytes_max=4096; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", global = true)]
    set: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    /// For a person
    Text,
    /// One object a line, for a collector
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check settings, or print them all with their meaning, range and origin
    Config(ConfigArgs),
    /// Print the WebSocket close codes, and what a client should do after each
    CloseCodes,
    /// Look at the back-plane, as a running node sees it
    #[command(subcommand)]
    Backplane(BackplaneCommand),
}

#[derive(Debug, Subcommand)]
enum BackplaneCommand {
    /// Print what the node counts; exit code 1 where it is not connected
    Status(StatusArgs),
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Where the node is asked; by default where the settings say that it listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// The file of a token that may administer, where the node wants one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true)]
struct ConfigArgs {
    /// Check FILE (or else that of --config) with the other layers and the files they name
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    check: Option<Option<PathBuf>>,
    /// Print the settings in effect, as a file that could be used again
    #[arg(long)]
    print: bool,
}

/// Settings are wrong, as are command lines.
const EXIT_USAGE: u8 = 2;

/// What a program makes of its settings.
pub trait Program {
    /// Why it did not start or did not go on.
    type Error: Display;

    /// Checks what only this program understands.
    ///
    /// # Errors
    /// Everything that is wrong.
    fn check(&self, config: &Config) -> Result<(), SettingsError>;

    /// Runs the engine until it is done.
    ///
    /// # Errors
    /// Why it could not.
    fn serve(self, config: Config, reloader: Reloader) -> Result<(), Self::Error>;
}

/// Does what the command line says.
pub fn run(cli: Cli, program: impl Program) -> ExitCode {
    match cli.command {
        None => start(cli.layers, program),
        Some(Command::Config(args)) => config(&cli.layers, &args, &program),
        Some(Command::CloseCodes) => print(&close::table()),
        Some(Command::Backplane(BackplaneCommand::Status(args))) => status(&cli.layers, &args),
    }
}

fn status(layers: &Layers, args: &StatusArgs) -> ExitCode {
    let read = layers.read(None).and_then(|settings| Config::new(&settings));
    let config = match read {
        Ok(config) => config,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    let listens = config.admin.listen.unwrap_or(config.server.listen);
    let address = args.address.unwrap_or(listens);
    let token = args.token_file.as_deref().map(fs::read_to_string).transpose();
    let asked = token.and_then(|token| status::ask(address, token.as_deref().map(str::trim)));
    match asked {
        Ok(status) if status.is_up => print(&status.text),
        Ok(status) => {
            print(&status.text);
            ExitCode::FAILURE
        }
        Err(error) => fail(1, format!("{address}: {error}")),
    }
}

fn start(layers: Layers, program: impl Program) -> ExitCode {
    let read = layers.read(None).and_then(|settings| Ok((Config::new(&settings)?, settings)));
    let read = read.and_then(|(config, settings)| {
        program.check(&config)?;
        Ok((config, settings))
    });
    let (config, settings) = match read {
        Ok(read) => read,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    let (level, mut lines) = match logging::init(&config.log) {
        Ok(log) => log,
        Err(error) => return fail(1, error),
    };
    let reloader = Reloader::new(settings, Box::new(move || layers.read(None)), level);
    let code = match program.serve(config, reloader) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail_on(&mut lines, 1, error),
    };
    lines.wait_written();
    code
}

fn config(layers: &Layers, args: &ConfigArgs, program: &impl Program) -> ExitCode {
    let file = args.check.as_ref().and_then(Option::as_deref);
    let settings = match layers.read(file) {
        Ok(settings) => settings,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    let config = match Config::new(&settings) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_USAGE, error),
    };
    if args.check.is_some()
        && let Err(error) = check_files(&config, program)
    {
        return fail(EXIT_USAGE, error);
    }
    print(if args.print { settings.print() } else { "settings are valid\n".to_owned() }.as_str())
}

/// As a start would read them; what that would only warn of is told as well.
fn check_files(config: &Config, program: &impl Program) -> Result<(), SettingsError> {
    let log = logging::init(&config.log).map_err(|error| SettingsError(vec![error.to_string()]));
    let (_, lines) = log?;
    let checked = SettingsError::both(Engine::check(config), program.check(config)).map(drop);
    lines.wait_written();
    checked
}

impl Layers {
    fn read(&self, file: Option<&Path>) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        if let Some(path) = file.or(self.config.as_deref()) {
            let name = path.display();
            let text = fs::read_to_string(path)
                .map_err(|error| SettingsError(vec![format!("cannot read {name}: {error}")]))?;
            settings.add_file(&name.to_string(), &text);
        }
        // A variable that is not Unicode is nobody's setting.
        let unicode = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        settings.add_environment(unicode);
        self.add_flags(&mut settings)?;
        Ok(settings)
    }

    fn add_flags(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        let log = self.log.and_then(|form| form.to_possible_value());
        for (flag, name, text) in [
            ("--listen", "server.listen", self.listen.as_deref()),
            ("--cores", "server.cores", self.cores.as_deref()),
            ("--log", "log.format", log.as_ref().map(|form| form.get_name())),
        ] {
            if let Some(text) = text {
                settings.add_flag(flag, name, text);
            }
        }
        for assignment in &self.set {
            let Some((name, text)) = assignment.split_once('=') else {
                let message = format!("--set {assignment}: write it SECTION.KEY=VALUE");
                return Err(SettingsError(vec![message]));
            };
            settings.add_flag("--set", name.trim(), text.trim());
        }
        Ok(())
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // `gridcast config --print | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(1, error),
    }
}

fn fail(code: u8, error: impl Display) -> ExitCode {
    fail_on(&mut io::stderr(), code, error)
}

fn fail_on(output: &mut impl Write, code: u8, error: impl Display) -> ExitCode {
    for line in error.to_string().lines() {
        // The exit code tells it as well, and there is no other place to say so.
        let _ = output.write_all(format!("gridcast: {line}\n").as_bytes());
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::cell::RefCell;

    /// The settings a command line would serve with.
    fn run_line(line: &str) -> Result<Config, String> {
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        let settings = cli.layers.read(None).map_err(|error| error.to_string())?;
        Config::new(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn every_page_of_help_fits_eighty_columns_and_sixty_lines() {
        for line in ["--help", "-h", "config --help", "close-codes --help"] {
            let line = [&["gridcast"], &*line.split(' ').collect::<Vec<_>>()].concat();
            let page = Cli::try_parse_from(&line).unwrap_err().to_string();
            assert!(page.lines().count() <= 60, "{page}");
            assert!(page.lines().all(|row| row.chars().count() <= 80), "{page}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_the_last_layer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.toml");
        fs::write(&path, "[server]\ncores = 7\nlisten = \"127.0.0.1:1\"\n").unwrap();
        let line = format!(
            "gridcast --config {} --listen 127.0.0.1:2 --log json --set debug.echo=true",
            path.display()
        );
        let config = run_line(&line).unwrap();
        assert_eq!(config.server.cores, 7);
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.log.format, crate::settings::config::LogFormat::Json);
        assert!(config.debug.echo);
    }

    #[test]
    fn wrong_lines_are_refused_in_words() {
        for (line, part) in [
            ("gridcast --config /nowhere/g.toml", "cannot read /nowhere/g.toml: "),
            ("gridcast --set debug.echo", "write it SECTION.KEY=VALUE"),
            ("gridcast --set debug.ech=true", "did you mean `debug.echo`?"),
            ("gridcast --cores many", "must be 0 to 1024 threads (flag --cores)"),
            ("gridcast --log xml", "invalid value 'xml'"),
            ("gridcast config", "required"),
        ] {
            let error = run_line(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn serving_gets_the_settings_and_its_failure_the_exit_code() {
        struct Seen<'a>(&'a RefCell<Option<Config>>);
        impl Program for Seen<'_> {
            type Error = String;

            fn check(&self, _: &Config) -> Result<(), SettingsError> {
                Ok(())
            }

            fn serve(self, config: Config, _: Reloader) -> Result<(), String> {
                self.0.replace(Some(config));
                Ok(())
            }
        }
        let seen = RefCell::new(None);
        let cli = Cli::parse_from(["gridcast", "--listen", "0.0.0.0:1"]);
        assert_eq!(run(cli, Seen(&seen)), ExitCode::from(EXIT_USAGE));
        assert!(seen.borrow().is_none(), "an unsafe address must not be served");
    }

    #[test]
    fn the_sample_file_is_generated_from_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gridcast.toml");
        let expected = SAMPLE_HEAD.to_owned() + &Settings::default().print() + SAMPLE_ROWS;
        if std::env::var_os("UPDATE_SAMPLE").is_some() {
            fs::write(&path, &expected).unwrap();
        }
        let sample = fs::read_to_string(&path).unwrap();
        assert_eq!(
            sample, expected,
            "UPDATE_SAMPLE=1 cargo test -p gridcast-engine writes it anew"
        );
        let mut settings = Settings::default();
        settings.add_file("gridcast.toml", &sample);
        assert_eq!(Config::new(&settings), Ok(Config::default()));
    }

    const SAMPLE_HEAD: &str = "\
# Settings of gridcast. Every value here is the default: keep the lines you change.
# Each may also be given as GRIDCAST_{SECTION}_{KEY} in the environment, or by
# --set section.key=value.

";

    const SAMPLE_ROWS: &str = r##"
# Topics with needs of their own. The first class whose pattern matches a topic holds for it; what
# it does not say, [retention] says.
#
# [[retention.class]]
# pattern = "alarms/#"
# bytes_max = 16777216
# age_ms_max = 86400000
# lag = "skip-to-oldest"

# Tokens without a signature, for few clients. One of token, token_file and sha256 says which it is;
# a pattern covers topics and narrower patterns, and topics that start with $ only if it does too.
#
# [[auth.token]]
# name = "wall"
# token_file = "/etc/gridcast/wall.token"
# subscribe = ["#", "$sys/#"]
# publish = []
# admin = false
# publishes_per_s = 0
"##;
}
