//! Clients that lose their connection all at once and come back as good clients do: exponential
//! backoff from 500 ms to 10 s, with jitter. Owns when each tries again and what it was told. Must
//! not tell anybody how long the others waited.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use gridload::codec::handshake;
use gridload::codec::handshake::Offer;
use gridload::os::socket;
use gridload::time::clock::mono_ns;
use gridload::time::draw::mix;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Counts;
use crate::crowd::{source, status};

/// Who cuts the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cut {
    /// The clients, with a reset, all in the same instant.
    Reset,
    /// The engine: somebody drains or restarts it once all are connected.
    Engine,
}

/// What is to happen.
#[derive(Debug)]
pub struct Plan {
    /// Where the engine listens.
    pub target: SocketAddr,
    /// Clients of all threads.
    pub clients: u32,
    /// Threads, each with a descriptor table of its own.
    pub threads: u32,
    /// Clients connected per second before the cut.
    pub ramp_per_s: u32,
    /// From the last arrival to the cut.
    pub calm: Duration,
    /// From the cut to the end.
    pub within: Duration,
    /// Who cuts.
    pub cut: Cut,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Clients that were connected before the cut.
    pub connected: u64,
    /// Clients that came back.
    pub back: u64,
    /// From the cut to the last one's return.
    pub all_back_ns: u64,
    /// What those were told that were not let in, attempt by attempt, after the cut.
    pub refusals: Counts,
}

impl Outcome {
    /// Attempts that failed in another way than the wire document states for a full house: 503 and
    /// 429. That nobody listens is right where the engine is being restarted.
    pub fn refused_wrongly(&self, cut: Cut) -> u64 {
        let is_stated = |answer: &str| match answer {
            "status 503" | "status 429" => true,
            "refused" | "reset" => cut == Cut::Engine,
            _ => false,
        };
        self.refusals.iter().filter(|(answer, _)| !is_stated(answer)).map(|(_, n)| n).sum()
    }

    fn add(&mut self, other: Self) {
        self.connected += other.connected;
        self.back += other.back;
        self.all_back_ns = self.all_back_ns.max(other.all_back_ns);
        for (answer, count) in other.refusals {
            *self.refusals.entry(answer).or_default() += count;
        }
    }
}

/// Connects everybody, has them cut, and watches them come back.
pub fn run(plan: &Plan) -> io::Result<Outcome> {
    let (up, cut_at_ns) = (AtomicU64::new(0), AtomicU64::new(0));
    let (up, cut_at_ns) = (&up, &cut_at_ns);
    thread::scope(|scope| {
        let of_threads: Vec<_> = (0..plan.threads)
            .map(|thread| scope.spawn(move || Share::new(plan, thread)?.run(plan, up, cut_at_ns)))
            .collect();
        let mut outcome = Outcome::default();
        for of_thread in of_threads {
            outcome.add(of_thread.join().map_err(|_| io::Error::other("a thread panicked"))??);
        }
        Ok(outcome)
    })
}

/// The clients of one thread.
struct Share {
    poll: Poll,
    clients: Vec<Client>,
    outcome: Outcome,
    cut: Cut,
    cut_ns: Option<u64>,
}

struct Client {
    index: u32,
    state: State,
    attempt: u32,
    is_back: bool,
}

enum State {
    /// Tries at this instant.
    Waiting(u64),
    Asking {
        stream: TcpStream,
        is_sent: bool,
        answer: Vec<u8>,
    },
    Up(TcpStream),
}

/// What an event meant for a client.
enum Change {
    None,
    Up,
    /// Refused, or the connection failed; how is said.
    Refused(String),
    /// It was up and is no more.
    Lost,
}

impl Share {
    fn new(plan: &Plan, thread: u32) -> io::Result<Self> {
        socket::own_descriptors()?;
        let began_ns = mono_ns();
        let arrival = |index: u32| u64::from(index) * 1_000_000_000 / u64::from(plan.ramp_per_s);
        let indices = (0..plan.clients).filter(|index| index % plan.threads == thread);
        let client = |index| Client {
            index,
            state: State::Waiting(began_ns + arrival(index)),
            attempt: 0,
            is_back: false,
        };
        Ok(Self {
            poll: Poll::new()?,
            clients: indices.map(client).collect(),
            outcome: Outcome::default(),
            cut: plan.cut,
            cut_ns: None,
        })
    }

