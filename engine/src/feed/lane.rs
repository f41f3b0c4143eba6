//! A lane: one encoding of a feed, kept as a chain of segments. [`LaneWriter`] appends and retains,
//! under the feed's lock; [`LaneReader`] is one core's view of it. Must not know sockets, clocks or
//! subscribers; frames never span segments, so a segment boundary is always a frame boundary.

use std::collections::VecDeque;
use std::ops::Range;

use crate::feed::cursor::Cursor;
use crate::feed::encoder::Encoder;
use crate::feed::kind::LaneKind;
use crate::feed::lane_reader::{Head, LaneReader};
use crate::feed::message::{Origin, Place};
use crate::feed::prepared::Prepared;
use crate::feed::retention::Retention;
use crate::feed::segment::{LogBudget, Segment, SegmentWriter};
use crate::sync::{Arc, AtomicU64, Ordering};

/// Capacity of the segment for a lane's first frame: small, so that a quiet topic is cheap.
const SEGMENT_BYTES_FIRST: u32 = 4 << 10;
/// Capacity at which doubling stops: large enough that crossing a boundary is rare, small enough
/// that retention by whole segments stays close to what was asked for.
const SEGMENT_BYTES_MAX: u32 = 256 << 10;
/// Where the first frame of a new lane begins: older ones that are encoded later have their places
/// below, where there is room for more than a machine has memory.
const FIRST_POS: u64 = 1 << 48;

/// The appending side of a lane. Lives under its feed's lock.
#[derive(Debug)]
pub struct LaneWriter {
    encoder: Encoder,
    chain: Chain,
    tail: Arc<AtomicU64>,
    tail_seq: u64,
    /// The number of the first frame the lane was opened for.
    opened_seq: u64,
    /// The oldest frame that it ever had.
    first: Cursor,
    /// What made the frames that were put before it, the oldest first.
    older: Vec<Older>,
    last_frame_bytes: u64,
    marks: VecDeque<Mark>,
}

/// The encoder of frames that were put before a lane. Each part of a lane announces by itself.
#[derive(Debug)]
struct Older {
    encoder: Encoder,
    until_seq: u64,
}

