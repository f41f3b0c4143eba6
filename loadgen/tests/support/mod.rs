//! A small broadcast server that misbehaves on purpose, and counts what it did. It speaks through
//! tungstenite, so that the load generator's own codec meets another implementation.
#![allow(clippy::unwrap_used, reason = "a failure of the test's own server fails the test")]
#![allow(dead_code, reason = "not every test needs all of it")]
#![allow(clippy::result_large_err, reason = "the handshake callback's type is tungstenite's")]

pub mod short_plan;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::{Compress, Compression, FlushCompress};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

/// What to do to the frames, by their number at their publisher.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Lose frame n where n % 100 is this.
    pub lose: Option<u64>,
    /// Send it twice.
    pub repeat: Option<u64>,
    /// Send it after the next one.
    pub swap: Option<u64>,
    /// Change a byte of it.
    pub corrupt: Option<u64>,
    /// Instead of frame n, close every feed whose URL says so with this code.
    pub close: Option<(u64, u16)>,
    /// In place of frames n to m, one gap notice.
    pub gap: Option<(u64, u64)>,
    /// What the notice gives as its reason.
    pub conflated: bool,
    /// Number its envelope like that of the frame before.
    pub misnumber: Option<u64>,
    /// Of every so many frames, only the first.
    pub thin: Option<u64>,
    /// Send it to those who never asked for it, too.
    pub misdeliver: Option<u64>,
    /// Tell those who follow a pattern that what they get is of another.
    pub misname: bool,
    /// From frame n on, read no publisher.
    pub deaf: Option<u64>,
    /// Send nothing to those who ask for the newest only.
    pub mute_latest: bool,
    /// Answer subscribers beyond so many with this status.
    pub refuse: Option<(usize, u16)>,
    /// At frame n of any publisher, close every connection and take no more.
    pub die: Option<u64>,
    /// Hold every frame back for this long.
    pub delay: Duration,
}

/// What was done, in deliveries.
#[derive(Debug, Default)]
pub struct Done {
    pub published: AtomicU64,
    pub delivered: AtomicU64,
    pub lost: AtomicU64,
    pub repeated: AtomicU64,
    pub swapped: AtomicU64,
    pub corrupted: AtomicU64,
    pub strayed: AtomicU64,
    pub pongs: AtomicU64,
}

impl Done {
    pub fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

/// The running server; its threads end with the process.
pub struct Server {
    pub address: SocketAddr,
    pub done: Arc<Done>,
    /// The certificate, if connections are encrypted.
    pub certificate: Option<String>,
}

/// What a client has to bring.
#[derive(Debug, Clone, Copy, Default)]
pub struct Door {
    pub token: Option<&'static str>,
    pub tls: bool,
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}
type Socket = WebSocket<Box<dyn Stream>>;

struct Feed {
    path: String,
    out: Option<Out>,
}

/// A subscriber's socket, by the form of its messages.
enum Out {
    Raw { socket: Socket, deflated: bool },
    Enveloped(Enveloped),
    Events(Box<dyn Stream>),
}

struct Enveloped {
    socket: Socket,
    deflated: bool,
    binary: bool,
    topics: Vec<String>,
    /// The pattern that its envelopes name, if it follows one.
    pattern: Option<String>,
}

struct Hub {
    faults: Faults,
    door: Door,
    done: Arc<Done>,
    feeds: Mutex<Vec<Feed>>,
    asked: AtomicUsize,
    is_dead: AtomicBool,
}

impl Server {
    pub fn start(faults: Faults) -> Server {
        Server::behind(Door::default(), faults)
    }

    pub fn behind(door: Door, faults: Faults) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let done = Arc::new(Done::default());
        let hub = Arc::new(Hub {
            faults,
            door,
            done: done.clone(),
            feeds: Mutex::default(),
            asked: AtomicUsize::new(0),
            is_dead: AtomicBool::new(false),
        });
        let (certificate, config) = door.tls.then(tls_config).unzip();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (hub, stream) = (hub.clone(), stream.unwrap());
                stream.set_nodelay(true).unwrap();
                let session = config.clone().map(|config| ServerConnection::new(config).unwrap());
                thread::spawn(move || match session {
                    Some(session) => hub.serve(Box::new(StreamOwned::new(session, stream))),
                    None => hub.serve(Box::new(stream)),
                });
            }
        });
        Server { address, done, certificate }
    }
}

fn tls_config() -> (String, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), Arc::new(config))
}

/// A stream with bytes that were read from it already.
struct Replayed {
    head: std::io::Cursor<Vec<u8>>,
    stream: Box<dyn Stream>,
}

impl Read for Replayed {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self.head.read(out)? {
            0 => self.stream.read(out),
            read => Ok(read),
        }
    }
}

