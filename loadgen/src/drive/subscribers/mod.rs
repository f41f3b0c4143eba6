//! Subscriber threads: `worker` opens sockets and reads them; `pace`, `leaving` and `silence`
//! handle the sockets that behave differently.

mod leaving;
mod pace;
mod paced;
mod reconnects;
mod silence;

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
use crate::drive::stage::Stage;
use crate::drive::subscriber::{Ears, State, Subscriber};
use crate::drive::subscribers::absence::Absences;
use crate::drive::subscribers::pace::{Paced, Pausing};
use crate::drive::{link, ramp, subscriber};
use crate::observe::meter::Meter;
use crate::os::socket;
use crate::plan::audience::SubscriberPlan;
use crate::plan::plan::Plan;
use crate::receive::outcome::{RampOutcome, ThreadHealth};
use crate::receive::reception::{Arrival, End, Reception};
use crate::receive::windows::WindowPart;
use crate::scenario::groups::ClassKind;
use crate::time::clock::mono_ns;
use crate::time::draw::mix;
use crate::time::units::SECOND_NS;

/// What a subscriber thread leaves behind.
#[derive(Debug)]
pub struct SubscriberHarvest {
    /// Everything it received.
    pub reception: Reception,
    /// Its part of the ramp.
    pub ramp: RampOutcome,
    /// How it fared.
    pub health: ThreadHealth,
}

/// Runs the `index`th subscriber thread until the stage is finished.
pub fn run(
    stage: &Stage<'_>,
    index: usize,
    windows: Sender<WindowPart>,
) -> io::Result<SubscriberHarvest> {
    let mut name = format!("subscriber-{index}");
    // Everything this thread opens comes after this line: see `own_descriptors`.
    if let Err(error) = socket::own_descriptors() {
        tracing::warn!(%error, "descriptor table is shared, its limit counts for all threads");
        name.push_str(" (shared descriptors)");
    }
    if let Some(cpus) = &stage.plan.cpus {
        socket::pin(cpus, index)?;
    }
    let mut thread = SubscriberThread::new(stage, index, ThreadHealth::new(name), windows)?;
    thread.turn_until_finished()?;
    Ok(thread.harvest())
}

struct SubscriberThread<'s> {
    stage: &'s Stage<'s>,
    poll: Poll,
    sockets: Slab<Subscriber>,
    opening: FxHashMap<u32, (usize, Way)>,
    ramp: Ramp,
    is_ramped: bool,
    /// Sockets whose read budget ran out with bytes left.
    backlog: VecDeque<usize>,
    paced: Vec<Paced>,
    pausing: Vec<Pausing>,
    paced_at_ns: u64,
    /// When what is due by the clock was last done.
    tended_ns: u64,
    /// When sockets were last looked at though they had brought nothing.
    looked_ns: u64,
    buffer: Vec<u8>,
    ears: Ears,
    meter: Option<Meter>,
    windows: Sender<WindowPart>,
    health: ThreadHealth,
    told: Told,
    absences: Absences,
    is_killed: bool,
    is_drained: bool,
}

/// How a socket that is opening came to it.
enum Way {
    /// By the ramp.
    First(Attempt),
    /// It comes (back) while the run is on.
    Again,
}

/// What the progress counters were told so far.
#[derive(Default)]
struct Told {
    received: u64,
    missing: u64,
    errors: u64,
}

