//! The bridge to another gridcast: two engines, and a cable between them that is cut. Owns what is
//! promised: within what is kept nothing is lost, and beyond it is told.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

#[path = "../harness/mod.rs"]
mod harness;

mod cable;
mod pages;
mod site;

use std::fs;

use gridcast::frame::Kind;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use cable::Cable;
use harness::following::{Came, Following};
use site::Site;

/// A bridge called `centre` over `cable`, with more lines.
fn bridge(cable: &Cable, lines: &str) -> String {
    let address = cable.address;
    format!(
        "[[bridge]]\nname = \"centre\"\nkind = \"gridcast\"\nurl = \"ws://{address}\"\n{lines}\n"
    )
}

/// Reads numbers until `last` has come; answers them without what came again, and how many did.
fn numbers(listener: &mut Following, last: u64) -> (Vec<u64>, usize) {
    let (mut numbers, mut again): (Vec<u64>, usize) = (Vec::new(), 0);
    while numbers.last() != Some(&last) {
        let number = listener.next().text().parse().unwrap();
        if numbers.contains(&number) {
            again += 1;
        } else {
            numbers.push(number);
        }
    }
    (numbers, again)
}

#[test]
fn messages_keep_their_bytes_kind_and_order_both_ways() {
    let mut far = Site::start("");
    let cable = Cable::to(far.address());
    let lines = "out = [\"pmu/#\"]\nin = [\"commands/#\"]\n\
                 map_out = [{ from = \"pmu/#\", to = \"edge/7/{1}\" }]";
    let mut near = Site::start(&bridge(&cable, lines));
    near.wait_connected("centre", 1);
    let (mut out, mut in_) = (far.follow("#"), near.follow("commands/#"));
    let long = "ü".repeat(100_000);
    let messages: [(Kind, &[u8]); 6] = [
        (Kind::Text, b"{\"v\": 1}"),
        (Kind::Text, b" 50,02\n"),
        (Kind::Text, b""),
        (Kind::Binary, b"{}"),
        (Kind::Binary, &[0, 255, 10]),
        (Kind::Text, long.as_bytes()),
    ];
    for (kind, payload) in messages {
        near.publish("pmu/1", kind, payload);
        far.publish("commands/a", kind, payload);
    }
    near.publish("other", Kind::Text, b"stays here");
    let came = |topic: &str, (kind, payload): (Kind, &[u8])| Came {
        topic: topic.to_owned(),
        kind,
        payload: payload.to_vec(),
    };
    for message in messages {
        let mut next = || loop {
            let next = out.next();
            // `#` at the far end has what is published there as well.
            if next.topic != "commands/a" {
                return next;
            }
        };
        assert!(next() == came("edge/7/1", message));
        assert!(in_.next() == came("commands/a", message));
    }
    let labels = "bridge=\"centre\",kind=\"gridcast\",direction";
    near.wait_for(&format!("gridcast_bridge_messages_total{{{labels}=\"out\"}}"), 6);
    near.wait_for(&format!("gridcast_bridge_messages_total{{{labels}=\"in\"}}"), 6);
    assert_eq!(near.metric(&format!("gridcast_bridge_messages_total{{{labels}=\"out\"}}")), 6);
}

/// What was on its way when the cable was cut may come twice, as the window allows.
#[test]
fn nothing_is_lost_by_a_cut_within_what_is_kept() {
    let far = Site::start("");
    let cable = Cable::to(far.address());
    let mut near = Site::start(&bridge(&cable, "out = [\"pmu/#\"]\nwindow = 16"));
    near.wait_connected("centre", 1);
    let mut out = far.follow("pmu/#");
    let mut next = 1;
    for cuts in 1..=3 {
        near.count("pmu/1", next, next + 499);
        cable.cut();
        near.wait_disconnected("centre");
        near.count("pmu/1", next + 500, next + 999);
        cable.mend();
        near.wait_connected("centre", cuts + 1);
        next += 1_000;
    }
    let (came, again) = numbers(&mut out, 3_000);
    assert_eq!(came, (1..=3_000).collect::<Vec<_>>());
    assert!(again <= 3 * 16, "{again}");
    assert_eq!(near.dropped("centre", "retention"), 0);
}

