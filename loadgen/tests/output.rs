//! Readers that go away: a closed pipe or a full disk ends what the program says, never what it
//! does. Every command ends as it would have, and results are there.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

/// Ends a command whose outputs nobody reads; its exit code.
fn unread(args: &[&str]) -> i32 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridload"));
    let mut child = command
        .args(args)
        .env("GRIDLOAD_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code().unwrap()
}

/// The same with both outputs on a disk that is full.
fn full(args: &[&str]) -> i32 {
    let disk = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridload"));
    command.args(args).stdout(disk()).stderr(disk()).status().unwrap().code().unwrap()
}

const LOAD: [&str; 16] = [
    "run",
    "quickstart",
    "--subscribers",
    "20",
    "--publishers",
    "2",
    "--rate",
    "20",
    "--warmup",
    "0s",
    "--duration",
    "1s",
    "--drain",
    "1s",
    "--slip-limit",
    "100",
];

fn assert_result(out: &Path, exit: i32) {
    assert!(exit == 0 || exit == 5, "the run ends as runs do: {exit}");
    let text = std::fs::read_to_string(out.join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["exit_code"], exit, "{}", record["health"]["reasons"]);
    assert!(!out.join("run.part").exists());
}

#[test]
fn results_are_there_whoever_reads_and_every_command_ends_as_it_would() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let [first, second, merged] = ["first", "second", "merged"].map(path);
    let [one, other] = [&first, &second].map(|out| [&LOAD[..], &["--html", "--out", out]].concat());
    assert_result(Path::new(&first), unread(&one));
    assert_result(Path::new(&second), full(&other));
    assert!(Path::new(&first).join("report.html").exists());
    let (json, pcap) = (path("compare.json"), path("frames.pcap"));
    let calls: [&[&str]; 8] = [
        &["check"],
        &["scenarios"],
        &["--help"],
        &["doctor", "quickstart"],
        &["report", &first],
        &["merge", &first, &second, "--out", &merged],
        &["compare", &first, &second, "--json", &json],
        &["capture", "--seconds", "1", "--pcap", &pcap],
    ];
    for call in calls {
        let read = Command::new(env!("CARGO_BIN_EXE_gridload")).args(call).output().unwrap();
        if call[0] == "merge" {
            std::fs::remove_dir_all(&merged).unwrap();
        }
        assert_eq!(Some(unread(call)), read.status.code(), "{call:?}");
        if call[0] == "merge" {
            std::fs::remove_dir_all(&merged).unwrap();
        }
        assert_eq!(Some(full(call)), read.status.code(), "{call:?}");
    }
    assert!(Path::new(&json).exists() && Path::new(&merged).join("run.json").exists());
    assert_eq!(unread(&["run", "no-such-scenario"]), 2);
}
