//! Clients on bare sockets, which see each byte: WebSockets, event streams, POSTs. Owns that
//! anything but what is expected fails the test: an end, a close, a notice of a gap.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::process::DEADLINE;

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The head of a response, lower case.
fn head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let count = reader.read_line(&mut head).unwrap();
        assert!(count > 0, "ended in its head: {head:?}");
    }
    head.to_ascii_lowercase()
}

/// A WebSocket.
pub(crate) struct Socket<S> {
    pub(crate) reader: BufReader<S>,
}

impl Socket<TcpStream> {
    pub(crate) fn open(address: SocketAddr, target: &str, protocol: Option<&str>) -> Self {
        Self::over(connect(address), target, protocol)
    }

    /// What is written by another thread.
    pub(crate) fn writer(&self) -> TcpStream {
        self.reader.get_ref().try_clone().unwrap()
    }
}

impl<S: Read + Write> Socket<S> {
    pub(crate) fn over(mut stream: S, target: &str, protocol: Option<&str>) -> Self {
        let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
            protocol.unwrap_or_default()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let head = head(&mut reader);
        assert!(head.starts_with("http/1.1 101"), "{head}");
        Self { reader }
    }

    /// The next frame: opcode and payload.
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut start = [0; 2];
        self.reader.read_exact(&mut start).expect("the connection goes on");
        let len = match start[1] {
            126 => {
                let mut len = [0; 2];
                self.reader.read_exact(&mut len).unwrap();
                u16::from_be_bytes(len).into()
            }
            127 => {
                let mut len = [0; 8];
                self.reader.read_exact(&mut len).unwrap();
                u64::from_be_bytes(len)
            }
            len => len.into(),
        };
        let mut payload = vec![0; len as usize];
        self.reader.read_exact(&mut payload).unwrap();
        (start[0] & 0xF, payload)
    }

    /// The next message, text or binary.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        loop {
            match self.frame() {
                (1 | 2, payload) => return payload,
                (9, payload) if payload.is_empty() => {}
                (opcode, payload) => {
                    panic!("{opcode}: {:?}", String::from_utf8_lossy(&payload))
                }
            }
        }
    }

    pub(crate) fn json(&mut self) -> Value {
        let message = self.message();
        serde_json::from_slice(&message)
            .unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(&message)))
    }
}

/// A text message of a client, masked with zeros.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(len) if len < 126 => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// Sends POSTs over one connection.
pub(crate) struct Poster {
    reader: BufReader<TcpStream>,
}

impl Poster {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self { reader: BufReader::new(connect(address)) }
    }

    /// Posts `body` to `topic`; `between` is done when half of it is out. Answers the reply.
    pub(crate) fn post(&mut self, topic: &str, body: &str, between: impl FnOnce()) -> Value {
        let head = format!(
            "POST /v1/publish/{topic} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let (front, back) = body.split_at(body.len() / 2);
        let mut stream = self.reader.get_ref();
        stream.write_all(format!("{head}{front}").as_bytes()).unwrap();
        between();
        stream.write_all(back.as_bytes()).unwrap();
        let head = self::head(&mut self.reader);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let len = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut reply = vec![0; len.parse().unwrap()];
        self.reader.read_exact(&mut reply).unwrap();
        serde_json::from_slice(&reply).unwrap()
    }
}

/// An event stream.
pub(crate) struct Events {
    reader: BufReader<TcpStream>,
}

impl Events {
    pub(crate) fn open(address: SocketAddr, target: &str) -> Self {
        let mut stream = connect(address);
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let head = head(&mut reader);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        Self { reader }
    }

    /// The next event with data: its id and its data.
    pub(crate) fn next(&mut self) -> (String, String) {
        let (mut id, mut data) = (String::new(), None);
        loop {
            let mut line = String::new();
            let count = self.reader.read_line(&mut line).unwrap();
            assert!(count > 0, "the stream ended");
            let line = line.trim_end();
            assert!(!line.starts_with("event:"), "{line}");
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = Some(text.to_owned());
            }
            // Events end with an empty line, chunks with one more.
            if let (true, Some(data)) = (line.is_empty(), data.take_if(|_| line.is_empty())) {
                return (id, data);
            }
        }
    }
}