impl<'s> SubscriberThread<'s> {
    fn new(
        stage: &'s Stage<'s>,
        index: usize,
        health: ThreadHealth,
        windows: Sender<WindowPart>,
    ) -> io::Result<SubscriberThread<'s>> {
        let plan = stage.plan;
        let threads = plan.subscriber_threads.max(1);
        let share: Vec<u32> =
            (0..plan.subscribers.len() as u32).skip(index).step_by(threads).collect();
        let mut ears = Ears::new(plan, stage.message_bytes_max());
        ears.reception.reserve(&share, plan);
        let absences = Absences::new(plan, &share);
        let is_there = |subscriber: &u32| !joins_late(plan, *subscriber);
        let sockets = Slab::with_capacity(share.len());
        let ramping = share.into_iter().filter(is_there).collect();
        let rate = f64::from(plan.connect_rate) / threads as f64;
        let now_ns = mono_ns();
        Ok(SubscriberThread {
            stage,
            poll: Poll::new()?,
            // At once: growing would leave holes as large as what it grew out of.
            sockets,
            opening: FxHashMap::default(),
            ramp: Ramp::new(ramping, rate, now_ns),
            is_ramped: false,
            backlog: VecDeque::new(),
            paced: Vec::new(),
            pausing: Vec::new(),
            paced_at_ns: now_ns,
            tended_ns: now_ns,
            looked_ns: now_ns,
            buffer: vec![0; BUFFER_BYTES_MIN.max(2 * stage.message_bytes_max())],
            ears,
            meter: None,
            windows,
            health,
            told: Told::default(),
            absences,
            is_killed: false,
            is_drained: false,
        })
    }

    fn turn_until_finished(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stage.is_finished() {
            let timeout = if self.backlog.is_empty() { self.pause() } else { Duration::ZERO };
            socket::poll_interruptible(&mut self.poll, &mut events, timeout)?;
            let now_ns = mono_ns();
            self.note_second(now_ns);
            for event in &events {
                self.on_event(event);
            }
            self.work_off_backlog();
            // A turn may be a single read, whose cost this would be a part of.
            if now_ns >= self.tended_ns + TEND_NS {
                self.tended_ns = now_ns;
                self.tend(now_ns);
            }
            if events.is_empty() && self.backlog.is_empty() {
                self.tell_if_drained();
            }
        }
        Ok(())
    }

    /// Does what is due by the clock.
    fn tend(&mut self, now_ns: u64) {
        self.open_due(now_ns);
        self.read_paced(now_ns);
        self.kill_if_due(now_ns);
        self.stir(now_ns);
        self.look_for_silence(now_ns);
        self.tell_progress();
    }

    fn harvest(mut self) -> SubscriberHarvest {
        self.say_goodbye();
        self.settle_absences();
        if self.ears.reception.has_second() {
            let second = self.meter.as_ref().map_or(0, Meter::second);
            self.send_second(second);
        }
        self.health.busy_max = self.meter.as_ref().map_or(0.0, Meter::busy_max);
        let ramp = self.ramp.outcome().clone();
        SubscriberHarvest { reception: self.ears.reception, ramp, health: self.health }
    }

    fn pause(&self) -> Duration {
        if self.is_ramped { PAUSE } else { PAUSE_IN_RAMP }
    }

    // ---- opening ----

    fn open_due(&mut self, now_ns: u64) {
        if self.is_ramped {
            return;
        }
        if self.stage.progress.is_stopped() {
            self.ramp.abandon();
        }
        while let Some(attempt) = self.ramp.due(now_ns) {
            if let Err(error) = self.begin(attempt.subscriber, Way::First(attempt)) {
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
            self.stage.ramped.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn begin(&mut self, subscriber: u32, way: Way) -> io::Result<()> {
        let plan = &self.stage.plan.subscribers[subscriber as usize];
        let is_throttled =
            matches!(self.kind_of(plan), ClassKind::Slow { .. } | ClassKind::Stalled);
        let throttled = is_throttled.then_some(SLOW_RECEIVE_BYTES);
        let stream = socket::connect(self.stage.plan.target, plan.source, throttled)?;
        let connection = Connection::encrypted(stream, self.stage.tls.as_ref())?;
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
                if let Err(error) = self.ask(key) {
                    self.give_up(key, &link::failure(&error));
                }
            }
            Err(error) => self.give_up(key, socket::failure_name(&error)),
        }
    }

    /// Sends the request of a socket that is connected.
    fn ask(&mut self, key: usize) -> io::Result<()> {
        let (stage, nonce) = (self.stage, self.nonce_of(key));
        let socket = &mut self.sockets[key];
        socket.state = State::Upgrading;
        let subscriber = &stage.plan.subscribers[socket.plan as usize];
        let request = subscriber::offer(stage.plan, subscriber, &nonce).request();
        socket.connection.send(request.as_bytes())
    }

    /// Reads an opening socket; answers how many bytes are to be looked at.
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
        let (plan, nonce) = (self.stage.plan, self.nonce_of(key));
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
                let words = handshake::words(self.buffer.get(..filled).unwrap_or_default());
                words.into_iter().for_each(|words| self.ramp.note_words(words));
                self.give_up(key, &reason);
            }
        }
    }

    fn finish_subscribing(&mut self, key: usize) {
        // Requests that a full socket did not take go first: their replies are waited for.
        self.sockets[key].connection.flush();
        // No more reads than replies: each brings one at least, or there is nothing to read.
        while self.sockets.get(key).is_some_and(|socket| socket.state == State::Subscribing) {
            let Some(filled) = self.fill(key) else { return };
            self.take_replies(key, filled);
        }
    }

    fn take_replies(&mut self, key: usize, filled: usize) {
        let (mut pongs, now_ns) = (Vec::new(), self.arrival_ns());
        let socket = &mut self.sockets[key];
        match socket.hear_replies(&self.buffer[..filled], &mut self.ears, now_ns, &mut pongs) {
            Ok(false) => self.send_pongs(key, &pongs),
            Ok(true) => {
                self.send_pongs(key, &pongs);
                self.finish_opening(key, 0);
            }
            Err(reason) => self.give_up(key, &reason),
        }
    }

    /// The socket is open, and the buffer begins with this many bytes that it has brought already.
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
            Some((_, Way::Again)) => self.came(subscriber),
            _ => (self.ramped(subscriber), true),
        };
        let socket = &mut self.sockets[key];
        socket.state = State::Open(account);
        if is_new {
            if socket.connection.takes_deflated() {
                self.ears.reception.deflated(account);
            }
            self.stage.progress.connected.fetch_add(1, Ordering::Relaxed);
        }
        self.note_pace(key, subscriber);
        account
    }

    fn ramped(&mut self, subscriber: u32) -> u32 {
        self.ramp.succeeded(mono_ns());
        let plan = &self.stage.plan.subscribers[subscriber as usize];
        let publishers = self.stage.plan.publishers.len();
        self.ears.reception.open(plan.class, plan.follows, publishers)
    }

    fn give_up(&mut self, key: usize, reason: &str) {
        if let Some(socket) = self.sockets.try_remove(key)
            && let Some((_, way)) = self.opening.remove(&socket.plan)
        {
            match way {
                Way::First(attempt) => self.ramp.failed(attempt, reason, mono_ns()),
                Way::Again => self.turned_away(socket.plan, reason),
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
            // Only to learn why: what a stalled reader has not read stays unread until then.
            ClassKind::Stalled if hung_up => self.read_all(key, account, true),
            _ => {}
        }
    }

    fn work_off_backlog(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some(key) = self.backlog.pop_front() else { return };
            if let Some(&Subscriber { state: State::Open(account), .. }) = self.sockets.get(key) {
                self.health.wakeups += 1;
                // A hang-up may have been part of the wake-up that ran out of budget.
                self.read_all(key, account, true);
            }
        }
    }

    /// Reads a socket until it is empty or its budget is used up.
    fn read_all(&mut self, key: usize, account: u32, until_blocked: bool) {
        for _ in 0..READS_PER_WAKEUP {
            match self.read_once(key, account, usize::MAX) {
                Ok(Some(filled)) if filled.is_full || until_blocked => {}
                Ok(_) | Err(Ended) => return,
            }
        }
        self.health.budget_hits += 1;
        self.backlog.push_back(key);
    }

    /// One read of at most `limit` bytes and what it brought; `Ok(None)` if there was nothing.
    fn read_once(
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
        self.ears.reception.read(account, filled.wire);
        if self.take(key, account, filled.total, now_ns) { Ok(Some(filled)) } else { Err(Ended) }
    }

    fn arrival_ns(&self) -> u64 {
        mono_ns().wrapping_add_signed(self.stage.plan.disturbance.receiver_shift_ns)
    }

    /// Takes the frames in the filled part of the buffer; whether the socket is still open after
    /// it.
    fn take(&mut self, key: usize, account: u32, filled: usize, now_ns: u64) -> bool {
        let arrival = Arrival { account, roster: self.stage.roster.get(), now_ns };
        let mut pongs = Vec::new();
        let socket = &mut self.sockets[key];
        let ended = socket.hear(&self.buffer[..filled], &mut self.ears, arrival, &mut pongs);
        self.send_pongs(key, &pongs);
        match ended {
            Ok(()) => true,
            Err(reason) => {
                self.close(key, account, reason);
                false
            }
        }
    }

    fn send_pongs(&mut self, key: usize, pongs: &[u8]) {
        if !pongs.is_empty()
            && let Err(error) = self.sockets[key].connection.send(pongs)
        {
            // News of an end that the read side attributes better.
            tracing::debug!(%error, "pong not sent");
        }
    }

    // ---- ending ----

    fn close(&mut self, key: usize, account: u32, reason: String) {
        self.ears.reception.close(account, End::Closed, reason);
        self.stage.progress.closed.fetch_add(1, Ordering::Relaxed);
        self.sockets.remove(key);
    }

    /// Closes what is open in order, without waiting for answers.
    fn say_goodbye(&mut self) {
        for (_, socket) in &mut self.sockets {
            if matches!(socket.state, State::Open(_)) {
                socket.connection.say_goodbye();
            }
        }
    }

    // ---- telling ----

    fn note_second(&mut self, now_ns: u64) {
        if self.meter.is_none() {
            self.meter = self.stage.roster.get().map(|roster| self.stage.meter(roster));
        }
        let Some(meter) = &mut self.meter else { return };
        if let Some(second) = meter.passed(now_ns) {
            self.stage.progress.note_busy(meter.busy_last());
            self.send_second(second);
        }
    }

    fn send_second(&mut self, second: u32) {
        // The run may be over already for the receiver; the totals do not depend on windows.
        let _ = self.windows.send(self.ears.reception.take_second(second));
    }

    fn tell_progress(&mut self) {
        let progress = self.stage.progress;
        let received = self.ears.reception.received();
        progress.received.fetch_add(received - self.told.received, Ordering::Relaxed);
        self.told.received = received;
        let missing = self.ears.reception.missing();
        // Wraps in both places alike when a late frame fills a hole.
        let change = missing.wrapping_sub(self.told.missing);
        progress.lost.fetch_add(change, Ordering::Relaxed);
        self.told.missing = missing;
        if !self.is_ramped || self.told.errors != self.ramp.errors() {
            let errors = self.ramp.errors();
            progress.errors.fetch_add(errors - self.told.errors, Ordering::Relaxed);
            self.told.errors = errors;
        }
    }

    fn tell_if_drained(&mut self) {
        if self.is_drained || !self.stage.draining.load(Ordering::Acquire) {
            return;
        }
        let roster = self.stage.roster.get();
        if roster.is_none_or(|roster| self.ears.reception.is_complete(roster)) {
            self.is_drained = true;
            self.stage.drained.fetch_add(1, Ordering::AcqRel);
        }
    }

    // ---- looking up ----

    fn nonce_of(&self, key: usize) -> String {
        let subscriber = u64::from(self.sockets[key].plan);
        let word = |half| u128::from(mix(self.stage.plan.seed, subscriber, half));
        handshake::key(word(0) << 64 | word(1))
    }

    /// By what is in the cache anyway when a socket is read: the plan is not.
    fn kind_of_account(&self, account: u32) -> ClassKind {
        let class = usize::from(self.ears.reception.class_of(account));
        self.stage.plan.classes.get(class).map_or(ClassKind::Healthy, |class| class.kind)
    }

    fn kind_of(&self, plan: &SubscriberPlan) -> ClassKind {
        let class = subscriber::class_of(self.stage.plan, plan);
        class.map_or(ClassKind::Healthy, |class| class.kind)
    }

    fn kind_at(&self, key: usize) -> ClassKind {
        self.kind_of(&self.stage.plan.subscribers[self.sockets[key].plan as usize])
    }
}

/// The socket is closed and its key no longer valid.
struct Ended;

/// Whether a subscriber is not there at the start.
fn joins_late(plan: &Plan, number: u32) -> bool {
    let subscriber = plan.subscribers.get(number as usize);
    let class = subscriber.and_then(|subscriber| subscriber::class_of(plan, subscriber));
    class.is_some_and(|class| class.attendance.joins.is_some()) || plan.comes(number).is_some()
}

/// The reason of sockets that vanished on purpose.
pub const KILLED: &str = "killed";

const EVENTS: usize = 4096;
const BUFFER_BYTES_MIN: usize = 256 * 1024;
const READS_PER_WAKEUP: usize = 4;
const SLOW_RECEIVE_BYTES: usize = 8 * 1024;
const PAUSE: Duration = Duration::from_millis(10);
/// As precise as anything has to be that is not a frame.
const TEND_NS: u64 = SECOND_NS / 1000;
const PAUSE_IN_RAMP: Duration = Duration::from_millis(1);
