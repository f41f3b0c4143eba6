//! HTTP requests over real sockets: each kind of refusal with its status, limits, and several
//! requests on one connection. Owns what an HTTP client meets. Must not test WebSocket frames.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use harness::frames::{RawSocket, TEXT, frame};
use harness::http::{Answer, Events, UPGRADE, ask, get, post, post_bytes, read_answer};
use harness::http::{read_answer_head, read_head};
use harness::{DEADLINE, Overrides, Server};

const SMALL: Overrides<'_> =
    &[("limits.message_bytes_max", "1000"), ("limits.header_bytes_max", "4096")];

const EVENTS: &str = "Accept: text/event-stream\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

/// A refusal closes the connection and says why in JSON.
fn check_refusal(what: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let is_upgrade = answer.header("upgrade").is_some();
    let connection = if is_upgrade { "close, upgrade" } else { "close" };
    assert_eq!(answer.header("connection"), Some(connection), "{what}");
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{what}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    let body = answer.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("{what}: {body}"));
    assert_eq!(error.len(), 2, "{what}: {body}");
    assert!(error["code"].as_str().is_some_and(|code| !code.is_empty()), "{what}: {body}");
    assert!(error["message"].as_str().is_some_and(|text| text.len() > 5), "{what}: {body}");
}

fn check_all(server: &Server, rows: &[(&str, String, u16)]) {
    for (line, headers, status) in rows {
        let request = format!("{line}\r\nHost: h\r\n{headers}\r\n");
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        check_refusal(line, &answer, *status);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{line}: the engine ends it");
    }
}

#[test]
fn requests_that_are_wrong_are_refused_with_400() {
    let server = Server::start(SMALL);
    check_all(
        &server,
        &[
            ("GET /v1/feed/ HTTP/1.1", EVENTS.into(), 400),
            ("GET /v1/feed/a//b HTTP/1.1", EVENTS.into(), 400),
            ("GET /v1/feed/a?fron=last HTTP/1.1", EVENTS.into(), 400),
            ("GET /v1/feed/a?mode=newest HTTP/1.1", UPGRADE.into(), 400),
            ("GET /v1/feed/a?from=k3 HTTP/1.1", UPGRADE.into(), 400),
            ("GET /v1/feed/%zz HTTP/1.1", EVENTS.into(), 400),
            ("GET /v1/feed/a HTTP/1.1", UPGRADE.replace("Connection: Upgrade\r\n", ""), 400),
            ("GET /v1/feed/a HTTP/1.1", UPGRADE.replace("dGhl", "!!!!"), 400),
            ("GET /v1/publish/a/%23 HTTP/1.1", UPGRADE.into(), 400),
            ("GET /v1/ws HTTP/1.1", format!("{UPGRADE}Sec-WebSocket-Protocol: x\r\n"), 400),
            ("GET /healthz HTTP/1.1", "Content-Length: 1\r\n".into(), 400),
            ("GET /healthz HTTP/1.1", "Host: again\r\n".into(), 400),
            ("GET /healthz HTTP/1.1", "No colon\r\n".into(), 400),
            ("GET /healthz HTTP/1.1", "Content-Length: x\r\n".into(), 400),
            ("\u{1}\u{2}\u{3}", String::new(), 400),
        ],
    );
    check_refusal("no host", &ask(&server, b"GET /healthz HTTP/1.1\r\n\r\n"), 400);
    let no_name = b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n";
    check_refusal("host", &ask(&server, no_name), 400);
}

