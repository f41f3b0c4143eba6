//! Publishing from a thread that is not a core. Owns what it remembers of its feeds, and which
//! cores it should wait for. Must not wait itself: who calls knows how.

use std::sync::Arc;

use crate::clock::Clock;
use crate::core::brake::Brake;
use crate::core::recent::Recent;
use crate::core::shared::Shared;
use crate::core::submission::{Callback, Caller, Refused, Reply, Submission, Submitting, Window};
use crate::feed::epoch::Position;
use crate::feed::message::Message;
use crate::feed::published::Published;
use crate::feed::registry::FeedError;
use crate::feed::source::Source;
use crate::feed::topic::Topic;
use crate::frame::Kind;
use crate::metrics::CoreMetrics;

/// See the file header.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    clock: Clock,
    source: Source,
    metrics: Arc<CoreMetrics>,
    recent: Recent,
    brake: Brake,
    /// What it has on its way to a log.
    window: Arc<Window>,
}

impl Publisher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        clock: Clock,
        source: Source,
        metrics: Arc<CoreMetrics>,
    ) -> Self {
        let (recent, brake) = (Recent::default(), Brake::default());
        Self { shared, clock, source, metrics, recent, brake, window: Arc::default() }
    }

    /// What is said of where its messages come from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Publishes one message. [`must_wait`](Self::must_wait) says whether the next should wait.
    /// Where it goes through a log it has no position yet when this returns: then the answer is
    /// none, and should the log refuse it, that is only counted.
    ///
    /// # Errors
    /// [`FeedError`]; nothing was published then.
    pub fn publish(
        &mut self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Option<Published>, FeedError> {
        let message = Message { kind, payload, source: self.source };
        match &self.shared.submission {
            Submission::Local => self.publish_here(topic, message).map(Some),
            Submission::Log(log) => {
                self.submit(log, topic, message, Reply::Silence)?;
                Ok(None)
            }
        }
    }

    /// The same, and calls `done` once it stands in its feed: at once, or, on a thread of the
    /// engine that is no core, when the log has it or refuses it. It must return soon: others wait
    /// for that thread. It is not called when the engine stops before.
    ///
    /// # Errors
    /// [`FeedError`]; nothing was published then, and `done` is not called.
    pub fn publish_then(
        &mut self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
        done: impl FnOnce(Result<Position, Refused>) + Send + 'static,
    ) -> Result<(), FeedError> {
        let message = Message { kind, payload, source: self.source };
        match &self.shared.submission {
            Submission::Local => {
                let Published { epoch, seq, .. } = self.publish_here(topic, message)?;
                done(Ok(Position { epoch, seq }));
                Ok(())
            }
            Submission::Log(log) => {
                self.submit(log, topic, message, Reply::Call(Callback(Box::new(done))))
            }
        }
    }

    fn publish_here(
        &mut self,
        topic: &Topic,
        message: Message<'_>,
    ) -> Result<Published, FeedError> {
        let _quiet = self.shared.publishing();
        let (registry, now_ns) = (&self.shared.registry, self.clock.now_ns());
        let published = self.recent.publish(registry, topic, message, now_ns)?;
        self.metrics.published(published.encodes, published.deflates);
        if let Some(behind) = &published.behind {
            self.brake.pull(behind.clone());
        }
        Ok(published)
    }

    fn submit(
        &self,
        log: &Submitting,
        topic: &Topic,
        message: Message<'_>,
        reply: Reply,
    ) -> Result<(), FeedError> {
        // No core has a connection with this window, so none is told.
        let caller = Caller { core: 0, conn: 0, window: Arc::clone(&self.window), reply };
        log.submit(topic, message, caller, self.clock.now_ns())?;
        self.metrics.published(0, 0);
        Ok(())
    }

    /// True while a core is too far behind with what was published here, or the log is.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        self.brake.is_on() || self.window.is_full() || self.shared.submission.is_full()
    }
}
