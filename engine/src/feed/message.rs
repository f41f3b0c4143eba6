//! A published message: its bytes, where it came from, and where it stands in a feed. Must not know
//! how it is encoded.

use std::sync::Arc;

use crate::feed::epoch::Epoch;
use crate::feed::topic::Pattern;
use crate::frame::Kind;

/// A published message, before any encoding.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Text or binary, as published.
    pub kind: Kind,
    /// The publisher's bytes.
    pub payload: &'a [u8],
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
    /// The message's number.
    pub seq: u64,
    /// Its topic.
    pub origin: &'a Arc<Origin>,
}
