//! Shedding: frees memory for connections when it runs short. Owns which connections are first.
//! Must not measure memory (that is `deadlines`) or choose the level (that is `limits::memory`).

use crate::core::conn::{Closing, Conn, Rest, Role};
use crate::core::wheel::TICKS_PER_S;
use crate::core::{Core, ENDING_NS, OUTBOX_BYTES_HELD};
use crate::delivery::flush::FlushStats;
use crate::frame::decode::Decoder;
use crate::http::refusal::Refusal;
use crate::http::status::Status;
use crate::limits::memory::{Level, Usage};
use crate::metrics::Gate;
use crate::net::backend::Backend;
use crate::wire::close::{Close, CloseCode};

impl<B: Backend> Core<B> {
    /// Gives up what the level of the moment asks for; once a tick.
    pub(crate) fn shed(&mut self) {
        let (pending, sockets) = self.shared.memory_in_use(&self.config);
        let before = self.shedding.level;
        let level = before.next(&[pending, sockets]);
        self.log_level(level, pending, sockets);
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
    fn log_level(&mut self, level: Level, pending: Usage, sockets: Usage) {
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
            if conn.delivery.lags() {
                conn.delivery.shed(&self.lanes, &mut stats);
            }
        }
        self.count(&stats);
    }

    /// Whoever owes less than half of what the first on any core owes is left alone.
    fn disconnect_until(&mut self, owing: &[(u64, u32)], mut excess: [u64; 2]) {
        let socket_bytes = self.config.flush.send_buffer_bytes as u64;
        let owed_bytes_min = self.shared.owed_bytes_max() / 2;
        let end_ns = self.now_ns() + ENDING_NS;
        for &(owed_bytes, key) in owing {
            if excess == [0, 0] || owed_bytes < owed_bytes_min || self.now_ns() >= end_ns {
                return;
            }
            let Some(conn) = self.conns.get(key as usize) else { continue };
            let socket_bytes = if conn.delivery.lags() { socket_bytes } else { 0 };
            let held_bytes = conn.memory_bytes() as u64;
            let frees = [held_bytes, socket_bytes];
            // One that holds nothing of what is short is not ended for it.
            if excess.iter().zip(frees).all(|(&excess, frees)| excess == 0 || frees == 0) {
                continue;
            }
            self.disconnect(key);
            self.metrics.memory_freed(held_bytes);
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

    fn owed_bytes(&self, conn: &Conn<B::Stream>) -> u64 {
        let behind = |lane: u32, pos: u64| self.lanes.reader(lane).head().pos.saturating_sub(pos);
        let held_bytes = conn.memory_bytes() as u64;
        if !conn.delivery.lags() {
            return held_bytes;
        }
        let subscriptions = conn.delivery.subscriptions().iter();
        held_bytes + subscriptions.map(|own| behind(own.lane, own.cursor.pos())).sum::<u64>()
    }

    fn disconnect(&mut self, key: u32) {
        self.metrics.turned_away(Gate::Memory);
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if matches!(conn.role, Role::Request(_) | Role::Poll(_)) {
            let exchange = self.take_exchange(key);
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

const REASON: &str =
    "memory for connections is short (memory.pending_bytes_max, memory.socket_bytes_max)";

/// Connections that one core ends in one tick: enough for 640 a second, few enough for one turn.
const DISCONNECTS_PER_TICK: usize = 64;
