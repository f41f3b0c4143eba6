//! What the kernel counts of a server: of processes that make a known number of system calls and
//! of allocations, and of the engine in a whole run. Where the kernel refuses, the tests say so and
//! why, and hold the refusal to its promise.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use gridload::observe::kernel_counters::{KernelCounters, between};
use gridload::observe::server_counters::Counters;
use serde_json::Value;

/// Writes twice 2,000 times to nowhere: by itself, and by a process that it starts.
const SCRIPT: &str = "echo ready >&2; read go
    many() { i=0; while [ $i -lt 2000 ]; do echo x; i=$((i+1)); done; }
    many; (many); echo done >&2; read stop";
const WRITES: u64 = 4_000;
const ALLOCATIONS: u64 = 4_000;
/// For what a process does beside that.
const MORE: u64 = 200;

/// Not through what the harness keeps back: that a test proves nothing here must be seen.
fn skipped(what: &str, reason: &str) {
    let told = format!("SKIPPED, no {what} counted on this host: {reason}\n");
    io::stderr().write_all(told.as_bytes()).unwrap();
}

/// What a process did between `go` and `done`, which it says on its standard error; and why other
/// things are not known.
fn counted_of(command: &mut Command) -> (Counters, KernelCounters) {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut orders = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(answers.next().unwrap().unwrap(), "ready");
    let mut counters = KernelCounters::of(Some(child.id()));
    let from = counters.read();
    writeln!(orders, "go").unwrap();
    assert_eq!(answers.next().unwrap().unwrap(), "done");
    let counted = between(&from, &counters.read());
    writeln!(orders, "stop").unwrap();
    assert!(child.wait().unwrap().success());
    (counted, counters)
}

/// The variable by which a test that starts itself as the process to be counted tells it so.
const IS_COUNTED: &str = "GRIDLOAD_TEST_IS_COUNTED";

/// What the calling test counts of itself: started again, it allocates 4,000 times when it is told
/// to, and starts a thread before if it is to. `None` in that process.
fn counted_of_itself(test: &str, starts_thread: bool) -> Option<(Counters, KernelCounters)> {
    if std::env::var_os(IS_COUNTED).is_some() {
        allocate_when_told(starts_thread);
        return None;
    }
    let mut itself = Command::new(std::env::current_exe().unwrap());
    itself.args(["--exact", test, "--nocapture"]).env(IS_COUNTED, "1");
    Some(counted_of(&mut itself))
}

fn allocate_when_told(starts_thread: bool) {
    let mut orders = io::stdin().lines();
    io::stderr().write_all(b"ready\n").unwrap();
    orders.next().unwrap().unwrap();
    let started = starts_thread.then(|| std::thread::spawn(std::thread::park));
    (0..ALLOCATIONS).for_each(|number| drop(std::hint::black_box(Box::new(number))));
    io::stderr().write_all(b"done\n").unwrap();
    orders.next().unwrap().unwrap();
    started.inspect(|started| started.thread().unpark());
}

#[test]
fn allocations_of_a_process_are_counted() {
    let of_itself = counted_of_itself("allocations_of_a_process_are_counted", false);
    let Some((counted, counters)) = of_itself else { return };
    match (counted.get("allocations"), counters.missing().get("allocations")) {
        (None, Some(reason)) => skipped("allocations", reason),
        (Some(count), None) => {
            assert!((ALLOCATIONS..=ALLOCATIONS + MORE).contains(count), "{count}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn allocations_of_threads_that_start_later_are_not_passed_over_in_silence() {
    let test = "allocations_of_threads_that_start_later_are_not_passed_over_in_silence";
    let Some((counted, counters)) = counted_of_itself(test, true) else { return };
    assert_eq!(counted.get("allocations"), None, "and the thread could be started");
    let reason = &counters.missing()["allocations"];
    if !reason.contains("started threads") {
        skipped("allocations", reason);
    }
}

#[test]
fn system_calls_of_a_process_and_of_what_it_starts_later_are_counted() {
    let (counted, counters) = counted_of(Command::new("sh").args(["-c", SCRIPT]));
    for what in ["syscalls", "instructions"] {
        match (counted.get(what), counters.missing().get(what)) {
            (None, Some(reason)) => skipped(what, reason),
            (Some(count), None) if what == "syscalls" => {
                assert!((WRITES..=WRITES + MORE).contains(count), "{count}");
            }
            // A write takes a shell more than ten instructions, and fewer than a million.
            (Some(count), None) => assert!((WRITES * 10..WRITES * 1_000_000).contains(count)),
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// A small run of the embedded engine: the report, and the record.
fn measured(out: &Path, more: &[&str]) -> (String, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_gridload"))
        .args(["run", "quickstart", "--subscribers", "20", "--publishers", "2", "--rate", "50"])
        .args(["--warmup", "0s", "--duration", "1s", "--drain", "2s", "--slip-limit", "100"])
        .args(["--out", out.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap();
    let text = std::fs::read_to_string(out.join("run.json")).unwrap();
    (String::from_utf8(output.stdout).unwrap(), serde_json::from_str(&text).unwrap())
}

#[test]
fn a_run_that_is_asked_to_count_tells_each_count_or_why_not() {
    let out = tempfile::tempdir().unwrap();
    let (report, run) = measured(out.path(), &["--count"]);
    let writes = run["server"]["counters"]["writes"].as_u64().unwrap();
    let kernel = &run["server"]["kernel"];
    let per_delivery = |what: &str| run["efficiency"][format!("{what}_per_delivery")].as_f64();
    for what in ["syscalls", "allocations", "instructions"] {
        match (kernel["counted"][what].as_u64(), kernel["missing"][what].as_str()) {
            (Some(count), None) => {
                // Memory is asked for by what the sampler asks at least.
                let least = if what == "allocations" { 1 } else { writes };
                assert!(count >= least, "{kernel} {writes}");
                assert!(per_delivery(what).unwrap() > 0.0);
            }
            (None, Some(reason)) => {
                skipped(what, reason);
                assert!(report.contains(&format!("not counted: {what}: {reason}")), "{report}");
                assert_eq!(per_delivery(what), None);
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_run_that_is_not_asked_counts_nothing() {
    let out = tempfile::tempdir().unwrap();
    let (report, run) = measured(out.path(), &[]);
    assert!(run["server"]["kernel"].is_null() && !report.contains("not counted"));
    assert!(run["efficiency"]["syscalls_per_delivery"].is_null());
    assert!(run["efficiency"]["switches_per_delivery"].as_f64().unwrap() > 0.0);
}
