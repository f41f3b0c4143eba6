//! Servers of other people as children of a test: found, started on a free port, killed, started
//! again. Owns that none outlives its test. Must not know any server.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::wait_until;

/// Where Debian puts servers besides.
const PATHS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The path of a program. None where it is not installed: then the test is skipped, loudly, unless
/// `scripts/bridges` has said that it is there.
pub fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(PATHS.map(PathBuf::from));
    let found = directories.map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(program, package);
    }
    found
}

/// Says loudly that a test is skipped for want of something, and how that is had.
pub fn skip(what: &str, how: &str) {
    assert!(env::var_os("GRIDCAST_SERVERS").is_none(), "no {what} here: {how}");
    // Past the capture of the test runner: nobody reads what a test that passed has printed.
    let line = format!("SKIPPED: a test of a bridge needs {what}: {how}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server, running or not.
pub struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    /// Where it listens.
    pub port: u16,
    /// Where it keeps its files, and its log.
    pub directory: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Starts `program` once its files are there. `arguments` are made of port and directory.
    pub fn start(program: PathBuf, arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let (port, directory) = (free_port(), TempDir::new().unwrap());
        let arguments = arguments(port, directory.path());
        let mut server = Self { program, arguments, port, directory, child: None };
        server.again();
        server
    }

    /// Starts it once more, where and with what it was.
    pub fn again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let wait = Duration::from_secs(1);
        let is_up = || TcpStream::connect_timeout(&address, wait).is_ok();
        wait_until("listening", || self.read_log(), is_up);
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks it for something by a signal.
    pub fn signal(&self, name: &str) {
        let mut command = Command::new("kill");
        command.args([&format!("-{name}"), &self.id().to_string()]);
        assert!(command.status().unwrap().success());
    }

    /// What it said so far.
    pub fn read_log(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes a file that a server or a bridge reads, and answers its path.
pub fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
