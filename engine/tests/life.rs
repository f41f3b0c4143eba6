//! The life of connections and of the engine over real sockets: keep-alive, draining, sudden ends,
//! and that everything returns to nothing. Owns what happens over time. Must not test what is
//! delivered meanwhile, except that nobody loses anything.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use harness::frames::{PING, PONG, RawSocket, TEXT, frame};
use harness::http::{Events, get, read_answer};
use harness::{Client, DEADLINE, Overrides, Server, Told, config, reset};

// ---- keep-alive ----

const IMPATIENT: Overrides<'_> =
    &[("keepalive.ping_interval_ms", "100"), ("keepalive.idle_timeout_ms", "500")];

#[test]
fn who_does_not_answer_a_ping_is_closed_with_4408() {
    let server = Server::start(IMPATIENT);
    for path in ["/v1/feed/t", "/v1/publish/t"] {
        let mut socket = RawSocket::open(&server, path);
        socket.expect(PING, b"");
        let close = socket.read().unwrap();
        assert_eq!(close.close_code(), 4408, "{path}");
        assert_eq!(&close.payload[2..], b"no answer to a ping");
    }
    server.wait_until("counted", |server| server.closing("timeout") == 2);
}

#[test]
fn who_answers_stays_as_long_as_it_likes() {
    let server = Server::start(IMPATIENT);
    let mut socket = RawSocket::open(&server, "/v1/feed/t");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1200) {
        socket.expect(PING, b"");
        socket.send(&frame(PONG, b""));
    }
    assert_eq!(server.closing("timeout"), 0);
}

/// While it lags a subscriber is not asked: nobody may be taken for silent who was not.
#[test]
fn who_lagged_for_long_is_asked_before_it_is_taken_for_gone() {
    let server = Server::start(&[
        ("keepalive.ping_interval_ms", "100"),
        ("keepalive.idle_timeout_ms", "500"),
        ("flush.lag_age_ms_max", "300"),
        ("flush.send_buffer_bytes", "16384"),
    ]);
    let mut slow = RawSocket::over(server.connect_narrow(), "/v1/feed/t");
    let payload = "x".repeat(512 << 10);
    server.post("t", &payload);
    let begun = Instant::now();
    let (mut left, mut buffer) = (payload.len() + 10, [0; 4096]);
    while begun.elapsed() < Duration::from_millis(900) {
        left -= slow.stream.read(&mut buffer).unwrap();
        // The pace of this client is the subject, not a wait for something to happen.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(left > 0, "it was to lag all the time");
    slow.stream.read_exact(&mut vec![0; left]).unwrap();
    for _ in 0..3 {
        slow.expect(PING, b"");
        slow.send(&frame(PONG, b""));
    }
    assert_eq!(server.closing("timeout"), 0);
}

/// A core without connections sleeps and has nothing that tells it the time.
#[test]
fn the_first_client_after_a_long_silence_has_all_its_time() {
    let server = Server::start(&[("limits.handshake_ms_max", "500")]);
    // The silence is the subject, not a wait for something to happen.
    std::thread::sleep(Duration::from_millis(800));
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
}

// ---- draining ----

#[test]
fn a_drain_closes_evenly_and_says_when_to_come_back() {
    const CLIENTS: u64 = 20;
    let server = Server::start(&[
        ("drain.window_ms", "1000"),
        ("drain.deadline_ms", "20000"),
        ("drain.reconnect_ms_min", "700"),
        ("drain.reconnect_ms_max", "900"),
    ]);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.subscribe("t")).collect();
    let mut events = Events::open(&server, "t");
    server.engine.drain();
    server.wait_until("begun", |server| server.closing("draining") > 0);
    assert!(server.closing("draining") < CLIENTS, "not all at once");
    let delay_of = |reason: &str| -> u64 {
        let number = reason.strip_prefix("draining: reconnect in ").unwrap();
        number.strip_suffix(" ms").unwrap().parse().unwrap()
    };
    for client in &mut clients {
        let (code, reason) = client.close();
        assert_eq!(code, 1001);
        assert!((700..=900).contains(&delay_of(&reason)), "{reason}");
        assert_eq!(client.next(), Told::Gone);
    }
    let retry_ms = events.next().unwrap().retry_ms.expect("before the end, when to come back");
    assert!((700..=900).contains(&retry_ms), "{retry_ms}");
    let last = events.next().unwrap();
    assert!(last.json()["reason"].as_str().unwrap().contains(&format!("in {retry_ms} ms")));
    assert_eq!((last.event.as_str(), &last.json()["code"]), ("close", &1001.into()));
    assert_eq!(events.next(), None);
    drop(events);
    server.wait_until("drained", |server| server.engine.is_drained());
    assert_eq!(server.connections(), 0);
    server.engine.stop().unwrap();
}

