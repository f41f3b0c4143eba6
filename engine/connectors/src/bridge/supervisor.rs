//! The thread of a bridge: one session after the other, with pauses between them. Must not know
//! what a session does.

use std::future::Future;
use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use gridcast::clock::Clock;
use gridcast::engine::handle::Handle;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::bridge::backoff::Backoff;
use crate::bridge::context::{Context, stopped};
use crate::bridge::metrics::Metrics;
use crate::bridge::settings::Common;

/// How long a session may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SessionError {
    /// One of few words, for the metrics: `connect`, `refused`, `closed`, `protocol`.
    pub reason: &'static str,
    /// What happened, for a person. Never a secret.
    pub message: String,
}

impl SessionError {
    /// An error of one of few kinds.
    pub fn new(reason: &'static str, message: impl ToString) -> Self {
        Self { reason, message: message.to_string() }
    }
}

/// One kind of bridge.
pub trait Connector: Send + 'static {
    /// Once, before the first session.
    fn attach(&mut self, _context: &Context) {}

    /// One session: connects, says [`Context::is_up`], and moves messages until the connection is
    /// lost. What the other side has not acknowledged yet is kept in `self` for the next session.
    /// It is dropped when the bridge is to end.
    fn run(&mut self, context: &mut Context) -> impl Future<Output = Result<(), SessionError>>;

    /// What is done between two sessions. It is dropped when the next one begins.
    fn pause(&mut self, _context: &mut Context) -> impl Future<Output = ()> {
        std::future::pending()
    }

    /// Whether a session that is up ends by itself when the bridge is to end, because it has
    /// something to say to the other side. It has a moment for that.
    fn ends_by_itself(&self) -> bool {
        false
    }

    /// Once, after the last session: what is left is counted.
    fn end(&mut self, _context: &Context) {}
}

/// A bridge whose settings are right, of whatever kind.
pub trait Bridge: Send {
    /// Its name, in logs and metrics.
    fn name(&self) -> &str;

    /// Starts its thread.
    ///
    /// # Errors
    /// When there is no thread, or the engine takes no more feeds.
    fn start(
        self: Box<Self>,
        handle: &Handle,
        metrics: &Metrics,
        stopping: watch::Receiver<bool>,
    ) -> io::Result<JoinHandle<()>>;
}

/// A bridge of the kind of `connector`.
#[derive(Debug)]
pub struct Supervised<C> {
    /// What all bridges say of themselves.
    pub common: Common,
    /// What it does.
    pub connector: C,
}

impl<C: Connector> Bridge for Supervised<C> {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn start(
        self: Box<Self>,
        handle: &Handle,
        metrics: &Metrics,
        stopping: watch::Receiver<bool>,
    ) -> io::Result<JoinHandle<()>> {
        let Self { common, connector } = *self;
        let counters = metrics.of(&common.name, &common.kind);
        let thread = Builder::new().name(format!("bridge-{}", common.name));
        let context = Context::new(common, counters, handle, stopping)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread.spawn(move || {
            let sessions = supervise(connector, context);
            LocalSet::new().block_on(&runtime, sessions);
        })
    }
}

async fn supervise<C: Connector>(mut connector: C, mut context: Context) {
    let (clock, mut backoff) = (Clock::start(), Backoff::default());
    let stopping = context.stopping();
    connector.attach(&context);
    loop {
        let began_ns = clock.now_ns();
        let Some(ended) = session(&mut connector, &mut context).await else { break };
        let was_up = context.is_down();
        let up_ns = if was_up { clock.now_ns() - began_ns } else { 0 };
        let pause = backoff.pause(Duration::from_nanos(up_ns));
        tell(&context, ended, pause);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = connector.pause(&mut context) => {}
            () = stopped(stopping.clone()) => break,
        }
    }
    connector.end(&context);
    context.is_down();
}

/// Runs one session; none when the bridge is to end.
async fn session<C: Connector>(
    connector: &mut C,
    context: &mut Context,
) -> Option<Result<(), SessionError>> {
    let stopping = context.stopping();
    let ends_by_itself = connector.ends_by_itself();
    let up = context.counters().up.clone();
    let mut run = std::pin::pin!(connector.run(context));
    tokio::select! {
        ended = &mut run => return Some(ended).filter(|_| !*stopping.borrow()),
        () = stopped(stopping.clone()) => {}
    }
    if ends_by_itself && up.get() == 1 && tokio::time::timeout(LAST_WORDS, run).await.is_err() {
        tracing::warn!("a bridge was cut off, because the engine stops");
    }
    None
}

fn tell(context: &Context, ended: Result<(), SessionError>, pause: Duration) {
    let error = ended.err().unwrap_or_else(|| SessionError::new("closed", "the connection ended"));
    context.counters().error(error.reason);
    let (bridge, kind) = (&context.common().name, &context.common().kind);
    let next_try_ms = pause.as_millis() as u64;
    tracing::warn!(bridge, kind, %error, next_try_ms, "not connected");
}
