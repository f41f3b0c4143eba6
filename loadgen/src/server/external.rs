//! An external server, started from a command line in which the listening port replaces `{port}`.
//! Owns its start and its CPUs. Must not know what is measured.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::observe::host;
use crate::server::embedded::{EngineError, prepare};
use crate::server::process::{ServerProcess, end_now};

/// The placeholder for the port in a command line.
pub const PORT: &str = "{port}";
/// The longest time a server may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// The arguments of the hidden subcommand `launch`.
#[derive(Debug, Clone, clap::Args)]
pub struct LaunchArgs {
    /// CPUs to run on, e.g. `0,1`; empty for any.
    #[arg(long, value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// The parent process; the server ends when it ends.
    #[arg(long)]
    pub parent: i32,
    /// The program to execute, with its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum ExternalServerError {
    /// The operating system refused.
    #[error("`{command}` could not be started: {cause}")]
    System {
        /// The command line.
        command: String,
        /// Why.
        cause: io::Error,
    },
    /// It ended, or it does not listen.
    #[error("`{command}` {what}; does it listen on 127.0.0.1:{{port}}?")]
    Silent {
        /// The command line.
        command: String,
        /// What it did.
        what: String,
    },
}

/// Starts a command line on these CPUs and waits until it listens. The line is split as a shell
/// does. It must become the server itself, without a wrapper, because this process is the one that
/// is measured.
///
/// # Errors
/// When it cannot be started, ends, or does not listen in time.
pub fn start(
    command: &str,
    cpus: &[usize],
    log: File,
) -> Result<ServerProcess, ExternalServerError> {
    let system = |cause| ExternalServerError::System { command: command.to_owned(), cause };
    let port = free_port().map_err(system)?;
    let line = format!("exec {}", command.replace(PORT, &port.to_string()));
    let mut launch = Command::new(std::env::current_exe().map_err(system)?);
    launch.args(["launch", "--parent", &std::process::id().to_string()]);
    if !cpus.is_empty() {
        launch.args(["--cpus", &host::cpu_list(cpus)]);
    }
    launch.args(["--", "sh", "-c", &line]);
    launch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
    let mut child = launch.spawn().map_err(system)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match await_listening(&mut child, address) {
        Ok(()) => Ok(ServerProcess::new(child, address)),
        Err(what) => {
            end_now(&mut child);
            Err(ExternalServerError::Silent { command: command.to_owned(), what })
        }
    }
}

/// The port is free now; another process could take it before the server does, which is unlikely.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn await_listening(child: &mut Child, address: SocketAddr) -> Result<(), String> {
    for _ in 0..START_DEADLINE.as_millis() / POLL.as_millis() {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("ended at once ({status})"));
        }
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    Err(format!("took no connection within {} s", START_DEADLINE.as_secs()))
}

/// The main function of the process that becomes the server: ties its life to the parent, raises
/// its limits, sets its CPUs.
///
/// # Errors
/// When the system refuses any of that; on success this does not return.
pub fn launch(args: &LaunchArgs) -> Result<(), EngineError> {
    prepare(Some(args.parent), &args.cpus)?;
    let Some((program, arguments)) = args.command.split_first() else { return Ok(()) };
    let cause = Command::new(program).args(arguments).exec();
    Err(EngineError::System { action: "started", cause })
}
