//! One run from ramp to outcome: starts the threads, gives them the common start, watches the
//! phases pass and settles the accounts. Must not read sockets or messages itself.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::clock::{SECOND_NS, UtcMap, mono_ns};
use crate::outcome::Outcome;
use crate::plan::Plan;
pub use crate::progress::{Phase, Progress};
use crate::publishers::{self, ConnectError, Connected, PublisherHarvest};
use crate::reception;
use crate::spread;
use crate::stage::{Stage, nanoseconds};
use crate::stamp::Roster;
use crate::subscribers::{self, SubscriberHarvest};
use crate::tls::TlsError;
use crate::windows::{WindowPart, Windows};

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan contradicts itself.
    #[error("plan: {0}")]
    Plan(&'static str),
    /// Connections cannot be encrypted.
    #[error("encryption: {0}")]
    Tls(#[from] TlsError),
    /// A publisher could not connect.
    #[error(transparent)]
    Publisher(#[from] ConnectError),
    /// There are subscribers in the plan, but none could connect.
    #[error("none of {0} subscribers could connect: {1}")]
    NoSubscribers(u64, String),
    /// The operating system refused something a thread needs.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// Stopped before anything was published.
    #[error("stopped before the start")]
    Stopped,
    /// A thread of the generator panicked.
    #[error("a {0} thread panicked: a bug in the load generator")]
    Panicked(&'static str),
}

/// Carries a plan out. `progress` tells how far it is, and can stop it.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Outcome, RunError> {
    check(plan)?;
    let stage = Stage::new(plan, progress)?;
    let outcome = thread::scope(|scope| {
        // Threads end when the stage is finished, however this function is left.
        let _finish = FinishOnDrop(&stage);
        conduct(&stage, scope)
    });
    progress.enter(Phase::Done);
    outcome
}

fn conduct<'scope, 'env>(
    stage: &'env Stage<'env>,
    scope: &'scope Scope<'scope, 'env>,
) -> Result<Outcome, RunError> {
    let (sender, receiver) = mpsc::channel();
    let subscribers = spawn_subscribers(stage, scope, &sender)?;
    await_ramp(stage, &subscribers);
    if stage.progress.is_stopped() {
        return Err(RunError::Stopped);
    }
    if has_ended(&subscribers) || is_alone(stage) {
        stage.finish.store(true, Ordering::Release);
        return Err(no_subscribers(join(subscribers, "subscriber")?));
    }
    stage.progress.enter(Phase::Ready);
    let connected = connect_publishers(stage)?;
    let roster = set_start(stage)?;
    let publishers = spawn_publishers(stage, roster, scope, connected, &sender)?;
    drop(sender);
    let mut windows = Windows::default();
    let has_failed = || has_ended(&publishers) || has_ended(&subscribers);
    let measured = supervise(stage, roster, &receiver, &mut windows, has_failed);
    stage.finish.store(true, Ordering::Release);
    let published = join(publishers, "publisher")?;
    let received = join(subscribers, "subscriber")?;
    receiver.try_iter().for_each(|part| windows.add(part));
    Ok(collect(stage.plan, roster, measured, Harvest { published, received, windows }))
}

type Handles<'scope, T> = Vec<ScopedJoinHandle<'scope, io::Result<T>>>;

fn spawn_subscribers<'scope, 'env>(
    stage: &'env Stage<'env>,
    scope: &'scope Scope<'scope, 'env>,
    windows: &Sender<WindowPart>,
) -> Result<Handles<'scope, SubscriberHarvest>, RunError> {
    (0..stage.plan.subscriber_threads.max(1))
        .map(|index| {
            let windows = windows.clone();
            thread::Builder::new()
                .name(format!("subscriber-{index}"))
                .spawn_scoped(scope, move || subscribers::run(stage, index, windows))
                .map_err(|error| RunError::System("cannot start a thread", error))
        })
        .collect()
}

fn spawn_publishers<'scope, 'env>(
    stage: &'env Stage<'env>,
    roster: &'env Roster,
    scope: &'scope Scope<'scope, 'env>,
    connected: Vec<Vec<Connected>>,
    windows: &Sender<WindowPart>,
) -> Result<Handles<'scope, PublisherHarvest>, RunError> {
    connected
        .into_iter()
        .enumerate()
        .map(|(index, lines)| {
            let windows = windows.clone();
            thread::Builder::new()
                .name(format!("publisher-{index}"))
                .spawn_scoped(scope, move || publishers::run(stage, roster, index, lines, windows))
                .map_err(|error| RunError::System("cannot start a thread", error))
        })
        .collect()
}

