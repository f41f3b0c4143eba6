//! Some frames of a feed's log, for somebody who reads them outside its lock. Owns how they are
//! walked. Holds their memory, so it must not be kept for longer than they are read.

use std::ops::Range;
use std::sync::Arc;

use crate::feed::epoch::{Epoch, Position};
use crate::feed::gap::Gap;
use crate::feed::kind::LaneKind;
use crate::feed::log::Feed;
use crate::feed::message::{Message, Origin};
use crate::feed::segment::Segment;
use crate::feed::times::Span;
use crate::frame::encode;

/// See the file header.
#[derive(Debug)]
pub struct Excerpt {
    /// The frames that there are of those asked for.
    pub ordinals: Range<u64>,
    /// Where the log ended then.
    pub head_ordinal: u64,
    /// The life of the log.
    pub epoch: Epoch,
    /// Where frames come from that do not name a topic of their own.
    pub own: Arc<Origin>,
    /// In a pattern, where each frame comes from.
    pub origins: Vec<Arc<Origin>>,
    /// Which of them are no frames, but notices of a gap.
    pub notices: Vec<(u64, Gap)>,
    /// Their positions, where those are not their ordinals.
    pub positions: Vec<u64>,
    /// When they came.
    pub spans: Vec<Span>,
    /// The memory they are in.
    pub segments: Vec<crate::sync::Arc<Segment>>,
}

/// A frame of an excerpt.
#[derive(Clone, Copy, Debug)]
pub struct Excerpted<'a> {
    /// Its number in the feed.
    pub ordinal: u64,
    /// Where it stands.
    pub position: Position,
    /// About when it came: when the first of those came that share a time with it.
    pub came_ns: u64,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// What was published.
    pub message: Message<'a>,
}

impl Feed {
    /// Which of its retained frames came from `from_ns` to `to_ns`, to the resolution of its times;
    /// none sets no bound.
    pub fn came_within(&self, from_ns: Option<u64>, to_ns: Option<u64>) -> Range<u64> {
        let state = self.lock();
        let (tail, head) =
            (state.kept.raw.writer.tail().ordinal, state.kept.raw.writer.head().ordinal);
        let first = from_ns.map_or(tail, |at_ns| state.kept.times.first_at(at_ns).unwrap_or(head));
        let end = to_ns.and_then(|at_ns| state.kept.times.first_after(at_ns)).unwrap_or(head);
        first.max(tail)..end.max(tail)
    }

    /// Its oldest retained frame, and from when on nothing that came is missing.
    pub fn kept_since(&self) -> (u64, u64) {
        let state = self.lock();
        let tail_ordinal = state.kept.raw.writer.tail().ordinal;
        let spans = state.kept.times.of(&(tail_ordinal..tail_ordinal + 1));
        // Of the frames that share a time with it, some may be given up.
        let since = |span: &Span| {
            if span.first_ordinal == tail_ordinal { span.first_ns } else { span.last_ns + 1 }
        };
        (tail_ordinal, spans.first().map_or(u64::MAX, since))
    }

    /// Those of frames `ordinals` that are retained.
    pub fn excerpt(&self, ordinals: Range<u64>) -> Excerpt {
        let state = self.lock();
        let (tail, head) =
            (state.kept.raw.writer.tail().ordinal, state.kept.raw.writer.head().ordinal);
        let ordinals = ordinals.start.clamp(tail, head)..ordinals.end.clamp(tail, head);
        let from = state.kept.origins.iter().skip((ordinals.start - tail) as usize);
        Excerpt {
            head_ordinal: head,
            epoch: self.epoch(),
            own: Arc::clone(self.own_origin()),
            origins: from.take(ordinals.clone().count()).cloned().collect(),
            notices: state.kept.notices_of(&ordinals),
            positions: self.positions_of(&ordinals),
            spans: state.kept.times.of(&ordinals),
            segments: state.kept.raw.writer.segments_of(&ordinals),
            ordinals,
        }
    }
}

impl Excerpt {
    /// Hands frames on, in their order, until `take` answers false. Answers whether it never did.
    pub fn each<'a>(&'a self, mut take: impl FnMut(Excerpted<'a>) -> bool) -> bool {
        for segment in &self.segments {
            let (mut rest, mut ordinal) = (segment.bytes(), segment.first_ordinal());
            while !rest.is_empty() && ordinal < self.ordinals.end {
                let len = LaneKind::RAW.frame_len(rest).min(rest.len() as u64) as usize;
                let (frame, behind) = rest.split_at(len);
                if self.ordinals.contains(&ordinal)
                    && let Some(excerpted) = self.excerpted(ordinal, frame)
                    && !take(excerpted)
                {
                    return false;
                }
                (rest, ordinal) = (behind, ordinal + 1);
            }
        }
        true
    }

    fn excerpted<'a>(&'a self, ordinal: u64, frame: &'a [u8]) -> Option<Excerpted<'a>> {
        let (kind, payload) = encode::message(frame)?;
        let origin =
            self.origins.get((ordinal - self.ordinals.start) as usize).unwrap_or(&self.own);
        let at = (ordinal - self.ordinals.start) as usize;
        let seq = self.positions.get(at).copied().unwrap_or(ordinal);
        let after = self.spans.partition_point(|span| span.first_ordinal <= ordinal);
        let span = self.spans.get(after.saturating_sub(1));
        Some(Excerpted {
            ordinal,
            position: Position { epoch: self.epoch, seq },
            came_ns: span.map_or(0, |span| span.first_ns),
            origin,
            message: Message::of_client(kind, payload),
        })
    }
}
