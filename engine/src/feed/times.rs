//! When the frames of a feed came, without a time for each: spans of frames with the time of the
//! first and of the last. Owns how many spans there are, and so the memory and the resolution. Must
//! not read a clock; times are handed in, on whatever clock.

use std::collections::VecDeque;
use std::ops::Range;

use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

/// Spans that are kept at most: 3 KiB for a feed.
const SPANS_MAX: usize = 128;
/// Spans that are left at most when there were too many. Two neighbours are together longer than a
/// span may be, so that none is longer than a 24th of the time from the first frame to the last.
const SPANS_LEFT: usize = 96;
/// The shortest time after which a new span begins: below it a time would not be asked for.
const GRAIN_NS_MIN: u64 = 10_000_000;

/// When the retained frames of a feed came.
///
/// The newest span and where the oldest one ends have places of their own: that is all that most
/// frames touch, and the memory of the others is cold by the time the next frame comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    newest: Option<Span>,
    /// Those before the newest, the oldest first.
    older: VecDeque<Span>,
    /// The first frame of the second span; of that many frames none belongs to the oldest.
    oldest_ends: u64,
    /// How long a span may be.
    grain_ns: u64,
}

/// Some frames that came one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first of them; the next span's first ends it.
    pub first_ordinal: u64,
    /// When that came.
    pub first_ns: u64,
    /// When the last of them came.
    pub last_ns: u64,
}

impl Default for Times {
    fn default() -> Self {
        let older = VecDeque::new();
        Self { newest: None, older, oldest_ends: u64::MAX, grain_ns: GRAIN_NS_MIN }
    }
}

impl Times {
    /// Notes that frame `ordinal`, the next, came at `now_ns`.
    pub fn note(&mut self, ordinal: u64, now_ns: u64) {
        if let Some(newest) = &mut self.newest
            && now_ns.saturating_sub(newest.first_ns) < self.grain_ns
        {
            newest.last_ns = newest.last_ns.max(now_ns);
            return;
        }
        let newest = Span { first_ordinal: ordinal, first_ns: now_ns, last_ns: now_ns };
        self.older.extend(self.newest.replace(newest));
        if self.older.len() >= SPANS_MAX {
            self.join_some();
        }
        self.oldest_ends = self.second_first();
    }

    /// Forgets the spans that end before frame `tail_ordinal`.
    pub fn trim(&mut self, tail_ordinal: u64) {
        while self.oldest_ends <= tail_ordinal {
            self.older.pop_front();
            self.oldest_ends = self.second_first();
        }
        if self.older.len() < SPANS_MAX / 4 {
            self.grain_ns = (self.grain_ns / 2).max(GRAIN_NS_MIN);
        }
    }

    /// As [`trim`](Self::trim), and gives back the memory of what was forgotten.
    pub fn compact(&mut self, tail_ordinal: u64) {
        self.trim(tail_ordinal);
        self.older.shrink_to_fit();
    }

    /// The first frame that may have come at `at_ns` or later; none when all came before.
    #[must_use]
    pub fn first_at(&self, at_ns: u64) -> Option<u64> {
        self.first_after_those(|span| span.last_ns < at_ns)
    }

    /// The first frame that came after `at_ns` for sure; none when any may have come until then.
    #[must_use]
    pub fn first_after(&self, at_ns: u64) -> Option<u64> {
        self.first_after_those(|span| span.first_ns <= at_ns)
    }

    /// The spans that frames `ordinals` are in.
    #[must_use]
    pub fn of(&self, ordinals: &Range<u64>) -> Vec<Span> {
        let first = self.older.partition_point(|span| span.first_ordinal <= ordinals.start);
        let is_before = |span: Span| span.first_ordinal <= ordinals.start;
        let first = if self.newest.is_some_and(is_before) { self.older.len() + 1 } else { first };
        let spans = self.older.iter().chain(&self.newest).skip(first.saturating_sub(1));
        spans.take_while(|span| span.first_ordinal < ordinals.end).copied().collect()
    }

    /// About how many frames came at `since_ns` or later, where `head_ordinal` is the place of the
    /// next: those of a span are taken to have come evenly.
    #[must_use]
    pub fn count_since(&self, since_ns: u64, head_ordinal: u64) -> f64 {
        let (mut end_ordinal, mut count) = (head_ordinal, 0.0);
        let spans = self.older.iter().chain(&self.newest).rev();
        for span in spans.take_while(|span| span.last_ns >= since_ns) {
            let frames = end_ordinal.saturating_sub(span.first_ordinal) as f64;
            let length_ns = span.last_ns - span.first_ns;
            let inside_ns = span.last_ns - span.first_ns.max(since_ns);
            let share = if length_ns == 0 { 1.0 } else { inside_ns as f64 / length_ns as f64 };
            count += frames * share;
            end_ordinal = span.first_ordinal;
        }
        count
    }

    /// When the first retained frame came; none before there is one.
    #[must_use]
    pub fn first_ns(&self) -> Option<u64> {
        self.older.front().or(self.newest.as_ref()).map(|span| span.first_ns)
    }

    /// The first frame of the first span that `is_before` does not hold of.
    fn first_after_those(&self, is_before: impl Fn(&Span) -> bool) -> Option<u64> {
        let older = self.older.get(self.older.partition_point(&is_before));
        let newest = self.newest.as_ref().filter(|newest| !is_before(newest));
        older.or(newest).map(|span| span.first_ordinal)
    }

    fn second_first(&self) -> u64 {
        let mut spans = self.older.iter().chain(&self.newest);
        spans.nth(1).map_or(u64::MAX, |second| second.first_ordinal)
    }

