//! The agent's side of the connection during a run: its coordination with the other agents through
//! the conductor, and the reading thread. Must not run anything itself.

use std::io::{self, BufReader};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;

use crate::agents::message;
use crate::agents::message::{Counts, FromAgent, MESSAGE_BYTES_MAX, ToAgent};
use crate::drive::coordinator::{CoordinationLost, Coordinator, Start};
use crate::observe::progress::Progress;
use crate::plan::plan::Plan;
use crate::receive::windows::WindowPart;
use crate::time::clock::{UtcMap, mono_ns};

/// An agent as a member of a shared run.
pub struct Member {
    channel: Arc<Channel>,
    inbox: Mutex<Receiver<ToAgent>>,
    listener: Option<JoinHandle<()>>,
}

/// The state shared by the reading thread and the run.
struct Channel {
    stream: TcpStream,
    /// Locked for a whole message, because several threads write.
    writing: Mutex<()>,
    /// The clock to which the conductor measures its offset; the mapping stays the same for the
    /// whole run.
    utc: UtcMap,
    progress: Arc<Progress>,
}

impl Member {
    /// Starts the reading thread. If the conductor is silent or disconnects, the run is stopped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(stream: TcpStream, utc: UtcMap, progress: Arc<Progress>) -> io::Result<Member> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        let channel = Arc::new(Channel { stream, writing: Mutex::new(()), utc, progress });
        let (sender, receiver) = mpsc::channel();
        let reading = Arc::clone(&channel);
        let thread = thread::Builder::new().name("conductor".into());
        let listener = thread.spawn(move || reading.listen(&sender))?;
        Ok(Member { channel, inbox: Mutex::new(receiver), listener: Some(listener) })
    }

    /// Waits for the request to open the sockets.
    ///
    /// # Errors
    /// When the connection to the conductor is lost.
    pub fn await_ramp(&self) -> Result<(), CoordinationLost> {
        self.await_message(|message| matches!(message, ToAgent::Ramp).then_some(()))
    }

    /// Sends the final report.
    ///
    /// # Errors
    /// When the connection to the conductor is lost.
    pub fn send(&self, message: &FromAgent) -> io::Result<()> {
        self.channel.send(message)
    }

    /// Waits until the conductor has disconnected. Closing earlier could lose the last messages,
    /// which may still be in transit.
    pub fn await_end(&mut self) {
        if let Some(listener) = self.listener.take() {
            // A reader that panicked has stopped reading, which is the goal here.
            let _ = listener.join();
        }
    }

    fn exchange(&self, message: &FromAgent) -> Result<(), CoordinationLost> {
        self.send(message).map_err(|error| CoordinationLost(format!("{GONE}: {error}")))
    }

    /// The next message of this kind; other kinds are ignored.
    fn await_message<T>(
        &self,
        mut take: impl FnMut(ToAgent) -> Option<T>,
    ) -> Result<T, CoordinationLost> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let message = inbox.recv().map_err(|_| CoordinationLost(GONE.to_owned()))?;
            if let Some(taken) = take(message) {
                return Ok(taken);
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The connection may be closed already.
        let _ = self.channel.stream.shutdown(Shutdown::Both);
        self.await_end();
    }
}

impl Coordinator for Member {
    fn start(&self, _: &Plan) -> Result<Start, CoordinationLost> {
        self.exchange(&FromAgent::Ready)?;
        let utc = self.channel.utc;
        self.await_message(|message| match message {
            ToAgent::Start { unix_ns, ahead_ns, sample_every } => {
                Some(Start { unix_ns, utc: utc.behind(ahead_ns), sample_every })
            }
            _ => None,
        })
    }

    fn published(&self, written: Vec<u32>) -> Result<Vec<u32>, CoordinationLost> {
        self.exchange(&FromAgent::Published(written))?;
        self.await_message(|message| match message {
            ToAgent::Published(written) => Some(written),
            _ => None,
        })
    }

    fn seen(&self, ends: Vec<u32>) -> Result<Vec<u32>, CoordinationLost> {
        self.exchange(&FromAgent::Seen(ends))?;
        self.await_message(|message| match message {
            ToAgent::Seen(ends) => Some(ends),
            _ => None,
        })
    }

    fn second(&self, part: &WindowPart) {
        // A lost conductor is detected by the reading thread.
        let _ = self.send(&FromAgent::Second(Box::new(part.clone())));
    }
}

impl Channel {
    /// Reads until the conductor disconnects.
    fn listen(&self, inbox: &Sender<ToAgent>) {
        let mut from = BufReader::new(&self.stream);
        while let Ok(message) = message::read::<ToAgent>(&mut from, MESSAGE_BYTES_MAX) {
            let done = match message {
                ToAgent::Probe { nonce } => self.answer(nonce).is_ok(),
                ToAgent::Stop => {
                    self.stop();
                    true
                }
                other => inbox.send(other).is_ok(),
            };
            if !done {
                break;
            }
        }
        self.stop();
    }

    fn answer(&self, nonce: u64) -> io::Result<()> {
        let unix_ns = self.utc.unix_of_mono(mono_ns());
        self.send(&FromAgent::Probed { nonce, unix_ns, counts: self.counts() })
    }

    fn counts(&self) -> Counts {
        let progress = &self.progress;
        Counts {
            connected: progress.connected.load(Ordering::Relaxed),
            errors: progress.errors.load(Ordering::Relaxed),
            sent: progress.sent.load(Ordering::Relaxed),
            received: progress.received.load(Ordering::Relaxed),
            lost: progress.lost.load(Ordering::Relaxed),
            closed: progress.closed.load(Ordering::Relaxed),
        }
    }

    fn stop(&self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }

    fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let _whole = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        message::write(&mut &self.stream, message)
    }
}

const GONE: &str = "the conductor is gone";
/// The longest silence of the conductor, which requests the time several times per second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
