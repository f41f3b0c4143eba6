//! WebSocket frames byte by byte: what a client library would never send, and what comes back. Owns
//! the client's raw end of RFC 6455. Must not share a codec with the engine.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Server, http};

/// First bytes of frames: FIN and opcode.
pub const TEXT: u8 = 0x81;
/// A whole binary message.
pub const BINARY: u8 = 0x82;
/// A close.
pub const CLOSE: u8 = 0x88;
/// A ping.
pub const PING: u8 = 0x89;
/// A pong.
pub const PONG: u8 = 0x8A;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A masked frame with its length in the shortest form.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The header of a masked frame of `len` payload bytes.
pub fn header(first: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(0x80 | len as u8),
        126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

/// A close with `code` and `reason`.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A frame from the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, reserved bits and opcode.
    pub first: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close; 1005 when it has none.
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.first, CLOSE, "no close: {self:?}");
        self.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
    }
}

/// A raw WebSocket: the handshake is done, the rest is bytes.
pub struct RawSocket {
    /// The connection.
    pub stream: TcpStream,
}

impl RawSocket {
    /// Shakes hands for `path`.
    pub fn open(server: &Server, path: &str) -> Self {
        Self::over(server.connect(), path)
    }

    /// Shakes hands for `path` over `stream`.
    pub fn over(mut stream: TcpStream, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{}\r\n", http::UPGRADE);
        stream.write_all(request.as_bytes()).unwrap();
        let answer = http::read_head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Self { stream }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads one frame; none when the engine has ended the connection.
    pub fn read(&mut self) -> Option<Frame> {
        let mut start = [0; 2];
        if self.stream.read_exact(&mut start).is_err() {
            return None;
        }
        assert_eq!(start[1] & 0x80, 0, "a server masks nothing (RFC 6455 section 5.1)");
        let len = match start[1] {
            126 => u64::from(u16::from_be_bytes(self.read_array())),
            127 => u64::from_be_bytes(self.read_array()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        Some(Frame { first: start[0], payload })
    }

    /// Reads one frame that must come.
    pub fn expect(&mut self, first: u8, payload: &[u8]) {
        let frame = self.read().expect("a frame and not the end");
        assert_eq!(frame.first, first, "{frame:?}");
        assert!(
            frame.payload == payload,
            "{} bytes, not the {}",
            frame.payload.len(),
            payload.len()
        );
    }

    /// True when the engine ends the connection without another byte.
    pub fn is_ended(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }

    fn read_array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}
