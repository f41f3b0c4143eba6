//! The back-plane: several nodes behind one NATS or Redis. Owns the thread of it: one session after
//! the other, with pauses between them. Must not know what a session does.
//!
//! The files without a connection are pure: [`batch`] the bytes, [`sender`] and [`applier`] the two
//! ends of a log, [`relay_sender`] and [`relay`] those of a relay. [`log_session`] and
//! [`relay_session`] put them between an engine and a [`link`], of which [`nats`] and [`redis`]
//! have two each.

pub mod applier;
pub mod batch;
pub mod link;
pub mod log_session;
pub mod metrics;
pub mod nats;
pub mod record;
pub mod redis;
pub mod relay;
pub mod relay_sender;
pub mod relay_session;
pub mod retention;
pub mod sender;
pub mod settings;
pub mod shard;
pub mod sources;
pub mod topics;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use gridcast::clock::Clock;
use gridcast::engine::handle::Handle;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::backplane::link::{LogLink, Records, RelayLink};
use crate::backplane::log_session::Log;
use crate::backplane::metrics::Metrics;
use crate::backplane::record::Record;
use crate::backplane::relay_session::Relay;
use crate::backplane::settings::{Backplane, Kind, Mode};
use crate::bridge::backoff::Backoff;
use crate::bridge::context::{Waker, stopped};
use crate::bridge::supervisor::SessionError;

/// Clients wait for the next try: it is never far.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a start waits for the record of the domain. Without an answer the node starts, and is
/// not ready.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Starts the thread of a back-plane.
///
/// # Errors
/// When this node may not take part in its domain, or a thread cannot be had.
pub fn start(
    settings: Backplane,
    handle: &Handle,
    stopping: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let metrics = Metrics::default();
    let shown = metrics.clone();
    handle.add_metrics(move |registry| shown.register(registry));
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, first_look(&settings))?;
    let thread = Builder::new().name("backplane".to_owned());
    let Backplane { kind, mode, name, node, .. } = &settings;
    tracing::info!(%kind, %mode, domain = name, node, "back-plane");
    match mode {
        Mode::Relay => {
            let relay = Relay::new(settings.clone(), handle.clone(), metrics.clone())?;
            thread.spawn(move || relay_on(&runtime, settings, relay, &metrics, stopping))
        }
        Mode::Log => {
            let wake = Arc::new(Notify::new());
            let waker = Box::new(Waker(Arc::clone(&wake)));
            let side = handle.attach_log(handle.relay(waker)).map_err(io::Error::other)?;
            let dedups = match kind {
                Kind::Nats => nats::log::Log::DEDUPS,
                Kind::Redis => redis::log::Log::DEDUPS,
            };
            let log = Log::new(settings.clone(), side, wake, metrics.clone(), dedups);
            thread.spawn(move || log_on(&runtime, settings, log, &metrics, stopping))
        }
    }
}

/// Whether this node may take part, where the engine says so at once.
async fn first_look(settings: &Backplane) -> io::Result<()> {
    let looking = async {
        match settings.kind {
            Kind::Nats => look(&mut nats::relay::Relay::open(settings).await?, settings).await,
            Kind::Redis => look(&mut redis::relay::Relay::open(settings).await?, settings).await,
        }
    };
    match timeout(FIRST_LOOK, looking).await {
        Ok(Err(error)) if error.reason == "disagrees" => Err(io::Error::other(error)),
        _ => Ok(()),
    }
}

/// Compares the record of the domain with what this node was told, and writes it where none is.
async fn look(link: &mut impl Records, settings: &Backplane) -> Result<(), SessionError> {
    let Backplane { mode, shards, .. } = *settings;
    match link.record().await? {
        Some(text) => Record::agree(&text, mode, shards)
            .map(drop)
            .map_err(|error| SessionError::new("disagrees", error)),
        // Where another was faster, the next look finds what it wrote.
        None => link.replace_record(None, &Record::new(mode, shards).to_text()).await.map(drop),
    }
}

fn relay_on(
    runtime: &Runtime,
    settings: Backplane,
    mut relay: Relay,
    metrics: &Metrics,
    stopping: watch::Receiver<bool>,
) {
    let sessions = supervise(metrics, async |pause| match pause {
        Some(pause) => {
            // It goes on counting until the pause is over.
            let _ = timeout(pause, relay.run_alone()).await;
            Ok(())
        }
        None => relay_once(&settings, &mut relay).await,
    });
    run_until_stopped(runtime, sessions, stopping);
}

async fn relay_once(settings: &Backplane, relay: &mut Relay) -> Result<(), SessionError> {
    async fn run(
        link: &mut impl RelayLink,
        settings: &Backplane,
        relay: &mut Relay,
    ) -> Result<(), SessionError> {
        look(link, settings).await?;
        relay.run(link).await
    }
    match settings.kind {
        Kind::Nats => run(&mut nats::relay::Relay::open(settings).await?, settings, relay).await,
        Kind::Redis => run(&mut redis::relay::Relay::open(settings).await?, settings, relay).await,
    }
}

fn log_on(
    runtime: &Runtime,
    settings: Backplane,
    mut log: Log,
    metrics: &Metrics,
    stopping: watch::Receiver<bool>,
) {
    let sessions = supervise(metrics, async |pause| match pause {
        Some(pause) => {
            // Publishers that have waited for too long are refused meanwhile.
            let _ = timeout(pause, log.run_alone()).await;
            Ok(())
        }
        None => log_once(&settings, &mut log).await,
    });
    run_until_stopped(runtime, sessions, stopping);
}

async fn log_once(settings: &Backplane, log: &mut Log) -> Result<(), SessionError> {
    match settings.kind {
        Kind::Nats => {
            let mut link = log.alone_while(nats::log::Log::open(settings)).await?;
            log.run(&mut link).await
        }
        Kind::Redis => {
            let mut link = log.alone_while(redis::log::Log::open(settings)).await?;
            log.run(&mut link).await
        }
    }
}

fn run_until_stopped(
    runtime: &Runtime,
    sessions: impl Future<Output = ()>,
    stopping: watch::Receiver<bool>,
) {
    LocalSet::new().block_on(runtime, async {
        tokio::select! {
            () = sessions => {}
            () = stopped(stopping) => {}
        }
    });
}

/// One session after the other. `step` runs a session, or what is to be done for so long while
/// there is none.
async fn supervise(
    metrics: &Metrics,
    mut step: impl AsyncFnMut(Option<Duration>) -> Result<(), SessionError>,
) {
    let (clock, mut backoff) = (Clock::start(), Backoff::up_to(PAUSE_MAX));
    loop {
        let began_ns = clock.now_ns();
        let ended = step(None).await;
        metrics.up.set(0);
        let error = ended.err().unwrap_or_else(|| SessionError::new("closed", "it ended"));
        metrics.error(error.reason);
        let pause = backoff.pause(Duration::from_nanos(clock.now_ns() - began_ns));
        let next_try_ms = pause.as_millis() as u64;
        tracing::warn!(reason = error.reason, %error, next_try_ms, "back-plane: not connected");
        // An error of a pause is none.
        let _ = step(Some(pause)).await;
    }
}
