//! The program as its users and their scripts meet it: texts, exit codes, files.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::process::{Command, Output};

fn gridload(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gridload")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The exit code and the complaint of a call that must fail.
fn refused(args: &[&str]) -> (i32, String) {
    let output = gridload(args);
    (output.status.code().unwrap(), stderr(&output))
}

#[test]
fn help_is_documentation() {
    let output = gridload(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for part in ["Exit codes:", "5 the run proves nothing", "quickstart", "gridload help load"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("engine  "), "the engine's own subcommand is hidden");
    let text = stdout(&gridload(&["help", "load"]));
    for part in [
        "--subscribers <N>",
        "[1..=4000000]",
        "--phase <PHASE>",
        "jitter=5ms",
        "[1s..=7days]",
        "--overlay <NAME>",
        "  slow-consumers  1 % of the dashboards",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn scenarios_are_listed_one_a_line() {
    let text = stdout(&gridload(&["scenarios"]));
    assert_eq!(text.lines().count(), 11);
    assert!(text.starts_with("quickstart  "), "{text}");
}

#[test]
fn check_prints_a_scenario_that_can_be_run_again() {
    let output = gridload(&["check", "quickstart", "--subscribers", "100", "--rate", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("count = 100") && text.contains("fps = \"10\""), "{text}");
    assert!(text.contains("# publishes         200/s"), "{text}");
    assert!(text.contains("# deliveries        1000/s"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("again.toml");
    std::fs::write(&path, &text).unwrap();
    let again = gridload(&["check", path.to_str().unwrap()]);
    assert_eq!(stdout(&again), text, "{}", stderr(&again));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_would_be_right() {
    for (args, message) in [
        (vec!["run", "quikstart"], "did you mean `quickstart`?"),
        (vec!["run", "none/such.toml"], "none/such.toml: "),
        (
            vec!["check", "--set", "sed=1"],
            "unknown key `sed` in the scenario; did you mean `seed`?",
        ),
        (vec!["run", "--subscriber", "5"], "--subscribers"),
        (vec!["run", "--duration", "10"], "`10` is no duration"),
        (vec!["run", "--cpus", "1023"], "--cpus 1023 is not among the CPUs"),
        (vec!["run", "--target", "ws://no-such-host.invalid:1"], "target `no-such-host.invalid:1`"),
        (vec!["bogus"], "bogus"),
    ] {
        let (code, text) = refused(&args);
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.contains(message), "{args:?}: {text}");
    }
}

#[test]
fn a_load_beyond_the_host_is_refused_with_the_cure() {
    let (code, text) = refused(&[
        "check",
        "public-frequency-map",
        "--threads",
        "1",
        "--set",
        "subscribers.viewer.count=4000000",
    ]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("this host cannot carry the load:"), "{text}");
    assert!(text.contains("use --threads "), "{text}");
    assert!(text.contains("socket writes/s are implied"), "{text}");
}

#[test]
fn a_result_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("run.json"), "{}").unwrap();
    let (code, text) = refused(&["--out", directory.path().to_str().unwrap()]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("holds a result already"), "{text}");
}

#[test]
fn an_engine_whose_parent_is_gone_does_not_serve() {
    let (code, text) = refused(&["engine", "--parent", "1073741824"]);
    assert_eq!((code, text.contains("is gone")), (1, true), "{text}");
}
