//! What a store answers: rows, or why there are none. Must not know how it gets to a core.

use std::borrow::Cow;

use crate::feed::epoch::Position;
use crate::frame::Kind;

/// Some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their positions.
    pub rows: Vec<Row>,
    /// No row follows within the bounds of the question.
    pub is_last: bool,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it came, ms of UTC since 1970.
    pub time_ms: u64,
    /// Where it stood in its topic.
    pub position: Position,
    /// Text or bytes.
    pub kind: Kind,
    /// What was published.
    pub payload: Vec<u8>,
}

/// Why a store did not answer. Clients are told: it must not name addresses, statements or secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(Cow<'static, str>);

impl StoreError {
    /// An error in these words.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}
