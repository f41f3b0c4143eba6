//! Deadlines: requests, pings, heartbeats, idleness, lag and closing. Owns what happens when each
//! is over; `wheel` only knows when. Must not judge by a clock: a turn has one time.

use crate::core::conn::{Conn, Role};
use crate::core::flags::Flags;
use crate::core::wheel;
use crate::core::wheel::Tick;
use crate::core::{Core, ENDING_NS};
use crate::feed::encoder::text_frame;
use crate::feed::kind::LaneKind;
use crate::frame::{Opcode, encode};
use crate::net::backend::Backend;
use crate::wire::close::{Close, CloseCode};
use crate::wire::reply;
use crate::wire::sse;

/// Connections whose memory is looked at in one tick: all of 100,000 within three seconds.
const CENSUS_PER_TICK: usize = 4096;
/// In the reserve of descriptors, others wait for the place: probes are given up after a second.
const RESERVE_MS_MAX: u64 = 1_000;

impl<B: Backend> Core<B> {
    /// Schedules the first ping of a connection that just took up a role.
    pub(crate) fn schedule_ping(&mut self, key: u32) {
        let ping = wheel::tick_of_ms(self.config.keepalive.ping_interval_ms);
        self.set_due(key, self.now + ping);
    }

    /// Schedules a connection for a tick, or earlier if its rights end or a heartbeat is due then.
    pub(crate) fn set_due(&mut self, key: u32, due: Tick) {
        let earlier = self.expiry(key).into_iter().chain(self.heartbeat_due(key));
        let due = earlier.fold(due, Tick::min);
        self.conns[key as usize].due = self.wheel.enter(key, due);
    }

    pub(crate) fn set_due_earlier(&mut self, key: u32, due: Tick) {
        if due < self.conns[key as usize].due {
            self.set_due(key, due);
        }
    }

    /// Hands on whoever is due, once a tick.
    pub(crate) fn tick(&mut self) {
        if self.now != self.wheel.now() {
            let due = &mut self.due;
            self.wheel.advance(self.now, |key, at| due.push_back((key, at)));
            self.forget_given_up();
            self.expire_submitted();
            self.give_up_ahead();
            self.measure_memory();
            self.shed();
        }
        self.serve_due();
    }

    /// Hands on some of those who are due; the others have their turn in the next ones. All that
    /// share a token, or came together, are due together.
    fn serve_due(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let end_ns = self.now_ns() + ENDING_NS;
        for _ in 0..DUE_PER_TURN {
            let Some((key, at)) = self.due.pop_front() else { return };
            if self.conns.get(key as usize).is_some_and(|conn| conn.due == at) {
                self.handle_due(key, self.now);
            }
            if self.now_ns() >= end_ns {
                return;
            }
        }
    }

    /// Those who come and go leave their deadlines in the wheel. Rare, and then most of them go.
    fn forget_given_up(&mut self) {
        if self.wheel.len() > GIVEN_UP_KEPT + 4 * self.conns.len() {
            let conns = &self.conns;
            self.wheel.retain(|key, at| conns.get(key as usize).is_some_and(|conn| conn.due == at));
        }
    }

    /// How long a connection may have the engine wait for its request: less for one that has never
    /// sent any, or has begun one, than between two of them.
    pub(crate) fn request_ms_max(&self, key: u32) -> u64 {
        let (conn, config) = (&self.conns[key as usize], &self.config);
        match &conn.role {
            Role::Request(Some(_)) => config.limits.body_ms_max,
            _ if conn.flags.contains(Flags::KEPT) && !conn.has_begun_request() => {
                config.keepalive.http_idle_timeout_ms.min(self.reserve_ms_max(key))
            }
            _ => config.limits.handshake_ms_max.min(self.reserve_ms_max(key)),
        }
    }

    /// How long a connection may wait in the reserve of descriptors; for ever elsewhere.
    pub(crate) fn reserve_ms_max(&self, key: u32) -> u64 {
        if self.is_crowded(key) { RESERVE_MS_MAX } else { u64::MAX }
    }

