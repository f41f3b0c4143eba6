//! What the real-socket tests share: an engine in this process, and clients with deadlines. Owns
//! how one waits: for bytes with a read timeout, for the engine by polling its metrics. Must not
//! know what a test expects.

// Each test binary uses its own part of this; a failed step of a test should end it where it is.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod certificates;
pub mod feeds;
pub mod frames;
pub mod http;
pub mod tokens;

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use gridcast::engine::{Engine, StartError};
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use socket2::{Domain, Socket, Type};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, Message, WebSocket};

/// How long anything may take before a test gives up: far more than it ever should.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks at the metrics.
const POLL: Duration = Duration::from_millis(2);

/// Settings by name, as of `--set`.
pub type Overrides<'a> = &'a [(&'a str, &'a str)];

/// The typed settings of a test: two cores on a free port, and `overrides`.
pub fn config(overrides: Overrides<'_>) -> Config {
    let mut settings = Settings::default();
    for (name, value) in [("server.listen", "127.0.0.1:0"), ("server.cores", "2")] {
        settings.add_flag("--set", name, value);
    }
    for (name, value) in overrides {
        settings.add_flag("--set", name, value);
    }
    Config::new(&settings).unwrap()
}

/// A running engine.
pub struct Server {
    /// The engine itself.
    pub engine: Engine,
}

impl Server {
    /// Starts an engine with `overrides`.
    pub fn start(overrides: Overrides<'_>) -> Self {
        Self::try_start(config(overrides)).unwrap()
    }

    /// Starts an engine with `config`.
    pub fn try_start(config: Config) -> Result<Self, StartError> {
        Ok(Self { engine: Engine::start(config)? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.engine.address()
    }

    /// A plain connection to the administrators' listener.
    pub fn connect_admin(&self) -> TcpStream {
        let stream = TcpStream::connect(self.engine.admin_address().unwrap()).unwrap();
        prepare(&stream);
        stream
    }

    /// A plain connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        prepare(&stream);
        stream
    }

    /// A plain connection whose kernel takes few bytes, for clients that do not read.
    pub fn connect_narrow(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&self.address().into()).unwrap();
        let stream = TcpStream::from(socket);
        prepare(&stream);
        stream
    }

    /// A WebSocket at `path`.
    pub fn websocket(&self, path: &str) -> Client {
        Client::over(self.connect(), path)
    }

    /// A raw subscriber of `feed`, a topic or pattern in its URL form, with options.
    pub fn subscribe(&self, feed: &str) -> Client {
        self.websocket(&format!("/v1/feed/{feed}"))
    }

    /// A multiplexed client of this subprotocol.
    pub fn multiplexed(&self, protocol: &str) -> Client {
        Client::with_header(self.connect(), "/v1/ws", "Sec-WebSocket-Protocol", protocol)
    }

    /// A raw publisher to `topic`.
    pub fn publisher(&self, topic: &str) -> Client {
        self.websocket(&format!("/v1/publish/{topic}"))
    }

