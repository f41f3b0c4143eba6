//! The engine as a process: runs until it has drained or a signal ends it, reads its settings
//! again, and has the service manager told of that. Must not know what starting and stopping take
//! (that is `engine`).

use std::io;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::auth::rules;
use crate::engine::notify::Notifier;
use crate::engine::{Engine, StartError};
use crate::net::socket;
use crate::net::tls::certificates;
use crate::settings::config::Config;
use crate::settings::reload::Reloader;

/// How often feeds are tidied and signals looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Runs an engine until it has drained or a signal ends it: the first SIGTERM or SIGINT drains, a
/// second stops at once. SIGHUP has the `reloader` read the settings again; without one they stay
/// as they are. `attach` gets the engine once it accepts connections; what it answers is dropped
/// before the engine stops.
///
/// # Errors
/// [`StartError`] when it cannot start, or when a core fails.
pub fn run<T>(
    config: Config,
    mut reloader: Option<Reloader>,
    attach: impl FnOnce(&Engine) -> io::Result<T>,
) -> Result<(), StartError> {
    let hearing = listen_for_signals()?;
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
    log_capacity(&engine);
    let attached = attach(&engine)?;
    let mut notifier = Notifier::ready(&engine);
    let mut is_told_to_end = false;
    while !(engine.has_failed() || engine.is_drained()) {
        let drains = engine.shared.is_draining();
        let wait = if drains { Duration::from_millis(50) } else { HOUSEKEEPING };
        let heard = hearing.recv_timeout(wait.min(notifier.until_look(&engine)));
        match heard {
            Ok(SIGHUP) => notifier.reloading(|| reload(&engine, reloader.as_mut())),
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
        notifier.look(&engine);
    }
    notifier.stopping(&engine);
    drop(attached);
    engine.stop()?;
    tracing::info!("stopped");
    Ok(())
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

fn listen_for_signals() -> io::Result<mpsc::Receiver<i32>> {
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
