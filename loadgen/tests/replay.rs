//! Captures replayed and recorded by the program itself: the frames that go in come out, on time,
//! and are all accounted for.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use gridload::codec::c37118;
use gridload::replay::recording::Recording;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn gridload(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridload"));
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two streams of 20 frames a second for four seconds.
fn capture(path: &Path) {
    let path = path.to_str().unwrap();
    let done = gridload(&["capture", "quickstart", "--publishers", "2", "--rate", "20"])
        .args(["--seconds", "4", "--pcap", path])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
}

/// Replays a capture ten times faster to 20 sockets and a wall.
fn replay(path: &Path, out: &Path, more: &[&str]) -> (Output, Value) {
    let done = gridload(&["replay", path.to_str().unwrap(), "--speed", "10"])
        .args(["--subscribers", "21", "--drain", "2s", "--slip-limit", "100"])
        .args(["--out", out.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap();
    let record = std::fs::read_to_string(out.join("run.json"));
    let record = record.unwrap_or_else(|_| panic!("{}", text(&done.stderr)));
    (done, serde_json::from_str(&record).unwrap())
}

/// A machine that is busy with other things may void any run; nothing may be lost by that.
fn assert_all_arrived(done: &Output, record: &Value) {
    let valid = record["health"]["valid"].as_bool().unwrap();
    let expected = if valid { 0 } else { 5 };
    assert_eq!(done.status.code(), Some(expected), "{}", record["health"]["reasons"]);
    assert_eq!(record["totals"]["publishers"]["sent"], 160);
    for (class, sockets) in [(0, 20), (1, 1)] {
        let class = &record["totals"]["classes"][class];
        assert_eq!(class["sockets"], sockets);
        let tails = ["undelivered", "undelivered_after_close"];
        let faults = ["lost", "duplicated", "reordered", "corrupt", "misdelivered"];
        for fault in faults.into_iter().chain(tails) {
            assert_eq!(class[fault], 0, "{fault} in {class}");
        }
    }
    assert_eq!(record["totals"]["classes"][0]["received"], 20 * 80);
    assert_eq!(record["totals"]["classes"][1]["e2e"]["count"], 160);
}

/// The frames of a capture by IDCODE, in order.
fn frames(path: &Path) -> Vec<(u16, Vec<Vec<u8>>)> {
    let recording = Recording::read(File::open(path).unwrap()).unwrap();
    assert_eq!((recording.skipped().to_string(), recording.flaw()), ("nothing".to_owned(), None));
    let streams = recording.streams().iter();
    let all = |track: &gridload::codec::track::Track| {
        (0..track.len() as u32).map(|seq| track.frame(seq).to_vec()).collect()
    };
    streams.map(|stream| (stream.id, all(&stream.track))).collect()
}

/// A child that ends with the test.
struct Process {
    child: Child,
    output: Box<dyn BufRead>,
}

impl Process {
    /// Starts a program and waits for the line with `ready` in what it says.
    fn start(mut command: Command, ready: &str, from_stderr: bool) -> (Process, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output: Box<dyn Read> = match from_stderr {
            true => Box::new(child.stderr.take().unwrap()),
            false => Box::new(child.stdout.take().unwrap()),
        };
        let mut output: Box<dyn BufRead> = Box::new(BufReader::new(output));
        let mut line = String::new();
        while !line.contains(ready) {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
        }
        (Process { child, output }, line)
    }

    /// Interrupts it; answers its exit code and what it said in the end.
    fn interrupt(mut self) -> (Option<i32>, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).unwrap();
        let (mut said, mut errors) = (String::new(), String::new());
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut said).unwrap();
        }
        self.output.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), said + &errors)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_capture_is_replayed_ten_times_faster_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("frames.pcap");
    capture(&path);
    let (done, record) = replay(&path, &directory.path().join("result"), &[]);
    assert_all_arrived(&done, &record);
    let told = text(&done.stderr);
    assert!(told.contains("160 data frames of 2 streams in 3.950 s; 2 streams have"), "{told}");
    assert!(told.contains("left out: nothing"), "{told}");
    let started = record["started_unix_ns"].as_u64().unwrap();
    assert_eq!(started % 1_000_000_000, 0);
    let about = record["scenario"]["about"].as_str().unwrap();
    assert!(
        about.starts_with("2 recorded streams of ") && about.contains(" at 10 times"),
        "{about}"
    );
}

/// Replays a capture to a server and records what that broadcasts; what the replay says of itself.
fn rebroadcast(path: &Path, again: &Path, more: &[&str]) -> Value {
    let engine = gridload(&["engine", "--parent", &std::process::id().to_string()]);
    let (_engine, ready) = Process::start(engine, "listening ", false);
    let target = format!("ws://{}", ready.trim().strip_prefix("listening ").unwrap());
    let pcap = again.to_str().unwrap();
    let record = gridload(&["record", "--target", &target, "--pcap", pcap, "--seconds", "600"]);
    let (recorder, _) = Process::start(record, "recording to ", true);
    let more = [&["--target", &target], more].concat();
    let (done, record) = replay(path, &again.with_extension("result"), &more);
    assert_all_arrived(&done, &record);
    let (code, said) = recorder.interrupt();
    assert_eq!((code, said.contains("160 frames of 2 streams in ")), (Some(0), true), "{said}");
    record
}

#[test]
fn what_a_server_broadcasts_is_recorded_as_it_was_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let [path, again] = ["frames.pcap", "again.pcap"].map(|name| directory.path().join(name));
    capture(&path);
    rebroadcast(&path, &again, &[]);
    assert_eq!(frames(&again), frames(&path));
}

#[test]
fn restamped_frames_are_all_recognised_and_are_of_now() {
    let directory = tempfile::tempdir().unwrap();
    let [path, again] = ["frames.pcap", "again.pcap"].map(|name| directory.path().join(name));
    capture(&path);
    let record = rebroadcast(&path, &again, &["--restamp"]);
    let start_us = record["started_unix_ns"].as_u64().unwrap() / 1_000;
    for ((id, before), (other, after)) in frames(&path).into_iter().zip(frames(&again)) {
        assert_eq!((id, before.len()), (other, after.len()));
        for (number, (before, after)) in (0..).zip(before.into_iter().zip(after)) {
            let (_, envelope) = c37118::check(&after).unwrap();
            let said_us = u64::from(envelope.soc) * 1_000_000 + u64::from(envelope.fracsec);
            // Twenty a second, ten times faster.
            assert_eq!(said_us, start_us + number * 5_000, "frame {number} of {id}");
            let body = |frame: &[u8]| [&frame[..6], &frame[10..11], &frame[14..90]].concat();
            assert_eq!(body(&after), body(&before));
        }
    }
}

#[test]
fn files_that_cannot_be_replayed_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("frames.pcap");
    capture(&path);
    let file = path.to_str().unwrap();
    let text_file = directory.path().join("notes.txt");
    std::fs::write(&text_file, "nothing that was captured, but long enough to be").unwrap();
    let refused = |args: &[&str]| {
        let done = gridload(&["replay"]).args(args).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", text(&done.stderr));
        text(&done.stderr)
    };
    assert!(refused(&["none.pcap"]).contains("none.pcap: "));
    assert!(refused(&[text_file.to_str().unwrap()]).contains("neither pcap nor pcapng"));
    assert!(refused(&[file, "--speed", "200"]).contains("`200` is not in 1..=100"));
    assert!(refused(&[file, "--rate", "5"]).contains("--rate: a recording has its own"));
    assert!(refused(&[file, "--topic", "a/#"]).contains("`a/#` is no topic prefix"));
}
