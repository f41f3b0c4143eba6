//! Decides what happens to a subscriber whose cursor retention has passed: disconnect, or skip
//! ahead. Every answer names the missed frames. Must not touch sockets.

use crate::feed::cursor::Cursor;
use crate::feed::gap::{GapReason, Missed};
use crate::feed::lane_reader::LaneReader;
use crate::feed::options::LagPolicy;

/// What to do with a subscriber that retention has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Close it, naming what it missed.
    Disconnect(Missed),
    /// Tell it what it missed, then go on at the cursor.
    Skip(Missed, Cursor),
    /// Nothing is missing but the rest of its torn frame: finish that and go on at the cursor.
    Resume(Cursor),
}

/// Decides for a subscriber at `cursor`, which stands before the lane's tail. A frame that was torn
/// counts as received: its rest is finished first.
pub fn lapse(policy: LagPolicy, cursor: Cursor, lane: &LaneReader) -> Lapse {
    let from = cursor.ordinal + u64::from(cursor.is_torn());
    let resume = match policy {
        LagPolicy::SkipToLatest => lane.newest(),
        LagPolicy::SkipToOldest | LagPolicy::Disconnect => lane.oldest(),
    };
    debug_assert!(resume.ordinal >= from, "a lapsed cursor lies before the tail");
    if resume.ordinal <= from {
        return Lapse::Resume(resume);
    }
    let missed = Missed { from, to: resume.ordinal - 1, reason: GapReason::Lagged };
    match policy {
        LagPolicy::Disconnect => Lapse::Disconnect(missed),
        LagPolicy::SkipToOldest | LagPolicy::SkipToLatest => Lapse::Skip(missed, resume),
    }
}
