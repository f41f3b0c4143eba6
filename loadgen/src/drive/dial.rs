//! Opens one socket and waits, with bounded retries, until it is upgraded and its server allows
//! publishing. For publishers and the recorder, which are few. It blocks, so it must not be used
//! while a run measures.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::codec::dialect::broker::{Broker, ReadResult};
use crate::codec::dialect::protocol::TextPayload;
use crate::codec::handshake;
use crate::codec::handshake::{Offer, UpgradeError};
use crate::codec::memo::Memo;
use crate::drive::connection::Connection;
use crate::drive::run_state::RunState;
use crate::os::socket;
use crate::os::tls::TlsClient;
use crate::time::clock::mono_ns;
use crate::time::units::SECOND_NS;

/// Connects and upgrades; the connection keeps the bytes that follow the response.
pub fn upgrade(
    target: SocketAddr,
    tls: Option<&TlsClient>,
    offer: &Offer<'_>,
) -> Result<Connection, String> {
    let mut reason = String::new();
    for backoff in BACKOFFS {
        match attempt(target, tls, offer) {
            Ok(connection) => return Ok(connection),
            Err(Failure::Final(why)) => return Err(why),
            Err(Failure::Passing(why)) => reason = why,
        }
        std::thread::sleep(backoff);
    }
    Err(reason)
}

enum Failure {
    /// The server refused.
    Final(String),
    /// A failure that may pass, so a retry makes sense.
    Passing(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Passing(socket::failure_name(&error).to_string())
    }
}

fn attempt(
    target: SocketAddr,
    tls: Option<&TlsClient>,
    offer: &Offer<'_>,
) -> Result<Connection, Failure> {
    let deadline_ns = mono_ns() + ATTEMPT_NS_MAX;
    let stream = socket::connect(target, None, None)?;
    let mut connection = Connection::encrypted(stream, tls)?;
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

/// Sends the opening frames of a protocol, and reads until the server lets the publisher in.
///
/// # Errors
/// Why the server does not.
pub fn log_in(
    run_state: &RunState<'_>,
    connection: &mut Connection,
    (mut broker, opening): (Broker, Vec<u8>),
) -> Result<Broker, String> {
    let deadline_ns = mono_ns() + ATTEMPT_NS_MAX;
    try_log_in(run_state, connection, &mut broker, &opening, deadline_ns).map_err(|failure| {
        match failure {
            Failure::Final(why) | Failure::Passing(why) => why,
        }
    })?;
    Ok(broker)
}

fn try_log_in(
    run_state: &RunState<'_>,
    connection: &mut Connection,
    broker: &mut Broker,
    opening: &[u8],
    deadline_ns: u64,
) -> Result<(), Failure> {
    connection.send(opening)?;
    if broker.is_confirmed() {
        return Ok(());
    }
    let mut poll = Poll::new()?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(connection.link.socket_mut(), Token(0), interest)?;
    let mut reader = MessageReader::new(run_state.message_bytes_max());
    // Bytes that came with the HTTP response are handled first.
    let kept = connection.kept().to_vec();
    reader.on_bytes(connection, broker, &kept)?;
    wait(&mut poll, deadline_ns, || reader.read_until_confirmed(connection, broker))?;
    poll.registry().deregister(connection.link.socket_mut())?;
    Ok(())
}

/// What is needed to handle the server's messages.
struct MessageReader {
    buffer: Vec<u8>,
    texts: Memo<TextPayload>,
    message_bytes_max: usize,
}

impl MessageReader {
    fn new(message_bytes_max: usize) -> MessageReader {
        let buffer = vec![0; ANSWER_BYTES_MAX.max(2 * message_bytes_max)];
        MessageReader { buffer, texts: Memo::of_texts(0), message_bytes_max }
    }

    /// Reads until nothing is left, or until the broker has confirmed.
    fn read_until_confirmed(
        &mut self,
        connection: &mut Connection,
        broker: &mut Broker,
    ) -> Result<Option<()>, Failure> {
        connection.flush();
        while !broker.is_confirmed() {
            let filled = connection.fill(&mut self.buffer, usize::MAX).map_err(Failure::Final)?;
            let Some(filled) = filled else { return Ok(None) };
            let bytes = self.buffer.get(..filled.total).unwrap_or_default().to_vec();
            self.on_bytes(connection, broker, &bytes)?;
        }
        Ok(Some(()))
    }

    fn on_bytes(
        &mut self,
        connection: &mut Connection,
        broker: &mut Broker,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let (texts, message_bytes_max) = (&mut self.texts, self.message_bytes_max);
        let (now_ns, inflater) = (mono_ns(), &mut None);
        let read_result = ReadResult { bytes, message_bytes_max, now_ns, texts, inflater };
        let mut pongs = Vec::new();
        broker
            .on_bytes(connection.scanner(), read_result, &mut pongs, |_| ())
            .map_err(Failure::Final)?;
        Ok(connection.send(&pongs)?)
    }
}

/// Tries `step` at once and after every event, until it returns a result.
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

/// Reads until the response is complete; the bytes after it are kept.
fn read_answer(connection: &mut Connection, offer: &Offer<'_>) -> Result<Option<()>, Failure> {
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    connection.flush();
    loop {
        let filled = connection.fill(&mut buffer, usize::MAX).map_err(Failure::Passing)?;
        let Some(filled) = filled else { return Ok(None) };
        let bytes = buffer.get(..filled.total).unwrap_or_default();
        let refused = |error: UpgradeError| {
            let said =
                handshake::refusal_text(bytes).map_or(String::new(), |words| format!(": {words}"));
            Failure::Final(format!("{error}{said}"))
        };
        match offer.check(bytes).map_err(refused)? {
            Some(answer) => {
                connection.keep(bytes.get(answer.head_bytes..).unwrap_or_default());
                return Ok(Some(()));
            }
            None => connection.keep(bytes),
        }
    }
}

/// Twice the longest head, so a response that fills it has been rejected before.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const BACKOFFS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::ZERO];
const ATTEMPT_NS_MAX: u64 = 5 * SECOND_NS;
