//! The engine as a whole: starts the cores, holds what they share, and stops them. Owns the life
//! cycle (starting, ready, draining, stopped). Must not touch connections: cores do.

pub mod metronome;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use mio::{Poll, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::auth::{AuthError, Rules};
use crate::clock::{Clock, unix_ms};
use crate::core::accept::Entrance;
use crate::core::shedding::Usage;
use crate::core::{Core, WAKER};
use crate::delivery::doorbell::{Doorbell, Wake};
use crate::feed::encoder::Message;
use crate::feed::epoch::Epoch;
use crate::feed::log::Published;
use crate::feed::registry::{FeedError, Registry, RegistryOptions};
use crate::feed::retention::{Retention, RetentionClasses};
use crate::feed::topic::Topic;
use crate::http::route::Door;
use crate::limits::admission::Admission;
use crate::metrics;
use crate::metrics::{CoreMetrics, Snapshot};
use crate::net::socket;
use crate::net::tls::certificates::{Tls, TlsError};
use crate::settings::config::{Config, RetentionClass};
use crate::settings::current::Current;
use crate::settings::layers::SettingsError;
use crate::settings::lines;
use crate::settings::reload::Reloader;

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
    /// The tokens or keys of `[auth]` cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    pub(crate) rules: Rules,
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    pub(crate) admission: Admission,
    /// None while the port speaks plain HTTP.
    pub(crate) tls: Option<Tls>,
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

/// Where an engine listens.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    clients: SocketAddr,
    /// Only the first core listens there.
    admins: Option<SocketAddr>,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    addresses: Addresses,
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
        let wanted = Addresses { clients: config.server.listen, admins: config.admin.listen };
        for address in [Some(wanted.clients), wanted.admins].into_iter().flatten() {
            socket::claim(address).map_err(|source| StartError::Listen { address, source })?;
        }
        let tls = Tls::new(&config.tls)?;
        let rules = Rules::load(&config)?;
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
        let shared = Arc::new(Shared::new(config, rules, tls, ports));
        let metronome = start_metronome(&shared)?;
        let mut engine =
            Self { shared, addresses: wanted, threads: Vec::new(), metronome: Some(metronome) };
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
        let wanted = self.addresses;
        let name = format!("core-{index}");
        let thread = Builder::new()
            .name(name)
            .spawn(move || run_core(shared, index, poll, wanted, &started))?;
        self.threads.push(thread);
        let listening = starting.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        let address = wanted.clients;
        let listens = listening.map_err(|source| StartError::Listen { address, source })?;
        let admins = listens.admins.or(wanted.admins);
        self.addresses = Addresses { admins, ..listens };
        Ok(())
    }

    /// The address listened on, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.addresses.clients
    }

    /// The administrators' address, with the real port; none when they share the clients'.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.addresses.admins
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
        self.shared.drain();
    }

    /// Puts other settings in force; the cores take them up in their next turn. Those that need a
    /// restart must be as they were.
    pub fn reconfigure(&self, config: Config) {
        self.shared.config.replace(config);
        self.shared.wake_all();
    }

    /// True once every core has drained.
    pub fn is_drained(&self) -> bool {
        self.shared.cores_drained.load(Ordering::Acquire) >= self.shared.ports.len()
    }

    /// Housekeeping, about once a second.
    pub fn tidy(&self) {
        self.shared.registry.tidy(self.shared.clock.now_ns());
        self.shared.rules.reload_if_changed(&self.shared.config.load());
        if let Some(tls) = &self.shared.tls {
            tls.reload_if_changed();
        }
    }

    /// Reads the tokens and keys of `[auth]` again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// [`AuthError`]; what was in force stays.
    pub fn reload_auth(&self) -> Result<(), AuthError> {
        self.shared.rules.reload(&self.shared.config.load())
    }

    /// Reads certificate and key again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// [`TlsError`]; what was in force stays.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.shared.tls.as_ref().map_or(Ok(()), Tls::reload)
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
    wanted: Addresses,
    started: &mpsc::Sender<io::Result<Addresses>>,
) -> io::Result<()> {
    if let Err(error) = socket::unshare_descriptors() {
        tracing::warn!(core = index, %error, "cores share one descriptor table and its limit");
    }
    let send_buffer_bytes = shared.config.load().flush.send_buffer_bytes;
    let wanted = Addresses { admins: wanted.admins.filter(|_| index == 0), ..wanted };
    let has_admins = shared.config.load().admin.listen.is_some();
    let core = listen(wanted, has_admins, send_buffer_bytes)
        .and_then(|(listens, entrances)| Ok((listens, Core::new(shared, index, poll, entrances)?)));
    let (listening, core) = match core {
        Ok((listens, core)) => (Ok(listens), Some(core)),
        Err(error) => (Err(error), None),
    };
    // The starter waits for this; were it gone, the core would be stopped anyway.
    let _ = started.send(listening);
    core.map_or(Ok(()), |mut core| core.run())
}

