//! Exact loss, duplication and reordering of one publisher's frames at one socket, in 16 bytes.
//! Pure: ticks in, verdicts out. Must not know time, payloads or sockets.

/// What one arriving frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Newer than anything before.
    InOrder {
        /// Frames jumped over, missing for now.
        skipped: u32,
    },
    /// Late: a later frame was here before it.
    Reordered,
    /// Was here before.
    Duplicate,
    /// The first of a socket that came while the run was on: what was before it is not its to get.
    Joined,
}

/// Follows the frames of one publisher at one socket. Frames are numbered from 0; all of them are
/// expected. A frame that arrives more than 64 behind the newest is taken for the missing one it
/// most likely is if any frame that old is missing, else it is certainly a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracker {
    next: u32,
    lost: u32,
    /// Bit `i` tells whether `next - 1 - i` was here. Frames before 0 count as seen.
    seen: u64,
}

impl Tracker {
    /// Nothing received, frame 0 expected.
    pub const fn new() -> Tracker {
        Tracker { next: 0, lost: 0, seen: u64::MAX }
    }

    /// Nothing received, and nothing expected before the first frame that comes.
    pub const fn joining() -> Tracker {
        Tracker { next: JOINING, lost: 0, seen: u64::MAX }
    }

    /// Whether the first frame has still to come.
    pub fn is_joining(&self) -> bool {
        self.next == JOINING
    }

    /// Takes a frame. `seq` must be below the number of frames the run can publish: the caller
    /// rejects others as foreign, so that a wild number cannot count as a huge loss.
    #[inline]
    pub fn accept(&mut self, seq: u32) -> Verdict {
        if seq >= self.next { self.advance(seq) } else { self.look_back(seq) }
    }

    /// One past the newest frame received.
    pub fn head(&self) -> u32 {
        if self.is_joining() { 0 } else { self.next }
    }

    /// Distinct frames received; of a socket that joined, with those before its first.
    pub fn received(&self) -> u32 {
        self.head() - self.holes()
    }

    /// Frames missing before the newest one received.
    pub fn holes(&self) -> u32 {
        self.lost + self.seen.count_zeros()
    }

    /// Frames missing after the newest one received, of `end` published.
    pub fn tail(&self, end: u32) -> u32 {
        end.saturating_sub(self.next)
    }

    /// Whether every one of `end` published frames was received.
    pub fn is_complete(&self, end: u32) -> bool {
        self.holes() == 0 && self.tail(end) == 0
    }

    #[inline]
    fn advance(&mut self, seq: u32) -> Verdict {
        let skipped = seq - self.next;
        let step = skipped + 1;
        self.next = seq + 1;
        if step < WINDOW {
            let leaving = self.seen >> (WINDOW - step);
            self.lost += step - leaving.count_ones();
            self.seen = self.seen << step | 1;
        } else {
            // The whole window leaves, and with it frames that were jumped over without entering.
            self.lost += self.seen.count_zeros() + (step - WINDOW);
            self.seen = 1;
        }
        Verdict::InOrder { skipped }
    }

    fn look_back(&mut self, seq: u32) -> Verdict {
        if self.is_joining() {
            *self = Tracker { next: seq + 1, ..Tracker::new() };
            return Verdict::Joined;
        }
        let age = self.next - 1 - seq;
        let bit = 1u64.checked_shl(age).unwrap_or(0);
        match bit {
            0 if self.lost > 0 => self.lost -= 1,
            0 => return Verdict::Duplicate,
            bit if self.seen & bit != 0 => return Verdict::Duplicate,
            bit => self.seen |= bit,
        }
        Verdict::Reordered
    }
}

impl Default for Tracker {
    fn default() -> Tracker {
        Tracker::new()
    }
}

/// Frames remembered one by one.
const WINDOW: u32 = u64::BITS;
/// In place of the next frame: above any, so that whoever knows it already never asks.
const JOINING: u32 = u32::MAX;

