//! The instrument in every form, against a server that misbehaves on purpose: whatever the form,
//! the same faults must be seen, each under its own name, and counted exactly.
#![allow(clippy::unwrap_used, reason = "a run that fails fails its test")]

mod support;

use std::time::Duration;

use gridload::codec::form::{Form, Pace};
use gridload::codec::payload::Payload;
use gridload::drive::run;
use gridload::drive::run::RunError;
use gridload::observe::progress::Progress;
use gridload::os::tls::{TlsPlan, Trust};
use gridload::plan::audience::SubscriberPlan;
use gridload::plan::class::ClassPlan;
use gridload::plan::follows::Follows;
use gridload::plan::plan::Plan;
use gridload::receive::outcome::Outcome;
use gridload::receive::outcome::class::ClassOutcome;
use gridload::time::rate::Rate;
use support::short_plan::short_plan;
use support::{Done, Door, Faults, Server};

/// Frames each publisher publishes in 1.25 s at 200/s.
const FRAMES: u64 = 250;
/// Followers of each publisher in `plan`.
const FOLLOWERS: u64 = 5;

/// Two publishers of 200 frames/s and their followers: a socket for each topic, or four dashboards
/// with both and a wall.
fn plan(server: &Server, form: Form, payload: Payload) -> Plan {
    let socket = |path: &str, follows: Follows| SubscriberPlan {
        path: path.to_owned(),
        source: None,
        class: 0,
        follows,
    };
    let subscribers = if form.is_multiplexed() {
        let both = socket("/v1/ws?topics=2", Follows::Many { from: 0, count: 2 });
        let wall = socket("/v1/ws?topics=1", Follows::All);
        vec![both.clone(), both.clone(), wall, both.clone(), both]
    } else {
        let one =
            |index: u32| socket(&format!("/v1/feed/pmu/{}", 1001 + index), Follows::One(index));
        (0..2 * FOLLOWERS as u32).map(|number| one(number % 2)).collect()
    };
    Plan {
        subscribers,
        followed: [0, 1].into(),
        classes: vec![ClassPlan { form, ..ClassPlan::raw("viewers") }],
        ..short_plan(server.address, payload)
    }
}

fn measured(plan: &Plan) -> Outcome {
    run::run(plan, &Progress::default()).unwrap()
}

/// Lost, twice, out of order, damaged, misdelivered, misnumbered.
fn counts(class: &ClassOutcome) -> [u64; 6] {
    let ClassOutcome { lost, duplicated, reordered, corrupt, misdelivered, misnumbered, .. } =
        class;
    [*lost, *duplicated, *reordered, *corrupt, *misdelivered, *misnumbered]
}

/// A run over a server with one of each fault, in a form.
fn assert_faults_are_counted(form: Form, payload: Payload, deflate: bool) {
    let faults = Faults {
        lose: Some(3),
        repeat: Some(17),
        swap: Some(31),
        corrupt: Some(43),
        ..Faults::default()
    };
    let server = Server::start(faults);
    let mut plan = plan(&server, form, payload);
    plan.classes[0].deflate = deflate;
    let outcome = measured(&plan);
    let done = &server.done;
    let [lost, repeated, swapped, corrupted] =
        [&done.lost, &done.repeated, &done.swapped, &done.corrupted].map(Done::of);
    // Each fault hits the frames 3, 103 and 203 or their like, of both publishers.
    assert_eq!([lost, repeated, swapped, corrupted], [3 * 2 * FOLLOWERS; 4]);
    let class = &outcome.classes[0];
    let expected = [lost + corrupted, repeated, swapped, corrupted, 0, 0];
    assert_eq!(counts(class), expected, "{form} {payload} deflate: {deflate}");
    assert_eq!(class.expected, 2 * FOLLOWERS * FRAMES);
    assert_eq!(class.expected, class.received + class.lost + class.tail());
    assert_eq!(class.e2e.negatives(), 0);
    let ratio = class.egress_ratio().unwrap();
    assert!(ratio > if deflate { 0.1 } else { 1.0 }, "{ratio}");
}

