//! Somebody who waits for what comes next. A record and nothing else: `poll` acts on it.

use crate::core::wheel::Tick;
use crate::feed::epoch::Position;
use crate::http::response::Exchange;
use crate::wire::history::Format;

/// See the file header.
#[derive(Debug)]
pub struct Waiting {
    /// How it is answered.
    pub exchange: Exchange,
    /// When it is answered in any case.
    pub due: Tick,
    /// Messages at most.
    pub limit: u64,
    /// How they are written.
    pub format: Format,
    /// What it has, where that is more than this node had.
    pub ahead: Option<Position>,
}