const _: () = assert!(size_of::<Tracker>() <= 24, "100,000 sockets each hold one or more");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Keeps every number ever seen.
    #[derive(Default)]
    struct Oracle {
        seen: BTreeSet<u32>,
    }

    impl Oracle {
        fn accept(&mut self, seq: u32) -> Verdict {
            let newest = self.seen.last().copied();
            match self.seen.insert(seq) {
                false => Verdict::Duplicate,
                true if newest.is_some_and(|newest| newest > seq) => Verdict::Reordered,
                true => {
                    let expected = newest.map_or(0, |newest| newest + 1);
                    Verdict::InOrder { skipped: seq - expected }
                }
            }
        }

        fn missing(&self, end: u32) -> u32 {
            end - self.seen.len() as u32
        }
    }

    fn missing(tracker: &Tracker, end: u32) -> u32 {
        tracker.holes() + tracker.tail(end)
    }

    #[test]
    fn the_first_frames_count_if_they_never_came() {
        let mut tracker = Tracker::new();
        assert_eq!(tracker.accept(3), Verdict::InOrder { skipped: 3 });
        assert_eq!((tracker.holes(), tracker.tail(5)), (3, 1));
    }

    #[test]
    fn a_jump_over_the_window_loses_everything_jumped_over() {
        for jump in [1u32, 62, 63, 64, 65, 1000] {
            let mut tracker = Tracker::new();
            tracker.accept(0);
            tracker.accept(1 + jump);
            assert_eq!(tracker.holes(), jump, "jump {jump}");
        }
    }

    #[test]
    fn older_than_the_window_fills_a_hole_or_is_a_duplicate() {
        let mut tracker = Tracker::new();
        for seq in (0..300).filter(|seq| *seq != 10) {
            let skipped = u32::from(seq == 11);
            assert_eq!(tracker.accept(seq), Verdict::InOrder { skipped });
        }
        assert_eq!(tracker.holes(), 1);
        assert_eq!(tracker.accept(10), Verdict::Reordered);
        assert!(tracker.is_complete(300));
        assert_eq!(tracker.accept(10), Verdict::Duplicate);
    }

    #[test]
    fn who_joins_is_owed_nothing_before_the_first_frame() {
        let mut tracker = Tracker::joining();
        assert!(tracker.is_complete(50) && tracker.is_joining());
        assert_eq!((tracker.head(), tracker.received()), (0, 0));
        assert_eq!(tracker.accept(40), Verdict::Joined);
        assert_eq!(tracker.accept(42), Verdict::InOrder { skipped: 1 });
        assert_eq!((tracker.received() - 40, tracker.holes(), tracker.tail(50)), (2, 1, 7));
        assert_eq!(tracker.accept(40), Verdict::Duplicate);
        assert_eq!(tracker.accept(41), Verdict::Reordered);
    }

    #[test]
    fn nothing_received_is_everything_lost() {
        assert_eq!(missing(&Tracker::new(), 77), 77);
        assert!(!Tracker::new().is_complete(77) && Tracker::new().is_complete(0));
    }

    proptest! {
        /// Loss, repeats and displacements of less than the window: every verdict and the final
        /// count agree with a list of everything seen.
        #[test]
        fn agrees_with_a_full_record(
            fates in prop::collection::vec((0u8..10, 0u64..60, 0u64..60), 1..600),
        ) {
            let mut arrivals = vec![];
            for (seq, (fate, delay, again)) in fates.iter().enumerate() {
                let at = seq as u64 * 2;
                let copies = [(1..=9, 0), (2..=2, *delay), (3..=3, *again)];
                let times = copies.iter().filter(|(fates, _)| fates.contains(fate));
                arrivals.extend(times.map(|(_, late)| (at + late, seq as u32)));
            }
            arrivals.sort_unstable();
            let (mut tracker, mut oracle) = (Tracker::new(), Oracle::default());
            for (_, seq) in arrivals {
                prop_assert_eq!(tracker.accept(seq), oracle.accept(seq), "at {}", seq);
            }
            let end = fates.len() as u32;
            prop_assert_eq!(missing(&tracker, end), oracle.missing(end));
        }

        /// Any order at all: the number missing is exact as long as nothing arrives twice.
        #[test]
        fn missing_is_exact_in_any_order(
            order in Just((0u32..400).collect::<Vec<_>>()).prop_shuffle(),
            kept in 0usize..400,
        ) {
            let mut tracker = Tracker::new();
            for seq in &order[..kept] {
                prop_assert_ne!(tracker.accept(*seq), Verdict::Duplicate);
            }
            prop_assert_eq!(missing(&tracker, 400), 400 - kept as u32);
        }
    }
}