fn listen(
    wanted: Addresses,
    has_admins: bool,
    send_buffer_bytes: usize,
) -> io::Result<(Addresses, Vec<Entrance>)> {
    let listener = socket::listen(wanted.clients, send_buffer_bytes)?;
    let mut listens = Addresses { clients: listener.local_addr()?, admins: None };
    let door = if has_admins { Door::Clients } else { Door::All };
    let mut entrances = vec![Entrance::clients(listener, door)];
    if let Some(address) = wanted.admins {
        let listener = socket::listen(address, send_buffer_bytes)?;
        listens.admins = Some(listener.local_addr()?);
        entrances.push(Entrance::admins(listener));
    }
    Ok((listens, entrances))
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
    fn new(config: Config, rules: Rules, tls: Option<Tls>, ports: Vec<Port>) -> Self {
        // Epochs of a later start are higher: a position of an earlier one is never taken for one
        // of this one, as long as the clock does not go back over a restart.
        let epoch = Epoch(unix_ms() << 20);
        Self {
            registry: Registry::new(registry_options(&config, epoch)),
            admission: Admission::default(),
            tls,
            clock: Clock::start(),
            config: Current::new(config),
            rules,
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

    /// Begins to drain. Only the first call starts the window; a later one changes nothing.
    pub(crate) fn drain(&self) {
        self.ready.store(false, Ordering::Release);
        let (since, now_ns) = (&self.draining_since_ns, self.clock.now_ns().max(1));
        // It is none's loss that a drain which goes on is not begun again.
        let _ = since.compare_exchange(0, now_ns, Ordering::AcqRel, Ordering::Acquire);
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
            log_lines_dropped: lines::dropped(),
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

/// Runs an engine whose settings stay as they are: see [`serve`].
///
/// # Errors
/// As [`serve`].
pub fn run(config: Config, ready: impl FnOnce(SocketAddr)) -> Result<(), StartError> {
    serve(config, None, ready)
}

/// Runs an engine until it has drained or a signal ends it: the first SIGTERM or SIGINT drains, a
/// second stops at once. SIGHUP has the `reloader` read the settings again. `ready` is told the
/// address.
///
/// # Errors
/// [`StartError`] when it cannot start, or when a core fails.
pub fn serve(
    config: Config,
    mut reloader: Option<Reloader>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), StartError> {
    let hearing = hear_signals()?;
    if let Err(error) = socket::raise_descriptor_limit() {
        tracing::warn!(%error, "the soft limit of descriptors stays (ulimit -n)");
    }
    let engine = Engine::start(config)?;
    tracing::info!(
        address = %engine.address(),
        admin = engine.admin_address().map(tracing::field::display),
        cores = engine.threads.len(),
        "listening"
    );
    ready(engine.address());
    let mut is_told_to_end = false;
    while !(engine.has_failed() || engine.is_drained()) {
        let drains = engine.shared.is_draining();
        let wait = if drains { Duration::from_millis(50) } else { HOUSEKEEPING };
        match hearing.recv_timeout(wait) {
            Ok(SIGHUP) => reload(&engine, reloader.as_mut()),
            Ok(signal) if is_told_to_end => {
                tracing::warn!(signal, "second signal: stopping at once");
                break;
            }
            Ok(signal) => {
                tracing::info!(signal, connections = engine.shared.admission.total(), "draining");
                engine.drain();
                is_told_to_end = true;
            }
            Err(_) if drains => {}
            Err(_) => engine.tidy(),
        }
    }
    engine.stop()?;
    tracing::info!("stopped");
    Ok(())
}

/// All that can be read again while the engine runs is read again here.
fn reload(engine: &Engine, reloader: Option<&mut Reloader>) {
    let Some(reloader) = reloader else { return };
    match reloader.reload() {
        Ok(config) => {
            engine.reconfigure(config);
            if let Err(error) = engine.reload_tls() {
                tracing::error!(%error, "the certificate stays as it was");
            }
            if let Err(error) = engine.reload_auth() {
                tracing::error!(%error, "the tokens and keys of before stay in force");
            }
            tracing::info!("settings read again");
        }
        Err(SettingsError(errors)) => {
            for error in errors {
                tracing::error!(error, "settings stay as they were");
            }
        }
    }
}

fn hear_signals() -> io::Result<mpsc::Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (heard, hearing) = mpsc::channel();
    Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if heard.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(hearing)
}
