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
    /// What they took too much.
    pub overdraft: Overdraft,
}

/// Time that was taken beyond a part of some turns: it is paid back out of later parts.
#[derive(Debug, Default)]
pub struct Overdraft {
    owed_ns: u64,
}

impl Overdraft {
    /// What is left of a part of `part_ns`; none while all of it is owed.
    pub fn left_of(&mut self, part_ns: u64) -> Option<u64> {
        let paid_ns = self.owed_ns.min(part_ns);
        self.owed_ns -= paid_ns;
        (paid_ns < part_ns).then_some(part_ns - paid_ns)
    }

    /// Owes `ns` more.
    pub fn add(&mut self, ns: u64) {
        self.owed_ns = self.owed_ns.saturating_add(ns);
    }

    /// Owes nothing any more.
    pub fn clear(&mut self) {
        self.owed_ns = 0;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_too_much_is_left_out_of_later_parts() {
        let mut overdraft = Overdraft::default();
        assert_eq!(overdraft.left_of(150), Some(150));
        overdraft.add(400);
        let parts: Vec<_> = (0..4).map(|_| overdraft.left_of(150)).collect();
        assert_eq!(parts, [None, None, Some(50), Some(150)]);
        overdraft.add(400);
        overdraft.clear();
        assert_eq!(overdraft.left_of(150), Some(150));
    }
}
