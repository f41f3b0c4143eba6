//! One core's view of a lane, without a lock. Owns how a position or a number is found in the
//! segments it holds. Must not write, and must not know sockets or subscribers.

use std::collections::VecDeque;

use crate::feed::cursor::Cursor;
use crate::feed::encoder::Announcing;
use crate::feed::kind::LaneKind;
use crate::feed::segment::Segment;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Where a lane ends, or where a sweep began: a lane position and the ordinal found there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Lane position just past the last byte.
    pub pos: u64,
    /// Ordinal the next frame will have.
    pub ordinal: u64,
}

/// What the writer of a lane tells its readers beside its bytes.
#[derive(Debug)]
pub struct Marks {
    tail: AtomicU64,
    /// The ordinals of the first and the last of the newest entries in a row that are notices, not
    /// frames; 0 while there was none.
    notices_first: AtomicU64,
    notices_last: AtomicU64,
}

impl Marks {
    /// Of a lane that begins at this lane position.
    pub fn new(tail_pos: u64) -> Self {
        Self {
            tail: AtomicU64::new(tail_pos),
            notices_first: AtomicU64::new(0),
            notices_last: AtomicU64::new(0),
        }
    }

    /// Lane position of the oldest byte that is retained.
    pub fn tail_pos(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    /// Moves it. Called by the writer only.
    pub fn set_tail_pos(&self, pos: u64) {
        self.tail.store(pos, Ordering::Release);
    }

    /// Notes that entry `ordinal`, which is about to be published, is a notice.
    pub fn note_notice(&self, ordinal: u64) {
        if self.notices_last.load(Ordering::Relaxed) + 1 != ordinal {
            self.notices_first.store(ordinal, Ordering::Release);
        }
        self.notices_last.store(ordinal, Ordering::Release);
    }

    /// Takes over what `other`, of a lane of the same feed, says of notices.
    pub fn copy_notices(&self, other: &Self) {
        self.notices_first.store(other.notices_first.load(Ordering::Acquire), Ordering::Release);
        self.notices_last.store(other.notices_last.load(Ordering::Acquire), Ordering::Release);
    }

    /// The newest frame of entries that end with `last`: notices are passed over.
    fn newest(&self, last: u64) -> u64 {
        if self.notices_last.load(Ordering::Acquire) != last {
            return last;
        }
        self.notices_first.load(Ordering::Acquire).min(last).saturating_sub(1)
    }
}

/// One core's view of a lane: the retained chain and the head as of the last refresh.
#[derive(Debug)]
pub struct LaneReader {
    kind: LaneKind,
    segments: VecDeque<Arc<Segment>>,
    marks: Arc<Marks>,
    announcing: std::sync::Arc<Announcing>,
    head: Head,
}

impl LaneReader {
    /// A view of a lane of `kind` that sees `segments`, of which there is at least one.
    pub fn new(
        kind: LaneKind,
        segments: VecDeque<Arc<Segment>>,
        marks: Arc<Marks>,
        announcing: std::sync::Arc<Announcing>,
    ) -> Self {
        let mut reader = Self { kind, segments, marks, announcing, head: Head::default() };
        reader.refresh();
        reader
    }

    /// Which encoding this is.
    pub fn kind(&self) -> LaneKind {
        self.kind
    }

    /// The head as of the last [`refresh`](Self::refresh).
    pub fn head(&self) -> Head {
        self.head
    }

    /// Takes in what has been published since.
    pub fn refresh(&mut self) {
        while let Some(next) = self.segments.back().and_then(|last| last.next()) {
            self.segments.push_back(next);
        }
        if let Some(last) = self.segments.back() {
            let extent = last.extent();
            self.head.pos = last.base() + u64::from(extent.bytes);
            self.head.ordinal = last.first_ordinal() + u64::from(extent.frames);
        }
    }

    /// Lane position of the oldest byte that may still be read: retention's, but never past the
    /// head this reader knows.
    pub fn tail_pos(&self) -> u64 {
        self.marks.tail_pos().min(self.head.pos)
    }

    /// True when frame `ordinal` or a later one announced a topic, so that whoever skips it must
    /// ask the feed what is missing.
    pub fn has_announced_since(&self, ordinal: u64) -> bool {
        self.announcing.last() >= ordinal.max(1)
    }

    /// True when a segment is held that ends before `pos`.
    pub fn holds_before(&self, pos: u64) -> bool {
        self.segments.get(1).is_some_and(|second| second.base() <= pos)
    }

    /// Lets go of the segments that end before `pos`, the tail or a position before it. No cursor
    /// may stand there any more, and torn frames must have been saved.
    pub fn drop_before(&mut self, pos: u64) {
        while self.holds_before(pos) {
            self.segments.pop_front();
        }
    }

    /// True when `cursor` stands before the tail. What it needs is still held here, because
    /// segments go only by [`drop_before`](Self::drop_before), but no longer by the feed.
    pub fn has_lapped(&self, cursor: Cursor) -> bool {
        cursor.pos() < self.tail_pos()
    }

    /// The oldest retained frame, or the head of an empty lane.
    pub fn oldest(&self) -> Cursor {
        let tail = self.tail_pos();
        let segment = &self.segments[self.segment_index(tail)];
        self.walk(Cursor::at(segment.base(), segment.first_ordinal()), |at| at.frame_pos < tail)
    }

    /// The newest retained frame, or the head of an empty lane.
    pub fn newest(&self) -> Cursor {
        self.at_ordinal(self.newest_ordinal())
    }