#[test]
fn what_is_lost_beyond_what_is_kept_is_told() {
    let far = Site::start("");
    let cable = Cable::to(far.address());
    let retention = "[[retention.class]]\npattern = \"pmu/#\"\nframes_max = 100\n";
    let lines = bridge(&cable, "out = [\"pmu/#\"]\nwindow = 8");
    let mut near = Site::start(&format!("{retention}{lines}"));
    near.wait_connected("centre", 1);
    let mut out = far.follow("#");
    near.count("pmu/1", 1, 1);
    assert_eq!(out.next().text(), "1");
    cable.cut();
    near.wait_disconnected("centre");
    near.count("pmu/1", 2, 2_000);
    cable.mend();
    near.wait_connected("centre", 2);
    let (mut came, mut missing) = (1, 0);
    loop {
        let message = out.next();
        if message.topic == "gap/centre" {
            let notice: Value = serde_json::from_str(message.text()).unwrap();
            missing = notice["gap"]["messages"].as_u64().unwrap();
            let gap = json!({
                "bridge": "centre", "direction": "out", "reason": "retention", "messages": missing,
            });
            assert_eq!(notice["gap"], gap);
        } else {
            came += 1;
            if message.text() == "2000" && missing > 0 {
                break;
            }
        }
        if came + missing == 2_000 {
            break;
        }
    }
    assert!(missing > 1_000 && came >= 100, "{missing} missing, {came} came");
    assert_eq!(came + missing, 2_000);
    assert_eq!(near.dropped("centre", "retention"), missing);
}

#[test]
fn what_comes_in_goes_on_where_it_was_and_nothing_comes_twice() {
    let mut far = Site::start("");
    let cable = Cable::to(far.address());
    let near = Site::start(&bridge(&cable, "in = [\"pmu/#\", \"alarms\"]"));
    near.wait_connected("centre", 1);
    let (mut pmu, mut alarms) = (near.follow("pmu/#"), near.follow("alarms"));
    for cuts in 0..3 {
        far.count("pmu/1", cuts * 200 + 1, cuts * 200 + 100);
        far.count("alarms", cuts * 2 + 1, cuts * 2 + 1);
        cable.cut();
        near.wait_disconnected("centre");
        far.count("pmu/1", cuts * 200 + 101, cuts * 200 + 200);
        far.count("alarms", cuts * 2 + 2, cuts * 2 + 2);
        cable.mend();
        near.wait_connected("centre", cuts + 2);
    }
    assert_eq!(numbers(&mut pmu, 600), ((1..=600).collect(), 0));
    assert_eq!(numbers(&mut alarms, 6), ((1..=6).collect(), 0));
    assert_eq!(near.dropped("centre", "far_retention"), 0);
}

#[test]
fn what_the_far_end_no_longer_keeps_is_told_here() {
    let mut far = Site::start("[[retention.class]]\npattern = \"pmu/#\"\nframes_max = 10\n");
    let cable = Cable::to(far.address());
    let near = Site::start(&bridge(&cable, "in = [\"pmu/#\"]"));
    near.wait_connected("centre", 1);
    let mut all = near.follow("#");
    far.count("pmu/1", 1, 1);
    assert_eq!(all.next().text(), "1");
    cable.cut();
    near.wait_disconnected("centre");
    far.count("pmu/1", 2, 51);
    cable.mend();
    let notice: Value = serde_json::from_str(all.next().text()).unwrap();
    let gap = json!({
        "bridge": "centre", "direction": "in", "topic": "pmu/#", "messages": 40,
        "reason": "expired",
    });
    assert_eq!(notice, json!({ "gap": gap }));
    assert_eq!(numbers(&mut all, 51).0, (42..=51).collect::<Vec<_>>());
    assert_eq!(near.dropped("centre", "far_retention"), 40);
}

/// No end, no reset: only that nothing comes shows it.
#[test]
fn a_link_that_went_silent_is_noticed() {
    let far = Site::start("");
    let cable = Cable::to(far.address());
    let mut near = Site::start(&bridge(&cable, "out = [\"pmu/#\"]\nquiet_ms = 300"));
    near.wait_connected("centre", 1);
    let mut out = far.follow("pmu/#");
    cable.silence();
    near.count("pmu/1", 1, 50);
    near.wait_disconnected("centre");
    near.count("pmu/1", 51, 100);
    cable.mend();
    near.wait_connected("centre", 2);
    assert_eq!(numbers(&mut out, 100).0, (1..=100).collect::<Vec<_>>());
}

