//! Event streams over real sockets: ids, base64, resuming, gaps and the end of a stream. Owns what
//! an `EventSource` sees. Must not test what both forms of a feed have in common.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};

use harness::frames::{CLOSE, PING, TEXT, frame, header};
use harness::http::{self, Event, Events};
use harness::{Overrides, Server};
use serde_json::json;

#[test]
fn an_event_carries_its_position_and_the_text() {
    let server = Server::start(&[]);
    let mut events = Events::open(&server, "t");
    let epoch = server.epoch("t", "one\ntwo");
    let (id, data) = (format!("{epoch}-1"), "one\ntwo".into());
    let expected = Event { id, data, ..Event::default() };
    assert_eq!(events.next(), Some(expected));
}

#[test]
fn binary_payloads_travel_as_base64() {
    let server = Server::start(&[]);
    let mut events = Events::open(&server, "t");
    http::post(&server, "/v1/publish/t", "application/octet-stream", &[0, 255, 1]);
    let event = events.next().unwrap();
    assert_eq!((event.event.as_str(), event.data.as_str()), ("binary", "AP8B"));
    assert!(event.id.ends_with("-1"));
}

#[test]
fn the_head_of_a_stream_is_what_proxies_need() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let request = b"GET /v1/feed/t HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request).unwrap();
    let head = http::read_answer_head(&mut stream);
    assert!(head.header("date").is_some_and(|date| date.ends_with(" GMT")), "{head:?}");
    assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    let first = Events { stream }.chunk().expect("a stream begins at once");
    let retry_ms = first.strip_prefix(": ping\nretry: ").and_then(|rest| rest.strip_suffix("\n\n"));
    let retry_ms: u64 = retry_ms.unwrap_or_else(|| panic!("{first:?}")).parse().unwrap();
    assert!((1000..=5000).contains(&retry_ms), "a delay of before must not stay: {retry_ms}");
}

/// An event stream has no end that HTTP/1.0 could see.
#[test]
fn http_10_is_told_that_it_needs_http_11() {
    let server = Server::start(&[]);
    let refused =
        http::ask(&server, b"GET /v1/feed/t HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    assert_eq!(refused.status, 505);
    assert!(refused.body.contains("proxy_http_version 1.1"), "{refused:?}");
}

/// What a polyfill cannot put into a header it puts into the URL.
#[test]
fn the_last_event_may_be_named_in_the_url() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 4);
    let epoch = server.epoch("t", "5");
    let mut events = Events::open(&server, &format!("t?from=latest&lastEventId={epoch}-3"));
    assert_eq!(events.next().unwrap().data, "4");
    let mut events =
        Events::resume(&server, &format!("t?lastEventId={epoch}-1"), &format!("{epoch}-4"));
    assert_eq!(events.next().unwrap().data, "5", "the header is the newer");
}

#[test]
fn the_id_of_another_server_is_a_position_in_another_epoch() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 2);
    for id in ["123", "e5b1-x", "\u{fc}"] {
        let mut events = Events::resume(&server, "t", id);
        assert_eq!(events.next().unwrap().json()["reason"], "epoch", "{id}");
        assert_eq!(events.next().unwrap().data, "1");
    }
}

#[test]
fn who_takes_anything_gets_events() {
    let server = Server::start(&[]);
    for accept in ["", "Accept: */*\r\n", "Accept: text/*\r\n"] {
        let request = format!("GET /v1/feed/t HTTP/1.1\r\nHost: h\r\n{accept}\r\n");
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(http::read_answer_head(&mut stream).status, 200, "{accept}");
        let mut events = Events { stream };
        server.post("t", "x");
        assert_eq!(events.next().unwrap().data, "x");
    }
}

#[test]
fn a_pattern_is_streamed_with_the_positions_of_the_pattern() {
    let server = Server::start(&[]);
    let mut events = Events::open(&server, "%23");
    server.post("a", "1");
    server.post("b", "2");
    let (first, second) = (events.next().unwrap(), events.next().unwrap());
    assert_eq!((first.data.as_str(), second.data.as_str()), ("1", "2"));
    assert!(first.id.ends_with("-1") && second.id.ends_with("-2"), "{first:?} {second:?}");
}