    /// Has spans be longer, until there are few enough. Those with a long silence between them stay
    /// apart.
    fn join_some(&mut self) {
        while self.older.len() > SPANS_LEFT {
            self.grain_ns = self.grain_ns.saturating_mul(2);
            let mut joined: VecDeque<Span> = VecDeque::with_capacity(self.older.len());
            for span in self.older.drain(..) {
                match joined.back_mut() {
                    Some(last) if span.last_ns.saturating_sub(last.first_ns) < self.grain_ns => {
                        last.last_ns = span.last_ns;
                    }
                    _ => joined.push_back(span),
                }
            }
            self.older = joined;
        }
    }
}

impl Packed for Times {
    fn pack(&self, out: &mut Packer) {
        out.u64(self.grain_ns);
        out.u64((self.older.len() + usize::from(self.newest.is_some())) as u64);
        for span in self.older.iter().chain(&self.newest) {
            out.u64(span.first_ordinal);
            out.u64(span.first_ns);
            out.u64(span.last_ns);
        }
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let grain_ns = input.u64()?.max(GRAIN_NS_MIN);
        let mut spans = input.list(|input| {
            let (first_ordinal, first_ns, last_ns) = (input.u64()?, input.u64()?, input.u64()?);
            Ok(Span { first_ordinal, first_ns, last_ns })
        })?;
        if spans.len() > SPANS_MAX + 1 || !spans.is_sorted_by_key(|span| span.first_ordinal) {
            return Err(PackedError("times out of order"));
        }
        let newest = spans.pop();
        let mut times = Self { newest, older: spans.into(), oldest_ends: u64::MAX, grain_ns };
        times.oldest_ends = times.second_first();
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn frames_are_counted_from_an_instant_on() {
        let mut times = Times::default();
        assert_eq!((times.count_since(0, 1), times.first_ns()), (0.0, None));
        for ordinal in 1..=100 {
            times.note(ordinal, ordinal * 20 * MS);
        }
        assert_eq!(times.count_since(1_020 * MS, 101), 50.0);
        assert_eq!((times.count_since(0, 101), times.count_since(2_001 * MS, 101)), (100.0, 0.0));
        // Within a span, by its share: here two frames in 8 ms.
        let mut times = Times::default();
        [(1, 0), (2, 8)].into_iter().for_each(|(ordinal, ms)| times.note(ordinal, ms * MS));
        assert_eq!(times.count_since(4 * MS, 3), 1.0);
    }

    #[test]
    fn frames_within_the_shortest_span_share_one() {
        let mut times = Times::default();
        for (ordinal, ms) in [(1, 100), (2, 105), (3, 110), (4, 500)] {
            times.note(ordinal, ms * MS);
        }
        assert_eq!(times.of(&(1..5)).len(), 3);
        assert_eq!(times.first_at(104 * MS), Some(1));
        assert_eq!(times.first_at(106 * MS), Some(3));
        assert_eq!(times.first_after(104 * MS), Some(3));
        assert_eq!((times.first_at(501 * MS), times.first_after(500 * MS)), (None, None));
    }

    #[test]
    fn what_retention_has_given_up_is_forgotten() {
        let mut times = Times::default();
        (1..=100).for_each(|ordinal| times.note(ordinal, ordinal * 20 * MS));
        times.compact(61);
        assert_eq!(times.first_at(0), Some(61));
        assert!(times.older.capacity() <= 64);
    }

    #[test]
    fn a_day_of_frames_takes_no_more_memory_than_a_minute() {
        let mut times = Times::default();
        for ordinal in 1..=86_400_u64 {
            times.note(ordinal, ordinal * 1_000 * MS);
        }
        assert!(times.older.len() <= SPANS_MAX && times.older.capacity() <= 2 * SPANS_MAX);
        assert!(longest(&times) <= 86_400_000 * MS / 24, "{}", longest(&times));
    }

    #[test]
    fn a_long_silence_does_not_make_what_lies_before_it_vague() {
        let mut times = Times::default();
        let burst = |times: &mut Times, first_ordinal: u64, from_ms: u64| {
            (0..100).for_each(|n| times.note(first_ordinal + n, (from_ms + 20 * n) * MS));
        };
        burst(&mut times, 1, 0);
        burst(&mut times, 101, 3_600_000);
        assert!(longest(&times) < 100 * MS, "{}", longest(&times));
    }

    fn longest(times: &Times) -> u64 {
        times
            .older
            .iter()
            .chain(&times.newest)
            .map(|span| span.last_ns - span.first_ns)
            .max()
            .unwrap()
    }

    proptest! {
        /// No frame that came within an interval is left out, whatever was joined.
        #[test]
        fn the_frames_of_an_interval_are_never_missed(
            steps in proptest::collection::vec(0_u64..40, 1..600),
            tail in 1_u64..50,
            (from, length) in (0_u64..9_000, 0_u64..9_000),
        ) {
            let (mut times, mut at, mut came) = (Times::default(), 0, Vec::new());
            for (index, step) in steps.iter().enumerate() {
                at += step * MS;
                times.note(index as u64 + 1, at);
                came.push(at);
            }
            times.trim(tail);
            let (from, to) = (from * MS, (from + length) * MS);
            let first = times.first_at(from).unwrap_or(u64::MAX);
            let end = times.first_after(to).unwrap_or(u64::MAX);
            for (index, &at) in came.iter().enumerate().skip(tail as usize - 1) {
                let ordinal = index as u64 + 1;
                let is_found = (first..end).contains(&ordinal);
                prop_assert!(!(from..=to).contains(&at) || is_found, "{ordinal}");
            }
            prop_assert!(longest(&times) <= (at / 24).max(GRAIN_NS_MIN));
        }
    }
}
