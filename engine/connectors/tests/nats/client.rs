//! A client of NATS that is no code of the bridge. Owns its few lines.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::harness::subscriber::{Subscriber, Subscription};

const ANSWER: Duration = Duration::from_secs(5);

/// A connection.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut client = Self(BufReader::new(stream));
        client.line()?;
        client.say("CONNECT {\"verbose\":false,\"headers\":true}\r\n")?;
        client.sync()?;
        Ok(client)
    }

    /// Waits until the server has taken everything before.
    pub fn sync(&mut self) -> io::Result<()> {
        self.say("PING\r\n")?;
        while self.line()? != "PONG" {}
        Ok(())
    }

    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> io::Result<()> {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.0.get_mut().write_all(&[head.as_bytes(), payload, b"\r\n"].concat())
    }

    /// Publishes a message that has a header.
    pub fn publish_with_header(&mut self, subject: &str, payload: &str) -> io::Result<()> {
        let header = "NATS/1.0\r\nX: y\r\n\r\n";
        let (head, all) = (header.len(), header.len() + payload.len());
        self.say(&format!("HPUB {subject} {head} {all}\r\n{header}{payload}\r\n"))
    }

    pub fn subscribe(&mut self, subject: &str) -> io::Result<()> {
        self.say(&format!("SUB {subject} 1\r\n"))?;
        self.sync()
    }

    /// The next message: subject and payload.
    pub fn message(&mut self) -> io::Result<(String, String)> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "MSG" => {
                    let mut payload = vec![0; words.last().unwrap().parse::<usize>().unwrap() + 2];
                    self.0.read_exact(&mut payload)?;
                    payload.truncate(payload.len() - 2);
                    return Ok((words[1].to_owned(), String::from_utf8(payload).unwrap()));
                }
                "PING" => self.say("PONG\r\n")?,
                _ => {}
            }
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// Publishes the numbers from 0 on, each once, through whatever happens to the server.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Load {
    pub fn start(port: u16, subject: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut client, mut next) = (None, 0);
            while !stopped.load(Ordering::Relaxed) {
                client = client.or_else(|| Client::connect(port).ok());
                let sent = client.as_mut().map(|client| group(client, subject, next));
                match sent {
                    Some(Ok(())) => next += 20,
                    // Some of these may have been taken: they are not sent again.
                    Some(Err(_)) => (client, next) = (None, next + 20),
                    None => {}
                }
                // Its pace, in groups of 20.
                thread::sleep(Duration::from_millis(4));
            }
            next
        });
        Self { stop, thread }
    }

    /// Ends it; answers how many were sent.
    pub fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn group(client: &mut Client, subject: &str, from: u32) -> io::Result<()> {
    for number in from..from + 20 {
        client.publish(subject, number.to_string().as_bytes())?;
    }
    client.sync()
}

/// A subscriber that comes back through whatever happens.
pub fn subscriber(port: u16, subject: &'static str) -> Subscriber {
    Subscriber::start(move || {
        let mut client = Client::connect(port)?;
        client.subscribe(subject).map(|()| client)
    })
}

impl Subscription for Client {
    fn text(&mut self) -> io::Result<String> {
        self.message().map(|(_, payload)| payload)
    }
}