#[test]
fn requests_that_ask_for_something_else_are_refused_with_their_status() {
    let server = Server::start(SMALL);
    let long = format!("GET /v1/feed/{} HTTP/1.1", "a".repeat(5000));
    let many: String = (0..70).map(|n| format!("X-{n}: y\r\n")).collect();
    check_all(
        &server,
        &[
            ("POST /v1/publish/$sys/a HTTP/1.1", "Content-Length: 1\r\n".into(), 403),
            ("GET /v1/publish/%24sys/a HTTP/1.1", UPGRADE.into(), 403),
            ("GET / HTTP/1.1", String::new(), 404),
            ("GET /v2/ws HTTP/1.1", UPGRADE.into(), 404),
            ("GET /v1/echo HTTP/1.1", UPGRADE.into(), 404),
            ("DELETE /healthz HTTP/1.1", String::new(), 405),
            ("POST /v1/feed/a HTTP/1.1", "Content-Length: 0\r\n".into(), 405),
            ("GET /v1/publish HTTP/1.1", String::new(), 405),
            ("GET /v1/feed/a HTTP/1.1", "Accept: text/html\r\n".into(), 406),
            ("POST /v1/publish/a HTTP/1.1", String::new(), 411),
            ("POST /v1/publish/a HTTP/1.1", "Content-Length: 1001\r\n".into(), 413),
            (&long, String::new(), 414),
            ("POST /v1/publish HTTP/1.1", "Content-Length: 1\r\n".into(), 415),
            ("POST /v1/publish/a HTTP/1.1", "Expect: tea\r\nContent-Length: 1\r\n".into(), 417),
            ("GET /v1/publish/a HTTP/1.1", String::new(), 426),
            ("GET /v1/feed/a HTTP/1.1", UPGRADE.replace("13", "8"), 426),
            ("GET /healthz HTTP/1.1", format!("X: {}\r\n", "y".repeat(5000)), 431),
            ("GET /healthz HTTP/1.1", many, 431),
            ("POST /v1/publish/a HTTP/1.1", "Transfer-Encoding: gzip\r\n".into(), 501),
            ("GET /healthz HTTP/2.0", String::new(), 505),
        ],
    );
    assert_eq!(server.metric("requests_refused_total{status=\"404\"}"), 3);
}

/// RFC 9112 section 3: request lines of 8,000 octets at least.
#[test]
fn a_token_in_the_url_may_be_long() {
    let server = Server::start(&[]);
    for bytes in [2325, 8000, 15_000] {
        let token = "x".repeat(bytes);
        let mut events = Events::open(&server, &format!("t?token={token}"));
        server.post("t", "hello");
        assert_eq!(events.next().unwrap().data, "hello", "{bytes}");
    }
}

/// A page that may not read a refusal learns nothing at all.
#[test]
fn a_page_may_read_every_refusal() {
    for (origins, allowed) in [("", "*"), ("https://a.example", "https://a.example")] {
        let list: &[(&str, &str)] = &[("security.origins", origins)];
        let overrides = [&list[..usize::from(!origins.is_empty())], SMALL].concat();
        let server = Server::start(&overrides);
        let long = "x".repeat(5000);
        for (line, status) in [
            (format!("GET /v1/feed/t?token={long} HTTP/1.1\r\nHost: h"), 431),
            (format!("GET /v1/feed/t HTTP/1.1\r\nHost: h\r\nX: {long}"), 431),
            ("GET /v1/feed/t HTTP/1.1".into(), 400),
            ("GET /v1/feed/t HTTP/2.0\r\nHost: h".into(), 505),
            ("GET /v1/nowhere HTTP/1.1\r\nHost: h".into(), 404),
            ("GET /v2/feed/t HTTP/1.1\r\nHost: h".into(), 404),
            ("GET / HTTP/1.1\r\nHost: h".into(), 404),
            ("PUT /v1/publish/t HTTP/1.1\r\nHost: h".into(), 405),
        ] {
            let (first, rest) = line.split_once("\r\n").unwrap_or((&line, ""));
            let rest = if rest.is_empty() { String::new() } else { format!("{rest}\r\n") };
            let request = format!("{first}\r\nOrigin: https://a.example\r\n{rest}\r\n");
            let answer = ask(&server, request.as_bytes());
            let status = if first.len() > 4096 { 414 } else { status };
            assert_eq!(answer.status, status, "{}", &line[..30.min(line.len())]);
            let is_seen = first.len() < 4096 || allowed == "*";
            if is_seen {
                assert_eq!(answer.header("access-control-allow-origin"), Some(allowed));
            }
        }
    }
}

