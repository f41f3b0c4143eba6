//! A core: one thread with its own event loop, listener, descriptor table, connections and lanes.
//! Owns the turn: the order of its steps, and the budget of each. Takes no lock while flushing,
//! except to look up announcements that a subscriber skipped. Must not know what bytes mean (that
//! is `requests` and `frames`).

pub mod accept;
pub mod admin;
pub mod ahead;
pub mod arriving;
pub mod bells;
pub mod brake;
pub mod conn;
pub mod deadlines;
pub mod ending;
pub mod entrance;
pub mod flags;
pub mod frames;
pub mod handed;
pub mod handing;
pub mod history;
pub mod invariants;
pub mod letterbox;
pub mod letters;
pub mod multiplex;
pub mod newcomers;
pub mod poll;
pub mod posting;
pub mod publishing;
pub mod reading;
pub mod recent;
pub mod renewal;
pub mod requests;
pub mod rights;
pub mod roles;
pub mod shared;
pub mod shedding;
pub mod state;
pub mod submission;
pub mod wheel;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use slab::Slab;

use crate::auth::Auth;
use crate::core::brake::Brake;
use crate::core::conn::{Conn, Role};
use crate::core::entrance::{Accepting, Entrance};
use crate::core::flags::Flags;
use crate::core::letterbox::LETTERS_KEY;
use crate::core::poll::answer::Last;
use crate::core::recent::Recent;
use crate::core::shared::Shared;
use crate::core::state::{Census, Draining, Newcomers, Shedding};
use crate::core::submission::Letter;
use crate::core::wheel::{TICK_MS, Tick, Wheel};
use crate::delivery::doorbell::Doorbell;
use crate::delivery::flush::{FlushState, FlushStats};
use crate::delivery::sweep::{Lanes, Look, Member, Step, Swept};
use crate::http::date::Date;
use crate::http::route::Door;
use crate::metrics::CoreMetrics;
use crate::net::backend::{Backend, Readiness, Source};
use crate::net::descriptors::Room;
use crate::net::tls::certificates::Tls;
use crate::net::tls::session::Scratch;
use crate::settings::config::Config;
use crate::settings::current::View;
use crate::wire::command::Parser;
use crate::wire::deflate::Inflater;

/// Smallest read buffer; it is shared by all connections of the core.
const READ_BUFFER_BYTES: usize = 256 << 10;
/// Moves of lanes taken in in one turn: other cores may add them as fast as they are taken.
const MOVES_PER_TURN: usize = 4096;
/// Steps of sweeps in one turn, most of which only mark a member or pass it over: that is cheap,
/// and whoever is marked by more lanes needs fewer writes.
const STEPS_PER_TURN: usize = 16 << 10;
/// Members looked at in one turn where retention has passed what a lane holds.
const LOOKS_PER_TURN: usize = 16 << 10;
/// Private bytes above which a connection is not read until they are out.
pub(crate) const OUTBOX_BYTES_HELD: usize = 64 << 10;
/// How long connections that end for one reason may take in one turn: one with thousands of
/// subscriptions takes as long as hundreds with one.
pub(crate) const ENDING_NS: u64 = 2_000_000;
/// How soon a core whose publishers wait looks whether they still have to.
const PACE: Duration = Duration::from_millis(1);

