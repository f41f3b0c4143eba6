//! Reassembles TCP streams from the segments of a capture: in order, without duplicates, and with
//! gaps marked. Memory is bounded for any input. Must not know files.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use crate::replay::dissection::Segment;
use crate::replay::framing::{Cutter, Frame};
use crate::replay::skipped::{Skip, Skipped};

/// Receives the frames of all streams, each with its sender.
pub type Sink<'s> = &'s mut dyn FnMut(IpAddr, Frame<'_>);

/// All directions of all TCP connections of a capture.
#[derive(Debug, Default)]
pub struct Reassembly {
    directions: FxHashMap<(SocketAddr, SocketAddr), Direction>,
    skipped: Skipped,
}

/// One direction of a TCP connection.
#[derive(Debug)]
struct Direction {
    /// The sequence number of the next byte.
    next: u32,
    /// The offset of that byte in the stream.
    place: u64,
    /// Segments that arrived too early, by their offset in the stream.
    early: BTreeMap<u64, Vec<u8>>,
    early_bytes: usize,
    holes: u64,
    cutter: Cutter,
}

impl Reassembly {
    /// Handles a segment and passes on the frames it completes.
    pub fn take(&mut self, segment: &Segment<'_>, sink: Sink<'_>) {
        let key = (segment.from, segment.to);
        if segment.is_first {
            self.retire(key, sink);
        }
        let is_new = !self.directions.contains_key(&key);
        if is_new && segment.bytes.is_empty() && !segment.is_first {
            return;
        }
        if is_new && self.directions.len() == DIRECTIONS_MAX {
            return self.skipped.add(Skip::Crowd, 1);
        }
        // SYN has a sequence number of its own, before the first byte.
        let seq = segment.seq.wrapping_add(u32::from(segment.is_first));
        let direction = self.directions.entry(key).or_insert_with(|| Direction::at(seq));
        let mut hand_out = |frame: Frame<'_>| sink(key.0.ip(), frame);
        direction.take(seq, segment.bytes, &mut hand_out);
        if segment.is_last && direction.early.is_empty() {
            self.retire(key, sink);
        }
    }

    /// Ends all streams; returns what in them was not a frame.
    pub fn finish(mut self, sink: Sink<'_>) -> Skipped {
        let mut keys: Vec<_> = self.directions.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.retire(key, sink);
        }
        self.skipped
    }

    fn retire(&mut self, key: (SocketAddr, SocketAddr), sink: Sink<'_>) {
        let Some(mut direction) = self.directions.remove(&key) else { return };
        while !direction.early.is_empty() {
            direction.leap(&mut |frame| sink(key.0.ip(), frame));
        }
        let found = direction.cutter.finish();
        self.skipped.add(Skip::Hole, direction.holes);
        self.skipped.add(Skip::Damaged, found.damaged);
        self.skipped.add(Skip::Stray, found.stray_bytes);
    }
}

impl Direction {
    fn at(next: u32) -> Direction {
        let (early, cutter) = (BTreeMap::new(), Cutter::default());
        Direction { next, place: 0, early, early_bytes: 0, holes: 0, cutter }
    }

