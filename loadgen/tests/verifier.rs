//! The instrument against a server that misbehaves on purpose: every fault must be seen, each under
//! its own name, and counted exactly.
#![allow(clippy::unwrap_used, reason = "a run that fails fails its test")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use gridload::codec::payload::Payload;
use gridload::drive::run;
use gridload::drive::run::RunError;
use gridload::observe::progress::{Phase, Progress};
use gridload::plan::audience::SubscriberPlan;
use gridload::plan::class::ClassPlan;
use gridload::plan::follows::Follows;
use gridload::plan::plan::Plan;
use gridload::receive::outcome::Outcome;
use gridload::receive::outcome::class::ClassOutcome;
use gridload::scenario::groups::ClassKind;
use gridload::scenario::kill::KillPlan;
use gridload::time::rate::Rate;
use support::short_plan::short_plan;
use support::{Done, Faults, Server};

/// Two publishers of 200 frames/s; three followers of the first, one of the second, two walls.
fn plan(server: &Server, payload: Payload) -> Plan {
    let one = |index: u32| subscriber(&format!("pmu/{}", 1001 + index), Follows::One(index));
    let wall = subscriber("pmu/%23", Follows::All);
    Plan {
        subscribers: vec![one(0), wall.clone(), one(0), one(1), wall, one(0)],
        ..short_plan(server.address, payload)
    }
}

fn subscriber(feed: &str, follows: Follows) -> SubscriberPlan {
    SubscriberPlan { path: format!("/v1/feed/{feed}"), source: None, class: 0, follows }
}

fn measure(plan: &Plan) -> Outcome {
    let progress = Progress::default();
    let outcome = run::run(plan, &progress).unwrap();
    assert_eq!(progress.phase(), Phase::Done);
    let received: u64 = outcome.classes.iter().map(|class| class.received).sum();
    assert_eq!(progress.received(), received, "progress and outcome agree at the end");
    assert_eq!(progress.sent.load(Ordering::Relaxed), outcome.publishers.sent);
    for class in &outcome.classes {
        let settled = class.received + class.lost + class.tail();
        assert_eq!(class.expected, settled, "{}", class.name);
    }
    let windowed: u64 = outcome.windows.iter().map(|window| window.received).sum();
    assert_eq!(windowed, received, "every frame is in one window");
    outcome
}

/// Frames each publisher publishes in 1.25 s at 200/s.
const FRAMES: u64 = 250;
/// Deliveries of `plan`: three and one followers, two walls of both.
const DELIVERIES: u64 = FRAMES * (3 + 1 + 2 * 2);

fn counts(class: &ClassOutcome) -> [u64; 6] {
    let ClassOutcome { lost, duplicated, reordered, corrupt, misdelivered, gap_notices, .. } =
        class;
    [*lost, *duplicated, *reordered, *corrupt, *misdelivered, *gap_notices]
}

#[test]
fn a_faultless_server_has_no_faults() {
    for payload in [Payload::C37118, Payload::Json, Payload::Fixed { bytes: 3000 }] {
        let server = Server::start(Faults::default());
        let outcome = measure(&plan(&server, payload));
        let [class] = &outcome.classes[..] else { panic!("one class") };
        assert_eq!(counts(class), [0; 6], "{payload:?}");
        assert_eq!((class.expected, class.received), (DELIVERIES, DELIVERIES));
        assert_eq!((class.sockets, outcome.ramp.connected), (6, 6));
        assert!(class.closes.is_empty() && outcome.publishers.closes.is_empty());
        assert_eq!((outcome.publishers.intended, outcome.publishers.unsent), (2 * FRAMES, 0));
        assert_eq!(class.e2e.len(), 200 * 8, "one second of it is measured");
        assert_eq!((class.service.len(), class.e2e.negatives()), (200 * 8, 0));
        assert_eq!(outcome.publishers.slip.len(), 400);
        assert!(class.e2e.max() >= class.service.quantile(1.0) - 1_000_000);
        assert!((80..190).contains(&outcome.spread.sampled), "{}", outcome.spread.sampled);
        assert!(outcome.spread.last.max() >= outcome.spread.first.max());
    }
}

#[test]
fn loss_repeats_swaps_and_changes_are_counted_exactly() {
    for payload in [Payload::C37118, Payload::Json, Payload::Fixed { bytes: 48 }] {
        let faults = Faults {
            lose: Some(3),
            repeat: Some(17),
            swap: Some(31),
            corrupt: Some(43),
            ..Faults::default()
        };
        let server = Server::start(faults);
        let outcome = measure(&plan(&server, payload));
        let done = &server.done;
        let [lost, repeated, swapped, corrupted] =
            [&done.lost, &done.repeated, &done.swapped, &done.corrupted].map(Done::of);
        assert_eq!(lost, 3 * 8, "numbers 3, 103 and 203 of both publishers");
        assert_eq!(
            counts(&outcome.classes[0]),
            [lost + corrupted, repeated, swapped, corrupted, 0, 0],
            "{payload:?}"
        );
        assert_eq!([repeated, swapped, corrupted], [3 * 8; 3]);
    }
}

