//! What all cores share: settings and rules in force, the registry, admission, the ports of the
//! other cores, and the engine's state (ready, draining, stopped). Must not start or stop threads
//! (that is `engine`).

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::auth::rules::Rules;
use crate::core::bells::Bells;
use crate::core::history::mailbox::Mailbox;
use crate::core::history::store::{HistoryStore, Stores};
use crate::core::letterbox::{LETTERS_KEY, Letterbox};
use crate::core::submission::{Completed, Letter, Refused, Submission, Submitting, Ticket};
use crate::delivery::doorbell::{Behind, Doorbell, Wake};
use crate::feed::awaited::AwaitedMax;
use crate::feed::domain::{Applied, ApplyError, LogBatch};
use crate::feed::epoch::{Epoch, Position};
use crate::feed::positions::in_log;
use crate::feed::registry::{Identity, Registry, RegistryOptions};
use crate::feed::retention::{Retention, RetentionClasses};
use crate::limits::admission::Admission;
use crate::limits::memory::Usage;
use crate::limits::places::Places;
use crate::metrics::CoreMetrics;
use crate::metrics::outside::Outside;
use crate::metrics::process::Process;
use crate::metrics::render::{Snapshot, render};
use crate::net::tls::certificates::Tls;
use crate::settings::config::{Config, RetentionClass};
use crate::settings::current::Current;
use crate::settings::lines;

/// What the cores share.
#[derive(Debug)]
pub struct Shared {
    /// The settings in force.
    pub config: Current<Config>,
    pub(crate) rules: Rules,
    /// All feeds.
    pub registry: Registry,
    /// How publishes become frames.
    pub submission: Submission,
    pub(crate) admission: Admission,
    /// Those of clients that have still to say who they are.
    pub(crate) guests: Places,
    /// What keeps messages for longer than feeds do.
    pub(crate) stores: Stores,
    /// None while the port speaks plain HTTP.
    pub tls: Option<Tls>,
    /// What the metronome counts.
    pub(crate) metronome: Arc<CoreMetrics>,
    /// How cores wake threads that are none.
    pub(crate) bells: Arc<Bells>,
    /// What threads that are not cores count.
    pub(crate) outside: Outside,
    ports: Vec<Port>,
    ready: AtomicBool,
    stopped: AtomicBool,
    /// Cores stand still, so that another process may take over.
    pausing: AtomicBool,
    /// Held for reading by whoever publishes and is no core, for writing while cores stand still.
    pub(crate) publishing: RwLock<()>,
    /// When draining began, on the engine's clock; 0 while it has not.
    draining_since_ns: AtomicU64,
    cores_drained: AtomicUsize,
}

/// How other threads reach a core.
#[derive(Debug)]
pub struct Port {
    pub(crate) doorbell: Arc<Doorbell>,
    /// What stores have answered.
    pub(crate) mailbox: Arc<Mailbox>,
    /// What is said of messages that were put into a log.
    pub(crate) letterbox: Letterbox,
    pub(crate) metrics: Arc<CoreMetrics>,
}

impl Port {
    /// The way to a core that is woken by `wake`.
    pub fn new(wake: impl Wake + 'static) -> Self {
        let doorbell = Arc::new(Doorbell::new(Box::new(wake)));
        let mailbox = Arc::new(Mailbox::new(&doorbell));
        Self { doorbell, mailbox, letterbox: Letterbox::default(), metrics: Arc::default() }
    }
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainProgress {
    /// Share of the connections that should have been closed by now.
    pub(crate) share: f64,
    /// True when the deadline is over: what is left is cut.
    pub(crate) is_over: bool,
}

impl Shared {
    /// What cores share that were not started yet, `unix_ms` after 1970.
    pub fn new(
        config: Config,
        rules: Rules,
        tls: Option<Tls>,
        ports: Vec<Port>,
        unix_ms: u64,
    ) -> Self {
        // Epochs of a later start are higher: a position of an earlier one is never taken for one
        // of this one, as long as the clock does not go back over a restart.
        let epoch = Epoch(unix_ms << 20);
        Self {
            registry: Registry::new(registry_options(&config, epoch)),
            submission: Submission::Local,
            admission: Admission::default(),
            guests: Places::default(),
            stores: Stores::default(),
            tls,
            config: Current::new(config),
            rules,
            metronome: Arc::default(),
            bells: Arc::default(),
            outside: Outside::default(),
            ports,
            ready: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            pausing: AtomicBool::new(false),
            publishing: RwLock::default(),
            draining_since_ns: AtomicU64::new(0),
            cores_drained: AtomicUsize::new(0),
        }
    }

    /// The same, for an engine whose publishes go through a log.
    #[must_use]
    pub fn through_log(mut self) -> Self {
        let epoch = self.registry.epoch();
        let config = self.config.load();
        let options =
            RegistryOptions { identity: Identity::Domain, ..registry_options(&config, epoch) };
        self.registry = Registry::new(options);
        self.submission = Submission::Log(Box::new(Submitting::new()));
        self
    }