    /// `up` counts the clients of all threads before the cut, `cut_at_ns` is when that shall be:
    /// whoever sees everybody up sets it.
    fn run(mut self, plan: &Plan, up: &AtomicU64, cut_at_ns: &AtomicU64) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let began_ns = mono_ns();
        let ramp = Duration::from_secs(u64::from(plan.clients / plan.ramp_per_s) + 1);
        let deadline_ns = began_ns + (2 * ramp + plan.calm + plan.within).as_nanos() as u64;
        while mono_ns() < deadline_ns && !self.is_over(plan) {
            self.try_those_due(plan)?;
            socket::poll_interruptible(&mut self.poll, &mut events, TURN)?;
            for event in &events {
                let key = event.token().0;
                let Some(client) = self.clients.get_mut(key) else { continue };
                let change = client.advance();
                self.note(key, change, up);
            }
            self.cut_if_due(plan, up, cut_at_ns);
        }
        Ok(self.outcome)
    }

    fn is_over(&self, plan: &Plan) -> bool {
        self.cut_ns.is_some_and(|cut_ns| {
            self.outcome.back == self.clients.len() as u64
                || mono_ns() > cut_ns + plan.within.as_nanos() as u64
        })
    }

    fn try_those_due(&mut self, plan: &Plan) -> io::Result<()> {
        let now_ns = mono_ns();
        for (key, client) in self.clients.iter_mut().enumerate() {
            if !matches!(client.state, State::Waiting(due_ns) if due_ns <= now_ns) {
                continue;
            }
            client.attempt += 1;
            let connected = socket::connect(plan.target, source(plan.target, client.index), None);
            let Ok(mut stream) = connected else {
                client.wait();
                continue;
            };
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(key), both)?;
            client.state = State::Asking { stream, is_sent: false, answer: Vec::new() };
        }
        Ok(())
    }

    fn note(&mut self, key: usize, change: Change, up: &AtomicU64) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match (change, self.cut_ns) {
            (Change::None, _) => {}
            (Change::Up, None) => {
                self.outcome.connected += 1;
                client.attempt = 0;
                up.fetch_add(1, Ordering::Relaxed);
            }
            (Change::Up, Some(cut_ns)) => {
                client.is_back = true;
                self.outcome.back += 1;
                self.outcome.all_back_ns = mono_ns().saturating_sub(cut_ns);
            }
            (Change::Refused(how), cut_ns) => {
                client.wait();
                if cut_ns.is_some() {
                    *self.outcome.refusals.entry(how).or_default() += 1;
                }
            }
            (Change::Lost, None) => {
                client.wait();
                match self.cut {
                    // The first that the engine cuts begins the storm.
                    Cut::Engine => self.cut_ns = Some(mono_ns()),
                    Cut::Reset => {
                        self.outcome.connected -= 1;
                        up.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
            (Change::Lost, Some(_)) => {
                client.wait();
                self.outcome.back -= u64::from(std::mem::take(&mut client.is_back));
            }
        }
    }

    fn cut_if_due(&mut self, plan: &Plan, up: &AtomicU64, cut_at_ns: &AtomicU64) {
        if self.cut == Cut::Engine || self.cut_ns.is_some() {
            return;
        }
        if up.load(Ordering::Relaxed) == u64::from(plan.clients) {
            let at_ns = mono_ns() + plan.calm.as_nanos() as u64;
            // Another thread may have been first: then that instant holds.
            let _ = cut_at_ns.compare_exchange(0, at_ns, Ordering::Relaxed, Ordering::Relaxed);
        }
        let at_ns = cut_at_ns.load(Ordering::Relaxed);
        if at_ns > 0 && mono_ns() >= at_ns {
            self.cut_ns = Some(at_ns);
            for client in &mut self.clients {
                client.vanish();
            }
        }
    }
}

impl Client {
    fn advance(&mut self) -> Change {
        match &mut self.state {
            State::Waiting(_) => Change::None,
            State::Up(stream) => match read(stream) {
                Ok(_) => Change::None,
                Err(_) => Change::Lost,
            },
            State::Asking { stream, is_sent, answer } => {
                match ask(stream, is_sent, answer, self.index) {
                    Ok(None) => Change::None,
                    Ok(Some(101)) => {
                        self.settle();
                        Change::Up
                    }
                    Ok(Some(status)) => Change::Refused(format!("status {status}")),
                    Err(error) => Change::Refused(socket::failure_name(&error).to_owned()),
                }
            }
        }
    }

    fn settle(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Waiting(u64::MAX));
        if let State::Asking { stream, .. } = state {
            self.state = State::Up(stream);
        }
    }

    fn vanish(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Waiting(u64::MAX));
        if let State::Up(stream) | State::Asking { stream, .. } = state {
            // Where linger cannot be set it closes politely, which frees the engine as well.
            let _ = socket::reset(stream);
        }
        self.attempt = 0;
        self.wait();
    }

    /// Half of the backoff is certain, half is chance: the first is 500 ms to 1 s.
    fn wait(&mut self) {
        let most_ns = (BACKOFF_NS_FIRST << self.attempt.min(BACKOFF_DOUBLINGS)).min(BACKOFF_NS_MAX);
        let chance_ns = mix(SEED, self.index.into(), self.attempt.into()) % (most_ns / 2);
        self.state = State::Waiting(mono_ns() + most_ns / 2 + chance_ns);
    }
}

/// Asks for the upgrade once connected; the status once it is there.
fn ask(
    stream: &mut TcpStream,
    is_sent: &mut bool,
    answer: &mut Vec<u8>,
    index: u32,
) -> io::Result<Option<u16>> {
    if !socket::is_connected(stream)? {
        return Ok(None);
    }
    if !*is_sent {
        let key = handshake::key(index.into());
        let offer = Offer {
            path: "/v1/feed/storm",
            host: "engine.test",
            key: Some(&key),
            polls: false,
            protocol: None,
            deflate: false,
            token: None,
            last_event_id: None,
        };
        // The first bytes of a connection: its buffer is empty, so all of them are taken.
        stream.write_all(offer.request().as_bytes())?;
        *is_sent = true;
    }
    match read(stream) {
        Ok(bytes) => answer.extend_from_slice(&bytes),
        Err(error) => return status(answer).map_or(Err(error), |status| Ok(Some(status))),
    }
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(status(answer))
}

/// What can be read now; an error when the connection is over. Events come at edges, so all of it.
fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) if read.is_empty() => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(read),
            Ok(count) => read.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(read),
            Err(error) => return Err(error),
        }
        if read.len() > ANSWER_BYTES_MAX {
            return Ok(read);
        }
    }
}

const EVENTS_MAX: usize = 1024;
const TURN: Duration = Duration::from_millis(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const BACKOFF_NS_FIRST: u64 = 1_000_000_000;
const BACKOFF_NS_MAX: u64 = 10_000_000_000;
const BACKOFF_DOUBLINGS: u32 = 5;
const SEED: u64 = 1;
