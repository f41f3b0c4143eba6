//! What is so of a connection, as flags: two bytes, because each of many hundred thousand has them.
//! Owns the names. Must not act on any of them.

bitflags::bitflags! {
    /// Which queues of its core a connection stands in, so that it stands in each at most once,
    /// what keeps it from being read, and what it has agreed to.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u16 {
        /// Among those to be flushed: no event will come, or it has.
        const READY = 1 << 0;
        /// Among those to be flushed once all that moved is known.
        const MARKED = 1 << 1;
        /// Among those to be read although no event will come.
        const READABLE = 1 << 2;
        /// The peer has sent all it will; read to the end.
        const READ_CLOSED = 1 << 3;
        /// Not read while more of its answers are unsent than may be.
        const READ_HELD = 1 << 4;
        /// Not read until subscribers have what was published, or until others had their turn.
        const PACED = 1 << 5;
        /// Not read until a log has acknowledged what it published.
        const AWAITS_LOG = 1 << 6;
        /// The end of its input was read: nothing more will come, but what came may still wait.
        const ENDED = 1 << 7;
        /// A ping is out.
        const PINGED = 1 << 8;
        /// Its last read, of more than a request, cost little.
        const PROVEN = 1 << 9;
        /// It was answered, and may send another request.
        const KEPT = 1 << 10;
        /// Spoken for by a balancer, whose PROXY header has yet to come.
        const ARRIVING = 1 << 11;
        /// In the reserve of descriptors: only a probe is served.
        const CROWDED = 1 << 12;
        /// Its messages may be deflated.
        const INFLATES = 1 << 13;
        /// These may refer to earlier ones.
        const KEEPS_CONTEXT = 1 << 14;
        /// Its source is what a trusted proxy said, and may say otherwise with each request.
        const IS_FORWARDED = 1 << 15;
        /// It is not read, whatever has come.
        const HELD = Self::READ_HELD.bits() | Self::PACED.bits() | Self::AWAITS_LOG.bits();
    }
}

impl Flags {
    /// Inserts `flag`; true when it was not there.
    pub fn enter(&mut self, flag: Self) -> bool {
        let is_new = !self.contains(flag);
        self.insert(flag);
        is_new
    }

    /// Removes `flag`; true when it was there.
    pub fn leave(&mut self, flag: Self) -> bool {
        let was_there = self.contains(flag);
        self.remove(flag);
        was_there
    }

    /// Inserts `flag` if that is so; it stays if not.
    pub fn insert_if(&mut self, flag: Self, is_so: bool) {
        if is_so {
            self.insert(flag);
        }
    }
}
