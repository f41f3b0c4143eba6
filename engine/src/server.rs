//! The engine as a whole: starts the cores, holds what they share, and stops them. Owns the life
//! cycle (starting, ready, draining, stopped). Must not touch connections: cores do.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use mio::{Poll, Waker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admission::Admission;
use crate::clock::{Clock, unix_ms};
use crate::config::{Config, RetentionClass};
use crate::core::{Core, WAKER};
use crate::current::Current;
use crate::doorbell::{Doorbell, Wake};
use crate::epoch::Epoch;
use crate::feed::encoding::Message;
use crate::feed::log::Published;
use crate::feed::pattern::Topic;
use crate::feed::registry::{FeedError, Registry, RegistryOptions};
use crate::feed::retention::{Retention, RetentionClasses};
use crate::metrics::{self, CoreMetrics, Snapshot};
use crate::metronome;
use crate::socket;

/// How often feeds are tidied and signals looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Why the engine did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Threads, event queues or signal handlers could not be had.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process has it: choose another with --listen)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        _ => "",
    }
}

/// What the cores share.
#[derive(Debug)]
pub struct Shared {
    pub(crate) config: Current<Config>,
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    pub(crate) admission: Admission,
    /// What the metronome counts.
    pub(crate) metronome: Arc<CoreMetrics>,
    ports: Vec<Port>,
    ready: AtomicBool,
    stopped: AtomicBool,
    /// When draining began, on the engine's clock; 0 while it has not.
    draining_since_ns: AtomicU64,
    cores_drained: AtomicUsize,
}

/// How other threads reach a core.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) metrics: Arc<CoreMetrics>,
    waker: Arc<Waker>,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainProgress {
    /// Share of the connections that should have been closed by now.
    pub(crate) share: f64,
    /// True when the deadline is over: what is left is cut.
    pub(crate) is_over: bool,
}

struct EventfdWake(Arc<Waker>);

impl Wake for EventfdWake {
    fn wake(&self) {
        // A full eventfd already wakes the core; nothing else can fail while it is open.
        let _ = self.0.wake();
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Vec<JoinHandle<io::Result<()>>>,
    metronome: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the engine: when this returns, connections are accepted on
    /// [`address`](Self::address).
    ///
    /// # Errors
    /// [`StartError`]; nothing keeps running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let wanted = config.server.listen;
        socket::claim(wanted).map_err(|source| StartError::Listen { address: wanted, source })?;
        let mut polls = Vec::new();
        let mut ports = Vec::new();
        // Wakers come first: each core's own descriptor table is a copy of this one.
        for _ in 0..config.cores() {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            let doorbell = Doorbell::new(Box::new(EventfdWake(Arc::clone(&waker))));
            let metrics = Arc::new(CoreMetrics::default());
            ports.push(Port { doorbell: Arc::new(doorbell), metrics, waker });
            polls.push(poll);
        }
        let shared = Arc::new(Shared::new(config, ports));
        let metronome = start_metronome(&shared)?;
        let mut engine =
            Self { shared, address: wanted, threads: Vec::new(), metronome: Some(metronome) };
        for (index, poll) in polls.into_iter().enumerate() {
            engine.start_core(index, poll)?;
        }
        engine.shared.ready.store(true, Ordering::Release);
        Ok(engine)
    }

    /// Starts one core and waits until it listens. The first learns the port when 0 was asked for.
    fn start_core(&mut self, index: usize, poll: Poll) -> Result<(), StartError> {
        let (started, starting) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        let address = self.address;
        let name = format!("core-{index}");
        let thread = Builder::new()
            .name(name)
            .spawn(move || run_core(shared, index, poll, address, &started))?;
        self.threads.push(thread);
        let listening = starting.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        self.address = listening.map_err(|source| StartError::Listen { address, source })?;
        Ok(())
    }

    /// The address listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Publishes from this thread, as a connection of a core would. `held` keeps the feed between
    /// calls; begin with `None` and one per topic.
    ///
    /// # Errors
    /// [`FeedError`]; nothing was published then.
    pub fn publish(
        &self,
        topic: &Topic,
        held: &mut Option<Arc<crate::feed::log::Feed>>,
        message: Message<'_>,
    ) -> Result<Published, FeedError> {
        self.shared.registry.publish(topic, held, message, self.shared.clock.now_ns())
    }

    /// The metrics text.
    pub fn metrics(&self) -> String {
        self.shared.render_metrics()
    }

    /// Begins to drain: not ready any more, connections are closed over the configured window.
    pub fn drain(&self) {
        self.shared.ready.store(false, Ordering::Release);
        let now_ns = self.shared.clock.now_ns().max(1);
        // Only the first call starts the window; a later one changes nothing.
        let _ = self.shared.draining_since_ns.compare_exchange(
            0,
            now_ns,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        self.shared.wake_all();
    }

    /// True once every core has drained.
    pub fn is_drained(&self) -> bool {
        self.shared.cores_drained.load(Ordering::Acquire) >= self.shared.ports.len()
    }

    /// Housekeeping, about once a second.
    pub fn tidy(&self) {
        self.shared.registry.tidy(self.shared.clock.now_ns());
    }

    /// Stops at once: open connections are cut.
    ///
    /// # Errors
    /// What ended a core before it was told to.
    pub fn stop(mut self) -> io::Result<()> {
        self.halt()
    }

    fn halt(&mut self) -> io::Result<()> {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.wake_all();
        self.shared.registry.rated().stop();
        if let Some(metronome) = self.metronome.take() {
            // It cannot fail but by a panic, which its thread has told.
            let _ = metronome.join();
        }
        let mut ended = Ok(());
        for thread in self.threads.drain(..) {
            let result = thread.join();
            ended = ended.and(result.unwrap_or_else(|_| Err(io::Error::other("a core panicked"))));
        }
        ended
    }

    fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Whoever wants to know how the cores ended calls `stop`.
        let _ = self.halt();
    }
}

