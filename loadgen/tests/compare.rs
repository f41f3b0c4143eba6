//! `gridload compare` and `gridload ab` as a job of continuous integration meets them: exit codes
//! and files. The results are made up.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Results of so many runs whose CPU time a delivery is around `cpu_ns`.
fn side(root: &Path, name: &str, cpu_ns: f64, runs: u32) -> PathBuf {
    for at in 0..runs {
        let directory = root.join(name).join(at.to_string());
        fs::create_dir_all(&directory).unwrap();
        let class = json!({
            "kind": "healthy", "lost": 0, "e2e": {"count": 1000, "p50_ns": 900, "p99_ns": 2000},
        });
        let run = json!({
            "schema_version": 1, "env": {"host_fingerprint": "here"}, "scenario": {"name": "s"},
            "health": {"valid": true}, "totals": {"measured_s": 1, "classes": [class]},
            "efficiency": {"cpu_ns_per_delivery": cpu_ns * (1.0 + f64::from(at) / 1000.0)},
        });
        fs::write(directory.join("run.json"), run.to_string()).unwrap();
    }
    root.join(name)
}

fn gridload(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_gridload")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn compare(base: &Path, cand: &Path, more: &[&str]) -> (i32, String, String) {
    let sides = ["compare", base.to_str().unwrap(), cand.to_str().unwrap()];
    gridload(&[&sides, more].concat())
}

#[test]
fn the_exit_code_is_the_verdict() {
    let root = tempfile::tempdir().unwrap();
    let side = |name, cpu_ns, runs| side(root.path(), name, cpu_ns, runs);
    let base = side("base", 500.0, 8);
    let (code, text, _) = compare(&base, &side("same", 501.0, 8), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("\nno regression\n"), "{text}");
    let (code, text, _) = compare(&base, &side("worse", 560.0, 8), &[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("REGRESSION: server CPU per delivery x 1.1"), "{text}");
    let few = side("few", 560.0, 3);
    assert_eq!(compare(&base, &few, &[]).0, 0, "three runs show nothing");
    assert_eq!(compare(&base, &few, &["--require-conclusive"]).0, 6);
    let gate = ["--gate", "cpu_per_delivery=20%"];
    assert_eq!(compare(&base, &side("allowed", 560.0, 8), &gate).0, 0);
}

#[test]
fn every_file_that_is_asked_for_is_written() {
    let root = tempfile::tempdir().unwrap();
    let (base, cand) = (side(root.path(), "a", 500.0, 8), side(root.path(), "b", 600.0, 8));
    let files = ["markdown", "json", "junit", "bencher", "benchmark-smaller", "benchmark-bigger"];
    let paths = files.map(|name| root.path().join(name).to_str().unwrap().to_owned());
    let flags = files.map(|name| format!("--{name}"));
    let args: Vec<_> = flags.iter().zip(&paths).flat_map(|(f, p)| [f.as_str(), p]).collect();
    assert_eq!(compare(&base, &cand, &args).0, 3);
    let text = |at: usize| fs::read_to_string(&paths[at]).unwrap();
    let value = |at| serde_json::from_str::<Value>(&text(at)).unwrap();
    assert!(text(0).starts_with("### REGRESSION"));
    assert_eq!(value(1)["regressed"], true);
    assert_eq!(value(1)["runs"]["base"], 8);
    let junit = text(2);
    assert!(
        junit.contains("tests=\"5\" failures=\"1\"") || junit.contains("failures=\"1\""),
        "{junit}"
    );
    assert!(junit.contains("<testcase name=\"cpu_per_delivery\""), "{junit}");
    assert!(value(3)["gridload"]["cpu_per_delivery"]["value"].as_f64().unwrap() > 600.0);
    assert_eq!(value(4)[0]["name"], "end to end, p50");
    assert_eq!(value(5)[0]["unit"], "1/s");
}

#[test]
fn what_cannot_be_compared_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let base = side(root.path(), "base", 500.0, 1);
    let (code, _, error) = compare(&base, &root.path().join("nothing"), &[]);
    assert_eq!(code, 2);
    assert!(error.contains("nothing: No such file"), "{error}");
    let other = side(root.path(), "other", 500.0, 1).join("0").join("run.json");
    let text = fs::read_to_string(&other).unwrap();
    fs::write(&other, text.replace("\"here\"", "\"there\"")).unwrap();
    let (code, _, error) = compare(&base, &other, &[]);
    assert_eq!(code, 2);
    assert!(error.contains("--host-mismatch"), "{error}");
    let counted = r#"{"server":{"kernel":{"counted":{"syscalls":7}}},"#;
    fs::write(&other, text.replacen('{', counted, 1)).unwrap();
    let (code, _, error) = compare(&base, &other, &[]);
    assert_eq!(code, 2);
    assert!(error.contains("syscalls: counting costs the server CPU time"), "{error}");
    fs::write(&other, text.replace("true", "false")).unwrap();
    assert_eq!(compare(&base, &other, &[]).0, 5, "a side without a valid run");
}

/// Whether their host was quiet enough to compare them or not.
#[test]
fn both_of_a_duet_are_measured_at_the_same_time() {
    let root = tempfile::tempdir().unwrap();
    let (out, floor) = (root.path().join("out"), root.path().join("floor.json"));
    let ab = ["ab", "--duet", "--pairs", "4", "--out", out.to_str().unwrap(), "--calibrate"];
    let run = ["--", "quickstart", "--subscribers", "10", "--duration", "1s"];
    let (code, said, error) = gridload(&[&ab[..], &[floor.to_str().unwrap()], &run[..]].concat());
    assert!([0, 5].contains(&code), "{code}: {said}{error}");
    let started_ms = |side: &str| {
        let text = fs::read_to_string(out.join(side).join("00/run.json")).unwrap();
        let run: serde_json::Value = serde_json::from_str(&text).unwrap();
        run["started_unix_ns"].as_i64().unwrap() / 1_000_000
    };
    let apart_ms = (started_ms("base") - started_ms("cand")).abs();
    assert!(apart_ms < 1_000, "{apart_ms} ms apart: one was over before the other began");
    let found = fs::read_to_string(&floor).unwrap_or_default();
    assert_eq!(found.contains("\"is_of_duets\": true"), code == 0, "{found}");
}

#[test]
fn ab_refuses_what_it_cannot_start() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let ab = |args: &[&str]| gridload(&[&["ab", "--out", out.to_str().unwrap()], args].concat());
    let (code, _, error) = ab(&["--base", "server --port 80"]);
    assert_eq!(code, 2);
    assert!(error.contains("write {port} where the port goes"), "{error}");
    let (code, _, error) = ab(&["--", "quickstart", "--rate", "0"]);
    assert_eq!(code, 2);
    assert!(error.contains("`0` is no frame rate"), "{error}");
    assert!(!out.exists(), "nothing was begun");
    let (code, _, error) = ab(&["--base", "false {port}", "--cand", "false {port}"]);
    assert_eq!(code, 2);
    assert!(error.contains("ended at once"), "{error}");
    assert_eq!(ab(&[]).0, 2, "results are never overwritten");
}