/// Waits until every subscriber socket is open or given up.
fn await_ramp(stage: &Stage<'_>, subscribers: &Handles<'_, SubscriberHarvest>) {
    let is_ramped = || stage.ramped.load(Ordering::Acquire) >= subscribers.len();
    while !(is_ramped() || has_ended(subscribers)) {
        thread::sleep(LOOK);
    }
}

/// Whether a thread ended before it was told to: with an error, which its join tells.
fn has_ended<T>(handles: &Handles<'_, T>) -> bool {
    handles.iter().any(ScopedJoinHandle::is_finished)
}

fn is_alone(stage: &Stage<'_>) -> bool {
    let connected = stage.progress.connected.load(Ordering::Relaxed);
    connected == 0 && !stage.plan.subscribers.is_empty()
}

fn no_subscribers(received: Vec<SubscriberHarvest>) -> RunError {
    let ramp = crate::ramp::merge(received.into_iter().map(|harvest| harvest.ramp));
    let reasons = ramp.errors.iter().map(|(reason, tries)| format!("{tries} x {reason}"));
    RunError::NoSubscribers(ramp.attempted, reasons.collect::<Vec<_>>().join(", "))
}

fn connect_publishers(stage: &Stage<'_>) -> Result<Vec<Vec<Connected>>, RunError> {
    let threads = stage.plan.publisher_threads.clamp(1, stage.plan.publishers.len());
    (0..threads).map(|index| publishers::connect(stage, index).map_err(RunError::from)).collect()
}

/// Sets the common start: a whole UTC second, far enough ahead for every thread to be ready and for
/// the idle sockets to be looked at.
fn set_start<'s>(stage: &'s Stage<'_>) -> Result<&'s Roster, RunError> {
    let utc = UtcMap::sample();
    let earliest_ns = utc.unix_of_mono(mono_ns()) + LEAD_NS;
    let start_unix_ns = earliest_ns.div_ceil(SECOND_NS) * SECOND_NS;
    let plan = stage.plan;
    let frames: Vec<u64> = {
        let probe = Roster::new(plan, start_unix_ns, utc, 1);
        let schedules = (0..plan.publishers.len() as u32).map(|index| *probe.schedule(index));
        schedules.map(|schedule| u64::from(schedule.ticks - schedule.measured_from)).collect()
    };
    let sample_every = spread::sample_every(plan, &frames);
    let roster = Roster::new(plan, start_unix_ns, utc, sample_every);
    Ok(stage.roster.get_or_init(|| roster))
}

/// Watches the phases pass. Answers how long the measured phase was.
fn supervise(
    stage: &Stage<'_>,
    roster: &Roster,
    windows: &Receiver<WindowPart>,
    into: &mut Windows,
    has_failed: impl Fn() -> bool,
) -> Duration {
    let (measured_from, measured_to) = stage.measured_ns(roster);
    let publishers = stage.plan.publisher_threads.clamp(1, stage.plan.publishers.len());
    let is_published = || stage.published.load(Ordering::Acquire) >= publishers;
    // The phase lasts as long as planned, though its last tick is a period before its end.
    let is_over = |now_ns| now_ns >= measured_to || stage.progress.is_stopped();
    while !(is_published() && is_over(mono_ns())) {
        enter_phase(stage, roster, mono_ns());
        let patience_ns = measured_to + nanoseconds(stage.plan.drain);
        if mono_ns() > patience_ns || has_failed() {
            break; // a server that no longer reads: what was not written is unsent
        }
        rest(stage, windows, into);
    }
    let ended_ns = mono_ns().min(measured_to);
    stage.progress.enter(Phase::Drain);
    stage.draining.store(true, Ordering::Release);
    let patience_ns = mono_ns() + nanoseconds(stage.plan.drain);
    let threads = stage.plan.subscriber_threads.max(1);
    let is_drained = || stage.drained.load(Ordering::Acquire) >= threads;
    while !is_drained() && mono_ns() < patience_ns && !has_failed() {
        rest(stage, windows, into);
    }
    Duration::from_nanos(ended_ns.saturating_sub(measured_from))
}

