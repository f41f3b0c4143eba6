//! permessage-deflate over real sockets: agreed to or not, shared by all who agreed, bounded on the
//! way in. Owns RFC 7692 as a client sees it. Must not test the compressor itself.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::Write as _;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use harness::frames::{self, RawSocket};
use harness::{Server, http};

const ON: harness::Overrides<'static> =
    &[("compression.enabled", "true"), ("compression.bytes_min", "32"), ("debug.echo", "true")];

/// A raw socket that offered `extensions`, and what was answered.
fn open(server: &Server, path: &str, extensions: &str) -> (RawSocket, Option<String>) {
    let mut stream = server.connect();
    let offer = format!("Sec-WebSocket-Extensions: {extensions}\r\n");
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{}{offer}\r\n", http::UPGRADE);
    stream.write_all(request.as_bytes()).unwrap();
    let head = http::read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let answer = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    (RawSocket { stream }, answer.map(str::to_owned))
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 100);
    Compress::new(Compression::default(), false)
        .compress_vec(payload, &mut out, FlushCompress::Sync)
        .unwrap();
    out.truncate(out.len() - 4);
    out
}

fn inflated(payload: &[u8], window_bits: u8) -> Vec<u8> {
    let whole = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    let mut out = Vec::with_capacity(1 << 20);
    Decompress::new_with_window_bits(false, window_bits)
        .decompress_vec(&whole, &mut out, FlushDecompress::Sync)
        .unwrap();
    out
}

#[test]
fn it_is_off_unless_turned_on() {
    let server = Server::start(&[]);
    assert_eq!(open(&server, "/v1/feed/t", "permessage-deflate").1, None);
}

#[test]
fn a_message_is_deflated_once_for_all_who_agreed() {
    let server = Server::start(ON);
    let mut agreed: Vec<RawSocket> = (0..10)
        .map(|_| open(&server, "/v1/feed/t", "permessage-deflate; client_max_window_bits").0)
        .collect();
    let mut plain = server.subscribe("t");
    let text = "{\"frequency\":49.98,\"rocof\":0.01}".repeat(20);
    server.post("t", &text);
    server.post("t", "short");
    assert_eq!(plain.texts(2), [text.as_str(), "short"]);
    for socket in &mut agreed {
        let frame = socket.read().unwrap();
        assert_eq!(frame.first, 0xC1);
        assert!(frame.payload.len() * 5 < text.len());
        assert_eq!(inflated(&frame.payload, 15), text.as_bytes());
        socket.expect(frames::TEXT, b"short");
    }
    // The lane is shared by those on one core: at most one for each of the two.
    server.wait_for("deflates_total", 1);
}

/// What stands around a payload differs from feed to feed; the payload, and what it is deflated
/// to, do not.
#[test]
fn a_payload_is_deflated_once_for_a_topic_and_its_patterns() {
    let server = Server::start(ON);
    let text = "{\"frequency\":49.98,\"rocof\":0.01}".repeat(20);
    let follow = |path: &str, bits: u8| {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        open(&server, &format!("/v1/feed/{path}"), &offer).0
    };
    let targets = ["pmu/1", "pmu/%23", "%2B/1"];
    let mut wide: Vec<RawSocket> = targets.iter().map(|target| follow(target, 15)).collect();
    let expect = |sockets: &mut [RawSocket], bits: u8| {
        for socket in sockets {
            let frame = socket.read().unwrap();
            assert_eq!((frame.first, inflated(&frame.payload, bits)), (0xC1, text.clone().into()));
        }
    };
    server.post("pmu/1", &text);
    expect(&mut wide, 15);
    assert_eq!((server.metric("encodes_total"), server.metric("deflates_total")), (6, 1));
    let mut narrow: Vec<RawSocket> = targets[1..].iter().map(|target| follow(target, 10)).collect();
    server.post("pmu/1", &text);
    expect(&mut wide, 15);
    expect(&mut narrow, 10);
    assert_eq!(server.metric("deflates_total"), 1 + 2, "each size of window for itself");
}

#[test]
fn the_window_a_client_asks_for_is_kept() {
    let server = Server::start(ON);
    let payload: Vec<u8> = (0..60_000_u32).flat_map(|n| (n % 9973).to_be_bytes()).collect();
    for bits in [9, 12, 15] {
        let offer = format!("permessage-deflate; server_max_window_bits={bits}");
        let (mut socket, answer) = open(&server, "/v1/feed/t", &offer);
        assert!(answer.unwrap().ends_with(&format!("server_max_window_bits={bits}")));
        server.publisher("t").say_bytes(&payload);
        let frame = socket.read().unwrap();
        assert_eq!(inflated(&frame.payload, bits), payload, "{bits}");
    }
}

