//! A client of Redis that is no code of the bridge. Owns its few commands.

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

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    Number(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Carries out a command.
    pub fn ask(&mut self, words: &[&[u8]]) -> io::Result<Value> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend([*word, b"\r\n"].concat());
        }
        self.0.get_mut().write_all(&bytes)?;
        self.value()
    }

    /// Publishes; answers how many connections got it.
    pub fn publish(&mut self, channel: &str, payload: &[u8]) -> io::Result<i64> {
        match self.ask(&[b"PUBLISH", channel.as_bytes(), payload])? {
            Value::Number(number) => Ok(number),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    pub fn subscribe(&mut self, pattern: &str) -> io::Result<()> {
        self.ask(&[b"PSUBSCRIBE", pattern.as_bytes()]).map(drop)
    }

    /// The next message: channel and payload.
    pub fn message(&mut self) -> io::Result<(String, String)> {
        match self.value()? {
            Value::List(parts) => match &parts[..] {
                [_, _, Value::Text(channel), Value::Text(payload)] => {
                    Ok((text(channel), text(payload)))
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn value(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest = line[1..].trim_end();
        let number = || rest.parse::<i64>().unwrap();
        match line.as_bytes()[0] {
            b':' => Ok(Value::Number(number())),
            b'$' => {
                let mut bytes = vec![0; number() as usize + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Value::Text(bytes))
            }
            b'*' => {
                let count = number();
                (0..count).map(|_| self.value()).collect::<io::Result<_>>().map(Value::List)
            }
            b'-' => Err(io::Error::other(rest.to_owned())),
            _ => Ok(Value::Text(rest.into())),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Publishes the numbers from 0 on, each once, and knows which of them a subscriber got.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Vec<u32>)>,
}

impl Load {
    pub fn start(port: u16, channel: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut client, mut next, mut delivered) = (None, 0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                client = client.or_else(|| Client::connect(port).ok());
                let payload: u32 = next;
                if let Some(open) = &mut client {
                    match open.publish(channel, payload.to_string().as_bytes()) {
                        Ok(receivers) if receivers > 0 => delivered.push(payload),
                        Ok(_) => {}
                        Err(_) => client = None,
                    }
                    next += 1;
                }
                // Its pace.
                thread::sleep(Duration::from_micros(300));
            }
            (next, delivered)
        });
        Self { stop, thread }
    }

    /// Ends it; answers how many were sent, and which of them went to a subscriber.
    pub fn end(self) -> (u32, Vec<u32>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A subscriber that comes back through whatever happens.
pub fn subscriber(port: u16, pattern: &'static str) -> Subscriber {
    Subscriber::start(move || {
        let mut client = Client::connect(port)?;
        client.subscribe(pattern).map(|()| client)
    })
}

impl Subscription for Client {
    fn text(&mut self) -> io::Result<String> {
        self.message().map(|(_, payload)| payload)
    }
}
