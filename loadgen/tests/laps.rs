//! Measured phases of several laps: what each has adds up to the whole, loads grow as they should,
//! and neither hides what a server does wrong.
#![allow(clippy::unwrap_used, reason = "a run that fails fails its test")]

mod support;

use std::process::Command;
use std::time::Duration;

use gridload::codec::payload::Payload;
use gridload::drive::run;
use gridload::judge::health;
use gridload::judge::health::HealthLimits;
use gridload::observe::progress::Progress;
use gridload::observe::sampler::Samples;
use gridload::plan::audience::SubscriberPlan;
use gridload::plan::class::ClassPlan;
use gridload::plan::course::Course;
use gridload::plan::follows::Follows;
use gridload::plan::plan::Plan;
use gridload::plan::publisher;
use gridload::receive::outcome::Outcome;
use gridload::receive::outcome::class::ClassOutcome;
use gridload::receive::outcome::lap::LapOutcome;
use gridload::scenario::lifecycle::Lifecycle;
use serde_json::Value;
use support::short_plan::short_plan;
use support::{Done, Faults, Server};

fn subscriber(feed: &str, follows: Follows) -> SubscriberPlan {
    SubscriberPlan { path: format!("/v1/feed/{feed}"), source: None, class: 0, follows }
}

/// Two publishers of 200 frames/s and six walls.
fn walls(server: &Server, measure: Duration, course: Course) -> Plan {
    let wall = subscriber("pmu/%23", Follows::All);
    Plan {
        measure,
        course,
        subscribers: vec![wall; 6],
        ..short_plan(server.address, Payload::C37118)
    }
}

/// The same, in two laps in which the load grows.
fn growing(server: &Server, measure: Duration, profile: &str) -> Plan {
    let profile = Some(profile.parse().unwrap());
    let mut plan = walls(server, measure, Course { laps: 2, profile });
    publisher::delay(&mut plan.publishers, plan.course.profile.unwrap(), measure);
    let grows = plan.course.of_subscribers().is_some();
    let lifecycle = Lifecycle { grows, ..Lifecycle::default() };
    plan.classes = vec![ClassPlan { lifecycle, ..ClassPlan::raw("wall") }];
    plan
}

fn measure(plan: &Plan) -> (Outcome, ClassOutcome) {
    let outcome = run::run(plan, &Progress::default()).unwrap();
    let [class] = &outcome.classes[..] else { panic!("one class") };
    let class = class.clone();
    assert_eq!(class.expected, class.received + class.lost + class.tail(), "{:?}", class.closes);
    let in_laps: u64 = class.laps.iter().map(|lap| lap.e2e.len()).sum();
    assert_eq!(in_laps, class.e2e.len(), "the laps add up");
    let longest = class.laps.iter().map(|lap| lap.e2e.max()).max();
    assert_eq!(longest, Some(class.e2e.max()));
    let published: u64 = outcome.publishers.laps.iter().sum();
    assert_eq!(published, outcome.publishers.slip.len());
    (outcome, class)
}

