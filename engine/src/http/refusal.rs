//! A request that is refused: status, message, and headers that say what to do. Must not decide
//! anything or write bytes; `response` encodes it.

use crate::http::status::Status;
use std::borrow::Cow;
use std::fmt;

/// The answer to a request that is not served. The connection is closed after it, because the
/// rest of a refused request is not worth reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response.
    pub status: Status,
    /// What was wrong and what to do, for a person.
    pub message: Cow<'static, str>,
    /// Headers beside the usual ones, such as `Allow`.
    pub headers: Vec<(&'static str, &'static str)>,
}

impl Refusal {
    /// A refusal without an extra header.
    #[must_use]
    pub fn new(status: Status, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), headers: Vec::new() }
    }

    /// True when the same request may be served later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.status, Status::Unavailable | Status::TooManyRequests)
    }

    /// 400 with this message.
    #[must_use]
    pub fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::BadRequest, message)
    }

    /// The same refusal with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.number(), self.message)
    }
}

impl std::error::Error for Refusal {}
