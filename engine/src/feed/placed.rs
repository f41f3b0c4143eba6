//! Where a subscriber begins in a lane, and what it cannot get. Owns the answer to a position. Must
//! not know feeds: they say which epoch is theirs.

use crate::feed::cursor::Cursor;
use crate::feed::gap::{Gap, GapReason};
use crate::feed::lane_reader::LaneReader;

/// A place in a lane, ready to be read.
#[derive(Debug)]
pub struct Subscribed {
    /// Where to begin.
    pub cursor: Cursor,
    /// What the subscriber asked for and cannot get.
    pub gap: Option<Gap>,
}

impl Subscribed {
    /// Just behind frame `seq` of this epoch, or where that is gone at the oldest that is kept.
    pub fn after(reader: &LaneReader, seq: u64) -> Self {
        if seq >= reader.head().seq {
            // A position this feed has not reached cannot have been handed out by it.
            return Self { cursor: reader.latest(), gap: None };
        }
        // Retention may move on at any time: what is missing is told by where the cursor stands.
        let cursor = reader.at_seq(seq + 1);
        let missed = Gap { from: seq + 1, to: cursor.seq - 1, reason: GapReason::Expired };
        Self { cursor, gap: (seq + 1 < cursor.seq).then_some(missed) }
    }

    /// What lay between two epochs cannot be known: frame 0, which never exists, stands for it.
    pub fn in_other_epoch(reader: &LaneReader) -> Self {
        let cursor = reader.oldest();
        let gap = Gap { from: 0, to: cursor.seq - 1, reason: GapReason::Epoch };
        Self { cursor, gap: Some(gap) }
    }
}
