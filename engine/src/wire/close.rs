//! The table of close codes: code, text, and what the client should do next. Must not send a close
//! (that is `core::ending`).

use std::borrow::Cow;
use std::fmt;

/// Why the engine ends a WebSocket connection (RFC 6455 section 7.4 and the private range).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The exchange is over.
    Normal,
    /// The engine is draining; the reason carries a reconnect delay in milliseconds.
    Draining,
    /// The peer broke the WebSocket protocol.
    Protocol,
    /// The peer sent a kind of message this endpoint does not take.
    Unsupported,
    /// Text that is not UTF-8.
    InvalidText,
    /// A message above the size limit.
    TooBig,
    /// A request that is well formed but makes no sense here.
    BadRequest,
    /// No token, a wrong one, or one that has expired.
    Unauthorised,
    /// The topic is not the client's to use.
    Forbidden,
    /// The handshake, the authentication or an answer to a ping took too long.
    Timeout,
    /// The subscriber fell behind what the log retains.
    Lagged,
    /// The subscriber's socket took no bytes for too long.
    Stalled,
    /// The publisher exceeded its rate.
    RateLimited,
    /// A limit of the engine is reached.
    OverCapacity,
}

/// What a client should do after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reconnect {
    /// Connecting again without changing anything would end the same way.
    No,
    /// Connect again at once.
    Now,
    /// Connect again after a delay, with jitter.
    Later,
}

impl fmt::Display for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::No => "no",
            Self::Now => "now",
            Self::Later => "later",
        })
    }
}

impl CloseCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 14] = [
        Self::Normal,
        Self::Draining,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidText,
        Self::TooBig,
        Self::BadRequest,
        Self::Unauthorised,
        Self::Forbidden,
        Self::Timeout,
        Self::Lagged,
        Self::Stalled,
        Self::RateLimited,
        Self::OverCapacity,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// The reason sent when nothing more specific is known.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.row().1
    }

    /// Whether, and when, a client should connect again.
    #[must_use]
    pub const fn reconnect(self) -> Reconnect {
        self.row().2
    }

    const fn row(self) -> (u16, &'static str, Reconnect) {
        use Reconnect::{Later, No, Now};
        match self {
            Self::Normal => (1000, "done", No),
            Self::Draining => (1001, "draining", Later),
            Self::Protocol => (1002, "protocol error", No),
            Self::Unsupported => (1003, "unsupported kind of message", No),
            Self::InvalidText => (1007, "text is not UTF-8", No),
            Self::TooBig => (1009, "message too big", No),
            Self::BadRequest => (4400, "bad request", No),
            Self::Unauthorised => (4401, "unauthorised or token expired", No),
            Self::Forbidden => (4403, "forbidden topic", No),
            Self::Timeout => (4408, "timed out", Now),
            Self::Lagged => (4409, "lagged behind retention", Now),
            Self::Stalled => (4410, "stalled too long", Later),
            Self::RateLimited => (4429, "rate limited", Later),
            Self::OverCapacity => (4503, "over capacity", Later),
        }
    }
}

/// One close to send: a code and the text that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why the connection ends.
    pub code: CloseCode,
    /// The reason a person reads; at most 123 bytes of it reach the wire.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// A close with a reason of its own.
    #[must_use]
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl From<CloseCode> for Close {
    fn from(code: CloseCode) -> Self {
        Self::new(code, code.text())
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.code(), self.reason)
    }
}

impl std::error::Error for Close {}

/// The whole table as text, one row a code, for `gridcast close-codes`.
#[must_use]
pub fn table() -> String {
    let head = format!("{:<6}{:<11}{}\n", "code", "reconnect", "reason");
    CloseCode::ALL.iter().fold(head, |table, code| {
        let row = format!("{:<6}{:<11}{}\n", code.code(), code.reconnect(), code.text());
        table + &row
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_documented_one() {
        let expected = "\
code  reconnect  reason
1000  no         done
1001  later      draining
1002  no         protocol error
1003  no         unsupported kind of message
1007  no         text is not UTF-8
1009  no         message too big
4400  no         bad request
4401  no         unauthorised or token expired
4403  no         forbidden topic
4408  now        timed out
4409  now        lagged behind retention
4410  later      stalled too long
4429  later      rate limited
4503  later      over capacity
";
        assert_eq!(table(), expected);
    }

    #[test]
    fn every_code_may_be_sent_and_none_twice() {
        assert!(CloseCode::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        for code in CloseCode::ALL {
            assert!(code.text().len() <= 123, "RFC 6455 5.5: control payload <= 125: {code:?}");
        }
    }
}
