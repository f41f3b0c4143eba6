//! Newcomers: whoever has still to be accepted, to finish a TLS handshake, or to send a request or
//! a first message. With them go those who are on their way out, and those whose last read was
//! costly. Owns what all these get of a turn: so much time and no more, so that a storm or flood of
//! them delays those who are being served by that much at most. Must not know what a request means.

use std::thread;

use crate::core::Core;
use crate::metrics::CloseReason;
use crate::net::backend::Backend;

/// Of a turn with nothing to deliver: a frame that is published meanwhile waits no longer.
const IDLE_NS: u64 = 500_000;
/// Of a turn in the midst of a sweep. A slice of it (`flush.sockets_per_slice`) takes about ten
/// times as long, so that a storm makes a sweep longer by a tenth; what it does not get then it
/// gets between two sweeps.
const SWEEPING_NS: u64 = 150_000;

impl<B: Backend> Core<B> {
    /// Serves newcomers for their part of a turn; at least one of each kind. Who works for them in
    /// turn after turn never sleeps, and where cores share a CPU the kernel would let another wait
    /// some milliseconds with its sweep: so this core steps back after each part.
    pub(crate) fn welcome(&mut self) {
        let part_ns = if self.lanes.is_sweeping() { SWEEPING_NS } else { IDLE_NS };
        let end_ns = self.now_ns() + part_ns;
        self.shake_hands(end_ns);
        self.hear(end_ns);
        self.accept(end_ns);
        if !self.lanes.is_sweeping() && self.now_ns() >= end_ns {
            thread::yield_now();
        }
    }

    /// Takes some TLS handshakes a step further: each may cost as much as a hundred writes.
    fn shake_hands(&mut self, end_ns: u64) {
        for _ in 0..self.config.tls.handshakes_per_turn {
            let Some(key) = self.newcomers.handshakes.pop_front() else { return };
            match self.conns.get(key as usize) {
                // Nobody is there any more to be given the costly answer.
                Some(conn) if conn.queued.read_closed && conn.transport.awaits_hello() => {
                    self.end(key, CloseReason::PeerGone);
                }
                _ => {
                    self.read(key);
                }
            }
            if self.now_ns() >= end_ns {
                return;
            }
        }
    }

    fn hear(&mut self, end_ns: u64) {
        let mut now_ns = self.now_ns();
        for _ in 0..self.newcomers.others.len() {
            let Some(key) = self.newcomers.others.pop_front() else { return };
            (_, now_ns) = self.read_timed(key, now_ns);
            if now_ns >= end_ns {
                return;
            }
        }
    }
}
