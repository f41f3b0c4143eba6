//! Frames of the log that a lane lacks, because nobody asked for them when it was opened, encoded
//! for somebody who does. Owns what is done of it: it needs the feed's lock for moments only, to
//! learn what the log still keeps and to put the whole before the lane. Must not know who asked.

use std::ops::Range;
use std::sync::Arc;

use crate::feed::cursor::Cursor;
use crate::feed::encoder::Encoder;
use crate::feed::gap::Gap;
use crate::feed::lane::{Filled, Lack};
use crate::feed::lane_reader::LaneReader;
use crate::feed::message::{Message, Origin, Place};
use crate::feed::prepared::Prepared;
use crate::feed::segment::{LogBudget, Segment};
use crate::feed::topic::Target;
use crate::frame::encode;

/// Frames that are encoded before the feed is asked again what it keeps: so many origins are copied
/// under its lock.
const SLICE_FRAMES: u64 = 256;

/// The next frames to encode, and where each of them comes from if the feed does not know by
/// itself.
#[derive(Debug)]
pub struct Slice {
    /// Their numbers.
    pub ordinals: Range<u64>,
    /// Their origins, in a pattern.
    pub origins: Vec<Arc<Origin>>,
    /// Which of them are no frames, but notices of a gap.
    pub notices: Vec<(u64, Gap)>,
}

/// See the file header.
#[derive(Debug)]
pub struct Backfill {
    log: LaneReader,
    lack: Lack,
    /// The frame of the log to encode next; before the first slice it is not looked up yet.
    at: Cursor,
    encoder: Encoder,
    chunks: Vec<Chunk>,
    encodes: u32,
    deflates: u32,
}

/// The bytes of a segment. Where in the lane it begins is known when all are there.
#[derive(Debug)]
struct Chunk {
    first_ordinal: u64,
    frames: u32,
    bytes: Vec<u8>,
}

impl Backfill {
    /// Nothing of what a lane lacks is encoded yet; `log` holds it.
    pub fn new(log: LaneReader, lack: Lack) -> Self {
        Self {
            at: Cursor::at(0, 0),
            encoder: Encoder::new(lack.kind),
            log,
            lack,
            chunks: Vec::new(),
            encodes: 0,
            deflates: 0,
        }
    }

    /// The frames of the next slice, of those from `kept_ordinal` on; none when all are encoded.
    pub fn next_ordinals(&self, kept_ordinal: u64) -> Range<u64> {
        let next_ordinal = self.at.ordinal.max(self.lack.first_ordinal).max(kept_ordinal);
        next_ordinal..self.lack.end.ordinal.min(next_ordinal + SLICE_FRAMES)
    }

    /// The number of the lane's first frame so far.
    pub fn end_ordinal(&self) -> u64 {
        self.lack.end.ordinal
    }

    /// Encodes a slice. `place` says where the frame of an ordinal and an origin stands; notices
    /// are for subscribers of `target`.
    pub fn encode<'a>(
        &mut self,
        slice: &'a Slice,
        target: &Target,
        place: impl Fn(u64, Option<&'a Arc<Origin>>) -> Place<'a>,
    ) {
        if self.at.ordinal != slice.ordinals.start {
            self.begin_at(slice.ordinals.start);
        }
        while slice.ordinals.contains(&self.at.ordinal) {
            let origin = slice.origins.get((self.at.ordinal - slice.ordinals.start) as usize);
            let notice = slice.notices.iter().find(|(ordinal, _)| *ordinal == self.at.ordinal);
            match notice {
                Some((_, gap)) => self.copy_notice(&self.lack.kind.gap_notice(target, *gap)),
                None => self.encode_one(place(self.at.ordinal, origin)),
            }
        }
    }

    /// Begins with frame `ordinal`: what came before it, the log has given up.
    fn begin_at(&mut self, ordinal: u64) {
        self.at = self.log.at_ordinal(ordinal);
        self.chunks.clear();
        self.encoder = Encoder::new(self.lack.kind);
    }

    fn encode_one(&mut self, place: Place<'_>) {
        self.begin_chunk();
        if let (Some(chunk), Some((kind, payload))) =
            (self.chunks.last_mut(), encode::message(self.log.frame(self.at)))
        {
            let mut message = Prepared::new(Message::of_client(kind, payload));
            let parts = self.encoder.encode(place, &mut message);
            parts.iter().for_each(|part| chunk.bytes.extend_from_slice(part));
            chunk.frames += 1;
            self.deflates += message.deflates();
        }
        self.encodes += 1;
        self.at = self.log.after(self.at);
    }

    fn copy_notice(&mut self, notice: &[u8]) {
        self.begin_chunk();
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.bytes.extend_from_slice(notice);
            chunk.frames += 1;
        }
        self.at = self.log.after(self.at);
    }

    /// Makes sure that the next entry has a part to go into.
    fn begin_chunk(&mut self) {
        let at = self.at;
        let chunk_bytes_max = self.lack.segment_bytes_max as usize;
        let is_last = at.ordinal + 1 >= self.lack.end.ordinal;
        let has_room = |chunk: &Chunk| chunk.bytes.len() < chunk_bytes_max && !is_last;
        if !self.chunks.last().is_some_and(has_room) {
            self.chunks.push(Chunk { first_ordinal: at.ordinal, frames: 0, bytes: Vec::new() });
        }
    }

    /// Bytes encoded so far.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    /// Encodings made, and how often something was deflated for them.
    pub fn encodes(&self) -> (u32, u32) {
        (self.encodes, self.deflates)
    }

    /// The whole, in segments that end where the lane begins.
    pub fn finish(mut self, budget: &Arc<LogBudget>) -> Filled {
        let end = self.lack.end;
        let last_frame_bytes = self.chunks.last().map_or(0, |chunk| chunk.bytes.len() as u64);
        let mut pos = end.frame_pos - self.bytes();
        let segments = self.chunks.drain(..).map(|Chunk { first_ordinal, frames, bytes }| {
            let base = pos;
            pos += bytes.len() as u64;
            Segment::full((base, first_ordinal), &bytes, frames, budget)
        });
        let segments = segments.collect();
        self.encoder.release_scratch();
        Filled { segments, end, encoder: self.encoder, last_frame_bytes }
    }
}
