//! `gridload report` as its users meet it: where the page goes, and what is said when there is
//! none. The results are made up.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

fn report(args: &[&Path]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_gridload");
    let Output { status, stdout, stderr } =
        Command::new(program).arg("report").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A directory with the least that `run.json` must hold.
fn result(root: &Path, name: &str) -> PathBuf {
    let directory = root.join(name);
    fs::create_dir(&directory).unwrap();
    let run = json!({ "schema_version": 1, "scenario": { "name": name }, "verdict": "ok" });
    fs::write(directory.join("run.json"), run.to_string()).unwrap();
    directory
}

#[test]
fn every_directory_gets_its_page() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (result(root.path(), "a"), result(root.path(), "b"));
    let (code, text, error) = report(&[&a, &b]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(text.lines().count(), 2);
    for (directory, name) in [(&a, "a"), (&b, "b")] {
        let page = fs::read_to_string(directory.join("report.html")).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains(&format!("<h1>{name}</h1>")));
    }
}

#[test]
fn a_page_goes_where_it_is_wanted() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (result(root.path(), "a"), result(root.path(), "b"));
    let (out, flag) = (root.path().join("page.html"), Path::new("--out"));
    assert_eq!(report(&[&a, flag, &out]).0, 0);
    assert!(out.is_file() && !a.join("report.html").exists());
    let (code, _, error) = report(&[&a, &b, flag, &out]);
    assert_eq!(code, 2);
    assert!(error.contains("--out names one file, and there are 2 results"), "{error}");
    let (code, _, error) = report(&[&a, flag, &root.path().join("no/such/page.html")]);
    assert_eq!(code, 1);
    assert!(error.contains("cannot write "), "{error}");
}

#[test]
fn what_is_no_result_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let (code, _, error) = report(&[root.path()]);
    assert_eq!(code, 2);
    let path = root.path().display().to_string();
    assert!(error.contains(&format!("{path}: no run.json in it; name a directory")), "{error}");
    for (text, cause) in [
        ("{", "no run.json that this version reads"),
        (r#"{"schema_version":9}"#, "schema_version 9"),
        (r#"{"schema_version":1,"windows":7}"#, "not what gridload writes"),
    ] {
        fs::write(root.path().join("run.json"), text).unwrap();
        let (code, _, error) = report(&[root.path()]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(cause), "{error}");
    }
    assert_eq!(report(&[]).0, 2);
}
