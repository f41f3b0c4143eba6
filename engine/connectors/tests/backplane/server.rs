//! Real servers of these tests: a child on a free port of 127.0.0.1 with a directory of its own,
//! which can be stopped, killed, started again and robbed of its store. Must not know what is
//! tested.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nats,
    Redis,
}

/// A server of one test.
#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    program: PathBuf,
    directory: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts one; none, loudly, where it is not installed.
    pub fn start(kind: Kind) -> Option<Self> {
        let Some(program) = find(kind) else {
            let (name, package) = match kind {
                Kind::Nats => ("nats-server 2.10 or newer", "scripts/backplane --install"),
                Kind::Redis => ("redis-server 7 or newer", "apt-get install redis-server"),
            };
            // Past the capture of the test runner, where nobody would read it.
            let line = format!("SKIPPED: a test of the back-plane needs {name}: {package}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { kind, program, directory, port, child: None };
        server.begin();
        Some(server)
    }

    pub fn url(&self) -> String {
        let scheme = if self.kind == Kind::Nats { "nats" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Starts it again, on the same port and store.
    pub fn begin(&mut self) {
        let mut command = Command::new(&self.program);
        let (store, port) = (self.store(), self.port.to_string());
        fs::create_dir_all(&store).unwrap();
        match self.kind {
            Kind::Nats => {
                command.args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"]).arg(&store);
            }
            Kind::Redis => {
                command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
                command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]);
                command.arg(&store);
            }
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        until("the server to answer", || self.answers());
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut answer = [0; 4];
        if self.kind == Kind::Redis && stream.write_all(b"PING\r\n").is_err() {
            return false;
        }
        stream.read(&mut answer).is_ok_and(|count| count > 0 && answer[0] != b'-')
    }

    /// The first message that the log still has; none where it has none.
    pub fn first_message(&self) -> Option<u64> {
        let (question, before, after) = match self.kind {
            Kind::Nats => (
                "CONNECT {}\r\nSUB answer 1\r\n\
                 PUB $JS.API.STREAM.INFO.gridcast-gridcast answer 0\r\n\r\n",
                "\"first_seq\":",
                ",",
            ),
            Kind::Redis => ("XRANGE gridcast.gridcast.0 - + COUNT 1\r\n", "\r\n0-", "\r\n"),
        };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.write_all(question.as_bytes()).unwrap();
        let (mut answer, mut buffer) = (String::new(), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            answer.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if let Some((_, rest)) = answer.split_once(before)
                && let Some((number, _)) = rest.split_once(after)
            {
                return number.parse().ok();
            }
        }
        None
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// It answers no more, and keeps its connections.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn remove_store(&self) {
        fs::remove_dir_all(self.store()).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// From the directory of `scripts/backplane --install`, or from the path.
fn find(kind: Kind) -> Option<PathBuf> {
    let names: &[&str] = match kind {
        Kind::Nats => &["nats-server"],
        Kind::Redis => &["redis-server", "valkey-server"],
    };
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
        .join("backplane/venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = [target].into_iter().chain(std::env::split_paths(&path)).collect();
    let all = names.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    all.into_iter().find(|program| program.is_file())
}