impl Write for Replayed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn read_head(stream: &mut dyn Stream) -> Option<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(head)
}

impl Hub {
    fn serve(&self, mut stream: Box<dyn Stream>) {
        let Some(head) = read_head(&mut *stream) else { return };
        let text = String::from_utf8(head.clone()).unwrap();
        if let Some(status) = self.refusal(&text) {
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 12\r\n\r\nno room here");
            stream.write_all(answer.as_bytes()).unwrap();
            return stream.flush().unwrap();
        }
        if text.contains("Accept: text/event-stream") {
            return self.serve_events(&text, stream);
        }
        let stream: Box<dyn Stream> =
            Box::new(Replayed { head: std::io::Cursor::new(head), stream });
        let (mut path, mut protocol, mut deflated) = (String::new(), String::new(), false);
        let expected = self.door.token.map(|token| format!("Bearer {token}"));
        let socket =
            tungstenite::accept_hdr(stream, |request: &Request, mut response: Response| {
                let header = |name: &str| {
                    request.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
                };
                path = request.uri().to_string();
                if expected.is_some() && header("authorization") != expected {
                    let mut refusal = ErrorResponse::new(None);
                    *refusal.status_mut() = tungstenite::http::StatusCode::UNAUTHORIZED;
                    return Err(refusal);
                }
                if let Some(offered) = header("sec-websocket-protocol") {
                    response
                        .headers_mut()
                        .insert("sec-websocket-protocol", offered.parse().unwrap());
                    protocol = offered;
                }
                if let Some(offered) = header("sec-websocket-extensions") {
                    response
                        .headers_mut()
                        .insert("sec-websocket-extensions", offered.parse().unwrap());
                    deflated = true;
                }
                Ok(response)
            });
        let Ok(socket) = socket else { return };
        if let Some(topic) = path.strip_prefix("/v1/publish/") {
            return self.relay(topic, socket);
        }
        let out = match protocol.as_str() {
            "" => Out::Raw { socket, deflated },
            protocol => {
                let binary = protocol == "gridcast.v1.bin";
                let (topics, pattern) = (Vec::new(), None);
                let mut out = Enveloped { socket, deflated, binary, topics, pattern };
                out.subscribe(&path, self.faults.misname);
                Out::Enveloped(out)
            }
        };
        self.feeds.lock().unwrap().push(Feed { path, out: Some(out) });
    }

    /// The status for a client that is not let in, if it is not.
    fn refusal(&self, head: &str) -> Option<u16> {
        let (most, status) = self.faults.refuse?;
        let is_beyond =
            !head.contains(" /v1/publish/") && self.asked.fetch_add(1, Ordering::SeqCst) >= most;
        is_beyond.then_some(status)
    }

    fn serve_events(&self, head: &str, mut stream: Box<dyn Stream>) {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                      Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        stream.flush().unwrap();
        self.feeds.lock().unwrap().push(Feed { path, out: Some(Out::Events(stream)) });
    }

    /// Reads a publisher to its end and passes its frames on, with the faults.
    fn relay(&self, topic: &str, mut publisher: Socket) {
        let mut held: Option<(u64, Message)> = None;
        let mut number = 0;
        while let Ok(message) = publisher.read() {
            if !(message.is_binary() || message.is_text()) {
                continue;
            }
            self.done.published.fetch_add(1, Ordering::SeqCst);
            if self.is_dead.load(Ordering::SeqCst) || self.faults.die == Some(number) {
                self.is_dead.store(true, Ordering::SeqCst);
                self.feeds.lock().unwrap().clear();
                return;
            }
            thread::sleep(self.faults.delay);
            while self.faults.deaf == Some(number) {
                thread::park();
            }
            let hit = |fault: Option<u64>| fault == Some(number % 100);
            // Feeds number from 1.
            let seq = number + 1 - u64::from(hit(self.faults.misnumber));
            if self.faults.thin.is_some_and(|thin| number % thin != 0) {
                // Left out on purpose.
            } else if hit(self.faults.lose) {
                self.done.lost.fetch_add(self.followers(topic), Ordering::SeqCst);
            } else if hit(self.faults.swap) {
                held = Some((seq, message));
            } else if hit(self.faults.corrupt) {
                let corrupted = self.deliver(topic, seq, &garbled(&message));
                self.done.corrupted.fetch_add(corrupted, Ordering::SeqCst);
            } else if !self.replaced(topic, number) {
                self.deliver(topic, seq, &message);
                if hit(self.faults.misdeliver) {
                    let strayed = self.deliver_where(topic, seq, &message, false);
                    self.done.strayed.fetch_add(strayed, Ordering::SeqCst);
                }
                if hit(self.faults.repeat) {
                    let repeated = self.deliver(topic, seq, &message);
                    self.done.repeated.fetch_add(repeated, Ordering::SeqCst);
                }
                if let Some((seq, held)) = held.take() {
                    let swapped = self.deliver(topic, seq, &held);
                    self.done.swapped.fetch_add(swapped, Ordering::SeqCst);
                }
            }
            number += 1;
        }
        // A frame held at the very end comes last after all: nothing was there to swap it with.
        if let Some((seq, held)) = held {
            self.deliver(topic, seq, &held);
        }
    }