    fn handle_due(&mut self, key: u32, now: Tick) {
        if self.expiry(key).is_some_and(|expiry| expiry <= now) {
            return self.rights_ended(key);
        }
        if self.heartbeat_due(key).is_some_and(|due| due <= now) {
            self.beat(key);
        }
        let config = &self.config;
        let ticks = wheel::tick_of_ms;
        let lag = ticks(config.flush.lag_age_ms_max);
        let (ping, idle) =
            (ticks(config.keepalive.ping_interval_ms), ticks(config.keepalive.idle_timeout_ms));
        let conn = &self.conns[key as usize];
        // While it waits for others nobody listens to it.
        let waits = conn.flags.intersects(Flags::PACED | Flags::AWAITS_LOG);
        let heard = if waits { now } else { conn.heard };
        let silent = now.saturating_sub(heard);
        match &conn.role {
            Role::Closing(_) => {
                // The wheel reaches less far than the longest deadline, and is behind after a long
                // sleep: then one fires early.
                let close_ms_max = config.keepalive.close_timeout_ms;
                if silent >= ticks(close_ms_max).max(1) {
                    return self.cut(key);
                }
                self.set_due(key, heard + ticks(close_ms_max).max(1));
            }
            // It has sent what it had to; that its turn has not come is no fault of its own.
            Role::Request(_) if conn.awaits_handshake() => {
                self.set_due(key, now + ticks(config.limits.handshake_ms_max));
            }
            // One that takes no answers need not send requests either.
            _ if conn.delivery.lags() && now.saturating_sub(conn.sent) >= lag => {
                self.close(key, &CloseCode::Stalled.into());
            }
            _ if conn.delivery.lags() => self.set_due(key, conn.sent + lag),
            Role::History(_) => self.history_due(key),
            Role::Poll(waiting) if now >= waiting.due => self.end_wait_for_next(key, None),
            Role::Poll(waiting) => {
                let due = waiting.due;
                self.set_due(key, due);
            }
            Role::Request(_) => {
                let ms_max = self.request_ms_max(key);
                if silent >= ticks(ms_max) {
                    return self.request_timed_out(key, ms_max);
                }
                self.set_due(key, heard + ticks(ms_max));
            }
            // It has nothing to answer with: the kernel says when it takes nothing any more.
            Role::Subscriber(LaneKind::SSE) => self.set_due(key, Tick::MAX),
            // One that lagged for long was not asked meanwhile: it is asked first.
            _ if silent >= ping && !conn.flags.contains(Flags::PINGED) => {
                self.ping(key, now, idle.saturating_sub(ping));
            }
            _ if silent >= idle => {
                self.close(key, &Close::new(CloseCode::Timeout, "no answer to a ping"));
            }
            _ if silent >= ping => self.set_due(key, heard + idle),
            _ => self.set_due(key, heard + ping),
        }
    }

    /// Asks a connection whether it is there and looks again after `again` ticks.
    fn ping(&mut self, key: u32, now: Tick, again: Tick) {
        let conn = &mut self.conns[key as usize];
        conn.flags.insert(Flags::PINGED);
        conn.delivery.push_private(&encode::control(Opcode::Ping, b""));
        self.set_due(key, now + again.max(1));
        self.flush(key);
    }

    /// When a connection is to be shown that the engine lives, if it is at all. While its socket
    /// refuses bytes nothing can be shown to it.
    fn heartbeat_due(&self, key: u32) -> Option<Tick> {
        let conn = &self.conns[key as usize];
        let since = if conn.delivery.lags() { self.now } else { conn.sent };
        let heartbeat = wheel::tick_of_ms(self.config.keepalive.heartbeat_ms);
        conn.has_heartbeat().then(|| since + heartbeat)
    }

    /// Shows a connection that the engine lives.
    fn beat(&mut self, key: u32) {
        let unix_ms = self.backend.unix_ms();
        let conn = &mut self.conns[key as usize];
        let mut beat = Vec::new();
        match conn.role {
            Role::Subscriber(_) => sse::ping(&mut beat),
            _ => beat = text_frame(&reply::beat(unix_ms)),
        }
        conn.delivery.push_private(&beat);
        conn.sent = self.now;
        self.queue_flush(key);
    }

    /// Keeps the memory gauges true without looking at every connection at once: a part of them
    /// each tick, and the sum when all have been seen.
    fn measure_memory(&mut self) {
        let slots = self.conns.capacity();
        let end = (self.census.next + CENSUS_PER_TICK).min(slots);
        let seen = (self.census.next..end).filter_map(|key| self.conns.get(key));
        self.census.bytes += seen.map(|conn| conn.memory_bytes() as u64).sum::<u64>();
        self.census.next = end;
        if end == slots {
            let pending_bytes = std::mem::take(&mut self.census).bytes;
            let buffer_bytes = (self.buffer.capacity() + self.scratch.memory_bytes()) as u64;
            let slot_bytes = (slots * size_of::<Conn<B::Stream>>()) as u64;
            self.metrics.set_memory(slot_bytes, pending_bytes, buffer_bytes);
            if slots > SLOTS_KEPT && slots / 4 > self.conns.len() {
                // As far as those who are here allow it: they keep their slots.
                self.conns.shrink_to_fit();
            }
        }
    }
}

/// Connections that come due and are looked at in one turn: closing one costs about 10 µs.
const DUE_PER_TURN: usize = 256;
/// Deadlines of those who are gone that are kept until they would have come.
const GIVEN_UP_KEPT: usize = 4096;
/// Slots of connections that are kept although nobody is in them.
const SLOTS_KEPT: usize = 256;