#[test]
fn tls_and_a_token_and_what_the_token_does_not_cover() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    let (certificate, key) =
        (file("server.pem", &certificate), file("key.pem", &key.serialize_pem()));
    let far = Site::start(&format!(
        "[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n[[auth.token]]\n\
         name = \"edge\"\ntoken = \"token-of-the-edge\"\npublish = [\"pmu/#\"]\n"
    ));
    let cable = Cable::to(far.address());
    let bridge = |token: &str, ca: &str| {
        let (token, address) = (file("token", token), cable.address);
        let ca = file("ca.pem", ca);
        format!(
            "[[bridge]]\nname = \"centre\"\nkind = \"gridcast\"\nurl = \"wss://{address}\"\n\
             token_file = \"{token}\"\nca_file = \"{ca}\"\nout = [\"pmu/#\", \"bay/#\"]\n"
        )
    };
    let error = |site: &Site, reason: &str| {
        let labels = format!("bridge=\"centre\",kind=\"gridcast\",reason=\"{reason}\"");
        site.wait_for(&format!("gridcast_bridge_errors_total{{{labels}}}"), 1);
    };
    error(&Site::start(&bridge("another-token", &authority.pem())), "refused");
    let stranger = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let stranger = CertifiedIssuer::self_signed(params, stranger).unwrap();
    error(&Site::start(&bridge("token-of-the-edge", &stranger.pem())), "tls");

    let mut near = Site::start(&bridge("token-of-the-edge\n", &authority.pem()));
    near.wait_connected("centre", 1);
    let mut out = far.follow("#");
    near.publish("bay/1", Kind::Text, b"not covered");
    near.count("pmu/1", 1, 10);
    near.publish("bay/1", Kind::Text, b"not covered");
    assert_eq!(numbers(&mut out, 10), ((1..=10).collect(), 0));
    let labels = "bridge=\"centre\",kind=\"gridcast\",reason=\"refused\"";
    near.wait_for(&format!("gridcast_bridge_dropped_total{{{labels}}}"), 2);
    near.wait_connected("centre", 1);
    assert!(out.now().is_none());
}

/// The far end does not say which message it was, nor take any other over that connection.
#[test]
fn a_message_that_the_far_end_finds_too_long_stops_no_other() {
    let far = Site::start("[limits]\nmessage_bytes_max = 1000\n");
    let cable = Cable::to(far.address());
    let mut near = Site::start(&bridge(&cable, "out = [\"pmu/#\"]"));
    near.wait_connected("centre", 1);
    let mut out = far.follow("pmu/#");
    near.count("pmu/1", 1, 10);
    near.publish("pmu/1", Kind::Text, "x".repeat(2_000).as_bytes());
    near.count("pmu/1", 11, 20);
    assert_eq!(numbers(&mut out, 20).0, (1..=20).collect::<Vec<_>>());
    assert_eq!(near.dropped("centre", "too_long"), 1);
    // From then on one as long does not cut the connection.
    near.wait_connected("centre", 2);
    near.publish("pmu/1", Kind::Text, "x".repeat(2_000).as_bytes());
    near.count("pmu/1", 21, 30);
    assert_eq!(numbers(&mut out, 30).0, (21..=30).collect::<Vec<_>>());
    assert_eq!(near.dropped("centre", "too_long"), 2);
    let labels = "bridge=\"centre\",kind=\"gridcast\"";
    assert_eq!(near.metric(&format!("gridcast_bridge_sessions_total{{{labels}}}")), 2);
}

/// Two sites that send each other the same topics: what came by the bridge does not go out by it.
#[test]
fn two_bridges_that_face_each_other_do_not_loop() {
    let hub = Site::start("");
    let cable = Cable::to(hub.address());
    let mut near = Site::start(&bridge(
        &cable,
        "out = [\"shared/#\"]\nin = [\"back/#\"]\n\
         map_in = [{ from = \"back/#\", to = \"shared/{1}\" }]",
    ));
    let mut other = Site::start(&bridge(
        &cable,
        "out = [\"shared/#\"]\nin = [\"shared/#\"]\n\
         map_out = [{ from = \"shared/#\", to = \"back/{1}\" }]",
    ));
    near.wait_connected("centre", 1);
    other.wait_connected("centre", 1);
    let (mut here, mut there) = (near.follow("shared/#"), other.follow("shared/#"));
    near.publish("shared/a", Kind::Text, b"from near");
    other.publish("shared/b", Kind::Text, b"from other");
    let texts = |listener: &mut Following| {
        let mut texts = [listener.next(), listener.next()].map(|came| came.text().to_owned());
        texts.sort();
        texts
    };
    assert_eq!(texts(&mut here), ["from near", "from other"]);
    assert_eq!(texts(&mut there), ["from near", "from other"]);
    // Round trips of something else that would have come after what loops.
    for _ in 0..3 {
        near.publish("shared/end", Kind::Text, b"end");
        assert_eq!((here.next().text(), there.next().text()), ("end", "end"));
    }
}
