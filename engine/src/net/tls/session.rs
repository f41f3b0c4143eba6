//! A TLS session on a socket: deciphers what comes, and enciphers straight from the slices of the
//! lanes. Owns the ciphertext that is not whole yet and the ciphertext that the kernel has not
//! taken, each bounded and held only while there is any. Must not know what the plaintext means.
//!
//! # What is held back
//! A write takes plaintext part by part, each of a few records that leave in one call, and stops
//! when the kernel stops: at most one part of ciphertext waits, and while it does no plaintext is
//! taken. Plaintext that was taken counts as sent, so whoever flushes must
//! [`push`](TlsStream::push) until that part is out. For a peer that is slow, parts are one record.
//! A read deciphers all it can: no plaintext stays in the session, where no event would announce
//! it.
//!
//! The session is driven by rustls's interface without buffers, because an idle connection then
//! holds none: the buffers are the core's, in [`Scratch`].

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, InvalidMessage, ServerConfig};

use crate::metrics::TlsFailure;
use crate::net::backend::Stream;
use crate::net::reading::Reading;

/// Plaintext of one record: the most that TLS allows.
const RECORD_BYTES: usize = 16 << 10;
/// Plaintext enciphered for one call of the kernel: a call costs about as much as enciphering a
/// record, and what the kernel does not take of this is held for each peer that stalls.
const PART_BYTES: usize = 4 * RECORD_BYTES;
/// What enciphering may add to that: headers, nonces, tags, content types, and a key update.
const SEALED_BYTES: usize = PART_BYTES + (1 << 10);
/// Ciphertext read at once.
const READ_BYTES: usize = 64 << 10;
/// Ciphertext kept until it is whole: a record, or a client's certificates in a few. Beyond it the
/// peer is not one to wait for.
const INCOMING_BYTES_MAX: usize = 32 << 10;
/// An alert with all that enciphering adds to it.
const ALERT_BYTES_MAX: usize = 256;

/// See the file header.
pub struct TlsStream<S> {
    socket: S,
    session: UnbufferedServerConnection,
    /// Ciphertext that is not whole yet.
    incoming: Vec<u8>,
    /// Ciphertext that the kernel has not taken.
    outgoing: Vec<u8>,
    /// The kernel has refused some since the last write that it took whole.
    is_slow: bool,
    /// The end of what is sent was said.
    has_left: bool,
    failure: Option<TlsFailure>,
}

/// A session that may encipher.
type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// Buffers that all connections of a core share; none while there is no TLS.
#[derive(Debug, Default)]
pub struct Scratch {
    received: Vec<u8>,
    gathered: Vec<u8>,
    sealed: Vec<u8>,
}

/// How far the bytes of one read were processed.
#[derive(Default)]
struct Progress {
    consumed: usize,
    bytes: usize,
    ended: bool,
}

impl<S: Stream> TlsStream<S> {
    /// A session that waits for the client to begin.
    ///
    /// # Errors
    /// When the settings allow none.
    pub fn new(socket: S, config: Arc<ServerConfig>) -> Result<Self, Error> {
        let session = UnbufferedServerConnection::new(config)?;
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        let (is_slow, has_left) = (false, false);
        Ok(Self { socket, session, incoming, outgoing, is_slow, has_left, failure: None })
    }

    /// As [`Transport::read`](crate::net::transport::Transport::read). What the session itself has
    /// to say goes out at once, as far as the kernel takes it.
    ///
    /// # Errors
    /// As `read(2)`; `InvalidData` when the session is broken.
    pub fn read(&mut self, plain: &mut [u8], scratch: &mut Scratch) -> io::Result<Reading> {
        let kept = self.incoming.len();
        let received = scratch.received();
        let count = self.socket.read(&mut received[kept..kept + READ_BYTES])?;
        if count == 0 {
            return Ok(Reading { ended: true, ..Reading::default() });
        }
        received[..kept].copy_from_slice(&self.incoming);
        let (was_handshaking, had_answered) = (self.is_handshaking(), self.has_answered());
        let processed = self.process(&mut received[..kept + count], plain);
        let progress = processed.map_err(|error| self.broke(error, received))?;
        let rest = received.get(progress.consumed..kept + count).unwrap_or_default();
        if rest.len() > INCOMING_BYTES_MAX && !progress.ended {
            return Err(self.broke(InvalidMessage::HandshakePayloadTooLarge.into(), received));
        }
        self.incoming = if progress.ended { Vec::new() } else { rest.to_vec() };
        self.push()?;
        Ok(Reading {
            bytes: progress.bytes,
            filled: count == READ_BYTES,
            ended: progress.ended,
            answered: !had_answered && self.has_answered(),
            opened: was_handshaking && !self.is_handshaking(),
        })
    }

