//! A client of MQTT 3.1.1 that is no code of the bridge: publishers that send again until a broker
//! has acknowledged, and subscribers with a session that stays. Owns its few packets.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::harness::subscriber::{Subscriber, Subscription};

const ANSWER: Duration = Duration::from_secs(5);

/// A connection.
pub struct Client {
    stream: TcpStream,
    /// Packets that came while another was waited for.
    waiting: VecDeque<(u8, Vec<u8>)>,
}

impl Client {
    /// Connects; `is_clean` forgets what the broker kept for `id`.
    pub fn connect(port: u16, id: &str, is_clean: bool) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut client = Self { stream, waiting: VecDeque::new() };
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.extend([if is_clean { 2 } else { 0 }, 0, 60]);
        body.extend(text(id));
        client.send(0x10, &body)?;
        match client.read()? {
            (0x20, body) if body[1] == 0 => Ok(client),
            other => Err(io::Error::other(format!("no connection: {other:?}"))),
        }
    }

    /// Sends a message; with a number it is one of QoS 1.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        id: Option<u16>,
        retain: bool,
    ) -> io::Result<()> {
        let mut body = text(topic);
        body.extend(id.iter().flat_map(|id| id.to_be_bytes()));
        body.extend(payload);
        self.send(0x30 | u8::from(id.is_some()) << 1 | u8::from(retain), &body)
    }

    /// Sends messages of QoS 1 and waits until all are acknowledged.
    pub fn publish_all(&mut self, messages: &[(String, String)]) -> io::Result<()> {
        for (id, (topic, payload)) in (1..).zip(messages) {
            self.publish(topic, payload.as_bytes(), Some(id), false)?;
        }
        for _ in messages {
            self.await_packet(0x40)?;
        }
        Ok(())
    }

    /// Asks for messages with QoS 1.
    pub fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let body = [&[0, 1][..], &text(filter), &[1]].concat();
        self.send(0x82, &body)?;
        self.await_packet(0x90)
    }

    fn await_packet(&mut self, first: u8) -> io::Result<()> {
        loop {
            match self.read()? {
                (read, _) if read == first => return Ok(()),
                other => self.waiting.push_back(other),
            }
        }
    }

    /// The next message, which is acknowledged.
    pub fn message(&mut self) -> io::Result<(String, Vec<u8>, bool)> {
        loop {
            let (first, body) = match self.waiting.pop_front() {
                Some(packet) => packet,
                None => self.read()?,
            };
            if first >> 4 != 3 {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let (topic, mut rest) = body[2..].split_at(length);
            if first & 2 == 2 {
                self.send(0x40, &rest[..2])?;
                rest = &rest[2..];
            }
            let topic = String::from_utf8(topic.to_vec()).unwrap();
            return Ok((topic, rest.to_vec(), first & 1 == 1));
        }
    }

    fn send(&mut self, first: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![first];
        let mut length = body.len();
        while length > 127 {
            packet.push((length % 128) as u8 | 128);
            length /= 128;
        }
        packet.push(length as u8);
        packet.extend(body);
        self.stream.write_all(&packet)
    }

    fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let first = self.byte()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((first, body))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Publishes the numbers from 0 on to `topic`, in groups of 20 that are sent until the broker has
/// acknowledged the whole group, over and over again through whatever happens to the broker.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU32>,
    thread: JoinHandle<()>,
}

impl Load {
    pub fn start(port: u16, topic: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU32::new(0));
        let (stopped, next) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = thread::spawn(move || {
            let mut client = None;
            while !stopped.load(Ordering::Relaxed) {
                let from = next.load(Ordering::Relaxed);
                let group: Vec<_> =
                    (from..from + 20).map(|n| (topic.into(), n.to_string())).collect();
                client = client.or_else(|| Client::connect(port, "load", true).ok());
                match client.as_mut().map(|client| client.publish_all(&group)) {
                    Some(Ok(())) => next.store(from + 20, Ordering::Relaxed),
                    _ => client = None,
                }
                // Its pace, in groups of 20.
                thread::sleep(Duration::from_millis(4));
            }
        });
        Self { stop, acknowledged, thread }
    }

    /// How many the broker has acknowledged so far.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends it; answers how many were acknowledged.
    pub fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// A subscriber with a session that the broker keeps; one that was killed may have forgotten it,
/// so it subscribes each time.
pub fn subscriber(port: u16, filter: &'static str) -> Subscriber {
    Subscriber::start(move || {
        let mut client = Client::connect(port, "listener", false)?;
        client.subscribe(filter).map(|()| client)
    })
}

impl Subscription for Client {
    fn text(&mut self) -> io::Result<String> {
        let (_, payload, _) = self.message()?;
        Ok(String::from_utf8(payload).unwrap())
    }
}