    /// Whether a gap notice or a close takes the frame's place.
    fn replaced(&self, topic: &str, number: u64) -> bool {
        if let Some((at, code)) = self.faults.close
            && number == at
        {
            self.close_marked(code);
        }
        match self.faults.gap {
            Some((from, to)) if number == from => {
                let reason = if self.faults.conflated { "conflated" } else { "lagged" };
                let frames = to - from + 1;
                let gap = json!({"from": from, "to": to, "frames": frames, "reason": reason});
                self.tell(topic, gap);
                true
            }
            Some((from, to)) => (from..=to).contains(&number),
            None => false,
        }
    }

    fn close_marked(&self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "on purpose".into() };
        for feed in self.feeds.lock().unwrap().iter_mut() {
            if !feed.path.ends_with("?closed") {
                continue;
            }
            match feed.out.take() {
                Some(
                    Out::Raw { mut socket, .. } | Out::Enveloped(Enveloped { mut socket, .. }),
                ) => {
                    socket.close(Some(frame.clone())).unwrap();
                    socket.flush().unwrap();
                }
                Some(Out::Events(mut stream)) => {
                    let told = json!({"code": code, "reason": "on purpose"});
                    write_event(&mut *stream, &format!("event: close\ndata: {told}\n")).unwrap();
                }
                None => {}
            }
        }
    }

    /// Tells every follower of a gap: by a ping where there is no room for more, whose pong is
    /// waited for.
    fn tell(&self, topic: &str, mut gap: Value) {
        for feed in self.feeds.lock().unwrap().iter_mut().filter(|feed| feed.follows(topic)) {
            match &mut feed.out {
                Some(Out::Raw { socket, .. }) => {
                    let data = json!({ "gap": gap }).to_string().into_bytes();
                    socket.send(Message::Ping(data.clone().into())).unwrap();
                    if socket.read().unwrap() == Message::Pong(data.into()) {
                        self.done.pongs.fetch_add(1, Ordering::SeqCst);
                    }
                }
                Some(Out::Enveloped(Enveloped { socket, deflated, pattern, .. })) => {
                    gap["topic"] = pattern.as_deref().unwrap_or(topic).into();
                    let text = Message::text(json!({ "gap": gap }).to_string());
                    send(socket, *deflated, &text).unwrap();
                }
                Some(Out::Events(stream)) => {
                    write_event(&mut **stream, &format!("event: gap\ndata: {gap}\n")).unwrap();
                }
                None => {}
            }
        }
    }

    fn followers(&self, topic: &str) -> u64 {
        let feeds = self.feeds.lock().unwrap();
        feeds.iter().filter(|feed| feed.out.is_some() && feed.follows(topic)).count() as u64
    }

    /// Sends to every follower; how many there were.
    fn deliver(&self, topic: &str, seq: u64, message: &Message) -> u64 {
        let sent = self.deliver_where(topic, seq, message, true);
        self.done.delivered.fetch_add(sent, Ordering::SeqCst);
        sent
    }

    /// Sends to those who follow a topic, or to those who do not.
    fn deliver_where(&self, topic: &str, seq: u64, message: &Message, follows: bool) -> u64 {
        let mut sent = 0;
        let mut feeds = self.feeds.lock().unwrap();
        for feed in feeds.iter_mut().filter(|feed| feed.follows(topic) == follows) {
            let Some(out) = &mut feed.out else { continue };
            if self.faults.mute_latest && feed.path.contains("mode=latest") {
                continue;
            }
            match out.deliver(topic, seq, message) {
                Ok(()) => sent += 1,
                Err(_) => feed.out = None,
            }
        }
        sent
    }
}

impl Enveloped {
    /// Takes as many subscriptions as the path says and confirms them.
    fn subscribe(&mut self, path: &str, misname: bool) {
        let count = path.split_once("topics=").map_or(1, |(_, count)| count.parse().unwrap());
        for _ in 0..count {
            let request = self.socket.read().unwrap().into_text().unwrap();
            let request: Value = serde_json::from_str(&request).unwrap();
            let topic = request["subscribe"]["topic"].as_str().unwrap().to_owned();
            let mut reply = json!({"topic": topic, "epoch": "k", "seq": 0});
            if self.binary {
                reply["feed"] = number_of(&topic).into();
            }
            self.send(&Message::text(
                json!({"id": request["id"], "subscribed": reply}).to_string(),
            ))
            .unwrap();
            if topic.ends_with('#') {
                let named = if misname { "+/+" } else { topic.as_str() };
                self.pattern = Some(named.to_owned());
                self.announce(named);
            }
            self.topics.push(topic);
        }
    }