    /// As [`Socket::write`](crate::delivery::flush::Socket::write): takes less than it is given
    /// only when the kernel did, and holds at most a part back then.
    ///
    /// # Errors
    /// As `write(2)`; `WouldBlock` also before the handshake is done.
    pub fn write(&mut self, slices: &[IoSlice<'_>], scratch: &mut Scratch) -> io::Result<usize> {
        if self.is_handshaking() || !self.push()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Scratch { gathered, sealed, .. } = scratch;
        sealed.resize(SEALED_BYTES, 0);
        let bytes_max = if self.is_slow { RECORD_BYTES } else { PART_BYTES };
        let mut taken = 0;
        loop {
            let plain = part(slices, taken, bytes_max, gathered);
            if plain.is_empty() {
                self.is_slow = false;
                return Ok(taken);
            }
            let sealed_bytes = self.seal(plain, sealed)?;
            taken += plain.len();
            if !self.send(sealed.get(..sealed_bytes).unwrap_or_default())? {
                return Ok(taken);
            }
        }
    }

    /// Sends what is held back; answers whether all of it is out.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn push(&mut self) -> io::Result<bool> {
        let held = std::mem::take(&mut self.outgoing);
        self.send(&held)
    }

    /// Ends the session in good order, once what was taken is out. False while the kernel has not
    /// taken the end of it: a writable event will follow, and the end is to be
    /// [pushed](Self::push).
    pub fn take_leave(&mut self) -> bool {
        if self.is_handshaking() || self.failure.is_some() {
            return true;
        }
        if self.has_left || !self.outgoing.is_empty() {
            return self.outgoing.is_empty();
        }
        self.has_left = true;
        let mut alert = [0; ALERT_BYTES_MAX];
        let sealed = self.when_open(|traffic| traffic.queue_close_notify(&mut alert));
        // A peer that is gone need not be told.
        let sent = sealed.and_then(|bytes| self.send(alert.get(..bytes).unwrap_or_default()));
        sent.unwrap_or(true)
    }

    /// True until the handshake is done.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// True once the client's first message was answered: that is what costs.
    pub fn has_answered(&self) -> bool {
        self.session.protocol_version().is_some()
    }

    /// What broke the session, if anything did.
    pub fn failure(&self) -> Option<TlsFailure> {
        self.failure
    }

