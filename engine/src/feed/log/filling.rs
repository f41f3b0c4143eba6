//! What a feed is filled with after the fact: a lane with older frames of the log, and a feed that
//! a node makes late with what the domain had for it. Owns that others are not held up meanwhile.
//! Must not publish to anybody.

use std::sync::{Arc, PoisonError};

use crate::feed::backfill::Backfill;
use crate::feed::gap::GapReason;
use crate::feed::kind::LaneKind;
use crate::feed::lane_reader::LaneReader;
use crate::feed::log::Feed;
use crate::feed::log::interruption::Loss;
use crate::feed::message::{Message, Origin};
use crate::feed::options::From;
use crate::feed::positions::Wanted;
use crate::feed::prepared::Prepared;

impl Feed {
    /// Has `reader`, whose core holds the lane open, see whatever is retained of what a subscriber
    /// that asks for `from` gets. What the lane lacks is encoded from the log. Answers how many
    /// encodings that took, and of them how many deflating.
    ///
    /// The feed is locked for moments only: publishers and other subscribers never wait for it all.
    pub fn reach_back(&self, reader: &mut LaneReader, from: &From) -> (u32, u32) {
        let (kind, wanted_ordinal) = (reader.kind(), self.first_wanted(reader, from));
        if kind == LaneKind::RAW || reader.first_ordinal() <= wanted_ordinal {
            return (0, 0);
        }
        let filling = self.lock().kept.lane(kind).map(|lane| Arc::clone(&lane.filling));
        let Some(filling) = filling else { return (0, 0) };
        let alone = filling.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.lock().kept.begin_backfill(kind, wanted_ordinal);
        let encodes = begun.map_or((0, 0), |backfill| self.fill(kind, backfill));
        drop(alone);
        if let Some(lane) = self.lock().kept.lane(kind) {
            lane.writer.show_older(reader);
        }
        encodes
    }

    /// The first frame that a subscriber that asks for `from` gets, if it is retained.
    fn first_wanted(&self, reader: &LaneReader, from: &From) -> u64 {
        match *from {
            From::Latest => reader.head().ordinal,
            From::Last => reader.newest_ordinal(),
            From::After { epoch, seq } if epoch == self.epoch() => {
                match self.positions.after(seq) {
                    Some(found) if !found.is_ahead || self.domain.is_some() => found.ordinal,
                    None if seq < reader.head().ordinal => seq + 1,
                    // One that was not reached is answered like one of another epoch.
                    _ => 0,
                }
            }
            From::Oldest | From::After { .. } => 0,
        }
    }

    /// Encodes what a lane lacks and puts it before it.
    fn fill(&self, kind: LaneKind, mut backfill: Backfill) -> (u32, u32) {
        loop {
            // Where memory is short, feeds keep their last frame only.
            let is_tight = self.budget.is_tight() || self.budget.would_pass(backfill.bytes());
            let slice = self.lock().kept.next_slice(&backfill, is_tight);
            if slice.ordinals.is_empty() {
                break;
            }
            backfill.encode(&slice, self.target(), |ordinal, origin| {
                let seq = self.positions.of(ordinal).unwrap_or(ordinal);
                self.place_of((ordinal, seq), origin.unwrap_or(&self.own))
            });
        }
        let encodes = backfill.encodes();
        let filled = backfill.finish(&self.budget);
        let mut state = self.lock();
        let kept_ordinal = state.kept.raw.writer.tail().ordinal;
        if let Some(lane) = state.kept.lane(kind) {
            lane.writer.prepend(filled, kept_ordinal);
        }
        encodes
    }

    /// Takes in a frame that the domain had before the feed was made.
    pub fn fill_with(
        &self,
        message: Message<'_>,
        origin: Option<&Arc<Origin>>,
        position: u64,
        now_ns: u64,
    ) {
        let mut state = self.lock();
        if !state.closed {
            let place = (origin.unwrap_or(&self.own), Wanted::Exactly(position));
            // One that it has already is left out.
            let _ = self.append(&mut state, &mut Prepared::new(message), place, now_ns);
        }
    }

    /// Of what lies up to the position `floor` nothing is known here, though this feed is filled.
    pub fn knows_nothing_up_to(&self, floor: u64, now_ns: u64) {
        let mut state = self.lock();
        let ordinal = state.kept.raw.writer.head().ordinal;
        if !self.positions.begin_behind(ordinal, floor) {
            let loss = Loss::up_to(floor, None, GapReason::Expired);
            self.append_loss(&mut state, loss, now_ns);
        }
    }

    /// From now on it takes in what is published, if `is_complete` says that it has all that was.
    pub fn end_filling(&self, is_complete: impl FnOnce() -> bool) -> bool {
        let mut state = self.lock();
        state.is_filling &= !(state.closed || is_complete());
        !state.is_filling
    }

    /// What `pattern`, which repeats this topic, knows it by.
    pub fn origin_in(&self, pattern: &Self) -> Option<Arc<Origin>> {
        let state = self.lock();
        let repeat = state.repeats.iter().find(|repeat| std::ptr::eq(&*repeat.feed, pattern));
        repeat.map(|repeat| Arc::clone(&repeat.origin))
    }
}
