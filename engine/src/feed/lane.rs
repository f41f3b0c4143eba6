//! A lane: one encoding of a feed, kept as a chain of segments. [`LaneWriter`] appends and retains,
//! under the feed's lock; [`LaneReader`] is one core's view of it. Must not know sockets, clocks or
//! subscribers; frames never span segments, so a segment boundary is always a frame boundary.

use std::collections::VecDeque;
use std::ops::Range;

use crate::feed::cursor::Cursor;
use crate::feed::encoder::Encoder;
use crate::feed::kind::LaneKind;
use crate::feed::lane_reader::{Head, LaneReader, Marks};
use crate::feed::message::{Origin, Place};
use crate::feed::prepared::Prepared;
use crate::feed::retention::Retention;
use crate::feed::segment::{LogBudget, Segment, SegmentWriter};
use crate::sync::Arc;

/// Capacity of the segment for a lane's first frame: small, so that a quiet topic is cheap.
const SEGMENT_BYTES_FIRST: u32 = 4 << 10;
/// Capacity at which doubling stops: large enough that crossing a boundary is rare, small enough
/// that retention by whole segments stays close to what was asked for.
const SEGMENT_BYTES_MAX: u32 = 256 << 10;
/// Where the first frame of a new lane begins: older ones that are encoded later have their places
/// below, where there is room for more than a machine has memory.
const FIRST_POS: u64 = 1 << 48;
/// Notices behind the last frame for whose sake it stays.
const NOTICES_KEPT_MAX: u64 = 16;

/// The appending side of a lane. Lives under its feed's lock.
#[derive(Debug)]
pub struct LaneWriter {
    encoder: Encoder,
    chain: Chain,
    marks: Arc<Marks>,
    /// The oldest retained frame. Readers see it in the marks, which are another core's memory and
    /// cold by the time of the next frame.
    tail: Cursor,
    /// The number of the first frame the lane was opened for.
    opened_ordinal: u64,
    /// The oldest frame that it ever had.
    first: Cursor,
    /// What made the frames that were put before it, the oldest first.
    older: Vec<Older>,
    last_frame_bytes: u64,
    /// Entries behind the last frame that are notices, and their bytes.
    notices: u64,
    notice_bytes: u64,
    ages: VecDeque<Mark>,
}

/// The encoder of frames that were put before a lane. Each part of a lane announces by itself.
#[derive(Debug)]
struct Older {
    encoder: Encoder,
    until_ordinal: u64,
}

/// What a lane lacks of the log.
#[derive(Clone, Copy, Debug)]
pub struct Lack {
    /// The lane's encoding.
    pub kind: LaneKind,
    /// The first frame it lacks.
    pub first_ordinal: u64,
    /// Where the lane begins so far.
    pub end: Cursor,
    /// Bytes at which a segment of it is full.
    pub segment_bytes_max: u32,
}

/// Frames to be put before a lane.
#[derive(Debug)]
pub struct Filled {
    /// The oldest first. The last frame has a segment of its own: should nothing follow it, it is
    /// what a compacted lane keeps.
    pub segments: Vec<Arc<Segment>>,
    /// Where the last of them ends.
    pub end: Cursor,
    /// What made them.
    pub encoder: Encoder,
    /// Length of the last frame.
    pub last_frame_bytes: u64,
}

/// The segments of a lane, and the one that grows.
#[derive(Debug)]
struct Chain {
    segment_bytes_max: u32,
    writer: SegmentWriter,
    retained: VecDeque<Arc<Segment>>,
    budget: std::sync::Arc<LogBudget>,
}

impl Chain {
    fn head(&self) -> Head {
        let extent = self.writer.extent();
        let segment = self.writer.segment();
        Head {
            pos: segment.base() + u64::from(extent.bytes),
            ordinal: segment.first_ordinal() + u64::from(extent.frames),
        }
    }

    /// Publishes one frame, given in parts. Answers its length.
    fn append(&mut self, parts: &[&[u8]]) -> u64 {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.writer.room() < len {
            self.extend(len);
        }
        let fitted = self.writer.append(parts);
        debug_assert!(fitted, "extend made room");
        len as u64
    }

    /// Begins a new segment that has room for a frame of `len` bytes.
    fn extend(&mut self, len: usize) {
        let capacity = self.writer.extent().bytes.saturating_mul(2);
        let capacity = capacity.clamp(SEGMENT_BYTES_FIRST, self.segment_bytes_max).max(len as u32);
        let head = self.head();
        self.link(SegmentWriter::new(head.pos, head.ordinal, capacity, &self.budget));
    }

