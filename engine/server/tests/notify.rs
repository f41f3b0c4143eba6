//! What the program tells the service manager that started it, as a manager hears it: a socket of
//! the test's own stands for systemd. Must not test what is drained or read again.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program, and what hears it.
struct Managed {
    child: Child,
    socket: UnixDatagram,
    directory: TempDir,
}

impl Managed {
    fn start(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let settings = directory.path().join("gridcast.toml");
        fs::write(&settings, "[drain]\ndeadline_ms = 7000\n").unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gridcast"))
            .args(["--listen", "127.0.0.1:0", "--cores", "2", "--config"])
            .arg(settings)
            .env("NOTIFY_SOCKET", path)
            .env("GRIDCAST_SERVER_HANDOVER", directory.path().join("next"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, socket, directory }
    }

    fn settings(&self) -> PathBuf {
        self.directory.path().join("gridcast.toml")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The next message.
    fn hear(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message that has a line which starts so.
    fn hear_of(&self, start: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            let told = self.hear();
            if told.lines().any(|line| line.starts_with(start)) {
                return told;
            }
        }
        panic!("nothing of {start}");
    }

    /// All messages up to the next that has a line which starts so.
    fn hear_until(&self, start: &str) -> String {
        let begun = Instant::now();
        let mut told = String::new();
        while begun.elapsed() < DEADLINE {
            told.push_str(&self.hear());
            if told.lines().any(|line| line.starts_with(start)) {
                return told;
            }
        }
        panic!("nothing of {start}: {told}");
    }

    /// Who takes over, which is said to be started at once.
    fn hear_of_successor(&self) -> Pid {
        let told = self.hear_of("MAINPID=");
        assert!(told.contains("READY=1\n"), "{told}");
        successor(&told)
    }

    /// How it ended; whatever it told meanwhile is read, so that it never waits for this.
    fn end(&mut self) -> ExitStatus {
        self.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            // That nothing came in so short a time says nothing.
            let _ = self.socket.recv(&mut [0; 1024]);
        }
        panic!("it does not end");
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // A passing test has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn start_reload_and_drain_are_told_in_their_order() {
    let mut managed = Managed::start(&[]);
    assert_eq!(managed.hear(), "READY=1\n");
    assert_eq!(managed.hear(), "STATUS=serving; connections: 0\n");
    managed.signal(Signal::HUP);
    let reloading = managed.hear_of("RELOADING=1");
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(time.expect("a time").parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(managed.hear(), "READY=1\n");
    managed.signal(Signal::TERM);
    let stopping = managed.hear_of("STOPPING=1");
    assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=17000000\n", "the drain and 10 s");
    assert_eq!(managed.hear(), "STATUS=draining; connections: 0\n");
    assert!(managed.end().success());
}

/// A reload that changes nothing because the file is wrong ends all the same.
#[test]
fn a_reload_that_fails_is_over_as_well() {
    let managed = Managed::start(&[]);
    managed.hear_of("READY=1");
    fs::write(managed.settings(), "[drain]\ndeadline = 7\n").unwrap();
    managed.signal(Signal::HUP);
    managed.hear_of("RELOADING=1");
    managed.hear_of("READY=1");
}

/// Cores that have nothing to do sleep without end, and must not be taken for stuck.
#[test]
fn an_idle_engine_is_alive() {
    let mut managed = Managed::start(&[("WATCHDOG_USEC", "200000")]);
    for _ in 0..5 {
        managed.hear_of("WATCHDOG=1");
    }
    managed.signal(Signal::TERM);
    assert!(managed.end().success());
}

/// The variable names the process that is meant; its children inherit it.
#[test]
fn the_watchdog_of_another_process_is_left_alone() {
    let other = std::process::id().to_string();
    let mut managed = Managed::start(&[("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", &other)]);
    managed.hear_of("READY=1");
    managed.signal(Signal::HUP);
    while !managed.hear().contains("RELOADING=1") {}
    managed.signal(Signal::TERM);
    loop {
        let told = managed.hear();
        assert!(!told.contains("WATCHDOG"), "{told}");
        if told.contains("STOPPING=1") {
            break;
        }
    }
    assert!(managed.end().success());
}

#[test]
fn a_socket_that_is_gone_is_no_reason_to_end() {
    let mut managed = Managed::start(&[]);
    managed.hear_of("READY=1");
    fs::remove_file(managed.directory.path().join("notify")).unwrap();
    managed.signal(Signal::HUP);
    managed.signal(Signal::TERM);
    assert!(managed.end().success());
}

/// The manager would otherwise take the end of the old process for that of the service. What the
/// new one tells before it is named, a manager does not hear: it is started when it is named.
#[test]
fn the_process_that_takes_over_is_named_and_watched() {
    let mut managed = Managed::start(&[("WATCHDOG_USEC", "200000")]);
    managed.hear_of("READY=1");
    managed.signal(Signal::USR2);
    managed.hear_of("RELOADING=1");
    let next = managed.hear_of_successor();
    assert!(managed.end().success());
    managed.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..2 {
        managed.hear_of("WATCHDOG=1");
    }
    kill_process(next, Signal::TERM).unwrap();
    managed.hear_of("STOPPING=1");
}

#[test]
fn a_takeover_that_fails_is_over_as_well() {
    let managed = Managed::start(&[]);
    managed.hear_of("READY=1");
    fs::write(managed.settings(), "[drain]\ndeadline = 7\n").unwrap();
    managed.signal(Signal::USR2);
    managed.hear_of("RELOADING=1");
    managed.hear_of("READY=1");
}

/// A manager that heard of an end would end the process as well that waits for it.
#[test]
fn a_process_that_cannot_take_over_is_named_when_it_is_its_turn() {
    let managed = Managed::start(&[]);
    managed.hear_of("READY=1");
    let backplane = "[backplane]\nkind = \"nats\"\nurl = \"nats://127.0.0.1:1\"\n";
    fs::write(managed.settings(), backplane).unwrap();
    managed.signal(Signal::USR2);
    let next = managed.hear_of_successor();
    // The second generation has a back-plane, so the third has to wait.
    kill_process(next, Signal::USR2).unwrap();
    let told = managed.hear_until("MAINPID=");
    assert!(!told.contains("STOPPING=1"), "{told}");
    let last = successor(&told);
    managed.hear_of("READY=1");
    kill_process(last, Signal::TERM).unwrap();
    managed.hear_of("STOPPING=1");
}

/// The process that is named.
fn successor(told: &str) -> Pid {
    let pid = told.lines().find_map(|line| line.strip_prefix("MAINPID="));
    Pid::from_raw(pid.expect("a name").parse().unwrap()).unwrap()
}
