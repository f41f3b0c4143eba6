//! The process of a server that this program started: its life and its end. Must not know what it
//! serves or how it was started.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The longest time a stopped server may take to drain its sockets; longer than the server's own
/// deadline.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Wraps a child process that listens.
    pub fn new(child: Child, address: SocketAddr) -> ServerProcess {
        ServerProcess { child, address }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to stop, waits, and kills it if it does not stop.
    ///
    /// # Errors
    /// When the operating system refuses a signal.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended() {
            return Ok(status);
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        for _ in 0..STOP_DEADLINE.as_millis() / POLL.as_millis() {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        end_now(&mut self.child);
    }
}

/// Kills a child and waits for it.
pub fn end_now(child: &mut Child) {
    // Both fail only if the process has already ended, which is the goal here.
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether a process ended normally: by the signal that asked it to stop, or by itself without an
/// error.
pub fn ended_well(status: ExitStatus) -> bool {
    status.success() || status.signal() == Some(Signal::TERM.as_raw())
}
