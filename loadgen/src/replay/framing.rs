//! Splits bytes into C37.118 frames by FRAMESIZE: a datagram, or a byte stream that may start in
//! the middle and may have gaps. The bytes are untrusted input. Must not know packets.

use crate::codec::c37118;
use crate::codec::c37118::{ENVELOPE_BYTES, Envelope, Kind, SYNC};

/// A frame with a valid checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// Its kind.
    pub kind: Kind,
    /// Its header.
    pub envelope: Envelope,
    /// All its bytes.
    pub bytes: &'b [u8],
}

/// What the bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut<'b> {
    /// A frame.
    Frame(Frame<'b>),
    /// This many bytes look like a frame, but the checksum is wrong.
    Damaged(usize),
    /// The beginning of what may be a frame.
    Partial,
    /// Anything else.
    Other,
}

/// Examines the beginning of the bytes.
pub fn first(bytes: &[u8]) -> Cut<'_> {
    let may_begin = match bytes {
        [] => true,
        [sync] => *sync == SYNC,
        [sync, word, ..] => Kind::of_sync(*sync, *word).is_some(),
    };
    if !may_begin {
        return Cut::Other;
    }
    let Some(&[_, _, size_hi, size_lo]) = bytes.first_chunk::<4>() else { return Cut::Partial };
    let size = usize::from(u16::from_be_bytes([size_hi, size_lo]));
    match bytes.get(..size) {
        _ if size < FRAME_BYTES_MIN => Cut::Other,
        None => Cut::Partial,
        Some(bytes) => match c37118::check(bytes) {
            Ok((kind, envelope)) => Cut::Frame(Frame { kind, envelope, bytes }),
            Err(_) => Cut::Damaged(size),
        },
    }
}

/// Splits a byte stream. It keeps at most one incomplete frame, which is less than 64 KiB.
#[derive(Debug, Default)]
pub struct Cutter {
    rest: Vec<u8>,
    /// Whether the next frame must begin directly after the last one.
    is_in_step: bool,
    has_frames: bool,
    /// Bytes with wrong checksums so far, which is the cost of searching.
    wasted: usize,
    found: FrameCounts,
}

/// The bytes of a stream that are not valid frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameCounts {
    /// Frames with a wrong checksum.
    pub damaged: u64,
    /// Bytes outside of complete frames.
    pub stray_bytes: u64,
}

impl Cutter {
    /// Handles the next bytes of the stream and passes on the frames they complete.
    pub fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Frame<'_>)) {
        if self.is_given_up() {
            self.found.stray_bytes += bytes.len() as u64;
            return;
        }
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(left) = self.rest.get(at..).filter(|left| !left.is_empty()) {
            match first(left) {
                Cut::Frame(frame) => {
                    (self.is_in_step, self.has_frames) = (true, true);
                    at += frame.bytes.len();
                    sink(frame);
                }
                Cut::Damaged(size) if self.is_in_step => {
                    self.found.damaged += 1;
                    self.wasted += size;
                    at += size;
                }
                Cut::Partial if self.is_in_step => break,
                _ => {
                    self.is_in_step = false;
                    let (skipped, is_found) = search(left, &mut self.wasted);
                    self.found.stray_bytes += skipped as u64;
                    at += skipped;
                    if !is_found {
                        break;
                    }
                }
            }
        }
        self.rest.drain(..at.min(self.rest.len()));
        if self.is_given_up() {
            self.lose_step();
        }
    }

    /// Marks a gap: the incomplete frame cannot be completed.
    pub fn lose_step(&mut self) {
        self.found.stray_bytes += self.rest.len() as u64;
        self.rest = Vec::new();
        self.is_in_step = false;
    }

    /// Ends the stream and returns what was not a frame.
    pub fn finish(mut self) -> FrameCounts {
        self.lose_step();
        self.found
    }

    /// Whether to stop searching: a stream that costs this much is not C37.118, or it is malicious.
    fn is_given_up(&self) -> bool {
        let is_other = !self.has_frames && self.found.stray_bytes > STRAY_BYTES_MAX;
        is_other || self.wasted > WASTED_BYTES_MAX
    }
}

