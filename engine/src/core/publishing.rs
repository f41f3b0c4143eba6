//! How what a connection publishes becomes a frame: here and at once, or by way of a log. Owns when
//! a publisher is not read because of it. Must not know what it is answered (that is `letters`).

use crate::core::Core;
use crate::core::conn::Role;
use crate::core::flags::Flags;
use crate::core::submission::{Caller, Reply, Submission};
use crate::feed::message::Message;
use crate::feed::published::Published;
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::net::backend::Backend;

/// What became of a message so far.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It stands in its feed.
    Published(Published),
    /// It is on its way to the log, and its publisher will be told.
    Submitted,
}

impl<B: Backend> Core<B> {
    /// True while publishers have to wait: for a core, or for the log.
    pub(crate) fn publishers_wait(&self) -> bool {
        self.brake.is_on() || self.shared.submission.is_full()
    }

    /// Publishes a message of a connection, which wants to hear `reply` if that takes time.
    ///
    /// # Errors
    /// [`FeedError`]; nothing was published then.
    pub(crate) fn publish(
        &mut self,
        key: u32,
        (topic, message): (&Topic, Message<'_>),
        reply: impl FnOnce() -> Reply,
        now_ns: u64,
    ) -> Result<Outcome, FeedError> {
        match self.shared.submission {
            Submission::Local => self.publish_to(topic, message, now_ns).map(Outcome::Published),
            Submission::Log(_) => self.submit(key, (topic, message), reply(), now_ns),
        }
    }

    /// Hands a message of a connection over to the thread that talks to the log.
    pub(crate) fn submit(
        &mut self,
        key: u32,
        (topic, message): (&Topic, Message<'_>),
        reply: Reply,
        now_ns: u64,
    ) -> Result<Outcome, FeedError> {
        let conn = &mut self.conns[key as usize];
        let window = conn.window();
        let is_awaited = matches!(reply, Reply::Command(Some(_)));
        let caller = Caller { core: self.index, conn: key, window: window.clone(), reply };
        let log = self.shared.submission.log().ok_or(FeedError::Unavailable)?;
        log.submit(topic, message, caller, now_ns)?;
        conn.extras().awaited += u64::from(is_awaited);
        self.metrics.published(0, 0);
        if window.is_full() && window.wait() {
            self.await_log(key);
        }
        Ok(Outcome::Submitted)
    }

    /// Has a connection not be read until a letter says that it may go on.
    pub(crate) fn await_log(&mut self, key: u32) {
        self.conns[key as usize].flags.insert(Flags::AWAITS_LOG);
    }

    /// Whether a connection is still to be told about commands of its.
    pub(crate) fn has_answers_due(&self, key: u32) -> bool {
        let conn = &self.conns[key as usize];
        let awaited = conn.extras.as_ref().map_or(0, |extras| extras.awaited);
        awaited > 0 && matches!(conn.role, Role::Multiplexed(_))
    }

    /// Whether this core has ticks though nobody is connected: publishers that no core has may wait
    /// for the log, and are refused in time.
    pub(crate) fn watches_log(&self) -> bool {
        self.index == 0 && self.shared.submission.log().is_some()
    }

    /// Refuses what has waited for the log as long as it may; once a tick.
    pub(crate) fn expire_submitted(&self) {
        if let Submission::Log(log) = &self.shared.submission {
            let over = log.expire(self.now_ns());
            self.shared.settle(over.into_iter().map(|(ticket, refused)| (ticket, Err(refused))));
        }
    }
}
