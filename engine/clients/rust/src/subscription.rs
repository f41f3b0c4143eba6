//! The handle of a subscription: what the program reads and closes. Must not know sessions.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::error::Error;
use crate::items::{Item, Position};
use crate::work::feed::{Feed, Ready, Shared};
use crate::work::inbox::{Next, Pressure};
use crate::work::kept::Targets;
use crate::work::request::Request;

/// A stream of items. It is given up when it is dropped.
pub struct Subscription {
    id: u64,
    target: Arc<str>,
    shared: Arc<Shared>,
    ready: watch::Receiver<Ready>,
    requests: UnboundedSender<Request>,
    targets: Arc<Targets>,
    is_over: bool,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.target).finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn new(
        feed: &Feed,
        requests: UnboundedSender<Request>,
        targets: Arc<Targets>,
    ) -> Self {
        let (target, shared) = (Arc::clone(&feed.target), Arc::clone(&feed.shared));
        Self { id: feed.id, target, shared, ready: feed.ready(), requests, targets, is_over: false }
    }

    /// The topic or pattern.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.target
    }

    /// The next item; none when it is closed. An error is the last item. Nothing is lost when this
    /// is dropped before it is done.
    pub async fn next(&mut self) -> Option<Result<Item, Error>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Waits until the server has it; answers the position before the first message.
    ///
    /// # Errors
    /// Why the server does not take it, or there is none.
    pub async fn ready(&self) -> Result<Position, Error> {
        let mut ready = self.ready.clone();
        let answered = ready.wait_for(Option::is_some).await;
        answered.ok().and_then(|answered| answered.clone()).unwrap_or(Err(Error::Closed))
    }

    /// Behind what was received last, which may still wait in the queue; none before the server
    /// has it.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.shared.inbox().position.clone()
    }

    /// How many items wait to be taken.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.inbox().len()
    }

    /// Gives it up, as dropping it does. What waits is thrown away.
    pub fn close(self) {
        drop(self);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let (next, pressure) = self.shared.inbox().take(cx.waker());
        if pressure == Pressure::GoOn {
            // Without the task there is nothing to go on.
            let _ = self.requests.send(Request::GoOn(self.id));
        }
        match next {
            Next::Item(item) => Poll::Ready(Some(Ok(item))),
            Next::Wait => Poll::Pending,
            Next::Ended(error) => {
                self.is_over = true;
                Poll::Ready(Some(error).filter(|error| *error != Error::Closed).map(Err))
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Item, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.poll(cx));
        Poll::Ready(next)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.targets.remove(&self.target, self.id);
        // Without the task it is given up already.
        let _ = self.requests.send(Request::Leave(self.id));
    }
}
