//! Runs a script in many connections at a time and counts what came of each. Must not know which
//! answer would be right.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use gridload::codec::wire::{Event, Scanner};
use gridload::os::socket;
use gridload::time::clock::mono_ns;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::Counts;
use crate::script::Script;

/// Has `count` attackers follow the script, `at_once` at a time; how they ended, and how long it
/// took.
pub fn run(
    script: &Script,
    target: SocketAddr,
    count: u32,
    at_once: u32,
    within: Duration,
) -> io::Result<(Counts, Duration)> {
    let began_ns = mono_ns();
    let deadline_ns = began_ns + within.as_nanos() as u64;
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut crowd = Crowd {
        script,
        target,
        poll: Poll::new()?,
        attackers: Slab::new(),
        answers: Counts::new(),
    };
    let mut begun = 0;
    while (begun < count || !crowd.attackers.is_empty()) && mono_ns() < deadline_ns {
        while begun < count && crowd.attackers.len() < at_once as usize {
            crowd.begin(begun)?;
            begun += 1;
        }
        socket::poll_interruptible(&mut crowd.poll, &mut events, TURN)?;
        for event in &events {
            crowd.advance(event.token().0);
        }
        if script.pause.is_some() {
            for key in crowd.due() {
                crowd.advance(key);
            }
        }
    }
    let silent = crowd.attackers.len() as u64 + u64::from(count - begun);
    if silent > 0 {
        crowd.answers.insert("silent".into(), silent);
    }
    Ok((crowd.answers, Duration::from_nanos(mono_ns() - began_ns)))
}

/// A source address for the `index`th connection: one address alone has too few ports.
pub fn source(target: SocketAddr, index: u32) -> Option<IpAddr> {
    let [high, low] = (((index / CONNECTIONS_PER_SOURCE) % 0xFFFE + 1) as u16).to_be_bytes();
    target.is_ipv4().then(|| IpAddr::from([127, 2, high, low]))
}

/// The status of a response, once its head is whole.
pub fn status(answer: &[u8]) -> Option<u16> {
    answer.windows(4).find(|bytes| bytes == b"\r\n\r\n")?;
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

struct Crowd<'s> {
    script: &'s Script,
    target: SocketAddr,
    poll: Poll,
    attackers: Slab<Attacker>,
    answers: Counts,
}

struct Attacker {
    stream: TcpStream,
    is_connected: bool,
    is_open: bool,
    /// What is still to be sent of `sending`.
    sent: usize,
    sending: Sending,
    next_ns: u64,
    answer: Vec<u8>,
    scanner: Scanner,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Request,
    Burst(u32),
    Farewell,
    Nothing,
}

impl Crowd<'_> {
    fn begin(&mut self, index: u32) -> io::Result<()> {
        let connected = socket::connect(self.target, source(self.target, index), None);
        let mut stream = match connected {
            Ok(stream) => stream,
            Err(error) => {
                self.count(format!("failed: {}", socket::failure_name(&error)));
                return Ok(());
            }
        };
        let entry = self.attackers.vacant_entry();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(entry.key()), both)?;
        entry.insert(Attacker {
            stream,
            is_connected: false,
            is_open: !self.script.is_upgrade,
            sent: 0,
            sending: Sending::Request,
            next_ns: 0,
            answer: Vec::new(),
            scanner: Scanner::default(),
        });
        Ok(())
    }

    /// Those whose next byte is due.
    fn due(&self) -> Vec<usize> {
        let now_ns = mono_ns();
        let due = |attacker: &Attacker| attacker.is_connected && attacker.next_ns <= now_ns;
        self.attackers.iter().filter(|(_, attacker)| due(attacker)).map(|(key, _)| key).collect()
    }

    fn advance(&mut self, key: usize) {
        let Some(attacker) = self.attackers.get_mut(key) else { return };
        let ended = match attacker.advance(self.script) {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => "gone".to_owned(),
            Err(error) => format!("failed: {}", socket::failure_name(&error)),
        };
        self.count(ended);
        // Dropping the stream takes it out of the selector.
        drop(self.attackers.remove(key));
    }

    fn count(&mut self, answer: String) {
        *self.answers.entry(answer).or_default() += 1;
    }
}

impl Attacker {
    /// Sends and reads what can be; the answer once there is one. What was answered counts even
    /// where sending failed: a server may answer and close before it has read everything.
    fn advance(&mut self, script: &Script) -> io::Result<Option<String>> {
        if !self.is_connected && !socket::is_connected(&self.stream)? {
            return Ok(None);
        }
        self.is_connected = true;
        let sent = self.send(script);
        if let Some(answer) = self.read(script)? {
            return Ok(Some(answer));
        }
        // The answer to a request opened the way for the burst.
        sent.and_then(|()| self.send(script))?;
        Ok(None)
    }

    fn send(&mut self, script: &Script) -> io::Result<()> {
        loop {
            let bytes: &[u8] = match self.sending {
                Sending::Request => &script.request,
                Sending::Burst(_) | Sending::Farewell if !self.is_open => return Ok(()),
                Sending::Burst(_) => &script.burst,
                Sending::Farewell => &script.farewell,
                Sending::Nothing => return Ok(()),
            };
            let rest = bytes.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                (self.sent, self.sending) = (0, self.sending.next(script));
                continue;
            }
            let rest = match (self.sending, script.pause) {
                (Sending::Request, Some(_)) if mono_ns() < self.next_ns => return Ok(()),
                (Sending::Request, Some(pause)) => {
                    self.next_ns = mono_ns() + pause.as_nanos() as u64;
                    rest.get(..1).unwrap_or_default()
                }
                _ => rest,
            };
            match (&self.stream).write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, script: &Script) -> io::Result<Option<String>> {
        let mut buffer = [0; 16 << 10];
        loop {
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    if let Some(answer) = self.understand(bytes, script)? {
                        return Ok(Some(answer));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn understand(&mut self, bytes: &[u8], script: &Script) -> io::Result<Option<String>> {
        if self.is_open && script.is_upgrade {
            return self.understand_frames(bytes);
        }
        self.answer.extend_from_slice(bytes);
        match status(&self.answer) {
            Some(101) if script.is_upgrade => {
                self.is_open = true;
                let end = self.answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
                let rest = self.answer.split_off(end.unwrap_or_default() + 4);
                self.understand_frames(&rest)
            }
            Some(status) => Ok(Some(format!("status {status}"))),
            None if self.answer.len() > ANSWER_BYTES_MAX => Err(ErrorKind::InvalidData.into()),
            None => Ok(None),
        }
    }

    fn understand_frames(&mut self, bytes: &[u8]) -> io::Result<Option<String>> {
        let mut close = None;
        let bytes = [self.scanner.rest(), bytes].concat();
        let scanned = self.scanner.scan(&bytes, ANSWER_BYTES_MAX, |event| {
            if let Event::Close(code) = event {
                close = Some(gridload::codec::wire::close_name(code));
            }
        });
        scanned.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(close.map(|name| format!("close {name}")))
    }
}

impl Sending {
    fn next(self, script: &Script) -> Self {
        match self {
            Self::Request if script.repeats > 0 => Self::Burst(1),
            Self::Burst(done) if done < script.repeats => Self::Burst(done + 1),
            Self::Request if !script.is_upgrade => Self::Nothing,
            Self::Request | Self::Burst(_) => Self::Farewell,
            Self::Farewell | Self::Nothing => Self::Nothing,
        }
    }
}

const EVENTS_MAX: usize = 1024;
const TURN: Duration = Duration::from_millis(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const CONNECTIONS_PER_SOURCE: u32 = 4_000;
