//! `gridload capacity` as its users meet it: refusals, exit codes, and short searches against an
//! engine and against a server that loses frames.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use support::{Faults, Server};

fn capacity(args: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_gridload")).arg("capacity").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn record(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("capacity.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A load that any host carries, in runs as short as they can be.
const SMALL: [&str; 13] = [
    "quickstart",
    "--publishers",
    "2",
    "--duration",
    "1s",
    "--warmup",
    "0s",
    "--point",
    "1s",
    "--confirm",
    "1",
    "--slip-limit",
    "100",
];

#[test]
fn wrong_usage_is_refused_before_anything_is_run() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let refused = |args: &[&str]| {
        let (code, _, error) = capacity(&[args, &["--out", out.to_str().unwrap()]].concat());
        assert_eq!(code, 2, "{error}");
        error
    };
    assert!(refused(&["quikstart"]).contains("did you mean `quickstart`?"));
    let error = refused(&["--slo", "e2e_p90=1s"]);
    assert!(error.contains("unknown key `e2e_p90` in [slo]"), "{error}");
    let error = refused(&["--from", "9", "--to", "5"]);
    assert!(error.contains("--from 9 lies above --to 5"), "{error}");
    let error = refused(&["--server", "true"]);
    assert!(error.contains("write {port} where the port goes"), "{error}");
    assert!(!out.exists(), "nothing was begun");
    fs::create_dir(&out).unwrap();
    assert!(refused(&["quickstart"]).contains("results are never overwritten"));
}

#[test]
fn a_short_search_leaves_every_run_and_what_they_come_to() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let json = root.path().join("copy.json");
    let (out, json) = (out.to_str().unwrap(), json.to_str().unwrap());
    let flags = ["--from", "10", "--to", "20", "--budget", "40s", "--out", out, "--json", json];
    let plan = ["--price", "0.04", "--plan", "1000 subscribers x 10/s x 64B"];
    let goal = ["--slo", "e2e_p99=9s"];
    let (code, text, lines) = capacity(&[&SMALL[..], &flags, &plan, &goal].concat());
    let record = record(Path::new(out));
    assert_eq!(fs::read_to_string(json).unwrap().parse::<Value>().unwrap(), record);
    assert_eq!(record["goals"][0], "e2e_p99 <= 9s");
    assert_eq!((&record["control"], &record["schema_version"]), (&"subscribers".into(), &1.into()));
    let points = record["points"].as_array().unwrap();
    assert!(lines.starts_with("run       subscribers  came out"), "{lines}");
    assert_eq!(lines.lines().count(), points.len() + 1, "a line a run: {lines}");
    for point in points {
        assert!(Path::new(point["result"].as_str().unwrap()).exists(), "{point}");
    }
    // A host that is busy with other tests may prove less or nothing, and has to say so.
    match (code, record["answer"]["found"]["confirmed"].as_u64()) {
        (0, Some(1..=20)) => {
            assert!(text.contains("hold e2e_p99 <= 9s, loss <= 0 (1 of "), "{text}");
            assert!(text.contains("of the 2,000 of the scenario"), "{text}");
        }
        (5, None) => {}
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn goals_that_even_one_subscriber_misses_are_told_as_such() {
    let server = Server::start(Faults { lose: Some(5), ..Faults::default() });
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let target = format!("ws://{}", server.address);
    let flags = ["--from", "1", "--target", &target, "--out", out.to_str().unwrap()];
    let (code, text, _) = capacity(&[&SMALL[..], &flags].concat());
    let record = record(&out);
    let trials: Vec<_> =
        record["points"].as_array().unwrap().iter().map(|point| &point["trial"]).collect();
    assert_eq!(trials.len(), 2, "the second chance: {text}");
    if trials.contains(&&Value::from("missed")) {
        assert_eq!(code, 4, "{text}");
        assert!(text.contains("NONE: loss <= 0 are missed even with 1"), "{text}");
    } else {
        assert_eq!(code, 5, "{text}");
    }
}

#[test]
fn a_server_that_does_not_start_ends_it() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let (code, _, error) =
        capacity(&["quickstart", "--server", "false {port}", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(error.contains("ended at once"), "{error}");
}