    /// The kernel's socket.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Ciphertext that the kernel has not taken, bytes.
    pub fn held_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Bytes of user memory held, without what rustls keeps of the session.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.incoming.capacity() + self.outgoing.capacity()
    }

    /// Processes what came: plaintext goes to `plain`, answers of the session to `outgoing`.
    fn process(&mut self, cipher: &mut [u8], plain: &mut [u8]) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        loop {
            let rest = cipher.get_mut(progress.consumed..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(rest);
            progress.consumed += discard;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        progress.consumed += record.discard;
                        progress.put(record.payload, plain)?;
                    }
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut self.outgoing)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => progress.ended = true,
                // All is taken in: waiting for more, or for something to say.
                _ => return Ok(progress),
            }
        }
    }

    /// Notes why the session is over, tells the peer as far as it listens, and says it in the words
    /// of a read that failed.
    fn broke(&mut self, error: Error, received: &[u8]) -> io::Error {
        self.failure = Some(classify(&error, received));
        while self.session.wants_write() {
            // Only what is queued is asked for: the bytes that broke it must not be seen again.
            let status = self.session.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(data)) = status.state else { break };
            if encode(data, &mut self.outgoing).is_err() {
                break;
            }
        }
        if self.failure != Some(TlsFailure::NotTls) {
            // It is told if it can be.
            let _ = self.push();
        }
        io::Error::new(ErrorKind::InvalidData, error)
    }

    /// Enciphers `plain` into `sealed`; answers the bytes that made.
    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        self.when_open(|traffic| traffic.encrypt(plain, sealed))
    }

    /// Has `act` encipher something, after what the session itself has to say.
    fn when_open(
        &mut self,
        act: impl FnOnce(&mut Traffic<'_>) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        loop {
            // What is incomplete is shown again: the session counts on finding it there.
            let UnbufferedStatus { discard, state } =
                self.session.process_tls_records(&mut self.incoming);
            let state = state.map_err(io::Error::other)?;
            match state {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let answer = act(&mut traffic).map_err(io::Error::other);
                    self.forget_incoming(discard);
                    return answer;
                }
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, &mut self.outgoing).map_err(io::Error::other)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(ErrorKind::NotConnected.into()),
            }
            self.forget_incoming(discard);
        }
    }

    fn forget_incoming(&mut self, discard: usize) {
        if discard > 0 {
            self.incoming.drain(..discard.min(self.incoming.len()));
        }
    }

    /// Sends `sealed` behind what is held back, and holds back what the kernel does not take.
    /// Answers whether it took all.
    fn send(&mut self, sealed: &[u8]) -> io::Result<bool> {
        if !self.outgoing.is_empty() {
            self.outgoing.extend_from_slice(sealed);
            return self.push();
        }
        let mut left = sealed;
        while !left.is_empty() {
            match self.socket.write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.outgoing = left.to_vec();
                    self.is_slow = true;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .field("incoming_bytes", &self.incoming.len())
            .field("outgoing_bytes", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}

impl Scratch {
    /// Bytes of user memory held.
    pub fn memory_bytes(&self) -> usize {
        self.received.capacity() + self.gathered.capacity() + self.sealed.capacity()
    }

    fn received(&mut self) -> &mut [u8] {
        self.received.resize(INCOMING_BYTES_MAX + READ_BYTES, 0);
        &mut self.received
    }
}

impl Progress {
    fn put(&mut self, payload: &[u8], plain: &mut [u8]) -> Result<(), Error> {
        let end = self.bytes + payload.len();
        // Plaintext is shorter than its ciphertext, so a buffer of that size has room.
        let room = plain.get_mut(self.bytes..end).ok_or(Error::PeerSentOversizedRecord)?;
        room.copy_from_slice(payload);
        self.bytes = end;
        Ok(())
    }
}

/// What follows the first `skip` bytes of `slices`, at most `bytes_max`: where it lies, if that is
/// in one slice, and else gathered.
fn part<'a>(
    slices: &'a [IoSlice<'_>],
    mut skip: usize,
    bytes_max: usize,
    gathered: &'a mut Vec<u8>,
) -> &'a [u8] {
    gathered.clear();
    let mut slices = slices.iter();
    while let Some(slice) = slices.next() {
        let Some(rest) = slice.get(skip..) else {
            skip -= slice.len();
            continue;
        };
        skip = 0;
        let room = bytes_max - gathered.len();
        let fitting = rest.get(..room).unwrap_or(rest);
        let is_all = fitting.len() == room || slices.len() == 0;
        if gathered.is_empty() && is_all {
            return fitting;
        }
        gathered.extend_from_slice(fitting);
    }
    gathered
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    let held = outgoing.len();
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else { return Ok(()) };
    outgoing.resize(held + size.required_size, 0);
    let room = outgoing.get_mut(held..).unwrap_or_default();
    match data.encode(room) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::General(error.to_string())),
    }
}

fn classify(error: &Error, received: &[u8]) -> TlsFailure {
    let is_text = received.first().is_some_and(u8::is_ascii_uppercase);
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) if is_text => TlsFailure::NotTls,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFailure::Incompatible,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsFailure::Certificate,
        Error::AlertReceived(_) => TlsFailure::Refused,
        _ => TlsFailure::Protocol,
    }
}
