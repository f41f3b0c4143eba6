//! One subscriber thread: opens its share of the sockets, then only reads, passes the bytes to the
//! reception, and answers pings. Healthy sockets are read at once, stalled ones never; `pace`
//! handles the slow ones, and `lifecycle` those that disconnect and join. Must not judge messages:
//! the reception does.
//!
//! Readiness is edge-triggered, so a socket must be read until it is empty or put on the backlog.
//! Empty means that a read returned less than was asked for, or would block; after a hang-up only
//! an end or an error counts, because the edge of the hang-up has passed.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::{Events, Interest, Poll, Token};
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::codec::handshake;
use crate::drive::connection::{Connection, Filled};
use crate::drive::ramp::{Attempt, Ramp};
use crate::drive::run_state::RunState;
use crate::drive::subscriber::{ReceiveContext, State, Subscriber};
use crate::drive::subscribers::paced::{Paced, Pausing};
use crate::drive::subscribers::reconnects::Reconnects;
use crate::drive::{link, ramp, subscriber};
use crate::observe::meter::Meter;
use crate::os::socket;
use crate::plan::audience::SubscriberPlan;
use crate::plan::plan::Plan;
use crate::receive::expected::End;
use crate::receive::outcome::{RampOutcome, ThreadHealth};
use crate::receive::reception::{Arrival, Reception};
use crate::receive::windows::WindowPart;
use crate::scenario::groups::ClassKind;
use crate::time::clock::mono_ns;
use crate::time::draw::mix;
use crate::time::units::SECOND_NS;

/// The results of a subscriber thread.
#[derive(Debug)]
pub struct SubscriberThreadResult {
    /// Everything it received.
    pub reception: Reception,
    /// Its part of the ramp results.
    pub ramp: RampOutcome,
    /// The lateness and CPU share of the thread.
    pub health: ThreadHealth,
}

/// Runs the subscriber thread with this index until the run is finished.
pub fn run(
    run_state: &RunState<'_>,
    index: usize,
    windows: Sender<WindowPart>,
) -> io::Result<SubscriberThreadResult> {
    let mut name = format!("subscriber-{index}");
    // Every descriptor of this thread must be opened after this line: see `own_descriptors`.
    if let Err(error) = socket::own_descriptors() {
        tracing::warn!(%error, "descriptor table is shared, its limit counts for all threads");
        name.push_str(" (shared descriptors)");
    }
    if let Some(cpus) = &run_state.plan.cpus {
        socket::pin(cpus, index)?;
    }
    let mut thread = SubscriberThread::new(run_state, index, ThreadHealth::new(name), windows)?;
    thread.turn_until_finished()?;
    Ok(thread.finish())
}

pub(super) struct SubscriberThread<'s> {
    pub(super) run_state: &'s RunState<'s>,
    pub(super) poll: Poll,
    pub(super) sockets: Slab<Subscriber>,
    pub(super) opening: FxHashMap<u32, (usize, OpenedBy)>,
    pub(super) ramp: Ramp,
    pub(super) is_ramped: bool,
    /// Sockets whose read budget ran out with bytes left.
    pub(super) backlog: VecDeque<usize>,
    pub(super) paced: Vec<Paced>,
    pub(super) pausing: Vec<Pausing>,
    pub(super) paced_at_ns: u64,
    /// When the timed work was last done.
    pub(super) timers_ran_ns: u64,
    /// When timers of silent sockets were last checked.
    pub(super) protocol_timers_checked_ns: u64,
    pub(super) buffer: Vec<u8>,
    pub(super) context: ReceiveContext,
    pub(super) meter: Option<Meter>,
    pub(super) windows: Sender<WindowPart>,
    pub(super) health: ThreadHealth,
    pub(super) reported: Reported,
    pub(super) reconnects: Reconnects,
    pub(super) is_killed: bool,
    pub(super) is_drained: bool,
}

/// Why a socket is being opened.
pub(super) enum OpenedBy {
    /// For the ramp.
    First(Attempt),
    /// It joins or reconnects during the run.
    Again,
}

/// The values last added to the progress counters.
#[derive(Default)]
pub(super) struct Reported {
    received: u64,
    missing: u64,
    errors: u64,
}