#[test]
fn a_stream_that_is_taken_up_again_repeats_and_misses_nothing() {
    let server = Server::start(&[]);
    let mut events = Events::open(&server, "t");
    let mut last = String::new();
    let mut seen = Vec::new();
    for round in 0..5 {
        server.post_numbers("t", round * 10 + 1, round * 10 + 10);
        for _ in 0..7 {
            let event = events.next().unwrap();
            seen.push(event.data.parse::<u64>().unwrap());
            last = event.id;
        }
        events = Events::resume(&server, "t", &last);
    }
    while seen.last() != Some(&50) {
        seen.push(events.next().unwrap().data.parse().unwrap());
    }
    assert_eq!(seen, (1..=50).collect::<Vec<u64>>());
}

#[test]
fn a_wall_that_comes_back_finds_its_position_in_the_pattern() {
    let server = Server::start(&[]);
    let mut wall = Events::open(&server, "pmu/%23");
    server.post("pmu/1", "1");
    server.post("pmu/2", "2");
    let last = wall.next().unwrap();
    drop(wall);
    server.wait_until("gone", |server| server.connections() == 0);
    server.post("pmu/3", "3");
    let mut wall = Events::resume(&server, "pmu/%23", &last.id);
    server.post("pmu/1", "4");
    let rest: Vec<String> = (0..3).map(|_| wall.next().unwrap().data).collect();
    assert_eq!(rest, ["2", "3", "4"]);
}

#[test]
fn the_header_wins_over_the_url() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 4);
    let epoch = server.epoch("t", "5");
    let mut events = Events::resume(&server, "t?from=oldest", &format!("{epoch}-4"));
    assert_eq!(events.next().unwrap().data, "5");
}

#[test]
fn a_position_that_is_gone_is_answered_with_a_gap_and_the_rest() {
    let server = Server::start(&[("retention.frames_max", "5")]);
    server.post_numbers("t", 1, 19);
    let epoch = server.epoch("t", "20");
    let mut events = Events::resume(&server, "t", &format!("{epoch}-3"));
    let gap = events.next().unwrap();
    assert_eq!((gap.event.as_str(), gap.id.as_str()), ("gap", ""));
    assert_eq!(gap.json(), json!({"from": 4, "to": 15, "frames": 12, "reason": "expired"}));
    let rest: Vec<String> = (0..5).map(|_| events.next().unwrap().data).collect();
    assert_eq!(rest, ["16", "17", "18", "19", "20"]);
}

#[test]
fn a_position_of_another_life_of_the_log_is_answered_with_a_gap() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 2);
    let mut events = Events::resume(&server, "t", "zz-7");
    let gap = json!({"from": 0, "to": 0, "reason": "epoch"});
    assert_eq!(events.next().unwrap().json(), gap, "how many frames, nobody knows");
    assert_eq!(events.next().unwrap().data, "1");
}

#[test]
fn silence_is_broken_by_comments() {
    let server = Server::start(&[("keepalive.heartbeat_ms", "100")]);
    let mut events = Events::open(&server, "t");
    assert!(events.chunk().unwrap().starts_with(": ping\n"), "what a stream begins with");
    assert_eq!(events.chunk().as_deref(), Some(": ping\n\n"));
    server.post("t", "still there");
    assert_eq!(events.next().unwrap().data, "still there");
}

/// Where little is sent a socket never fills, and nobody answers a comment: that a client takes
/// nothing any more only the kernel sees.
#[test]
fn a_client_that_is_gone_without_a_word_is_noticed_however_little_is_sent() {
    let server = Server::start(&[
        ("keepalive.heartbeat_ms", "100"),
        ("keepalive.ping_interval_ms", "200"),
        ("keepalive.idle_timeout_ms", "500"),
        ("flush.lag_age_ms_max", "500"),
    ]);
    let mut healthy = Events::open(&server, "t");
    let lost = Events::over(server.connect_narrow(), "t", "");
    // More than its window, and less than a socket holds.
    server.post("t", &"x".repeat(100_000));
    healthy.next().unwrap();
    server.wait_for("connections{role=\"events\"}", 1);
    for metric in ["writes_partial_total", "writes_blocked_total"] {
        assert_eq!(server.metric(metric), 0, "its socket took all there was");
    }
    server.post("t", "still here");
    assert_eq!(healthy.next().unwrap().data, "still here");
    drop(lost);
}

