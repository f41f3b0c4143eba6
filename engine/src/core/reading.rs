//! Reading: which connections are read in a turn, how much, and where incomplete bytes are kept.
//! Owns the budget for established connections. Must not know what bytes mean (that is `requests`
//! and `frames`).

use std::io;

use crate::core::conn::{Closing, Kept, Role};
use crate::core::flags::Flags;
use crate::core::wheel;
use crate::core::{Core, OUTBOX_BYTES_HELD};
use crate::delivery::flush::FlushState;
use crate::feed::kind::{Form, LaneKind};
use crate::http::request::is_empty_lines;
use crate::metrics::CloseReason;
use crate::net::backend::Backend;
use crate::net::reading::Reading;

/// Bytes read in one turn: publishers get no further ahead than this before a flush.
const READ_BYTES_PER_TURN: usize = 256 << 10;
/// A read that takes longer is costly: what was read was very much, or a deflated bomb.
pub(crate) const COSTLY_READ_NS: u64 = 100_000;
/// Commands of one connection, or lines of its POST, that are carried out before others have their
/// turn: a read may bring thousands, and each may open a feed.
const COMMANDS_PER_VISIT: usize = 256;
/// Bytes of inflated messages that count as a command.
const INFLATED_BYTES_PER_COMMAND: usize = 1 << 10;
/// How long connections of each kind that had to wait may go on in one turn, all of them together.
const RESUMING_NS: u64 = 500_000;

/// What became of some bytes.
pub(crate) enum Consumed {
    /// So many were used; the next may be looked at.
    Bytes(usize),
    /// At least so many are needed before anything can be done.
    Need(usize),
    /// So many were used; the rest waits until the connection is read again.
    Hold(usize),
    /// The rest has no meaning any more.
    Rest,
}

impl<B: Backend> Core<B> {
    pub(crate) fn read_some(&mut self) {
        self.resume_some();
        let mut bytes_left = READ_BYTES_PER_TURN;
        let mut now_ns = self.now_ns();
        for _ in 0..self.readable.len() {
            let Some(key) = self.readable.pop_front() else { return };
            let bytes;
            (bytes, now_ns) = self.read_timed(key, now_ns);
            bytes_left = bytes_left.saturating_sub(bytes);
            if bytes_left == 0 {
                return;
            }
        }
    }

    /// Lets those go on that had to wait, each with what it had sent already. Publishers only until
    /// they have to wait again: the first then is whoever has waited longest.
    fn resume_some(&mut self) {
        self.resume_part(self.answered.len(), |core| core.answered.pop_front());
        self.resume_part(self.next_turn.len(), |core| {
            let key = core.next_turn.pop_front()?;
            core.end_wait(key)
        });
        self.resume_part(self.paced.len(), |core| {
            let key = if core.publishers_wait() { None } else { core.paced.pop_front() }?;
            core.end_wait(key)
        });
    }

    /// Lets `count` connections go on, as `next` gives them, or as many as their part of the turn
    /// is long enough for; at least one.
    fn resume_part(&mut self, count: usize, next: impl Fn(&mut Self) -> Option<u32>) {
        if count == 0 {
            return;
        }
        let end_ns = self.now_ns() + RESUMING_NS;
        for _ in 0..count {
            let Some(key) = next(self) else { return };
            self.resume(key);
            if self.now_ns() >= end_ns {
                return;
            }
        }
    }

    fn end_wait(&mut self, key: u32) -> Option<u32> {
        if let Some(conn) = self.conns.get_mut(key as usize) {
            conn.flags.remove(Flags::PACED);
            conn.heard = self.now;
        }
        Some(key)
    }

    /// True when a connection has to wait: it publishes while publishers have to, or it has had its
    /// share of this turn.
    pub(crate) fn has_to_wait(&mut self, key: u32) -> bool {
        if self.publishers_wait() && self.conns[key as usize].publishes() {
            self.pause_publisher(key);
        } else if self.commands_left == 0 {
            self.defer(key);
        }
        self.conns[key as usize].flags.contains(Flags::PACED)
    }

    /// Pauses a connection until publishers may go on, if it does not wait already.
    pub(crate) fn pause_publisher(&mut self, key: u32) {
        if self.begin_wait(key) {
            self.paced.push_back(key);
            self.metrics.paced();
        }
    }

    /// Defers a connection until others had their turn, if it does not wait already.
    pub(crate) fn defer(&mut self, key: u32) {
        if self.begin_wait(key) {
            self.next_turn.push_back(key);
        }
    }

    /// False when a connection waits already.
    fn begin_wait(&mut self, key: u32) -> bool {
        self.conns[key as usize].flags.enter(Flags::PACED)
    }

    /// Begins the visit to a connection.
    fn begin_visit(&mut self) {
        self.commands_left = COMMANDS_PER_VISIT;
    }