    /// Copies the last entries, from `last` on, into a segment of their size.
    fn copy_last(&mut self, last: Cursor, entries: u64) {
        let source = Arc::clone(self.writer.segment());
        let rest = &source.bytes()[(last.frame_pos - source.base()) as usize..];
        // Filled before it is linked: a reader must never see the head go back.
        let len = rest.len() as u32;
        let mut next = SegmentWriter::new(last.frame_pos, last.ordinal, len, &self.budget);
        next.append_frames(&[rest], entries as u32);
        self.link(next);
    }

    fn link(&mut self, next: SegmentWriter) {
        self.retained.push_back(Arc::clone(next.segment()));
        std::mem::replace(&mut self.writer, next).link(&self.writer);
    }
}

/// A frame boundary and when it was the head: lets retention go by age without a time per frame.
#[derive(Debug)]
struct Mark {
    head: Head,
    at_ns: u64,
}

impl LaneWriter {
    /// An empty lane whose first frame will be `first_ordinal`.
    ///
    /// Segments grow to a quarter of what `retention` keeps, so that giving up whole segments stays
    /// close to what was asked for.
    pub fn new(
        kind: LaneKind,
        first_ordinal: u64,
        retention: &Retention,
        budget: &std::sync::Arc<LogBudget>,
    ) -> Self {
        let quarter = u32::try_from(retention.bytes_max / 4).unwrap_or(SEGMENT_BYTES_MAX);
        // Nothing is allocated for a lane that nobody has published to yet.
        let writer = SegmentWriter::new(FIRST_POS, first_ordinal, 0, budget);
        Self {
            encoder: Encoder::new(kind),
            chain: Chain {
                segment_bytes_max: quarter.clamp(SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MAX),
                retained: VecDeque::from([Arc::clone(writer.segment())]),
                writer,
                budget: std::sync::Arc::clone(budget),
            },
            marks: Arc::new(Marks::new(FIRST_POS)),
            tail: Cursor::at(FIRST_POS, first_ordinal),
            opened_ordinal: first_ordinal,
            first: Cursor::at(FIRST_POS, first_ordinal),
            older: Vec::new(),
            last_frame_bytes: 0,
            notices: 0,
            notice_bytes: 0,
            ages: VecDeque::new(),
        }
    }

    /// Which encoding this is.
    pub fn kind(&self) -> LaneKind {
        self.encoder.kind()
    }

    /// What makes its frames.
    pub fn encoder(&mut self) -> &mut Encoder {
        &mut self.encoder
    }

    /// Where the next frame goes.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// The oldest retained frame.
    pub fn tail(&self) -> Cursor {
        self.tail
    }

    /// Encodes `message`, whose number must be the next, and publishes it.
    pub fn append(&mut self, place: Place<'_>, message: &mut Prepared<'_>) {
        debug_assert_eq!(place.ordinal, self.head().ordinal, "ordinals are dense");
        self.last_frame_bytes = self.chain.append(&self.encoder.encode(place, message));
        (self.notices, self.notice_bytes) = (0, 0);
    }

    /// Publishes a whole notice as the next entry: it takes an ordinal, but it is no frame.
    pub fn append_notice(&mut self, notice: &[u8]) {
        self.marks.note_notice(self.head().ordinal);
        self.notice_bytes += self.chain.append(&[notice, &[]]);
        self.notices += 1;
    }

    /// Has readers know which entries at the end of the feed are notices, as `log` knows it.
    pub fn copy_notices(&self, log: &Self) {
        self.marks.copy_notices(&log.marks);
    }

    /// Gives up whatever comes before entry `ordinal`, the last frame as well.
    pub fn give_up_before(&mut self, ordinal: u64) {
        self.advance_tail_to_ordinal(ordinal.min(self.head().ordinal.saturating_sub(1)));
        self.last_frame_bytes = 0;
        self.drop_passed();
    }

    /// The oldest entry that always stays: the last frame; the notices behind it stay with it.
    fn last_kept(&self, head: Head) -> u64 {
        head.ordinal.saturating_sub(1 + self.notices.min(NOTICES_KEPT_MAX))
    }

    /// What is to be encoded for somebody who wants frame `wanted_ordinal` and those that follow
    /// it; none if the lane has them, or retention has begun to give up what it had. It is at
    /// least as much again as was put before the lane already, so that a lane is filled few times.
    pub fn lack(&self, wanted_ordinal: u64) -> Option<Lack> {
        let (end, filled) = (self.first, self.opened_ordinal - self.first.ordinal);
        (wanted_ordinal < end.ordinal && self.tail.ordinal == end.ordinal).then_some(Lack {
            kind: self.encoder.kind(),
            first_ordinal: wanted_ordinal.min(end.ordinal.saturating_sub(filled)),
            end,
            segment_bytes_max: self.chain.segment_bytes_max,
        })
    }

