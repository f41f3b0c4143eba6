//! The conductor's connections to its agents: greeting, plan, clock, and one thread each that
//! listens. Must not know what a run is made of.

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

/// One agent.
pub struct Agent {
    /// As the command line has it: `host:port`.
    pub name: String,
    /// Fingerprint of its host.
    pub host: String,
    /// How far its clock is from the conductor's.
    pub clock: OffsetTrack,
    stream: TcpStream,
    listener: Option<JoinHandle<()>>,
    /// Questions about the time that are under way: number and instant of asking.
    asked: (u64, u64),
}

/// What an agent said, or that it says nothing more.
pub struct AgentEvent {
    /// Which agent, by its place.
    pub agent: usize,
    /// When, on the conductor's clock, ns since the Unix epoch.
    pub unix_ns: u64,
    /// What; `Err`: why there will be nothing more.
    pub said: io::Result<FromAgent>,
}

impl Agent {
    /// Connects, is let in, hands over the share and measures the clock.
    ///
    /// # Errors
    /// When it does not answer, does not let this conductor in, or cannot carry its share.
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

    /// Starts the thread that listens to it.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn listen(
        &mut self,
        place: usize,
        utc: UtcMap,
        heard: Sender<AgentEvent>,
    ) -> io::Result<()> {
        self.stream.set_read_timeout(Some(SILENCE_MAX))?;
        let stream = self.stream.try_clone()?;
        let thread = thread::Builder::new().name(format!("agent-{place}"));
        self.listener = Some(thread.spawn(move || listen(place, &stream, utc, &heard))?);
        Ok(())
    }

    /// Says something.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn tell(&self, message: &ToAgent) -> io::Result<()> {
        message::write(&mut &self.stream, message)
    }

    /// Asks for the time while it runs; the answer goes to `told_time`.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn ask_time(&mut self, utc: UtcMap) -> io::Result<()> {
        self.asked = (self.asked.0 + 1, utc.unix_of_mono(mono_ns()));
        self.tell(&ToAgent::Probe { nonce: self.asked.0 })
    }

    /// Takes the answer to the last question; that to an older one is worth nothing.
    pub fn told_time(&mut self, nonce: u64, told_ns: u64, answered_ns: u64) {
        let (number, asked_ns) = self.asked;
        if nonce == number {
            self.clock.during(Probe { asked_ns, told_ns, answered_ns });
        }
    }

    /// Ends the conversation.
    pub fn part(&mut self) {
        // A line that is closed already needs no closing.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(listener) = self.listener.take() {
            // A listener that panicked listens no more, which is what is wanted.
            let _ = listener.join();
        }
    }

    fn probe_before(&mut self, utc: UtcMap) -> Result<(), AgentsError> {
        let asked_ns = utc.unix_of_mono(mono_ns());
        match self.ask(&ToAgent::Probe { nonce: 0 })? {
            FromAgent::Probed { unix_ns, .. } => {
                let answered_ns = utc.unix_of_mono(mono_ns());
                self.clock.before(Probe { asked_ns, told_ns: unix_ns, answered_ns });
                Ok(())
            }
            other => Err(self.unexpected(other)),
        }
    }

    fn ask(&self, message: &ToAgent) -> Result<FromAgent, AgentsError> {
        let answer = self.tell(message);
        let answer = answer.and_then(|()| message::read(&mut &self.stream, MESSAGE_BYTES_MAX));
        answer.map_err(|cause| AgentsError::Unreachable { name: self.name.clone(), cause })
    }

    fn unexpected(&self, said: FromAgent) -> AgentsError {
        let name = self.name.clone();
        match said {
            FromAgent::Refused { reason } | FromAgent::Failed { reason } => {
                AgentsError::Refused { name, reason }
            }
            _ => AgentsError::Refused { name, reason: "answers what nobody asked".to_owned() },
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.part();
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

fn listen(agent: usize, stream: &TcpStream, utc: UtcMap, heard: &Sender<AgentEvent>) {
    let mut from = BufReader::new(stream);
    loop {
        let said = message::read(&mut from, MESSAGE_BYTES_MAX);
        let is_over = said.is_err();
        let unix_ns = utc.unix_of_mono(mono_ns());
        if heard.send(AgentEvent { agent, unix_ns, said }).is_err() || is_over {
            return;
        }
    }
}

/// Answers to a greeting, and a plan, take no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An agent answers several questions a second: one that is silent for so long is lost.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Questions before the start. The best of them counts, so many are better than one.
const PROBES_BEFORE: usize = 100;