#[test]
fn frames_after_a_close_are_put_down_to_the_close() {
    let server = Server::start(Faults { close: Some((100, 4409)), ..Faults::default() });
    let mut plan = plan(&server, Payload::C37118);
    plan.publishers.truncate(1);
    let closed = subscriber("pmu/1001?closed", Follows::One(0));
    plan.subscribers = vec![closed.clone(), subscriber("pmu/1001", Follows::One(0)), closed];
    let outcome = measure(&plan);
    let class = &outcome.classes[0];
    assert_eq!(class.closes.get("4409"), Some(&2));
    assert_eq!((class.lost, class.undelivered_after_close), (0, 2 * (FRAMES - 100)));
    assert_eq!(class.received, FRAMES + 2 * 100);
}

#[test]
fn gap_notices_are_counted_and_answered() {
    let server = Server::start(Faults { gap: Some((60, 79)), ..Faults::default() });
    let outcome = measure(&plan(&server, Payload::C37118));
    let class = &outcome.classes[0];
    assert_eq!(counts(class), [20 * 8, 0, 0, 0, 0, 8]);
    assert_eq!(class.gap_frames, 20 * 8);
    assert_eq!(Done::of(&server.done.pongs), 8);
}

#[test]
fn a_stalled_reader_is_apart_and_its_close_is_attributed() {
    let server = Server::start(Faults { close: Some((8, 4410)), ..Faults::default() });
    let mut plan = plan(&server, Payload::C37118);
    plan.classes.push(ClassPlan { kind: ClassKind::Stalled, ..ClassPlan::raw("stalled") });
    let stalled = |path: &str| SubscriberPlan { class: 1, ..subscriber(path, Follows::One(0)) };
    plan.subscribers.extend([stalled("pmu/1001?closed"), stalled("pmu/1001")]);
    let outcome = measure(&plan);
    assert_eq!(counts(&outcome.classes[0]), [0; 6]);
    assert_eq!(outcome.classes[0].received, DELIVERIES);
    let stalled = &outcome.classes[1];
    assert_eq!(stalled.closes.get("4410"), Some(&1), "{:?}", stalled.closes);
    // The closed one is read to its end to learn why; the other is never read and owes nothing.
    assert_eq!((stalled.received, stalled.lost), (8, 0));
    assert_eq!(stalled.undelivered_after_close, FRAMES - 8);
}

#[test]
fn a_slow_reader_reads_at_its_pace_only() {
    let server = Server::start(Faults::default());
    let mut plan = plan(&server, Payload::C37118);
    let kind = ClassKind::Slow { bytes_per_s: 2_000 };
    plan.classes.push(ClassPlan { kind, ..ClassPlan::raw("slow") });
    plan.subscribers.push(SubscriberPlan { class: 1, ..subscriber("pmu/1001", Follows::One(0)) });
    plan.drain = Duration::from_millis(200);
    let outcome = measure(&plan);
    let slow = &outcome.classes[1];
    assert_eq!((slow.lost, slow.corrupt, slow.duplicated), (0, 0, 0));
    // It lives for the wait before the start (at most 1.5 s), 1.25 s and the drain.
    assert!((1_500..=8_000).contains(&slow.bytes), "{} bytes", slow.bytes);
    assert!(slow.received < FRAMES / 2, "{} of {FRAMES} frames", slow.received);
    assert_eq!(outcome.classes[0].received, DELIVERIES);
}

#[test]
fn sockets_killed_on_purpose_are_no_loss() {
    let server = Server::start(Faults::default());
    let mut plan = plan(&server, Payload::C37118);
    let at = Duration::from_millis(400);
    plan.kill = Some(KillPlan { at, subscriber_fraction: 1.0, publishers: 1 });
    plan.drain = Duration::from_millis(200);
    let outcome = measure(&plan);
    let class = &outcome.classes[0];
    assert_eq!((class.closes.get("killed"), class.lost), (Some(&6), 0));
    assert!(class.received > 0 && class.expected < DELIVERIES);
    assert_eq!(outcome.publishers.closes.get("killed"), Some(&1));
    let unsent = outcome.publishers.unsent;
    assert!((80..=160).contains(&unsent), "0.6 s of 200/s, got {unsent}");
}

#[test]
fn time_in_the_server_is_service_time() {
    let delay = Duration::from_millis(3);
    let server = Server::start(Faults { delay, ..Faults::default() });
    let mut plan = plan(&server, Payload::Fixed { bytes: 64 });
    plan.publishers.iter_mut().for_each(|publisher| publisher.rate = Rate { num: 50, den: 1 });
    let outcome = measure(&plan);
    let class = &outcome.classes[0];
    assert_eq!(class.lost, 0);
    assert!(class.service.quantile(0.0) >= 3_000_000, "{}", class.service.quantile(0.0));
    assert!(class.e2e.quantile(0.5) >= class.service.quantile(0.0));
    assert!(outcome.spread.first.quantile(0.0) >= 2_999_000);
}

