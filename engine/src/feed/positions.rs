//! Positions: what the wire calls the `seq` of a frame, of each retained ordinal of a feed. Owns
//! the translation between the two. Must not encode, and must not be asked on the flush path.
//!
//! An **ordinal** counts the frames of one feed on this node, dense from 1; cursors, segments and
//! lanes know nothing else, and it never leaves the process. A **position** is what clients see:
//! increasing, comparable, resumable. On a single node the two are the same, so that nothing is
//! kept and no lock is taken. Where a log numbers the frames of all nodes, or frames are known to
//! be lost between them, positions have holes: then runs of frames whose positions follow one
//! another are kept, for as long as retention keeps the frames and a little longer.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::feed::gap::{Gap, GapReason, Missed};
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

/// The most frames of a message of the log: the low bits of a position are the frame's index in it.
pub const BATCH_FRAMES_MAX: usize = 4096;

/// Runs that stay, however little is retained: of what one message of a log brought somebody may
/// have to be told that he missed it.
const RUNS_KEPT_MIN: usize = 64;

/// The last message of a log whose frames positions can tell apart.
pub const SEQUENCE_MAX: u64 = u64::MAX / BATCH_FRAMES_MAX as u64 - 1;

/// The position of frame `index` of message `stream_sequence` of a log; behind
/// [`SEQUENCE_MAX`] that of the last message that has any.
#[must_use]
pub fn in_log(stream_sequence: u64, index: usize) -> u64 {
    stream_sequence.min(SEQUENCE_MAX) * BATCH_FRAMES_MAX as u64 + index as u64
}

/// See the file header.
#[derive(Debug, Default)]
pub struct Positions {
    /// None while the two are the same.
    runs: OnceLock<Box<Mutex<Runs>>>,
}

/// Where in a feed somebody goes on who has everything up to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first frame behind it.
    pub ordinal: u64,
    /// Whether everything between the two is known here.
    pub is_known: bool,
    /// Whether this node has still to take in what that client has.
    pub is_ahead: bool,
}

/// The runs of a feed that is handed to another process.
#[derive(Debug, PartialEq)]
pub struct HandedRuns(Runs);

#[derive(Clone, Debug, PartialEq)]
struct Runs {
    runs: VecDeque<Run>,
    /// What the frame just before the first run has; in the beginning, the position up to which
    /// this node cannot know what the feed had.
    floor: u64,
    /// The ordinal of the next frame, and the position of the one before it.
    next_ordinal: u64,
    last: u64,
    /// Whether positions count frames one by one, those that were lost included.
    counts: bool,
    /// Runs at which it is looked whether some can be forgotten.
    trim_len: usize,
}

/// Frames whose positions follow one another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    ordinal: u64,
    position: u64,
}

impl Positions {
    /// Of a feed that a log numbers, and of which nothing up to `floor` is known here.
    #[must_use]
    pub fn of_log(floor: u64) -> Self {
        Self { runs: OnceLock::from(Box::new(Mutex::new(Runs::new(floor, 1, false)))) }
    }

    /// Gives the next frame, `ordinal`, its position; none if the feed has that frame already.
    pub fn give(&self, ordinal: u64, wanted: Wanted) -> Option<u64> {
        match self.runs() {
            None => Some(ordinal),
            Some(mut runs) => runs.give(ordinal, wanted),
        }
    }

    /// Has the entry `ordinal` stand for what is missing: up to position `to`, or `frames` more
    /// than there were. Answers the first and the last position that are.
    pub fn skip(&self, ordinal: u64, skipped: Skipped) -> (u64, u64) {
        let mut runs = match self.runs() {
            Some(runs) => runs,
            None => lock(self.runs.get_or_init(|| Box::new(Mutex::new(Runs::dense(ordinal))))),
        };
        let from = runs.last.saturating_add(1);
        let to = match skipped {
            Skipped::Frames(frames) => runs.last.saturating_add(frames.max(1)),
            Skipped::To(to) => to.max(from),
        };
        runs.push(ordinal, to);
        (from, to)
    }

    /// Has a feed whose first frame will be `ordinal` begin behind the position `floor`. Answers
    /// false when it has begun already.
    pub fn begin_behind(&self, ordinal: u64, floor: u64) -> bool {
        let Some(mut runs) = self.runs().filter(|runs| runs.runs.is_empty()) else { return false };
        *runs = Runs::new(floor.max(runs.floor), ordinal, runs.counts);
        true
    }

    /// Begins anew with the frame `ordinal`, in another epoch.
    pub fn restart(&self, ordinal: u64) {
        if let Some(mut runs) = self.runs() {
            *runs = Runs::new(0, ordinal, runs.counts);
        }
    }