    /// Counts a command of the connection that is visited; false when there were enough of them.
    pub(crate) fn take_command(&mut self) -> bool {
        let may_go_on = self.commands_left > 0;
        self.commands_left = self.commands_left.saturating_sub(1);
        may_go_on
    }

    /// Counts what inflating a message costs beside its command.
    pub(crate) fn take_inflated(&mut self, bytes: usize) {
        let commands = bytes / INFLATED_BYTES_PER_COMMAND;
        self.commands_left = self.commands_left.saturating_sub(commands);
    }

    /// Lets a connection that had to wait go on, with what it had sent already.
    fn resume(&mut self, key: u32) {
        self.begin_visit();
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.is_held() {
            return;
        }
        if conn.has_batch() {
            self.post_lines(key);
            self.send_private(key);
        } else if conn.asks_for_history() {
            self.continue_history(key);
            self.send_private(key);
        }
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.flags.intersects(Flags::PACED | Flags::AWAITS_LOG) || conn.asks_for_history() {
            return;
        }
        if let Some(all) = conn.rest.extend(&[]) {
            self.consume_kept(key, all);
            self.send_private(key);
        }
        self.queue_read(key);
    }

    /// Reads once from a connection, and notes whether that was costly. Answers the bytes read, and
    /// the time after it.
    pub(crate) fn read_timed(&mut self, key: u32, began_ns: u64) -> (usize, u64) {
        let was_passing = self.conns.get(key as usize).is_none_or(|conn| conn.role.is_passing());
        let bytes = self.read(key);
        let now_ns = self.now_ns();
        if let Some(conn) = self.conns.get_mut(key as usize) {
            conn.flags.set(Flags::PROVEN, !was_passing && now_ns - began_ns < COSTLY_READ_NS);
        }
        (bytes, now_ns)
    }