fn start_metronome(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    Builder::new().name("metronome".into()).spawn(move || metronome::run(&shared))
}

fn run_core(
    shared: Arc<Shared>,
    index: usize,
    poll: Poll,
    address: SocketAddr,
    started: &mpsc::Sender<io::Result<SocketAddr>>,
) -> io::Result<()> {
    if let Err(error) = socket::unshare_descriptors() {
        tracing::warn!(core = index, %error, "cores share one descriptor table and its limit");
    }
    let send_buffer_bytes = shared.config.load().flush.send_buffer_bytes;
    let core = socket::listen(address, send_buffer_bytes).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((address, Core::new(shared, index, poll, listener)?))
    });
    let (listening, core) = match core {
        Ok((address, core)) => (Ok(address), Some(core)),
        Err(error) => (Err(error), None),
    };
    // The starter waits for this; were it gone, the core would be stopped anyway.
    let _ = started.send(listening);
    core.map_or(Ok(()), |mut core| core.run())
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
        log_bytes_max: config.memory.log_bytes_max,
        compact_after_ns: config.memory.compact_idle_s * 1_000_000_000,
        forget_after_ns: config.memory.topic_idle_s * 1_000_000_000,
        classes: RetentionClasses::new(classes, of_class(&retention.default)),
        epoch,
    }
}

impl Shared {
    fn new(config: Config, ports: Vec<Port>) -> Self {
        let limits = &config.limits;
        let admission = Admission::new(limits.connections_max, limits.connections_per_source_max);
        // Epochs of a later start are higher: a position of an earlier one is never taken for one
        // of this one, as long as the clock does not go back over a restart.
        let epoch = Epoch(unix_ms() << 20);
        Self {
            registry: Registry::new(registry_options(&config, epoch)),
            admission,
            clock: Clock::start(),
            config: Current::new(config),
            metronome: Arc::default(),
            ports,
            ready: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            draining_since_ns: AtomicU64::new(0),
            cores_drained: AtomicUsize::new(0),
        }
    }

    pub(crate) fn port(&self, index: usize) -> &Port {
        &self.ports[index]
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn core_drained(&self) {
        self.cores_drained.fetch_add(1, Ordering::AcqRel);
    }

    /// How far the drain is; none while there is none.
    pub(crate) fn drain_progress(&self) -> Option<DrainProgress> {
        let since_ns = self.draining_since_ns.load(Ordering::Acquire);
        if since_ns == 0 {
            return None;
        }
        let elapsed_ms = self.clock.now_ns().saturating_sub(since_ns) / 1_000_000;
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
        let range = drain.reconnect_ms_max.saturating_sub(drain.reconnect_ms_min) + 1;
        // Fibonacci hashing: neighbours get delays far apart.
        let spread = u64::from(salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        drain.reconnect_ms_min + spread % range
    }

    pub(crate) fn render_metrics(&self) -> String {
        let cores = self.ports.iter().map(|port| Arc::clone(&port.metrics));
        let cells: Vec<_> = cores.chain([Arc::clone(&self.metronome)]).collect();
        let usage = self.registry.usage();
        let snapshot = Snapshot {
            topics: usage.topics as u64,
            patterns: usage.patterns as u64,
            log_bytes: usage.log_bytes,
            connections: self.admission.total() as u64,
            ready: self.is_ready(),
        };
        metrics::render(&cells, &snapshot)
    }

    fn wake_all(&self) {
        for port in &self.ports {
            // As in `EventfdWake`: it fails only when the core is gone.
            let _ = port.waker.wake();
        }
    }
}

/// Runs an engine until a signal ends it: the first SIGTERM or SIGINT drains, a second stops at
/// once. `ready` is told the address.
///
/// # Errors
/// [`StartError`] when it cannot start, or when a core fails.
pub fn run(config: Config, ready: impl FnOnce(SocketAddr)) -> Result<(), StartError> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (heard, hearing) = mpsc::channel();
    Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if heard.send(signal).is_err() {
                return;
            }
        }
    })?;
    if let Err(error) = socket::raise_descriptor_limit() {
        tracing::warn!(%error, "the soft limit of descriptors stays (ulimit -n)");
    }
    let engine = Engine::start(config)?;
    tracing::info!(address = %engine.address(), cores = engine.threads.len(), "listening");
    ready(engine.address());
    let mut drains = false;
    while !(engine.has_failed() || drains && engine.is_drained()) {
        let wait = if drains { Duration::from_millis(50) } else { HOUSEKEEPING };
        match hearing.recv_timeout(wait) {
            Ok(signal) if drains => {
                tracing::warn!(signal, "second signal: stopping at once");
                break;
            }
            Ok(signal) => {
                tracing::info!(signal, connections = engine.shared.admission.total(), "draining");
                engine.drain();
                drains = true;
            }
            Err(_) => engine.tidy(),
        }
    }
    engine.stop()?;
    tracing::info!("stopped");
    Ok(())
}