    /// The log has taken a batch as message `stream_sequence`: whoever waits for it is told.
    pub fn complete(&self, batch: u64, epoch: Epoch, stream_sequence: u64) {
        let Some(log) = self.submission.log() else { return };
        let tickets = log.finish(batch).into_iter().enumerate();
        self.settle(tickets.map(|(index, ticket)| {
            let position = Position { epoch, seq: in_log(stream_sequence, index) };
            let subscribers = ticket.topic().map_or(0, |topic| self.registry.subscribers(topic));
            (ticket, Ok(Completed { position, subscribers }))
        }));
    }

    /// A batch is not going to be acknowledged: whoever waits for it is told.
    pub fn refuse(&self, batch: u64, refused: Refused) {
        let Some(log) = self.submission.log() else { return };
        self.settle(log.finish(batch).into_iter().map(|ticket| (ticket, Err(refused))));
    }

    /// Publishes what a message of the log carries, and counts that.
    ///
    /// # Errors
    /// [`ApplyError`]; some of it may have been published then.
    pub fn apply(
        &self,
        batch: &LogBatch,
        now_ns: u64,
        behind: impl FnMut(Behind),
    ) -> Result<Applied, ApplyError> {
        let applied = self.registry.apply(batch, now_ns, behind)?;
        self.metronome.encoded(applied.encodes, applied.deflates);
        Ok(applied)
    }

    /// Has `store` asked for what it keeps and no earlier one does.
    pub fn add_history(&self, store: Box<dyn HistoryStore>) {
        self.stores.add(store);
    }

    /// True once the engine drains or has stopped.
    pub fn is_stopping(&self) -> bool {
        self.is_draining() || self.is_stopped()
    }

    /// Has those who wait for messages told what became of each, and counts what is refused.
    pub fn settle(&self, outcomes: impl Iterator<Item = (Ticket, Result<Completed, Refused>)>) {
        let settle = |(ticket, outcome): (Ticket, Result<Completed, Refused>)| {
            if let (Some(log), Err(reason)) = (self.submission.log(), outcome) {
                log.count_refused(reason);
            }
            ticket.settle(outcome, &self.bells)
        };
        let settled: Vec<_> = outcomes.filter_map(settle).collect();
        let mut letters: Vec<Vec<Letter>> = self.ports.iter().map(|_| Vec::new()).collect();
        for settled in settled {
            let core = settled.core;
            if let (Some(letter), Some(letters)) = (settled.letter(), letters.get_mut(core)) {
                letters.push(letter);
            }
        }
        let told = self.ports.iter().zip(letters).filter(|(_, letters)| !letters.is_empty());
        for (port, letters) in told {
            port.letterbox.put(letters);
            port.doorbell.ring(LETTERS_KEY);
        }
    }

    pub(crate) fn port(&self, index: usize) -> &Port {
        &self.ports[index]
    }

    /// From now on connections are accepted on every core.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.submission.is_starting()
    }

    /// Has every core end at once.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake_all();
        self.registry.rated().stop();
        self.bells.stop();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Has every core stand still after its turn, or go on.
    pub(crate) fn set_pausing(&self, pausing: bool) {
        self.pausing.store(pausing, Ordering::Release);
        self.wake_all();
    }

    pub(crate) fn is_pausing(&self) -> bool {
        self.pausing.load(Ordering::Acquire)
    }

    /// To be held while publishing by whoever is no core.
    pub(crate) fn publishing(&self) -> RwLockReadGuard<'_, ()> {
        self.publishing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to drain. Only the first call starts the window; a later one changes nothing.
    pub fn drain(&self, now_ns: u64) {
        self.ready.store(false, Ordering::Release);
        let since = &self.draining_since_ns;
        // It is none's loss that a drain which goes on is not begun again.
        let _ = since.compare_exchange(0, now_ns.max(1), Ordering::AcqRel, Ordering::Acquire);
        self.wake_all();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining_since_ns.load(Ordering::Acquire) > 0
    }

    /// Bytes that hang on connections, and an estimate of what the kernel keeps for those that lag:
    /// their send buffers are full.
    pub(crate) fn memory_in_use(&self, config: &Config) -> (Usage, Usage) {
        let cells = || self.ports.iter().map(|port| &port.metrics);
        let lagging: u64 = cells().map(|cell| cell.lagging()).sum();
        let pending = Usage {
            held_bytes: cells().map(|cell| cell.pending_bytes()).sum(),
            bytes_max: config.memory.pending_bytes_max,
        };
        let sockets = Usage {
            held_bytes: lagging * config.flush.send_buffer_bytes as u64,
            bytes_max: config.memory.socket_bytes_max,
        };
        (pending, sockets)
    }

