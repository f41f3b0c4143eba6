//! The gates in front of the engine over real sockets: origins, rates of coming and of asking,
//! proxies, the budget of memory. Owns who is turned away, how, and that others are not. Must not
//! test what is served behind them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;

use harness::frames::{BINARY, Frame, PING, PONG, RawSocket, TEXT, frame, header};
use harness::http::{Answer, Event, Events, UPGRADE, ask, get, read_answer};
use harness::{Overrides, Server, Told};

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

// ---- behind a proxy ----

const BEHIND: Overrides<'_> = &[
    ("proxy.trusted", "127.0.0.1"),
    ("proxy.forwarded_for", "true"),
    ("limits.connections_per_source_max", "1"),
];

fn forwarded(stream: &mut TcpStream, client: &str) -> Answer {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {client}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream)
}

#[test]
fn the_limit_of_one_address_holds_for_whom_a_trusted_proxy_passes_on() {
    let server = Server::start(BEHIND);
    let mut streams: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
    assert_eq!(forwarded(&mut streams[0], "203.0.113.1").status, 200);
    assert_eq!(forwarded(&mut streams[1], "203.0.113.2").status, 200);
    let refused = forwarded(&mut streams[2], "198.51.100.7, 203.0.113.1");
    assert_eq!(refused.status, 503, "that client is here already, whoever it says it is");
    // A proxy uses a connection for one client after the other.
    assert_eq!(forwarded(&mut streams[1], "203.0.113.3").status, 200);
    assert_eq!(forwarded(&mut streams[3], "203.0.113.2").status, 200, "that one had left");
    drop(streams);
    server.wait_until("gone", |server| server.connections() == 0);
    assert_eq!(forwarded(&mut server.connect(), "203.0.113.1").status, 200);
}

#[test]
fn whoever_is_no_trusted_proxy_is_not_believed() {
    let server = Server::start(&[
        ("proxy.trusted", "10.0.0.0/8"),
        ("proxy.forwarded_for", "true"),
        ("limits.connections_per_source_max", "1"),
    ]);
    let mut first = server.connect();
    assert_eq!(forwarded(&mut first, "203.0.113.1").status, 200);
    assert_eq!(forwarded(&mut server.connect(), "203.0.113.2").status, 503);
}

// ---- memory ----

const SMALL_BUDGET: Overrides<'_> =
    &[("memory.pending_bytes_max", "1048576"), ("flush.send_buffer_bytes", "16384")];

/// A publisher that has sent `len` bytes of a message of a MiB.
fn halfway(server: &Server, len: usize) -> RawSocket {
    let mut socket = RawSocket::open(server, "/v1/publish/big");
    let start = header(BINARY, 1_000_000);
    socket.send(&[start, vec![0; len]].concat());
    socket
}

#[test]
fn whoever_holds_most_is_disconnected_when_memory_is_short_and_nobody_else() {
    let server = Server::start(SMALL_BUDGET);
    let mut healthy = server.subscribe("t");
    let mut modest = halfway(&server, 300_000);
    for _ in 0..3 {
        let close = halfway(&server, 800_000).read().expect("a close");
        assert_eq!(close.close_code(), 4503);
        assert!(String::from_utf8_lossy(&close.payload).contains("memory.pending_bytes_max"));
        server.wait_for("shedding", 0);
    }
    modest.send(&vec![0; 700_000]);
    server.wait_for("publishes_total", 1);
    server.post("t", "unharmed");
    assert_eq!(healthy.text(), "unharmed");
    assert_eq!(server.metric("turned_away_total{gate=\"memory\"}"), 3);
    assert_eq!(server.closing("over_capacity"), 3);
}

#[test]
fn a_body_counts_as_well_and_is_refused_with_503() {
    let server = Server::start(SMALL_BUDGET);
    let head = "POST /v1/publish/t HTTP/1.1\r\nHost: h\r\nContent-Length: 700000\r\n\r\n";
    let mut posts: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut posts {
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; 600_000]).unwrap();
    }
    server.wait_until("refused", |server| server.metric("turned_away_total{gate=\"memory\"}") > 0);
    server.wait_for("shedding", 0);
    assert!(server.metric("requests_refused_total{status=\"503\"}") > 0);
}

/// What a stream that is ended tells last: when to come back, and why it ended.
fn told_to_come_back(events: &mut Events) {
    let told = std::iter::from_fn(|| events.next()).skip_while(|event| event.retry_ms.is_none());
    let told: Vec<Event> = told.collect();
    let [retry, close] = &told[..] else { panic!("{told:?}") };
    assert!((700..=900).contains(&retry.retry_ms.unwrap()), "{retry:?}");
    assert_eq!((close.event.as_str(), &close.json()["code"]), ("close", &4503.into()));
    assert!(close.data.contains("memory.socket_bytes_max"), "{close:?}");
    assert_eq!(events.stream.read(&mut [0]).unwrap(), 0);
}

/// An `EventSource` comes back to a stream that ends, and never after any status but 200.
#[test]
fn event_streams_that_are_ended_for_memory_or_come_meanwhile_are_asked_to_come_back() {
    // One socket that lags is the whole budget.
    let server = Server::start(&[
        ("server.cores", "1"),
        ("flush.send_buffer_bytes", "16384"),
        ("memory.socket_bytes_max", "16384"),
        ("keepalive.close_timeout_ms", "60000"),
        ("drain.reconnect_ms_min", "700"),
        ("drain.reconnect_ms_max", "900"),
    ]);
    let mut slow = Events::over(server.connect_narrow(), "t", "");
    let mut publisher = server.publisher("t");
    for _ in 0..100 {
        publisher.say(&"x".repeat(4_000));
    }
    server.wait_until("ended", |server| server.closing("over_capacity") == 1);
    // It has not taken its end yet, so that memory is as short as before.
    told_to_come_back(&mut Events::open(&server, "t"));
    let websocket = format!("GET /v1/feed/t HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n");
    assert_eq!(ask(&server, websocket.as_bytes()).status, 503);
    told_to_come_back(&mut slow);
    server.wait_for("shedding", 0);
    let mut again = Events::open(&server, "t");
    server.post("t", "again");
    assert_eq!(again.next().unwrap().data, "again");
}

/// Those who may lose frames give them up before anybody is disconnected.
#[test]
fn a_lagging_subscriber_that_may_skip_goes_on_with_the_newest_and_is_told() {
    // One socket that lags is nine tenths of the budget.
    let server = Server::start(&[
        ("flush.send_buffer_bytes", "16384"),
        ("memory.socket_bytes_max", "18204"),
    ]);
    let path = "/v1/feed/t?lag=skip-to-oldest";
    let mut slow = RawSocket::over(server.connect_narrow(), path);
    for _ in 0..100 {
        server.post("t", &"x".repeat(4_000));
    }
    server.wait_until("conflated", |server| server.metric("gap_frames_total") > 0);
    server.post("t", "the newest");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|frame: &Frame| frame.payload != b"the newest") {
        seen.push(slow.read().expect("frames up to the newest"));
    }
    assert!(seen.iter().any(|frame| frame.first == PING && !frame.payload.is_empty()), "told");
    assert!(seen.len() < 100, "and some are left out: {}", seen.len());
    assert_eq!(server.metric("turned_away_total{gate=\"memory\"}"), 0, "nobody was ended");
}