    fn announce(&mut self, pattern: &str) {
        if !self.binary {
            return;
        }
        for topic in ["pmu/1001", "pmu/1002"] {
            let told = json!({"topic": topic, "pattern": pattern, "feed": number_of(topic)});
            self.send(&Message::text(told.to_string())).unwrap();
        }
    }

    fn deliver(&mut self, topic: &str, seq: u64, message: &Message) -> tungstenite::Result<()> {
        let enveloped = match self.binary {
            true => Message::binary(binary_envelope(topic, seq, message)),
            false => Message::text(json_envelope(topic, self.pattern.as_deref(), seq, message)),
        };
        self.send(&enveloped)
    }

    fn send(&mut self, message: &Message) -> tungstenite::Result<()> {
        send(&mut self.socket, self.deflated, message)
    }
}

/// Feeds have numbers of two bytes, in no order.
fn number_of(topic: &str) -> u64 {
    match topic {
        "pmu/1001" => 900,
        "pmu/1002" => 300,
        _ => 7,
    }
}

impl Out {
    fn deliver(
        &mut self,
        topic: &str,
        seq: u64,
        message: &Message,
    ) -> Result<(), tungstenite::Error> {
        match self {
            Out::Raw { socket, deflated } => send(socket, *deflated, message),
            Out::Enveloped(enveloped) => enveloped.deliver(topic, seq, message),
            Out::Events(stream) => {
                let data = message.clone().into_data();
                let event = if message.is_text() {
                    format!("id: k-{seq}\ndata: {}\n", message.to_text().unwrap())
                } else {
                    let data = BASE64.encode(data);
                    format!("id: k-{seq}\nevent: binary\ndata: {data}\n")
                };
                Ok(write_event(&mut **stream, &event)?)
            }
        }
    }
}

fn json_envelope(topic: &str, pattern: Option<&str>, seq: u64, message: &Message) -> String {
    let pattern = pattern.map_or(String::new(), |pattern| format!(r#","pattern":"{pattern}""#));
    let payload = match message.to_text().ok().filter(|_| message.is_text()) {
        Some(text) if serde_json::from_str::<Value>(text).is_ok() => format!(r#""data":{text}"#),
        Some(text) => format!(r#""data":{},"text":true"#, Value::from(text)),
        None => format!(r#""data64":"{}""#, BASE64.encode(message.clone().into_data())),
    };
    format!(r#"{{"topic":"{topic}"{pattern},"seq":{seq},{payload}}}"#)
}

fn binary_envelope(topic: &str, seq: u64, message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    for mut value in [number_of(topic), seq] {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    out.push(u8::from(message.is_text()));
    out.extend_from_slice(&message.clone().into_data());
    out
}

/// Half of the event in each of two chunks.
fn write_event(stream: &mut dyn Stream, event: &str) -> std::io::Result<()> {
    let event = format!("{event}\n");
    let (first, second) = event.split_at(event.len() / 2);
    for part in [first, second] {
        write!(stream, "{:x}\r\n{part}\r\n", part.len())?;
    }
    stream.flush()
}

/// Sends a message, compressed by hand if that was agreed.
fn send(socket: &mut Socket, deflated: bool, message: &Message) -> Result<(), tungstenite::Error> {
    if !deflated {
        return socket.send(message.clone());
    }
    let payload = message.clone().into_data();
    let mut compressed = Vec::with_capacity(payload.len() + 64);
    let mut stream = Compress::new(Compression::fast(), false);
    stream.compress_vec(&payload, &mut compressed, FlushCompress::Sync).unwrap();
    compressed.truncate(compressed.len() - 4);
    let mut frame = vec![0xC0 | if message.is_text() { 1 } else { 2 }];
    match compressed.len() {
        len @ 0..=125 => frame.push(len as u8),
        len => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&compressed);
    let stream = socket.get_mut();
    stream.write_all(&frame)?;
    Ok(stream.flush()?)
}

impl Feed {
    fn follows(&self, topic: &str) -> bool {
        if let Some(Out::Enveloped(Enveloped { topics, .. })) = &self.out {
            return topics.iter().any(|found| found == topic || found == "pmu/#");
        }
        let feed = self.path.trim_start_matches("/v1/feed/").split('?').next().unwrap();
        feed == topic || feed == "pmu/%23"
    }
}

fn garbled(message: &Message) -> Message {
    let mut bytes = message.clone().into_data().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    if message.is_text() {
        Message::text(String::from_utf8(bytes).unwrap())
    } else {
        Message::binary(bytes)
    }
}
