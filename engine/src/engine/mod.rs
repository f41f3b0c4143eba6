//! The engine as a whole: starts the cores and stops them. Owns their threads. Must not touch
//! connections: cores do.

pub mod metronome;
pub mod serve;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

use mio::{Poll, Waker};

use crate::auth::{AuthError, Rules};
use crate::core::entrance::Entrance;
use crate::core::shared::{Port, Shared};
use crate::core::{Core, WAKER};
use crate::delivery::doorbell::{Doorbell, Wake};
use crate::feed::encoder::Message;
use crate::feed::log::Published;
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::http::route::Door;
use crate::metrics::CoreMetrics;
use crate::net::socket;
use crate::net::tls::certificates::{Tls, TlsError};
use crate::settings::config::Config;

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
        engine.shared.set_ready();
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
        self.shared.is_drained()
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
        self.shared.stop();
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
    Builder::new().name("metronome".into()).spawn(move || {
        metronome::run(shared.registry.rated(), &shared.clock, &shared.metronome);
    })
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
