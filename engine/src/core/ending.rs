//! How connections end, and the drain that ends all of them. Must not decide that a connection has
//! to go: its callers do.
//!
//! | call | what the peer gets | when the slot is free |
//! |---|---|---|
//! | `close` | the close of its protocol: a frame, an SSE event or nothing | as `send_last` |
//! | `send_last` | the given bytes, after the rest of a torn frame | once sent and answered |
//! | `cut` | nothing; a reset if bytes are still unsent | at once |
//! | `end` | nothing but the end of the stream | at once |
//!
//! A connection that was given its last bytes has `keepalive.close_timeout_ms` to take and answer
//! them; then it is cut.

use crate::core::conn::{Closing, Conn, Role};
use crate::core::flags::Flags;
use crate::core::state::Draining;
use crate::core::wheel;
use crate::core::{Core, ENDING_NS};
use crate::delivery::flush::{FlushEnd, FlushState};
use crate::delivery::subscriptions::Subscription;
use crate::feed::kind::LaneKind;
use crate::frame::encode;
use crate::http::refusal::Refusal;
use crate::metrics::{CloseReason, TlsFailure};
use crate::net::backend::{Backend, Stream};
use crate::wire::close::{Close, CloseCode};
use crate::wire::gap;
use crate::wire::sse;

/// Connections that the drain closes in one turn.
const DRAINED_PER_TURN: usize = 256;

impl<B: Backend> Core<B> {
    pub(crate) fn end_delivery(&mut self, key: u32, end: FlushEnd) {
        match end {
            FlushEnd::Failed(_) => self.end(key, CloseReason::PeerGone),
            FlushEnd::Lapsed(gap) => {
                self.metrics.lapses_disconnected.add(1);
                self.metrics.gap_frames.add(gap.frames_known());
                let reason = format!("{}: reconnect", gap::words(gap));
                self.close(key, &Close::new(CloseCode::Lagged, reason));
            }
        }
    }

