//! The way in and out of a running engine for threads that are not cores: publishing, following,
//! the log's side, stores, metrics of their own. Must not start or stop anything.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::core::history::store::HistoryStore;
use crate::core::shared::Shared;
use crate::delivery::doorbell::Wake;
use crate::engine::follower::Follower;
use crate::engine::log_side::{AttachError, LogSide};
use crate::engine::publisher::Publisher;
use crate::feed::gap::GapReason;
use crate::feed::log::FeedName;
use crate::feed::log::interruption::Loss;
use crate::feed::options::Rate;
use crate::feed::registry::FeedError;
use crate::feed::source::Source;
use crate::feed::topic::{Target, Topic};

/// See the file header. Clones lead to the same engine.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    clock: Clock,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, clock: Clock) -> Self {
        Self { shared, clock }
    }

    /// A number that no other part of this process has, by which its messages are told from others.
    ///
    /// # Errors
    /// When all 65,535 are given.
    pub fn new_source(&self) -> Result<Source, TooManySources> {
        self.shared.outside.new_source().ok_or(TooManySources)
    }

    /// A way to publish, for one thread; `source` is said of each message.
    #[must_use]
    pub fn publisher(&self, source: Source) -> Publisher {
        let metrics = self.shared.outside.new_cell();
        Publisher::new(Arc::clone(&self.shared), self.clock, source, metrics)
    }

    /// Follows a topic or pattern from now on. `wake` is called when there is something to read
    /// after there was nothing.
    ///
    /// # Errors
    /// [`FeedError`] when a limit forbids another feed.
    pub fn follow(
        &self,
        target: &Target,
        rate: Option<Rate>,
        wake: Box<dyn Wake>,
    ) -> Result<Follower, FeedError> {
        let name = FeedName { target: target.clone(), rate };
        Follower::new(&self.shared.registry, name, self.clock, self.relay(wake))
    }

    /// The same wake, which may be called on the thread of a core: a thread of the engine passes it
    /// on. A core has descriptors of its own, so that what wakes a runtime would write into the
    /// socket of a client there.
    #[must_use]
    pub fn relay(&self, wake: Box<dyn Wake>) -> Box<dyn Wake> {
        self.shared.bells.relay(wake)
    }

    /// The time on the engine's clock, ns.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// True from the beginning of a drain on.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }

    /// The log's side of this engine, for the thread that talks to it. `wake` is called when
    /// messages wait that did not before.
    ///
    /// # Errors
    /// [`AttachError`] when the engine publishes by itself, or has a log.
    pub fn attach_log(&self, wake: Box<dyn Wake>) -> Result<LogSide, AttachError> {
        LogSide::attach(&self.shared, self.clock, self.relay(wake))
    }

    /// So many messages of a topic are known to be lost between nodes: whoever follows it, by
    /// itself or by a pattern, is told once, and positions go on by as many.
    pub fn tell_gap(&self, topic: &Topic, frames: u64, reason: GapReason) {
        let _quiet = self.shared.publishing();
        self.shared.registry.tell(topic, Loss::of(frames, reason), self.clock.now_ns());
    }

    /// Messages are known to be lost, but not of which topics: whoever follows anything is told.
    pub fn tell_gap_all(&self, reason: GapReason) {
        let _quiet = self.shared.publishing();
        let loss = Loss { frames: None, ..Loss::of(1, reason) };
        self.shared.registry.tell_all(loss, self.clock.now_ns());
    }

    /// Has what is older than the engine keeps answered by `store`: the first that keeps a topic is
    /// asked.
    pub fn add_history(&self, store: Box<dyn HistoryStore>) {
        self.shared.add_history(store);
    }

    /// Adds families to `/metrics`: `source` puts them into a registry that has the prefix
    /// `gridcast`, anew for each scrape.
    pub fn add_metrics(&self, source: impl Fn(&mut Registry) + Send + Sync + 'static) {
        self.shared.outside.add_metrics(Box::new(source));
    }
}

/// All numbers of sources are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} sources of messages are in use, and there are no more numbers for them", u16::MAX)]
pub struct TooManySources;
