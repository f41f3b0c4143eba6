//! What a server did, as the program reports it: by its own name, and with the exit code for it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{Faults, Server};

/// The output of a run: its exit code, its record if there is one, and its texts.
struct RunOutput {
    code: i32,
    record: Value,
    text: String,
}

fn run_against(faults: Faults, more: &[&str]) -> RunOutput {
    let (server, out) = (Server::start(faults), tempfile::tempdir().unwrap());
    let target = format!("ws://{}", server.address);
    let output = Command::new(env!("CARGO_BIN_EXE_gridload"))
        .args(["run", "quickstart", "--subscribers", "20", "--publishers", "2", "--rate", "50"])
        .args(["--warmup", "0s", "--duration", "2s", "--slip-limit", "100"])
        .args(["--target", &target, "--out", out.path().to_str().unwrap()])
        .args(more)
        .output()
        .unwrap();
    let record = std::fs::read_to_string(out.path().join("run.json")).ok();
    let record = record.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    RunOutput { code: output.status.code().unwrap(), record, text: texts.concat() }
}

impl RunOutput {
    /// The goals that were not met, and no others.
    fn missed(&self) -> Vec<&str> {
        let goals = self.record["slo"].as_array().unwrap().iter();
        goals.filter(|goal| goal["pass"] == false).map(|g| g["goal"].as_str().unwrap()).collect()
    }

    /// A machine that is busy with other things may void any run; nothing else may.
    fn assert_missed(&self, goals: &[&str]) {
        assert_eq!(self.missed(), goals, "{}", self.text);
        let valid = self.record["health"]["valid"].as_bool().unwrap();
        assert_eq!(self.code, if valid { 4 } else { 5 }, "{}", self.text);
    }

    fn assert_the_servers(&self) {
        assert_eq!(self.code, 7, "{}", self.text);
        assert!(self.text.contains("server"), "{}", self.text);
        assert!(!self.text.contains("all goals met"), "{}", self.text);
    }
}

#[test]
fn a_server_that_is_only_slow() {
    // It passes on half of what it gets, so that a tail is left when the drain is over.
    let delay = Duration::from_millis(40);
    let run = run_against(Faults { delay, ..Faults::default() }, &["--drain", "500ms"]);
    run.assert_missed(&["undelivered"]);
    let class = &run.record["totals"]["classes"][0];
    assert_eq!(class["lost"], 0, "late is not lost");
    assert!(class["undelivered"].as_u64().unwrap() > 0, "{class}");
    let open = class["e2e"]["at_least"].as_array().unwrap();
    assert!(open.contains(&"p99_ns".into()), "{open:?}");
    assert!(run.text.contains(">= "), "{}", run.text);
}

#[test]
fn a_server_that_misdelivers() {
    let run = run_against(Faults { misdeliver: Some(7), ..Faults::default() }, &[]);
    run.assert_missed(&["misdelivered"]);
    // One frame of either publisher, at the followers of the other.
    assert_eq!(run.record["totals"]["classes"][0]["misdelivered"], 20);
}

#[test]
fn a_server_that_brings_nothing_to_those_who_want_the_newest() {
    let latest = ["--set", "subscribers.dashboard.mode=latest", "--drain", "2s"];
    let run = run_against(Faults { mute_latest: true, ..Faults::default() }, &latest);
    run.assert_missed(&["undelivered", "unserved"]);
    assert_eq!(run.record["totals"]["classes"][0]["unserved"], 20);
}

#[test]
fn a_server_that_dies() {
    let run = run_against(Faults { die: Some(30), ..Faults::default() }, &[]);
    run.assert_the_servers();
    assert_eq!(run.record["verdict"], "server-failed");
    let goals = run.record["slo"].as_array().unwrap();
    assert_eq!(run.missed().len(), goals.len(), "none is met: {goals:?}");
    let reason = run.record["health"]["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("published: ") && reason.ends_with("; by the server"), "{reason}");
}

#[test]
fn a_server_that_refuses() {
    let all = run_against(Faults { refuse: Some((0, 503)), ..Faults::default() }, &[]);
    all.assert_the_servers();
    assert!(all.text.contains("20 x status 503; the server said: no room here"), "{}", all.text);
    let some = run_against(Faults { refuse: Some((12, 401)), ..Faults::default() }, &[]);
    some.assert_the_servers();
    let reason = some.record["health"]["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("connected: 14 of 22 (8 x status 401)"), "{reason}");
    assert_eq!(some.record["totals"]["ramp"]["said"], "no room here");
}