    /// Ends a connection in the form it speaks: a close frame, a close event, or plainly. What is
    /// torn is finished first.
    pub(crate) fn close(&mut self, key: u32, close: &Close) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if let Role::Request(Some(posting)) = &mut conn.role
            && (posting.batch.is_some() || conn.flags.contains(Flags::AWAITS_LOG))
        {
            // Its client is told what was published, and then that it is over.
            posting.exchange.keep_alive = false;
            return;
        }
        if let Role::History(answer) = &mut conn.role
            && close.code == CloseCode::Draining
        {
            answer.exchange.keep_alive = false;
            return;
        }
        if matches!(conn.role, Role::Poll(_)) && close.code == CloseCode::Draining {
            return self.drain_waiting(key);
        }
        let last = match conn.role {
            Role::Subscriber(LaneKind::SSE) => {
                let mut event = Vec::new();
                if close.code == CloseCode::OverCapacity {
                    sse::retry(&mut event, self.shared.reconnect_ms(key));
                }
                sse::close(&mut event, close.code.code(), &close.reason);
                sse::end(&mut event);
                event
            }
            _ if conn.is_websocket() => encode::close(close.code.code(), &close.reason).to_vec(),
            Role::Request(_) if close.code == CloseCode::Draining => {
                return self.drain_request(key);
            }
            _ => return self.end(key, close.code.into()),
        };
        let parses_on = conn.is_websocket() && close.code != CloseCode::Protocol;
        let closing = if parses_on { Closing::AwaitClose } else { Closing::AwaitEnd };
        self.metrics.closing(close.code.into());
        self.send_last(key, &last, closing);
    }

    /// While the engine drains, a request that has begun is answered; the answers to those before
    /// it are sent in any case.
    fn drain_request(&mut self, key: u32) {
        let conn = &self.conns[key as usize];
        if conn.has_begun_request() {
            let exchange = self.take_exchange(key);
            self.refuse_request(key, &Refusal::not_ready(), &exchange);
        } else if conn.has_unsent() {
            self.send_last(key, b"", Closing::AwaitEnd);
        } else {
            self.end(key, CloseReason::Draining);
        }
    }

    /// Sends `last` as the last bytes of a connection.
    pub(crate) fn send_last(&mut self, key: u32, last: &[u8], closing: Closing) {
        self.unsubscribe(key);
        let close_ms_max = self.config.keepalive.close_timeout_ms.min(self.reserve_ms_max(key));
        let due = self.now + wheel::tick_of_ms(close_ms_max).max(1);
        let conn = &mut self.conns[key as usize];
        if let Some(label) = conn.role.label() {
            self.metrics.role_ended(label);
        }
        conn.role = Role::Closing(closing);
        // From here on it is the beginning of its end.
        conn.heard = self.now;
        conn.delivery.push_private(last);
        let awaited_log = conn.flags.leave(Flags::AWAITS_LOG);
        if conn.flags.leave(Flags::READ_HELD) || awaited_log {
            // The peer's own close may be among what is kept.
            self.answered.push_back(key);
        }
        self.set_due(key, due);
        if self.conns[key as usize].delivery.state() != FlushState::Blocked {
            self.flush(key);
        }
    }

    /// The last bytes are with the kernel.
    pub(crate) fn sent_last(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        match conn.role {
            Role::Closing(Closing::AfterFlush | Closing::AwaitEnd)
                if !conn.transport.take_leave() =>
            {
                self.flush(key);
            }
            Role::Closing(Closing::AfterFlush) => self.end(key, CloseReason::Done),
            // The peer may be gone already; else it ends the connection when it sees our end.
            Role::Closing(Closing::AwaitEnd)
                if conn.transport.stream_mut().shutdown_write().is_err() =>
            {
                self.end(key, CloseReason::PeerGone);
            }
            _ => {}
        }
    }

    /// Removes a connection whose time to end is over. One that did not take its last bytes is
    /// reset: ended quietly, the kernel would go on keeping its unsent bytes, for minutes, for
    /// nobody.
    pub(crate) fn cut(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.has_unsent()
            && let Err(error) = conn.transport.stream_mut().reset_on_drop()
        {
            tracing::debug!(%error, "a connection could not be set to be reset");
        }
        self.end(key, CloseReason::Timeout);
    }

    /// Removes a connection, at once and without a word.
    pub(crate) fn end(&mut self, key: u32, reason: CloseReason) {
        if !self.conns.contains(key as usize) {
            return;
        }
        self.unsubscribe(key);
        let mut conn = self.conns.remove(key as usize);
        self.end_transport(&mut conn, reason);
        if let Some(label) = conn.role.label() {
            self.metrics.role_ended(label);
        }
        if conn.delivery.lags() {
            self.metrics.lag_ended();
        }
        self.metrics.closed(reason);
        self.shared.admission.leave(conn.source, self.now_ns());
        self.descriptor_freed();
        // Without connections a core sleeps, and counts nothing any more.
        if self.conns.is_empty() {
            self.metrics.emptied();
        }
    }

    /// The end of the TLS session, if there is one.
    fn end_transport(&self, conn: &mut Conn<B::Stream>, reason: CloseReason) {
        if conn.transport.is_handshaking() && !conn.flags.contains(Flags::ARRIVING) {
            let otherwise = match reason {
                CloseReason::Timeout => TlsFailure::Timeout,
                _ => TlsFailure::Gone,
            };
            self.metrics.tls_failed(conn.transport.failure().unwrap_or(otherwise));
        }
        conn.transport.take_leave();
    }

    /// Takes a connection out of its lanes and tells those who changed places.
    pub(crate) fn unsubscribe(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        for subscription in conn.delivery.unsubscribe_all(&self.lanes) {
            self.leave_lane(subscription);
        }
    }

    /// Takes a subscription that is no more out of its lane and tells who changed places.
    pub(crate) fn leave_lane(&mut self, gone: Subscription) {
        let now_ns = self.now_ns();
        let Some(member) = self.lanes.leave(gone.lane, gone.member, now_ns) else { return };
        let other = self.conns[member.conn as usize].delivery.subscriptions_mut();
        if let Some(moved) = other.get_mut(member.subscription as usize) {
            moved.member = gone.member;
        }
    }

    pub(crate) fn end_all(&mut self) {
        let keys: Vec<u32> = self.conns.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.end(key, CloseReason::Draining);
        }
    }

    /// Tells a browser, which reconnects by itself, how long to wait before.
    fn send_retry(&mut self, key: u32, delay_ms: u64) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if matches!(conn.role, Role::Subscriber(LaneKind::SSE)) {
            let mut field = Vec::new();
            sse::retry(&mut field, delay_ms);
            conn.delivery.push_private(&field);
        }
    }

    /// While the engine drains: closes connections evenly over the window, each with a hint when to
    /// come back, until the last is gone or the deadline is over.
    pub(crate) fn drain(&mut self) {
        let began_ns = self.now_ns();
        let Some(progress) = self.shared.drain_progress(began_ns) else { return };
        let (left, total) = match &self.draining {
            Draining::Done => return,
            Draining::Going { left, total, .. } => (left.len(), *total),
            Draining::No => {
                let left: Vec<u32> = self.conns.iter().map(|(key, _)| key as u32).collect();
                let total = left.len();
                self.draining = Draining::Going { left, total, is_late: true };
                return;
            }
        };
        let left_then = ((1.0 - progress.share) * total as f64) as usize;
        // However long the last turn was, or short the window is, one turn ends only so many.
        let left_now = left_then.max(left.saturating_sub(DRAINED_PER_TURN));
        while let Some(key) = self.next_to_drain(left_now) {
            let delay_ms = self.shared.reconnect_ms(key);
            let reason = format!("draining: reconnect in {delay_ms} ms");
            self.send_retry(key, delay_ms);
            self.close(key, &Close::new(CloseCode::Draining, reason));
            if self.now_ns() >= began_ns + ENDING_NS {
                break;
            }
        }
        if let Draining::Going { left, is_late, .. } = &mut self.draining {
            *is_late = left.len() > left_then;
        }
        if self.conns.is_empty() || progress.is_over {
            self.draining = Draining::Done;
            self.shared.core_drained();
        }
    }

    fn next_to_drain(&mut self, left_now: usize) -> Option<u32> {
        match &mut self.draining {
            Draining::Going { left, .. } if left.len() > left_now => left.pop(),
            _ => None,
        }
    }
}
