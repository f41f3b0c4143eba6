//! What a feed keeps, under its lock: the log and its other lanes, and of each retained frame where
//! it comes from. Must not number frames, nor know who follows them.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::feed::backfill::{Backfill, Slice};
use crate::feed::gap::Gap;
use crate::feed::kind::LaneKind;
use crate::feed::lane::LaneWriter;
use crate::feed::message::Origin;
use crate::feed::open_lane::OpenLane;
use crate::feed::times::Times;

/// See the file header.
#[derive(Debug)]
pub struct Kept {
    /// The log itself.
    pub raw: OpenLane,
    /// Encodings beside the log; each is here while somebody uses it.
    derived: Vec<OpenLane>,
    /// When the retained frames came.
    pub times: Times,
    /// Of each retained frame where it comes from; only where that is not the feed's own topic.
    pub origins: VecDeque<Arc<Origin>>,
    /// Of the retained entries those that are no frames, but notices of a gap.
    notices: VecDeque<(u64, Gap)>,
}

impl Kept {
    /// An empty log.
    pub fn new(raw: LaneWriter) -> Self {
        Self {
            raw: OpenLane::new(raw),
            derived: Vec::new(),
            times: Times::default(),
            origins: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// Every lane, the log first.
    pub fn lanes(&mut self) -> impl Iterator<Item = &mut OpenLane> {
        std::iter::once(&mut self.raw).chain(&mut self.derived)
    }

    /// The lane of a kind, if it is open.
    pub fn lane(&mut self, kind: LaneKind) -> Option<&mut OpenLane> {
        self.lanes().find(|lane| lane.writer.kind() == kind)
    }

    /// How many encodings a message gets.
    pub fn encodings(&self) -> u32 {
        1 + self.derived.len() as u32
    }

    /// The lane of a kind; if it is not open, what `new` makes of its first ordinal.
    pub fn lane_or_open(
        &mut self,
        kind: LaneKind,
        new: impl FnOnce(u64) -> LaneWriter,
    ) -> &mut OpenLane {
        if kind == LaneKind::RAW {
            return &mut self.raw;
        }
        let index = self.derived.iter().position(|lane| lane.writer.kind() == kind);
        let index = index.unwrap_or_else(|| {
            let lane = new(self.raw.writer.head().ordinal);
            lane.copy_notices(&self.raw.writer);
            self.derived.push(OpenLane::new(lane));
            self.derived.len() - 1
        });
        &mut self.derived[index]
    }

    /// True while somebody follows one of the lanes.
    pub fn is_tapped(&self) -> bool {
        let mut lanes = std::iter::once(&self.raw).chain(&self.derived);
        lanes.any(|lane| !lane.taps.is_empty())
    }

    /// Lets go of lanes that nobody uses any more.
    pub fn forget_unused(&mut self, now_ns: u64) {
        self.derived.retain(|lane| lane.is_wanted(now_ns));
    }

    /// Notes where the next frame comes from.
    pub fn note_origin(&mut self, origin: &Arc<Origin>) {
        self.origins.push_back(Arc::clone(origin));
    }

    /// Notes that the next entry is a notice of `gap`.
    pub fn note_notice(&mut self, gap: Gap) {
        self.notices.push_back((self.raw.writer.head().ordinal, gap));
    }

    /// The notice that the entry `ordinal` is, if it is one.
    pub fn notice_at(&self, ordinal: u64) -> Option<Gap> {
        let at = self.notices.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal).ok()?;
        self.notices.get(at).map(|(_, gap)| *gap)
    }

    /// Of what is known of frames beside their bytes, keeps what belongs to those the log keeps.
    pub fn trim(&mut self) {
        let tail_ordinal = self.raw.writer.tail().ordinal;
        self.times.trim(tail_ordinal);
        while self.notices.front().is_some_and(|(ordinal, _)| *ordinal < tail_ordinal) {
            self.notices.pop_front();
        }
        if !self.origins.is_empty() {
            let kept = self.raw.writer.head().ordinal - tail_ordinal;
            self.origins.drain(..self.origins.len().saturating_sub(kept as usize));
        }
    }

    /// Topics that are no more stay announced while frames of theirs are retained.
    pub fn forget_announced(&mut self) {
        if self.lanes().any(|lane| lane.writer.encoder().has_gone()) {
            let retained: BTreeSet<u64> = self.origins.iter().map(|origin| origin.number).collect();
            self.lanes().for_each(|lane| lane.writer.encoder().forget_gone(&retained));
        }
    }

    /// Begins to encode what lane `kind` lacks of the frames from `wanted_ordinal` on, if it does.
    pub fn begin_backfill(&mut self, kind: LaneKind, wanted_ordinal: u64) -> Option<Backfill> {
        let lack = self.lane(kind)?.writer.lack(wanted_ordinal)?;
        Some(Backfill::new(self.raw.writer.reader(), lack))
    }

    /// The next frames of a backfill that the log keeps; where memory is tight, the last one.
    pub fn next_slice(&self, backfill: &Backfill, is_tight: bool) -> Slice {
        let tail_ordinal = self.raw.writer.tail().ordinal;
        let last_ordinal = backfill.end_ordinal().saturating_sub(1);
        let kept_ordinal = if is_tight { tail_ordinal.max(last_ordinal) } else { tail_ordinal };
        let ordinals = backfill.next_ordinals(kept_ordinal);
        let from = self.origins.iter().skip((ordinals.start - tail_ordinal) as usize);
        let origins = from.take(ordinals.clone().count()).cloned().collect();
        let notices = self.notices_of(&ordinals);
        Slice { ordinals, origins, notices }
    }

    /// Which entries of these are no frames, but notices of a gap.
    pub fn notices_of(&self, ordinals: &Range<u64>) -> Vec<(u64, Gap)> {
        self.notices.iter().filter(|(ordinal, _)| ordinals.contains(ordinal)).copied().collect()
    }

    /// Keeps the last frame only.
    pub fn compact(&mut self) {
        self.lanes().for_each(|lane| {
            lane.writer.compact();
        });
        self.trim();
        self.times.compact(self.raw.writer.tail().ordinal);
    }
}
