//! The program as a process of its own: started, stopped, ended in every way. Must not know what a
//! test expects.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::hearing::DEADLINE;

/// See the file header.
pub struct Server {
    child: Child,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl Server {
    /// A server of one core with these settings, on a free port.
    pub fn start(settings: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridcast"));
        // Settings of whoever runs the tests are not those of the tests.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GRIDCAST") {
                command.env_remove(name);
            }
        }
        command.args(["--listen", "127.0.0.1:0", "--cores", "1", "--log", "json"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("a line that it listens").unwrap();
            let said: Value = serde_json::from_str(&line).unwrap();
            if said["message"] == "listening" {
                break said["address"].as_str().unwrap().parse().unwrap();
            }
        };
        // A full pipe would stop its log.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Publishes by other means than the client's; answers the epoch.
    pub fn post(&self, topic: &str, text: &str) -> String {
        let (host, length) = (self.address, text.len());
        let answer = self.ask(&format!(
            "POST /v1/publish/{topic} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
        ));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["epoch"].as_str().unwrap().to_owned()
    }

    pub fn metric(&self, name: &str) -> u64 {
        let host = self.address;
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = self.ask(&head);
        let lines = answer.lines().filter_map(|line| line.rsplit_once(' '));
        let mut found = lines.filter(|(own, _)| *own == name);
        found.next().map_or(0, |(_, value)| value.parse().unwrap())
    }

    /// The body of an answer.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is what some tests leave behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