    /// The ordinal of the newest frame that was published, retained or not.
    pub fn newest_ordinal(&self) -> u64 {
        self.marks.newest(self.head.ordinal.saturating_sub(1))
    }

    /// Just past the newest frame.
    pub fn latest(&self) -> Cursor {
        Cursor::at(self.head.pos, self.head.ordinal)
    }

    /// The frame `ordinal`, or the nearest that is retained, or the head.
    pub fn at_ordinal(&self, ordinal: u64) -> Cursor {
        let oldest = self.oldest();
        if ordinal <= oldest.ordinal {
            return oldest;
        }
        let index = self.segments.partition_point(|segment| segment.first_ordinal() <= ordinal);
        let segment = &self.segments[index.saturating_sub(1)];
        let start = Cursor::at(segment.base(), segment.first_ordinal());
        let start = if start.ordinal < oldest.ordinal { oldest } else { start };
        self.walk(start, |at| at.ordinal < ordinal)
    }

    /// The frame that follows the one at `at`.
    pub fn after(&self, at: Cursor) -> Cursor {
        Cursor::at(at.frame_pos + self.frame_len(at), at.ordinal + 1)
    }

    /// Steps over whole frames from `at` while `goes_on` and frames last.
    fn walk(&self, mut at: Cursor, goes_on: impl Fn(Cursor) -> bool) -> Cursor {
        while at.frame_pos < self.head.pos && goes_on(at) {
            at = self.after(at);
        }
        at
    }

    /// Lane position of the first byte that is held.
    pub fn first_pos(&self) -> u64 {
        self.segments[0].base()
    }

    /// The number of the first frame that is held.
    pub fn first_ordinal(&self) -> u64 {
        self.segments[0].first_ordinal()
    }

    /// Holds `segment` as well, which ends where the first one begins.
    pub fn hold_older(&mut self, segment: Arc<Segment>) {
        self.segments.push_front(segment);
    }

    /// The frame at `cursor`.
    pub fn frame(&self, cursor: Cursor) -> &[u8] {
        let bytes = self.bytes_from(cursor.frame_pos);
        &bytes[..self.kind.frame_len(bytes) as usize]
    }

    /// Length of the frame at `cursor`.
    fn frame_len(&self, cursor: Cursor) -> u64 {
        self.kind.frame_len(self.bytes_from(cursor.frame_pos))
    }

    /// Bytes of the torn frame at `cursor` that are still to be sent.
    pub fn torn_rest(&self, cursor: Cursor) -> &[u8] {
        let rest = (self.frame_len(cursor) - u64::from(cursor.torn_bytes)) as usize;
        let bytes = self.bytes_from(cursor.pos());
        &bytes[..rest.min(bytes.len())]
    }

    /// Where `cursor` stands after `sent` more bytes, which lie before the head. The number of
    /// frames that became complete is the difference in `ordinal`.
    pub fn advance(&self, cursor: Cursor, sent: u64) -> Cursor {
        let to = cursor.pos() + sent;
        debug_assert!(to <= self.head.pos);
        if to == self.head.pos {
            return self.latest();
        }
        let mut at = Cursor::at(cursor.frame_pos, cursor.ordinal);
        let segment = &self.segments[self.segment_index(to)];
        if segment.base() > at.frame_pos {
            at = Cursor::at(segment.base(), segment.first_ordinal());
        }
        loop {
            let len = self.frame_len(at);
            if at.frame_pos + len > to {
                return Cursor { torn_bytes: (to - at.frame_pos) as u32, ..at };
            }
            at = Cursor::at(at.frame_pos + len, at.ordinal + 1);
        }
    }

    /// Whole frames, or the end of a torn one and whole frames, from `cursor` on: all of its
    /// segment, or where that is more than `bytes_max` as many as end within it, but at least one.
    pub fn share(&self, cursor: Cursor, bytes_max: u64) -> &[u8] {
        let bytes = self.bytes_from(cursor.pos());
        if bytes.len() as u64 <= bytes_max {
            return bytes;
        }
        let end = cursor.pos() + bytes_max;
        let mut at = self.after(cursor);
        while at.frame_pos < end {
            let next = self.after(at);
            if next.frame_pos > end {
                break;
            }
            at = next;
        }
        &bytes[..(at.frame_pos - cursor.pos()) as usize]
    }

    /// Hands the published bytes from `pos` on to `take`, one slice a segment, until the head or
    /// until `take` answers false.
    pub fn slices<'a>(&'a self, pos: u64, mut take: impl FnMut(&'a [u8]) -> bool) {
        let mut pos = pos;
        while pos < self.head.pos {
            let bytes = self.bytes_from(pos);
            pos += bytes.len() as u64;
            if !take(bytes) {
                return;
            }
        }
    }

    /// Published bytes from `pos` to the end of the segment that holds it, at most to the head.
    fn bytes_from(&self, pos: u64) -> &[u8] {
        let segment = &self.segments[self.segment_index(pos)];
        let bytes = segment.bytes();
        let end = bytes.len().min((self.head.pos - segment.base()) as usize);
        &bytes[((pos - segment.base()) as usize).min(end)..end]
    }

    /// The segment that holds `pos`. Nearly every cursor is in the last one.
    fn segment_index(&self, pos: u64) -> usize {
        let last = self.segments.len() - 1;
        if self.segments[last].base() <= pos {
            return last;
        }
        self.segments.partition_point(|segment| segment.base() <= pos).saturating_sub(1)
    }
}
