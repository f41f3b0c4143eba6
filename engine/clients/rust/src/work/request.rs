//! What handles ask of the task of their client. Must not carry it out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::feed::Feed;
use crate::error::Error;
use crate::items::Published;
use crate::options::Payload;

/// A request of a handle. As many wait as a program has subscriptions and publishes under way.
pub enum Request {
    /// Follow from now on.
    Subscribe(Box<Feed>),
    /// The handle with this number is gone.
    Leave(u64),
    /// The queue of a paused subscription has room again.
    GoOn(u64),
    /// Publish once.
    Publish(Attempt),
    /// End everything; the answer comes when that is done.
    Close(oneshot::Sender<()>),
}

/// A message on its way.
pub struct Attempt {
    /// Where it goes.
    pub topic: Arc<str>,
    /// What it is.
    pub payload: Payload,
    /// Whether to send it again where the reply never came.
    pub retry: bool,
    /// Set once it may have been published.
    pub was_sent: Arc<AtomicBool>,
    /// Who waits for the reply.
    pub reply: oneshot::Sender<Result<Published, Error>>,
}

impl Attempt {
    /// Whether it may have been published.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.was_sent.load(Ordering::Acquire)
    }

    /// Answers; whoever asked may have gone.
    pub fn answer(self, reply: Result<Published, Error>) {
        drop(self.reply.send(reply));
    }

    /// There is no connection that it could be sent over any more.
    pub fn fail(self, error: Error) {
        let error = if self.was_sent() { lost() } else { error };
        self.answer(Err(error));
    }
}

/// The connection ended before the reply.
pub fn lost() -> Error {
    Error::MaybePublished("the connection ended before the reply".to_owned())
}