/// An EventSource gives up for good at any status but 200.
#[test]
fn event_streams_are_asked_to_come_back_after_the_drain() {
    const CLIENTS: u64 = 40;
    let server = Server::start(&[
        ("drain.window_ms", "200"),
        ("drain.deadline_ms", "20000"),
        ("drain.reconnect_ms_min", "700"),
        ("drain.reconnect_ms_max", "900"),
    ]);
    let _silent: Vec<Client> = (0..CLIENTS).map(|_| server.subscribe("t")).collect();
    server.engine.drain();
    server.wait_until("drained by every core", |server| server.closing("draining") == CLIENTS);
    for _ in 0..12 {
        let mut events = Events::open(&server, "t");
        let retry_ms = events.next().unwrap().retry_ms.expect("when to come back");
        assert!((20_700..=20_900).contains(&retry_ms), "{retry_ms}");
        let last = events.next().unwrap();
        assert_eq!((last.event.as_str(), &last.json()["code"]), ("close", &1001.into()));
        assert_eq!(events.next(), None);
        assert_eq!(events.stream.read(&mut [0]).unwrap(), 0);
    }
    // WebSockets and whoever else asks are refused as before.
    let request = b"GET /v1/feed/t HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n";
    assert_eq!(harness::http::ask(&server, request).status, 503);
}

#[test]
fn event_streams_beyond_a_limit_are_asked_to_come_back() {
    for (overrides, feed) in [
        ([("limits.connections_max", "1")], "t"),
        ([("limits.connections_per_source_max", "1")], "t"),
        ([("limits.handshakes_per_s_per_source", "1")], "t"),
        ([("limits.topics_max", "1")], "another"),
    ] {
        let server = Server::start(&overrides);
        let _subscriber = server.subscribe("t");
        let mut events = Events::open(&server, feed);
        assert!(events.next().unwrap().retry_ms.is_some(), "{overrides:?}");
        assert_eq!(events.next().unwrap().json()["code"], 4503, "{overrides:?}");
        assert_eq!(events.next(), None);
    }
}

#[test]
fn nothing_new_is_taken_on_while_draining_but_questions_are_answered() {
    let server = Server::start(&[("drain.window_ms", "20000"), ("drain.deadline_ms", "20000")]);
    assert_eq!(get(&server, "/readyz").status, 200);
    let probe = b"OPTIONS / HTTP/1.0\r\n\r\n";
    assert_eq!(harness::http::ask(&server, probe).status, 200, "as HAProxy asks");
    server.engine.drain();
    assert_eq!(harness::http::ask(&server, probe).status, 503);
    let refused = get(&server, "/readyz");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(harness::http::post(&server, "/v1/publish/t", "text/plain", b"x").status, 503);
    assert_eq!(get(&server, "/healthz").status, 200);
    assert!(get(&server, "/metrics").body.contains("\ngridcast_ready 0\n"));
}

/// What has begun is answered; what has not just ends.
#[test]
fn a_drain_answers_requests_that_are_half_there() {
    let server = Server::start(&[("drain.window_ms", "100"), ("drain.deadline_ms", "20000")]);
    let halves = [
        "POST /v1/publish/t HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
        "GET /healthz HTTP/1.1\r\n",
        "\r\n",
        "",
    ];
    let mut streams = halves.map(|half| {
        let mut stream = server.connect();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
        stream.write_all(half.as_bytes()).unwrap();
        stream
    });
    let sent: u64 = halves.iter().map(|half| half.len() as u64 + 34).sum();
    server.wait_for("received_bytes_total", sent);
    server.engine.drain();
    for (stream, half) in streams.iter_mut().zip(halves) {
        if half.len() > 2 {
            let answer = read_answer(stream);
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{half}");
        }
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{half}");
    }
    drop(streams);
    server.wait_until("drained", |server| server.engine.is_drained());
}

#[test]
fn a_drain_ends_at_its_deadline_although_somebody_never_answers() {
    let server = Server::start(&[
        ("server.cores", "3"),
        ("drain.window_ms", "100"),
        ("drain.deadline_ms", "1000"),
        ("keepalive.close_timeout_ms", "60000"),
    ]);
    let mut silent = RawSocket::open(&server, "/v1/feed/t");
    let begun = Instant::now();
    server.engine.drain();
    server.wait_until("drained", |server| server.engine.is_drained());
    assert!(begun.elapsed() >= Duration::from_millis(900), "it was given its time");
    assert_eq!(server.connections(), 1, "and is still there");
    server.engine.stop().unwrap();
    assert_eq!(silent.read().unwrap().close_code(), 1001);
    assert!(silent.is_ended());
}

#[test]
fn an_engine_that_stops_leaves_its_address_and_its_clients() {
    let server = Server::start(&[]);
    let mut client = server.subscribe("t");
    let address = server.address().to_string();
    server.engine.stop().unwrap();
    assert_eq!(client.next(), Told::Gone);
    let again = Server::start(&[("server.listen", &address)]);
    assert_eq!(get(&again, "/readyz").status, 200);
}

#[test]
fn a_second_engine_on_the_same_address_is_refused() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let second = Server::try_start(config(&[("server.listen", &address)]));
    let error = second.err().expect("two engines would share the clients unseen").to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert!(error.contains("another process has it"), "{error}");
    assert_eq!(get(&server, "/readyz").status, 200);
}

