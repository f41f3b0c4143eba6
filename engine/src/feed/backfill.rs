//! Frames of the log that a lane lacks, because nobody asked for them when it was opened, encoded
//! for somebody who does. Owns what is done of it: it needs the feed's lock for moments only, to
//! learn what the log still keeps and to put the whole before the lane. Must not know who asked.

use std::ops::Range;
use std::sync::Arc;

use crate::feed::cursor::Cursor;
use crate::feed::encoder::Encoder;
use crate::feed::lane::{Filled, Lack};
use crate::feed::lane_reader::LaneReader;
use crate::feed::message::{Message, Origin, Place};
use crate::feed::prepared::Prepared;
use crate::feed::segment::{LogBudget, Segment};
use crate::frame::encode;

/// Frames that are encoded before the feed is asked again what it keeps: so many origins are copied
/// under its lock.
const SLICE_FRAMES: u64 = 256;

/// The next frames to encode, and where each of them comes from if the feed does not know by
/// itself.
#[derive(Debug)]
pub struct Slice {
    /// Their numbers.
    pub seqs: Range<u64>,
    /// Their origins, in a pattern.
    pub origins: Vec<Arc<Origin>>,
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
    first_seq: u64,
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

    /// The frames of the next slice, of those from `kept_seq` on; none when all are encoded.
    pub fn next_seqs(&self, kept_seq: u64) -> Range<u64> {
        let next_seq = self.at.seq.max(self.lack.first_seq).max(kept_seq);
        next_seq..self.lack.end.seq.min(next_seq + SLICE_FRAMES)
    }

    /// The number of the lane's first frame so far.
    pub fn end_seq(&self) -> u64 {
        self.lack.end.seq
    }

    /// Encodes a slice. `place` says where the frame of a number and an origin stands.
    pub fn encode<'a>(
        &mut self,
        slice: &'a Slice,
        place: impl Fn(u64, Option<&'a Arc<Origin>>) -> Place<'a>,
    ) {
        if self.at.seq != slice.seqs.start {
            self.begin_at(slice.seqs.start);
        }
        while slice.seqs.contains(&self.at.seq) {
            let origin = slice.origins.get((self.at.seq - slice.seqs.start) as usize);
            self.encode_one(place(self.at.seq, origin));
        }
    }

    /// Begins with frame `seq`: what came before it, the log has given up.
    fn begin_at(&mut self, seq: u64) {
        self.at = self.log.at_seq(seq);
        self.chunks.clear();
        self.encoder = Encoder::new(self.lack.kind);
    }

    fn encode_one(&mut self, place: Place<'_>) {
        let (at, end_seq) = (self.at, self.lack.end.seq);
        let chunk_bytes_max = self.lack.segment_bytes_max as usize;
        let has_room = |chunk: &Chunk| chunk.bytes.len() < chunk_bytes_max && at.seq + 1 < end_seq;
        if !self.chunks.last().is_some_and(has_room) {
            self.chunks.push(Chunk { first_seq: at.seq, frames: 0, bytes: Vec::new() });
        }
        if let (Some(chunk), Some((kind, payload))) =
            (self.chunks.last_mut(), encode::message(self.log.frame(at)))
        {
            let mut message = Prepared::new(Message { kind, payload });
            let parts = self.encoder.encode(place, &mut message);
            parts.iter().for_each(|part| chunk.bytes.extend_from_slice(part));
            chunk.frames += 1;
            self.deflates += message.deflates();
        }
        self.encodes += 1;
        self.at = self.log.after(at);
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
        let segments = self.chunks.drain(..).map(|Chunk { first_seq, frames, bytes }| {
            let base = pos;
            pos += bytes.len() as u64;
            Segment::full((base, first_seq), &bytes, frames, budget)
        });
        let segments = segments.collect();
        self.encoder.release_scratch();
        Filled { segments, end, encoder: self.encoder, last_frame_bytes }
    }
}
