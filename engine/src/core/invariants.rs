//! What must hold between two turns. Looks at every connection, so only simulations ask. Must not
//! change anything.

use std::collections::HashSet;

use crate::core::Core;
use crate::core::conn::Conn;
use crate::core::flags::Flags;
use crate::core::wheel::Tick;
use crate::delivery::flush::FlushState;
use crate::delivery::subscriptions::Subscription;
use crate::delivery::sweep::Member;
use crate::net::backend::Backend;

/// The queues of a core, to be looked up in.
struct Queues {
    ready: HashSet<u32>,
    marked: HashSet<u32>,
    readable: HashSet<u32>,
    paced: HashSet<u32>,
    answered: HashSet<u32>,
    due: HashSet<(u32, Tick)>,
}

impl<B: Backend> Core<B> {
    /// What does not hold although it must; none while all is well.
    #[must_use]
    pub fn broken_invariant(&self) -> Option<String> {
        let queues = self.queues();
        self.conns.iter().find_map(|(key, conn)| {
            let broken = self.broken_of(key as u32, conn, &queues)?;
            Some(format!("core {}, connection {key}: {broken}: {conn:?}", self.index))
        })
    }

    /// The connections that an event has to bring up, because they can take bytes again.
    pub fn awaits_room(&self) -> impl Iterator<Item = u32> {
        let blocked = |conn: &Conn<B::Stream>| conn.delivery.state() == FlushState::Blocked;
        let is_ready = |conn: &Conn<B::Stream>| conn.flags.contains(Flags::READY);
        let waits = self.conns.iter().filter(move |(_, conn)| blocked(conn) && !is_ready(conn));
        waits.map(|(key, _)| key as u32)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    fn queues(&self) -> Queues {
        let newcomers = self.newcomers.handshakes.iter().chain(&self.newcomers.others);
        Queues {
            ready: self.ready.iter().copied().collect(),
            marked: self.marked.iter().filter_map(|marked| marked.conn()).collect(),
            readable: self.readable.iter().chain(newcomers).copied().collect(),
            paced: self.paced.iter().chain(&self.next_turn).copied().collect(),
            answered: self.answered.iter().copied().collect(),
            due: self.due.iter().copied().collect(),
        }
    }

    fn broken_of(&self, key: u32, conn: &Conn<B::Stream>, queues: &Queues) -> Option<&'static str> {
        let (is, state) = (|flag| conn.flags.contains(flag), conn.delivery.state());
        let is_flushed = conn.flags.intersects(Flags::MARKED | Flags::READY);
        let caught_up = state == FlushState::CaughtUp;
        let is_due = queues.due.contains(&(key, conn.due));
        let is_answered = queues.answered.contains(&key);
        let rules = [
            (!is(Flags::READY) || queues.ready.contains(&key), "said to be queued for a flush"),
            (!is(Flags::MARKED) || queues.marked.contains(&key), "said to be marked"),
            (
                !is(Flags::READABLE) || queues.readable.contains(&key),
                "said to be queued for a read",
            ),
            (!is(Flags::PACED) || queues.paced.contains(&key), "said to be paced"),
            (state != FlushState::Ready || is(Flags::READY), "ready, and nobody comes back to it"),
            (!caught_up || !conn.has_unsent() || is_flushed, "bytes are stuck"),
            (!caught_up || self.is_followed_up(conn), "behind, and no sweep is under way"),
            (!caught_up || !is(Flags::READ_HELD) || is_answered, "caught up and never read again"),
            (!caught_up || !conn.delivery.lags(), "caught up and lagging"),
            (conn.due > self.wheel.now() || is_due, "no deadline will come"),
            (self.are_members(key, conn), "subscriptions and members do not know each other"),
        ];
        rules.iter().find(|(holds, _)| !holds).map(|(_, broken)| *broken)
    }

    /// A connection that is behind is going to be visited.
    fn is_followed_up(&self, conn: &Conn<B::Stream>) -> bool {
        let heads = |lane: u32| self.lanes.reader(lane).head().pos;
        let mut subscriptions = conn.delivery.subscriptions().iter();
        let is_left = |own: &Subscription| !self.lanes.is_due(own.lane);
        let is_behind =
            subscriptions.any(|own| own.cursor.pos() != heads(own.lane) && is_left(own));
        !is_behind || conn.flags.contains(Flags::MARKED)
    }

    fn are_members(&self, key: u32, conn: &Conn<B::Stream>) -> bool {
        conn.delivery.subscriptions().iter().enumerate().all(|(index, own)| {
            let member = self.lanes.members(own.lane).get(own.member as usize);
            member == Some(&Member { conn: key, subscription: index as u32 })
        })
    }
}
