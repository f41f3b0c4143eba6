//! RFC 6455 from the server's side, section by section, byte by byte over real sockets. Owns what
//! may and may not be sent to the engine. Must not use a client library: it would refuse to send
//! most of this. An innocent subscriber is connected all along and must notice nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::net::Shutdown;

use harness::frames::{BINARY, CLOSE, Frame, PING, PONG, RawSocket, TEXT, close, frame, header};
use harness::{Client, Overrides, Server};

const ECHO: Overrides<'_> = &[("debug.echo", "true"), ("limits.message_bytes_max", "131072")];

/// First bytes of fragments.
const TEXT_BEGINS: u8 = 0x01;
const BINARY_BEGINS: u8 = 0x02;
const CONTINUES: u8 = 0x00;
const ENDS: u8 = 0x80;

fn echo() -> (Server, RawSocket) {
    let server = Server::start(ECHO);
    let socket = RawSocket::open(&server, "/v1/echo");
    (server, socket)
}

// ---- section 5.2: framing ----

#[test]
fn messages_of_every_length_form_come_back_whole() {
    let (_server, mut socket) = echo();
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 131_072] {
        let payload: Vec<u8> = (0..len).map(|at| (at * 31 % 251) as u8).collect();
        socket.send(&frame(BINARY, &payload));
        socket.expect(BINARY, &payload);
    }
}

