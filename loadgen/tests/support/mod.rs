//! A small broadcast server that misbehaves on purpose, and counts what it did. It speaks through
//! tungstenite, so that the load generator's own codec meets another implementation.
#![allow(clippy::unwrap_used, reason = "a failure of the test's own server fails the test")]
#![allow(clippy::result_large_err, reason = "the handshake callback's type is tungstenite's")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tungstenite::handshake::server::{Request, Response};
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
    /// From frame n on, read no publisher.
    pub deaf: Option<u64>,
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
}

struct Feed {
    path: String,
    socket: Option<WebSocket<TcpStream>>,
}

struct Hub {
    faults: Faults,
    done: Arc<Done>,
    feeds: Mutex<Vec<Feed>>,
}

impl Server {
    pub fn start(faults: Faults) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let done = Arc::new(Done::default());
        let hub = Arc::new(Hub { faults, done: done.clone(), feeds: Mutex::default() });
        thread::spawn(move || {
            for stream in listener.incoming() {
                let hub = hub.clone();
                let stream = stream.unwrap();
                thread::spawn(move || hub.serve(stream));
            }
        });
        Server { address, done }
    }
}

impl Hub {
    fn serve(&self, stream: TcpStream) {
        let mut path = String::new();
        stream.set_nodelay(true).unwrap();
        let socket = tungstenite::accept_hdr(stream, |request: &Request, response: Response| {
            path = request.uri().to_string();
            Ok(response)
        });
        let Ok(socket) = socket else { return };
        match path.strip_prefix("/v1/publish/") {
            Some(topic) => self.relay(topic, socket),
            None => self.feeds.lock().unwrap().push(Feed { path, socket: Some(socket) }),
        }
    }

    /// Reads a publisher to its end and passes its frames on, with the faults.
    fn relay(&self, topic: &str, mut publisher: WebSocket<TcpStream>) {
        let mut held: Option<Message> = None;
        let mut number = 0;
        while let Ok(message) = publisher.read() {
            if !(message.is_binary() || message.is_text()) {
                continue;
            }
            self.done.published.fetch_add(1, Ordering::SeqCst);
            thread::sleep(self.faults.delay);
            while self.faults.deaf == Some(number) {
                thread::park();
            }
            let hit = |fault: Option<u64>| fault == Some(number % 100);
            if hit(self.faults.lose) {
                self.done.lost.fetch_add(self.followers(topic), Ordering::SeqCst);
            } else if hit(self.faults.swap) {
                held = Some(message);
            } else if hit(self.faults.corrupt) {
                self.done
                    .corrupted
                    .fetch_add(self.deliver(topic, &garbled(&message)), Ordering::SeqCst);
            } else if !self.replaced(topic, number) {
                self.deliver(topic, &message);
                if hit(self.faults.repeat) {
                    self.done.repeated.fetch_add(self.deliver(topic, &message), Ordering::SeqCst);
                }
                if let Some(held) = held.take() {
                    self.done.swapped.fetch_add(self.deliver(topic, &held), Ordering::SeqCst);
                }
            }
            number += 1;
        }
        // A frame held at the very end comes last after all: nothing was there to swap it with.
        if let Some(held) = held {
            self.deliver(topic, &held);
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
                let notice = format!(r#"{{"gap":{{"from":{from},"to":{to},"reason":"lagged"}}}}"#);
                self.ping(topic, notice.into_bytes());
                true
            }
            Some((from, to)) => (from..=to).contains(&number),
            None => false,
        }
    }

    fn close_marked(&self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "on purpose".into() };
        for feed in self.feeds.lock().unwrap().iter_mut() {
            if feed.path.ends_with("?closed")
                && let Some(mut socket) = feed.socket.take()
            {
                socket.close(Some(frame.clone())).unwrap();
                socket.flush().unwrap();
            }
        }
    }

    /// Pings every follower and waits for the pong.
    fn ping(&self, topic: &str, data: Vec<u8>) {
        for feed in self.feeds.lock().unwrap().iter_mut().filter(|feed| feed.follows(topic)) {
            let Some(socket) = &mut feed.socket else { continue };
            socket.send(Message::Ping(data.clone().into())).unwrap();
            if socket.read().unwrap() == Message::Pong(data.clone().into()) {
                self.done.pongs.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn followers(&self, topic: &str) -> u64 {
        let feeds = self.feeds.lock().unwrap();
        feeds.iter().filter(|feed| feed.socket.is_some() && feed.follows(topic)).count() as u64
    }

    /// Sends to every follower; how many there were.
    fn deliver(&self, topic: &str, message: &Message) -> u64 {
        let mut sent = 0;
        for feed in self.feeds.lock().unwrap().iter_mut().filter(|feed| feed.follows(topic)) {
            let Some(socket) = &mut feed.socket else { continue };
            match socket.send(message.clone()) {
                Ok(()) => sent += 1,
                Err(_) => feed.socket = None,
            }
        }
        self.done.delivered.fetch_add(sent, Ordering::SeqCst);
        sent
    }
}

impl Feed {
    fn follows(&self, topic: &str) -> bool {
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
