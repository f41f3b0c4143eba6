//! Reads the sockets of a thread and passes the bytes to the reception. Healthy sockets are read at
//! once, stalled ones never; `pace` handles the slow ones. Must not judge messages.
//!
//! Readiness is edge-triggered, so a socket must be read until it is empty or put on the backlog.
//! Empty means that a read returned less than was asked for, or would block; after a hang-up only
//! an end or an error counts, because the edge of the hang-up has passed.

use std::sync::atomic::Ordering;

use mio::Token;
use mio::event::Event as Readiness;

use crate::drive::connection::Filled;
use crate::drive::subscriber::{State, Subscriber};
use crate::drive::subscribers::worker::SubscriberThread;
use crate::receive::expected::End;
use crate::receive::reception::Arrival;
use crate::scenario::groups::ClassKind;
use crate::time::clock::mono_ns;

/// The socket is closed and its key no longer valid.
pub(super) struct Ended;

impl SubscriberThread<'_> {
    pub(super) fn on_event(&mut self, event: &Readiness) {
        let Token(key) = event.token();
        let Some(socket) = self.sockets.get(key) else { return };
        match socket.state {
            State::Connecting => self.finish_connect(key),
            State::Upgrading => self.finish_upgrade(key),
            State::Subscribing => self.finish_subscribing(key),
            State::Open(account) => self.on_open_event(key, account, event),
        }
    }

    fn on_open_event(&mut self, key: usize, account: u32, event: &Readiness) {
        let hung_up = event.is_read_closed() || event.is_error();
        if event.is_writable() {
            self.sockets[key].connection.flush();
        }
        let has_news = event.is_readable() || hung_up;
        match self.kind_of_account(account) {
            ClassKind::Pausing { .. } if self.is_paused(self.sockets[key].plan, mono_ns()) => {}
            ClassKind::Healthy | ClassKind::Pausing { .. } if has_news => {
                self.health.wakeups += 1;
                self.read_all(key, account, hung_up);
            }
            // A stalled reader reads only now, to learn the close reason.
            ClassKind::Stalled if hung_up => self.read_all(key, account, true),
            _ => {}
        }
    }

    pub(super) fn work_off_backlog(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some(key) = self.backlog.pop_front() else { return };
            if let Some(&Subscriber { state: State::Open(account), .. }) = self.sockets.get(key) {
                self.health.wakeups += 1;
                // The wake-up whose read budget ran out may also have reported a hang-up.
                self.read_all(key, account, true);
            }
        }
    }

    /// Reads a socket until it is empty or its budget is used up.
    pub(super) fn read_all(&mut self, key: usize, account: u32, until_blocked: bool) {
        for _ in 0..READS_PER_WAKEUP {
            match self.read_once(key, account, usize::MAX) {
                Ok(Some(filled)) if filled.is_full || until_blocked => {}
                Ok(_) | Err(Ended) => return,
            }
        }
        self.health.budget_hits += 1;
        self.backlog.push_back(key);
    }

    /// One read of at most `limit` bytes; `Ok(None)` if there was nothing.
    pub(super) fn read_once(
        &mut self,
        key: usize,
        account: u32,
        limit: usize,
    ) -> Result<Option<Filled>, Ended> {
        let filled = match self.sockets[key].connection.fill(&mut self.buffer, limit) {
            Ok(Some(filled)) => filled,
            Ok(None) => return Ok(None),
            Err(reason) => {
                self.close(key, account, reason);
                return Err(Ended);
            }
        };
        let now_ns = self.arrival_ns();
        self.context.reception.read(account, filled.wire);
        if self.take(key, account, filled.total, now_ns) { Ok(Some(filled)) } else { Err(Ended) }
    }

    pub(super) fn arrival_ns(&self) -> u64 {
        mono_ns().wrapping_add_signed(self.run_state.plan.disturbance.receiver_shift_ns)
    }

    /// Handles the bytes in the filled part of the buffer; returns whether the socket is still
    /// open.
    pub(super) fn take(&mut self, key: usize, account: u32, filled: usize, now_ns: u64) -> bool {
        let arrival =
            Arrival { account, publisher_index: self.run_state.publisher_index.get(), now_ns };
        let mut pongs = Vec::new();
        let socket = &mut self.sockets[key];
        let ended = socket.on_bytes(&self.buffer[..filled], &mut self.context, arrival, &mut pongs);
        self.send_pongs(key, &pongs);
        match ended {
            Ok(()) => true,
            Err(reason) => {
                self.close(key, account, reason);
                false
            }
        }
    }

    pub(super) fn send_pongs(&mut self, key: usize, pongs: &[u8]) {
        if !pongs.is_empty()
            && let Err(error) = self.sockets[key].connection.send(pongs)
        {
            // A write error means that the connection is over; the read side gives a better reason.
            tracing::debug!(%error, "pong not sent");
        }
    }

    pub(super) fn close(&mut self, key: usize, account: u32, reason: String) {
        if self.resume_later(key, account, &reason) {
            return;
        }
        self.context.reception.close(account, End::Closed, reason);
        self.run_state.progress.closed.fetch_add(1, Ordering::Relaxed);
        self.sockets.remove(key);
    }
}

const READS_PER_WAKEUP: usize = 4;