#[test]
fn empty_messages_of_both_kinds_are_messages() {
    let (_server, mut socket) = echo();
    for first in [TEXT, BINARY] {
        socket.send(&frame(first, b""));
        socket.expect(first, b"");
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    let (_server, mut socket) = echo();
    let long = [7; 300];
    for byte in [frame(TEXT, "é…".as_bytes()), frame(BINARY, &long)].concat() {
        socket.send(&[byte]);
    }
    socket.expect(TEXT, "é…".as_bytes());
    socket.expect(BINARY, &long);
}

#[test]
fn many_frames_may_come_at_once_even_with_the_handshake() {
    let server = Server::start(ECHO);
    let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let frames: Vec<u8> =
        numbers.iter().flat_map(|number| frame(TEXT, number.as_bytes())).collect();
    let request = format!("GET /v1/echo HTTP/1.1\r\nHost: h\r\n{}\r\n", harness::http::UPGRADE);
    let mut socket = RawSocket { stream: server.connect() };
    socket.send(&[request.as_bytes(), &frames].concat());
    assert!(harness::http::read_head(&mut socket.stream).starts_with("HTTP/1.1 101 "));
    for number in numbers {
        socket.expect(TEXT, number.as_bytes());
    }
}

// ---- section 5.4: fragmentation ----

#[test]
fn fragments_are_joined_and_pings_between_them_answered() {
    let (_server, mut socket) = echo();
    let (first, second) = "grü".as_bytes().split_at(3);
    socket.send(&frame(TEXT_BEGINS, first));
    socket.send(&frame(PING, b"1"));
    socket.expect(PONG, b"1");
    socket.send(&frame(CONTINUES, second));
    socket.send(&frame(CONTINUES, b""));
    socket.send(&frame(PING, b"2"));
    socket.expect(PONG, b"2");
    socket.send(&frame(ENDS, b"n"));
    socket.expect(TEXT, "grün".as_bytes());
}

#[test]
fn fragments_may_all_be_empty() {
    let (_server, mut socket) = echo();
    socket.send(&[frame(BINARY_BEGINS, b""), frame(CONTINUES, b""), frame(ENDS, b"")].concat());
    socket.expect(BINARY, b"");
}

#[test]
fn a_published_message_is_one_frame_however_it_came() {
    let server = Server::start(ECHO);
    let mut subscriber = RawSocket::open(&server, "/v1/feed/t");
    let mut publisher = RawSocket::open(&server, "/v1/publish/t");
    publisher.send(&[frame(TEXT_BEGINS, b"a"), frame(CONTINUES, b"b"), frame(ENDS, b"c")].concat());
    subscriber.expect(TEXT, b"abc");
}

// ---- section 5.5: control frames ----

#[test]
fn a_ping_is_answered_with_its_payload_by_every_role() {
    let server = Server::start(ECHO);
    for path in ["/v1/echo", "/v1/publish/t", "/v1/feed/t"] {
        let mut socket = RawSocket::open(&server, path);
        for payload in [&[][..], &[b'p'; 125]] {
            socket.send(&frame(PING, payload));
            socket.expect(PONG, payload);
        }
    }
}

#[test]
fn a_pong_nobody_asked_for_is_ignored() {
    let (_server, mut socket) = echo();
    socket.send(&[frame(PONG, b"unasked"), frame(TEXT, b"next")].concat());
    socket.expect(TEXT, b"next");
}

// ---- section 7: closing ----

#[test]
fn a_close_is_answered_in_kind_and_the_connection_ended() {
    let server = Server::start(ECHO);
    for path in ["/v1/echo", "/v1/publish/t", "/v1/feed/t"] {
        for (sent, code) in [
            (frame(CLOSE, b""), 1005),
            (close(1000, b""), 1000),
            (close(1001, "auf Wiederhören".as_bytes()), 1001),
            (close(3000, b""), 3000),
            (close(4999, &[b'r'; 123]), 4999),
        ] {
            let mut socket = RawSocket::open(&server, path);
            socket.send(&sent);
            assert_eq!(socket.read().unwrap().close_code(), code, "{path}");
            assert!(socket.is_ended(), "{path} {code}: the server ends it (section 7.1.1)");
        }
    }
    server.wait_until("all done", |server| {
        server.metric("connections_closed_total{reason=\"done\"}") == 15
    });
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_was_sent_before_a_close_is_answered_before_it_and_the_rest_not_at_all() {
    let (_server, mut socket) = echo();
    socket.send(&[frame(TEXT, b"before"), close(1000, b""), frame(TEXT, b"after")].concat());
    socket.expect(TEXT, b"before");
    assert_eq!(socket.read().unwrap().close_code(), 1000);
    assert_eq!(socket.read(), None);
}

#[test]
fn the_engine_closes_first_and_waits_for_the_answer() {
    let server = Server::start(ECHO);
    let mut socket = RawSocket::open(&server, "/v1/feed/t");
    socket.send(&frame(TEXT, b"not for a subscription"));
    assert_eq!(socket.read().unwrap().close_code(), 1003);
    // Both were on their way when the close arrived: neither is answered, neither is an error.
    socket.send(&[frame(TEXT, b"late"), frame(PING, b"late")].concat());
    socket.send(&close(1003, b""));
    assert!(socket.is_ended());
    server.wait_until("done", |server| {
        server.metric("connections_closed_total{reason=\"done\"}") == 1
    });
}

#[test]
fn a_peer_that_never_answers_a_close_is_cut() {
    let server = Server::start(&[("keepalive.close_timeout_ms", "100")]);
    let mut socket = RawSocket::open(&server, "/v1/feed/t");
    socket.send(&frame(BINARY, b"not for a subscription"));
    assert_eq!(socket.read().unwrap().close_code(), 1003);
    server.wait_until("cut", |server| server.connections() == 0);
    assert!(socket.is_ended());
}

#[test]
fn a_peer_that_ends_without_a_close_is_gone() {
    let server = Server::start(ECHO);
    for path in ["/v1/echo", "/v1/publish/t", "/v1/feed/t"] {
        let mut socket = RawSocket::open(&server, path);
        socket.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(socket.read(), None, "{path}");
    }
    server.wait_until("gone", |server| {
        server.metric("connections_closed_total{reason=\"peer_gone\"}") == 3
    });
}

// ---- what is refused ----

/// A subscriber that must notice nothing, and the publisher that proves it.
struct Innocent {
    subscriber: Client,
    publisher: Client,
    count: u32,
}

impl Innocent {
    fn connect(server: &Server) -> Self {
        let subscriber = server.subscribe("innocent");
        Self { subscriber, publisher: server.publisher("innocent"), count: 0 }
    }

    fn still_receives(&mut self, after: &str) {
        self.count += 1;
        let text = self.count.to_string();
        self.publisher.say(&text);
        assert_eq!(self.subscriber.text(), text, "after {after}");
    }
}

fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

type Malformed = (&'static str, Vec<u8>, u16);

/// Sections 5.1, 5.2 and 5.5: what a header alone shows.
fn malformed_headers() -> Vec<Malformed> {
    vec![
        ("unmasked text", unmasked(TEXT, b"a"), 1002),
        ("unmasked ping", unmasked(PING, b""), 1002),
        ("RSV1", frame(0xC1, b""), 1002),
        ("RSV2", frame(0xA1, b""), 1002),
        ("RSV3", frame(0x91, b""), 1002),
        ("RSV1 on a ping", frame(0xC9, b""), 1002),
        ("reserved data opcode 3", frame(0x83, b""), 1002),
        ("reserved data opcode 7", frame(0x87, b""), 1002),
        ("reserved control opcode B", frame(0x8B, b""), 1002),
        ("reserved control opcode F", frame(0x8F, b""), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("fragmented close", frame(0x08, b""), 1002),
        ("ping of 126 bytes", frame(PING, &[0; 126]), 1002),
        ("close of 126 bytes", close(1000, &[b'a'; 124]), 1002),
        ("16-bit length of 125", [&[BINARY, 0xFE, 0, 125][..], &[0; 4]].concat(), 1002),
        ("64-bit length of 65535", [&[BINARY, 0xFF][..], &length(65_535), &[0; 4]].concat(), 1002),
        (
            "highest bit of a length",
            [&[BINARY, 0xFF][..], &length(1 << 63), &[0; 4]].concat(),
            1002,
        ),
        ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1002),
    ]
}

fn length(len: u64) -> [u8; 8] {
    len.to_be_bytes()
}

/// Sections 5.4, 5.6, 7.4 and 8.1: what only payload or order show.
fn malformed_messages() -> Vec<Malformed> {
    vec![
        ("continuation of nothing", frame(ENDS, b"a"), 1002),
        ("first fragment of nothing", frame(CONTINUES, b"a"), 1002),
        ("message inside fragments", [frame(TEXT_BEGINS, b"a"), frame(TEXT, b"b")].concat(), 1002),
        (
            "fragments inside fragments",
            [frame(BINARY_BEGINS, b"a"), frame(TEXT_BEGINS, b"b")].concat(),
            1002,
        ),
        ("close payload of one byte", frame(CLOSE, &[3]), 1002),
        ("close code 0", close(0, b""), 1002),
        ("close code 999", close(999, b""), 1002),
        ("close code 1004", close(1004, b""), 1002),
        ("close code 1005", close(1005, b""), 1002),
        ("close code 1006", close(1006, b""), 1002),
        ("close code 1015", close(1015, b""), 1002),
        ("close code 2999", close(2999, b""), 1002),
        ("close code 5000", close(5000, b""), 1002),
        ("close reason not UTF-8", close(1000, &[0xFF]), 1007),
        ("text not UTF-8", frame(TEXT, &[b'a', 0xFF]), 1007),
        ("text cut inside a character", frame(TEXT, &[0xE2, 0x82]), 1007),
        ("surrogate", frame(TEXT, &[0xED, 0xA0, 0x80]), 1007),
        ("overlong form", frame(TEXT, &[0xC0, 0xAF]), 1007),
        ("beyond Unicode", frame(TEXT, &[0xF4, 0x90, 0x80, 0x80]), 1007),
        (
            "character never finished over fragments",
            [frame(TEXT_BEGINS, &[0xE2]), frame(CONTINUES, &[0x82]), frame(ENDS, b"")].concat(),
            1007,
        ),
        (
            "bad text in the first fragment, before the message ends",
            frame(TEXT_BEGINS, &[b'a', 0xFF]),
            1007,
        ),
        ("too big by its header alone", header(BINARY, 131_073), 1009),
        ("far too big by its header alone", header(TEXT, usize::MAX >> 1), 1009),
        (
            "too big over fragments",
            [frame(BINARY_BEGINS, &[0; 131_072]), header(ENDS, 1)].concat(),
            1009,
        ),
    ]
}

#[test]
fn malformed_input_is_closed_with_its_code_and_nobody_else_notices() {
    let server = Server::start(ECHO);
    let mut innocent = Innocent::connect(&server);
    for path in ["/v1/echo", "/v1/publish/t"] {
        for (what, bytes, code) in malformed_headers().into_iter().chain(malformed_messages()) {
            let mut socket = RawSocket::open(&server, path);
            socket.send(&bytes);
            let answer = socket.read().unwrap_or_else(|| panic!("{what}: ended without a close"));
            assert_eq!(answer.close_code(), code, "{what} on {path}");
            assert!(answer.payload.len() > 2, "{what}: a reason a person can read");
            assert!(socket.is_ended(), "{what} on {path}");
            innocent.still_receives(what);
        }
    }
}

#[test]
fn a_subscription_takes_no_messages_but_is_as_strict() {
    let server = Server::start(ECHO);
    let mut innocent = Innocent::connect(&server);
    for (what, bytes, code) in [
        ("text", frame(TEXT, b"a"), 1003),
        ("binary", frame(BINARY, b""), 1003),
        ("fragments", [frame(TEXT_BEGINS, b"a"), frame(ENDS, b"b")].concat(), 1003),
        ("unmasked", unmasked(TEXT, b"a"), 1002),
        ("text not UTF-8", frame(TEXT, &[0xFF]), 1007),
        ("too big", header(BINARY, 131_073), 1009),
    ] {
        let mut socket = RawSocket::open(&server, "/v1/feed/t");
        socket.send(&bytes);
        assert_eq!(socket.read().unwrap().close_code(), code, "{what}");
        innocent.still_receives(what);
    }
}

#[test]
fn nothing_of_a_message_that_is_refused_is_published() {
    let server = Server::start(ECHO);
    let mut subscriber = RawSocket::open(&server, "/v1/feed/t");
    let mut publisher = RawSocket::open(&server, "/v1/publish/t");
    publisher.send(&[frame(TEXT, b"whole"), frame(TEXT, &[0xFF]), frame(TEXT, b"after")].concat());
    assert_eq!(publisher.read().unwrap().close_code(), 1007);
    subscriber.expect(TEXT, b"whole");
    let mut second = RawSocket::open(&server, "/v1/publish/t");
    second.send(&frame(TEXT, b"next"));
    subscriber.expect(TEXT, b"next");
}

/// The peer that is refused may be in the middle of sending: its bytes are drained, so that the
/// close is not lost to a reset.
#[test]
fn the_close_reaches_a_peer_that_goes_on_sending() {
    let (_server, mut socket) = echo();
    socket.send(&header(BINARY, 8 << 20));
    let rest = vec![0; 64 << 10];
    (0..64).for_each(|_| socket.send(&rest));
    let answer: Frame = socket.read().unwrap();
    assert_eq!(answer.close_code(), 1009);
    assert!(socket.is_ended());
}
