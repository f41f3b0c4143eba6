//! The engine as a process: runs until it has drained or a signal ends it, reads its settings
//! again, and has the service manager told of that. Must not know what starting and stopping take
//! (that is `engine`).

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::auth::rules;
use crate::engine::handover::giving::Given;
use crate::engine::handover::{self, giving, taking};
use crate::engine::notify::Notifier;
use crate::engine::{Engine, StartError};
use crate::net::passing::Passage;
use crate::net::socket;
use crate::net::tls::certificates;
use crate::settings::config::Config;
use crate::settings::reload::Reloader;

/// How often feeds are tidied and signals looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How much longer than its drain another process may take to end.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// What the engine's thread is told.
#[derive(Debug)]
enum Heard {
    /// A signal.
    Signal(i32),
    /// A process that wants to take over.
    Successor(UnixStream),
}

/// Runs an engine until it has drained or a signal ends it: the first SIGTERM or SIGINT drains, a
/// second stops at once. SIGHUP has the `reloader` read the settings again; without one they stay
/// as they are. SIGUSR2 starts the program again, which takes over. `attach` gets the engine once
/// it accepts connections; what it answers is dropped before the engine stops.
///
/// # Errors
/// [`StartError`] when it cannot start, or when a core fails.
pub fn run<T>(
    config: Config,
    reloader: Option<Reloader>,
    attach: impl FnOnce(&Engine) -> io::Result<T>,
) -> Result<(), StartError> {
    let (hears, hearing) = mpsc::channel();
    listen_for_signals(hears.clone())?;
    if let Err(error) = socket::raise_descriptor_limit() {
        tracing::warn!(%error, "the soft limit of descriptors stays (ulimit -n)");
    }
    let handover = Some(config.server.handover.clone()).filter(|path| !path.as_os_str().is_empty());
    let (engine, predecessor) = start(config, handover.as_deref())?;
    if let Some(path) = &handover {
        meet(path, hears, predecessor.is_some())?;
    }
    tracing::info!(
        address = %engine.address(),
        admin = engine.admin_address().map(tracing::field::display),
        cores = engine.threads.len(),
        "listening"
    );
    log_capacity(&engine);
    // Two bridges of one name would disturb one another.
    predecessor.into_iter().for_each(taking::wait_until_detached);
    let attached = attach(&engine)?;
    let mut serving = Serving {
        engine: &engine,
        reloader,
        attached: Some(attached),
        successor: None,
        program: std::env::current_exe().ok().filter(|_| handover.is_some()),
        child: None,
        notifier: Notifier::ready(&engine),
        is_told_to_end: false,
    };
    serving.until_the_end(&hearing);
    serving.notifier.stopping(&engine);
    let successor = serving.successor.take();
    if successor.is_some() {
        serving.notifier.succeeded(serving.child_pid());
    }
    drop(serving);
    engine.stop()?;
    // Now the address is free.
    drop(successor);
    tracing::info!("stopped");
    Ok(())
}

/// An engine of its own, or one that goes on where another process stops.
fn start(config: Config, handover: Option<&Path>) -> Result<(Engine, Option<Passage>), StartError> {
    let patience = Duration::from_millis(config.drain.deadline_ms) + DRAIN_MARGIN;
    let asked = handover.map(|path| taking::ask(path, patience)).transpose()?;
    match asked.flatten() {
        Some(other) => taking::take(config, other).map(|(engine, way)| (engine, Some(way))),
        None => Engine::start(config).map(|engine| (engine, None)),
    }
}

