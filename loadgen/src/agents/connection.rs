//! The conductor's connections to its agents: greeting, plan, clock, and one reading thread for
//! each. Must not know what a run consists of.

use std::io::{self, BufReader};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::agents::error::AgentsError;
use crate::agents::message;
use crate::agents::message::{FromAgent, MESSAGE_BYTES_MAX, Task, ToAgent, VERSION};
use crate::agents::offset::{OffsetTrack, Probe};
use crate::time::clock::{UtcMap, mono_ns};

/// The connection to one agent.
pub struct Agent {
    /// Its address as on the command line: `host:port`.
    pub name: String,
    /// Fingerprint of its host.
    pub host: String,
    /// The offset of its clock from the conductor's clock.
    pub clock: OffsetTrack,
    stream: TcpStream,
    listener: Option<JoinHandle<()>>,
    /// Time requests in progress: number and instant of sending.
    asked: (u64, u64),
}

/// A message from an agent, or the end of its connection.
pub struct AgentEvent {
    /// The index of the agent.
    pub agent: usize,
    /// The instant of receiving, on the conductor's clock, ns since the Unix epoch.
    pub unix_ns: u64,
    /// The message; `Err`: why no more will follow.
    pub message: io::Result<FromAgent>,
}

impl Agent {
    /// Connects, authenticates, sends the share and measures the clock offset.
    ///
    /// # Errors
    /// When the agent does not answer, rejects this conductor, or cannot run its share.
    pub fn enlist(
        name: &str,
        secret: Option<&str>,
        task: Task,
        utc: UtcMap,
    ) -> Result<Agent, AgentsError> {
        let failed = |cause| AgentsError::Unreachable { name: name.to_owned(), cause };
        let stream = connect(name).map_err(failed)?;
        let mut agent = Agent {
            name: name.to_owned(),
            host: String::new(),
            clock: OffsetTrack::default(),
            stream,
            listener: None,
            asked: (0, 0),
        };
        let hello =
            ToAgent::Hello { version: VERSION.to_owned(), secret: secret.map(str::to_owned) };
        match agent.ask(&hello)? {
            FromAgent::Welcome { host } => agent.host = host,
            other => return Err(agent.unexpected(other)),
        }
        match agent.ask(&ToAgent::Prepare(Box::new(task)))? {
            FromAgent::Prepared => {}
            other => return Err(agent.unexpected(other)),
        }
        (0..PROBES_BEFORE).try_for_each(|_| agent.probe_before(utc))?;
        Ok(agent)
    }

    /// Starts the thread that reads from the agent.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn listen(
        &mut self,
        place: usize,
        utc: UtcMap,
        events: Sender<AgentEvent>,
    ) -> io::Result<()> {
        self.stream.set_read_timeout(Some(SILENCE_MAX))?;
        let stream = self.stream.try_clone()?;
        let thread = thread::Builder::new().name(format!("agent-{place}"));
        self.listener = Some(thread.spawn(move || listen(place, &stream, utc, &events))?);
        Ok(())
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn send(&self, message: &ToAgent) -> io::Result<()> {
        message::write(&mut &self.stream, message)
    }

    /// Requests the time during the run; the answer goes to `on_time_answer`.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn ask_time(&mut self, utc: UtcMap) -> io::Result<()> {
        self.asked = (self.asked.0 + 1, utc.unix_of_mono(mono_ns()));
        self.send(&ToAgent::Probe { nonce: self.asked.0 })
    }

    /// Handles the answer to the last time request; answers to older requests are ignored.
    pub fn on_time_answer(&mut self, nonce: u64, remote_ns: u64, received_ns: u64) {
        let (number, sent_ns) = self.asked;
        if nonce == number {
            self.clock.during(Probe { sent_ns, remote_ns, received_ns });
        }
    }

    /// Closes the connection.
    pub fn disconnect(&mut self) {
        // The connection may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(listener) = self.listener.take() {
            // A reader that panicked has stopped reading, which is the goal here.
            let _ = listener.join();
        }
    }

    fn probe_before(&mut self, utc: UtcMap) -> Result<(), AgentsError> {
        let sent_ns = utc.unix_of_mono(mono_ns());
        match self.ask(&ToAgent::Probe { nonce: 0 })? {
            FromAgent::Probed { unix_ns, .. } => {
                let received_ns = utc.unix_of_mono(mono_ns());
                self.clock.before(Probe { sent_ns, remote_ns: unix_ns, received_ns });
                Ok(())
            }
            other => Err(self.unexpected(other)),
        }
    }

    fn ask(&self, message: &ToAgent) -> Result<FromAgent, AgentsError> {
        let answer = self.send(message);
        let answer = answer.and_then(|()| message::read(&mut &self.stream, MESSAGE_BYTES_MAX));
        answer.map_err(|cause| AgentsError::Unreachable { name: self.name.clone(), cause })
    }

    fn unexpected(&self, message: FromAgent) -> AgentsError {
        let name = self.name.clone();
        match message {
            FromAgent::Refused { reason } | FromAgent::Failed { reason } => {
                AgentsError::Refused { name, reason }
            }
            _ => AgentsError::Refused { name, reason: "sent an unexpected message".to_owned() },
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn connect(name: &str) -> io::Result<TcpStream> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let address = name.to_socket_addrs()?.next().ok_or_else(none)?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn listen(agent: usize, stream: &TcpStream, utc: UtcMap, events: &Sender<AgentEvent>) {
    let mut from = BufReader::new(stream);
    loop {
        let message = message::read(&mut from, MESSAGE_BYTES_MAX);
        let is_over = message.is_err();
        let unix_ns = utc.unix_of_mono(mono_ns());
        if events.send(AgentEvent { agent, unix_ns, message }).is_err() || is_over {
            return;
        }
    }
}

/// The time limit for the answer to a greeting and to a plan.
const PATIENCE: Duration = Duration::from_secs(10);
/// An agent answers several time requests per second, so an agent silent for this long is lost.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The number of time requests before the start. The best one counts, so many are better than one.
const PROBES_BEFORE: usize = 100;
