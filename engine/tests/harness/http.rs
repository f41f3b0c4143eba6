//! HTTP byte by byte: requests as written, responses and event streams as they arrive. Owns the
//! client's end of both. Must not share a parser with the engine.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Server;

/// The headers of a WebSocket handshake.
pub const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The value of a header, in any case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends `bytes` over a connection of their own and reads the answer.
pub fn ask(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    read_answer(&mut stream)
}

/// A GET without headers beside `Host`.
pub fn get(server: &Server, path: &str) -> Answer {
    ask(server, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())
}

/// Posts `body`.
pub fn post(server: &Server, path: &str, content_type: &str, body: &[u8]) -> Answer {
    ask(server, &post_bytes(path, content_type, body))
}

/// Posts lines of JSON.
pub fn post_many(server: &Server, lines: &str) -> Answer {
    post(server, "/v1/publish", "application/x-ndjson", lines.as_bytes())
}

/// The bytes of a POST.
pub fn post_bytes(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Reads one response whose body has a length or comes in chunks.
pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut answer = read_answer_head(stream);
    // An event stream goes on for as long as its client stays.
    let is_endless = answer.header("content-type").is_some_and(|t| t == "text/event-stream");
    if answer.header("transfer-encoding") == Some("chunked") && !is_endless {
        answer.body = String::from_utf8(read_chunks(stream)).unwrap();
        return answer;
    }
    let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    answer.body = String::from_utf8(body).unwrap();
    answer
}

/// Reads one response that has no body, whatever its length says.
pub fn read_answer_head(stream: &mut TcpStream) -> Answer {
    let head = read_head(stream);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: String::new() }
}

/// Reads up to the empty line, and not a byte more.
pub fn read_head(stream: &mut TcpStream) -> String {
    String::from_utf8(read_through(stream, b"\r\n\r\n")).unwrap()
}

fn read_through(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&bytes));
        });
        bytes.push(byte[0]);
    }
    bytes
}

/// Reads a body that comes in chunks, to its proper end.
pub fn read_chunks(stream: &mut TcpStream) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(chunk) = read_chunk(stream) {
        body.extend_from_slice(&chunk);
    }
    body
}

fn read_chunk(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let line = String::from_utf8(read_through(stream, b"\r\n")).unwrap();
    let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
    let mut bytes = vec![0; size + 2];
    stream.read_exact(&mut bytes).unwrap();
    assert!(bytes.ends_with(b"\r\n"), "a chunk ends with its own line break");
    bytes.truncate(size);
    (size > 0).then_some(bytes)
}

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its type; empty for a plain one.
    pub event: String,
    /// Its data, lines joined.
    pub data: String,
    /// How long to wait before coming back, ms, where it says so.
    pub retry_ms: Option<u64>,
}

impl Event {
    /// The data as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An event stream.
pub struct Events {
    /// The connection.
    pub stream: TcpStream,
}

impl Events {
    /// Subscribes to `feed`, a topic or pattern in its URL form, with options.
    pub fn open(server: &Server, feed: &str) -> Self {
        Self::over(server.connect(), feed, "")
    }

    /// Takes a stream up again after the event `id`.
    pub fn resume(server: &Server, feed: &str, id: &str) -> Self {
        Self::over(server.connect(), feed, &format!("Last-Event-ID: {id}\r\n"))
    }

    /// Subscribes over `stream`, with more headers.
    pub fn over(mut stream: TcpStream, feed: &str, headers: &str) -> Self {
        let request = format!(
            "GET /v1/feed/{feed} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer_head(&mut stream);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        Self { stream }
    }

    /// The next event, comments skipped; none at the proper end of the stream.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let text = self.chunk()?;
            if !text.starts_with(':') {
                return Some(event(&text));
            }
        }
    }

    /// The next chunk as it is; none for the empty one that ends the response.
    pub fn chunk(&mut self) -> Option<String> {
        read_chunk(&mut self.stream).map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

fn event(text: &str) -> Event {
    assert!(text.ends_with("\n\n"), "an event ends with an empty line: {text:?}");
    let (mut event, mut data) = (Event::default(), Vec::new());
    for line in text.trim_end_matches('\n').split('\n') {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("id", value) => value.clone_into(&mut event.id),
            ("event", value) => value.clone_into(&mut event.event),
            ("data", value) => data.push(value),
            ("retry", value) => event.retry_ms = Some(value.parse().unwrap()),
            other => panic!("unknown field {other:?}"),
        }
    }
    event.data = data.join("\n");
    event
}