    /// Puts frames before all that the lane had, unless it lacks them no more. Of them, those
    /// before `kept_ordinal` are given up at once.
    ///
    /// Positions in the lane stay what they were. A reader goes on as before: it takes the first
    /// frame that it holds for the oldest until it is [shown](Self::show_older) older ones.
    pub fn prepend(&mut self, filled: Filled, kept_ordinal: u64) {
        let Filled { segments, end, encoder, last_frame_bytes } = filled;
        let begin = segments.first().map(|first| (first.base(), first.first_ordinal()));
        let Some((pos, ordinal)) = begin else {
            return;
        };
        if end != self.first || self.tail.ordinal != end.ordinal || kept_ordinal >= end.ordinal {
            return;
        }
        self.first = Cursor::at(pos, ordinal);
        self.set_tail(self.first);
        segments.into_iter().rev().for_each(|segment| self.chain.retained.push_front(segment));
        if self.last_frame_bytes == 0 {
            self.last_frame_bytes = last_frame_bytes;
        }
        let announced_ordinal = encoder.announcing().last();
        if announced_ordinal > 0 {
            self.encoder.announcing().note(announced_ordinal);
            self.older.insert(0, Older { encoder, until_ordinal: end.ordinal });
        }
        self.advance_tail_to_ordinal(kept_ordinal);
        self.drop_passed();
    }

    /// Lets `reader`, a view of this lane, see retained frames before its first.
    pub fn show_older(&self, reader: &mut LaneReader) {
        let first_pos = reader.first_pos();
        let count = self.chain.retained.partition_point(|segment| segment.base() < first_pos);
        let older = self.chain.retained.iter().take(count).rev();
        older.for_each(|segment| reader.hold_older(Arc::clone(segment)));
    }

    /// The topics that were announced in frames `ordinals`, and not again from their end on.
    pub fn announced_in(&self, ordinals: Range<u64>) -> Vec<std::sync::Arc<Origin>> {
        let older = self.older.iter().find(|older| ordinals.end < older.until_ordinal);
        older.map_or(&self.encoder, |older| &older.encoder).announced_in(ordinals)
    }

    /// Gives up what `retention` no longer covers; the last frame always stays. Returns true when
    /// the tail moved.
    pub fn retain(&mut self, retention: &Retention, now_ns: u64) -> bool {
        let head = self.head();
        let before = self.tail();
        if self.last_kept(head) <= before.ordinal {
            return false;
        }
        self.retain_bytes(retention.bytes_max, head);
        self.retain_frames(retention.frames_max, head);
        self.retain_age(retention.age_ns_max, now_ns, head);
        self.drop_passed();
        self.tail() != before
    }

    /// By bytes, whole segments go at a time: what stays is at least `bytes_max`.
    fn retain_bytes(&mut self, bytes_max: u64, head: Head) {
        let keep_from = head.pos.saturating_sub(bytes_max.max(self.last_bytes()));
        // From the oldest on: mostly the second stays, and the rest need not be looked at.
        let passed = self.chain.retained.iter().skip(1);
        let cut = passed.take_while(|segment| segment.base() <= keep_from).last();
        if let Some((pos, ordinal)) = cut.map(|segment| (segment.base(), segment.first_ordinal())) {
            self.advance_tail(Cursor::at(pos, ordinal));
        }
        if bytes_max == 0 {
            self.advance_tail_to_ordinal(self.last_kept(head));
        }
    }

    fn retain_frames(&mut self, frames_max: u64, head: Head) {
        let from = head.ordinal.saturating_sub(frames_max.max(1));
        self.advance_tail_to_ordinal(from.min(self.last_kept(head)));
    }

    /// By age, to a sixteenth of the age asked for.
    fn retain_age(&mut self, age_ns_max: Option<u64>, now_ns: u64, head: Head) {
        let Some(age_ns_max) = age_ns_max else { return };
        let last_frame = self.last_kept(head);
        while let Some(mark) = self.ages.front()
            && now_ns.saturating_sub(mark.at_ns) >= age_ns_max
        {
            let ordinal = mark.head.ordinal.min(last_frame);
            self.ages.pop_front();
            self.advance_tail_to_ordinal(ordinal);
        }
        let grain_ns = age_ns_max / 16;
        if self.ages.back().is_none_or(|mark| {
            mark.head.ordinal < head.ordinal && now_ns.saturating_sub(mark.at_ns) >= grain_ns
        }) {
            self.ages.push_back(Mark { head, at_ns: now_ns });
        }
    }

