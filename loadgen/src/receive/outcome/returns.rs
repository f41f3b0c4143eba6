//! The results of sockets that reconnected or joined late. Must not know sockets.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::receive::histograms::{SignedHistogram, merge_some};
use crate::receive::outcome::counts::merge_counts;

/// The results of sockets that reconnected or joined late.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Returns {
    /// Disconnects on purpose, in order or cut off.
    pub left: u64,
    /// Times a socket reconnected or joined.
    pub came: u64,
    /// Times a socket was cut off against its will and had to go on where it was.
    #[serde(default)]
    pub interrupted: u64,
    /// Times such a socket was connected again.
    #[serde(default)]
    pub resumed: u64,
    /// Sockets that were still absent at the end after an attempt.
    pub shut_out: u64,
    /// Topics of reconnected sockets without any frame, although one was due a second or more after
    /// the socket had connected.
    pub unserved: u64,
    /// Failed attempts by kind, including those that a later attempt made good.
    pub errors: BTreeMap<String, u64>,
    /// From the disconnect (or the first attempt of a socket that joins) to the first frame, ns;
    /// `None` until there is one, because it is large.
    pub first_frame: Option<Box<SignedHistogram>>,
    /// The same until every topic of the socket has delivered a frame, ns.
    #[serde(default)]
    pub all_topics: Option<Box<SignedHistogram>>,
}

impl Returns {
    /// Whether any socket disconnected or joined.
    pub fn is_empty(&self) -> bool {
        self.left + self.came + self.shut_out + self.interrupted == 0
    }

    /// Records how long a socket has waited for its first frame, ns.
    pub fn note_first_frame(&mut self, waited_ns: i64) {
        self.first_frame.get_or_insert_default().record(waited_ns);
    }

    /// Notes how long a socket has waited until every topic had delivered a frame, ns.
    pub fn note_all_topics(&mut self, waited_ns: i64) {
        self.all_topics.get_or_insert_default().record(waited_ns);
    }

    /// Adds what another thread saw.
    pub fn merge(&mut self, other: &Returns) {
        self.left += other.left;
        self.came += other.came;
        self.interrupted += other.interrupted;
        self.resumed += other.resumed;
        self.shut_out += other.shut_out;
        self.unserved += other.unserved;
        merge_counts(&mut self.errors, &other.errors);
        merge_some(&mut self.first_frame, other.first_frame.as_deref());
        merge_some(&mut self.all_topics, other.all_topics.as_deref());
    }
}
