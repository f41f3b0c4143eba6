//! A server that only forwards frames, except for one known fault: it delays, stalls, loses,
//! duplicates or swaps them, and counts what it did. Must not share code with what is tested: it
//! uses tungstenite, and every subscriber gets every frame.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, WebSocket};

use crate::observe::host;
use crate::receive::histograms::SignedHistogram;
use crate::selftest::fault::{Fault, FrameAction};
use crate::time::clock::mono_ns;

/// What the server has done; the correct result of a trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames received from publishers.
    pub received: u64,
    /// Frames lost on purpose, each for every subscriber.
    pub dropped: u64,
    /// Frames sent twice.
    pub repeated: u64,
    /// Frames sent after their successor.
    pub swapped: u64,
    /// How long the server stalled, ns.
    pub stopped_ns: u64,
    /// How late the host ended the server's sleeps, p99.9, ns.
    pub jitter_ns: i64,
}

/// A running null server. Its threads end when it is dropped and its clients have disconnected.
#[derive(Debug)]
pub struct NullServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    received: AtomicU64,
    dropped: AtomicU64,
    repeated: AtomicU64,
    swapped: AtomicU64,
    stopped_ns: AtomicU64,
    jitter: Mutex<SignedHistogram>,
}

impl NullServer {
    /// Starts a server with a fault, on these CPUs.
    ///
    /// # Errors
    /// When the system refuses a socket or a thread.
    pub fn start(fault: Fault, cpus: &[usize]) -> io::Result<NullServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (jobs, inbox) = mpsc::channel();
        let broadcaster = Broadcaster::new(inbox, fault, Arc::clone(&shared));
        pinned("null-broadcast", cpus, move || broadcaster.run())?;
        let (over, own_cpus) = (Arc::clone(&shared), cpus.to_vec());
        pinned("null-accept", cpus, move || accept(&listener, &jobs, &over, &own_cpus))?;
        Ok(NullServer { address, shared })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The counts so far.
    pub fn tally(&self) -> Tally {
        let of = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let Shared { received, dropped, repeated, swapped, stopped_ns, jitter, .. } = &*self.shared;
        let jitter = jitter.lock().unwrap_or_else(PoisonError::into_inner);
        Tally {
            received: of(received),
            dropped: of(dropped),
            repeated: of(repeated),
            swapped: of(swapped),
            stopped_ns: of(stopped_ns),
            jitter_ns: jitter.quantile(0.999),
        }
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the accept loop; if this fails, the loop has ended already.
        drop(TcpStream::connect(self.address));
    }
}

fn pinned(name: &str, cpus: &[usize], body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let cpus = cpus.to_vec();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = host::pin(&cpus) {
            tracing::warn!(%error, "the null server shares the generator's CPUs");
        }
        body();
    })?;
    Ok(())
}

fn accept(listener: &TcpListener, jobs: &Sender<Job>, shared: &Shared, cpus: &[usize]) {
    for stream in listener.incoming().flatten() {
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        let jobs = jobs.clone();
        if let Err(error) = pinned("null-client", cpus, move || serve(stream, &jobs)) {
            tracing::warn!(%error, "the null server cannot serve a client");
        }
    }
}

/// Serves one client: a publisher is read until it disconnects, a subscriber is passed to the
/// broadcaster.
fn serve(stream: TcpStream, jobs: &Sender<Job>) {
    let mut is_publisher = false;
    #[expect(clippy::result_large_err, reason = "the type of tungstenite's callback")]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        is_publisher = request.uri().path().starts_with("/v1/publish/");
        Ok(response)
    };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A client that does not ask for a WebSocket is not part of a trial.
    let Ok(socket) = tungstenite::accept_hdr(stream, note) else { return };
    if is_publisher {
        listen(socket, jobs);
    } else {
        // If the broadcaster does not accept the socket, it has ended, and so has the trial.
        let _ = jobs.send(Job::Subscriber(socket.into_inner()));
    }
}

fn listen(mut socket: WebSocket<TcpStream>, jobs: &Sender<Job>) {
    loop {
        let (opcode, payload) = match socket.read() {
            Ok(Message::Binary(payload)) => (Data::Binary, payload),
            Ok(Message::Text(text)) => (Data::Text, text.into()),
            Ok(_) => continue,
            Err(_) => return,
        };
        let at_ns = mono_ns();
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        let frame = Frame::message(payload, OpCode::Data(opcode), true);
        if frame.format(&mut bytes).is_err() || jobs.send(Job::Frame { at_ns, bytes }).is_err() {
            return;
        }
    }
}

enum Job {
    Subscriber(TcpStream),
    Frame { at_ns: u64, bytes: Vec<u8> },
}

/// A subscriber, and the bytes its socket has not accepted yet.
struct Feed {
    stream: TcpStream,
    pending: Vec<u8>,
}