/// RFC 9112 sections 2.2 and 9.3.2: the response never ends, so that nothing behind the request is
/// ever answered; least of all is it a WebSocket frame.
#[test]
fn what_follows_the_request_of_a_stream_is_never_answered() {
    let server = Server::start(&[]);
    server.post("t", "kept");
    let behind: [Vec<u8>; 8] = [
        b"\r\n".to_vec(),
        b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        http::post_bytes("/v1/publish/t", "text/plain", b"not published"),
        frame(PING, b"ping"),
        frame(CLOSE, &1000_u16.to_be_bytes()),
        frame(TEXT, b"text"),
        header(TEXT, 1 << 30),
        vec![0xFF; 300_000],
    ];
    for bytes in behind {
        let request = b"GET /v1/feed/t?from=last HTTP/1.1\r\nHost: h\r\n\
                        Accept: text/event-stream\r\n\r\n";
        let mut stream = server.connect();
        stream.write_all(&[request, bytes.as_slice()].concat()).unwrap();
        assert_eq!(http::read_answer_head(&mut stream).status, 200);
        let mut events = Events { stream };
        assert_eq!(events.next().unwrap().data, "kept");
        events.stream.write_all(&bytes).unwrap();
        server.post("t", "after");
        assert_eq!(events.next().unwrap().data, "after", "{:?}", &bytes[..2]);
        server.post("t", "kept");
        assert_eq!(events.next().unwrap().data, "kept");
    }
    assert_eq!(server.metric("publishes_total"), 17);
    assert_eq!(server.closing("protocol"), 0);
}

/// Small enough that a client which does not read is passed soon.
const NARROW: Overrides<'_> =
    &[("retention.bytes_max", "65536"), ("flush.send_buffer_bytes", "16384")];

/// A narrow event stream that retention has passed, after `count` frames of about 1 KB.
fn lapsed(server: &Server, feed: &str, count: u64) -> Events {
    let mut healthy = server.subscribe("t");
    let events = Events::over(server.connect_narrow(), feed, "");
    let mut publisher = server.publisher("t");
    for number in 1..=count {
        publisher.say(&format!("{number} {}", "x".repeat(1000)));
        assert!(healthy.text().starts_with(&format!("{number} ")), "others lose nothing");
    }
    events
}

#[test]
fn a_stream_that_lags_is_closed_by_an_event_and_ends_properly() {
    let server = Server::start(NARROW);
    let mut events = lapsed(&server, "t", 1000);
    server.wait_until("lagged", |server| server.closing("lagged") == 1);
    let mut next = 1;
    let close = loop {
        let event = events.next().expect("a close event before the end");
        if event.event == "close" {
            break event.json();
        }
        assert!(event.data.starts_with(&format!("{next} ")), "in order up to the end");
        next += 1;
    };
    assert_eq!(close["code"], 4409);
    let reason = close["reason"].as_str().unwrap();
    assert!(reason.starts_with(&format!("missed {next}-")), "{reason}");
    assert_eq!(events.next(), None, "the empty chunk ends the response");
    assert_eq!(events.stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_stream_that_skips_is_told_each_gap_in_its_place() {
    let server = Server::start(NARROW);
    let mut events = lapsed(&server, "t?lag=skip-to-oldest", 1000);
    let mut next = 1;
    let mut gaps = 0;
    while next <= 1000 {
        let event = events.next().expect("the stream goes on");
        if event.event == "gap" {
            let gap = event.json();
            assert_eq!((&gap["from"], &gap["reason"]), (&next.into(), &"lagged".into()));
            next += gap["frames"].as_u64().unwrap();
            assert_eq!(gap["to"], next - 1);
            gaps += 1;
        } else {
            assert!(event.id.ends_with(&format!("-{next}")), "{} is not {next}", event.id);
            next += 1;
        }
    }
    assert_eq!(next, 1001);
    assert!(gaps > 0, "1 MB does not fit where 64 KiB are kept");
}
