//! Other people's protocols from end to end, against servers of the tests' own: every frame
//! arrives, what is lost is counted exactly, and no client does what the protocol does not have.
#![allow(clippy::unwrap_used, reason = "a run that fails fails its test")]

mod support {
    pub mod responder;
    pub mod short_plan;
}

use std::process::Command;
use std::sync::atomic::Ordering;

use gridload::codec::dialect::dialect::Dialect;
use gridload::codec::payload::Payload;
use gridload::drive::run;
use gridload::drive::run::RunError;
use gridload::observe::progress::Progress;
use gridload::plan::audience::SubscriberPlan;
use gridload::plan::class::ClassPlan;
use gridload::plan::follows::Follows;
use gridload::plan::plan::Plan;
use gridload::receive::outcome::Outcome;
use gridload::receive::outcome::class::ClassOutcome;
use support::responder::{Manners, Responder};
use support::short_plan::short_plan;

/// Frames each publisher publishes in 1.25 s at 200/s.
const FRAMES: u64 = 250;
/// Followers of each publisher.
const FOLLOWERS: u64 = 5;
const SPOKEN: [&str; 3] = ["socketio", "centrifugo", "pusher"];
const PAYLOADS: [Payload; 3] = [Payload::C37118, Payload::Json, Payload::Fixed { bytes: 3000 }];

/// Four dashboards and a wall, for two publishers.
fn plan(responder: &Responder, word: &str, payload: Payload) -> Plan {
    let dialect = Dialect::named(word).unwrap();
    let form = dialect.form().unwrap();
    let topics = ["pmu/1001", "pmu/1002"];
    let socket = |follows: Follows| SubscriberPlan {
        path: dialect.feed_path(form, "pmu/#", &topics),
        source: None,
        class: 0,
        follows,
    };
    let both = socket(Follows::Many { from: 0, count: 2 });
    let subscribers = vec![both.clone(), both.clone(), socket(Follows::All), both.clone(), both];
    let mut plan = Plan {
        token: responder.hub.manners.token.map(str::to_owned),
        subscribers,
        followed: [0, 1].into(),
        classes: vec![ClassPlan { form, ..ClassPlan::raw("viewers") }],
        ..short_plan(responder.address, payload)
    };
    for publisher in &mut plan.publishers {
        publisher.path = dialect.publish_path(&publisher.topic);
    }
    Plan { dialect, ..plan }
}

fn measured(plan: &Plan) -> Outcome {
    run::run(plan, &Progress::default()).unwrap()
}

fn started(word: &str, manners: Manners) -> Responder {
    let token = manners.token.or((word == "pusher").then_some("s3cret"));
    Responder::start(word, Manners { token, ..manners })
}

/// Lost, twice, out of order, damaged, misdelivered.
fn counts(class: &ClassOutcome) -> [u64; 5] {
    let ClassOutcome { lost, duplicated, reordered, corrupt, misdelivered, .. } = class;
    [*lost, *duplicated, *reordered, *corrupt, *misdelivered]
}

/// A run of each payload in which nothing is lost and nobody complains.
fn assert_everything_arrives(word: &str) {
    for payload in PAYLOADS {
        let responder = started(word, Manners::default());
        let outcome = measured(&plan(&responder, word, payload));
        let class = &outcome.classes[0];
        assert_eq!(responder.complaints(), Vec::<String>::new(), "{word} {payload}");
        assert_eq!(counts(class), [0; 5], "{word} {payload}: {:?}", class.closes);
        assert_eq!(class.received, 2 * FOLLOWERS * FRAMES, "{word} {payload}");
        let (published, closes) = (&outcome.publishers, &outcome.publishers.closes);
        assert_eq!((published.sent, published.unsent), (2 * FRAMES, 0), "{closes:?}");
        // One of fifty frames comes with a ping.
        let pongs = responder.hub.pongs.load(Ordering::SeqCst);
        assert_eq!(pongs > 0, word != "nchan", "{word}: {pongs} pongs");
    }
}

#[test]
fn everything_arrives_over_socketio() {
    assert_everything_arrives("socketio");
}

#[test]
fn everything_arrives_over_centrifugo() {
    assert_everything_arrives("centrifugo");
}

#[test]
fn everything_arrives_over_pusher() {
    assert_everything_arrives("pusher");
}

