//! The engine as a whole: starts the cores and stops them. Owns their threads. Must not touch
//! connections: cores do.

pub mod follower;
pub mod handle;
pub mod log_side;
pub mod metronome;
pub mod notify;
pub mod publisher;
pub mod serve;

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::auth::rules::Rules;
use crate::clock::{Clock, unix_ms};
use crate::core::Core;
use crate::core::shared::{Port, Shared};
use crate::engine::handle::Handle;
use crate::feed::message::Message;
use crate::feed::published::Published;
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::http::route::Door;
use crate::net::descriptors::Room;
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
    clock: Clock,
    addresses: Addresses,
    threads: Vec<JoinHandle<io::Result<()>>>,
    metronome: Option<JoinHandle<()>>,
    bells: Option<JoinHandle<()>>,
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
        let (tls, rules) = read_files(&config)?;
        let clock = Clock::start();
        let mut backends = Vec::new();
        let mut ports = Vec::new();
        // Wakers come first: each core's own descriptor table is a copy of this one.
        for _ in 0..config.cores() {
            let (backend, wake) = MioBackend::new(clock)?;
            ports.push(Port::new(wake));
            backends.push(backend);
        }
        let publishing = config.publishing;
        let shared = Shared::new(config, rules, tls, ports, unix_ms());
        let shared = Arc::new(match publishing {
            Publishing::Local => shared,
            Publishing::Log => shared.through_log(),
        });
        let metronome = Some(start_metronome(&shared, clock)?);
        let bells = Some(start_bells(&shared)?);
        let threads = Vec::new();
        let mut engine = Self { shared, clock, addresses: wanted, threads, metronome, bells };
        for (index, backend) in backends.into_iter().enumerate() {
            engine.start_core(index, backend)?;
        }
        engine.shared.set_ready();
        Ok(engine)
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
    fn start_core(&mut self, index: usize, backend: MioBackend) -> Result<(), StartError> {
        let (started, starting) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        let wanted = self.addresses;
        let name = format!("core-{index}");
        let thread = Builder::new()
            .name(name)
            .spawn(move || run_core(shared, index, backend, wanted, &started))?;
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
        metronome::run(shared.registry.rated(), &clock, &shared.metronome);
    })
}

fn run_core(
    shared: Arc<Shared>,
    index: usize,
    mut backend: MioBackend,
    wanted: Addresses,
    started: &mpsc::Sender<io::Result<Addresses>>,
) -> io::Result<()> {
    let unshared = socket::unshare_descriptors();
    if let Err(error) = &unshared {
        tracing::warn!(core = index, %error, "cores share one descriptor table and its limit");
    }
    let sharers = if unshared.is_ok() { 1 } else { shared.cores() };
    let send_buffer_bytes = shared.config.load().flush.send_buffer_bytes;
    let wanted = Addresses { admins: wanted.admins.filter(|_| index == 0), ..wanted };
    let has_admins = shared.config.load().admin.listen.is_some();
    let listening = listen(wanted, send_buffer_bytes, &mut backend);
    let is_listening = listening.is_ok();
    let room = Room::measure(sharers);
    shared.port(index).metrics.set_room(room.connections, room.open, room.limit);
    // The starter waits for this; were it gone, the core would be stopped anyway.
    let _ = started.send(listening);
    if !is_listening {
        return Ok(());
    }
    let first = if has_admins { Door::Clients } else { Door::All };
    let doors: Vec<Door> = iter::once(first).chain(wanted.admins.map(|_| Door::Admins)).collect();
    let mut core = Core::new(shared, index, backend, &doors);
    core.room = room;
    core.run()
}

/// Opens the entrances of a core: the clients' and, where one is wanted, the administrators'.
fn listen(
    wanted: Addresses,
    send_buffer_bytes: usize,
    backend: &mut MioBackend,
) -> io::Result<Addresses> {
    let mut open = |address| -> io::Result<SocketAddr> {
        let listener = socket::listen(address, send_buffer_bytes)?;
        let listens = listener.local_addr()?;
        backend.add_entrance(listener)?;
        Ok(listens)
    };
    Ok(Addresses { clients: open(wanted.clients)?, admins: wanted.admins.map(open).transpose()? })
}
