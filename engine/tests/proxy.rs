//! Connections through a balancer, over real sockets: whose they are, and who may say so. Owns the
//! PROXY header as the engine meets it. Must not test the header's forms (that is a pure function).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;

use harness::certificates::{Authority, secure};
use harness::{Client, Overrides, Server, config, http};
use rustls::version::TLS13;

const ANY: Overrides<'_> = &[("proxy.protocol", "any"), ("proxy.trusted", "127.0.0.0/8")];
const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";

fn start(more: Overrides<'_>) -> Server {
    Server::start(&[ANY, more].concat())
}

/// A connection that begins with `header`.
fn through(server: &Server, header: &[u8]) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(header).unwrap();
    stream
}

fn line(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 127.0.0.1 1024 443\r\n").into_bytes()
}

fn binary(command: u8, source: [u8; 4]) -> Vec<u8> {
    let addresses = [source, [127, 0, 0, 1], [4, 0, 1, 187]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x11, 0, 12][..], &addresses].concat()
}

fn is_served(mut stream: TcpStream) -> bool {
    stream.write_all(GET).unwrap();
    http::read_answer(&mut stream).status == 200
}

/// Waits until the other side has ended the connection, in whatever way.
fn ends(mut stream: TcpStream) {
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(rest.is_empty(), "not a word: {rest:?}");
}

#[test]
fn both_versions_are_taken_off_before_the_request() {
    let server = start(&[]);
    for header in [line("192.0.2.1"), binary(0x21, [192, 0, 2, 1]), binary(0x20, [0; 4])] {
        assert!(is_served(through(&server, &header)), "{header:?}");
        let together = [&header[..], GET].concat();
        assert_eq!(http::read_answer(&mut through(&server, &together)).status, 200, "one write");
        let mut split = server.connect();
        for byte in &header {
            split.write_all(&[*byte]).unwrap();
        }
        assert!(is_served(split), "byte by byte: {header:?}");
    }
    assert_eq!(server.metric("turned_away_total{gate=\"proxy_header\"}"), 0);
}

#[test]
fn limits_hold_for_the_source_that_the_header_names() {
    let server = start(&[("limits.connections_per_source_max", "1")]);
    let subscribe = |header: &[u8]| Client::over(through(&server, header), "/v1/feed/t");
    let first = subscribe(&line("192.0.2.1"));
    let _other = subscribe(&line("192.0.2.2"));
    let _binary = subscribe(&binary(0x21, [192, 0, 2, 3]));
    let refused = http::read_answer(&mut through(&server, &line("192.0.2.1")));
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("from this address"), "{refused:?}");
    drop(first);
    server.wait_until("left", |server| server.connections() == 2);
    subscribe(&line("192.0.2.1"));
}

#[test]
fn rates_hold_for_the_source_that_the_header_names() {
    let server = start(&[("limits.handshakes_per_s_per_source", "1")]);
    for source in 1..=20 {
        assert!(is_served(through(&server, &line(&format!("192.0.2.{source}")))), "{source}");
    }
}

#[test]
fn the_rate_of_all_holds_behind_a_balancer_and_counts_once() {
    let server = start(&[("limits.accepts_per_s_max", "1")]);
    let mut connect = (0..20).map(|_| is_served(through(&server, &line("192.0.2.1"))));
    assert_eq!(connect.next(), Some(true), "a second's worth at once, and it counts once");
    assert!(connect.any(|served| !served), "unless each takes a second");
}

#[test]
fn who_has_no_header_is_not_served() {
    let server = start(&[]);
    for (count, bytes) in [GET, b"PROXY TCP4 nonsense\r\n", b"\x16\x03\x01\0\0"].iter().enumerate()
    {
        ends(through(&server, bytes));
        server.wait_for("turned_away_total{gate=\"proxy_header\"}", count as u64 + 1);
    }
    drop(through(&server, b"PROXY TC"));
    server.wait_until("gone", |server| server.connections() == 0);
}

#[test]
fn a_header_that_does_not_come_is_timed_out() {
    let server = start(&[("limits.handshake_ms_max", "200")]);
    let (silent, begun) = (server.connect(), through(&server, b"PROXY TCP4 192."));
    ends(silent);
    ends(begun);
}

#[test]
fn only_balancers_may_connect() {
    let server =
        Server::start(&[("proxy.protocol", "v1"), ("proxy.trusted", "10.0.0.0/8, 127.0.0.2")]);
    // What was sent before the refusal may meet a reset.
    ends(server.connect());
    server.wait_for("turned_away_total{gate=\"balancer\"}", 1);
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_header_comes_before_tls() {
    let authority = Authority::new();
    let issued = authority.issue();
    let certificate = authority.file("certificate.pem", &issued.certificate);
    let key = authority.file("key.pem", &issued.key);
    let tls = [("tls.certificate", certificate.as_str()), ("tls.key", key.as_str())];
    let server = Server::try_start(config(&[ANY, &tls].concat())).unwrap();
    let client = authority.client(&[&TLS13], None);
    let connect = |header: &[u8]| secure(through(&server, header), &client);
    let mut subscriber = Client::over(connect(&binary(0x21, [192, 0, 2, 1])), "/v1/feed/t");
    Client::over(connect(&line("192.0.2.2")), "/v1/publish/t").say("hello");
    assert_eq!(subscriber.text(), "hello");
    ends(through(&server, GET));
    assert_eq!(server.metric("tls_handshakes_failed_total{reason=\"gone\"}"), 0);
}
