//! What is told of a message that was published: that it stands in its feed, or that the log it
//! went through refused it. Must not publish.

use gridcast::core::submission::Refused;
use tokio::sync::oneshot;

/// What became of a message.
pub type Outcome = Result<(), Refused>;

/// See the file header.
#[derive(Debug)]
pub enum Receipt {
    /// It is on its way.
    Awaited(oneshot::Receiver<Outcome>),
    /// That is known.
    Settled(Outcome),
}

impl Receipt {
    /// What became of the message, if that is known.
    pub fn outcome(&mut self) -> Option<Outcome> {
        if let Self::Awaited(awaited) = self {
            match awaited.try_recv() {
                Ok(outcome) => *self = Self::Settled(outcome),
                Err(oneshot::error::TryRecvError::Empty) => return None,
                Err(oneshot::error::TryRecvError::Closed) => *self = UNTOLD,
            }
        }
        match self {
            Self::Settled(outcome) => Some(*outcome),
            Self::Awaited(_) => None,
        }
    }

    /// Waits until that is known. May be cancelled.
    pub async fn settle(&mut self) {
        if let Self::Awaited(awaited) = self {
            *self = awaited.await.map_or(UNTOLD, Self::Settled);
        }
    }
}

/// The log's side of the engine has ended without a word.
const UNTOLD: Receipt = Receipt::Settled(Err(Refused::Unacknowledged));
