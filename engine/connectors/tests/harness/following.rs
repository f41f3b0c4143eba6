//! What an engine publishes under a pattern, read in this process. Owns how the next message is
//! waited for. Must not know what a test expects.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use gridcast::engine::follower::Follower;
use gridcast::engine::handle::Handle;
use gridcast::frame::Kind;

use super::DEADLINE;
use super::bell::Bell;

/// See the file header.
pub struct Following {
    follower: Follower,
    rung: Receiver<()>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    pub topic: String,
    pub kind: Kind,
    pub payload: Vec<u8>,
}

impl Came {
    /// Its payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }
}

impl Following {
    /// Follows a topic or pattern from now on.
    pub fn new(handle: &Handle, target: &str) -> Self {
        let (bell, rung) = Bell::new();
        let follower = handle.follow(&target.parse().unwrap(), None, bell).unwrap();
        Self { follower, rung }
    }

    /// The next message.
    pub fn next(&mut self) -> Came {
        self.next_within(DEADLINE).expect("a message in time")
    }

    /// The next message; none where it takes longer.
    pub fn next_within(&mut self, time: Duration) -> Option<Came> {
        loop {
            if let Some(message) = self.now() {
                return Some(message);
            }
            self.rung.recv_timeout(time).ok()?;
        }
    }

    /// The next message, if there is one now.
    pub fn now(&mut self) -> Option<Came> {
        let message = self.follower.next()?;
        let (topic, payload) = (message.topic.to_owned(), message.payload.to_vec());
        Some(Came { topic, kind: message.kind, payload })
    }

    /// Messages that were no longer retained when they were to be read.
    pub fn take_missed(&mut self) -> u64 {
        self.follower.take_missed()
    }
}
