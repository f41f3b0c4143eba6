//! Clients that have more than this node: another node of the log was faster. Owns for how long is
//! waited until this node has as much, and what is told after that: the log never gave such a
//! position. Must not place cursors (that is `roles`).

use crate::core::Core;
use crate::delivery::sweep::Member;
use crate::feed::epoch::Position;
use crate::net::backend::Backend;

/// How long a client is waited for that claims more than this node has, while the log answers: a
/// node reads what there is within moments.
const AHEAD_NS_MAX: u64 = 10_000_000_000;
/// Members of a lane that are given up in one tick.
const GIVEN_UP_PER_TICK: usize = 256;

impl<B: Backend> Core<B> {
    /// Has a connection that just joined a lane get only what comes behind `position`.
    pub(crate) fn begin_behind(&mut self, key: u32, lane: u32, position: Position) {
        let now_ns = self.now_ns();
        self.lanes.begin_behind(lane, key, position, now_ns);
    }

    /// Waits no longer for those who claim a position that the log does not come to; once a tick.
    /// While it does not answer, this node cannot know.
    pub(crate) fn give_up_ahead(&mut self) {
        let now_ns = self.now_ns();
        if !self.shared.submission.is_ready(now_ns) {
            self.log_silent_ns = now_ns;
        }
        let Some(since_ns) = now_ns.checked_sub(AHEAD_NS_MAX) else { return };
        if self.log_silent_ns > since_ns {
            return;
        }
        for (lane, member) in self.lanes.overdue(since_ns, GIVEN_UP_PER_TICK) {
            self.give_up(lane, member);
        }
    }

    /// What it gets from now on it gets as one that comes from another epoch.
    fn give_up(&mut self, lane: u32, Member { conn: key, subscription }: Member) {
        let Some(conn) = self.conns.get(key as usize) else { return };
        let own = conn.delivery.subscriptions().get(subscription as usize);
        if let Some(own) = own.filter(|own| own.lane == lane) {
            let (lag, ordinal) = (own.lag, own.cursor.ordinal);
            let gap = self.lanes.feed(lane).gap_of_epoch(ordinal);
            if conn.delivery.only_waits() {
                return self.end_wait_for_next(key, Some(gap));
            }
            self.tell_gap(key, lane, lag, gap);
        }
    }
}
