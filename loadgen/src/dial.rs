//! Opening one socket and waiting for it, with bounded retries: for publishers, which are few.
//! Must not be used once a run measures.

use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::clock::{SECOND_NS, mono_ns};
use crate::connection::Connection;
use crate::handshake::Offer;
use crate::socket;
use crate::stage::Stage;

/// Connects and upgrades; the connection keeps what the server sent behind its answer.
pub fn upgrade(stage: &Stage<'_>, offer: &Offer<'_>) -> Result<Connection, String> {
    let mut reason = String::new();
    for backoff in BACKOFFS {
        match attempt(stage, offer) {
            Ok(connection) => return Ok(connection),
            Err(Failure::Final(why)) => return Err(why),
            Err(Failure::Passing(why)) => reason = why,
        }
        std::thread::sleep(backoff);
    }
    Err(reason)
}

enum Failure {
    /// The server said no.
    Final(String),
    /// It may work later.
    Passing(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Passing(socket::failure_name(&error).to_string())
    }
}

fn attempt(stage: &Stage<'_>, offer: &Offer<'_>) -> Result<Connection, Failure> {
    let deadline_ns = mono_ns() + ATTEMPT_NS_MAX;
    let stream = socket::connect(stage.plan.target, None, None)?;
    let mut connection = Connection::encrypted(stream, stage.tls.as_ref())?;
    let mut poll = Poll::new()?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(connection.link.socket_mut(), Token(0), interest)?;
    let is_connected = || Ok(socket::is_connected(connection.link.socket())?.then_some(()));
    wait(&mut poll, deadline_ns, is_connected)?;
    connection.send(offer.request().as_bytes())?;
    wait(&mut poll, deadline_ns, || read_answer(&mut connection, offer))?;
    poll.registry().deregister(connection.link.socket_mut())?;
    Ok(connection)
}

/// Tries `step` at once and after every event until it answers.
fn wait<T>(
    poll: &mut Poll,
    deadline_ns: u64,
    mut step: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let mut events = Events::with_capacity(4);
    loop {
        if let Some(done) = step()? {
            return Ok(done);
        }
        if mono_ns() >= deadline_ns {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        socket::wait_until(poll, &mut events, deadline_ns)?;
    }
}

/// Reads until the answer is there; what came behind it is kept.
fn read_answer(connection: &mut Connection, offer: &Offer<'_>) -> Result<Option<()>, Failure> {
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    connection.flush();
    loop {
        let filled = connection.fill(&mut buffer, usize::MAX).map_err(Failure::Passing)?;
        let Some(filled) = filled else { return Ok(None) };
        let bytes = buffer.get(..filled.total).unwrap_or_default();
        match offer.check(bytes).map_err(|error| Failure::Final(error.to_string()))? {
            Some(answer) => {
                connection.keep(bytes.get(answer.head_bytes..).unwrap_or_default());
                return Ok(Some(()));
            }
            None => connection.keep(bytes),
        }
    }
}

/// Twice the longest head: an answer that fills it is refused before.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const BACKOFFS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::ZERO];
const ATTEMPT_NS_MAX: u64 = 5 * SECOND_NS;