/// How the engine is, machines ask: no page is told, listed or not, and none is refused for what it
/// cannot read anyway.
#[test]
fn pages_do_not_read_how_the_engine_is() {
    for origins in ["", "https://a.example"] {
        let server = Server::start(&[("security.origins", origins)]);
        for (line, status) in [
            ("GET /healthz", 200),
            ("GET /readyz", 200),
            ("GET /metrics", 200),
            ("OPTIONS /metrics", 204),
            ("POST /metrics", 405),
        ] {
            for origin in ["https://a.example", "https://b.example"] {
                let request = format!("{line} HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\r\n");
                let answer = ask(&server, request.as_bytes());
                assert_eq!(answer.status, status, "{line}");
                assert!(!answer.head.to_lowercase().contains("access-control"), "{answer:?}");
            }
        }
    }
}

#[test]
fn a_refusal_says_how_to_do_better() {
    let server = Server::start(&[]);
    let websocket = |version: &str| {
        let headers = UPGRADE.replace("13", version);
        ask(&server, format!("GET /v1/feed/a HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes())
    };
    let old = websocket("8");
    assert_eq!(old.header("sec-websocket-version"), Some("13"));
    assert_eq!((old.status, old.header("upgrade")), (426, Some("websocket")));
    assert!(websocket("13").header("date").is_some());
    assert_eq!(get(&server, "/v1/publish/a").header("upgrade"), Some("websocket"));
    assert_eq!(get(&server, "/v1/publish").header("allow"), Some("POST, OPTIONS"));
    let wrong = get(&server, "/v1/feed/a?fron=last").json();
    assert_eq!(wrong["error"]["message"], "unknown option `fron`: did you mean `from`?");
}

// ---- time ----

#[test]
fn a_request_that_trickles_in_is_timed_out() {
    let server = Server::start(&[("limits.handshake_ms_max", "300")]);
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let begun = Instant::now();
    let mut endless = b"GET /healthz HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'y'));
    let first = loop {
        assert!(begun.elapsed() < DEADLINE, "never timed out");
        stream.write_all(&[*endless.next().unwrap()]).unwrap();
        let mut byte = [0];
        match stream.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            answer => {
                assert_eq!(answer.unwrap(), 1, "an answer and not just the end");
                break byte[0];
            }
        }
    };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = read_answer(&mut stream);
    answer.head.insert(0, char::from(first));
    check_refusal("trickling", &answer, 408);
    assert!(begun.elapsed() >= Duration::from_millis(200), "it had its time");
}

#[test]
fn a_body_that_does_not_come_is_timed_out() {
    let server = Server::start(&[("limits.body_ms_max", "200")]);
    let request = "POST /v1/publish/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabc";
    let refused = ask(&server, request.as_bytes());
    check_refusal("half a body", &refused, 408);
    assert_eq!(
        refused.json()["error"]["message"],
        "the request was not complete within 200 ms",
        "the body's time, not that of the head"
    );
}

#[test]
fn a_connection_that_says_nothing_is_ended_without_a_word() {
    let server = Server::start(&[("limits.handshake_ms_max", "200")]);
    assert_eq!(server.connect().read(&mut [0]).unwrap(), 0);
    server.wait_until("gone", |server| server.connections() == 0);
}

/// RFC 9112 section 2.2: what stands before a request line begins no request.
#[test]
fn empty_lines_are_skipped_and_never_answered() {
    let server = Server::start(&[
        ("limits.handshake_ms_max", "300"),
        ("keepalive.http_idle_timeout_ms", "300"),
    ]);
    for lines in ["\r\n", "\n", "\r\n\r\n", "\r"] {
        let post = post_bytes("/v1/publish/t", "text/plain", b"hi");
        let mut stream = server.connect();
        stream.write_all(&[post, lines.into()].concat()).unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{lines:?}: no answer to no request");
        // Neither before the first one.
        let mut stream = server.connect();
        stream.write_all(lines.as_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{lines:?}");
    }
    let mut stream = server.connect();
    for part in ["\r\n\n", "\r", "\nGET /healthz HTTP/1.1\r\nHost: h\r\n", "\r\n"] {
        stream.write_all(part.as_bytes()).unwrap();
    }
    assert_eq!(read_answer(&mut stream).body, "ok\n");
}

#[test]
fn empty_lines_extend_nobodys_time() {
    let server = Server::start(&[("limits.handshake_ms_max", "300")]);
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let begun = Instant::now();
    while !matches!(stream.read(&mut [0]), Ok(0)) {
        assert!(begun.elapsed() < DEADLINE, "never ended");
        // Nobody is there any more to take it.
        let _ = stream.write_all(b"\r\n");
    }
}

#[test]
fn between_requests_a_connection_has_a_time_of_its_own() {
    let server = Server::start(&[
        ("limits.handshake_ms_max", "200"),
        ("keepalive.http_idle_timeout_ms", "1500"),
    ]);
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).body, "ok\n");
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).body, "ok\n");
    // What is begun has the time of a request.
    let begun = Instant::now();
    stream.write_all(b"GET /heal").unwrap();
    assert_eq!(read_answer(&mut stream).status, 408);
    assert!(begun.elapsed() < Duration::from_millis(1200), "{:?}", begun.elapsed());
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).body, "ok\n");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "its time ends as well, without a word");
}

