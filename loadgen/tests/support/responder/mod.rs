//! A small server that speaks the server's side of other people's protocols, each from its
//! description and without the load generator's code. It passes on what is published, loses what it
//! is told to lose, and keeps what clients do wrong.
#![allow(clippy::unwrap_used, reason = "a failure of the test's own server fails the test")]
#![allow(clippy::result_large_err, reason = "the handshake callback's type is tungstenite's")]

mod centrifugo;
mod nchan;
mod pusher;
mod socketio;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::{Compress, Compression, FlushCompress};
use tungstenite::Message;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// What the server is like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// What a client has to show.
    pub token: Option<&'static str>,
    /// Whether messages are compressed where that is offered.
    pub deflates: bool,
    /// Of a publisher's frames, those are lost whose number modulo 100 is this.
    pub lose: Option<u64>,
    /// Of a publisher's frames, those come on the channel of the other whose number is this, as
    /// above.
    pub mislabel: Option<u64>,
    /// Whether it promises a ping within a second, and says nothing more once clients are in.
    pub is_silent: bool,
}

/// The running server; its threads end with the process.
pub struct Responder {
    pub address: SocketAddr,
    pub hub: Arc<Hub>,
}

/// What all clients share.
pub struct Hub {
    pub manners: Manners,
    /// Pings of the protocol that were answered.
    pub pongs: AtomicU64,
    /// What clients did that the protocol does not have.
    pub complaints: Mutex<Vec<String>>,
    members: Mutex<Vec<(String, Arc<Line>)>>,
}

/// A client's way out.
pub struct Line {
    pub id: u64,
    stream: Mutex<TcpStream>,
    is_deflated: bool,
}

/// A client as its thread knows it.
pub struct Client {
    pub line: Arc<Line>,
    pub path: String,
    /// Frames it has published.
    pub published: u64,
    /// What a protocol has to remember between messages.
    pub noted: Option<String>,
    pub is_in: bool,
}

/// The server's side of a protocol.
pub trait Protocol: Send + Sync + 'static {
    /// Says what a server says first.
    fn welcome(&self, client: &mut Client, hub: &Hub);
    /// Takes a message; what is wrong with it.
    fn hear(&self, client: &mut Client, message: Message, hub: &Hub) -> Result<(), String>;
}

/// The protocol of a dialect.
fn protocol(word: &str) -> Arc<dyn Protocol> {
    match word {
        "nchan" => Arc::new(nchan::Nchan),
        "socketio" => Arc::new(socketio::SocketIo),
        "centrifugo" => Arc::new(centrifugo::Centrifugo),
        "pusher" => Arc::new(pusher::Pusher),
        _ => panic!("no responder speaks {word}"),
    }
}

impl Responder {
    pub fn start(word: &str, manners: Manners) -> Responder {
        let (listener, protocol) = (TcpListener::bind("127.0.0.1:0").unwrap(), protocol(word));
        let address = listener.local_addr().unwrap();
        let hub = Arc::new(Hub {
            manners,
            pongs: AtomicU64::new(0),
            complaints: Mutex::default(),
            members: Mutex::default(),
        });
        let shared = Arc::clone(&hub);
        thread::spawn(move || {
            for (stream, id) in listener.incoming().zip(1..) {
                let (hub, protocol, stream) = (shared.clone(), protocol.clone(), stream.unwrap());
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || serve(stream, id, &*protocol, &hub));
            }
        });
        Responder { address, hub }
    }

    /// What clients did wrong.
    pub fn complaints(&self) -> Vec<String> {
        self.hub.complaints.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, id: u64, protocol: &dyn Protocol, hub: &Hub) {
    let (mut path, mut is_deflated) = (String::new(), false);
    let out = stream.try_clone().unwrap();
    let note = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().to_string();
        let offered = request.headers().get("sec-websocket-extensions");
        if let (true, Some(offered)) = (hub.manners.deflates, offered) {
            response.headers_mut().insert("sec-websocket-extensions", offered.clone());
            is_deflated = true;
        }
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, note) else { return };
    let line = Arc::new(Line { id, stream: Mutex::new(out), is_deflated });
    let mut client = Client { line, path, published: 0, noted: None, is_in: false };
    protocol.welcome(&mut client, hub);
    while let Ok(message) = socket.read() {
        if let Message::Close(_) = message {
            return;
        }
        if let Err(complaint) = protocol.hear(&mut client, message, hub) {
            hub.complaints.lock().unwrap().push(complaint);
        }
    }
}

impl Hub {
    pub fn join(&self, topic: &str, client: &Client) {
        self.members.lock().unwrap().push((topic.to_owned(), client.line.clone()));
    }

    pub fn has_joined(&self, topic: &str, client: &Client) -> bool {
        let members = self.members.lock().unwrap();
        members.iter().any(|(joined, line)| joined == topic && line.id == client.line.id)
    }

    /// Counts a publish; whether it is passed on, and whether a ping goes with it.
    pub fn count(&self, client: &mut Client) -> (bool, bool) {
        let number = client.published;
        client.published += 1;
        let is_passed_on = self.manners.lose != Some(number % 100);
        let has_voice = !self.manners.is_silent;
        (is_passed_on && has_voice, number.is_multiple_of(50) && has_voice)
    }

    /// What the frame just counted names as its channel: its own, or by mistake that of the other
    /// publisher.
    pub fn label(&self, client: &Client, channel: &str) -> String {
        let number = client.published - 1;
        match self.manners.mislabel == Some(number % 100) {
            true if channel.contains("1001") => channel.replace("1001", "1002"),
            true => channel.replace("1002", "1001"),
            false => channel.to_owned(),
        }
    }

    /// Sends to every member but one, without anything in between.
    pub fn deliver(&self, topic: &str, except: u64, messages: &[Message]) {
        for (joined, line) in self.members.lock().unwrap().iter() {
            if joined == topic && line.id != except {
                line.send(messages);
            }
        }
    }

    pub fn ponged(&self) {
        self.pongs.fetch_add(1, Ordering::SeqCst);
    }
}

impl Line {
    /// Nobody reads the answer of a client that is gone: its own thread ends it.
    pub fn send(&self, messages: &[Message]) {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| self.frame(message)).collect();
        let _ = self.stream.lock().unwrap().write_all(&bytes); // it may be gone
    }

    pub fn say(&self, text: impl Into<String>) {
        let text: String = text.into();
        self.send(&[Message::text(text)]);
    }

    fn frame(&self, message: &Message) -> Vec<u8> {
        let opcode = if message.is_text() { 1 } else { 2 };
        let mut payload = message.clone().into_data().to_vec();
        let mut first = 0x80 | opcode;
        if self.is_deflated {
            (payload, first) = (deflated(&payload), first | 0x40);
        }
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(length as u8),
            length @ 126..=0xFFFF => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(payload.len() + 64);
    let mut stream = Compress::new(Compression::fast(), false);
    stream.compress_vec(payload, &mut compressed, FlushCompress::Sync).unwrap();
    compressed.truncate(compressed.len() - 4);
    compressed
}
