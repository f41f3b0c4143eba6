//! What interrupts a feed: frames that are known to be lost on the way here, and another epoch.
//! Owns how that stands among its frames: as an entry of each lane, encoded once. Must not know
//! why.

use std::sync::atomic::Ordering;

use crate::feed::epoch::Epoch;
use crate::feed::gap::{Gap, GapReason};
use crate::feed::log::{Feed, State};
use crate::feed::positions::Skipped;

/// Frames that nobody here will get.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// How far positions go on meanwhile.
    pub skipped: Skipped,
    /// How many they are, where anybody knows.
    pub frames: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

/// The most frames that one loss counts. Whoever says that there were more is wrong, and must not
/// use up the positions of a topic.
const FRAMES_LOST_MAX: u64 = 1 << 32;

impl Loss {
    /// So many frames: at least one, and at most 2³².
    #[must_use]
    pub fn of(frames: u64, reason: GapReason) -> Self {
        let frames = frames.clamp(1, FRAMES_LOST_MAX);
        Self { skipped: Skipped::Frames(frames), frames: Some(frames), reason }
    }

    /// Whatever there was up to a position.
    #[must_use]
    pub fn up_to(position: u64, frames: Option<u64>, reason: GapReason) -> Self {
        Self { skipped: Skipped::To(position), frames, reason }
    }
}

impl Feed {
    /// Tells whoever follows it, and whoever follows patterns that repeat it, of a loss.
    pub fn tell(&self, loss: Loss, now_ns: u64) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        self.append_loss(&mut state, loss, now_ns);
        let patterns = state.repeats.iter().filter(|repeat| repeat.feed.name.rate.is_none());
        patterns.for_each(|repeat| repeat.feed.tell_alone(loss, now_ns));
    }

    /// Tells whoever follows this feed of a loss.
    pub fn tell_alone(&self, loss: Loss, now_ns: u64) {
        let mut state = self.lock();
        if !state.closed {
            self.append_loss(&mut state, loss, now_ns);
        }
    }

    /// Begins another epoch, and tells whoever follows it. What it had is given up: its positions
    /// mean nothing any more.
    pub fn begin_epoch(&self, epoch: Epoch, now_ns: u64) {
        let mut state = self.lock();
        if state.closed || self.epoch() == epoch {
            return;
        }
        let ordinal = state.kept.raw.writer.head().ordinal;
        self.positions.restart(ordinal);
        self.epoch.store(epoch.0, Ordering::Release);
        self.positions.skip(ordinal, Skipped::Frames(1));
        let gap = Gap { from: 0, to: 0, frames: None, reason: GapReason::Epoch };
        self.append_notice(&mut state, gap, now_ns);
        state.kept.lanes().for_each(|lane| lane.writer.give_up_before(ordinal));
        self.trim(&mut state);
    }

    pub(super) fn append_loss(&self, state: &mut State, loss: Loss, now_ns: u64) {
        let Loss { skipped, frames, reason } = loss;
        let ordinal = state.kept.raw.writer.head().ordinal;
        // Of what it has already it did not lose anything.
        if matches!(skipped, Skipped::To(to) if to <= self.positions.before(ordinal)) {
            return;
        }
        let (from, to) = self.positions.skip(ordinal, skipped);
        self.append_notice(state, Gap { from, to, frames, reason }, now_ns);
    }

    fn append_notice(&self, state: &mut State, gap: Gap, now_ns: u64) {
        let retention = self.effective_retention();
        state.kept.note_notice(gap);
        if self.own_origin_is_noted() {
            state.kept.note_origin(&self.own);
        }
        for lane in state.kept.lanes() {
            let notice = lane.writer.kind().gap_notice(self.target(), gap);
            lane.writer.append_notice(&notice);
            lane.writer.retain(&retention, now_ns);
            lane.taps.iter().for_each(|tap| tap.mark(now_ns));
        }
        self.trim(state);
    }

    /// In a pattern each entry has an origin noted.
    fn own_origin_is_noted(&self) -> bool {
        self.target().pattern().is_some()
    }
}
