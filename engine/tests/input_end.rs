//! The end of a client's input over real sockets: FIN and close_notify behind requests and messages
//! that were not carried out yet. Owns that whatever came whole before the end is carried out and
//! answered. Must not test what the answers say.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use harness::certificates::{Authority, Secure, secure};
use harness::frames::{CLOSE, TEXT, frame};
use harness::http::{UPGRADE, post_bytes, read_answer};
use harness::{Client, Overrides, Server, config};
use rustls::version::{TLS12, TLS13};

/// Small enough that a client which does not read holds its own requests up.
const NARROW: Overrides<'_> = &[("flush.send_buffer_bytes", "16384")];

const POSTS: usize = 1000;
const COMMANDS: usize = 8000;

fn posts() -> Vec<u8> {
    (0..POSTS)
        .flat_map(|n| post_bytes("/v1/publish/t", "text/plain", &[b'x'; 9][..n % 9]))
        .collect()
}

/// A multiplexed handshake with `count` publishes that want an answer behind it.
fn commands(count: usize) -> Vec<u8> {
    let mut bytes = format!("GET /v1/ws HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n").into_bytes();
    for id in 0..count {
        let text = format!("{{\"id\":{id},\"publish\":{{\"topic\":\"t\",\"data\":{id}}}}}");
        bytes.extend(frame(TEXT, text.as_bytes()));
    }
    bytes
}

/// Sends `bytes` and the end of them, and reads up to the end of the answers.
fn exchange(mut stream: TcpStream, bytes: Vec<u8>) -> String {
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        sender.write_all(&bytes).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    sending.join().unwrap();
    String::from_utf8_lossy(&answers).into_owned()
}

