//! One answer to a poll: which messages it has, and where to go on. Owns its bounds. Must not know
//! connections: those that stand at one place and ask for the same are given the same bytes.

use std::sync::Arc;

use crate::core::history::answer::Clocks;
use crate::feed::epoch::Position;
use crate::feed::gap::{Gap, GapReason, Missed};
use crate::feed::log::Feed;
use crate::wire::history::{End, Format, Record, Writer};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The first frame that is wanted.
    pub ordinal: u64,
    /// Messages at most.
    pub limit: u64,
    /// How they are written.
    pub format: Format,
}

/// The body of an answer, and what its head says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// Messages in it.
    pub records: u64,
    /// How it is written.
    pub format: Format,
    /// What to ask for next.
    pub next: Position,
    /// Where the log ended.
    head_ordinal: u64,
}

/// The last answer of a core: all who wait in one feed are given it, one after the other.
#[derive(Debug, Default)]
pub struct Last(Option<(u64, Ask, Answer)>);

impl Last {
    /// The answer, if it is what this `ask` of a feed gets whose log ends at `head_ordinal` at
    /// least.
    pub fn take(&mut self, feed: &Feed, ask: Ask, head_ordinal: u64) -> Option<Answer> {
        let is_it = |(number, asked, answer): &(u64, Ask, Answer)| {
            *number == feed.number() && *asked == ask && answer.head_ordinal >= head_ordinal
        };
        self.0.take_if(|last| is_it(last)).map(|(_, _, answer)| answer)
    }

    /// Keeps an answer for the next who asks.
    pub fn put(&mut self, feed: &Feed, ask: Ask, answer: Answer) {
        self.0 = Some((feed.number(), ask, answer));
    }
}

impl Answer {
    /// What a feed keeps of what is asked for, in about `bytes_max` at most but one message at
    /// least, behind the notice of `gap`.
    pub fn of(
        feed: &Arc<Feed>,
        ask: Ask,
        gap: Option<Gap>,
        bytes_max: usize,
        clocks: Clocks,
    ) -> Self {
        let Ask { ordinal: first, limit, format } = ask;
        let excerpt = feed.excerpt(first..first.saturating_add(limit));
        let (mut writer, mut body) = (Writer::new(format), Vec::new());
        if let Some(gap) = gap {
            writer.gap(&mut body, gap);
        }
        let begin = excerpt.ordinals.start;
        if first < begin {
            let missed = Missed { from: first, to: begin - 1, reason: GapReason::Expired };
            writer.gap(&mut body, feed.gap(missed));
        }
        let (mut next, mut records) = (begin, 0);
        let mut notices = excerpt.notices.iter().peekable();
        let is_all = excerpt.each(|frame| {
            while let Some((_, gap)) = notices.next_if(|(at, _)| *at < frame.ordinal) {
                writer.gap(&mut body, *gap);
            }
            let time_ms = clocks.ms_at(frame.came_ns);
            let (position, origin, message) = (frame.position, frame.origin, frame.message);
            writer.record(&mut body, &Record { time_ms, position, origin, message });
            (next, records) = (frame.ordinal + 1, records + 1);
            body.len() < bytes_max
        });
        if is_all {
            notices.for_each(|(_, gap)| writer.gap(&mut body, *gap));
            next = next.max(excerpt.ordinals.end);
        }
        let head_ordinal = excerpt.head_ordinal;
        let position = Position { epoch: excerpt.epoch, seq: feed.seq_before(next) };
        let complete = next >= head_ordinal;
        let end = End { next: Some(position), records, complete, error: None };
        writer.end(&mut body, &end);
        Self { body, records, format, next: position, head_ordinal }
    }

    /// Nothing: whoever is ahead of this node goes on from where it stands.
    pub fn empty(next: Position, format: Format) -> Self {
        let mut body = Vec::new();
        let end = End { next: Some(next), records: 0, complete: true, error: None };
        Writer::new(format).end(&mut body, &end);
        Self { body, records: 0, format, next, head_ordinal: 0 }
    }
}