fn of_laps(class: &ClassOutcome, count: fn(&LapOutcome) -> u64) -> Vec<u64> {
    class.laps.iter().map(count).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn repeated_laps_have_the_same_frames_each() {
    let server = Server::start(Faults::default());
    let course = Course { laps: 2, profile: None };
    let (outcome, class) = measure(&walls(&server, 2 * SECOND, course));
    assert_eq!(class.lost, 0);
    assert_eq!(of_laps(&class, |lap| lap.e2e.len()), [2 * 200 * 6; 2]);
    assert_eq!(of_laps(&class, |lap| lap.sockets), [6, 6]);
    assert_eq!(of_laps(&class, |lap| lap.missing + lap.gaps), [0, 0]);
    assert_eq!(outcome.publishers.laps, [400, 400]);
}

#[test]
fn one_lap_is_not_told_apart_from_the_whole() {
    let server = Server::start(Faults::default());
    let outcome =
        run::run(&walls(&server, SECOND, Course::default()), &Progress::default()).unwrap();
    assert!(outcome.classes[0].laps.is_empty() && outcome.publishers.laps.is_empty());
}

#[test]
fn subscribers_come_in_steps_and_are_owed_what_follows() {
    let server = Server::start(Faults::default());
    let plan = growing(&server, 4 * SECOND, "2 steps of subscribers");
    let (outcome, class) = measure(&plan);
    assert_eq!((outcome.ramp.connected, class.sockets), (3, 6));
    assert_eq!(of_laps(&class, |lap| lap.sockets), [3, 6]);
    let frames = of_laps(&class, |lap| lap.e2e.len());
    assert_eq!(frames[0], 2 * 400 * 3);
    // Whoever has come misses nothing that is due a second later.
    assert!((2 * 400 * 3 + 2 * 200 * 3..=2 * 400 * 6).contains(&frames[1]), "{frames:?}");
    let returns = &class.returns;
    assert_eq!((class.lost, returns.came, returns.unserved, returns.shut_out), (0, 3, 0, 0));
    let gates = health::gates(&plan, &outcome, &Samples::default(), &HealthLimits::default());
    let connected = gates.iter().find(|gate| gate.name == "connected").unwrap();
    assert!(connected.pass, "{connected:?}");
}

#[test]
fn publishers_begin_in_steps_and_a_lost_frame_is_seen_in_its_lap() {
    for lose in [None, Some(3)] {
        let server = Server::start(Faults { lose, ..Faults::default() });
        let (outcome, class) = measure(&growing(&server, 2 * SECOND, "2 steps of publishers"));
        assert_eq!(outcome.publishers.laps, [200, 400]);
        // One from 250 ms before the measured phase on, one for its second half.
        assert_eq!((outcome.publishers.intended, outcome.publishers.unsent), (450 + 200, 0));
        assert_eq!(class.expected, 6 * (450 + 200));
        let lost = [2 * 6, 4 * 6].map(|frames| if lose.is_some() { frames } else { 0 });
        assert_eq!(of_laps(&class, |lap| lap.missing), lost, "103 and 203; 303, 403, 3 and 103");
        let frames = [200 * 6 - lost[0], 400 * 6 - lost[1]];
        assert_eq!(of_laps(&class, |lap| lap.e2e.len()), frames);
        assert_eq!(class.lost, Done::of(&server.done.lost));
    }
}

/// A whole run of the program against the embedded engine.
fn ran(flags: &[&str]) -> (Value, String) {
    let directory = tempfile::tempdir().unwrap();
    let (path, out) = (directory.path().join("laps.toml"), directory.path().join("result"));
    let text = r#"
        name = "laps"
        phases = { warmup = "500ms", measure = "3s", drain = "3s" }
        health = { slip_percent = 100 }
        slo = { e2e_p99 = "5s" }
        publishers = [{ name = "pmu", count = 4, fps = 50 }]
        subscribers = [{ name = "desk", count = 30 }]
    "#;
    std::fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gridload"))
        .args(["run", path.to_str().unwrap(), "--out", out.to_str().unwrap(), "--force"])
        .args(flags)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let record = std::fs::read_to_string(out.join("run.json"))
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (serde_json::from_str(&record).unwrap(), said)
}

fn each<'r>(record: &'r Value, key: &str) -> Vec<&'r Value> {
    record["laps"].as_array().unwrap().iter().map(|lap| &lap[key]).collect()
}

#[test]
fn a_run_tells_its_laps() {
    let (record, said) = ran(&["--profile", "3 steps of subscribers"]);
    assert_eq!(each(&record, "sockets"), [10, 20, 30]);
    assert_eq!(each(&record, "publishes_per_s"), [200.0; 3]);
    assert_eq!(each(&record, "deliveries_per_s")[0], &Value::from(500.0));
    assert_eq!(each(&record, "meets_goals"), [true; 3]);
    assert_eq!(record["scenario"]["profile"], "3 steps of subscribers");
    assert_eq!(record["totals"]["classes"][0]["lost"], 0);
    assert_eq!(record["totals"]["classes"][0]["stirred"], false);
    assert!(said.contains("latency goals met up to lap 3 of 3: 30 subscribers"), "{said}");
    let (record, said) = ran(&["--duration", "1s", "--repeat", "2", "--html"]);
    assert_eq!(each(&record, "deliveries_per_s"), [1_500.0; 2]);
    assert_eq!(record["totals"]["measured_s"], 2.0);
    assert!(said.contains("p99 over 2 laps: "), "{said}");
}
