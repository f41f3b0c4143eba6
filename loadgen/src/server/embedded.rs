//! The embedded engine. It is a separate process, because an engine inside the measuring process
//! would falsify the results. Owns its start, its life and its end, in the parent and in the child.
//! Must not know what is measured.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use thiserror::Error;

use gridcast::engine::serve;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;

use crate::observe::host;
use crate::plan::layout::Layout;
use crate::server::process::{ServerProcess, end_now};

/// The arguments of the hidden subcommand `engine`.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArgs {
    /// The address to listen on; port 0 takes a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Event-loop threads.
    #[arg(long, default_value_t = 1)]
    pub cores: usize,
    /// CPUs to run on, e.g. `0,1`; empty for any.
    #[arg(long, value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// The parent process; the engine ends when it ends.
    #[arg(long)]
    pub parent: Option<i32>,
    /// Settings of the engine, as in `retention.bytes_max=65536`.
    #[arg(long)]
    pub set: Vec<String>,
}

/// Why the engine did not start or stop properly.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The operating system refused.
    #[error("the embedded engine could not be {action}: {cause}")]
    System {
        /// The operation that failed.
        action: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// The engine did not announce its address.
    #[error("the embedded engine did not say where it listens: {0}")]
    Silent(String),
    /// The parent ended before the engine had started.
    #[error("the process that started this engine is gone")]
    Orphaned,
    /// The engine failed to start or to run.
    #[error("the embedded engine: {0}")]
    Failed(String),
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> EngineError {
    move |cause| EngineError::System { action, cause }
}

/// What the engine prints, followed by its address, once it accepts connections.
const READY: &str = "listening ";
/// The longest time an engine may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// The connections that an engine takes unless it is told otherwise.
pub fn connections_default() -> u64 {
    Config::default().limits.connections_max as u64
}

/// Starts this executable as an engine and waits until it listens. Must be called from the main
/// thread: the kernel kills the child when the thread that started it ends.
pub fn launch(layout: &Layout, set: &[String], log: File) -> Result<ServerProcess, EngineError> {
    let executable = std::env::current_exe().map_err(system("found"))?;
    let mut command = Command::new(executable);
    let cores = layout.engine_cores.max(1).to_string();
    let parent = std::process::id().to_string();
    command.args(["engine", "--listen", "127.0.0.1:0", "--cores", &cores]);
    command.args(["--parent", &parent]);
    if let Some(cpus) = &layout.engine_cpus {
        command.args(["--cpus", &host::cpu_list(cpus)]);
    }
    command.args(set.iter().flat_map(|assignment| ["--set", assignment]));
    spawn(command, log)
}

fn spawn(mut command: Command, log: File) -> Result<ServerProcess, EngineError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // Ctrl-C must not reach the engine, because it has to run until the orderly end of the run.
    command.process_group(0);
    let mut child = command.spawn().map_err(system("started"))?;
    let answer = match child.stdout.take() {
        Some(stdout) => await_address(stdout),
        None => Err("it has no standard output".to_owned()),
    };
    match answer {
        Ok(address) => Ok(ServerProcess::new(child, address)),
        Err(reason) => {
            end_now(&mut child);
            Err(EngineError::Silent(reason))
        }
    }
}

/// Reads the line with the address in its own thread. The thread then discards all further output,
/// so that the engine can never block on a full pipe.
fn await_address(stdout: ChildStdout) -> Result<SocketAddr, String> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let outcome = stdout.by_ref().take(256).read_line(&mut line);
        // If the receiver has given up, this thread only discards output.
        let _ = sender.send(outcome.map(|_| line));
        // A read error means that the engine has ended; `Process` detects that.
        let _ = io::copy(&mut stdout, &mut io::sink());
    };
    let named = thread::Builder::new().name("engine-stdout".into());
    named.spawn(read).map_err(|error| error.to_string())?;
    match receiver.recv_timeout(START_DEADLINE) {
        Ok(Ok(line)) => parse_ready(&line),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("nothing was said within {} s", START_DEADLINE.as_secs())),
    }
}