    /// Moves the tail to frame `ordinal` by walking; each frame is walked past once in its life.
    fn advance_tail_to_ordinal(&mut self, ordinal: u64) {
        let mut at = self.tail();
        if at.ordinal >= ordinal {
            return;
        }
        let retained = &self.chain.retained;
        let skip = retained.partition_point(|segment| segment.first_ordinal() <= ordinal) - 1;
        let segment = &retained[skip];
        if segment.first_ordinal() > at.ordinal {
            at = Cursor::at(segment.base(), segment.first_ordinal());
        }
        let (kind, bytes) = (self.encoder.kind(), segment.bytes());
        while at.ordinal < ordinal {
            let rest = &bytes[(at.frame_pos - segment.base()) as usize..];
            at = Cursor::at(at.frame_pos + kind.frame_len(rest), at.ordinal + 1);
        }
        self.advance_tail(at);
    }

    fn advance_tail(&mut self, to: Cursor) {
        if to.frame_pos > self.tail.frame_pos {
            self.set_tail(to);
            self.older.retain(|older| older.until_ordinal > to.ordinal);
        }
    }

    fn set_tail(&mut self, to: Cursor) {
        self.tail = to;
        self.marks.set_tail_pos(to.frame_pos);
    }

    fn drop_passed(&mut self) {
        let tail = self.tail.frame_pos;
        while self.chain.retained.len() > 1 && self.chain.retained[1].base() <= tail {
            self.chain.retained.pop_front();
        }
    }

    /// Keeps only the last frame, in a segment of its size, and returns the rest of the memory.
    /// Positions and ordinals go on. Returns true when anything was given back.
    pub fn compact(&mut self) -> bool {
        let head = self.head();
        let capacity: u64 = self.chain.retained.iter().map(|segment| segment.capacity()).sum();
        if self.encoder.scratch_bytes() as u64 + capacity <= self.last_bytes() {
            return false;
        }
        self.encoder.release_scratch();
        self.ages.clear();
        let before = self.tail();
        if head.ordinal == self.tail.ordinal {
            return false;
        }
        self.advance_tail_to_ordinal(self.last_kept(head));
        let tail = self.tail();
        // Of frames that were put before a lane the last has a segment of its own.
        let is_copied = self.chain.writer.extent().frames > 0
            && self.chain.writer.segment().base() <= tail.frame_pos;
        if is_copied {
            self.chain.copy_last(tail, head.ordinal - tail.ordinal);
        }
        self.drop_passed();
        is_copied || tail != before
    }

    /// The newest frame, if there is one.
    pub fn newest(&self) -> Option<NewestFrame> {
        let head = self.head();
        let pos = head.pos.checked_sub(self.last_bytes())?;
        if self.last_frame_bytes == 0 || pos < self.tail.frame_pos {
            return None;
        }
        let segment = self.chain.retained.iter().rev().find(|segment| segment.base() <= pos)?;
        Some(NewestFrame {
            from: (pos - segment.base()) as usize,
            segment: Arc::clone(segment),
            len: self.last_frame_bytes as usize,
            ordinal: head.ordinal - 1 - self.notices,
        })
    }

    /// A reader that sees everything retained.
    pub fn reader(&self) -> LaneReader {
        LaneReader::new(
            self.encoder.kind(),
            self.chain.retained.clone(),
            Arc::clone(&self.marks),
            self.encoder.announcing(),
        )
    }

    /// The retained segments that hold frames `ordinals`.
    pub fn segments_of(&self, ordinals: &Range<u64>) -> Vec<Arc<Segment>> {
        let retained = &self.chain.retained;
        let first = retained.partition_point(|segment| segment.first_ordinal() <= ordinals.start);
        let held = retained.iter().skip(first.saturating_sub(1));
        held.take_while(|segment| segment.first_ordinal() < ordinals.end).cloned().collect()
    }

    /// Bytes of the last frame and the notices behind it.
    fn last_bytes(&self) -> u64 {
        self.last_frame_bytes + self.notice_bytes
    }
}

/// The frame that was the newest of a lane when it was asked for.
#[derive(Debug)]
pub struct NewestFrame {
    segment: Arc<Segment>,
    from: usize,
    len: usize,
    /// Its number.
    pub ordinal: u64,
}

impl NewestFrame {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.segment.bytes()[self.from..self.from + self.len]
    }
}