// ---- sudden ends ----

#[test]
fn resets_of_a_third_and_of_a_publisher_cost_the_others_nothing() {
    const CLIENTS: usize = 300;
    const MESSAGES: u64 = 90;
    let server = Server::start(&[("memory.compact_idle_s", "1"), ("memory.topic_idle_s", "1")]);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.subscribe("t")).collect();
    let mut publisher = server.publisher("t");
    let mut doomed = server.publisher("t/doomed");
    for number in 1..=MESSAGES {
        publisher.say(&number.to_string());
        doomed.say("x");
        match number {
            30 => {
                let third = clients.split_off(CLIENTS / 3 * 2);
                third.iter().for_each(|client| reset(client.socket.get_ref()));
            }
            60 => {
                reset(publisher.socket.get_ref());
                // What the engine has not read when the reset comes is lost with it, so it has.
                server.wait_until("read", |server| server.metric("publishes_total") == 120);
                publisher = server.publisher("t");
            }
            _ => {}
        }
    }
    let expected: Vec<String> = (1..=MESSAGES).map(|number| number.to_string()).collect();
    for client in &mut clients {
        assert_eq!(client.texts(expected.len()), expected);
    }
    server.wait_for("connections{role=\"subscriber\"}", CLIENTS as u64 / 3 * 2);
    server.wait_for("connections{role=\"publisher\"}", 2);
    drop((clients, publisher, doomed));
    returns_to_nothing(&server);
}

/// Gauges, topics and memory, as before the first client.
fn returns_to_nothing(server: &Server) {
    server.wait_until("all gone", |server| server.connections() == 0);
    for role in ["subscriber", "events", "publisher", "echo", "request"] {
        assert_eq!(server.metric(&format!("connections{{role=\"{role}\"}}")), 0, "{role}");
    }
    server.wait_until("forgotten", |server| {
        server.engine.tidy();
        server.metric("topics") == 0
    });
    assert_eq!(server.log_bytes(), 0);
}

/// What the kernel has of a publisher is published, however often it was made to wait meanwhile.
#[test]
fn all_that_a_publisher_sent_before_it_left_is_published() {
    const MESSAGES: usize = 10_000;
    // One subscriber a turn: the core is behind with its sweep while the publisher sends.
    let settings = [("retention.bytes_max", "65536"), ("flush.sockets_per_slice", "1")];
    let server = Server::start(&settings);
    let _subscribers: Vec<_> = (0..50).map(|_| server.subscribe("t?mode=latest")).collect();
    let mut publisher = RawSocket::open(&server, "/v1/publish/t");
    publisher.send(&frame(TEXT, &[b'x'; 200]).repeat(MESSAGES));
    drop(publisher);
    let sent = MESSAGES as u64;
    server.wait_until("all read", |server| server.metric("publishes_total") == sent);
    assert!(server.metric("publishes_paced_total") > 0, "it was made to wait");
    server.wait_until("gone", |server| server.metric("connections{role=\"publisher\"}") == 0);
}

#[test]
fn clients_that_come_and_go_in_every_form_leave_nothing_behind() {
    let server = Server::start(&[
        ("debug.echo", "true"),
        ("memory.compact_idle_s", "1"),
        ("memory.topic_idle_s", "1"),
    ]);
    for round in 0..20 {
        let topic = format!("t/{round}");
        let mut subscriber = server.subscribe(&topic);
        let mut events = Events::open(&server, &topic);
        let mut publisher = server.publisher(&topic);
        let _echo = server.websocket("/v1/echo");
        let _idle = server.connect();
        publisher.say("x");
        assert_eq!(subscriber.text(), "x");
        assert_eq!(events.next().unwrap().data, "x");
        if round % 2 == 0 {
            reset(&events.stream);
            publisher.socket.close(None).unwrap();
        }
    }
    returns_to_nothing(&server);
    let opened = server.metric("connections_opened_total");
    assert_eq!(opened, 100);
    let closed: u64 = ["done", "peer_gone"]
        .iter()
        .map(|reason| server.metric(&format!("connections_closed_total{{reason=\"{reason}\"}}")))
        .sum();
    assert_eq!(closed, opened, "every connection is accounted for");
}

#[test]
fn a_crowd_that_has_gone_leaves_no_memory_behind() {
    let server = Server::start(&[]);
    let held = |server: &Server| server.metric("memory_bytes{kind=\"connections\"}");
    let mut healthy = server.subscribe("t");
    let crowd: Vec<_> = (0..2_000).map(|_| server.connect()).collect();
    server.wait_until("all are there", |server| server.connections() == 2_001);
    server.wait_until("their slots are counted", |server| held(server) > 100 * 2_000);
    drop(crowd);
    server.wait_until("their slots are given back", |server| held(server) < 100 * 500);
    server.post("t", "still here");
    assert_eq!(healthy.text(), "still here");
}