/// Listens for the next process. One that has taken over serves on where that cannot be done.
fn meet(path: &Path, hears: mpsc::Sender<Heard>, has_taken_over: bool) -> io::Result<()> {
    let take = move |stream| hears.send(Heard::Successor(stream)).is_ok();
    match handover::listen(path, take) {
        Err(error) if has_taken_over => {
            tracing::error!(%error, "server.handover: nobody can take over from this process");
            Ok(())
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("server.handover: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// A running engine, and what it was told so far.
struct Serving<'e, T> {
    engine: &'e Engine,
    reloader: Option<Reloader>,
    /// What is attached; none once another process has taken over.
    attached: Option<T>,
    /// The way to the process that waits for the end of this one.
    successor: Option<Passage>,
    /// The file of this program, as it was called when it was started.
    program: Option<PathBuf>,
    /// The process that was started to take over.
    child: Option<Child>,
    notifier: Notifier,
    is_told_to_end: bool,
}

impl<T> Serving<'_, T> {
    fn until_the_end(&mut self, hearing: &mpsc::Receiver<Heard>) {
        while !(self.engine.has_failed() || self.engine.is_drained()) {
            let drains = self.engine.shared.is_draining();
            let wait = if drains { Duration::from_millis(50) } else { HOUSEKEEPING };
            match hearing.recv_timeout(wait.min(self.notifier.until_look(self.engine))) {
                Ok(Heard::Signal(SIGHUP)) => {
                    self.notifier.reloading();
                    reload(self.engine, self.reloader.as_mut());
                    self.notifier.reloaded();
                }
                Ok(Heard::Signal(SIGUSR2)) => self.start_successor(),
                Ok(Heard::Signal(signal)) if self.is_told_to_end => {
                    tracing::warn!(signal, "second signal: stopping at once");
                    return;
                }
                Ok(Heard::Signal(signal)) => {
                    let connections = self.engine.shared.admission.total();
                    tracing::info!(signal, connections, "draining");
                    self.engine.drain();
                    self.is_told_to_end = true;
                }
                Ok(Heard::Successor(stream)) => self.hand_over(stream),
                Err(_) if drains => {}
                Err(_) => {
                    self.engine.tidy();
                    self.look_after_successor();
                }
            }
            self.notifier.look(self.engine);
        }
    }

    /// Starts the program again, with the arguments that this process was started with.
    fn start_successor(&mut self) {
        let Some(program) = &self.program else {
            return tracing::warn!("SIGUSR2: nothing to do without server.handover");
        };
        if self.child.is_some() || self.engine.shared.is_draining() {
            return tracing::warn!("SIGUSR2: another process is taking over already");
        }
        let mut command = Command::new(program);
        // The watchdog of the service manager is to be the next process's.
        command.args(std::env::args_os().skip(1)).env_remove("WATCHDOG_PID");
        self.notifier.reloading();
        match command.spawn() {
            Ok(child) => {
                tracing::info!(program = %program.display(), pid = child.id(), "started again");
                self.child = Some(child);
            }
            Err(error) => {
                tracing::error!(program = %program.display(), %error, "cannot be started again");
                self.notifier.reloaded();
            }
        }
    }

    /// Tells when the process that was to take over has ended instead.
    fn look_after_successor(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = ended {
            tracing::error!(%status, "the process that was to take over has ended: this one stays");
            self.child = None;
            self.notifier.reloaded();
        }
    }

    fn child_pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn hand_over(&mut self, stream: UnixStream) {
        match giving::give(self.engine, stream) {
            Ok(Given::All(mut passage)) => {
                self.notifier.succeeded(self.child_pid());
                self.engine.drain();
                drop(self.attached.take());
                giving::detached(&mut passage);
            }
            Ok(Given::Nothing(passage, reason)) => {
                tracing::warn!(reason, "not handed over: draining for the process that waits");
                self.successor = Some(passage);
                if self.child.is_some() {
                    self.notifier.drains_for_another();
                }
                self.engine.drain();
            }
            Err(error) => tracing::error!(%error, "not handed over: this process goes on"),
        }
    }
}

/// Logs how many connections fit, before one is refused.
fn log_capacity(engine: &Engine) {
    let cells = || (0..engine.shared.cores()).map(|core| &engine.shared.port(core).metrics);
    let connections: u64 = cells().map(|cell| cell.room.value()).fold(0, u64::saturating_add);
    let descriptors = cells().map(|cell| cell.descriptors_max.value()).max();
    tracing::info!(
        connections,
        cores = engine.shared.cores(),
        descriptors,
        "so many connections fit, spread evenly over the cores: for more, raise the limit of \
         descriptors (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of containers)"
    );
}

/// All that can be read again while the engine runs is read again here.
fn reload(engine: &Engine, reloader: Option<&mut Reloader>) {
    let Some(reloader) = reloader else { return };
    match reloader.reload() {
        Ok(config) => {
            engine.reconfigure(config);
            if let Err(error) = engine.reload_tls() {
                error.log(certificates::OLD_STAYS);
            }
            if let Err(error) = engine.reload_auth() {
                error.log(rules::OLD_STAY);
            }
            tracing::info!("settings read again");
        }
        Err(error) => error.log("settings stay as they were"),
    }
}

fn listen_for_signals(hears: mpsc::Sender<Heard>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2])?;
    let hear = move || {
        for signal in signals.forever() {
            if hears.send(Heard::Signal(signal)).is_err() {
                return;
            }
        }
    };
    Builder::new().name("signals".into()).spawn(hear).map(drop)
}
