//! Opening one socket and waiting for it, with bounded retries: for publishers, which are few.
//! Must not be used once a run measures.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::clock::{SECOND_NS, mono_ns};
use crate::connection::Connection;
use crate::handshake::Offer;
use crate::socket;

/// Connects and upgrades; the connection keeps what the server sent behind its answer.
pub fn upgrade(target: SocketAddr, offer: &Offer<'_>) -> Result<Connection, String> {
    let mut reason = String::new();
    for backoff in BACKOFFS {
        match attempt(target, offer) {
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

fn attempt(target: SocketAddr, offer: &Offer<'_>) -> Result<Connection, Failure> {
    let deadline_ns = mono_ns() + ATTEMPT_NS_MAX;
    let mut stream = socket::connect(target, None, None)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    wait(&mut poll, deadline_ns, || Ok(socket::is_connected(&stream)?.then_some(())))?;
    stream.write_all(offer.request().as_bytes())?;
    let mut answer = Vec::new();
    let head = wait(&mut poll, deadline_ns, || read_answer(&mut stream, offer, &mut answer))?;
    poll.registry().deregister(&mut stream)?;
    let mut connection = Connection::new(stream);
    connection.keep(answer.get(head..).unwrap_or_default());
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

/// Where frames start in the answer, once its head is complete.
fn read_answer(
    stream: &mut TcpStream,
    offer: &Offer<'_>,
    answer: &mut Vec<u8>,
) -> Result<Option<usize>, Failure> {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Err(Failure::Passing("eof".to_string())),
            Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        match offer.check(answer).map_err(|error| Failure::Final(error.to_string()))? {
            Some(good) => return Ok(Some(good.head_bytes)),
            None => continue,
        }
    }
}

const BACKOFFS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::ZERO];
const ATTEMPT_NS_MAX: u64 = 5 * SECOND_NS;