/// The time of a request runs from its first byte, not from the end of the one before.
#[test]
fn a_connection_that_is_kept_gets_the_full_time_for_each_request() {
    let server = Server::start(&[("limits.handshake_ms_max", "1000")]);
    let mut stream = server.connect();
    for _ in 0..2 {
        // Silence first: a read that times out is the clock of this client.
        stream.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        stream.write_all(b"Host: h\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(read_answer(&mut stream).body, "ok\n");
    }
}

// ---- limits ----

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let server = Server::start(&[("limits.connections_max", "2")]);
    let subscriber = server.subscribe("a");
    let mut events = Events::open(&server, "a");
    let refused = get(&server, "/healthz");
    check_refusal("the third", &refused, 503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("connections_max"));
    drop(subscriber);
    server.wait_until("room", |server| server.connections() == 1);
    server.post("a", "room again");
    assert_eq!(events.next().unwrap().data, "room again");
}

#[test]
fn one_address_has_its_own_limit() {
    let server = Server::start(&[("limits.connections_per_source_max", "1")]);
    let _subscriber = server.subscribe("a");
    let refused = get(&server, "/healthz");
    check_refusal("the second", &refused, 503);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("connections_per_source_max"), "{message}");
}

#[test]
fn topics_beyond_the_limit_are_refused_in_every_form() {
    let server = Server::start(&[("limits.topics_max", "2")]);
    server.post("a", "1");
    let _subscriber = server.subscribe("b");
    check_refusal("post", &post(&server, "/v1/publish/c", "text/plain", b"1"), 503);
    check_all(&server, &[("GET /v1/feed/c HTTP/1.1", UPGRADE.into(), 503)]);
    let lines = "{\"topic\":\"a\",\"data\":2}\n{\"topic\":\"c\",\"data\":3}\n";
    let answer = harness::http::post_many(&server, lines);
    assert_eq!((answer.status, &answer.json()["published"]), (503, &1.into()));
    let mut publisher = server.publisher("c");
    publisher.say("1");
    let (code, reason) = publisher.close();
    assert_eq!(code, 4503);
    assert!(reason.contains("topics_max"), "{reason}");
    server.post("a", "what exists goes on");
}