    /// The position of a frame that is retained, or was a moment ago.
    #[must_use]
    pub fn of(&self, ordinal: u64) -> Option<u64> {
        self.runs().map_or(Some(ordinal), |runs| runs.of(ordinal))
    }

    /// The positions of some retained frames; none where they are the ordinals.
    #[must_use]
    pub fn of_all(&self, ordinals: Range<u64>) -> Vec<u64> {
        let Some(runs) = self.runs() else { return Vec::new() };
        ordinals.map(|ordinal| runs.of(ordinal).unwrap_or(ordinal)).collect()
    }

    /// The last position before a frame.
    #[must_use]
    pub fn before(&self, ordinal: u64) -> u64 {
        self.runs().map_or(ordinal.saturating_sub(1), |runs| runs.before(ordinal))
    }

    /// Where somebody goes on who has everything up to `position`; none where positions are
    /// ordinals, and nothing has to be looked up.
    #[must_use]
    pub fn after(&self, position: u64) -> Option<Found> {
        self.runs().map(|runs| runs.after(position))
    }

    /// What is told of frames that somebody missed.
    #[must_use]
    pub fn gap(&self, missed: Missed) -> Gap {
        let Missed { from, to, reason } = missed;
        let frames = missed.frames();
        let Some(runs) = self.runs() else { return Gap { from, to, frames: Some(frames), reason } };
        let known_from = runs.of(from);
        let to = runs.before(to + 1);
        let counted = known_from
            .filter(|_| runs.counts)
            .map(|from| to.saturating_sub(from).saturating_add(1));
        // Of what was forgotten only this is sure: it comes before everything that is known.
        let from = known_from.unwrap_or(0).min(to);
        Gap { from, to, frames: Some(counted.unwrap_or(frames)), reason }
    }

    /// What is told to somebody who comes from another epoch and begins at `ordinal`: what lay
    /// between cannot be known, and frame 0, which never exists, stands for it.
    #[must_use]
    pub fn gap_of_epoch(&self, ordinal: u64) -> Gap {
        Gap { from: 0, to: self.before(ordinal), frames: None, reason: GapReason::Epoch }
    }

    /// Forgets frames that retention gave up long ago: as many as are retained stay for those who
    /// are told that they missed them.
    pub fn forget_before(&self, tail_ordinal: u64) {
        if let Some(mut runs) = self.runs()
            && runs.runs.len() >= runs.trim_len
        {
            let retained = runs.next_ordinal.saturating_sub(tail_ordinal);
            runs.forget_before(tail_ordinal.saturating_sub(retained));
        }
    }

    /// Its runs, for another process; none where positions are ordinals.
    #[must_use]
    pub fn hand(&self) -> Option<HandedRuns> {
        self.runs().map(|runs| HandedRuns(runs.clone()))
    }

    /// What another process handed over.
    #[must_use]
    pub fn of_handed(handed: Option<HandedRuns>) -> Self {
        let runs = handed.map(|HandedRuns(runs)| OnceLock::from(Box::new(Mutex::new(runs))));
        Self { runs: runs.unwrap_or_default() }
    }

    fn runs(&self) -> Option<MutexGuard<'_, Runs>> {
        self.runs.get().map(lock)
    }
}

/// Which position a frame is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one behind the last.
    Next,
    /// This one, which the log gave it: what comes again is known by it.
    Exactly(u64),
    /// This one, or the next that is free.
    AtLeast(u64),
}

/// What an entry of a feed stands for that is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// So many frames, at least one.
    Frames(u64),
    /// Whatever lies up to this position.
    To(u64),
}

