//! One lane of a feed that somebody has open: its writer, the cores that follow it, and how long it
//! stays. Must not number or encode anything; its feed's lock is around it.

use std::sync::{Arc, Mutex};

use crate::delivery::doorbell::{Behind, Tap};
use crate::feed::lane::LaneWriter;
use crate::feed::retention::Retention;

/// See the file header.
#[derive(Debug)]
pub struct OpenLane {
    /// Its appending side.
    pub writer: LaneWriter,
    /// The cores that follow it.
    pub taps: Vec<Arc<Tap>>,
    /// When its last user left.
    pub left_ns: u64,
    /// Held by the core that encodes what the lane lacks of the log, without the feed's lock:
    /// others who want the same wait for it.
    pub filling: Arc<Mutex<()>>,
}

impl OpenLane {
    /// A lane that nobody follows yet.
    pub fn new(writer: LaneWriter) -> Self {
        Self { writer, taps: Vec::new(), left_ns: 0, filling: Arc::default() }
    }

    /// True while somebody follows it, or did a moment ago.
    pub fn is_wanted(&self, now_ns: u64) -> bool {
        !self.taps.is_empty() || now_ns.saturating_sub(self.left_ns) < LANE_LINGER_NS
    }

    /// A core that has not yet swept half of what retention keeps, if there is one. It keeps for
    /// itself what its subscribers still need beyond retention, so publishers must wait for it.
    pub fn behind(&self, retention: &Retention) -> Option<Behind> {
        let unswept_bytes_max = (retention.bytes_max / 2).max(UNSWEPT_BYTES_MIN);
        let until_pos = self.writer.head().pos.saturating_sub(unswept_bytes_max);
        let behind = self.taps.iter().find(|tap| tap.swept() < until_pos);
        behind.map(|tap| Behind::new(Arc::clone(tap), until_pos))
    }
}

/// How long a lane outlives its last user: whoever asks for old frames has the log encoded for it,
/// and a client that comes and goes must not be able to ask for that again and again.
const LANE_LINGER_NS: u64 = 10_000_000_000;

/// Bytes of a lane that a core may be behind with before publishers wait, however little is kept:
/// what it reads in one turn, so that it does not wait for its own next turn.
const UNSWEPT_BYTES_MIN: u64 = 256 << 10;