    /// Posts one text message and answers its sequence number.
    pub fn post(&self, topic: &str, text: &str) -> u64 {
        let path = format!("/v1/publish/{topic}");
        let answer = http::post(self, &path, "text/plain", text.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["seq"].as_u64().unwrap()
    }

    /// Posts the numbers `from..=to` as text, in one request.
    pub fn post_numbers(&self, topic: &str, from: u64, to: u64) {
        let line = |n: u64| format!("{{\"topic\":\"{topic}\",\"data\":{n}}}\n");
        let body: String = (from..=to).map(line).collect();
        let answer = http::post_many(self, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The epoch of `topic`, learned from one more publish of `text`.
    pub fn epoch(&self, topic: &str, text: &str) -> String {
        let path = format!("/v1/publish/{topic}");
        let answer = http::post(self, &path, "text/plain", text.as_bytes());
        answer.json()["epoch"].as_str().unwrap().to_owned()
    }

    /// The value of a metric given with its labels, without the prefix `gridcast_`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.engine.metrics();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix("gridcast_")?.strip_prefix(name)?.strip_prefix(' '));
        let value = found.unwrap_or_else(|| panic!("no metric {name} in\n{text}"));
        value.parse().unwrap()
    }

    /// Connections there are, whatever for.
    pub fn connections(&self) -> u64 {
        let roles = ["subscriber", "events", "multiplexed", "publisher", "echo", "poll", "request"];
        roles.iter().map(|role| self.metric(&format!("connections{{role=\"{role}\"}}"))).sum()
    }

    /// Connections the engine began to close for `reason`.
    pub fn closing(&self, reason: &str) -> u64 {
        self.metric(&format!("connections_closing_total{{reason=\"{reason}\"}}"))
    }

    /// Bytes that logs hold.
    pub fn log_bytes(&self) -> u64 {
        self.metric("memory_bytes{kind=\"log\"}")
    }

    /// Waits until a metric has this value: a core counts when it is done, and what it did may be
    /// seen elsewhere before.
    pub fn wait_for(&self, name: &str, value: u64) {
        self.wait_until(format_args!("{name} {value}"), |server| server.metric(name) == value);
    }

    /// Waits until `holds`; `what` is waited for.
    pub fn wait_until(&self, what: impl Display, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < DEADLINE, "never {what}:\n{}", self.engine.metrics());
            std::thread::sleep(POLL);
        }
    }
}

fn prepare(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
}

/// Ends `stream` with a reset: no end of stream, whatever was unsent is lost.
pub fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// What a WebSocket client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping with this payload.
    Ping(String),
    /// A close with code and reason.
    Close(u16, String),
    /// The connection ended without a close.
    Gone,
}

/// A WebSocket client, over whatever carries it.
pub struct Client<S = TcpStream> {
    /// The client library's socket.
    pub socket: WebSocket<S>,
}

impl<S: Read + Write> Client<S> {
    /// Shakes hands for `path` over `stream`.
    pub fn over(stream: S, path: &str) -> Self {
        let url = format!("ws://engine.test{path}");
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        Self { socket }
    }

    /// Shakes hands for `path` with one more header.
    pub fn with_header(stream: S, path: &str, name: &'static str, value: &str) -> Self {
        let mut request = format!("ws://engine.test{path}").into_client_request().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        let (socket, _) = tungstenite::client(request, stream).unwrap();
        Self { socket }
    }

    /// The next thing told, pings included.
    pub fn next(&mut self) -> Told {
        match self.socket.read() {
            Ok(Message::Text(text)) => Told::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Told::Binary(bytes.to_vec()),
            Ok(Message::Ping(payload)) => Told::Ping(String::from_utf8(payload.to_vec()).unwrap()),
            Ok(Message::Close(Some(frame))) => {
                Told::Close(frame.code.into(), frame.reason.to_string())
            }
            Ok(Message::Close(None)) => Told::Close(1005, String::new()),
            Err(error) if is_timeout(&error) => panic!("nothing came within the deadline"),
            Err(_) => Told::Gone,
            Ok(other) => panic!("not for a client: {other:?}"),
        }
    }

    /// The next text message; keep-alive pings are skipped.
    pub fn text(&mut self) -> String {
        loop {
            match self.next() {
                Told::Text(text) => return text,
                Told::Ping(payload) if payload.is_empty() => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// The next `count` texts.
    pub fn texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.text()).collect()
    }

    /// Reads on until a close and answers it.
    pub fn close(&mut self) -> (u16, String) {
        loop {
            match self.next() {
                Told::Close(code, reason) => return (code, reason),
                Told::Gone => panic!("gone without a close"),
                _ => {}
            }
        }
    }

    /// Sends a text message.
    pub fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// Sends a binary message.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).unwrap();
    }

    /// Reads until the payload of `count` messages has come; answers how many bytes that was.
    pub fn swallow(&mut self, count: usize) -> usize {
        let mut bytes = 0;
        for _ in 0..count {
            bytes += match self.next() {
                Told::Binary(payload) => payload.len(),
                Told::Text(text) => text.len(),
                other => panic!("no message: {other:?}"),
            };
        }
        bytes
    }
}

fn is_timeout(error: &Error) -> bool {
    let Error::Io(error) = error else { return false };
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
