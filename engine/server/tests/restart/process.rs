//! The program as a process, and the next one that takes over from it. Owns their logs. Must not
//! know what clients do.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long a step may take on a machine that does much else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Where generations of the program meet.
pub(crate) struct Place {
    directory: TempDir,
    arguments: Vec<String>,
}

impl Place {
    pub(crate) fn new(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("next");
        let mut arguments: Vec<String> =
            ["--listen", "127.0.0.1:0", "--cores", "2", "--log", "json", "--set"]
                .map(str::to_owned)
                .into();
        arguments.push(format!("server.handover={}", socket.display()));
        arguments.extend(["--set", "drain.window_ms=0"].map(str::to_owned));
        for setting in settings {
            arguments.extend(["--set", setting].map(str::to_owned));
        }
        Self { directory, arguments }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("next")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The next generation, once it listens.
    pub(crate) fn start(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridcast"));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, log) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A log that nobody looks at any more.
                let _ = tell.send(line);
            }
        });
        let mut process = Process { child, log, address: ([127, 0, 0, 1], 0).into() };
        let said = process.said("listening");
        process.address = said["address"].as_str().unwrap().parse().unwrap();
        process
    }
}

/// One generation.
pub(crate) struct Process {
    child: Child,
    log: Receiver<String>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Waits for a line that begins with this message.
    pub(crate) fn said(&mut self, message: &str) -> Value {
        let mut before = Vec::new();
        loop {
            let Ok(line) = self.log.recv_timeout(DEADLINE) else {
                panic!("not said: {message:?}, but\n{}", before.join("\n"));
            };
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            if said["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return said;
            }
            before.push(line);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
