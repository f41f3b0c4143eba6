//! InfluxDB 1.x of Debian on a port of its own. Must not share code with the bridge.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::harness::process::skip;
use super::process::{Process, free_port, installed, wait_for, wait_for_port};

/// The database of the tests.
pub const DATABASE: &str = "grid";

/// A running server.
pub struct InfluxDb {
    program: String,
    directory: TempDir,
    port: u16,
    process: Process,
    /// What queries show.
    user: Option<(&'static str, &'static str)>,
}

impl InfluxDb {
    /// Starts one with a database; none where it is not installed.
    pub fn start() -> Option<Self> {
        let Some(program) = installed(&["/usr/bin/influxd"]) else {
            skip("InfluxDB", "apt-get install influxdb");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let (port, backup) = (free_port(), free_port());
        let root = directory.path().display();
        let settings = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{backup}\"\n\
             [meta]\ndir = \"{root}/meta\"\n\
             [data]\ndir = \"{root}/data\"\nwal-dir = \"{root}/wal\"\n\
             [http]\nbind-address = \"127.0.0.1:{port}\"\nauth-enabled = AUTH\n\
             log-enabled = false\n"
        );
        fs::write(directory.path().join("open.conf"), settings.replace("AUTH", "false")).unwrap();
        fs::write(directory.path().join("auth.conf"), settings.replace("AUTH", "true")).unwrap();
        let process = spawn(&program, &directory, "open.conf");
        wait_for_port(port);
        let server = Self { program, directory, port, process, user: None };
        server.post("/query", &format!("q=CREATE DATABASE {DATABASE}"));
        Some(server)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it had.
    pub fn restart(&mut self) {
        self.start_with("open.conf");
    }

    /// Starts it again; from now on it asks who is there.
    pub fn restart_with_users(&mut self, user: &'static str, password: &'static str) {
        let query = format!("q=CREATE USER {user} WITH PASSWORD '{password}' WITH ALL PRIVILEGES");
        self.post("/query", &query);
        self.kill();
        self.start_with("auth.conf");
        self.user = Some((user, password));
    }

    fn start_with(&mut self, settings: &str) {
        self.process = spawn(&self.program, &self.directory, settings);
        wait_for_port(self.port);
    }

    /// The answer to a query, as CSV without its head.
    pub fn query(&self, query: &str) -> Vec<String> {
        let (status, body) = self.post("/query", &format!("db={DATABASE}&epoch=ns&q={query}"));
        assert_eq!(status, 200, "{query}: {body}");
        body.lines().skip(1).map(str::to_owned).collect()
    }

    /// The only figure of an answer; zero where there is none yet.
    pub fn figure(&self, query: &str) -> u64 {
        let rows = self.query(query);
        let last = rows.first().and_then(|row| row.rsplit(',').next());
        last.map_or(0, |figure| figure.parse().unwrap())
    }

    /// Waits until a query has this figure.
    pub fn wait_for_figure(&self, query: &str, figure: u64) {
        let mut last = 0;
        wait_for(&format!("{figure} of {query}"), Duration::from_secs(60), || {
            last = self.figure(query);
            last >= figure
        });
        assert_eq!(last, figure, "{query}");
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let credentials = self.user.map(|(user, password)| format!("?u={user}&p={password}"));
        let path = format!("{path}{}", credentials.unwrap_or_default());
        let body = body.replace(' ', "+");
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nAccept: application/csv\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

fn spawn(program: &str, directory: &TempDir, settings: &str) -> Process {
    let mut command = Command::new(program);
    command.arg("-config").arg(directory.path().join(settings)).env("HOME", directory.path());
    Process::start(&mut command, &directory.path().join("log"))
}
