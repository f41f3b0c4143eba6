//! Bytes to frames: a byte stream that may begin in the middle, be damaged, or be no C37.118 at
//! all; and datagrams, which hold whole frames. Owns the bound on what is kept and on what is
//! spent on a search. Must not know sockets.

use super::bad_input::BadInput;
use super::frame::{First, Frame, SYNC};

/// Splits a byte stream. It keeps at most one incomplete frame and what one read brought.
#[derive(Debug, Default)]
pub struct Cutter {
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins, or is looked for.
    at: usize,
    /// Whether something has been passed over since the last frame, and was told.
    is_lost: bool,
    /// Bytes looked at in vain since the last frame.
    wasted: usize,
    /// Set when nothing more can come of what is there.
    is_drained: bool,
}

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// Bytes were passed over for this reason. Told once until the next frame, and once for each
    /// frame with a wrong checksum.
    Bad(BadInput),
}

/// What a search for a frame may cost before the stream is given up, in bytes looked at. A frame
/// that is found begins a new count.
const WASTED_BYTES_MAX: usize = 1 << 20;

impl Cutter {
    /// Adds what was read. Frames are taken with [`Self::next`] then, all of them, before more is
    /// added: so the buffer stays below the longest frame and one read.
    pub fn add(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
        self.is_drained = false;
    }

    /// Whether so much was searched in vain that this is no C37.118.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.wasted > WASTED_BYTES_MAX
    }

    /// The next frame, or why there is none here; nothing when more bytes are needed.
    #[allow(clippy::should_implement_trait, reason = "it lends from the buffer")]
    pub fn next(&mut self) -> Option<Cut<'_>> {
        if self.is_drained || self.is_hopeless() {
            return None;
        }
        match self.look() {
            Found::Frame(start, end) => {
                self.at = end;
                (self.is_lost, self.wasted) = (false, 0);
                let bytes = self.buffer.get(start..end).unwrap_or_default();
                match Frame::first(bytes) {
                    First::Whole(frame) => Some(Cut::Frame(frame)),
                    _ => None,
                }
            }
            Found::Bad(reason) => Some(Cut::Bad(reason)),
            Found::Nothing => {
                self.is_drained = true;
                None
            }
        }
    }

    /// Looks for a frame from where the last one ended. A beginning that may still become a frame
    /// is kept, but does not hide a whole one behind it: its length may be an accident.
    fn look(&mut self) -> Found {
        let mut kept = None;
        let mut at = self.at;
        while let Some(rest) = self.buffer.get(at..).filter(|rest| !rest.is_empty()) {
            match Frame::first(rest) {
                First::Whole(frame) => {
                    let end = at + frame.bytes.len();
                    return self.found(at, end);
                }
                First::Partial => kept = kept.or(Some(at)),
                First::Damaged(size) if kept.is_none() => return self.damaged(at, size),
                First::Damaged(size) => self.wasted += size,
                First::Other(reason) if kept.is_none() && !self.is_lost => {
                    (self.is_lost, self.at) = (true, at);
                    return Found::Bad(reason);
                }
                First::Other(_) => {}
            }
            self.wasted += 1;
            if self.is_hopeless() {
                break;
            }
            at = self.next_sync(at + 1);
        }
        self.at = kept.unwrap_or(self.buffer.len());
        Found::Nothing
    }

    /// A frame that begins at `start`. Bytes before it are passed over, which is told first.
    fn found(&mut self, start: usize, end: usize) -> Found {
        if start > self.at && !self.is_lost {
            (self.is_lost, self.at) = (true, start);
            return Found::Bad(BadInput::Sync);
        }
        Found::Frame(start, end)
    }

    /// A frame with a wrong checksum. Whether its length was right nobody knows, so the search
    /// goes on inside it.
    fn damaged(&mut self, at: usize, size: usize) -> Found {
        self.wasted += size;
        self.is_lost = true;
        self.at = self.next_sync(at + 1);
        Found::Bad(BadInput::Crc)
    }

    /// Where the next byte is with which a frame may begin.
    fn next_sync(&self, from: usize) -> usize {
        let rest = self.buffer.get(from..).unwrap_or_default();
        rest.iter().position(|byte| *byte == SYNC).map_or(self.buffer.len(), |at| from + at)
    }
}

/// What a look at the buffer found.
enum Found {
    Frame(usize, usize),
    Bad(BadInput),
    Nothing,
}