fn enter_phase(stage: &Stage<'_>, roster: &Roster, now_ns: u64) {
    let (measured_from, measured_to) = stage.measured_ns(roster);
    if now_ns >= measured_to {
        stage.progress.enter(Phase::Drain);
    } else if now_ns >= measured_from {
        stage.progress.enter(Phase::Measure);
    } else if now_ns >= roster.start_ns() {
        stage.progress.enter(Phase::Warmup);
    }
}

fn rest(stage: &Stage<'_>, windows: &Receiver<WindowPart>, into: &mut Windows) {
    match windows.recv_timeout(LOOK) {
        Ok(part) => {
            into.add(part);
            if let Some(window) = into.take_latest() {
                stage.progress.note_window(window);
            }
        }
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
    }
}

fn collect(plan: &Plan, roster: &Roster, measured: Duration, harvest: Harvest) -> Outcome {
    let Harvest { published, received, windows } = harvest;
    let mut cut = vec![false; roster.publishers()];
    for publisher in published.iter().flat_map(|harvest| &harvest.cut) {
        cut[*publisher as usize] = true;
    }
    let mut threads = Vec::new();
    let publishers = publishers::merge(published.into_iter().map(|harvest| {
        threads.push(harvest.health);
        harvest.outcome
    }));
    let mut ramps = Vec::new();
    let receptions = received.into_iter().map(|harvest| {
        threads.push(harvest.health);
        ramps.push(harvest.ramp);
        harvest.reception
    });
    let (classes, samples) = reception::settle(receptions.collect(), roster, &cut, plan);
    Outcome {
        started_unix_ns: roster.start_unix_ns(),
        measured,
        ramp: crate::ramp::merge(ramps),
        publishers,
        classes,
        spread: samples.finish(),
        threads,
        windows: windows.finish(),
    }
}

fn join<T>(handles: Handles<'_, T>, what: &'static str) -> Result<Vec<T>, RunError> {
    let join = |handle: ScopedJoinHandle<'_, io::Result<T>>| {
        let result = handle.join().map_err(|_| RunError::Panicked(what))?;
        result.map_err(|error| RunError::System(what, error))
    };
    handles.into_iter().map(join).collect()
}

/// Refuses what the data plane would have to index out of bounds for.
fn check(plan: &Plan) -> Result<(), RunError> {
    let publishers = plan.publishers.len();
    let follows_known = plan.subscribers.iter().all(|subscriber| {
        let follows = subscriber.follows;
        let mut followed = plan.followed(follows);
        let expected = follows.count(publishers);
        plan.followed(follows).count() == expected
            && followed.all(|publisher| (publisher as usize) < publishers)
    });
    let class_known = |class: u16| usize::from(class) < plan.classes.len();
    let mut ids: Vec<u16> = plan.publishers.iter().map(|publisher| publisher.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let complaints = [
        (publishers > 0, "no publishers"),
        (ids.len() == publishers, "two publishers have the same id"),
        (follows_known, "a subscriber follows a publisher that does not exist"),
        (plan.subscribers.iter().all(|s| class_known(s.class)), "a subscriber without a class"),
        (!plan.measure.is_zero(), "nothing to measure"),
        (plan.warmup.saturating_add(plan.measure) <= RUN_MAX, "longer than a month"),
    ];
    match complaints.into_iter().find(|(holds, _)| !holds) {
        Some((_, complaint)) => Err(RunError::Plan(complaint)),
        None => Ok(()),
    }
}

/// What all threads leave behind.
struct Harvest {
    published: Vec<PublisherHarvest>,
    received: Vec<SubscriberHarvest>,
    windows: Windows,
}

struct FinishOnDrop<'s>(&'s Stage<'s>);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finish.store(true, Ordering::Release);
    }
}

const LOOK: Duration = Duration::from_millis(5);
const LEAD_NS: u64 = SECOND_NS / 2;
const RUN_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
