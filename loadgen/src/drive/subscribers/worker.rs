//! One subscriber thread: its state and its loop, in which sockets are opened (`opening`), read
//! (`reading`, `pace`), disconnected and reconnected (`lifecycle`, `timers`). Must not judge
//! messages: the reception does.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::{Events, Poll};
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::drive::ramp::{Attempt, Ramp};
use crate::drive::run_state::RunState;
use crate::drive::subscriber;
use crate::drive::subscriber::{ReceiveContext, State, Subscriber};
use crate::drive::subscribers::paced::{Paced, Pausing};
use crate::drive::subscribers::reconnects::Reconnects;
use crate::observe::meter::Meter;
use crate::os::socket;
use crate::plan::audience::SubscriberPlan;
use crate::plan::plan::Plan;
use crate::receive::outcome::{RampOutcome, ThreadHealth};
use crate::receive::reception::Reception;
use crate::receive::windows::WindowPart;
use crate::scenario::groups::ClassKind;
use crate::time::clock::mono_ns;
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
    pub(super) received: u64,
    pub(super) missing: u64,
    pub(super) errors: u64,
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

    /// Closes all open sockets in order, without waiting for answers.
    fn close_all(&mut self) {
        for (_, socket) in &mut self.sockets {
            if matches!(socket.state, State::Open(_)) {
                socket.connection.send_close();
            }
        }
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

/// Whether a subscriber is absent at the start.
fn joins_late(plan: &Plan, number: u32) -> bool {
    let subscriber = plan.subscribers.get(number as usize);
    let class = subscriber.and_then(|subscriber| subscriber::class_of(plan, subscriber));
    class.is_some_and(|class| class.lifecycle.joins.is_some()) || plan.joins_at(number).is_some()
}

const EVENTS: usize = 4096;
const BUFFER_BYTES_MIN: usize = 256 * 1024;
const PAUSE: Duration = Duration::from_millis(10);
/// The precision of everything timed that is not a frame.
const TIMERS_NS: u64 = SECOND_NS / 1000;
const PAUSE_IN_RAMP: Duration = Duration::from_millis(1);
