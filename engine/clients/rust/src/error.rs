//! What can go wrong, for the program. Must not decide what happens next.

use std::time::Duration;

/// Everything that a client answers instead of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option, topic or position is none.
    #[error("{0}")]
    Invalid(String),
    /// The server refused a command; `code` is one of docs/protocol.md, such as `forbidden`.
    #[error("{code}: {message}")]
    Command {
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
    /// No connection could take a message in time: it was not published.
    #[error("not published: no connection could take it within {} s", .0.as_secs_f64())]
    NotConnected(Duration),
    /// A message was sent and its reply never came: it may have been published, or not.
    #[error("{0}: it may have been published")]
    MaybePublished(String),
    /// The connection is over, and connecting again would end the same way.
    #[error("refused: {status} {message}")]
    Refused {
        /// A close code (1000 and above), an HTTP status (below), or 0 where nobody answered.
        status: u16,
        /// For people.
        message: String,
    },
    /// The client, or this subscription, was closed by the program.
    #[error("closed")]
    Closed,
}

impl Error {
    /// A refusal of the server.
    pub(crate) fn command(code: &str, message: &str) -> Self {
        Self::Command { code: code.to_owned(), message: message.to_owned() }
    }

    /// Whether the same command may be taken later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let Self::Command { code, .. } = self else { return false };
        matches!(code.as_str(), "over_capacity" | "unavailable" | "rate_limited")
    }
}