#[test]
fn a_publisher_beyond_its_rate_is_closed_with_4429() {
    let server = Server::start(&[("limits.publishes_per_s_max", "5")]);
    let mut subscriber = server.subscribe("t");
    let mut publisher = RawSocket::open(&server, "/v1/publish/t");
    let frames: Vec<u8> =
        (1..=50).flat_map(|n: u32| frame(TEXT, n.to_string().as_bytes())).collect();
    publisher.send(&frames);
    let close = publisher.read().unwrap();
    assert_eq!(close.close_code(), 4429);
    assert_eq!(&close.payload[2..], b"more than 5 messages a second");
    assert_eq!(subscriber.texts(5), ["1", "2", "3", "4", "5"]);
}

#[test]
fn posts_beyond_the_rate_of_their_connection_get_429() {
    let server = Server::start(&[("limits.publishes_per_s_max", "5")]);
    let body: String = (1..=8).map(|n| format!("{{\"topic\":\"t\",\"data\":{n}}}\n")).collect();
    let length = body.len();
    let request = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = ask(&server, request.as_bytes());
    assert_eq!(answer.status, 429);
    let reply: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&reply["published"], &reply["failed"]), (&5.into(), &3.into()));
    assert_eq!(
        (&reply["error"]["line"], &reply["error"]["code"]),
        (&6.into(), &"rate_limited".into())
    );
}

#[test]
fn a_chunked_body_is_judged_as_it_comes() {
    let server = Server::start(SMALL);
    let head = "POST /v1/publish/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let fits = format!("{head}{chunk}{chunk}0\r\n\r\n");
    assert_eq!(ask(&server, fits.as_bytes()).status, 200);
    let too_big = format!("{head}{chunk}{chunk}1\r\nx");
    check_refusal("1001 bytes in chunks", &ask(&server, too_big.as_bytes()), 413);
    let broken = format!("{head}zz\r\n");
    check_refusal("a chunk without a size", &ask(&server, broken.as_bytes()), 400);
}

#[test]
fn a_body_declared_as_text_must_be_text() {
    let server = Server::start(&[]);
    check_refusal("text", &post(&server, "/v1/publish/a", "text/plain", &[0xFF]), 400);
    assert_eq!(post(&server, "/v1/publish/a", "image/png", &[0xFF]).status, 200);
    assert_eq!(server.metric("publishes_total"), 1);
}

// ---- what is served ----

#[test]
fn operations_have_their_endpoints() {
    let server = Server::start(&[]);
    assert_eq!(get(&server, "/healthz").body, "ok\n");
    assert_eq!(get(&server, "/readyz").body, "ready\n");
}

/// Who does not ask for OpenMetrics gets what every scraper reads.
#[test]
fn metrics_come_in_the_form_that_was_asked_for() {
    let server = Server::start(&[("server.cores", "2")]);
    let metrics = |accept: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: h\r\n{accept}\r\n");
        ask(&server, request.as_bytes())
    };
    let scraper = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3\r\n";
    let open = metrics(scraper);
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
    assert!(open.body.contains("\n# TYPE gridcast_publishes counter\n"), "{}", open.body);
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain;version=0.0.4\r\n"] {
        let plain = metrics(accept);
        assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert!(!plain.body.contains("# EOF") && !plain.body.contains("# UNIT"), "{}", plain.body);
        assert!(plain.body.contains("\n# TYPE gridcast_publishes_total counter\n"), "{accept}");
        assert!(plain.body.contains("\n# HELP gridcast_publishes_total Messages published."));
        assert_eq!(samples(&plain.body), samples(&open.body));
    }
}

/// The names of all samples of a page.
fn samples(page: &str) -> Vec<&str> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn metrics_tell_of_the_process_and_of_the_cores() {
    let server = Server::start(&[("server.cores", "2")]);
    let page = get(&server, "/metrics").body;
    assert!(page.contains("\ngridcast_ready 1\n"), "{page}");
    assert!(page.contains("\ngridcast_draining 0\n"), "{page}");
    for budget in ["log", "pending", "sockets"] {
        for name in ["used", "limit"] {
            let series = format!("\ngridcast_memory_budget_{name}_bytes{{budget=\"{budget}\"}} ");
            assert!(page.contains(&series), "{series} in {page}");
        }
    }
    assert!(page.contains("\ngridcast_cores 2\n"), "the threads that have connections: {page}");
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        page.contains(&format!("\ngridcast_build_info{{version=\"{version}\"}} 1\n")),
        "{page}"
    );
    for name in [
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_threads",
        "process_open_fds",
        "process_max_fds",
    ] {
        let line =
            page.lines().find(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with(' ')));
        let value: f64 = line.expect(name).split(' ').nth(1).unwrap().parse().unwrap();
        assert!(value > 0.0 || name.ends_with("_total"), "{name}");
    }
}

