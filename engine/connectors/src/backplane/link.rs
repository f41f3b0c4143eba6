//! What a back-plane needs of an engine, in each mode. Each kind of engine implements it. Must not
//! know what batches hold.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use gridcast::feed::positions::SEQUENCE_MAX;

use crate::backplane::sender::Outgoing;
use crate::bridge::supervisor::SessionError;

/// A connection that carries batches to all nodes that listen now.
pub trait RelayLink: Records {
    /// Sends a batch to everybody who follows a shard.
    fn send(&mut self, shard: u16, batch: Bytes) -> impl Future<Output = Result<(), SessionError>>;

    /// The next batch of any shard. May be cancelled.
    fn next(&mut self) -> impl Future<Output = Result<Bytes, SessionError>>;
}

/// The number of a message of a log, where positions can hold it: whoever may write to the engine
/// may have given it any.
#[must_use]
pub fn within_positions(sequence: u64) -> Option<u64> {
    (sequence <= SEQUENCE_MAX).then_some(sequence)
}

/// Why a log cannot be read any further.
#[must_use]
pub fn foreign() -> SessionError {
    let message = format!(
        "the log has messages that are not this program's, or numbers beyond {SEQUENCE_MAX}: \
         choose another backplane.name, or remove it"
    );
    SessionError::new("foreign", message)
}

/// What a log holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first message.
    pub first: u64,
    /// The last; less than the first when there is none.
    pub last: u64,
}

/// A message of a log.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place: dense, from 1.
    pub sequence: u64,
    /// The batch.
    pub bytes: Bytes,
    /// Messages behind it, as far as is known.
    pub pending: u64,
}

/// An append that is under way; it answers the place of the batch.
pub type Appending = Pin<Box<dyn Future<Output = Result<u64, SessionError>>>>;

/// A connection to a log.
pub trait LogLink: Records {
    /// Whether the log drops what is appended twice within minutes, and answers where the first is.
    const DEDUPS: bool;

    /// What the log holds.
    fn bounds(&mut self) -> impl Future<Output = Result<Bounds, SessionError>>;

    /// Begins to read with this message, or the first after it.
    fn read_from(&mut self, sequence: u64) -> impl Future<Output = Result<(), SessionError>>;

    /// The next message. May be cancelled.
    fn next(&mut self) -> impl Future<Output = Result<Stored, SessionError>>;

    /// Appends a batch under its id.
    fn append(&mut self, batch: Outgoing) -> Appending;

    /// Messages up to this one may be removed from the log.
    fn trim(&mut self, sequence: u64) -> impl Future<Output = Result<(), SessionError>>;
}

/// Where the record of a domain is kept.
pub trait Records {
    /// The text that describes the domain; none when nobody has written it.
    fn record(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, SessionError>>;

    /// Writes it, if it still is `old`. Answers whether it was.
    fn replace_record(
        &mut self,
        old: Option<&[u8]>,
        new: &str,
    ) -> impl Future<Output = Result<bool, SessionError>>;
}
