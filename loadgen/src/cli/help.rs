//! The output of `--help`: each command shows its own flags and the most used flags of a load; all
//! flags of a load are on a separate page, `gridload help load`. Must not parse anything.

use clap::{Args, Command, CommandFactory, FromArgMatches};

use crate::cli::command::Cli;
use crate::cli::options::RunOptions;

/// Parses the command line, or ends the process with help or an error message.
pub fn parse() -> Cli {
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The command line as its help shows it.
pub fn command() -> Command {
    let load = load_flags();
    let command = shorten(Cli::command(), &load, SHOWN_FIRST);
    command.mut_subcommands(|command| match command.get_name() {
        PAGE => command,
        "run" | "check" => shorten(command, &load, SHOWN),
        _ => shorten(command, &load, &[]),
    })
}

/// Hides the flags of a load, except those that are `shown`.
fn shorten(command: Command, load: &[String], shown: &[&str]) -> Command {
    command.mut_args(|arg| {
        let id = arg.get_id().as_str();
        let is_hidden = load.iter().any(|flag| flag == id) && !shown.contains(&id);
        if is_hidden { arg.hide(true) } else { arg }
    })
}

fn load_flags() -> Vec<String> {
    let all = RunOptions::augment_args(Command::new(PAGE));
    all.get_arguments().map(|arg| arg.get_id().to_string()).collect()
}

/// The page with all flags of a load.
const PAGE: &str = "load";

/// The flags of a load shown next to the list of commands.
const SHOWN_FIRST: &[&str] = &["subscribers", "duration", "out"];

/// The most used flags of a load.
const SHOWN: &[&str] = &[
    "subscribers",
    "publishers",
    "rate",
    "set",
    "duration",
    "target",
    "target_pid",
    "out",
    "html",
];

#[cfg(test)]
mod tests {
    use super::*;

    const LINES_MAX: usize = 60;
    const COLUMNS_MAX: usize = 80;

    /// The help of each command, as printed.
    fn pages() -> Vec<(String, String)> {
        let shown = |line: &[&str]| {
            let error = command().try_get_matches_from(line).expect_err("help is no command");
            error.to_string()
        };
        let all = command();
        let names = all.get_subcommands().filter(|sub| !sub.is_hide_set()).map(Command::get_name);
        let pages = names.map(|name| (name.to_owned(), shown(&["gridload", name, "--help"])));
        pages.chain([("gridload".to_owned(), shown(&["gridload", "--help"]))]).collect()
    }

    #[test]
    fn every_page_of_help_fits_eighty_columns_and_sixty_lines() {
        let mut wrong = Vec::new();
        for (name, page) in pages() {
            let wide = page.lines().filter(|line| line.chars().count() > COLUMNS_MAX);
            wrong.extend(wide.map(|line| format!("{name}: {line}")));
            let lines = page.lines().count();
            if name != PAGE && lines > LINES_MAX {
                wrong.push(format!("{name}: {lines} lines\n{page}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn all_flags_of_a_load_are_on_its_page_alone() {
        let pages = pages();
        let (_, load) = pages.iter().find(|(name, _)| name == PAGE).unwrap();
        for flag in load_flags().iter().filter(|flag| *flag != "parent") {
            let flag = format!("--{}", flag.replace('_', "-"));
            assert!(load.contains(&flag), "{flag}");
        }
        let (_, capacity) = pages.iter().find(|(name, _)| name == "capacity").unwrap();
        assert!(!capacity.contains("--connect-rate"), "{capacity}");
        assert!(Cli::try_parse(["gridload", "capacity", "--connect-rate", "9"]).is_ok());
    }

    impl Cli {
        fn try_parse<const N: usize>(line: [&str; N]) -> Result<Self, clap::Error> {
            Self::from_arg_matches(&command().try_get_matches_from(line)?)
        }
    }

    #[test]
    fn the_page_has_every_key_of_every_overlay() {
        let text = crate::cli::pages::LOAD.split_whitespace().collect::<Vec<_>>().join(" ");
        for overlay in crate::scenario::overlay::ALL {
            let (_, after) = text.split_once(&format!(" {} ", overlay.name())).unwrap();
            assert!(after.contains(&overlay.keys().join(", ")), "{}", overlay.name());
        }
    }
}