/// The number of bytes before the next complete frame; if there is none, before a possible
/// beginning of one.
fn search(bytes: &[u8], wasted: &mut usize) -> (usize, bool) {
    let mut begun = None;
    for at in (0..bytes.len()).filter(|at| bytes.get(*at) == Some(&SYNC)) {
        match first(bytes.get(at..).unwrap_or_default()) {
            Cut::Frame(_) => return (at, true),
            Cut::Partial => begun = begun.or(Some(at)),
            Cut::Damaged(size) => *wasted += size,
            Cut::Other => {}
        }
        if *wasted > WASTED_BYTES_MAX {
            break;
        }
    }
    (begun.unwrap_or(bytes.len()), false)
}

const FRAME_BYTES_MIN: usize = ENVELOPE_BYTES + 2;
/// The search limit in bytes, a fraction of a second of work.
const WASTED_BYTES_MAX: usize = 64 << 20;
/// Many times the longest frame.
const STRAY_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::data_frame;
    use proptest::prelude::*;

    fn cut(cutter: &mut Cutter, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for piece in pieces {
            cutter.take(piece, &mut |frame| frames.push(frame.bytes.to_vec()));
        }
        frames
    }

    #[test]
    fn a_stream_joined_in_the_middle_is_cut_from_the_next_frame_on() {
        let (one, two) = (data_frame(1, 5, 0, 3), data_frame(1, 5, 1, 3));
        let stream = [&one[9..], &two, &one].concat();
        let mut cutter = Cutter::default();
        assert_eq!(cut(&mut cutter, &[&stream]), [two, one.clone()]);
        assert_eq!(cutter.finish().stray_bytes, one.len() as u64 - 9);
    }

    #[test]
    fn bytes_that_only_look_like_a_long_frame_hold_nothing_back() {
        let frame = data_frame(1, 5, 0, 3);
        let stream = [&[SYNC, 0x01, 0xFF, 0xFF][..], &frame].concat();
        assert_eq!(cut(&mut Cutter::default(), &[&stream]), [frame]);
    }

    #[test]
    fn a_damaged_frame_is_counted_and_the_next_one_found() {
        let frames = [0, 1, 2].map(|fracsec| data_frame(1, 5, fracsec, 3));
        let mut stream = frames.concat();
        stream[frames[0].len() + 20] ^= 1;
        let mut cutter = Cutter::default();
        assert_eq!(cut(&mut cutter, &[&stream]), [frames[0].clone(), frames[2].clone()]);
        assert_eq!(cutter.finish(), FrameCounts { damaged: 1, stray_bytes: 0 });
    }

    #[test]
    fn what_is_no_c37118_is_given_up() {
        let mut cutter = Cutter::default();
        let noise = vec![SYNC; 3 << 20];
        assert!(cut(&mut cutter, &[&noise, &data_frame(1, 5, 0, 3)]).is_empty());
        assert!(cutter.is_given_up() && cutter.rest.capacity() == 0);
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_wherever_the_stream_is_split(
            sizes in prop::collection::vec(0usize..40, 1..20),
            splits in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let frame = |(n, blocks): (usize, &usize)| data_frame(9, 5, n as u32, *blocks);
            let frames: Vec<Vec<u8>> = sizes.iter().enumerate().map(frame).collect();
            let stream = frames.concat();
            let mut ends: Vec<usize> = splits.iter().map(|at| at.index(stream.len())).collect();
            ends.extend([0, stream.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            let mut cutter = Cutter::default();
            prop_assert_eq!(cut(&mut cutter, &pieces), frames);
            prop_assert_eq!(cutter.finish(), FrameCounts::default());
        }

        #[test]
        fn no_bytes_make_it_panic(pieces in prop::collection::vec(plausible(), 0..20)) {
            let mut cutter = Cutter::default();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = cut(&mut cutter, &pieces); // any answer will do
        }
    }

    /// Bytes that look like a frame far more often than random bytes would.
    fn plausible() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(SYNC), Just(0x01), Just(0x00), any::<u8>()];
        prop::collection::vec(byte, 0..80)
    }
}