    /// Reads once from a connection and handles what came. Answers the bytes read.
    pub(crate) fn read(&mut self, key: u32) -> usize {
        self.begin_visit();
        let Some(conn) = self.conns.get_mut(key as usize) else { return 0 };
        conn.flags.remove(Flags::READABLE);
        if conn.is_held() || self.has_to_wait(key) {
            return 0;
        }
        let Some(conn) = self.conns.get_mut(key as usize) else { return 0 };
        if conn.rest.is_ready() {
            // It goes on with that first, and is read then.
            return 0;
        }
        if conn.flags.contains(Flags::ENDED) {
            self.input_ended(key);
            return 0;
        }
        if conn.flags.contains(Flags::ARRIVING) {
            self.take_header(key);
            return 0;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = conn.transport.read(&mut buffer, &mut self.scratch);
        let bytes = read.as_ref().map_or(0, |reading| reading.bytes);
        match read {
            Ok(reading) => self.take_reading(key, reading, &mut buffer),
            Err(error) => self.read_failed(key, &error),
        }
        self.buffer = buffer;
        bytes
    }

    fn take_reading(&mut self, key: u32, reading: Reading, buffer: &mut [u8]) {
        if reading.opened {
            self.metrics.tls_opened();
        }
        if reading.answered || reading.opened {
            // What its message waited for its turn is no time of the client's: that runs anew.
            self.conns[key as usize].heard = self.now;
        }
        if reading.bytes > 0 {
            self.received(key, &mut buffer[..reading.bytes]);
        }
        self.push_held(key, reading.opened);
        match reading.ended {
            true => self.input_ended(key),
            false => self.after_read(key, reading.filled),
        }
    }

    /// Nothing more will come. What came is carried out and answered first: as long as some of it
    /// is held back, reading goes on later and leads here again.
    fn input_ended(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        conn.flags.insert(Flags::ENDED);
        if matches!(conn.role, Role::Poll(_)) {
            // It may read on, but most often it is gone: then nobody waits.
            self.end_wait_for_next(key, None);
        }
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.is_held() || conn.rest.is_ready() || conn.asks_for_history() {
            return;
        }
        if self.has_answers_due(key) {
            return self.await_log(key);
        }
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let is_done = !conn.has_unsent() && conn.transport.take_leave();
        if is_done || conn.transport.is_handshaking() {
            return self.end(key, CloseReason::PeerGone);
        }
        match &mut conn.role {
            Role::Closing(closing) => {
                *closing = Closing::AfterFlush;
                self.flush(key);
            }
            _ => self.send_last(key, b"", Closing::AfterFlush),
        }
    }

    /// Has an event announced for what the TLS session itself could not send, and sends what had
    /// to wait for it to be open.
    fn push_held(&mut self, key: u32, opened: bool) {
        let Some(conn) = self.conns.get(key as usize) else { return };
        let held = conn.transport.held_bytes() > 0 && conn.delivery.state() != FlushState::Blocked;
        if held || opened && conn.has_unsent() {
            self.flush(key);
        }
    }

    fn received(&mut self, key: u32, bytes: &mut [u8]) {
        self.metrics.received(bytes.len());
        let conn = &mut self.conns[key as usize];
        // A request's time runs from its first byte: those that trickle in do not extend it. Nor do
        // empty lines extend the time until it begins, or what comes after the end has begun.
        let is_idle = matches!(conn.role, Role::Request(None)) && is_empty_lines(bytes);
        let is_closing = matches!(conn.role, Role::Closing(_));
        if !conn.has_begun_request() && !is_idle && !is_closing {
            conn.heard = self.now;
            conn.flags.remove(Flags::PINGED);
        }
        if conn.rest.is_empty() {
            let (consumed, need) = self.consume(key, bytes);
            if let Some(conn) = self.conns.get_mut(key as usize) {
                conn.rest.keep(&bytes[consumed..], need);
            }
        } else if let Some(all) = conn.rest.extend(bytes) {
            self.consume_kept(key, all);
        }
        self.expect_rest(key);
        self.send_private(key);
    }

    /// Schedules a connection for when the rest of the request it began is due: between requests it
    /// has more time.
    fn expect_rest(&mut self, key: u32) {
        let Some(conn) = self.conns.get(key as usize) else { return };
        if conn.flags.contains(Flags::KEPT) && conn.has_begun_request() {
            let handshake = wheel::tick_of_ms(self.config.limits.handshake_ms_max);
            self.set_due_earlier(key, self.now + handshake);
        }
    }

    fn consume_kept(&mut self, key: u32, mut kept: Kept) {
        let (consumed, need) = self.consume(key, kept.unused());
        if let Some(conn) = self.conns.get_mut(key as usize) {
            conn.rest.restore(kept, consumed, need);
        }
    }

    /// Acts on the whole requests or frames in `bytes`. Answers how many bytes were used, and how
    /// many there must be, the unused included, before another call makes sense.
    pub(crate) fn consume(&mut self, key: u32, bytes: &mut [u8]) -> (usize, usize) {
        let mut used = 0;
        while used < bytes.len() {
            if !self.conns.contains(key as usize) {
                return (bytes.len(), 0);
            }
            if self.has_to_wait(key) {
                return (used, 0);
            }
            let rest = &mut bytes[used..];
            let consumed = match self.conns[key as usize].role {
                Role::Request(None) => self.consume_head(key, rest),
                Role::Request(Some(_)) => self.consume_body(key, rest),
                // Answers are in the order of the requests.
                Role::History(_) | Role::Poll(_) => Consumed::Hold(0),
                Role::Subscriber(LaneKind { form: Form::Sse, .. }) => Consumed::Rest,
                Role::Closing(Closing::AwaitEnd | Closing::AfterFlush) => Consumed::Rest,
                Role::Subscriber(_)
                | Role::Multiplexed(_)
                | Role::Publisher(_)
                | Role::Echo(_)
                | Role::Closing(Closing::AwaitClose) => self.consume_frame(key, rest),
            };
            match consumed {
                // Many requests sent at once are answered in order, and no faster than the answers
                // are taken: one of a few bytes may bring one of many.
                Consumed::Bytes(count) if self.holds(key) => return (used + count, 0),
                Consumed::Bytes(count) => used += count,
                Consumed::Need(need) => return (used, need),
                Consumed::Hold(count) => return (used + count, 0),
                Consumed::Rest => return (bytes.len(), 0),
            }
        }
        (used, 0)
    }

    /// Whether what came is left until the answers to what came before are out.
    fn holds(&mut self, key: u32) -> bool {
        let Some(conn) = self.conns.get_mut(key as usize) else { return false };
        if matches!(conn.role, Role::Closing(_)) {
            return false;
        }
        conn.flags.insert_if(Flags::READ_HELD, conn.unsent_bytes() > OUTBOX_BYTES_HELD);
        conn.flags.intersects(Flags::READ_HELD | Flags::AWAITS_LOG)
    }

    /// Sends the answers to what was just read, unless an event will.
    fn send_private(&mut self, key: u32) {
        let Some(conn) = self.conns.get(key as usize) else { return };
        if !conn.delivery.outbox().is_empty() && conn.delivery.state() == FlushState::CaughtUp {
            self.flush(key);
        }
    }

    /// A read that filled the buffer may have left bytes behind; any shorter one has not, and an
    /// event will announce more. At the peer's end only reading on shows that it has ended.
    fn after_read(&mut self, key: u32, filled: bool) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        conn.flags.insert_if(Flags::READ_HELD, conn.unsent_bytes() > OUTBOX_BYTES_HELD);
        if filled || conn.flags.contains(Flags::READ_CLOSED) {
            self.queue_read(key);
        }
    }

    fn read_failed(&mut self, key: u32, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => {}
            io::ErrorKind::Interrupted => self.queue_read(key),
            _ => {
                self.refuse_plain_http(key);
                self.end(key, CloseReason::PeerGone);
            }
        }
    }
}
