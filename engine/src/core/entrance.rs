//! An entrance of a core: for whom it is, and how far accepting from it has come. Must not decide
//! who is admitted (that is `accept`).

use std::io;

use crate::core::wheel::Tick;
use crate::http::route::Door;

/// How long accepting is suspended after it failed for want of descriptors or memory.
const ACCEPT_REST_TICKS: Tick = 2;

/// Whether connections wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    /// The kernel will say when there are.
    Waiting,
    /// There may be more.
    More,
    /// Not before this tick: the machine had no room for one.
    Resting(Tick),
    /// Not before a connection of this core ends: its descriptors are used up, the reserve too.
    Full,
}

impl Accepting {
    /// What an error of `accept(2)`, or of taking in what it gave, says of those who wait: what
    /// came with one connection is over with it; for want of descriptors or memory all must wait.
    pub(crate) fn after(error: &io::Error, now: Tick) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::WouldBlock => Self::Waiting,
            Kind::Interrupted | Kind::ConnectionAborted | Kind::ConnectionReset => Self::More,
            Kind::NetworkDown | Kind::NetworkUnreachable | Kind::HostUnreachable => Self::More,
            _ => Self::Resting(now + ACCEPT_REST_TICKS),
        }
    }
}

/// One place where connections come in.
#[derive(Debug)]
pub struct Entrance {
    pub(crate) door: Door,
    pub(crate) accepting: Accepting,
}

impl Entrance {
    /// One where nobody was looked for yet.
    pub fn new(door: Door) -> Self {
        Self { door, accepting: Accepting::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn accepting_rests_when_the_machine_has_no_room_and_only_then() {
        let after = |errno: Errno| Accepting::after(&errno.into(), 10);
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert_eq!(after(errno), Accepting::Resting(10 + ACCEPT_REST_TICKS), "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR, Errno::HOSTUNREACH] {
            assert_eq!(after(errno), Accepting::More, "{errno}: the next one may be fine");
        }
        assert_eq!(after(Errno::AGAIN), Accepting::Waiting);
    }
}
