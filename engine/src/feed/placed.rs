//! Where a subscriber begins in a lane, and what it cannot get. Owns the answer to a position. Must
//! not know feeds: they say which epoch is theirs.

use crate::feed::cursor::Cursor;
use crate::feed::epoch::Position;
use crate::feed::gap::{Gap, GapReason};
use crate::feed::lane_reader::LaneReader;
use crate::feed::positions::{Found, Positions};

/// A place in a lane, ready to be read.
#[derive(Debug)]
pub struct Subscribed {
    /// Where to begin.
    pub cursor: Cursor,
    /// What the subscriber asked for and cannot get.
    pub gap: Option<Gap>,
    /// The position that it has already, though this node has not: it gets what follows that.
    pub ahead: Option<Position>,
}

impl Subscribed {
    /// At this frame, without a word.
    pub fn at(cursor: Cursor) -> Self {
        Self { cursor, gap: None, ahead: None }
    }

    /// Just behind `position`, of this epoch, or where that is gone at the oldest that is kept.
    /// Where a log numbers the frames, this node knows nothing of what comes before `floor`, and
    /// others may have more than it. Elsewhere a position that was not reached is of another life.
    pub fn after(
        reader: &LaneReader,
        positions: &Positions,
        position: Position,
        floor: Option<u64>,
    ) -> Self {
        let seq = position.seq;
        let Some(Found { ordinal, is_known, is_ahead }) = positions.after(seq) else {
            return Self::after_ordinal(reader, positions, seq);
        };
        if is_ahead && floor.is_none() {
            return Self::in_other_epoch(reader, positions);
        }
        let floor = floor.unwrap_or(0);
        if is_ahead && seq >= floor || ordinal > reader.head().ordinal {
            return Self { ahead: Some(position), ..Self::at(reader.latest()) };
        }
        let cursor = reader.at_ordinal(ordinal);
        let is_known = is_known && seq >= floor;
        if is_known && cursor.ordinal <= ordinal {
            return Self::at(cursor);
        }
        // What was missing is told by where the cursor stands: retention may move on at any time.
        let to = positions.before(cursor.ordinal).max(floor).max(seq.saturating_add(1));
        let frames = is_known.then(|| cursor.ordinal - ordinal);
        let gap = Gap { from: seq.saturating_add(1), to, frames, reason: GapReason::Expired };
        Self { gap: Some(gap), ..Self::at(cursor) }
    }

    /// The same where positions are ordinals.
    fn after_ordinal(reader: &LaneReader, positions: &Positions, seq: u64) -> Self {
        if seq >= reader.head().ordinal {
            // A position this feed has not reached cannot have been handed out by it.
            return Self::in_other_epoch(reader, positions);
        }
        // Retention may move on at any time: what is missing is told by where the cursor stands.
        let cursor = reader.at_ordinal(seq + 1);
        let missed = (seq + 1 < cursor.ordinal).then(|| Gap {
            from: seq + 1,
            to: cursor.ordinal - 1,
            frames: Some(cursor.ordinal - 1 - seq),
            reason: GapReason::Expired,
        });
        Self { gap: missed, ..Self::at(cursor) }
    }

    /// At the oldest frame, for somebody who comes from another epoch.
    pub fn in_other_epoch(reader: &LaneReader, positions: &Positions) -> Self {
        let cursor = reader.oldest();
        Self { gap: Some(positions.gap_of_epoch(cursor.ordinal)), ..Self::at(cursor) }
    }
}
