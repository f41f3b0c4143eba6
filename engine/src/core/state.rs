//! State of a core beside its connections: queues of newcomers, progress of a drain and of a count
//! of memory, the level of shedding. Must not act on it: the file that owns the matter does.

use std::collections::VecDeque;

use crate::limits::memory::Level;

/// Those who can be read.
#[derive(Debug, Default)]
pub struct Newcomers {
    /// Their TLS handshake is not done.
    pub handshakes: VecDeque<u32>,
    /// Everybody else.
    pub others: VecDeque<u32>,
}

impl Newcomers {
    /// Queues a connection, behind those that are queued.
    pub fn queue(&mut self, key: u32, is_handshaking: bool) {
        match is_handshaking {
            true => self.handshakes.push_back(key),
            false => self.others.push_back(key),
        }
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.handshakes.is_empty() && self.others.is_empty()
    }
}

/// How far a core's drain has come.
#[derive(Debug)]
pub enum Draining {
    /// The engine does not drain.
    No,
    /// These are still to be closed, of so many.
    Going {
        /// Keys of connections; some may be gone by themselves.
        left: Vec<u32>,
        /// How many there were.
        total: usize,
        /// More should be closed by now than one turn may.
        is_late: bool,
    },
    /// All are closed, or the deadline is over.
    Done,
}

/// A count of the bytes that hang on connections, taken in parts.
#[derive(Debug, Default)]
pub struct Census {
    /// The slot to go on with.
    pub next: usize,
    /// Bytes of the slots before it.
    pub bytes: u64,
}

/// How a core sheds.
#[derive(Debug, Default)]
pub struct Shedding {
    /// The level it is at.
    pub level: Level,
    /// The level that was last logged.
    pub told: Level,
    /// When.
    pub told_in_second: u32,
}