#[test]
fn a_server_that_is_only_slow_loses_nothing() {
    // It passes on 50 frames a second of 200, so it is far behind when the drain is over.
    let delay = Duration::from_millis(20);
    let server = Server::start(Faults { delay, ..Faults::default() });
    let mut plan = plan(&server, Payload::C37118);
    plan.drain = Duration::from_millis(300);
    let class = &measure(&plan).classes[0];
    assert_eq!(counts(class), [0; 6], "late is not lost");
    assert!(class.received > 0 && class.undelivered > DELIVERIES / 2, "{}", class.undelivered);
    assert_eq!(class.waiting.as_ref().unwrap().len(), class.undelivered, "none is of the warm-up");
    let p99 = class.latencies().quantile(0.99);
    assert!(p99.is_least && p99.ns > 300_000_000, "{p99:?}");
}

#[test]
fn what_a_socket_never_asked_for_is_misdelivered() {
    let server = Server::start(Faults { misdeliver: Some(7), ..Faults::default() });
    let class = &measure(&plan(&server, Payload::C37118)).classes[0];
    let strayed = Done::of(&server.done.strayed);
    assert_eq!(strayed, 3 * (1 + 3), "7, 107 and 207, at the followers of the other publisher");
    assert_eq!(counts(class), [0, 0, 0, 0, strayed, 0]);
    assert_eq!(class.received, DELIVERIES);
}

#[test]
fn messages_larger_than_a_read_are_put_together() {
    let server = Server::start(Faults { repeat: Some(7), ..Faults::default() });
    let mut plan = plan(&server, Payload::Fixed { bytes: 700_000 });
    plan.publishers.iter_mut().for_each(|publisher| publisher.rate = Rate { num: 20, den: 1 });
    let outcome = measure(&plan);
    let class = &outcome.classes[0];
    assert_eq!(counts(class), [0, 8, 0, 0, 0, 0]);
    assert_eq!(class.received, 25 * 8);
}

#[test]
fn a_server_that_stops_reading_does_not_stop_the_schedule() {
    let server = Server::start(Faults { deaf: Some(10), ..Faults::default() });
    let mut plan = plan(&server, Payload::Fixed { bytes: 50_000 });
    plan.drain = Duration::from_millis(200);
    // Walls only: how much the buffers take differs between the publishers.
    plan.subscribers.retain(|subscriber| subscriber.follows == Follows::All);
    let outcome = measure(&plan);
    let publishers = &outcome.publishers;
    assert_eq!(publishers.intended, 2 * FRAMES);
    assert!(publishers.unsent > 0, "12 MB each do not fit the socket buffers");
    assert_eq!(publishers.sent + publishers.unsent, publishers.intended);
    assert_eq!(publishers.slip.len(), 400, "every measured frame was attempted at its instant");
    let class = &outcome.classes[0];
    assert_eq!((class.received, class.lost), (20 * 2, 0));
    assert_eq!(class.undelivered, (publishers.sent - 20) * 2, "what never came is no hole");
}

#[test]
fn a_stop_ends_the_run_in_order() {
    let server = Server::start(Faults::default());
    let mut plan = plan(&server, Payload::C37118);
    plan.measure = Duration::from_secs(600);
    let progress = Progress::default();
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| run::run(&plan, &progress).unwrap());
        while progress.received() < 500 {
            std::thread::yield_now();
        }
        progress.stop.store(true, Ordering::Relaxed);
        run.join().unwrap()
    });
    let class = &outcome.classes[0];
    assert_eq!((class.lost, outcome.publishers.unsent), (0, 0));
    assert_eq!(class.received, outcome.publishers.sent / 2 * 8);
    assert!(outcome.measured < Duration::from_secs(60));
}

#[test]
fn nobody_listening_is_an_error_with_its_reason() {
    let server = Server::start(Faults::default());
    let mut plan = plan(&server, Payload::C37118);
    // Bound and never listening: the port stays refused for as long as the socket lives.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    plan.target = taken.local_addr().unwrap();
    let error = run::run(&plan, &Progress::default()).unwrap_err();
    assert!(matches!(error, RunError::NoSubscribers(6, _)), "{error}");
    assert!(error.to_string().contains("18 x refused"), "three tries each: {error}");
}

#[test]
fn contradictory_plans_are_refused() {
    let server = Server::start(Faults::default());
    let plan = plan(&server, Payload::C37118);
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        run::run(&plan, &Progress::default()).unwrap_err().to_string()
    };
    assert!(refused(&|plan| plan.publishers.clear()).contains("publisher"));
    assert!(refused(&|plan| plan.publishers[1].id = 1001).contains("same id"));
    assert!(refused(&|plan| plan.subscribers[0].follows = Follows::One(9)).contains("follows"));
    assert!(refused(&|plan| plan.classes.clear()).contains("class"));
    assert!(refused(&|plan| plan.measure = Duration::ZERO).contains("measure"));
}
