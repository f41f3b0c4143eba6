//! Shedding: what is given up, and in which order, when memory for connections runs short. Owns the
//! levels and who is first. Must not measure (that is `deadlines`) or know the words of a close.
//!
//! # The order
//! 1. `Calm`: nothing is given up.
//! 2. `Conflate`, from seven eighths of a budget: whoever lags and may lose frames (`mode=latest`,
//!    or a lag policy of `skip-*`) goes on with the newest frame and is told of the gap.
//! 3. `Disconnect`, from the whole budget: besides, nothing new is taken on, and whoever owes most
//!    is disconnected (4503, or 503) until seven eighths are in use.
//!
//! A level is left only well below where it was entered, so that it does not flutter.

use crate::core::conn::{Closing, Conn, Rest, Role};
use crate::core::wheel::TICKS_PER_S;
use crate::core::{Core, OUTBOX_BYTES_HELD};
use crate::delivery::flush::FlushStats;
use crate::frame::decode::Decoder;
use crate::http::refusal::Refusal;
use crate::http::response::{Exchange, Status};
use crate::metrics::Gate;
use crate::wire::close::{Close, CloseCode};

/// How much is given up. See the file header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Calm,
    /// Frames of those who may lose some.
    Conflate,
    /// Connections.
    Disconnect,
}

/// Bytes in use of one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub held_bytes: u64,
    /// The budget; 0 sets none.
    pub bytes_max: u64,
}

impl Usage {
    /// The share in use, in sixteenths of the budget, rounded down.
    fn sixteenths(self) -> u64 {
        self.held_bytes.saturating_mul(16).checked_div(self.bytes_max).unwrap_or(0)
    }

    /// What must go once connections are ended: all beyond seven eighths.
    fn excess_bytes(self) -> u64 {
        if self.bytes_max == 0 {
            return 0;
        }
        self.held_bytes.saturating_sub(self.bytes_max / 8 * 7)
    }

    /// The part of the excess that is for one holder to give up.
    fn excess_share(self, own_bytes: u64) -> u64 {
        let share = own_bytes as f64 / self.held_bytes.max(1) as f64;
        (self.excess_bytes() as f64 * share.min(1.0)).ceil() as u64
    }
}

impl Level {
    /// The level after this one, for the fullest of all budgets.
    #[must_use]
    pub fn next(self, usages: &[Usage]) -> Self {
        let fullest = usages.iter().map(|usage| usage.sixteenths()).max().unwrap_or(0);
        let entered = match fullest {
            0..14 => Self::Calm,
            14..16 => Self::Conflate,
            _ => Self::Disconnect,
        };
        let kept = match self {
            Self::Disconnect if fullest >= 15 => Self::Disconnect,
            Self::Disconnect | Self::Conflate if fullest >= 12 => Self::Conflate,
            _ => Self::Calm,
        };
        entered.max(kept)
    }
}

/// How a core sheds.
#[derive(Debug, Default)]
pub struct Shedding {
    /// The level it is at.
    pub level: Level,
    told: Level,
    told_in_second: u32,
}

impl Core {
    /// Gives up what the level of the moment asks for; once a tick.
    pub(crate) fn shed(&mut self) {
        let (pending, sockets) = self.shared.memory_in_use(&self.config);
        let before = self.shedding.level;
        let level = before.next(&[pending, sockets]);
        self.tell_level(level, pending, sockets);
        self.shedding.level = level;
        self.metrics.set_shedding(level as u64);
        if level == Level::Calm {
            self.metrics.set_owed_max(0);
            return;
        }
        self.conflate_lagging();
        let owing = self.most_owing();
        self.metrics.set_owed_max(owing.first().map_or(0, |(owed_bytes, _)| *owed_bytes));
        // In the tick before, every core has said how much its first owes.
        if before == Level::Disconnect && level == Level::Disconnect {
            let own_bytes = self.metrics.lagging() * self.config.flush.send_buffer_bytes as u64;
            let pending = pending.excess_share(self.metrics.pending_bytes());
            self.disconnect_until(&owing, [pending, sockets.excess_share(own_bytes)]);
        }
    }

    /// One line a second at most, and none while nothing changes.
    fn tell_level(&mut self, level: Level, pending: Usage, sockets: Usage) {
        let second = self.now / TICKS_PER_S;
        let shedding = &mut self.shedding;
        if level == shedding.told || shedding.told_in_second == second {
            return;
        }
        (shedding.told, shedding.told_in_second) = (level, second);
        let (pending_bytes, socket_bytes) = (pending.held_bytes, sockets.held_bytes);
        tracing::warn!(
            core = self.index,
            ?level,
            pending_bytes,
            socket_bytes,
            "memory for connections"
        );
    }

    fn conflate_lagging(&mut self) {
        let mut stats = FlushStats::default();
        for (_, conn) in &mut self.conns {
            if conn.lagging_since > 0 {
                conn.delivery.shed(&self.lanes, &mut stats);
            }
        }
        self.count(&stats);
    }