    /// What the connection that owes most owes, on whatever core.
    pub(crate) fn owed_bytes_max(&self) -> u64 {
        self.ports.iter().map(|port| port.metrics.owed_max()).max().unwrap_or(0)
    }

    pub(crate) fn cores(&self) -> usize {
        self.ports.len()
    }

    pub(crate) fn core_drained(&self) {
        self.cores_drained.fetch_add(1, Ordering::AcqRel);
    }

    /// True once every core has drained.
    pub fn is_drained(&self) -> bool {
        self.cores_drained.load(Ordering::Acquire) >= self.ports.len()
    }

    /// How far the drain is; none while there is none.
    pub(crate) fn drain_progress(&self, now_ns: u64) -> Option<DrainProgress> {
        let since_ns = self.draining_since_ns.load(Ordering::Acquire);
        if since_ns == 0 {
            return None;
        }
        let elapsed_ms = now_ns.saturating_sub(since_ns) / 1_000_000;
        let drain = self.config.load().drain.clone();
        let window_ms = drain.window_ms.max(1);
        Some(DrainProgress {
            share: (elapsed_ms as f64 / window_ms as f64).min(1.0),
            is_over: elapsed_ms >= drain.deadline_ms,
        })
    }

    /// A delay for one client, spread over the configured range by `salt`, in ms.
    pub(crate) fn reconnect_ms(&self, salt: u32) -> u64 {
        let drain = &self.config.load().drain;
        spread(salt, drain.reconnect_ms_min..=drain.reconnect_ms_max)
    }

    /// How long an event stream that breaks waits before it comes back, in ms: about as long as
    /// browsers wait, but not all of them the same.
    pub(crate) fn retry_ms(&self, salt: u32) -> u64 {
        spread(salt, 1000..=5000)
    }

    pub(crate) fn render_metrics(&self) -> String {
        let cores = self.ports.iter().map(|port| Arc::clone(&port.metrics));
        let cells = cores.chain([Arc::clone(&self.metronome)]);
        let cells: Vec<_> = cells.chain(self.outside.cells()).collect();
        let usage = self.registry.usage();
        let config = self.config.load();
        let (pending, sockets) = self.memory_in_use(&config);
        let logs = Usage { held_bytes: usage.log_bytes, bytes_max: config.memory.log_bytes_max };
        let snapshot = Snapshot {
            topics: usage.topics as u64,
            awaited: usage.awaited as u64,
            patterns: usage.patterns as u64,
            log_bytes: usage.log_bytes,
            connections: self.admission.total() as u64,
            publishes_refused: self.submission.refused(),
            log_lines_dropped: lines::dropped(),
            ready: self.is_ready(),
            draining: self.is_draining(),
            budgets: [("log", logs), ("pending", pending), ("sockets", sockets)],
            cores: self.ports.len() as u64,
            process: Process::read(),
        };
        render(&cells, &snapshot, |registry| self.outside.register(registry))
    }

    /// Has every core look at once what there is to do.
    pub fn wake_all(&self) {
        for port in &self.ports {
            port.doorbell.wake();
        }
    }
}

/// A number of `range`, the same for the same `salt`.
fn spread(salt: u32, range: RangeInclusive<u64>) -> u64 {
    let count = range.end().saturating_sub(*range.start()) + 1;
    // Fibonacci hashing: neighbours get numbers far apart.
    let hashed = u64::from(salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    range.start() + hashed % count
}

fn registry_options(config: &Config, epoch: Epoch) -> RegistryOptions {
    let of_class = |class: &RetentionClass| Retention {
        frames_max: if class.frames_max == 0 { u64::MAX } else { class.frames_max },
        bytes_max: class.bytes_max,
        age_ns_max: (class.age_ms_max > 0).then_some(class.age_ms_max * 1_000_000),
        lag: class.lag,
    };
    let retention = &config.retention;
    let classes = retention.classes.iter();
    let classes = classes.map(|row| (row.target.clone(), of_class(&row.class))).collect();
    RegistryOptions {
        topics_max: config.limits.topics_max,
        patterns_max: config.limits.patterns_max,
        rates_per_target_max: config.limits.rates_per_target_max,
        awaited_max: AwaitedMax {
            in_all: config.limits.awaited_topics_max,
            per_subject: config.limits.awaited_topics_per_token_max,
            per_connection: config.limits.awaited_topics_per_connection_max,
        },
        log_bytes_max: config.memory.log_bytes_max,
        compact_after_ns: config.memory.compact_idle_s * 1_000_000_000,
        forget_after_ns: config.memory.topic_idle_s * 1_000_000_000,
        classes: RetentionClasses::new(classes, of_class(&retention.default)),
        epoch,
        identity: Identity::PerFeed,
    }
}
