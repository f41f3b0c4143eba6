//! What each kind of attacker sends, and which answers the wire document states for it. Must not
//! know sockets.

use std::io::Write;
use std::time::Duration;

use clap::ValueEnum;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use gridload::codec::wire;
use gridload::codec::wire::Opcode;

/// A kind of attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// A request head that never ends, a byte at a time.
    SlowHandshake,
    /// A body that never ends, a byte at a time.
    SlowBody,
    /// A head of 64 KiB.
    OversizeHead,
    /// A body announced to be 1 GiB.
    OversizeBody,
    /// A message announced to be 1 GiB.
    OversizeMessage,
    /// A message of 64 KiB that inflates to 64 MiB.
    Bomb,
    /// Ten thousand messages as fast as they are taken.
    FloodPublish,
    /// Ten thousand pings.
    FloodPing,
    /// Ten thousand commands of the multiplexed protocol.
    FloodControl,
    /// Connections that are closed as soon as they are made.
    FloodConnect,
    /// A frame without a mask.
    BadMask,
    /// A frame with a reserved bit set.
    BadBits,
    /// A frame with an opcode that means nothing.
    BadOpcode,
    /// Text that is not UTF-8.
    BadText,
}

/// What one attacker does.
#[derive(Debug)]
pub struct Script {
    /// The request, or its beginning.
    pub request: Vec<u8>,
    /// Whether the request is for a WebSocket, and `burst` is sent once it is granted.
    pub is_upgrade: bool,
    /// The pause after each byte of the request.
    pub pause: Option<Duration>,
    /// What is sent over the WebSocket, or after the request.
    pub burst: Vec<u8>,
    /// How often.
    pub repeats: u32,
    /// What is sent at the end.
    pub farewell: Vec<u8>,
    /// The answers that are right.
    pub stated: &'static [&'static str],
}

impl Attack {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What such an attacker does.
    pub fn script(self) -> Script {
        match self {
            Self::SlowHandshake => slow(&get("/v1/feed/attack", ""), &["status 408"]),
            Self::SlowBody => slow(&post(1000), &["status 408"]),
            Self::OversizeHead => {
                let filler = format!("X-Filler: {}\r\n", "x".repeat(64 << 10));
                plain(get("/v1/feed/attack", &filler), &["status 431"])
            }
            Self::OversizeBody => plain(post(1 << 30), &["status 413"]),
            Self::OversizeMessage => socket(oversize_header(), 1, &["close 1009"]),
            Self::Bomb => bomb(),
            Self::FloodPublish => socket(frame(Opcode::Text, &[b'x'; 128]), FLOOD, FLOODED),
            Self::FloodPing => socket(ping(), FLOOD, FLOODED),
            Self::FloodControl => Script {
                request: get(
                    "/v1/ws",
                    &format!("{UPGRADE}Sec-WebSocket-Protocol: gridcast.v1.json\r\n"),
                ),
                ..socket(commands(), FLOOD / 2, FLOODED)
            },
            Self::FloodConnect => {
                socket(Vec::new(), 0, &["close 1000", "status 503", "status 429"])
            }
            Self::BadMask => socket(vec![0x81, 1, b'a'], 1, &["close 1002"]),
            Self::BadBits => socket(flipped(0x30), 1, &["close 1002"]),
            Self::BadOpcode => socket(flipped(0x07), 1, &["close 1002"]),
            Self::BadText => socket(frame(Opcode::Text, &[0xFF]), 1, &["close 1007"]),
        }
    }
}

fn plain(request: Vec<u8>, stated: &'static [&'static str]) -> Script {
    Script {
        request,
        is_upgrade: false,
        pause: None,
        burst: Vec::new(),
        repeats: 0,
        farewell: Vec::new(),
        stated,
    }
}

/// The request but for its last byte, and then nothing.
fn slow(request: &[u8], stated: &'static [&'static str]) -> Script {
    let begun = request.split_last().map_or(&[][..], |(_, begun)| begun).to_vec();
    Script { pause: Some(Duration::from_millis(200)), ..plain(begun, stated) }
}

fn socket(burst: Vec<u8>, repeats: u32, stated: &'static [&'static str]) -> Script {
    Script {
        is_upgrade: true,
        burst,
        repeats,
        farewell: frame(Opcode::Close, &wire::NORMAL_CLOSURE.to_be_bytes()),
        ..plain(get("/v1/publish/attack", UPGRADE), stated)
    }
}

fn bomb() -> Script {
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut burst = frame(Opcode::Binary, &deflated_zeros());
    if let Some(first) = burst.first_mut() {
        *first |= RSV1;
    }
    Script {
        request: get("/v1/publish/attack", &format!("{UPGRADE}{extension}")),
        ..socket(burst, 1, &["close 1009"])
    }
}

fn deflated_zeros() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail.
    let _ = encoder.write_all(&vec![0; 64 << 20]);
    encoder.finish().unwrap_or_default()
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: engine.test\r\n{headers}\r\n").into_bytes()
}

fn post(body_bytes: u64) -> Vec<u8> {
    let headers = format!("Content-Type: text/plain\r\nContent-Length: {body_bytes}\r\n");
    format!("POST /v1/publish/attack HTTP/1.1\r\nHost: engine.test\r\n{headers}\r\nxxxx")
        .into_bytes()
}

fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::encode(opcode, payload, MASK, &mut frame);
    frame
}

fn ping() -> Vec<u8> {
    let mut ping = frame(Opcode::Pong, b"flood");
    if let Some(first) = ping.first_mut() {
        *first = FIN_PING;
    }
    ping
}

/// A binary frame with bits of its first byte flipped.
fn flipped(bits: u8) -> Vec<u8> {
    let mut flipped = frame(Opcode::Binary, b"a");
    if let Some(first) = flipped.first_mut() {
        *first ^= bits;
    }
    flipped
}

fn commands() -> Vec<u8> {
    let command = |verb| format!("{{\"id\":1,\"{verb}\":{{\"topic\":\"attack\"}}}}");
    let frames = ["subscribe", "unsubscribe"].map(|v| frame(Opcode::Text, command(v).as_bytes()));
    frames.concat()
}

/// A header that announces 1 GiB, and a little of it.
fn oversize_header() -> Vec<u8> {
    let mut bytes = vec![0x82, 0xFF];
    bytes.extend_from_slice(&(1_u64 << 30).to_be_bytes());
    bytes.extend_from_slice(&MASK);
    bytes.extend_from_slice(&[0; 64]);
    bytes
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const MASK: [u8; 4] = [0x12, 0xFE, 0x00, 0x80];
const RSV1: u8 = 0x40;
const FIN_PING: u8 = 0x89;
const FLOOD: u32 = 10_000;
/// A limit is set and told, or none is and everything was taken.
const FLOODED: &[&str] = &["close 4429", "close 1000", "status 429", "status 503"];
