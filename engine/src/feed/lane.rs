//! A lane: one encoding of a feed, kept as a chain of segments. [`LaneWriter`] appends and retains,
//! under the feed's lock; [`LaneReader`] is one core's view of it. Must not know sockets, clocks or
//! subscribers; frames never span segments, so a segment boundary is always a frame boundary.

use std::collections::VecDeque;

use crate::feed::cursor::Cursor;
use crate::feed::encoder::Encoder;
use crate::feed::kind::LaneKind;
use crate::feed::lane_reader::{Head, LaneReader};
use crate::feed::message::{Message, Place};
use crate::feed::retention::Retention;
use crate::feed::segment::{LogBudget, Segment, SegmentWriter};
use crate::sync::{Arc, AtomicU64, Ordering};

/// Capacity of the segment for a lane's first frame: small, so that a quiet topic is cheap.
const SEGMENT_BYTES_FIRST: u32 = 4 << 10;
/// Capacity at which doubling stops: large enough that crossing a boundary is rare, small enough
/// that retention by whole segments stays close to what was asked for.
const SEGMENT_BYTES_MAX: u32 = 256 << 10;

/// The appending side of a lane. Lives under its feed's lock.
#[derive(Debug)]
pub struct LaneWriter {
    encoder: Encoder,
    chain: Chain,
    tail: Arc<AtomicU64>,
    tail_seq: u64,
    last_frame_bytes: u64,
    marks: VecDeque<Mark>,
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
        let writer = SegmentWriter::new(0, first_seq, 0, budget);
        Self {
            encoder: Encoder::new(kind),
            chain: Chain {
                segment_bytes_max: quarter.clamp(SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MAX),
                retained: VecDeque::from([Arc::clone(writer.segment())]),
                writer,
                budget: std::sync::Arc::clone(budget),
            },
            tail: Arc::new(AtomicU64::new(0)),
            tail_seq: first_seq,
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
    pub fn append(&mut self, place: Place<'_>, message: Message<'_>) {
        debug_assert_eq!(place.seq, self.head().seq, "numbers are dense");
        self.last_frame_bytes = self.chain.append(&self.encoder.encode(place, message));
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
        let last = self.tail();
        let source = Arc::clone(self.chain.writer.segment());
        let from = (last.frame_pos - source.base()) as usize;
        // Filled before it is linked: a reader must never see the head go back.
        let mut next = SegmentWriter::new(
            last.frame_pos,
            last.seq,
            self.last_frame_bytes as u32,
            &self.chain.budget,
        );
        next.append(&[&source.bytes()[from..]]);
        self.chain.link(next);
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
