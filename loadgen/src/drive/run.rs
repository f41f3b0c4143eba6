//! One run from ramp to outcome: starts the threads, gives them the common start, follows the
//! phases and collects the results; for a whole load, or for one part of a load that several hosts
//! share. Must not read sockets or messages itself.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drive::coordinator::{CoordinationLost, Coordinator, SingleHost, Start};
use crate::drive::publishers;
use crate::drive::publishers::connect::{ConnectError, Connected};
use crate::drive::publishers::{PublisherThreadResult, connect};
use crate::drive::run_state::RunState;
use crate::drive::subscribers::worker;
use crate::drive::subscribers::worker::SubscriberThreadResult;
use crate::observe::progress::{Phase, Progress};
use crate::os::socket;
use crate::os::tls::TlsError;
use crate::plan::part::Part;
use crate::plan::plan::Plan;
use crate::receive::outcome::Outcome;
use crate::receive::outcome::window::Window;
use crate::receive::reception;
use crate::receive::reception::Reception;
use crate::receive::spread::SpreadSamples;
use crate::receive::stamp::PublisherIndex;
use crate::receive::windows::{WindowPart, Windows};
use crate::time::clock::mono_ns;
use crate::time::units::nanoseconds;

/// Why a run has no result.
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
    NoSubscribers(u64, Refused),
    /// The operating system refused something a thread needs.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The hosts that share the load can no longer coordinate.
    #[error(transparent)]
    CoordinationLost(#[from] CoordinationLost),
    /// Stopped before anything was published.
    #[error("stopped before the start")]
    Stopped,
    /// A thread of the generator panicked.
    #[error("a {0} thread panicked: a bug in the load generator")]
    Panicked(&'static str),
}

/// Why nobody could connect.
#[derive(Debug)]
pub struct Refused {
    /// Failures by kind.
    reasons: String,
    /// What the server said.
    said: Option<String>,
    /// Whether this host lacked something.
    is_local: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.reasons)?;
        match &self.said {
            Some(said) => write!(out, "; the server said: {said}"),
            None => Ok(()),
        }
    }
}

impl RunError {
    /// Whether it is the server that let nobody in.
    pub fn is_servers(&self) -> bool {
        match self {
            RunError::NoSubscribers(_, refused) => !refused.is_local,
            RunError::Publisher(error) => !socket::is_local(&error.reason),
            _ => false,
        }
    }
}

/// Executes a whole plan. `progress` shows how far it is, and can stop it.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Outcome, RunError> {
    perform(plan, progress, &SingleHost).map(RunResult::whole)
}

/// Executes this host's part of a plan.
pub fn perform(
    plan: &Plan,
    progress: &Progress,
    coordinator: &dyn Coordinator,
) -> Result<RunResult, RunError> {
    check(plan)?;
    let run_state = RunState::new(plan, progress)?;
    let performed = thread::scope(|scope| {
        // Threads stop when the run is finished, on every path out of this function.
        let _finish = FinishOnDrop(&run_state);
        execute(&run_state, scope, coordinator)
    });
    progress.enter(Phase::Done);
    performed
}

/// The results of one part of a load.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// Everything except the spread, which needs the arrivals of all parts.
    pub outcome: Outcome,
    /// Arrivals of the frames that are sampled for the spread.
    pub arrivals: SpreadSamples,
}

impl RunResult {
    /// The outcome of a load that has only this part.
    pub fn whole(self) -> Outcome {
        Outcome { spread: self.arrivals.finish(), ..self.outcome }
    }
}

fn execute<'scope, 'env>(
    run_state: &'env RunState<'env>,
    scope: &'scope Scope<'scope, 'env>,
    coordinator: &dyn Coordinator,
) -> Result<RunResult, RunError> {
    let (sender, receiver) = mpsc::channel();
    connect::probe(run_state)?;
    let subscribers = spawn_subscribers(run_state, scope, &sender)?;
    await_ramp(run_state, &subscribers);
    if run_state.progress.is_stopped() {
        return Err(RunError::Stopped);
    }
    if has_ended(&subscribers) || is_alone(run_state) {
        run_state.finish.store(true, Ordering::Release);
        return Err(no_subscribers(join(subscribers, "subscriber")?));
    }
    run_state.progress.enter(Phase::Ready);
    let connected = connect_publishers(run_state)?;
    let publisher_index = set_start(run_state, coordinator)?;
    let publishers = spawn_publishers(run_state, publisher_index, scope, connected, &sender)?;
    drop(sender);
    let mut seconds = Seconds { coordinator, receiver, windows: Windows::default() };
    let has_failed = || has_ended(&publishers) || has_ended(&subscribers);
    let measured = await_published(run_state, publisher_index, &mut seconds, has_failed);
    agree_on_published(publisher_index, run_state.plan.part, coordinator)?;
    await_drained(run_state, &mut seconds, has_failed);
    let ended_ns = mono_ns();
    run_state.finish.store(true, Ordering::Release);
    let published = join(publishers, "publisher")?;
    let received = join(subscribers, "subscriber")?;
    let windows = seconds.finish();
    let results = ThreadResults { measured, ended_ns, published, received, windows };
    collect(run_state.plan, publisher_index, coordinator, results)
}

