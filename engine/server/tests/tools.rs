//! `gridcast pub`, `sub`, `top` and `doctor` as they are called from a shell, against the program
//! as a server: what they print in a pipe, and how they end. Must not test what a server promises.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_gridcast");

/// The program, without the settings of whoever runs the tests.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GRIDCAST") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server that ends with its test.
struct Server {
    child: Child,
    url: String,
    admin: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let common = ["--listen", "127.0.0.1:0", "--cores", "1", "--log", "json"];
        let admin = ["--set", "admin.listen=127.0.0.1:0"];
        let mut command = program(&[&common, &admin[..], arguments].concat());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = loop {
            let said: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if said["message"] == "listening" {
                break said;
            }
        };
        // A full pipe would stop its log.
        thread::spawn(move || lines.for_each(drop));
        let url = |name: &str| format!("ws://{}", said[name].as_str().unwrap());
        Self { child, url: url("address"), admin: url("admin") }
    }

    /// A tool that talks to this server.
    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("GRIDCAST_URL", &self.url);
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        read(self.tool(arguments).output().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_published_is_followed_as_an_object_a_line() {
    let server = Server::start(&[]);
    let (code, out, err) = server.run(&["pub", "pmu/1", r#"{"hz": 50}"#, "plain"]);
    assert_eq!((code, err.as_str(), out.lines().count()), (Some(0), "", 2));
    let position = out.lines().next().unwrap().split('\t').next().unwrap().to_owned();
    let (code, out, _) = server.run(&["sub", "pmu/1", "--from", "oldest", "--count", "2"]);
    let expected = [
        json!({"topic": "pmu/1", "position": position, "data": {"hz": 50}}),
        json!({"topic": "pmu/1", "position": position.replace("-1", "-2"), "data": "plain",
               "text": true}),
    ];
    assert_eq!((code, lines(&out)), (Some(0), expected.to_vec()));
    let (_, out, _) = server.run(&["sub", "pmu/1", "--from", &position, "--count", "1"]);
    assert_eq!(lines(&out)[0]["data"], "plain");
}

#[test]
fn lines_of_the_input_are_published_in_order_and_a_file_as_one_message() {
    let server = Server::start(&[]);
    let mut publishing =
        server.tool(&["pub", "t", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = publishing.stdin.take().unwrap();
    let text: String = (0..2000).map(|number| format!("{number}\n")).collect();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let (code, out, err) = read(publishing.wait_with_output().unwrap());
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", ""));
    let (_, out, _) = server.run(&["sub", "t", "--from", "oldest", "--count", "2000"]);
    let numbers: Vec<_> = lines(&out).iter().map(|line| line["data"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\x00\xFFa\nb").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(server.run(&["pub", "f", "--file", path]).0, Some(0));
    let (_, out, _) = server.run(&["sub", "f", "--from", "last", "--count", "1"]);
    assert_eq!(lines(&out)[0]["data64"], "AP9hCmI=");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let server = Server::start(&[]);
    for (arguments, expected, part) in [
        (&["pub", "$sys/x", "1"][..], 1, "forbidden"),
        (&["pub", "t", "--file", "/nowhere/at/all"], 2, "/nowhere/at/all"),
        (&["sub", "a//b"], 1, "bad_request"),
        (&["sub", "a", "--from", "first"], 2, "oldest"),
        (&["sub", "a", "--rate", "0"], 2, "--rate"),
        (&["sub", "a", "--url", "ftp://h"], 2, "wss://host"),
        (&["top", "--once"], 1, "admin.listen"),
        (&["doctor", "--subscribers", "0"], 2, "--subscribers"),
    ] {
        let (code, out, err) = server.run(arguments);
        assert_eq!((code, out.as_str()), (Some(expected), ""), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {err}");
    }
}

#[test]
fn a_reader_who_has_enough_and_an_interrupt_end_it_without_a_word() {
    let server = Server::start(&[]);
    server.run(&["pub", "t", "1", "2", "3"]);
    let mut following = server.tool(&["sub", "t", "--from", "oldest"]).spawn().unwrap();
    let mut out = BufReader::new(following.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    drop(out);
    // It learns of it by the next message.
    let publishing = thread::spawn({
        let url = server.url.clone();
        move || program(&["pub", "t", "4", "5", "6", "--url", &url]).output().unwrap()
    });
    let (code, _, err) = read(following.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    publishing.join().unwrap();

    let mut following = server.tool(&["sub", "t", "--from", "last"]).spawn().unwrap();
    let mut out = BufReader::new(following.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&following), Signal::INT).unwrap();
    let (code, _, err) = read(following.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (Some(130), ""));
}

/// The engine takes all variables of its prefix for settings, but for these.
#[test]
fn a_server_starts_from_a_shell_that_is_set_up_for_the_tools() {
    let mut command = program(&["config", "--print"]);
    command.envs([("GRIDCAST_URL", "ws://h"), ("GRIDCAST_TOKEN", "seen-by-nobody")]);
    let (code, out, err) = read(command.output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(!out.contains("seen-by-nobody"), "{out}");
    let (_, out, _) = read(program(&["--help"]).output().unwrap());
    assert!(out.contains("Without a command it serves") && out.contains("doctor"), "{out}");
}

#[test]
fn top_in_a_pipe_is_one_snapshot() {
    let server = Server::start(&[]);
    server.run(&["pub", "t", "1"]);
    let (code, out, err) = server.run(&["top", "--url", &server.admin]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in ["ready", "connections", "topics", "published", "a second"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains('\x1b') && out.lines().all(|line| line.chars().count() <= 80), "{out}");
}

#[test]
fn the_doctor_says_whether_a_load_fits() {
    let (code, out, err) = read(program(&["doctor", "--subscribers", "1"]).output().unwrap());
    assert!(code.is_some_and(|code| code <= 1) && err.is_empty(), "{out}{err}");
    assert!(out.contains("open files") && out.contains("net.core.somaxconn"), "{out}");
    let (code, out, _) = read(program(&["doctor", "--subscribers", "90000000"]).output().unwrap());
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("do NOT fit") && out.contains("LimitNOFILE="), "{out}");
}