/// See the file header.
#[derive(Debug)]
pub struct Core<B: Backend> {
    pub(crate) shared: Arc<Shared>,
    /// The settings in force, looked at anew each turn.
    pub(crate) config: View<Config>,
    /// The rules in force, likewise.
    pub(crate) auth: View<Auth>,
    pub(crate) metrics: Arc<CoreMetrics>,
    pub(crate) conns: Slab<Conn<B::Stream>>,
    pub(crate) lanes: Lanes,
    pub(crate) buffer: Vec<u8>,
    pub(crate) scratch: Scratch,
    /// Inflates what clients sent deflated.
    pub(crate) inflater: Inflater,
    /// The date of its responses.
    date: Date,
    /// Reads the commands of multiplexed clients.
    pub(crate) commands: Parser,
    /// The feeds that POSTs and multiplexed clients published to lately.
    pub(crate) recent: Recent,
    /// Questions that were put to stores.
    pub(crate) tickets: u64,
    /// The last answer to a poll.
    pub(crate) polled: Last,
    /// Whether publishers have to wait for subscribers.
    pub(crate) brake: Brake,
    /// Publishers that wait, the longest waiting first.
    pub(crate) paced: VecDeque<u32>,
    /// Connections that go on in the next turn with what they have sent already.
    pub(crate) next_turn: VecDeque<u32>,
    /// Connections that are read again because the answers they waited for are out.
    pub(crate) answered: VecDeque<u32>,
    /// What is said about messages of its connections, as far as it has not been looked at.
    pub(crate) letters: VecDeque<Letter>,
    /// When the log was last seen not to answer, on the engine's clock.
    pub(crate) log_silent_ns: u64,
    /// Commands that the connection which is served may still have carried out before others have
    /// their turn.
    pub(crate) commands_left: usize,
    pub(crate) draining: Draining,
    pub(crate) census: Census,
    pub(crate) shedding: Shedding,
    /// The tick of this turn. The wheel is behind it after a sleep, until it has been advanced.
    pub(crate) now: Tick,
    pub(crate) wheel: Wheel,
    /// Connections that came due and have still to be looked at, and when that was.
    pub(crate) due: VecDeque<(u32, Tick)>,
    pub(crate) index: usize,
    pub(crate) backend: B,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) entrances: Vec<Entrance>,
    /// How many connections this core has descriptors for.
    pub(crate) room: Room,
    pub(crate) accept_warning_due: Tick,
    pub(crate) proxy_warning_due: Tick,
    /// The certificate in force; none while the port speaks plain HTTP.
    pub(crate) tls: Option<View<ServerConfig>>,
    /// Connections to be flushed once all that moved is known, and sweeps that wait for them.
    marked: VecDeque<Marked>,
    ready: VecDeque<u32>,
    pub(crate) readable: VecDeque<u32>,
    pub(crate) newcomers: Newcomers,
}

/// What waits for a flush.
#[derive(Debug)]
enum Marked {
    /// A connection with subscriptions that are behind.
    Conn(u32),
    /// A sweep; all it visited stand before it.
    Sweep(Swept),
}

impl Marked {
    /// The connection, if it is one.
    fn conn(&self) -> Option<u32> {
        match self {
            Self::Conn(key) => Some(*key),
            Self::Sweep(_) => None,
        }
    }
}

impl<B: Backend> Core<B> {
    /// A core that is about to run on the calling thread. `doors` says what each entrance of
    /// `backend` is for.
    pub fn new(shared: Arc<Shared>, index: usize, backend: B, doors: &[Door]) -> Self {
        let port = shared.port(index);
        let buffer_bytes = READ_BUFFER_BYTES.max(shared.config.load().read_bytes_min());
        Self {
            metrics: Arc::clone(&port.metrics),
            doorbell: Arc::clone(&port.doorbell),
            lanes: Lanes::new(Arc::clone(&port.doorbell)),
            conns: Slab::new(),
            buffer: vec![0; buffer_bytes],
            scratch: Scratch::default(),
            recent: Recent::default(),
            tickets: 0,
            polled: Last::default(),
            brake: Brake::default(),
            paced: VecDeque::new(),
            next_turn: VecDeque::new(),
            answered: VecDeque::new(),
            letters: VecDeque::new(),
            log_silent_ns: 0,
            commands_left: 0,
            index,
            backend,
            entrances: doors.iter().map(|&door| Entrance::new(door)).collect(),
            room: Room::UNLIMITED,
            accept_warning_due: 0,
            proxy_warning_due: 0,
            marked: VecDeque::new(),
            inflater: Inflater::default(),
            date: Date::default(),
            commands: Parser::default(),
            ready: VecDeque::new(),
            readable: VecDeque::new(),
            newcomers: Newcomers::default(),
            tls: shared.tls.as_ref().map(Tls::view),
            wheel: Wheel::default(),
            due: VecDeque::new(),
            now: 0,
            draining: Draining::No,
            census: Census::default(),
            shedding: Shedding::default(),
            config: shared.config.view(),
            auth: shared.rules.current().view(),
            shared,
        }
    }