type Handles<'scope, T> = Vec<ScopedJoinHandle<'scope, io::Result<T>>>;

fn spawn_subscribers<'scope, 'env>(
    run_state: &'env RunState<'env>,
    scope: &'scope Scope<'scope, 'env>,
    windows: &Sender<WindowPart>,
) -> Result<Handles<'scope, SubscriberThreadResult>, RunError> {
    (0..run_state.plan.subscriber_threads.max(1))
        .map(|index| {
            let windows = windows.clone();
            thread::Builder::new()
                .name(format!("subscriber-{index}"))
                .spawn_scoped(scope, move || worker::run(run_state, index, windows))
                .map_err(|error| RunError::System("cannot start a thread", error))
        })
        .collect()
}

fn spawn_publishers<'scope, 'env>(
    run_state: &'env RunState<'env>,
    publisher_index: &'env PublisherIndex,
    scope: &'scope Scope<'scope, 'env>,
    connected: Vec<Vec<Connected>>,
    windows: &Sender<WindowPart>,
) -> Result<Handles<'scope, PublisherThreadResult>, RunError> {
    connected
        .into_iter()
        .enumerate()
        .map(|(index, sockets)| {
            let windows = windows.clone();
            thread::Builder::new()
                .name(format!("publisher-{index}"))
                .spawn_scoped(scope, move || {
                    publishers::run(run_state, publisher_index, index, sockets, windows)
                })
                .map_err(|error| RunError::System("cannot start a thread", error))
        })
        .collect()
}

/// Waits until every subscriber socket is open or given up.
fn await_ramp(run_state: &RunState<'_>, subscribers: &Handles<'_, SubscriberThreadResult>) {
    let is_ramped = || run_state.ramped.load(Ordering::Acquire) >= subscribers.len();
    while !(is_ramped() || has_ended(subscribers)) {
        thread::sleep(POLL_INTERVAL);
    }
}

/// Whether a thread ended early, which means an error; joining it gives the error.
fn has_ended<T>(handles: &Handles<'_, T>) -> bool {
    handles.iter().any(ScopedJoinHandle::is_finished)
}

fn is_alone(run_state: &RunState<'_>) -> bool {
    let connected = run_state.progress.connected.load(Ordering::Relaxed);
    connected == 0 && !run_state.plan.subscribers.is_empty()
}

fn no_subscribers(received: Vec<SubscriberThreadResult>) -> RunError {
    let ramp = crate::drive::ramp::merge(received.into_iter().map(|result| result.ramp));
    let reasons = ramp.errors.iter().map(|(reason, tries)| format!("{tries} x {reason}"));
    let refused = Refused {
        reasons: reasons.collect::<Vec<_>>().join(", "),
        said: ramp.said.clone(),
        is_local: ramp.errors.keys().any(|reason| socket::is_local(reason)),
    };
    RunError::NoSubscribers(ramp.attempted, refused)
}

fn connect_publishers(run_state: &RunState<'_>) -> Result<Vec<Vec<Connected>>, RunError> {
    let threads = run_state.plan.publishing_threads();
    (0..threads).map(|index| connect::connect(run_state, index).map_err(RunError::from)).collect()
}

fn set_start<'s>(
    run_state: &'s RunState<'_>,
    coordinator: &dyn Coordinator,
) -> Result<&'s PublisherIndex, RunError> {
    let Start { unix_ns, utc, sample_every } = coordinator.start(run_state.plan)?;
    let publisher_index = PublisherIndex::new(run_state.plan, unix_ns, utc, sample_every);
    Ok(run_state.publisher_index.get_or_init(|| publisher_index))
}

/// Follows the phases until everything is published. Returns the length of the measured phase.
fn await_published(
    run_state: &RunState<'_>,
    publisher_index: &PublisherIndex,
    seconds: &mut Seconds<'_>,
    has_failed: impl Fn() -> bool,
) -> Duration {
    let (measured_from, measured_to) = run_state.measured_ns(publisher_index);
    let publishers = run_state.plan.publishing_threads();
    let is_published = || run_state.published.load(Ordering::Acquire) >= publishers;
    // The phase lasts as long as planned, although its last tick is a period before its end.
    let is_over = |now_ns| now_ns >= measured_to || run_state.progress.is_stopped();
    while !(is_published() && is_over(mono_ns())) {
        enter_phase(run_state, publisher_index, mono_ns());
        let patience_ns = measured_to + nanoseconds(run_state.plan.drain);
        if mono_ns() > patience_ns || has_failed() {
            break; // a server that no longer reads: what was not written is unsent
        }
        wait_for_reports(run_state, seconds);
    }
    Duration::from_nanos(mono_ns().min(measured_to).saturating_sub(measured_from))
}