/// The only thread that sends.
struct Broadcaster {
    inbox: Receiver<Job>,
    fault: Fault,
    shared: Arc<Shared>,
    feeds: Vec<Feed>,
    /// Frames by due instant; frames with the same instant in order of arrival.
    held: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
    swapped: Option<Vec<u8>>,
    seen: u64,
    order: u64,
}

impl Broadcaster {
    fn new(inbox: Receiver<Job>, fault: Fault, shared: Arc<Shared>) -> Broadcaster {
        let (feeds, held) = (Vec::new(), BinaryHeap::new());
        Broadcaster { inbox, fault, shared, feeds, held, swapped: None, seen: 0, order: 0 }
    }

    fn run(mut self) {
        loop {
            let wait = self.wait();
            let until_ns = mono_ns() + wait.as_nanos() as u64;
            match self.inbox.recv_timeout(wait) {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => self.note_jitter(until_ns),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(job) = self.inbox.try_recv() {
                self.take(job);
            }
            self.send_due();
            self.feeds.retain_mut(Feed::push);
        }
    }

    fn note_jitter(&self, until_ns: u64) {
        let late_ns = mono_ns().wrapping_sub(until_ns).cast_signed();
        self.shared.jitter.lock().unwrap_or_else(PoisonError::into_inner).record(late_ns.max(0));
    }

    fn wait(&self) -> Duration {
        let due_ns = self.held.peek().map_or(u64::MAX, |Reverse((due_ns, ..))| *due_ns);
        Duration::from_nanos(due_ns.saturating_sub(mono_ns() + SPIN_NS)).min(RETRY_INTERVAL)
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Frame { at_ns, bytes } => self.take_frame(at_ns, bytes),
            Job::Subscriber(stream) => {
                if stream.set_nonblocking(true).is_ok() {
                    self.feeds.push(Feed { stream, pending: Vec::new() });
                }
            }
        }
    }

    fn take_frame(&mut self, at_ns: u64, bytes: Vec<u8>) {
        let action = self.fault.action(self.seen);
        self.seen += 1;
        count(&self.shared.received, 1);
        match action {
            FrameAction::Hold(delay) => {
                let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
                self.hold(at_ns.saturating_add(delay_ns), bytes);
            }
            FrameAction::Stop(length) => {
                self.stall(length);
                self.hold(at_ns, bytes);
            }
            FrameAction::Drop => count(&self.shared.dropped, 1),
            FrameAction::Repeat => {
                count(&self.shared.repeated, 1);
                self.hold(at_ns, bytes.clone());
                self.hold(at_ns, bytes);
            }
            FrameAction::Swap => {
                count(&self.shared.swapped, 1);
                self.swapped = Some(bytes);
            }
        }
    }

    /// Inserts a frame at its due instant; if it is the successor of a swapped frame, that one
    /// follows.
    fn hold(&mut self, due_ns: u64, bytes: Vec<u8>) {
        for bytes in [Some(bytes), self.swapped.take()].into_iter().flatten() {
            self.held.push(Reverse((due_ns, self.order, bytes)));
            self.order += 1;
        }
    }

    fn stall(&self, length: Duration) {
        let from_ns = mono_ns();
        thread::sleep(length);
        count(&self.shared.stopped_ns, mono_ns() - from_ns);
    }

    /// Sends the frames that are due. If a frame is due very soon, the thread spins, because no
    /// sleep ends that precisely.
    fn send_due(&mut self) {
        while let Some(Reverse((due_ns, ..))) = self.held.peek() {
            let due_ns = *due_ns;
            if due_ns > mono_ns() + SPIN_NS {
                return;
            }
            while mono_ns() < due_ns {
                std::hint::spin_loop();
            }
            let Some(Reverse((.., bytes))) = self.held.pop() else { return };
            self.send(&bytes);
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.feeds.retain_mut(|feed| feed.send(bytes));
    }
}

impl Feed {
    /// Whether the subscriber is still connected.
    fn send(&mut self, bytes: &[u8]) -> bool {
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            return self.pending.len() <= PENDING_BYTES_MAX;
        }
        match self.write(bytes) {
            Some(written) => {
                self.pending.extend_from_slice(bytes.get(written..).unwrap_or_default());
                true
            }
            None => false,
        }
    }

    fn push(&mut self) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        let pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        self.pending = pending;
        self.pending.drain(..written.unwrap_or(0));
        written.is_some()
    }

    /// The number of bytes the socket accepted; `None` if it is closed.
    fn write(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.stream.write(bytes) {
            Ok(written) => Some(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(0),
            Err(_) => None,
        }
    }
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::AcqRel);
}

/// The lateness allowed for a sleep; the thread spins for the remaining time.
const SPIN_NS: u64 = 80_000;
/// The interval in which a full socket is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// A subscriber with more unsent bytes than this has stopped reading and is ignored.
const PENDING_BYTES_MAX: usize = 64 << 20;
