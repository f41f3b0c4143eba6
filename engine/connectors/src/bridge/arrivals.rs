//! Messages that came in and are acknowledged to the other side once they stand in their feeds.
//! Owns their order and the bound on their number. Must not know how a side is told.

use std::collections::VecDeque;
use std::future::pending;

use gridcast::feed::registry::FeedError;

use crate::bridge::receipt::Receipt;
use crate::bridge::supervisor::SessionError;

/// Messages that are not acknowledged yet. Of them, so many as one publisher may have are on their
/// way into a log; the others wait for one before them.
const MESSAGES_MAX: usize = 1024;

/// See the file header. `T` is what the other side calls a message.
#[derive(Debug)]
pub struct Arrivals<T> {
    waiting: VecDeque<(T, Receipt)>,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T> Arrivals<T> {
    /// Whether another message may be read from the other side.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MESSAGES_MAX
    }

    /// Whether all were acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a message behind the others.
    pub fn push(&mut self, message: T, receipt: Receipt) {
        self.waiting.push_back((message, receipt));
    }

    /// Adds a message that is not published, and is to be acknowledged in its turn.
    pub fn push_settled(&mut self, message: T) {
        self.push(message, Receipt::Settled(Ok(())));
    }

    /// The oldest message once it stands in its feed; never ends while there is none. May be
    /// cancelled.
    ///
    /// # Errors
    /// [`SessionError`] when a log refused it. What is behind it is forgotten: it may not be
    /// acknowledged before this one came again.
    pub async fn next(&mut self) -> Result<T, SessionError> {
        loop {
            if let Some(message) = self.now() {
                return message;
            }
            match self.waiting.front_mut() {
                Some((_, receipt)) => receipt.settle().await,
                None => pending().await,
            }
        }
    }

    /// The oldest message, if it stands in its feed now.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn now(&mut self) -> Option<Result<T, SessionError>> {
        let (_, receipt) = self.waiting.front_mut()?;
        let outcome = receipt.outcome()?;
        let (message, _) = self.waiting.pop_front()?;
        Some(match outcome {
            Ok(()) => Ok(message),
            Err(refused) => {
                self.waiting.clear();
                Err(SessionError::new("unavailable", FeedError::from(refused)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridcast::core::submission::Refused;
    use tokio::sync::oneshot;

    #[test]
    fn nothing_is_acknowledged_before_what_came_before_it() {
        let mut arrivals = Arrivals::default();
        let (first, receipt) = oneshot::channel();
        arrivals.push(1, Receipt::Awaited(receipt));
        arrivals.push_settled(2);
        assert!(arrivals.now().is_none());
        first.send(Ok(())).unwrap();
        assert_eq!(arrivals.now().unwrap().unwrap(), 1);
        assert_eq!(arrivals.now().unwrap().unwrap(), 2);
        assert!(arrivals.now().is_none() && arrivals.is_empty());
    }

    #[test]
    fn what_was_refused_or_never_told_of_is_an_error() {
        for outcome in [Some(Err(Refused::Unavailable)), None] {
            let mut arrivals = Arrivals::default();
            let (sender, receipt) = oneshot::channel();
            arrivals.push("a", Receipt::Awaited(receipt));
            match outcome {
                Some(outcome) => sender.send(outcome).unwrap(),
                None => drop(sender),
            }
            arrivals.push_settled("b");
            assert_eq!(arrivals.now().unwrap().unwrap_err().reason, "unavailable");
            assert!(arrivals.is_empty(), "what is behind it comes again");
        }
    }

    #[test]
    fn their_number_is_bounded() {
        let mut arrivals = Arrivals::default();
        (0..MESSAGES_MAX - 1).for_each(|n| arrivals.push_settled(n));
        assert!(arrivals.has_room());
        arrivals.push_settled(0);
        assert!(!arrivals.has_room());
    }
}