#[test]
fn json_envelopes_are_verified_like_raw_frames() {
    assert_faults_are_counted(Form::Json, Payload::C37118, false);
    assert_faults_are_counted(Form::Json, Payload::Json, false);
}

#[test]
fn binary_envelopes_are_verified_like_raw_frames() {
    assert_faults_are_counted(Form::Bin, Payload::C37118, false);
    assert_faults_are_counted(Form::Bin, Payload::Json, false);
}

#[test]
fn events_are_verified_like_raw_frames() {
    assert_faults_are_counted(Form::Sse, Payload::Fixed { bytes: 300 }, false);
    assert_faults_are_counted(Form::Sse, Payload::Json, false);
}

#[test]
fn compressed_messages_are_verified_like_raw_frames() {
    for form in [Form::Raw, Form::Json, Form::Bin] {
        assert_faults_are_counted(form, Payload::Json, true);
    }
}

#[test]
fn compression_shows_in_what_was_on_the_wire() {
    let server = Server::start(Faults::default());
    let mut plan = plan(&server, Form::Raw, Payload::Fixed { bytes: 2000 });
    plan.classes[0].deflate = true;
    let class = &measured(&plan).classes[0];
    assert_eq!(counts(class), [0; 6]);
    assert_eq!(class.deflated_sockets, 2 * FOLLOWERS);
    assert_eq!(class.payload_bytes, 2 * FOLLOWERS * FRAMES * 2000);
    assert!(class.egress_ratio().unwrap() < 0.5, "{:?}", class.egress_ratio());
}

#[test]
fn gaps_are_told_in_every_form_and_conflation_is_no_gap() {
    for form in [Form::Json, Form::Bin, Form::Sse] {
        for conflated in [false, true] {
            let faults = Faults { gap: Some((60, 79)), conflated, ..Faults::default() };
            let server = Server::start(faults);
            let mut plan = plan(&server, form, Payload::C37118);
            plan.classes[0].pace.latest = conflated;
            let class = &measured(&plan).classes[0];
            let (notices, frames) = (2 * FOLLOWERS, 20 * 2 * FOLLOWERS);
            let told = [class.gap_notices, class.gap_frames, class.lost, class.left_out];
            let conflations = [class.conflations, class.conflated_frames];
            let (expected, expected_conflations) = if conflated {
                ([0, 0, 0, frames], [notices, frames])
            } else {
                ([notices, frames, frames, 0], [0, 0])
            };
            assert_eq!((told, conflations), (expected, expected_conflations), "{form}");
        }
    }
}

#[test]
fn envelopes_that_do_not_count_up_are_seen() {
    for form in [Form::Json, Form::Bin, Form::Sse] {
        let server = Server::start(Faults { misnumber: Some(5), ..Faults::default() });
        let class = &measured(&plan(&server, form, Payload::C37118)).classes[0];
        assert_eq!(counts(class), [0, 0, 0, 0, 0, 3 * 2 * FOLLOWERS], "{form}");
    }
}

/// The right frames, but for a subscription that the socket does not have.
#[test]
fn what_names_another_subscription_is_misdelivered() {
    for form in [Form::Json, Form::Bin] {
        let server = Server::start(Faults { misname: true, ..Faults::default() });
        let class = &measured(&plan(&server, form, Payload::C37118)).classes[0];
        assert_eq!(counts(class), [0, 0, 0, 0, 2 * FRAMES, 0], "{form}: all that the wall got");
        assert_eq!(class.received, class.expected - 2 * FRAMES, "{form}");
    }
}