#[test]
fn head_has_the_length_of_the_body_it_leaves_out() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let head = read_answer_head(&mut stream);
    assert_eq!((head.status, head.header("content-length")), (200, Some("3")));
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).body, "ok\n", "nothing stood in between");
}

#[test]
fn options_tell_the_methods() {
    let server = Server::start(&[]);
    for (path, methods) in [
        ("/v1/feed/a", "GET, OPTIONS"),
        ("/v1/publish/a", "GET, POST, OPTIONS"),
        ("/v1/publish", "POST, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, POST, OPTIONS"),
    ] {
        let request = format!("OPTIONS {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = ask(&server, request.as_bytes());
        assert_eq!((answer.status, answer.header("allow")), (204, Some(methods)), "{path}");
    }
}

#[test]
fn one_connection_carries_many_requests_even_sent_at_once() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let requests = [
        post_bytes("/v1/publish/t", "text/plain", b"one"),
        b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        post_bytes("/v1/publish/t", "text/plain", b""),
        b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_vec(),
    ];
    stream.write_all(&requests.concat()).unwrap();
    assert_eq!(read_answer(&mut stream).json()["seq"], 1);
    assert_eq!(read_answer(&mut stream).body, "ok\n");
    assert_eq!(read_answer(&mut stream).json()["seq"], 2);
    let last = read_answer(&mut stream);
    assert_eq!(last.header("connection"), Some("close"));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn requests_may_come_byte_by_byte() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    for byte in post_bytes("/v1/publish/t", "text/plain", b"slow") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_answer(&mut stream).json()["seq"], 1);
}

#[test]
fn http_10_is_served_and_then_closed() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).body, "ok\n");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn who_waits_for_a_go_ahead_gets_it_before_the_body() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: h\r\n{NDJSON}Expect: 100-continue\r\n\
         Content-Length: 23\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_head(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{\"topic\":\"t\",\"data\":17}\n").unwrap();
    assert_eq!(read_answer(&mut stream).json()["published"], 1);
}

#[test]
fn who_ends_its_side_after_the_request_still_gets_the_answer() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(&post_bytes("/v1/publish/t", "text/plain", b"x")).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_answer(&mut stream).json()["seq"], 1);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// curl sends a type of its own when it is told none: what is text must not become binary by that.
#[test]
fn the_answer_says_how_a_post_is_framed_and_curls_default_is_judged_by_the_body() {
    let server = Server::start(&[]);
    let curl = "application/x-www-form-urlencoded";
    for (content_type, body, kind) in [
        (curl, &b"{\"a\":1}"[..], "text"),
        (curl, b"", "text"),
        (curl, &[0xFF, 0xFE], "binary"),
        ("text/plain", b"x", "text"),
        ("application/json", b"1", "text"),
        ("application/octet-stream", b"x", "binary"),
    ] {
        let answer = post(&server, "/v1/publish/t", content_type, body);
        assert_eq!((answer.status, &answer.json()["kind"]), (200, &kind.into()), "{content_type}");
    }
    assert_eq!(post(&server, "/v1/publish/t", "text/plain", &[0xFF]).status, 400);
    let mut events = Events::open(&server, "t?from=last");
    post(&server, "/v1/publish/t", curl, b"{\"a\":1}");
    assert_eq!(events.next().unwrap().event, "binary", "the one retained");
    let event = events.next().unwrap();
    assert_eq!((event.event.as_str(), event.data.as_str()), ("", "{\"a\":1}"));
}