    /// Runs turns until the engine stops, or stands still to be handed over.
    ///
    /// # Errors
    /// When the kernel no longer reports events.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        while !self.shared.is_stopped() && !self.shared.is_pausing() {
            let timeout = self.fall_asleep();
            self.wake_up(&mut events, timeout)?;
            let began_ns = self.now_ns();
            self.turn(&events);
            self.metrics.loop_turn(self.now_ns() - began_ns);
        }
        if self.shared.is_stopped() {
            self.end_all();
        }
        Ok(())
    }

    /// Has publishers on other threads know that this core sleeps. Answers for how long it may,
    /// should nothing happen; `None` sets no limit.
    pub fn fall_asleep(&mut self) -> Option<Duration> {
        let timeout = self.timeout();
        let may_sleep = timeout != Some(Duration::ZERO) && self.doorbell.park();
        if may_sleep { timeout } else { Some(Duration::ZERO) }
    }

    /// Sleeps until something has happened, `timeout` at most, and replaces `events` by that.
    ///
    /// # Errors
    /// When the kernel no longer reports events.
    pub fn wake_up(
        &mut self,
        events: &mut Vec<Readiness>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let polled = self.backend.poll(events, timeout);
        self.doorbell.unpark();
        polled
    }

    /// How long the core may sleep: until a lane has rested at most.
    fn timeout(&self) -> Option<Duration> {
        let timeout = self.timeout_of_work();
        let Some(rest_ends_ns) = self.lanes.rest_ends_ns() else { return timeout };
        let rest = Duration::from_nanos(rest_ends_ns.saturating_sub(self.now_ns()));
        Some(timeout.map_or(rest, |timeout| timeout.min(rest)))
    }

    fn timeout_of_work(&self) -> Option<Duration> {
        let more_to_do = !self.ready.is_empty()
            || !self.marked.is_empty()
            || !self.readable.is_empty()
            || !self.newcomers.is_empty()
            || !self.answered.is_empty()
            || !self.next_turn.is_empty()
            || !self.due.is_empty()
            || !self.letters.is_empty()
            || self.has_pages()
            || !(self.paced.is_empty() || self.publishers_wait())
            || self.lanes.is_sweeping()
            || self.lanes.is_looking()
            || self.accepts(Accepting::More)
            || matches!(self.draining, Draining::Going { is_late: true, .. });
        if more_to_do {
            Some(Duration::ZERO)
        } else if !self.paced.is_empty() {
            Some(PACE)
        } else if self.wheel.is_empty()
            && !self.watches_log()
            && matches!(self.draining, Draining::No)
            && self.entrances.iter().all(|entrance| entrance.accepting == Accepting::Waiting)
        {
            None
        } else {
            Some(Duration::from_millis(TICK_MS))
        }
    }

    /// One turn: take in what happened, read a bounded amount, then flush a bounded amount. Reading
    /// comes first, so that everything published in a turn leaves in the same writes.
    pub fn turn(&mut self, events: &[Readiness]) {
        if self.config.refresh(&self.shared.config) {
            let buffer_bytes = self.buffer.len().max(self.config.read_bytes_min());
            self.buffer.resize(buffer_bytes, 0);
        }
        if let (Some(view), Some(tls)) = (&mut self.tls, &self.shared.tls) {
            view.refresh(tls.current());
        }
        self.auth.refresh(self.shared.rules.current());
        self.now = (self.now_ns() / (TICK_MS * 1_000_000)) as Tick;
        for event in events {
            self.take_event(*event);
        }
        self.take_pages();
        self.read_some();
        for _ in 0..MOVES_PER_TURN {
            let Some(lane) = self.doorbell.take() else { break };
            match lane {
                LETTERS_KEY => self.take_letters(),
                _ => self.move_lane(lane),
            }
        }
        self.read_letters();
        self.end_rests();
        self.flush_some();
        self.look_some();
        // After that, so that what was published does not wait for them.
        self.serve_newcomers();
        self.tick();
        self.drain();
    }

    /// Has lanes that have rested swept. Nobody who is about to be sent away waits for a rest.
    fn end_rests(&mut self) {
        let is_draining = !matches!(self.draining, Draining::No);
        let now_ns = if is_draining { u64::MAX } else { self.now_ns() };
        while let Some(lane) = self.lanes.rested(now_ns) {
            self.move_lane(lane);
        }
    }

    fn take_event(&mut self, event: Readiness) {
        let key = match event.source {
            Source::Entrance(at) => return self.accept_ready(at),
            Source::Conn(key) => key,
        };
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        conn.flags.insert_if(Flags::READ_CLOSED, event.read_closed);
        if event.readable || conn.flags.contains(Flags::READ_CLOSED) {
            self.queue_read(key);
        }
        if event.writable {
            self.writable(key);
        }
    }

    /// Queues a connection to be read in this or a later turn.
    pub(crate) fn queue_read(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if !conn.flags.enter(Flags::READABLE) {
            return;
        }
        // Closing 20,000 sockets costs as much as accepting them, so hang-ups use the newcomers'
        // budget.
        let is_staying =
            conn.flags.contains(Flags::PROVEN) && !conn.flags.contains(Flags::READ_CLOSED);
        match is_staying && !conn.role.is_passing() {
            true => self.readable.push_back(key),
            false => self.newcomers.queue(key, conn.transport.is_handshaking()),
        }
    }

    fn writable(&mut self, key: u32) {
        if self.conns[key as usize].delivery.state() == FlushState::Blocked {
            self.queue_ready(key);
        }
    }

    /// Looks at members of lanes that retention has passed: the blocked ones lapse, what others
    /// need is kept.
    fn look_some(&mut self) {
        self.lanes.look_again();
        let mut end_ns = None;
        for _ in 0..LOOKS_PER_TURN {
            let Some(Look { lane, member, before_pos }) = self.lanes.look() else { return };
            let delivery = &self.conns[member.conn as usize].delivery;
            if !delivery.stands_before(member.subscription, before_pos) {
                continue;
            }
            if delivery.state() != FlushState::Blocked || delivery.only_waits() {
                self.lanes.keep(lane);
                continue;
            }
            self.lapse(member);
            let now_ns = self.now_ns();
            if now_ns >= *end_ns.get_or_insert(now_ns + ENDING_NS) {
                return;
            }
        }
    }

    fn lapse(&mut self, member: Member) {
        let mut stats = FlushStats::default();
        let delivery = &mut self.conns[member.conn as usize].delivery;
        let lapsed = delivery.lapse_at(member.subscription, &self.lanes, &mut stats);
        self.count(&stats);
        if let Err(end) = lapsed {
            self.end_delivery(member.conn, end);
        }
    }

    /// Flushes a slice of those that are ready and a slice of those the sweeps visit: neither must
    /// hold up the other. A multiplexed one is only marked when visited: once all lanes that moved
    /// have marked it, one write carries everything.
    fn flush_some(&mut self) {
        self.flush_ready();
        let bytes_end = self.slice_end();
        self.sweep_some(bytes_end);
        self.flush_marked(bytes_end);
    }

    /// What the counter of bytes says when a slice that begins now is over.
    fn slice_end(&self) -> u64 {
        self.metrics.bytes_out.value() + self.config.flush.bytes_per_slice as u64
    }

    fn flush_ready(&mut self) {
        let bytes_end = self.slice_end();
        for _ in 0..self.ready.len().min(self.config.flush.sockets_per_slice) {
            if self.metrics.bytes_out.value() >= bytes_end {
                return;
            }
            let Some(key) = self.ready.pop_front() else { return };
            if let Some(conn) = self.conns.get_mut(key as usize) {
                conn.flags.remove(Flags::READY);
                self.flush(key);
            }
        }
    }

    fn sweep_some(&mut self, bytes_end: u64) {
        let mut sockets_left = self.config.flush.sockets_per_slice;
        for _ in 0..STEPS_PER_TURN {
            if sockets_left == 0 || self.metrics.bytes_out.value() >= bytes_end {
                return;
            }
            match self.lanes.step() {
                Step::Idle => return,
                Step::Finished(swept) if self.marked.is_empty() => self.swept(&swept),
                Step::Finished(swept) => self.marked.push_back(Marked::Sweep(swept)),
                Step::Visit(Member { conn: key, subscription }) => {
                    let delivery = &mut self.conns[key as usize].delivery;
                    if delivery.is_multiplexed() {
                        delivery.mark(subscription);
                        self.queue_flush(key);
                    } else if delivery.only_waits() {
                        self.poll_moved(key);
                        sockets_left -= 1;
                    } else if delivery.state() == FlushState::CaughtUp {
                        self.flush(key);
                        sockets_left -= 1;
                    }
                }
            }
        }
    }

    fn flush_marked(&mut self, bytes_end: u64) {
        let mut sockets_left = self.config.flush.sockets_per_slice;
        while sockets_left > 0 && self.metrics.bytes_out.value() < bytes_end {
            match self.marked.pop_front() {
                None => return,
                Some(Marked::Sweep(swept)) => self.swept(&swept),
                Some(Marked::Conn(key)) => {
                    sockets_left -= 1;
                    let Some(conn) = self.conns.get_mut(key as usize) else { continue };
                    conn.flags.remove(Flags::MARKED);
                    if conn.delivery.state() == FlushState::CaughtUp {
                        self.flush(key);
                    }
                }
            }
        }
    }

    /// Has a connection that waits for budget, or may be written to again, flushed in its turn.
    fn queue_ready(&mut self, key: u32) {
        if self.conns[key as usize].flags.enter(Flags::READY) {
            self.ready.push_back(key);
        }
    }

    fn swept(&mut self, swept: &Swept) {
        let now_ns = self.now_ns();
        self.lanes.confirm(swept, now_ns, self.config.flush.rest_us_max * 1_000);
        self.metrics.swept(now_ns.saturating_sub(swept.published_ns));
    }

    /// Has a connection flushed in this turn or a later one, unless it is going to be anyway.
    pub(crate) fn queue_flush(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.delivery.state() == FlushState::CaughtUp && conn.flags.enter(Flags::MARKED) {
            self.marked.push_back(Marked::Conn(key));
        }
    }

    /// The engine's clock.
    pub(crate) fn now_ns(&self) -> u64 {
        self.backend.now_ns()
    }

    /// Sends what waits for a connection, and notes where that leaves it.
    pub(crate) fn flush(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let mut stats = FlushStats::default();
        let (bytes_max, lagged) = (self.config.flush.bytes_per_socket, conn.delivery.lags());
        let mut wire = conn.transport.wire(&mut self.scratch);
        let flushed = conn.delivery.flush(&self.lanes, &mut wire, bytes_max, &mut stats);
        self.count(&stats);
        match flushed {
            Ok(state) => self.after_flush(key, state, lagged, stats.bytes > 0),
            Err(end) => self.end_delivery(key, end),
        }
    }

    pub(crate) fn count(&self, stats: &FlushStats) {
        let metrics = &self.metrics;
        metrics.wrote(stats.writes, stats.frames, stats.bytes);
        if stats.writes_blocked + stats.writes_partial > 0 {
            metrics.writes_blocked.add(stats.writes_blocked);
            metrics.writes_partial.add(stats.writes_partial);
        }
        if stats.frames_conflated + stats.gaps > 0 {
            metrics.frames_conflated.add(stats.frames_conflated);
            metrics.lapses_skipped.add(stats.gaps);
            metrics.gap_frames.add(stats.gap_frames);
        }
    }

    /// Has a connection read again once no more of its answers are unsent than may be, however far
    /// behind it is with its feeds.
    fn release_held(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        if conn.unsent_bytes() <= OUTBOX_BYTES_HELD {
            conn.flags.remove(Flags::READ_HELD);
            // Its time begins anew: what it sent meanwhile was not looked at.
            conn.heard = self.now;
            self.answered.push_back(key);
        }
    }

    fn after_flush(&mut self, key: u32, state: FlushState, lagged: bool, took_bytes: bool) {
        if self.conns[key as usize].flags.contains(Flags::READ_HELD) {
            self.release_held(key);
        }
        let now = self.now;
        let conn = &mut self.conns[key as usize];
        let begins_to_lag = state == FlushState::Blocked && !lagged;
        // A socket that takes bytes is slow, not stalled: how far it may fall behind is for
        // retention to say.
        if took_bytes || begins_to_lag {
            conn.sent = now;
        }
        match state {
            FlushState::CaughtUp => {
                if lagged {
                    self.metrics.lag_ended();
                }
                if matches!(conn.role, Role::Closing(_)) {
                    self.sent_last(key);
                }
            }
            FlushState::Ready => self.queue_ready(key),
            FlushState::Blocked if begins_to_lag => {
                self.metrics.lag_began();
                let lag_ms_max = self.config.flush.lag_age_ms_max;
                self.set_due_earlier(key, now + wheel::tick_of_ms(lag_ms_max));
            }
            FlushState::Blocked => {}
        }
    }
}