fn parse_ready(line: &str) -> Result<SocketAddr, String> {
    let address = line.trim_end().strip_prefix(READY).and_then(|rest| rest.parse().ok());
    address.ok_or_else(|| match line.trim_end() {
        "" => "it ended at once".to_owned(),
        said => format!("it said `{said}`"),
    })
}

/// Prints the address of this engine for the parent. To be called when connections are accepted.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{READY}{address}")?;
    stdout.flush()
}

/// The main function of the engine process: ties its life to the parent, raises its limits, sets
/// its CPUs.
pub fn serve(args: &EngineArgs) -> Result<(), EngineError> {
    prepare(args.parent, &args.cpus)?;
    let mut settings = Settings::default();
    settings.add_flag("--listen", "server.listen", &args.listen.to_string());
    settings.add_flag("--cores", "server.cores", &args.cores.to_string());
    for (name, value) in args.set.iter().filter_map(|assignment| assignment.split_once('=')) {
        settings.add_flag("--engine-set", name.trim(), value.trim());
    }
    let config = Config::new(&settings).map_err(|error| EngineError::Failed(error.to_string()))?;
    // Without the line of the address the parent gives up and ends this process.
    serve::run(config, None, |engine| announce(engine.address()))
        .map_err(|error| EngineError::Failed(error.to_string()))
}

/// Ties this process to its parent, raises its limits, sets its CPUs.
///
/// # Errors
/// When the system refuses any of that.
pub fn prepare(parent: Option<i32>, cpus: &[usize]) -> Result<(), EngineError> {
    if let Some(parent) = parent
        && !host::tie_to(parent).map_err(system("tied to its parent"))?
    {
        return Err(EngineError::Orphaned);
    }
    host::raise_descriptor_limit().map_err(system("given more descriptors"))?;
    if cpus.is_empty() { Ok(()) } else { host::pin(cpus).map_err(system("pinned")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::server::process::ended_well;

    fn shell(script: &str) -> Result<ServerProcess, EngineError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        spawn(command, tempfile::tempfile().unwrap())
    }

    #[test]
    fn an_engine_that_announces_itself_is_reached_and_stopped() {
        let script = "trap 'exit 0' TERM; echo listening 127.0.0.1:4321; \
                      while :; do sleep 0.01; done";
        let mut engine = shell(script).unwrap();
        assert_eq!(engine.address(), "127.0.0.1:4321".parse().unwrap());
        assert!(engine.ended().is_none() && engine.pid() > 1);
        assert!(ended_well(engine.stop().unwrap()));
    }

    #[test]
    fn an_engine_that_ends_at_once_is_no_engine() {
        let error = shell("exit 3").err().unwrap().to_string();
        assert!(error.contains("it ended at once"), "{error}");
        let error = shell("echo hello").err().unwrap().to_string();
        assert!(error.contains("it said `hello`"), "{error}");
    }

    #[test]
    fn an_engine_that_ends_by_itself_is_noticed() {
        let engine = shell("echo listening 127.0.0.1:1; read x; exit 7").unwrap();
        // Standard input is closed, so the script ends. The wait must not send a signal to another
        // process that got the same pid.
        let status = engine.stop().unwrap();
        assert!(status.code() == Some(7) || status.signal() == Some(15), "{status}");
    }

    #[test]
    fn an_orphan_does_not_serve() {
        let args = EngineArgs {
            listen: "127.0.0.1:0".parse().unwrap(),
            cores: 1,
            cpus: Vec::new(),
            set: Vec::new(),
            parent: Some(i32::MAX),
        };
        // In its own thread, because the death signal is tied to the thread that requested it.
        let served = thread::spawn(move || serve(&args).unwrap_err().to_string()).join().unwrap();
        assert_eq!(served, "the process that started this engine is gone");
    }
}