#[test]
fn deflated_messages_are_published_inflated() {
    let server = Server::start(ON);
    let mut subscriber = server.subscribe("t");
    let (mut publisher, _) = open(&server, "/v1/publish/t", "permessage-deflate");
    let text = "grün ".repeat(100);
    let message = deflated(text.as_bytes());
    let (first, last) = message.split_at(message.len() / 2);
    publisher.send(&frames::frame(0x41, first));
    publisher.send(&frames::frame(0x80, last));
    publisher.send(&frames::frame(0x81, b"plain"));
    assert_eq!(subscriber.texts(2), [text.as_str(), "plain"]);
}

#[test]
fn bombs_noise_and_bad_text_end_with_their_code() {
    let server = Server::start(ON);
    for (first, payload, code) in [
        (0xC2, deflated(&vec![0; 8 << 20]), 1009),
        (0xC2, vec![0xFF; 100], 1002),
        (0xC1, deflated(&[0xFF, 0xFE]), 1007),
    ] {
        let (mut socket, _) = open(&server, "/v1/publish/t", "permessage-deflate");
        socket.send(&frames::frame(first, &payload));
        assert_eq!(socket.read().unwrap().close_code(), code);
    }
    let (mut without, _) = open(&server, "/v1/publish/t", "mux");
    without.send(&frames::frame(0xC2, &deflated(b"x")));
    assert_eq!(without.read().unwrap().close_code(), 1002);
}

#[test]
fn an_echo_is_deflated_as_well() {
    let server = Server::start(ON);
    let (mut socket, _) = open(&server, "/v1/echo", "permessage-deflate");
    let text = "again ".repeat(50);
    socket.send(&frames::frame(0xC1, &deflated(text.as_bytes())));
    let frame = socket.read().unwrap();
    assert_eq!((frame.first, inflated(&frame.payload, 15)), (0xC1, text.into_bytes()));
}

/// Compresses messages as most clients do: each may refer to those before it.
struct Context(Compress);

impl Context {
    fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 100);
        self.0.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        out
    }
}

#[test]
fn clients_keep_their_context_unless_they_offer_not_to() {
    let server = Server::start(ON);
    let mut subscriber = server.subscribe("t");
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=15",
    ] {
        let (mut publisher, answer) = open(&server, "/v1/publish/t", offer);
        assert!(!answer.unwrap().contains("client_no_context_takeover"), "{offer}");
        let mut context = Context::new();
        for round in 0..50 {
            let text = format!("{{\"round\":{round},\"text\":\"the same again and again\"}}");
            let message = context.message(text.as_bytes());
            assert!(round == 0 || message.len() < text.len() / 2, "it does refer back");
            // Fragments and plain messages in between change nothing.
            let (first, last) = message.split_at(message.len() / 2);
            publisher.send(&frames::frame(0x41, first));
            publisher.send(&frames::frame(frames::PING, b""));
            publisher.send(&frames::frame(0x80, last));
            publisher.send(&frames::frame(0x81, b"plain"));
            assert_eq!(subscriber.texts(2), [text.as_str(), "plain"]);
        }
    }
    let offer = "permessage-deflate; client_no_context_takeover";
    let (_, answer) = open(&server, "/v1/publish/t", offer);
    assert!(answer.unwrap().contains("client_no_context_takeover"));
}

#[test]
fn a_context_is_counted_in_the_memory_of_connections() {
    let server = Server::start(ON);
    let (mut publisher, _) = open(&server, "/v1/publish/t", "permessage-deflate");
    let pending = "memory_bytes{kind=\"pending\"}";
    publisher.send(&frames::frame(0x81, b"plain"));
    server.wait_for("publishes_total", 1);
    publisher.send(&frames::frame(0xC1, &Context::new().message(&[b'x'; 20_000])));
    server.wait_until("counted", |server| server.metric(pending) >= 20_000);
    drop(publisher);
    server.wait_until("given back", |server| server.metric(pending) == 0);
}

#[test]
fn bombs_and_noise_end_a_context_as_well() {
    let server = Server::start(ON);
    for (payload, code) in [(vec![0; 8 << 20], 1009), (vec![0xFF, 0xFE], 1007)] {
        let (mut socket, _) = open(&server, "/v1/publish/t", "permessage-deflate");
        let mut context = Context::new();
        socket.send(&frames::frame(0xC1, &context.message(b"good")));
        let mut message = Vec::new();
        for part in payload.chunks(1 << 20) {
            message.extend(context.message(part));
            message.extend([0, 0, 0xFF, 0xFF]);
        }
        message.truncate(message.len() - 4);
        socket.send(&frames::frame(0xC1, &message));
        assert_eq!(socket.read().unwrap().close_code(), code);
    }
    let (mut socket, _) = open(&server, "/v1/publish/t", "permessage-deflate");
    socket.send(&frames::frame(0xC1, &[0xFF; 100]));
    assert_eq!(socket.read().unwrap().close_code(), 1002);
}