    /// Whoever owes less than half of what the first on any core owes is left alone.
    fn disconnect_until(&mut self, owing: &[(u64, u32)], mut excess: [u64; 2]) {
        let socket_bytes = self.config.flush.send_buffer_bytes as u64;
        let owed_bytes_min = self.shared.owed_bytes_max() / 2;
        for &(owed_bytes, key) in owing {
            if excess == [0, 0] || owed_bytes < owed_bytes_min {
                return;
            }
            let Some(conn) = self.conns.get(key as usize) else { continue };
            let socket_bytes = if conn.lagging_since > 0 { socket_bytes } else { 0 };
            let held_bytes = conn.memory_bytes() as u64;
            let frees = [held_bytes, socket_bytes];
            // One that holds nothing of what is short is not ended for it.
            if excess.iter().zip(frees).all(|(&excess, frees)| excess == 0 || frees == 0) {
                continue;
            }
            self.disconnect(key);
            self.metrics.gave_up(held_bytes);
            excess = [0, 1].map(|at: usize| excess[at].saturating_sub(frees[at]));
        }
    }

    /// Those who owe most: what they have not been sent, and what is held for them. The most first.
    fn most_owing(&self) -> Vec<(u64, u32)> {
        let owing = self.conns.iter().filter(|(_, conn)| !matches!(conn.role, Role::Closing(_)));
        let mut owing: Vec<(u64, u32)> = owing
            .map(|(key, conn)| (self.owed_bytes(conn), key as u32))
            .filter(|(owed_bytes, _)| *owed_bytes > 0)
            .collect();
        owing.sort_unstable_by_key(|(owed_bytes, _)| std::cmp::Reverse(*owed_bytes));
        owing.truncate(DISCONNECTS_PER_TICK);
        owing
    }

    fn owed_bytes(&self, conn: &Conn) -> u64 {
        let behind = |lane: u32, pos: u64| self.lanes.reader(lane).head().pos.saturating_sub(pos);
        let held_bytes = conn.memory_bytes() as u64;
        if conn.lagging_since == 0 {
            return held_bytes;
        }
        let subscriptions = conn.delivery.subscriptions().iter();
        held_bytes + subscriptions.map(|own| behind(own.lane, own.cursor.pos())).sum::<u64>()
    }

    fn disconnect(&mut self, key: u32) {
        self.metrics.turned_away(Gate::Memory);
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if let Role::Request(posting) = &mut conn.role {
            let exchange = posting.as_mut().map(|posting| std::mem::take(&mut posting.exchange));
            let exchange = exchange.unwrap_or_else(Exchange::default);
            self.refuse_request(key, &Refusal::memory_is_short(), &exchange);
        } else {
            self.close(key, &Close::new(CloseCode::OverCapacity, REASON));
        }
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        // What it began to send is given up, so that nothing it sends can be understood.
        conn.rest = Rest::default();
        conn.decoder = Decoder::default();
        conn.role = Role::Closing(Closing::AwaitEnd);
        if conn.delivery.outbox().pending().len() > OUTBOX_BYTES_HELD {
            self.cut(key);
        }
    }
}

impl Refusal {
    /// 503, for want of memory.
    #[must_use]
    pub fn memory_is_short() -> Self {
        Self::new(Status::Unavailable, REASON).with_header("Retry-After", "5")
    }
}

const REASON: &str = "memory for connections is short (memory.pending_bytes_max)";

/// Connections that one core ends in one tick: enough for 640 a second, few enough for one turn.
const DISCONNECTS_PER_TICK: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(held_bytes: u64) -> Usage {
        Usage { held_bytes, bytes_max: 1600 }
    }

    #[test]
    fn levels_are_entered_in_order_and_left_later() {
        let mut level = Level::Calm;
        for (held, expected) in [
            (1399, Level::Calm),
            (1400, Level::Conflate),
            (1200, Level::Conflate),
            (1600, Level::Disconnect),
            (1500, Level::Disconnect),
            (1499, Level::Conflate),
            (1199, Level::Calm),
            (9999, Level::Disconnect),
            (0, Level::Calm),
        ] {
            level = level.next(&[usage(held)]);
            assert_eq!(level, expected, "{held}");
        }
    }

    #[test]
    fn the_fullest_budget_decides_and_one_of_zero_is_none() {
        let none = Usage { held_bytes: u64::MAX, bytes_max: 0 };
        assert_eq!(Level::Calm.next(&[none, usage(1)]), Level::Calm);
        assert_eq!(Level::Calm.next(&[none, usage(1600)]), Level::Disconnect);
        assert_eq!((none.excess_bytes(), usage(1600).excess_bytes()), (0, 200));
        assert_eq!((usage(1600).excess_share(400), usage(1600).excess_share(0)), (50, 0));
    }

    proptest! {
        #[test]
        fn fuller_is_never_calmer(level in 0..3_u8, less in 0..4000_u64, more in 0..4000_u64) {
            let level = [Level::Calm, Level::Conflate, Level::Disconnect][usize::from(level)];
            let (less, more) = (less.min(more), less.max(more));
            prop_assert!(level.next(&[usage(less)]) <= level.next(&[usage(more)]));
        }

        #[test]
        fn once_the_excess_is_gone_nobody_else_is_ended(held in 1600..9999_u64) {
            let left = held - usage(held).excess_bytes();
            prop_assert!(Level::Disconnect.next(&[usage(left)]) < Level::Disconnect);
        }
    }
}