// The lock is boxed where it lives, so that a feed which needs none carries a pointer only.
#[expect(clippy::borrowed_box, reason = "what `OnceLock::get` answers")]
fn lock(runs: &Box<Mutex<Runs>>) -> MutexGuard<'_, Runs> {
    runs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runs {
    fn new(floor: u64, next_ordinal: u64, counts: bool) -> Self {
        let runs = VecDeque::new();
        Self { runs, floor, next_ordinal, last: floor, counts, trim_len: 2 * RUNS_KEPT_MIN }
    }

    /// Of a feed whose positions were its ordinals before `next_ordinal`.
    fn dense(next_ordinal: u64) -> Self {
        let mut runs = Self::new(0, next_ordinal, true);
        runs.runs.push_back(Run { ordinal: 1, position: 1 });
        runs.last = next_ordinal - 1;
        runs
    }

    fn give(&mut self, ordinal: u64, wanted: Wanted) -> Option<u64> {
        let position = match wanted {
            Wanted::Next => self.last.saturating_add(1),
            Wanted::Exactly(position) => position,
            Wanted::AtLeast(position) => position.max(self.last.saturating_add(1)),
        };
        if position <= self.last {
            return None;
        }
        self.push(ordinal, position);
        Some(position)
    }

    fn push(&mut self, ordinal: u64, position: u64) {
        debug_assert_eq!(ordinal, self.next_ordinal, "ordinals are dense");
        let follows = position == self.last.saturating_add(1) && !self.runs.is_empty();
        if !follows {
            self.runs.push_back(Run { ordinal, position });
        }
        (self.next_ordinal, self.last) = (ordinal + 1, position);
    }

    fn of(&self, ordinal: u64) -> Option<u64> {
        let index = self.runs.partition_point(|run| run.ordinal <= ordinal).checked_sub(1)?;
        let run = self.runs.get(index).filter(|_| ordinal < self.next_ordinal)?;
        Some(run.position.saturating_add(ordinal - run.ordinal))
    }

    fn before(&self, ordinal: u64) -> u64 {
        if ordinal >= self.next_ordinal {
            return self.last;
        }
        let before = ordinal.checked_sub(1).and_then(|before| self.of(before));
        before.unwrap_or(self.floor)
    }

    fn after(&self, position: u64) -> Found {
        let end = self.runs.partition_point(|run| run.position <= position);
        let next = self.runs.get(end).map_or(self.next_ordinal, |run| run.ordinal);
        let within = end.checked_sub(1).and_then(|index| self.runs.get(index));
        let ordinal = within.map_or(next, |run| {
            next.min(run.ordinal.saturating_add(position - run.position).saturating_add(1))
        });
        Found { ordinal, is_known: position >= self.floor, is_ahead: position > self.last }
    }

    fn forget_before(&mut self, ordinal: u64) {
        let passed = self.runs.partition_point(|run| run.ordinal <= ordinal).saturating_sub(1);
        let passed = passed.min(self.runs.len().saturating_sub(RUNS_KEPT_MIN));
        if let Some(first) = self.runs.get(passed).filter(|_| passed > 0).copied() {
            self.floor = self.before(first.ordinal);
            self.runs.drain(..passed);
        }
        self.trim_len = 2 * self.runs.len().max(RUNS_KEPT_MIN);
    }
}

impl HandedRuns {
    /// Whether the frame `ordinal` is the next.
    #[must_use]
    pub fn lead_to(&self, ordinal: u64) -> bool {
        self.0.next_ordinal == ordinal
    }
}

