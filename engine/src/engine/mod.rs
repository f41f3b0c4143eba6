//! The engine as a whole: starts the cores and stops them. Owns their threads. Must not touch
//! connections: cores do.

mod core_thread;
pub mod follower;
pub mod handle;
pub mod handover;
pub mod log_side;
pub mod metronome;
pub mod notify;
pub mod publisher;
pub mod serve;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::auth::rules::Rules;
use crate::clock::{Clock, unix_ms};
use crate::core::shared::{Port, Shared};
use crate::engine::core_thread::{Addresses, Line, Order, Report, Way};
use crate::engine::handle::Handle;
use crate::engine::handover::HandoverError;
use crate::feed::message::Message;
use crate::feed::published::Published;
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::net::mio_backend::MioBackend;
use crate::net::socket;
use crate::net::tls::certificates::Tls;
use crate::settings::choices::Publishing;
use crate::settings::config::Config;
use crate::settings::layers::SettingsError;

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
    /// Files that settings name cannot be used, or rows of them.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another process runs, and could not be taken over from: it goes on.
    #[error("cannot take over: {0}")]
    Handover(#[from] HandoverError),
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

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    clock: Clock,
    addresses: Addresses,
    threads: Vec<JoinHandle<io::Result<()>>>,
    leads: Vec<Lead>,
    metronome: Option<JoinHandle<()>>,
    bells: Option<JoinHandle<()>>,
}

/// The engine's end of what a core and it say to one another.
#[derive(Debug)]
struct Lead {
    orders: Sender<Order>,
    reports: Receiver<Report>,
}

impl Engine {
    /// Whether an engine would start, as far as its settings and the files they name decide it.
    ///
    /// # Errors
    /// What is wrong with each.
    pub fn check(config: &Config) -> Result<(), SettingsError> {
        read_files(config).map(drop)
    }

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
        let ways = (0..config.cores()).map(|_| Way::Listen(wanted)).collect();
        let mut engine = Self::begin(config, (Clock::start(), unix_ms()), ways)?;
        engine.finish()?;
        Ok(engine)
    }

    /// An engine with a core for each of `ways`, whose clock began `unix_ms` after 1970.
    fn begin(
        config: Config,
        (clock, unix_ms): (Clock, u64),
        ways: Vec<Way>,
    ) -> Result<Self, StartError> {
        let addresses = Addresses { clients: config.server.listen, admins: config.admin.listen };
        let (tls, rules) = read_files(&config)?;
        let mut backends = Vec::new();
        let mut ports = Vec::new();
        // Wakers come first: each core's own descriptor table is a copy of this one.
        for _ in &ways {
            let (backend, wake) = MioBackend::new(clock)?;
            ports.push(Port::new(wake));
            backends.push(backend);
        }
        let publishing = config.publishing;
        let shared = Shared::new(config, rules, tls, ports, unix_ms);
        let shared = Arc::new(match publishing {
            Publishing::Local => shared,
            Publishing::Log => shared.through_log(),
        });
        let bells = Some(start_bells(&shared)?);
        let (threads, leads, metronome) = (Vec::new(), Vec::new(), None);
        let mut engine = Self { shared, clock, addresses, threads, leads, metronome, bells };
        for (index, (backend, way)) in backends.into_iter().zip(ways).enumerate() {
            engine.start_core(index, backend, way)?;
        }
        Ok(engine)
    }

    /// Takes up work.
    fn finish(&mut self) -> io::Result<()> {
        self.metronome = Some(start_metronome(&self.shared, self.clock)?);
        self.shared.set_ready();
        Ok(())
    }

    /// The same, for an engine whose publishes go through a log: it listens, but is not ready
    /// before that is attached and answers.
    ///
    /// # Errors
    /// [`StartError`]; nothing keeps running then.
    pub fn start_with(config: Config, publishing: Publishing) -> Result<Self, StartError> {
        Self::start(Config { publishing, ..config })
    }

    /// Starts one core and waits until it listens. The first learns the port when 0 was asked for.
    fn start_core(
        &mut self,
        index: usize,
        backend: MioBackend,
        way: Way,
    ) -> Result<(), StartError> {
        let (orders, ordered) = unbounded();
        let (reports, reported) = unbounded();
        let line = Line { orders: ordered, reports };
        let shared = Arc::clone(&self.shared);
        let way = match way {
            Way::Listen(_) => Way::Listen(self.addresses),
            other => other,
        };
        let name = format!("core-{index}");
        let run = move || core_thread::run(shared, index, backend, way, &line);
        self.threads.push(Builder::new().name(name).spawn(run)?);
        let listening = match reported.recv() {
            Ok(Report::Listening(listening)) => listening,
            _ => Err(io::ErrorKind::Other.into()),
        };
        self.leads.push(Lead { orders, reports: reported });
        let address = self.addresses.clients;
        let listens = listening.map_err(|source| StartError::Listen { address, source })?;
        self.addresses = Addresses { admins: listens.admins.or(self.addresses.admins), ..listens };
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
        let _quiet = self.shared.publishing();
        self.shared.registry.publish(topic, held, message, self.clock.now_ns())
    }

    /// The way in and out for threads that are not cores.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared), self.clock)
    }

    /// The metrics text.
    pub fn metrics(&self) -> String {
        self.shared.render_metrics()
    }

    /// Begins to drain: not ready any more, connections are closed over the configured window.
    pub fn drain(&self) {
        self.shared.drain(self.clock.now_ns());
    }

    /// Puts other settings in force; the cores take them up in their next turn. Those that need a
    /// restart must be as they were.
    pub fn reconfigure(&self, config: Config) {
        self.shared.config.replace(config);
        self.shared.wake_all();
    }

    /// True once every core has drained.
    pub fn is_drained(&self) -> bool {
        self.shared.is_drained()
    }

    /// Housekeeping, about once a second.
    pub fn tidy(&self) {
        self.shared.registry.tidy(self.clock.now_ns());
        self.shared.rules.reload_if_changed(&self.shared.config.load());
        if let Some(tls) = &self.shared.tls {
            tls.reload_if_changed();
        }
    }

    /// Reads the tokens and keys of `[auth]` again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// What is wrong with each of them; what was in force stays.
    pub fn reload_auth(&self) -> Result<(), SettingsError> {
        self.shared.rules.reload(&self.shared.config.load())
    }

    /// Reads certificate and key again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// What is wrong with either; what was in force stays.
    pub fn reload_tls(&self) -> Result<(), SettingsError> {
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
        self.shared.stop();
        // A core that waits for an order gets none any more.
        self.leads.clear();
        for helper in [self.metronome.take(), self.bells.take()].into_iter().flatten() {
            // It cannot fail but by a panic, which its thread has told.
            let _ = helper.join();
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

/// All the files that settings name, read.
fn read_files(config: &Config) -> Result<(Option<Tls>, Rules), SettingsError> {
    SettingsError::both(Tls::new(&config.tls), Rules::load(config))
}

/// It shares the table of descriptors with whoever starts the engine.
fn start_bells(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let bells = Arc::clone(&shared.bells);
    Builder::new().name("bells".into()).spawn(move || bells.run())
}

fn start_metronome(shared: &Arc<Shared>, clock: Clock) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    Builder::new().name("metronome".into()).spawn(move || {
        metronome::run(&shared, &clock);
    })
}
