//! The gates in front of the engine over real sockets: origins, rates of coming and of asking. Owns
//! who is turned away, how, and that others are not. Must not test what is served behind them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};

use harness::frames::{PING, PONG, RawSocket, TEXT, frame};
use harness::http::{Events, UPGRADE, ask, get, read_answer};
use harness::{Server, Told};

#[test]
fn a_page_that_is_not_listed_is_refused_in_every_form_and_others_pass() {
    let server = Server::start(&[("security.origins", "https://a.example")]);
    let request = |line: &str, headers: &str| {
        ask(&server, format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes())
    };
    let evil = "Origin: https://evil.example\r\n";
    for (line, headers) in [
        ("GET /v1/feed/t", UPGRADE),
        ("GET /v1/feed/t", "Accept: text/event-stream\r\n"),
        ("POST /v1/publish/t", "Content-Length: 0\r\n"),
        ("GET /v1/ws", UPGRADE),
        ("OPTIONS /v1/publish/t", ""),
    ] {
        let answer = request(line, &format!("{headers}{evil}"));
        assert_eq!(answer.status, 403, "{line}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{line}");
    }
    server.post("t", "no browser, no origin");
    let listed = "Origin: https://a.example\r\n";
    let answer = request("POST /v1/publish/t", &format!("Content-Length: 0\r\n{listed}"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    let mut events = Events::over(server.connect(), "t", listed);
    server.post("t", "for the page");
    assert_eq!(events.next().unwrap().data, "for the page");
    assert_eq!(get(&server, "/healthz").status, 200, "nobody's page");
    assert_eq!(server.metric("turned_away_total{gate=\"origin\"}"), 5);
}

#[test]
fn a_source_that_comes_too_fast_gets_429() {
    let server = Server::start(&[("limits.handshakes_per_s_per_source", "3")]);
    let statuses: Vec<u16> = (0..8).map(|_| get(&server, "/healthz").status).collect();
    assert_eq!(statuses[..3], [200; 3]);
    let refused = statuses.iter().filter(|&&status| status == 429).count() as u64;
    assert!(refused > 0, "{statuses:?}");
    assert_eq!(server.metric("turned_away_total{gate=\"source_rate\"}"), refused);
    server.wait_until("served again", |server| {
        let answer = get(server, "/healthz");
        assert!(answer.status == 200 || answer.header("retry-after") == Some("1"), "{answer:?}");
        answer.status == 200
    });
}

#[test]
fn all_together_that_come_too_fast_get_503_and_when_to_come_again() {
    let server = Server::start(&[("limits.accepts_per_s_max", "3")]);
    let answers: Vec<_> = (0..8).map(|_| get(&server, "/healthz")).collect();
    assert!(answers[..3].iter().all(|answer| answer.status == 200));
    let refused = answers.iter().find(|answer| answer.status == 503).expect("one too many");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.json()["error"]["message"].to_string().contains("accepts_per_s_max"));
    assert!(server.metric("turned_away_total{gate=\"accept_rate\"}") > 0);
    server.wait_until("served again", |server| get(server, "/healthz").status == 200);
}

/// Twice as many as one second allows: however the seconds lie, one of them has too many.
#[test]
fn a_flood_of_pings_is_closed_with_4429() {
    let server = Server::start(&[("limits.controls_per_s_max", "10")]);
    let mut healthy = server.subscribe("t");
    let mut socket = RawSocket::open(&server, "/v1/feed/t");
    socket.send(&frame(PING, b"x").repeat(21));
    let mut pongs = 0;
    let close = loop {
        match socket.read().expect("pongs, then a close") {
            pong if pong.first == PONG => pongs += 1,
            other => break other,
        }
    };
    assert_eq!(close.close_code(), 4429);
    assert!((10..=20).contains(&pongs), "{pongs}");
    server.post("t", "unharmed");
    assert_eq!(healthy.next(), Told::Text("unharmed".into()));
    assert_eq!(server.metric("turned_away_total{gate=\"controls\"}"), 1);
}

#[test]
fn a_flood_of_commands_is_closed_with_4429_and_publishes_are_none() {
    let server = Server::start(&[("limits.controls_per_s_max", "10")]);
    let mut publisher = RawSocket::open(&server, "/v1/ws");
    let publish = br#"{"publish":{"topic":"t","data":1}}"#;
    publisher.send(&frame(TEXT, publish).repeat(50));
    server.wait_for("publishes_total", 50);
    let mut socket = RawSocket::open(&server, "/v1/ws");
    socket.send(&frame(TEXT, br#"{"unsubscribe":{"topic":"t"}}"#).repeat(21));
    let close = loop {
        match socket.read().expect("errors, then a close") {
            error if error.first == TEXT => {}
            other => break other,
        }
    };
    assert_eq!(close.close_code(), 4429);
}

/// A request of 35 bytes asks for kilobytes: whoever does not read gets no more of them prepared.
#[test]
fn requests_sent_at_once_are_answered_no_faster_than_the_answers_are_read() {
    const REQUESTS: usize = 4_000;
    let server = Server::start(&[("flush.send_buffer_bytes", "16384")]);
    let mut stream = server.connect_narrow();
    let request = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&request.repeat(REQUESTS)));
    for _ in 0..20 {
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    server.wait_until("measured", |server| server.metric("memory_bytes{kind=\"pending\"}") > 0);
    assert!(server.metric("memory_bytes{kind=\"pending\"}") < 2 << 20);
    for _ in 20..REQUESTS {
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    writing.join().unwrap().unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}
