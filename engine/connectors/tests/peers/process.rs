//! A server of somebody else as a child of the test: in a directory of its own, on ports of its
//! own, with its output in a file. Owns its end: by its own id, whatever the test does.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a server may take to start: two processors may be busy with a compiler.
const START: Duration = Duration::from_secs(90);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// A process and all that it started, which end with this.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`, whose output goes to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        use std::os::unix::process::CommandExt;
        let output = File::options().create(true).append(true).open(log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(output.try_clone().unwrap());
        let child = command.stderr(output).process_group(0).spawn().unwrap();
        Self { child }
    }

    /// As the kernel does it when memory is short: no word to anybody.
    pub fn kill(&mut self) {
        let group = Pid::from_raw(self.child.id() as i32).unwrap();
        // It may be gone already.
        let _ = kill_process_group(group, Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until somebody listens on a port.
pub fn wait_for_port(port: u16) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for(&format!("port {port}"), START, || TcpStream::connect(address).is_ok());
}

/// Waits until `holds`.
pub fn wait_for(what: &str, time: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < time, "{what}: not within {} s", time.as_secs());
        std::thread::sleep(POLL);
    }
}

/// Runs a command to its end and answers what it printed.
pub fn output_of(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{error}", output.status);
    text
}

/// The first of these files that is there.
pub fn installed(candidates: &[&str]) -> Option<String> {
    candidates.iter().find(|path| fs::metadata(path).is_ok()).map(|path| (*path).to_owned())
}