/// The frames of a datagram, one after the other. What is no whole frame is told, and ends it.
pub fn datagram<'a>(datagram: &'a [u8], mut each: impl FnMut(Cut<'a>)) {
    let mut rest = datagram;
    while !rest.is_empty() {
        let bytes = match Frame::first(rest) {
            First::Whole(frame) => {
                each(Cut::Frame(frame));
                frame.bytes.len()
            }
            First::Damaged(size) => {
                each(Cut::Bad(BadInput::Crc));
                size
            }
            First::Partial => return each(Cut::Bad(BadInput::Size)),
            First::Other(reason) => return each(Cut::Bad(reason)),
        };
        rest = rest.get(bytes..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::frame::{FRAME_BYTES_MAX, FrameKind};
    use crate::c37118::samples;
    use proptest::prelude::*;

    /// The frames that pieces of a stream hold, and the reasons between them.
    fn cut(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<BadInput>) {
        let (mut cutter, mut frames, mut bad) = (Cutter::default(), Vec::new(), Vec::new());
        for piece in pieces {
            cutter.add(piece);
            while let Some(cut) = cutter.next() {
                match cut {
                    Cut::Frame(frame) => frames.push(frame.bytes.to_vec()),
                    Cut::Bad(reason) => bad.push(reason),
                }
            }
            assert!(cutter.buffer.len() - cutter.at <= FRAME_BYTES_MAX + piece.len());
        }
        (frames, bad)
    }

    fn frame(micros: u32, body_bytes: usize) -> Vec<u8> {
        samples::frame(FrameKind::Data, 9, micros, &vec![0x55; body_bytes])
    }

    #[test]
    fn a_stream_joined_in_the_middle_is_found_at_the_next_frame() {
        let (one, two) = (frame(0, 30), frame(20, 40));
        let (frames, bad) = cut(&[&one[7..], &two, &one]);
        assert_eq!((frames, bad), (vec![two, one], vec![BadInput::Sync]));
    }

    #[test]
    fn a_damaged_frame_costs_itself_only() {
        let frames = [0, 1, 2].map(|n| frame(n, 30));
        let mut stream = frames.concat();
        stream[frames[0].len() + 20] ^= 1;
        let (found, bad) = cut(&[&stream]);
        assert_eq!(found, [frames[0].clone(), frames[2].clone()]);
        assert_eq!(bad, [BadInput::Crc]);
    }

    #[test]
    fn a_wrong_length_does_not_hold_back_what_follows() {
        let mut stream = vec![SYNC, 0x01, 0xFF, 0xFF];
        stream.extend(frame(0, 30));
        let (found, bad) = cut(&[&stream]);
        assert_eq!((found, bad), (vec![frame(0, 30)], vec![BadInput::Sync]));
    }

    #[test]
    fn noise_is_given_up_after_bounded_work() {
        let mut cutter = Cutter::default();
        let mut reads = 0;
        while !cutter.is_hopeless() {
            cutter.add(&[SYNC, 0x01, 0x40, 0x00].repeat(4096));
            while cutter.next().is_some() {}
            reads += 1;
            assert!(reads < 1000, "a stream without a frame is searched for ever");
        }
        cutter.add(&frame(0, 30));
        assert_eq!(cutter.next(), None);
    }

    #[test]
    fn a_datagram_holds_whole_frames() {
        let told = |bytes: &[u8]| {
            let mut told = Vec::new();
            datagram(bytes, |cut| {
                told.push(match cut {
                    Cut::Frame(frame) => Ok(frame.bytes.len()),
                    Cut::Bad(reason) => Err(reason),
                });
            });
            told
        };
        let two = [frame(0, 4), frame(1, 5)].concat();
        assert_eq!(told(&two), [Ok(20), Ok(21)]);
        assert_eq!(told(&two[..30]), [Ok(20), Err(BadInput::Size)]);
        assert_eq!(told(b"hello"), [Err(BadInput::Sync)]);
        let mut damaged = two;
        damaged[15] ^= 1;
        assert_eq!(told(&damaged), [Err(BadInput::Crc), Ok(21)]);
        assert_eq!(told(&[]), []);
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_wherever_the_stream_is_cut(
            sizes in prop::collection::vec(0usize..50, 1..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let frames: Vec<_> = (0..).zip(&sizes).map(|(n, size)| frame(n, *size)).collect();
            let stream = frames.concat();
            let mut ends: Vec<_> = cuts.iter().map(|at| at.index(stream.len())).collect();
            ends.extend([0, stream.len()]);
            ends.sort_unstable();
            let pieces: Vec<_> = ends.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            prop_assert_eq!(cut(&pieces), (frames, vec![]));
        }

        #[test]
        fn no_bytes_make_it_panic_or_hide_a_frame_for_ever(
            pieces in prop::collection::vec(plausible(), 0..20),
        ) {
            let mut cutter = Cutter::default();
            let good = frame(1, 30);
            // More than the longest frame: what looked like a beginning has had its bytes by then.
            let filler = good.repeat(FRAME_BYTES_MAX / good.len() + 2);
            let mut last = None;
            for piece in pieces.iter().chain([&filler]) {
                cutter.add(piece);
                while let Some(cut) = cutter.next() {
                    last = Some(matches!(cut, Cut::Frame(frame) if frame.bytes == good));
                }
            }
            prop_assert!(cutter.is_hopeless() || last == Some(true));
        }
    }

    /// Bytes that look like a frame far more often than any bytes would.
    fn plausible() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(SYNC), Just(0x01), Just(0x00), any::<u8>()];
        prop::collection::vec(byte, 0..80)
    }
}