/// Gets the frame counts of the other parts, so that this part can wait for those frames.
fn agree_on_published(
    publisher_index: &PublisherIndex,
    part: Part,
    coordinator: &dyn Coordinator,
) -> Result<(), CoordinationLost> {
    let publishers = 0..publisher_index.publishers() as u32;
    let own =
        |publisher| if part.has(publisher) { publisher_index.log(publisher).written() } else { 0 };
    let written = coordinator.published(publishers.clone().map(own).collect())?;
    for (publisher, frames) in publishers.zip(written) {
        if !part.has(publisher) {
            publisher_index.log(publisher).set_written(frames);
        }
    }
    Ok(())
}

/// Waits for the frames in transit.
fn await_drained(
    run_state: &RunState<'_>,
    seconds: &mut Seconds<'_>,
    has_failed: impl Fn() -> bool,
) {
    run_state.progress.enter(Phase::Drain);
    run_state.draining.store(true, Ordering::Release);
    let patience_ns = mono_ns() + nanoseconds(run_state.plan.drain);
    let threads = run_state.plan.subscriber_threads.max(1);
    let is_drained = || run_state.drained.load(Ordering::Acquire) >= threads;
    while !is_drained() && mono_ns() < patience_ns && !has_failed() {
        wait_for_reports(run_state, seconds);
    }
}

fn enter_phase(run_state: &RunState<'_>, publisher_index: &PublisherIndex, now_ns: u64) {
    let (measured_from, measured_to) = run_state.measured_ns(publisher_index);
    if now_ns >= measured_to {
        run_state.progress.enter(Phase::Drain);
    } else if now_ns >= measured_from {
        run_state.progress.enter(Phase::Measure);
    } else if now_ns >= publisher_index.start_ns() {
        run_state.progress.enter(Phase::Warmup);
    }
}

fn wait_for_reports(run_state: &RunState<'_>, seconds: &mut Seconds<'_>) {
    match seconds.receiver.recv_timeout(POLL_INTERVAL) {
        Ok(part) => {
            seconds.add(part);
            if let Some(window) = seconds.windows.take_latest() {
                run_state.progress.note_window(window);
            }
        }
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL_INTERVAL),
    }
}

fn collect(
    plan: &Plan,
    publisher_index: &PublisherIndex,
    coordinator: &dyn Coordinator,
    results: ThreadResults,
) -> Result<RunResult, RunError> {
    let ThreadResults { measured, ended_ns, published, received, windows } = results;
    let mut cut = vec![false; publisher_index.publishers()];
    for publisher in published.iter().flat_map(|result| &result.cut) {
        cut[*publisher as usize] = true;
    }
    let mut threads = Vec::new();
    let publishers = publishers::merge(published.into_iter().map(|result| {
        threads.push(result.health);
        result.outcome
    }));
    let mut ramps = Vec::new();
    let receptions = received.into_iter().map(|result| {
        threads.push(result.health);
        ramps.push(result.ramp);
        result.reception
    });
    let receptions: Vec<Reception> = receptions.collect();
    let ends = coordinator.seen(reception::ends(&receptions, publisher_index, &cut, plan.part))?;
    let (classes, arrivals) = reception::settle(receptions, publisher_index, &ends, plan, ended_ns);
    let outcome = Outcome {
        started_unix_ns: publisher_index.start_unix_ns(),
        measured,
        ramp: crate::drive::ramp::merge(ramps),
        publishers,
        classes,
        threads,
        windows,
        ..Outcome::default()
    };
    Ok(RunResult { outcome, arrivals })
}

fn join<T>(handles: Handles<'_, T>, what: &'static str) -> Result<Vec<T>, RunError> {
    let join = |handle: ScopedJoinHandle<'_, io::Result<T>>| {
        let result = handle.join().map_err(|_| RunError::Panicked(what))?;
        result.map_err(|error| RunError::System(what, error))
    };
    handles.into_iter().map(join).collect()
}

/// Rejects a plan whose indices are out of bounds for the data plane.
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

/// The results of all threads.
struct ThreadResults {
    measured: Duration,
    /// When the drain was over.
    ended_ns: u64,
    published: Vec<PublisherThreadResult>,
    received: Vec<SubscriberThreadResult>,
    windows: Vec<Window>,
}

/// The per-second reports of threads, on the way to this part's windows and to the other parts.
struct Seconds<'e> {
    coordinator: &'e dyn Coordinator,
    receiver: Receiver<WindowPart>,
    windows: Windows,
}

impl Seconds<'_> {
    fn add(&mut self, part: WindowPart) {
        self.coordinator.second(&part);
        self.windows.add(part);
    }

    fn finish(mut self) -> Vec<Window> {
        while let Ok(part) = self.receiver.try_recv() {
            self.add(part);
        }
        self.windows.finish()
    }
}

struct FinishOnDrop<'s>(&'s RunState<'s>);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finish.store(true, Ordering::Release);
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(5);
const RUN_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
