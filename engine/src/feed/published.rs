//! The answer to a publish, or why there is none. Must not know who gave it.

use crate::delivery::doorbell::Behind;
use crate::feed::epoch::Epoch;

/// The answer to a publish.
#[derive(Clone, Debug)]
pub struct Published {
    /// The numbering it belongs to.
    pub epoch: Epoch,
    /// The position the message got.
    pub seq: u64,
    /// Subscribers it is for, those of matching patterns included.
    pub subscribers: u64,
    /// Encodings made of it, in the topic and in every pattern that repeats it.
    pub encodes: u32,
    /// How often something was deflated for them.
    pub deflates: u32,
    /// A core that is so far behind that publishers should wait for it before the next message.
    pub behind: Option<Behind>,
    /// The feed had it already: a log brought it again.
    pub is_repeated: bool,
}

impl Published {
    /// Adds what a feed that repeats the message made of it.
    pub fn add(&mut self, repeated: Self) {
        self.subscribers += repeated.subscribers;
        self.encodes += repeated.encodes;
        self.deflates += repeated.deflates;
        self.behind = self.behind.take().or(repeated.behind);
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The feed was retired since it was looked up; look it up again.
    #[error("the feed was retired: look it up again")]
    Closed,
    /// The log budget of the engine is used up.
    #[error("the engine's log memory is used up (memory.log_bytes_max)")]
    OverBudget,
}
