//! Exact detection of loss, duplicates and reordering of one publisher's frames at one socket, in
//! 16 bytes. Pure: sequence numbers in, verdicts out. Must not know time, payloads or sockets.

/// The verdict on one arriving frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Newer than every frame before.
    InOrder {
        /// The number of frames skipped, which are missing for now.
        skipped: u32,
    },
    /// Late: a later frame arrived before it.
    Reordered,
    /// A duplicate.
    Duplicate,
    /// The first frame of a socket that joined during the run; earlier frames are not expected.
    Joined,
}

/// Tracks the frames of one publisher at one socket. Frames are numbered from 0, and all of them
/// are expected. A frame more than 64 behind the newest counts as late if any frame that old is
/// missing, because most likely it is the missing one; otherwise it is certainly a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracker {
    next: u32,
    lost: u32,
    /// Bit `i` is set if `next - 1 - i` was received. Frames before 0 count as received.
    seen: u64,
}

impl Tracker {
    /// Nothing received, frame 0 expected.
    pub const fn new() -> Tracker {
        Tracker { next: 0, lost: 0, seen: u64::MAX }
    }

    /// Nothing received, and nothing expected before the first frame that arrives.
    pub const fn joining() -> Tracker {
        Tracker { next: JOINING, lost: 0, seen: u64::MAX }
    }

    /// Whether the first frame has not arrived yet.
    pub fn is_joining(&self) -> bool {
        self.next == JOINING
    }

    /// Records a frame. `seq` must be below the number of frames the run can publish. The caller
    /// rejects others as foreign, so that a damaged number cannot count as a huge loss.
    #[inline]
    pub fn accept(&mut self, seq: u32) -> Verdict {
        if seq >= self.next { self.advance(seq) } else { self.look_back(seq) }
    }

    /// One more than the newest frame received.
    pub fn head(&self) -> u32 {
        if self.is_joining() { 0 } else { self.next }
    }

    /// Distinct frames received; for a socket that joined, the frames before its first are
    /// included.
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
            // The whole window is replaced, and with it frames that were skipped and never entered
            // it.
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

/// The number of frames tracked individually.
const WINDOW: u32 = u64::BITS;
/// A value above any frame number in place of the next one. It marks a socket that has not received
/// its first frame.
const JOINING: u32 = u32::MAX;

const _: () = assert!(size_of::<Tracker>() <= 24, "100,000 sockets each hold one or more");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A reference model that keeps every number received.
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

    /// Whether each of `end` published frames was received.
    fn is_complete(tracker: &Tracker, end: u32) -> bool {
        tracker.holes() == 0 && tracker.tail(end) == 0
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
        assert!(is_complete(&tracker, 300));
        assert_eq!(tracker.accept(10), Verdict::Duplicate);
    }

    #[test]
    fn who_joins_is_owed_nothing_before_the_first_frame() {
        let mut tracker = Tracker::joining();
        assert!(is_complete(&tracker, 50) && tracker.is_joining());
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
        assert!(!is_complete(&Tracker::new(), 77) && is_complete(&Tracker::new(), 0));
    }

    proptest! {
        /// With loss, duplicates and reordering within the window, every verdict and the final
        /// count match the reference model.
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

        /// In any order, the number of missing frames is exact as long as there are no duplicates.
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
