//! A published message: its bytes, where it came from, and where it stands in a feed. Must not know
//! how it is encoded.

use std::sync::Arc;

use crate::feed::epoch::{Epoch, Position};
use crate::feed::source::Source;
use crate::feed::topic::Pattern;
use crate::frame::Kind;

/// A published message, before any encoding.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Text or binary, as published.
    pub kind: Kind,
    /// The publisher's bytes.
    pub payload: &'a [u8],
    /// Which way it came in.
    pub source: Source,
}

impl<'a> Message<'a> {
    /// One that a client published.
    #[must_use]
    pub const fn of_client(kind: Kind, payload: &'a [u8]) -> Self {
        Self { kind, payload, source: Source::CLIENTS }
    }
}

/// Where and when a message was published: the same in every feed that repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its place in its own topic.
    pub position: Position,
    /// The engine's clock, ns.
    pub published_ns: u64,
}

/// What a frame says about where it came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// The topic it was published to.
    pub topic: Arc<str>,
    /// The pattern that it belongs to here, where it is a pattern that is followed: who follows the
    /// topic as well tells the two by it.
    pub pattern: Option<Pattern>,
    /// The number that stands for this topic, in this feed, in binary envelopes. Never used twice
    /// in the life of an engine.
    pub number: u64,
}

/// Where a message stands in its feed.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The feed's incarnation.
    pub epoch: Epoch,
    /// The message's number in the feed, dense, which never leaves the process.
    pub ordinal: u64,
    /// Its position: what clients see.
    pub seq: u64,
    /// Its topic.
    pub origin: &'a Arc<Origin>,
}