/// What a lane lacks of the log.
#[derive(Clone, Copy, Debug)]
pub struct Lack {
    /// The lane's encoding.
    pub kind: LaneKind,
    /// The first frame it lacks.
    pub first_seq: u64,
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
            seq: segment.first_seq() + u64::from(extent.frames),
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
        self.link(SegmentWriter::new(head.pos, head.seq, capacity, &self.budget));
    }

    /// Copies the last frame, which is at `last`, into a segment of its size.
    fn copy_last_frame(&mut self, last: Cursor) {
        let source = Arc::clone(self.writer.segment());
        let frame = &source.bytes()[(last.frame_pos - source.base()) as usize..];
        // Filled before it is linked: a reader must never see the head go back.
        let len = frame.len() as u32;
        let mut next = SegmentWriter::new(last.frame_pos, last.seq, len, &self.budget);
        next.append(&[frame]);
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
    /// An empty lane whose first frame will be `first_seq`.
    ///
    /// Segments grow to a quarter of what `retention` keeps, so that giving up whole segments stays
    /// close to what was asked for.
    pub fn new(
        kind: LaneKind,
        first_seq: u64,
        retention: &Retention,
        budget: &std::sync::Arc<LogBudget>,
    ) -> Self {
        let quarter = u32::try_from(retention.bytes_max / 4).unwrap_or(SEGMENT_BYTES_MAX);
        // Nothing is allocated for a lane that nobody has published to yet.
        let writer = SegmentWriter::new(FIRST_POS, first_seq, 0, budget);
        Self {
            encoder: Encoder::new(kind),
            chain: Chain {
                segment_bytes_max: quarter.clamp(SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MAX),
                retained: VecDeque::from([Arc::clone(writer.segment())]),
                writer,
                budget: std::sync::Arc::clone(budget),
            },
            tail: Arc::new(AtomicU64::new(FIRST_POS)),
            tail_seq: first_seq,
            opened_seq: first_seq,
            first: Cursor::at(FIRST_POS, first_seq),
            older: Vec::new(),
            last_frame_bytes: 0,
            marks: VecDeque::new(),
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
        Cursor::at(self.tail.load(Ordering::Relaxed), self.tail_seq)
    }

    /// Encodes `message`, whose number must be the next, and publishes it.
    pub fn append(&mut self, place: Place<'_>, message: &mut Prepared<'_>) {
        debug_assert_eq!(place.seq, self.head().seq, "numbers are dense");
        self.last_frame_bytes = self.chain.append(&self.encoder.encode(place, message));
    }

    /// What is to be encoded for somebody who wants frame `wanted_seq` and those that follow it;
    /// none if the lane has them, or retention has begun to give up what it had. It is at least as
    /// much again as was put before the lane already, so that a lane is filled few times.
    pub fn lack(&self, wanted_seq: u64) -> Option<Lack> {
        let (end, filled) = (self.first, self.opened_seq - self.first.seq);
        (wanted_seq < end.seq && self.tail_seq == end.seq).then_some(Lack {
            kind: self.encoder.kind(),
            first_seq: wanted_seq.min(end.seq.saturating_sub(filled)),
            end,
            segment_bytes_max: self.chain.segment_bytes_max,
        })
    }

    /// Puts frames before all that the lane had, unless it lacks them no more. Of them, those
    /// before `kept_seq` are given up at once.
    ///
    /// Positions in the lane stay what they were. A reader goes on as before: it takes the first
    /// frame that it holds for the oldest until it is [shown](Self::show_older) older ones.
    pub fn prepend(&mut self, filled: Filled, kept_seq: u64) {
        let Filled { segments, end, encoder, last_frame_bytes } = filled;
        let Some((pos, seq)) = segments.first().map(|first| (first.base(), first.first_seq()))
        else {
            return;
        };
        if end != self.first || self.tail_seq != end.seq || kept_seq >= end.seq {
            return;
        }
        self.first = Cursor::at(pos, seq);
        self.tail_seq = seq;
        self.tail.store(pos, Ordering::Release);
        segments.into_iter().rev().for_each(|segment| self.chain.retained.push_front(segment));
        if self.last_frame_bytes == 0 {
            self.last_frame_bytes = last_frame_bytes;
        }
        let announced_seq = encoder.announcing().last();
        if announced_seq > 0 {
            self.encoder.announcing().note(announced_seq);
            self.older.insert(0, Older { encoder, until_seq: end.seq });
        }
        self.advance_tail_to_seq(kept_seq);
        self.drop_passed();
    }

    /// Lets `reader`, a view of this lane, see retained frames before its first.
    pub fn show_older(&self, reader: &mut LaneReader) {
        let first_pos = reader.first_pos();
        let count = self.chain.retained.partition_point(|segment| segment.base() < first_pos);
        let older = self.chain.retained.iter().take(count).rev();
        older.for_each(|segment| reader.hold_older(Arc::clone(segment)));
    }

    /// The topics that were announced in frames `seqs`, and not again from their end on.
    pub fn announced_in(&self, seqs: Range<u64>) -> Vec<std::sync::Arc<Origin>> {
        let older = self.older.iter().find(|older| seqs.end < older.until_seq);
        older.map_or(&self.encoder, |older| &older.encoder).announced_in(seqs)
    }

    /// Gives up what `retention` no longer covers; the last frame always stays. Returns true when
    /// the tail moved.
    pub fn retain(&mut self, retention: &Retention, now_ns: u64) -> bool {
        let head = self.head();
        let before = self.tail();
        if head.seq <= before.seq + 1 {
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
        let keep_from = head.pos.saturating_sub(bytes_max.max(self.last_frame_bytes));
        let cut = self.chain.retained.iter().rev().find(|segment| segment.base() <= keep_from);
        if let Some((pos, seq)) = cut.map(|segment| (segment.base(), segment.first_seq())) {
            self.advance_tail(Cursor::at(pos, seq));
        }
        if bytes_max == 0 {
            self.advance_tail_to_seq(head.seq - 1);
        }
    }

    fn retain_frames(&mut self, frames_max: u64, head: Head) {
        self.advance_tail_to_seq(head.seq.saturating_sub(frames_max.max(1)));
    }

    /// By age, to a sixteenth of the age asked for.
    fn retain_age(&mut self, age_ns_max: Option<u64>, now_ns: u64, head: Head) {
        let Some(age_ns_max) = age_ns_max else { return };
        let last_frame = head.seq - 1;
        while let Some(mark) = self.marks.front()
            && now_ns.saturating_sub(mark.at_ns) >= age_ns_max
        {
            let seq = mark.head.seq.min(last_frame);
            self.marks.pop_front();
            self.advance_tail_to_seq(seq);
        }
        let grain_ns = age_ns_max / 16;
        if self.marks.back().is_none_or(|mark| {
            mark.head.seq < head.seq && now_ns.saturating_sub(mark.at_ns) >= grain_ns
        }) {
            self.marks.push_back(Mark { head, at_ns: now_ns });
        }
    }

    /// Moves the tail to frame `seq` by walking; each frame is walked past once in its life.
    fn advance_tail_to_seq(&mut self, seq: u64) {
        let mut at = self.tail();
        if at.seq >= seq {
            return;
        }
        let skip = self.chain.retained.partition_point(|segment| segment.first_seq() <= seq) - 1;
        let segment = &self.chain.retained[skip];
        if segment.first_seq() > at.seq {
            at = Cursor::at(segment.base(), segment.first_seq());
        }
        let (kind, bytes) = (self.encoder.kind(), segment.bytes());
        while at.seq < seq {
            let rest = &bytes[(at.frame_pos - segment.base()) as usize..];
            at = Cursor::at(at.frame_pos + kind.frame_len(rest), at.seq + 1);
        }
        self.advance_tail(at);
    }

    fn advance_tail(&mut self, to: Cursor) {
        if to.frame_pos > self.tail.load(Ordering::Relaxed) {
            self.tail.store(to.frame_pos, Ordering::Release);
            self.tail_seq = to.seq;
            self.older.retain(|older| older.until_seq > to.seq);
        }
    }

    fn drop_passed(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        while self.chain.retained.len() > 1 && self.chain.retained[1].base() <= tail {
            self.chain.retained.pop_front();
        }
    }

    /// Keeps only the last frame, in a segment of its size, and returns the rest of the memory.
    /// Positions and sequence numbers go on. Returns true when anything was given back.
    pub fn compact(&mut self) -> bool {
        let head = self.head();
        let capacity: u64 = self.chain.retained.iter().map(|segment| segment.capacity()).sum();
        if self.encoder.scratch_bytes() as u64 + capacity <= self.last_frame_bytes {
            return false;
        }
        self.encoder.release_scratch();
        self.marks.clear();
        if head.seq == self.tail_seq {
            return false;
        }
        self.advance_tail_to_seq(head.seq - 1);
        // Of frames that were put before a lane the last has a segment of its own.
        if self.chain.writer.extent().frames > 0 {
            self.chain.copy_last_frame(self.tail());
        }
        self.drop_passed();
        true
    }

    /// The newest frame, if there is one.
    pub fn newest(&self) -> Option<NewestFrame> {
        let head = self.head();
        let segment = Arc::clone(self.chain.writer.segment());
        let from = (head.pos.checked_sub(self.last_frame_bytes)?).checked_sub(segment.base())?;
        let is_empty = self.last_frame_bytes == 0;
        (!is_empty).then_some(NewestFrame {
            segment,
            from: from as usize,
            len: self.last_frame_bytes as usize,
            seq: head.seq - 1,
        })
    }

    /// A reader that sees everything retained.
    pub fn reader(&self) -> LaneReader {
        LaneReader::new(
            self.encoder.kind(),
            self.chain.retained.clone(),
            Arc::clone(&self.tail),
            self.encoder.announcing(),
        )
    }

    /// Bytes allocated to retained segments.
    pub fn retained_bytes(&self) -> u64 {
        self.chain.retained.iter().map(|segment| segment.capacity()).sum()
    }
}

/// The frame that was the newest of a lane when it was asked for.
#[derive(Debug)]
pub struct NewestFrame {
    segment: Arc<Segment>,
    from: usize,
    len: usize,
    /// Its number.
    pub seq: u64,
}

impl NewestFrame {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.segment.bytes()[self.from..self.from + self.len]
    }
}
