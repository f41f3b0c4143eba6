//! Newcomers: connections to accept, TLS handshakes, requests and first messages. Hang-ups and
//! connections whose last read was costly share their budget. Owns the time that all of them
//! together get in one turn, so that a flood of them delays established connections by that much at
//! most. Must not know what a request means.

use std::thread;

use crate::core::Core;
use crate::core::flags::Flags;
use crate::core::reading::COSTLY_READ_NS;
use crate::metrics::CloseReason;
use crate::net::backend::Backend;

/// Of a turn with nothing to deliver: a frame that is published meanwhile waits no longer.
const IDLE_NS: u64 = 500_000;
/// Of a turn in the midst of a sweep. A slice of it (`flush.sockets_per_slice`) takes about ten
/// times as long, so that a storm makes a sweep longer by a tenth; what it does not get then it
/// gets between two sweeps.
const SWEEPING_NS: u64 = 150_000;

impl<B: Backend> Core<B> {
    /// Serves newcomers for their part of a turn; at least one of each kind. In the midst of a
    /// sweep what they take beyond it is left out of later parts.
    ///
    /// A core that serves newcomers in every turn never blocks in its poll, so where cores share a
    /// CPU the scheduler takes its time slice away (3 ms measured). It yields after each part.
    pub(crate) fn serve_newcomers(&mut self) {
        let is_sweeping = self.lanes.is_sweeping();
        let part_ns = match is_sweeping {
            true => self.newcomers.overdraft.left_of(SWEEPING_NS),
            false => Some(IDLE_NS),
        };
        let Some(part_ns) = part_ns else { return };
        let end_ns = self.now_ns() + part_ns;
        self.continue_handshakes(end_ns);
        self.read_newcomers(end_ns);
        self.accept(end_ns);
        let now_ns = self.now_ns();
        if is_sweeping {
            return self.newcomers.overdraft.add(now_ns.saturating_sub(end_ns));
        }
        // What they take between two sweeps delays none.
        self.newcomers.overdraft.clear();
        if now_ns >= end_ns {
            thread::yield_now();
        }
    }

    /// Takes some TLS handshakes a step further: each may cost as much as a hundred writes.
    fn continue_handshakes(&mut self, end_ns: u64) {
        for _ in 0..self.config.tls.handshakes_per_turn {
            let Some(key) = self.newcomers.handshakes.pop_front() else { return };
            match self.conns.get(key as usize) {
                // Nobody is there any more to be given the costly answer.
                Some(conn)
                    if conn.flags.contains(Flags::READ_CLOSED) && conn.transport.awaits_hello() =>
                {
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

    /// One read that is costly ends the part: a second would begin just before its end.
    fn read_newcomers(&mut self, end_ns: u64) {
        let mut now_ns = self.now_ns();
        for _ in 0..self.newcomers.others.len() {
            let Some(key) = self.newcomers.others.pop_front() else { return };
            let began_ns = now_ns;
            (_, now_ns) = self.read_timed(key, began_ns);
            if now_ns >= end_ns || now_ns - began_ns >= COSTLY_READ_NS {
                return;
            }
        }
    }
}