    fn take(&mut self, seq: u32, bytes: &[u8], sink: &mut dyn FnMut(Frame<'_>)) {
        let distance = seq.wrapping_sub(self.next).cast_signed();
        match u64::try_from(distance) {
            Ok(ahead) if ahead > 0 && !bytes.is_empty() => self.keep(self.place + ahead, bytes),
            // Earlier offsets were handled before; a segment may still reach from there to the
            // current offset.
            _ => {
                let known = distance.unsigned_abs() as usize;
                self.deliver(bytes.get(known..).unwrap_or_default(), sink);
            }
        }
        self.deliver_early(sink);
        while self.early_bytes > EARLY_BYTES_MAX {
            self.leap(sink);
        }
    }

    fn keep(&mut self, place: u64, bytes: &[u8]) {
        let known = self.early.get(&place);
        if known.is_none_or(|known| known.len() < bytes.len()) {
            self.early_bytes -= known.map_or(0, |known| cost(known));
            self.early_bytes += cost(bytes);
            self.early.insert(place, bytes.to_vec());
        }
    }

    fn deliver(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Frame<'_>)) {
        self.next = self.next.wrapping_add(bytes.len() as u32);
        self.place += bytes.len() as u64;
        self.cutter.take(bytes, sink);
    }

    fn deliver_early(&mut self, sink: &mut dyn FnMut(Frame<'_>)) {
        while let Some(entry) = self.early.first_entry()
            && *entry.key() <= self.place
        {
            let (place, bytes) = entry.remove_entry();
            self.early_bytes -= cost(&bytes);
            let known = usize::try_from(self.place - place).unwrap_or(usize::MAX);
            self.deliver(bytes.get(known..).unwrap_or_default(), sink);
        }
    }

    /// Skips the gap before the first early segment.
    fn leap(&mut self, sink: &mut dyn FnMut(Frame<'_>)) {
        let Some((&place, _)) = self.early.first_key_value() else { return };
        self.next = self.next.wrapping_add((place - self.place) as u32);
        self.place = place;
        self.holes += 1;
        self.cutter.lose_step();
        self.deliver_early(sink);
    }
}

/// Memory of an early segment.
fn cost(bytes: &[u8]) -> usize {
    bytes.len() + SEGMENT_COST_BYTES
}

const SEGMENT_COST_BYTES: usize = 64;
/// The most bytes kept per direction while an earlier segment is missing: four times a window
/// without scaling. With the maximum number of directions this is 256 MiB.
const EARLY_BYTES_MAX: usize = 256 * 1024;
const DIRECTIONS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::data_frame;
    use proptest::prelude::*;

    fn segment(seq: u32, bytes: &[u8]) -> Segment<'_> {
        let (from, to) = (([10, 0, 0, 1], 4712).into(), ([10, 0, 0, 2], 5000).into());
        Segment { from, to, seq, is_first: false, is_last: false, bytes }
    }

    fn put_together(segments: &[Segment<'_>]) -> (Vec<Vec<u8>>, Skipped) {
        let (mut reassembly, mut frames) = (Reassembly::default(), Vec::new());
        let mut sink = |_, frame: Frame<'_>| frames.push(frame.bytes.to_vec());
        segments.iter().for_each(|segment| reassembly.take(segment, &mut sink));
        let skipped = reassembly.finish(&mut sink);
        (frames, skipped)
    }

    fn frames(count: u32) -> Vec<Vec<u8>> {
        (0..count).map(|n| data_frame(7, 5, n, n as usize % 9)).collect()
    }

    #[test]
    fn a_hole_costs_the_frames_it_touches_and_no_more() {
        let sent = frames(6);
        let stream = sent.concat();
        let hole = sent[0].len() + 5..sent[0].len() + 9;
        let pieces =
            [segment(0, &stream[..hole.start]), segment(hole.end as u32, &stream[hole.end..])];
        let (found, skipped) = put_together(&pieces);
        assert_eq!(found, [&sent[..1], &sent[2..]].concat());
        assert_eq!(skipped.count(Skip::Hole), 1);
        assert_eq!(skipped.count(Skip::Stray), sent[1].len() as u64 - 4);
    }

    #[test]
    fn a_hole_that_is_never_filled_is_given_up_in_bounded_memory() {
        let frame = data_frame(7, 5, 0, 3000);
        let mut early = 1u32;
        let mut reassembly = Reassembly::default();
        let mut found = 0;
        let mut sink = |_, _: Frame<'_>| found += 1;
        reassembly.take(&segment(0, b"x"), &mut sink);
        for _ in 0..100 {
            reassembly.take(&segment(early + 1, &frame), &mut sink);
            early += frame.len() as u32;
            let kept = reassembly.directions.values().map(|direction| direction.early_bytes);
            assert!(kept.sum::<usize>() <= EARLY_BYTES_MAX);
        }
        drop(reassembly.finish(&mut sink));
        assert_eq!(found, 100);
    }

    #[test]
    fn a_new_connection_between_the_same_ends_begins_anew() {
        let sent = frames(2);
        let opened = |seq| Segment { is_first: true, ..segment(seq, b"") };
        let pieces = [opened(99), segment(100, &sent[0]), opened(7), segment(8, &sent[1])];
        assert_eq!(put_together(&pieces), (sent.clone(), Skipped::default()));
    }

    #[test]
    fn connections_beyond_the_limit_are_counted() {
        let mut reassembly = Reassembly::default();
        for port in 0..=DIRECTIONS_MAX as u16 {
            let to = ([10, 0, 0, 2], port).into();
            reassembly.take(&Segment { to, ..segment(0, b"x") }, &mut |_, _| ());
        }
        assert_eq!(reassembly.finish(&mut |_, _| ()).count(Skip::Crowd), 1);
    }

    proptest! {
        /// Segments cut anywhere, sent twice, overlapping, and reordered over a short distance.
        #[test]
        fn frames_come_out_whole_whatever_became_of_the_segments(
            start: u32,
            splits in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            delays in prop::collection::vec(0usize..6, 42),
            overlaps in prop::collection::vec(0usize..50, 42),
        ) {
            let sent = frames(20);
            let stream = sent.concat();
            let mut ends: Vec<usize> = splits.iter().map(|at| at.index(stream.len())).collect();
            ends.extend([0, stream.len()]);
            ends.sort_unstable();
            let mut segments: Vec<(usize, Segment<'_>)> = Vec::new();
            for (n, pair) in ends.windows(2).enumerate() {
                let piece = |from: usize| {
                    let seq = start.wrapping_add(1).wrapping_add(from as u32);
                    segment(seq, &stream[from..pair[1]])
                };
                let overlapping = piece(pair[0].saturating_sub(overlaps[n]));
                segments.push((n + delays[n], overlapping));
                segments.push((n + delays[41 - n] + 1, piece(pair[0])));
            }
            segments.sort_by_key(|(at, _)| *at);
            let first = Segment { is_first: true, ..segment(start, b"") };
            let segments: Vec<_> =
                [first].into_iter().chain(segments.into_iter().map(|(_, s)| s)).collect();
            prop_assert_eq!(put_together(&segments), (sent, Skipped::default()));
        }

        #[test]
        fn no_segments_make_it_panic(
            seqs in prop::collection::vec((any::<u32>(), any::<bool>(), any::<bool>()), 0..50),
            bytes in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut segments = Vec::new();
            for (seq, is_first, is_last) in seqs {
                segments.push(Segment { is_first, is_last, ..segment(seq, &bytes) });
            }
            drop(put_together(&segments));
        }
    }
}