/// As [`exchange`], the end said by close_notify, and by a FIN behind it or not.
fn exchange_secure(mut stream: Secure, bytes: &[u8], with_fin: bool) -> String {
    stream.write_all(bytes).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    if with_fin {
        stream.sock.shutdown(Shutdown::Write).unwrap();
    }
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    String::from_utf8_lossy(&answers).into_owned()
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn requests_before_a_fin_are_all_answered() {
    for overrides in [&[], NARROW] {
        let server = Server::start(overrides);
        for stream in [server.connect(), server.connect_narrow()] {
            let before = server.metric("publishes_total");
            let answers = exchange(stream, posts());
            assert_eq!(count(&answers, "HTTP/1.1 200 OK"), POSTS);
            assert_eq!(server.metric("publishes_total") - before, POSTS as u64);
        }
        server.wait_until("gone", |server| server.connections() == 0);
    }
}

#[test]
fn what_is_not_whole_at_the_end_is_left_and_the_rest_answered() {
    let server = Server::start(NARROW);
    for half in [
        "GET /healthz HT",
        "POST /v1/publish/t HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        let mut bytes = posts();
        bytes.extend_from_slice(half.as_bytes());
        let answers = exchange(server.connect_narrow(), bytes);
        assert_eq!(count(&answers, "HTTP/1.1 200 OK"), POSTS, "{half}");
        assert_eq!(count(&answers, "HTTP/1.1 "), POSTS, "{half}");
    }
    server.wait_until("gone", |server| server.connections() == 0);
    assert_eq!(server.metric("publishes_total"), 2 * POSTS as u64);
}

#[test]
fn requests_before_a_close_notify_are_all_answered() {
    let authority = Authority::new();
    let issued = authority.issue();
    let certificate = authority.file("certificate.pem", &issued.certificate);
    let key = authority.file("key.pem", &issued.key);
    let overrides = [("tls.certificate", certificate.as_str()), ("tls.key", &key), NARROW[0]];
    let server = Server::try_start(config(&overrides)).unwrap();
    for version in [&TLS12, &TLS13] {
        let client = authority.client(&[version], None);
        for with_fin in [true, false] {
            let connect = || secure(server.connect(), &client);
            let answers = exchange_secure(connect(), &posts(), with_fin);
            assert_eq!(count(&answers, "HTTP/1.1 200 OK"), POSTS, "{version:?} {with_fin}");
            let answers = exchange_secure(connect(), &commands(1000), with_fin);
            assert_eq!(count(&answers, "\"published\""), 1000, "{version:?} {with_fin}");
        }
    }
    assert_eq!(server.metric("publishes_total"), 4 * (POSTS as u64 + 1000));
    server.wait_until("gone", |server| server.connections() == 0);
}

/// A publisher that is ahead of the subscribers has its messages wait inside the engine.
#[test]
fn a_publisher_that_waits_may_say_close_notify() {
    const MESSAGES: usize = 4000;
    let authority = Authority::new();
    let issued = authority.issue();
    let certificate = authority.file("certificate.pem", &issued.certificate);
    let key = authority.file("key.pem", &issued.key);
    let overrides = [
        ("tls.certificate", certificate.as_str()),
        ("tls.key", &key),
        ("retention.bytes_max", "65536"),
    ];
    let server = Server::try_start(config(&overrides)).unwrap();
    let client = authority.client(&[&TLS13], None);
    let _subscriber = Client::over(secure(server.connect(), &client), "/v1/feed/t?mode=latest");
    let mut publisher = secure(server.connect(), &client);
    let mut bytes = format!("GET /v1/publish/t HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n").into_bytes();
    bytes.extend(frame(TEXT, &[b'x'; 200]).repeat(MESSAGES));
    publisher.write_all(&bytes).unwrap();
    publisher.conn.send_close_notify();
    publisher.flush().unwrap();
    server.wait_for("publishes_total", MESSAGES as u64);
    server.wait_until("gone", |server| server.metric("connections{role=\"publisher\"}") == 0);
}

#[test]
fn messages_before_a_close_and_a_fin_are_all_answered() {
    let server = Server::start(NARROW);
    for close in [frame(CLOSE, &1000_u16.to_be_bytes()), Vec::new()] {
        for stream in [server.connect(), server.connect_narrow()] {
            let before = server.metric("publishes_total");
            let is_closed = !close.is_empty();
            let answers = exchange(stream, [commands(COMMANDS), close.clone()].concat());
            assert_eq!(count(&answers, "\"published\""), COMMANDS);
            assert_eq!(server.metric("publishes_total") - before, COMMANDS as u64);
            let last = &answers[answers.len() - 10..];
            assert_eq!(
                last.contains("\u{3}\u{fffd}"),
                is_closed,
                "the close is answered: {last:?}"
            );
        }
    }
    server.wait_until("gone", |server| server.connections() == 0);
}

/// While its answers are above the limit it is not read; being behind with a feed is no reason.
#[test]
fn a_client_that_stays_behind_is_read_again_once_its_answers_are_out() {
    const FRAMES: usize = 400;
    let server = Server::start(&[
        ("flush.send_buffer_bytes", "16384"),
        ("retention.bytes_max", "67108864"),
        ("flush.lag_age_ms_max", "60000"),
    ]);
    let mut client = Client::over(server.connect_narrow(), "/v1/ws");
    client.say(r#"{"id":"s","subscribe":{"topic":"busy"}}"#);
    assert!(client.text().contains("subscribed"));
    let mut publisher = server.publisher("busy");
    for _ in 0..FRAMES {
        publisher.say(&"x".repeat(50_000));
    }
    server.wait_for("publishes_total", FRAMES as u64);
    for id in 0..2000 {
        client.say(&format!("{{\"id\":{id},\"publish\":{{\"topic\":\"t\",\"data\":1}}}}"));
    }
    let mut frames = read_answers(&mut client, 2000);
    assert!(frames < FRAMES, "read again only once it had caught up");
    client.say(r#"{"id":"last","publish":{"topic":"t","data":1}}"#);
    frames += read_answers(&mut client, 1);
    assert!(frames < FRAMES, "the answer came only once it had caught up");
}

/// Reads on until `count` publishes have been answered; answers how much else came.
fn read_answers(client: &mut Client, mut count: usize) -> usize {
    let mut others = 0;
    while count > 0 {
        match client.text().contains("\"published\"") {
            true => count -= 1,
            false => others += 1,
        }
    }
    others
}

#[test]
fn who_pipelines_and_takes_no_answers_is_no_slow_sender() {
    let server =
        Server::start(&[("flush.send_buffer_bytes", "16384"), ("limits.handshake_ms_max", "300")]);
    let mut stream = server.connect_narrow();
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || sender.write_all(&posts()).unwrap());
    server.wait_until("held", |server| server.metric("connections_lagging") > 0);
    // The pause of this client is the subject, not a wait for something to happen.
    thread::sleep(std::time::Duration::from_millis(800));
    for _ in 0..POSTS {
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    sending.join().unwrap();
}