impl<'s> SubscriberThread<'s> {
    fn new(
        run_state: &'s RunState<'s>,
        index: usize,
        health: ThreadHealth,
        windows: Sender<WindowPart>,
    ) -> io::Result<SubscriberThread<'s>> {
        let plan = run_state.plan;
        let threads = plan.subscriber_threads.max(1);
        let share: Vec<u32> =
            (0..plan.subscribers.len() as u32).skip(index).step_by(threads).collect();
        let mut context = ReceiveContext::new(plan, run_state.message_bytes_max());
        context.reception.reserve(&share, plan);
        let reconnects = Reconnects::new(plan, &share);
        let is_there = |subscriber: &u32| !joins_late(plan, *subscriber);
        let sockets = Slab::with_capacity(share.len());
        let ramping = share.into_iter().filter(is_there).collect();
        let rate = f64::from(plan.connect_rate) / threads as f64;
        let now_ns = mono_ns();
        Ok(SubscriberThread {
            run_state,
            poll: Poll::new()?,
            // Reserved at once, because growing step by step would leave large holes in the heap.
            sockets,
            opening: FxHashMap::default(),
            ramp: Ramp::new(ramping, rate, now_ns),
            is_ramped: false,
            backlog: VecDeque::new(),
            paced: Vec::new(),
            pausing: Vec::new(),
            paced_at_ns: now_ns,
            timers_ran_ns: now_ns,
            protocol_timers_checked_ns: now_ns,
            buffer: vec![0; BUFFER_BYTES_MIN.max(2 * run_state.message_bytes_max())],
            context,
            meter: None,
            windows,
            health,
            reported: Reported::default(),
            reconnects,
            is_killed: false,
            is_drained: false,
        })
    }

    fn turn_until_finished(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.run_state.is_finished() {
            let timeout = if self.backlog.is_empty() { self.pause() } else { Duration::ZERO };
            socket::poll_interruptible(&mut self.poll, &mut events, timeout)?;
            let now_ns = mono_ns();
            self.note_second(now_ns);
            for event in &events {
                self.on_event(event);
            }
            self.work_off_backlog();
            // Not in every turn: a turn may be a single read, and this would be a noticeable part
            // of its cost.
            if now_ns >= self.timers_ran_ns + TIMERS_NS {
                self.timers_ran_ns = now_ns;
                self.run_timers(now_ns);
            }
            if events.is_empty() && self.backlog.is_empty() {
                self.report_if_drained();
            }
        }
        Ok(())
    }

    /// Does the timed work.
    fn run_timers(&mut self, now_ns: u64) {
        self.open_due(now_ns);
        self.read_paced(now_ns);
        self.kill_if_due(now_ns);
        self.apply_lifecycle(now_ns);
        self.check_protocol_timers(now_ns);
        self.report_progress();
    }

    fn finish(mut self) -> SubscriberThreadResult {
        self.close_all();
        self.settle_reconnects();
        if self.context.reception.has_second() {
            let second = self.meter.as_ref().map_or(0, Meter::second);
            self.send_second(second);
        }
        self.health.busy_max = self.meter.as_ref().map_or(0.0, Meter::busy_max);
        let ramp = self.ramp.outcome().clone();
        SubscriberThreadResult { reception: self.context.reception, ramp, health: self.health }
    }

    fn pause(&self) -> Duration {
        if self.is_ramped { PAUSE } else { PAUSE_IN_RAMP }
    }

    // ---- opening ----

    fn open_due(&mut self, now_ns: u64) {
        if self.is_ramped {
            return;
        }
        if self.run_state.progress.is_stopped() {
            self.ramp.abandon();
        }
        while let Some(attempt) = self.ramp.due(now_ns) {
            if let Err(error) = self.open(attempt.subscriber, OpenedBy::First(attempt)) {
                self.ramp.failed(attempt, socket::failure_name(&error), now_ns);
            }
        }
        while let Some(subscriber) = self.ramp.overdue(now_ns) {
            if let Some((key, _)) = self.opening.get(&subscriber) {
                self.give_up(*key, ramp::TIMEOUT);
            }
        }
        if self.ramp.is_done() {
            self.is_ramped = true;
            self.run_state.ramped.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn open(&mut self, subscriber: u32, way: OpenedBy) -> io::Result<()> {
        let plan = &self.run_state.plan.subscribers[subscriber as usize];
        let is_throttled =
            matches!(self.kind_of(plan), ClassKind::Slow { .. } | ClassKind::Stalled);
        let throttled = is_throttled.then_some(SLOW_RECEIVE_BYTES);
        let stream = socket::connect(self.run_state.plan.target, plan.source, throttled)?;
        let connection = Connection::encrypted(stream, self.run_state.tls.as_ref())?;
        let entry = self.sockets.vacant_entry();
        let key = entry.key();
        let socket = entry.insert(Subscriber::new(connection, subscriber));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll.registry().register(socket.connection.link.socket_mut(), Token(key), interest)
        {
            self.sockets.remove(key);
            return Err(error);
        }
        self.opening.insert(subscriber, (key, way));
        Ok(())
    }

    fn finish_connect(&mut self, key: usize) {
        let socket = &mut self.sockets[key];
        match socket::is_connected(socket.connection.link.socket()) {
            Ok(false) => {}
            Ok(true) => {
                if let Err(error) = self.send_request(key) {
                    self.give_up(key, &link::failure(&error));
                }
            }
            Err(error) => self.give_up(key, socket::failure_name(&error)),
        }
    }

    /// Sends the request of a connected socket.
    fn send_request(&mut self, key: usize) -> io::Result<()> {
        let (run_state, nonce) = (self.run_state, self.nonce_of(key));
        let socket = &mut self.sockets[key];
        socket.state = State::Upgrading;
        let subscriber = &run_state.plan.subscribers[socket.plan as usize];
        let request = subscriber::offer(run_state.plan, subscriber, &nonce).request();
        socket.connection.send(request.as_bytes())
    }

    /// Reads from a socket that is being opened; returns the number of bytes to handle.
    fn fill(&mut self, key: usize) -> Option<usize> {
        match self.sockets[key].connection.fill(&mut self.buffer, usize::MAX) {
            Ok(filled) => filled.map(|filled| filled.total),
            Err(reason) => {
                self.give_up(key, &reason);
                None
            }
        }
    }

    fn finish_upgrade(&mut self, key: usize) {
        let Some(filled) = self.fill(key) else { return };
        let (plan, nonce) = (self.run_state.plan, self.nonce_of(key));
        let socket = &mut self.sockets[key];
        let subscriber = &plan.subscribers[socket.plan as usize];
        let offer = subscriber::offer(plan, subscriber, &nonce);
        match socket.answered(&self.buffer[..filled], &offer, plan) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                self.buffer.copy_within(answer.head_bytes..filled, 0);
                let left = filled - answer.head_bytes;
                match self.sockets[key].state {
                    State::Subscribing => self.take_replies(key, left),
                    _ => self.finish_opening(key, left),
                }
            }
            Err(reason) => {
                self.ramp.note_refusal(handshake::refusal_text(&self.buffer[..filled]));
                self.give_up(key, &reason);
            }
        }
    }

    fn finish_subscribing(&mut self, key: usize) {
        // Requests that a full socket did not accept are sent first, because their replies are
        // awaited.
        self.sockets[key].connection.flush();
        // At most as many reads as replies: each read returns at least one reply, or nothing is
        // left to read.
        while self.sockets.get(key).is_some_and(|socket| socket.state == State::Subscribing) {
            let Some(filled) = self.fill(key) else { return };
            self.take_replies(key, filled);
        }
    }

    fn take_replies(&mut self, key: usize, filled: usize) {
        let (mut pongs, now_ns) = (Vec::new(), self.arrival_ns());
        let socket = &mut self.sockets[key];
        match socket.on_replies(&self.buffer[..filled], &mut self.context, now_ns, &mut pongs) {
            Ok(false) => self.send_pongs(key, &pongs),
            Ok(true) => {
                self.send_pongs(key, &pongs);
                self.finish_opening(key, 0);
            }
            Err(reason) => self.give_up(key, &reason),
        }
    }

    /// The socket is open, and the buffer begins with this many bytes that arrived with the
    /// replies.
    fn finish_opening(&mut self, key: usize, filled: usize) {
        let account = self.opened(key);
        let is_open = filled == 0 || self.take(key, account, filled, self.arrival_ns());
        if is_open && self.kind_of_account(account) == ClassKind::Healthy {
            self.read_all(key, account, true);
        }
    }

    fn opened(&mut self, key: usize) -> u32 {
        let subscriber = self.sockets[key].plan;
        let (account, is_new) = match self.opening.remove(&subscriber) {
            Some((_, OpenedBy::Again)) => self.connected_again(subscriber),
            _ => (self.ramped(subscriber), true),
        };
        let socket = &mut self.sockets[key];
        socket.state = State::Open(account);
        if is_new {
            if socket.connection.takes_deflated() {
                self.context.reception.deflated(account);
            }
            self.run_state.progress.connected.fetch_add(1, Ordering::Relaxed);
        }
        self.note_pace(key, subscriber);
        account
    }

    fn ramped(&mut self, subscriber: u32) -> u32 {
        self.ramp.succeeded(mono_ns());
        let plan = &self.run_state.plan.subscribers[subscriber as usize];
        let publishers = self.run_state.plan.publishers.len();
        self.context.reception.open(plan.class, plan.follows, publishers)
    }

    pub(super) fn give_up(&mut self, key: usize, reason: &str) {
        if let Some(socket) = self.sockets.try_remove(key)
            && let Some((_, way)) = self.opening.remove(&socket.plan)
        {
            match way {
                OpenedBy::First(attempt) => self.ramp.failed(attempt, reason, mono_ns()),
                OpenedBy::Again => self.connect_failed(socket.plan, reason),
            }
        }
    }

    // ---- reading ----

    fn on_event(&mut self, event: &Readiness) {
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

    fn work_off_backlog(&mut self) {
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

    // ---- ending ----

    pub(super) fn close(&mut self, key: usize, account: u32, reason: String) {
        self.context.reception.close(account, End::Closed, reason);
        self.run_state.progress.closed.fetch_add(1, Ordering::Relaxed);
        self.sockets.remove(key);
    }

    /// Closes all open sockets in order, without waiting for answers.
    fn close_all(&mut self) {
        for (_, socket) in &mut self.sockets {
            if matches!(socket.state, State::Open(_)) {
                socket.connection.send_close();
            }
        }
    }

    // ---- reporting ----

    fn note_second(&mut self, now_ns: u64) {
        if self.meter.is_none() {
            self.meter = self
                .run_state
                .publisher_index
                .get()
                .map(|publisher_index| self.run_state.meter(publisher_index));
        }
        let Some(meter) = &mut self.meter else { return };
        if let Some(second) = meter.passed(now_ns) {
            self.run_state.progress.note_busy(meter.busy_last());
            self.send_second(second);
        }
    }

    fn send_second(&mut self, second: u32) {
        // The receiver may have ended already; the totals do not depend on windows.
        let _ = self.windows.send(self.context.reception.take_second(second));
    }

    fn report_progress(&mut self) {
        let progress = self.run_state.progress;
        let received = self.context.reception.received();
        progress.received.fetch_add(received - self.reported.received, Ordering::Relaxed);
        self.reported.received = received;
        let missing = self.context.reception.missing();
        // Both counters wrap alike when a late frame fills a gap.
        let change = missing.wrapping_sub(self.reported.missing);
        progress.lost.fetch_add(change, Ordering::Relaxed);
        self.reported.missing = missing;
        if !self.is_ramped || self.reported.errors != self.ramp.errors() {
            let errors = self.ramp.errors();
            progress.errors.fetch_add(errors - self.reported.errors, Ordering::Relaxed);
            self.reported.errors = errors;
        }
    }

    fn report_if_drained(&mut self) {
        if self.is_drained || !self.run_state.draining.load(Ordering::Acquire) {
            return;
        }
        let publisher_index = self.run_state.publisher_index.get();
        if publisher_index
            .is_none_or(|publisher_index| self.context.reception.is_complete(publisher_index))
        {
            self.is_drained = true;
            self.run_state.drained.fetch_add(1, Ordering::AcqRel);
        }
    }

    // ---- looking up ----

    pub(super) fn nonce_of(&self, key: usize) -> String {
        let subscriber = u64::from(self.sockets[key].plan);
        let word = |half| u128::from(mix(self.run_state.plan.seed, subscriber, half));
        handshake::key(word(0) << 64 | word(1))
    }

    /// Uses data that is in the cache when a socket is read; the plan is not.
    pub(super) fn kind_of_account(&self, account: u32) -> ClassKind {
        let class = usize::from(self.context.reception.class_of(account));
        self.run_state.plan.classes.get(class).map_or(ClassKind::Healthy, |class| class.kind)
    }

    pub(super) fn kind_of(&self, plan: &SubscriberPlan) -> ClassKind {
        let class = subscriber::class_of(self.run_state.plan, plan);
        class.map_or(ClassKind::Healthy, |class| class.kind)
    }

    pub(super) fn kind_at(&self, key: usize) -> ClassKind {
        self.kind_of(&self.run_state.plan.subscribers[self.sockets[key].plan as usize])
    }
}

/// The socket is closed and its key no longer valid.
pub(super) struct Ended;

/// Whether a subscriber is absent at the start.
fn joins_late(plan: &Plan, number: u32) -> bool {
    let subscriber = plan.subscribers.get(number as usize);
    let class = subscriber.and_then(|subscriber| subscriber::class_of(plan, subscriber));
    class.is_some_and(|class| class.lifecycle.joins.is_some()) || plan.joins_at(number).is_some()
}

const EVENTS: usize = 4096;
const BUFFER_BYTES_MIN: usize = 256 * 1024;
const READS_PER_WAKEUP: usize = 4;
const SLOW_RECEIVE_BYTES: usize = 8 * 1024;
const PAUSE: Duration = Duration::from_millis(10);
/// The precision of everything timed that is not a frame.
const TIMERS_NS: u64 = SECOND_NS / 1000;
const PAUSE_IN_RAMP: Duration = Duration::from_millis(1);
