//! Whole runs of the program against a server that misbehaves on purpose: what the server did must
//! be in `run.json`, and the exit code must say it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Done, Faults, Server};

/// Runs a small load against a server and returns the exit code and the record.
fn measured(server: &Server, out: &Path) -> (i32, Value) {
    let target = format!("ws://{}", server.address);
    let pid = std::process::id().to_string();
    let status = Command::new(env!("CARGO_BIN_EXE_gridload"))
        .args(["run", "quickstart", "--subscribers", "20", "--publishers", "2", "--rate", "50"])
        .args(["--warmup", "0s", "--duration", "2s", "--drain", "2s", "--slip-limit", "100"])
        .args(["--target", &target, "--target-pid", &pid, "--out", out.to_str().unwrap()])
        .output()
        .unwrap()
        .status;
    let text = std::fs::read_to_string(out.join("run.json")).unwrap();
    (status.code().unwrap(), serde_json::from_str(&text).unwrap())
}

/// A machine that is busy with other things may void any run; nothing else may.
fn assert_exit(expected: i32, found: i32, record: &Value) {
    assert_eq!(record["exit_code"], found);
    let valid = record["health"]["valid"].as_bool().unwrap();
    assert_eq!(found, if valid { expected } else { 5 }, "{}", record["health"]["reasons"]);
}

#[test]
fn a_clean_run_loses_nothing_and_is_recorded() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let (code, record) = measured(&server, out.path());
    assert_exit(0, code, &record);
    let class = &record["totals"]["classes"][0];
    assert_eq!((&class["expected"], &class["received"]), (&2000.into(), &2000.into()));
    assert_eq!(class["e2e"]["count"], 2000);
    assert_eq!(record["totals"]["publishers"]["sent"], 200);
    assert!(record["efficiency"]["cpu_ns_per_delivery"].as_f64().unwrap() > 0.0);
    for file in ["scenario.toml", "slip.hgrm", "e2e-dashboard.hgrm", "spread-last.hgrm"] {
        assert!(out.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn lost_frames_are_counted_exactly_and_fail_the_run() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults { lose: Some(7), ..Faults::default() });
    let (code, record) = measured(&server, out.path());
    assert_exit(4, code, &record);
    let lost = Done::of(&server.done.lost);
    assert!(lost > 0);
    assert_eq!(record["totals"]["classes"][0]["lost"], lost);
    assert_eq!(record["slo"][0]["measured"], lost.to_string());
}
