//! `gridload merge` as its users meet it: real runs against the misbehaving server, added up.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::{Faults, Server};

fn gridload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gridload")).args(arguments).output().unwrap()
}

fn run(server: &Server, subscribers: &str, out: &Path) -> Value {
    let target = format!("ws://{}", server.address);
    gridload(&[
        "run",
        "quickstart",
        "--publishers",
        "2",
        "--rate",
        "50",
        "--slip-limit",
        "100",
        "--subscribers",
        subscribers,
        "--warmup",
        "0s",
        "--duration",
        "1s",
        "--drain",
        "2s",
        "--target",
        &target,
        "--out",
        out.to_str().unwrap(),
    ]);
    record(out)
}

fn record(directory: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(directory.join("run.json")).unwrap()).unwrap()
}

fn healthy(record: &Value) -> &Value {
    &record["totals"]["classes"][0]
}

#[test]
fn counts_are_added_and_percentiles_are_those_of_all_frames() {
    let root = tempfile::tempdir().unwrap();
    let runs = root.path().join("runs");
    let server = Server::start(Faults { lose: Some(7), ..Faults::default() });
    let parts = ["a", "b"].map(|name| run(&server, "5", &runs.join(name)));
    let out = root.path().join("merged");
    let output = gridload(&["merge", runs.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    let merged = record(&out);
    let code = merged["exit_code"].as_i64().map(|code| code as i32);
    assert_eq!(output.status.code(), code, "{}", String::from_utf8_lossy(&output.stderr));
    for pointer in [
        "/totals/classes/0/received",
        "/totals/classes/0/lost",
        "/totals/classes/0/e2e/count",
        "/totals/publishers/sent",
        "/totals/spread/sampled",
    ] {
        let of = |run: &Value| run.pointer(pointer).unwrap().as_u64().unwrap();
        assert_eq!(of(&merged), parts.iter().map(of).sum::<u64>(), "{pointer}");
    }
    let max = parts.iter().map(|part| healthy(part)["e2e"]["max_ns"].as_i64()).max().unwrap();
    assert_eq!(healthy(&merged)["e2e"]["max_ns"].as_i64(), max);
    assert_eq!(merged["totals"]["measured_s"], 2.0);
    let (report, code) = (gridload(&["report", out.to_str().unwrap()]), Some(0));
    assert_eq!(report.status.code(), code, "{}", String::from_utf8_lossy(&report.stderr));
}

#[test]
fn what_is_not_one_load_is_not_merged() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let (few, more) = (root.path().join("few"), root.path().join("more"));
    run(&server, "3", &few);
    run(&server, "4", &more);
    let out = root.path().join("merged");
    let merge = |runs: &[&Path]| {
        let runs: Vec<&str> = runs.iter().map(|run| run.to_str().unwrap()).collect();
        let output = gridload(&[&["merge"], &runs[..], &["--out", out.to_str().unwrap()]].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = merge(&[&few, &more]);
    assert!(code == Some(2) && said.contains("did not run the same scenario"), "{said}");
    let (code, said) = merge(&[&few]);
    assert!(code == Some(2) && said.contains("there is one run only"), "{said}");
    assert!(!out.exists());
}
