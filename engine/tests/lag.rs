//! Subscribers that fall behind, over real sockets: every loss is told, nobody else pays for it,
//! and its memory comes back. Owns the lag policies as a client meets them. Must not test the
//! choice of a policy (that is a pure function).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::Read;
use std::time::{Duration, Instant};

use harness::frames::RawSocket;
use harness::{Client, Overrides, Server, Told};

/// Small enough that a client which does not read is passed soon.
const NARROW: Overrides<'_> =
    &[("retention.bytes_max", "65536"), ("flush.send_buffer_bytes", "16384")];

/// Frames that a stalled client cannot have taken: 1 MB, where 64 KiB are kept.
const FRAMES: u64 = 1000;

fn message(number: u64) -> String {
    format!("{number} {}", "x".repeat(1000))
}

fn number(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

/// A client on `feed` that does not read, while another one reads everything in step.
fn stalled(server: &Server, feed: &str) -> Client {
    let stalled = Client::over(server.connect_narrow(), &format!("/v1/feed/{feed}"));
    let mut healthy = server.subscribe("t");
    let mut publisher = server.publisher("t");
    for sent in 1..=FRAMES {
        publisher.say(&message(sent));
        assert_eq!(number(&healthy.text()), sent, "who reads loses nothing");
    }
    stalled
}

#[test]
fn a_stalled_subscriber_is_closed_with_4409_and_a_healthy_one_loses_nothing() {
    let server = Server::start(NARROW);
    let mut stalled = stalled(&server, "t");
    server.wait_until("lagged", |server| server.closing("lagged") == 1);
    assert_eq!(server.metric("lapses_total{outcome=\"disconnected\"}"), 1);
    let mut next = 1;
    let (code, reason) = loop {
        match stalled.next() {
            Told::Text(text) => assert_eq!(number(&text), next, "in order up to the end"),
            Told::Close(code, reason) => break (code, reason),
            other => panic!("{other:?}"),
        }
        next += 1;
    };
    assert_eq!(code, 4409);
    assert!(reason.starts_with(&format!("missed {next}-")), "{next}: {reason}");
}

/// Reads to the last frame. Payloads and gaps together must name every number once.
fn account_for_all(client: &mut Client) -> u64 {
    let (mut next, mut missed) = (1, 0);
    while next <= FRAMES {
        match client.next() {
            Told::Text(text) => {
                assert_eq!(number(&text), next);
                next += 1;
            }
            Told::Ping(text) => {
                let notice: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(notice["gap"]["from"], next, "{text}");
                assert_eq!(notice["gap"]["reason"], "lagged");
                let frames = notice["gap"]["frames"].as_u64().unwrap();
                missed += frames;
                next += frames;
                assert_eq!(notice["gap"]["to"], next - 1, "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next, FRAMES + 1);
    missed
}

#[test]
fn who_skips_is_told_of_every_gap_and_gets_all_the_rest() {
    for lag in ["skip-to-oldest", "skip-to-latest"] {
        let server = Server::start(NARROW);
        let mut stalled = stalled(&server, &format!("t?lag={lag}"));
        let missed = account_for_all(&mut stalled);
        assert!(missed > 0, "{lag}: 1 MB does not fit where 64 KiB are kept");
        server.wait_until("counted", |server| server.metric("gap_frames_total") == missed);
        assert_eq!(server.closing("lagged"), 0);
        server.post("t", "1001 goes on");
        assert_eq!(stalled.text(), "1001 goes on", "{lag}");
    }
}

#[test]
fn the_class_of_a_feed_decides_where_the_subscriber_does_not() {
    let server = Server::start(&[
        ("retention.bytes_max", "65536"),
        ("flush.send_buffer_bytes", "16384"),
        ("retention.lag", "skip-to-latest"),
    ]);
    assert!(account_for_all(&mut stalled(&server, "t")) > 0);
}

#[test]
fn a_subscriber_of_the_newest_is_conflated_and_ends_with_the_last() {
    let server = Server::start(NARROW);
    let mut stalled = stalled(&server, "t?mode=latest");
    let (mut last, mut got) = (0, 0);
    while last < FRAMES {
        let at = number(&stalled.text());
        assert!(at > last, "{at} after {last}");
        (last, got) = (at, got + 1);
    }
    assert!(got < FRAMES, "something was left out");
    assert_eq!(server.closing("lagged"), 0);
    server.wait_until("counted", |server| server.metric("frames_conflated_total") == FRAMES - got);
}

#[test]
fn a_socket_that_takes_nothing_for_too_long_is_closed_with_4410() {
    let server =
        Server::start(&[("flush.lag_age_ms_max", "300"), ("flush.send_buffer_bytes", "16384")]);
    let mut stalled = stalled(&server, "t");
    server.wait_until("stalled", |server| server.closing("stalled") == 1);
    assert_eq!(stalled.close(), (4410, "stalled too long".into()));
}

/// The age of a lag is the time without a byte taken: who reads slowly is slow, not stalled.
#[test]
fn a_socket_that_takes_bytes_slowly_is_not_stalled() {
    let server = Server::start(&[
        ("flush.lag_age_ms_max", "300"),
        ("flush.send_buffer_bytes", "16384"),
        ("retention.bytes_max", "4194304"),
    ]);
    let mut slow = RawSocket::over(server.connect_narrow(), "/v1/feed/t");
    server.post("t", &"x".repeat(1 << 20));
    let begun = Instant::now();
    let (mut bytes, mut buffer) = (0, [0; 4096]);
    while begun.elapsed() < Duration::from_millis(1200) {
        bytes += slow.stream.read(&mut buffer).unwrap();
        // The pace of this client is the subject, not a wait for something to happen.
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(bytes < 1 << 20, "{bytes} bytes: it was to lag all the time");
    while bytes < (1 << 20) + 10 {
        bytes += slow.stream.read(&mut buffer).unwrap();
    }
    assert_eq!(server.closing("stalled"), 0);
}

/// 50 MB at once, from a publisher that does not wait for anything.
fn flood(publisher: &mut Client) {
    let payload = vec![7; FLOOD_BYTES];
    (0..FLOOD_MESSAGES).for_each(|_| publisher.say_bytes(&payload));
}

const FLOOD_MESSAGES: usize = 800;
const FLOOD_BYTES: usize = 64 << 10;

#[test]
fn a_flood_that_is_retained_reaches_a_reader_whole() {
    let server = Server::start(&[("retention.bytes_max", "67108864")]);
    let mut subscriber = server.subscribe("t");
    let mut publisher = server.publisher("t");
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&mut publisher));
        assert_eq!(subscriber.swallow(FLOOD_MESSAGES), FLOOD_MESSAGES * FLOOD_BYTES);
    });
    server.wait_for("publishes_total", FLOOD_MESSAGES as u64);
}

#[test]
fn a_flood_beyond_retention_is_slowed_and_every_loss_is_told() {
    let server = Server::start(&[("retention.bytes_max", "262144")]);
    let mut subscriber = server.subscribe("t?lag=skip-to-oldest");
    let mut publisher = server.publisher("t");
    let (mut got, mut missed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&mut publisher));
        while got + missed < FLOOD_MESSAGES as u64 {
            match subscriber.next() {
                Told::Binary(payload) if payload.len() == FLOOD_BYTES => got += 1,
                Told::Ping(text) => {
                    let notice: serde_json::Value = serde_json::from_str(&text).unwrap();
                    let edge = |name: &str| notice["gap"][name].as_u64().unwrap();
                    assert_eq!(edge("from"), got + missed + 1);
                    missed += edge("to") + 1 - edge("from");
                }
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(got + missed, FLOOD_MESSAGES as u64);
    assert!(server.metric("publishes_paced_total") > 0);
}

#[test]
fn the_memory_of_a_log_returns_when_nobody_needs_it() {
    let server = Server::start(&[("memory.compact_idle_s", "1"), ("memory.topic_idle_s", "2")]);
    let stalled = stalled(&server, "t");
    assert!(server.log_bytes() > 500_000, "{}", server.log_bytes());
    let tidied = |holds: fn(&Server) -> bool| {
        move |server: &Server| {
            server.engine.tidy();
            holds(server)
        }
    };
    server.wait_until("compact", tidied(|server| server.log_bytes() > 0 && last_only(server)));
    drop(stalled);
    server.wait_until("gone", |server| server.connections() == 0);
    server.wait_until("forgotten", tidied(|server| server.metric("topics") == 0));
    assert_eq!(server.log_bytes(), 0);
}

/// A stalled subscriber keeps what it has not got; then a log holds at most that and a new segment.
fn last_only(server: &Server) -> bool {
    server.log_bytes() < 500_000
}