#[test]
fn feeds_with_a_rate_are_held_to_it() {
    for (asked, outside) in [(40, 0), (60, 2 * FOLLOWERS), (30, 2 * FOLLOWERS)] {
        // One of five frames, so 40 a second, whatever was asked for.
        let server = Server::start(Faults { thin: Some(5), ..Faults::default() });
        let mut plan = plan(&server, Form::Bin, Payload::C37118);
        plan.classes[0].pace = Pace { rate: Some(asked), latest: false };
        plan.drain = Duration::from_millis(200);
        let class = &measured(&plan).classes[0];
        assert_eq!(counts(class), [0; 6]);
        assert_eq!((class.rates.topics, class.rates.outside), (2 * FOLLOWERS, outside), "{asked}");
        assert_eq!(class.rates.slowest_per_s, 40.0);
        assert_eq!(class.received, 2 * FOLLOWERS * FRAMES / 5);
        assert_eq!(class.expected, class.received);
    }
}

#[test]
fn a_close_of_an_event_stream_is_attributed() {
    let server = Server::start(Faults { close: Some((100, 4409)), ..Faults::default() });
    let mut plan = plan(&server, Form::Sse, Payload::C37118);
    plan.publishers.truncate(1);
    plan.subscribers.truncate(1);
    plan.subscribers[0].path.push_str("?closed");
    let class = &measured(&plan).classes[0];
    assert_eq!(class.closes.get("4409"), Some(&1), "{:?}", class.closes);
    assert_eq!((class.lost, class.undelivered_after_close), (0, FRAMES - 100));
}

#[test]
fn everything_works_encrypted() {
    for form in [Form::Raw, Form::Bin, Form::Sse] {
        let door = Door { tls: true, token: None };
        let server = Server::behind(door, Faults { repeat: Some(7), ..Faults::default() });
        let mut plan = plan(&server, form, Payload::Fixed { bytes: 20_000 });
        plan.publishers.iter_mut().for_each(|publisher| publisher.rate = Rate { num: 40, den: 1 });
        let authorities = server.certificate.clone().unwrap().into_bytes();
        let trust = Trust::Authorities(authorities);
        plan.tls = Some(TlsPlan { name: "127.0.0.1".into(), trust });
        let class = &measured(&plan).classes[0];
        assert_eq!(counts(class), [0, 2 * FOLLOWERS, 0, 0, 0, 0], "{form}");
        assert_eq!(class.received, 2 * FOLLOWERS * 50);
        // What was on the wire is longer than what was in it.
        assert!(class.bytes > class.payload_bytes);
    }
}

#[test]
fn certificates_nobody_vouches_for_are_refused_unless_anyone_will_do() {
    let server = Server::behind(Door { tls: true, token: None }, Faults::default());
    let mut plan = plan(&server, Form::Raw, Payload::C37118);
    let stranger = Server::behind(Door { tls: true, token: None }, Faults::default());
    let authorities = Trust::Authorities(stranger.certificate.unwrap().into_bytes());
    for (name, trust) in [
        ("127.0.0.1", authorities),
        ("other", Trust::Authorities(server.certificate.clone().unwrap().into_bytes())),
    ] {
        plan.tls = Some(TlsPlan { name: name.into(), trust });
        let error = run::run(&plan, &Progress::default()).unwrap_err();
        assert!(matches!(error, RunError::NoSubscribers(10, _)), "{error}");
        assert!(error.to_string().contains("x tls: invalid peer certificate"), "{error}");
    }
    plan.tls = Some(TlsPlan { name: "other".into(), trust: Trust::Anyone });
    plan.measure = Duration::from_secs(1);
    assert_eq!(counts(&measured(&plan).classes[0]), [0; 6]);
}

#[test]
fn a_token_opens_the_door_for_publishers_and_subscribers() {
    let server = Server::behind(Door { tls: false, token: Some("k3y") }, Faults::default());
    let mut plan = plan(&server, Form::Json, Payload::C37118);
    let error = run::run(&plan, &Progress::default()).unwrap_err();
    assert!(error.to_string().contains("pmu/1001 could not connect: status 401"), "{error}");
    plan.token = Some("k3y".into());
    assert_eq!(counts(&measured(&plan).classes[0]), [0; 6]);
}