#[test]
fn everything_arrives_over_nchan() {
    assert_everything_arrives("nchan");
}

#[test]
fn what_a_server_loses_is_counted_exactly() {
    for word in ["nchan"].into_iter().chain(SPOKEN) {
        let responder = started(word, Manners { lose: Some(3), ..Manners::default() });
        let outcome = measured(&plan(&responder, word, Payload::C37118));
        // The frames 3, 103 and 203 of both publishers.
        assert_eq!(counts(&outcome.classes[0]), [3 * 2 * FOLLOWERS, 0, 0, 0, 0], "{word}");
    }
}

#[test]
fn a_frame_on_the_channel_of_another_is_misdelivered() {
    for word in SPOKEN {
        for payload in [Payload::C37118, Payload::Json] {
            let responder = started(word, Manners { mislabel: Some(3), ..Manners::default() });
            let class = &measured(&plan(&responder, word, payload)).classes[0];
            // Everybody follows both, so that the payload alone tells nothing.
            let mislabelled = 3 * 2 * FOLLOWERS;
            assert_eq!(counts(class), [mislabelled, 0, 0, 0, mislabelled], "{word} {payload}");
        }
    }
}

#[test]
fn a_server_that_falls_silent_is_noticed_though_nothing_arrives() {
    let responder = started("socketio", Manners { is_silent: true, ..Manners::default() });
    let class = &measured(&plan(&responder, "socketio", Payload::C37118)).classes[0];
    assert_eq!(responder.complaints(), Vec::<String>::new());
    assert_eq!(class.closes, [("no ping in time".to_owned(), FOLLOWERS)].into());
    // They had nothing, and the server is to blame.
    assert_eq!((class.received, class.lost), (0, 0));
    assert_eq!(class.undelivered_after_close, class.expected);
}

#[test]
fn compressed_messages_are_understood_in_every_protocol() {
    for word in SPOKEN {
        let responder = started(word, Manners { deflates: true, ..Manners::default() });
        let mut plan = plan(&responder, word, Payload::Json);
        plan.classes[0].deflate = true;
        let class = &measured(&plan).classes[0];
        assert_eq!(counts(class), [0; 5], "{word}: {:?}", class.closes);
        assert_eq!((class.received, class.deflated_sockets), (2 * FOLLOWERS * FRAMES, FOLLOWERS));
    }
}

#[test]
fn a_token_is_shown_inside_messages_and_a_wrong_one_is_told_with_the_servers_words() {
    for (word, reason) in [
        ("socketio", "refused: who are you?"),
        ("centrifugo", "refused: 101 unauthorized"),
        ("pusher", "bad signature"),
    ] {
        let responder = started(word, Manners { token: Some("k3y"), ..Manners::default() });
        let mut plan = plan(&responder, word, Payload::C37118);
        assert_eq!(counts(&measured(&plan).classes[0]), [0; 5], "{word}");
        plan.token = Some("other".to_owned());
        let error = run::run(&plan, &Progress::default()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        plan.subscribers.clear();
        let error = run::run(&plan, &Progress::default()).unwrap_err();
        assert!(matches!(error, RunError::Publisher(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn the_program_speaks_every_dialect_it_names() {
    for word in ["nchan"].into_iter().chain(SPOKEN) {
        let responder = started(word, Manners::default());
        let (out, target) = (tempfile::tempdir().unwrap(), format!("ws://{}", responder.address));
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridload"));
        command
            .args(["run", "quickstart", "--subscribers", "20", "--publishers", "2", "--rate", "50"])
            .args(["--warmup", "0s", "--duration", "1s", "--drain", "2s", "--slip-limit", "100"])
            .args(["--target", &target, "--dialect", word, "--out", out.path().to_str().unwrap()]);
        if let Some(token) = responder.hub.manners.token {
            command.args(["--token", token]);
        }
        let said = command.output().unwrap();
        let told = String::from_utf8_lossy(&said.stderr);
        let text = std::fs::read_to_string(out.path().join("run.json")).expect(&told);
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let class = &record["totals"]["classes"][0];
        assert_eq!((&class["received"], &class["lost"]), (&1000.into(), &0.into()), "{word}");
        assert_eq!(responder.complaints(), Vec::<String>::new(), "{word}");
    }
}