impl Packed for HandedRuns {
    fn pack(&self, out: &mut Packer) {
        let Runs { runs, floor, next_ordinal, last, counts, .. } = &self.0;
        [*floor, *next_ordinal, *last].iter().for_each(|number| out.u64(*number));
        out.u8((*counts).into());
        out.u64(runs.len() as u64);
        for run in runs {
            out.u64(run.ordinal);
            out.u64(run.position);
        }
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let (floor, next_ordinal, last) = (input.u64()?, input.u64()?, input.u64()?);
        let counts = input.flag()?;
        let pair =
            |input: &mut Unpacker<'_>| Ok(Run { ordinal: input.u64()?, position: input.u64()? });
        let runs: VecDeque<Run> = input.list(pair)?.into();
        // Where the first entry of all stands for frames that were lost, two begin with it.
        let is_rising = |(a, b): (&Run, &Run)| a.ordinal <= b.ordinal && a.position < b.position;
        let is_before = |run: &Run| run.ordinal < next_ordinal && run.position <= last;
        let mut pairs = runs.iter().zip(runs.iter().skip(1));
        if !pairs.all(is_rising) || !runs.back().is_none_or(is_before) || next_ordinal == u64::MAX {
            return Err(PackedError("positions out of order"));
        }
        let trim_len = 2 * runs.len().max(RUNS_KEPT_MIN);
        Ok(Self(Runs { runs, floor, next_ordinal, last, counts, trim_len }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAGGED: GapReason = GapReason::Lagged;

    #[test]
    fn a_single_node_keeps_nothing() {
        let positions = Positions::default();
        assert_eq!([1, 2].map(|ordinal| positions.give(ordinal, Wanted::Next)), [Some(1), Some(2)]);
        assert_eq!((positions.of(2), positions.before(2), positions.after(1)), (Some(2), 1, None));
        let missed = Missed { from: 4, to: 9, reason: LAGGED };
        let told = Gap { from: 4, to: 9, frames: Some(6), reason: LAGGED };
        assert_eq!(positions.gap(missed), told);
        assert!(positions.runs.get().is_none());
    }

    #[test]
    fn frames_of_a_log_have_its_positions() {
        let positions = Positions::of_log(8192);
        let wanted = [in_log(3, 0), in_log(3, 1), in_log(3, 7), in_log(9, 4095)];
        for (ordinal, position) in (1..).zip(wanted) {
            assert_eq!(positions.give(ordinal, Wanted::Exactly(position)), Some(position));
            let again = positions.give(ordinal + 1, Wanted::Exactly(position));
            assert_eq!(again, None, "taken once");
        }
        for (ordinal, position) in (1..).zip(wanted) {
            assert_eq!(positions.of(ordinal), Some(position));
        }
        assert_eq!(positions.before(1), 8192);
        assert_eq!((positions.before(4), positions.before(5)), (wanted[2], wanted[3]));
        assert_eq!(positions.of(5), None, "the next frame has none yet");
    }

    #[test]
    fn a_position_is_found_or_said_to_be_unknown() {
        let positions = Positions::of_log(100);
        for (ordinal, position) in (1..).zip([200, 201, 300]) {
            positions.give(ordinal, Wanted::Exactly(position));
        }
        let found = |position| {
            let Found { ordinal, is_known, is_ahead } = positions.after(position).unwrap();
            (ordinal, is_known, is_ahead)
        };
        assert_eq!(found(99), (1, false, false), "this node cannot know what lay there");
        assert_eq!([found(100), found(199)], [(1, true, false); 2]);
        assert_eq!(found(200), (2, true, false));
        assert_eq!([found(201), found(299)], [(3, true, false); 2]);
        assert_eq!(found(300), (4, true, false));
        assert_eq!(found(301), (4, true, true), "another node was faster");
    }

    #[test]
    fn what_is_lost_on_the_way_counts() {
        let positions = Positions::default();
        assert_eq!(positions.skip(4, Skipped::Frames(10)), (4, 13));
        assert_eq!(positions.give(5, Wanted::Next), Some(14));
        assert_eq!(
            (positions.of(3), positions.of(4), positions.before(5)),
            (Some(3), Some(13), 13)
        );
        assert_eq!(positions.after(3).unwrap().ordinal, 4, "it is told again");
        assert_eq!(positions.after(13).unwrap().ordinal, 5);
        let gap = positions.gap(Missed { from: 2, to: 5, reason: LAGGED });
        assert_eq!((gap.from, gap.to, gap.frames), (2, 14, Some(13)));
    }

    #[test]
    fn positions_end_but_never_begin_again() {
        let positions = Positions::default();
        assert_eq!(positions.skip(1, Skipped::To(u64::MAX)), (1, u64::MAX));
        assert_eq!(positions.give(2, Wanted::Next), None);
        assert_eq!(positions.give(2, Wanted::AtLeast(7)), None);
        assert_eq!(positions.skip(2, Skipped::Frames(u64::MAX)), (u64::MAX, u64::MAX));
        assert_eq!((positions.of(2), positions.before(3)), (Some(u64::MAX), u64::MAX));
        let gap = positions.gap(Missed { from: 1, to: 2, reason: LAGGED });
        assert_eq!((gap.to, gap.frames), (u64::MAX, Some(1)));
        let last = in_log(SEQUENCE_MAX, BATCH_FRAMES_MAX - 1);
        assert_eq!(in_log(u64::MAX, BATCH_FRAMES_MAX - 1), last);
    }

    #[test]
    fn another_epoch_begins_anew() {
        let positions = Positions::of_log(0);
        positions.give(1, Wanted::AtLeast(9_000));
        positions.restart(2);
        assert_eq!(positions.skip(2, Skipped::Frames(1)), (1, 1));
        assert_eq!(positions.give(3, Wanted::Exactly(4_096)), Some(4_096));
        assert_eq!((positions.before(3), positions.after(9_000).unwrap().is_ahead), (1, true));
    }

    proptest! {
        #[test]
        fn both_ways_agree_and_memory_is_bounded(steps in prop::collection::vec(1_u64..4, 1..600)) {
            let (positions, kept) = (Positions::of_log(0), 20);
            let mut given = vec![0];
            for step in steps {
                let (ordinal, position) = (given.len() as u64, given.last().unwrap() + step);
                let given_now = positions.give(ordinal, Wanted::Exactly(position));
                prop_assert_eq!(given_now, Some(position));
                given.push(position);
                positions.forget_before(ordinal.saturating_sub(kept));
            }
            let last = given.len() as u64 - 1;
            for ordinal in last.saturating_sub(2 * kept).max(1)..=last {
                let position = given[ordinal as usize];
                prop_assert_eq!(positions.of(ordinal), Some(position));
                let found = positions.after(position).unwrap();
                prop_assert_eq!((found.ordinal, found.is_known), (ordinal + 1, true));
            }
            prop_assert!(positions.runs().unwrap().runs.len() <= 2 * RUNS_KEPT_MIN + 4 * 20);
        }
    }
}
