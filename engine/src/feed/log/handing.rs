//! How a feed gets from one process into the next: all of it is read while nobody publishes, and
//! made again with the same numbering. Owns what has to be the same there. Must not know how it
//! gets across.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::feed::awaited::Ticket;
use crate::feed::handed::{HandedEntry, HandedFeed, HandedRepeat};
use crate::feed::kept::Kept;
use crate::feed::kind::LaneKind;
use crate::feed::lane::LaneWriter;
use crate::feed::log::{Feed, Repeat, State};
use crate::feed::message::{Message, Origin, Place};
use crate::feed::positions::Positions;
use crate::feed::prepared::Prepared;
use crate::feed::retention::Retention;
use crate::feed::segment::LogBudget;
use crate::feed::source::Source;
use crate::feed::topic::Topic;
use crate::frame::encode;

impl Feed {
    /// All that the next process has to know of it.
    #[must_use]
    pub fn hand(&self) -> HandedFeed {
        let mut state = self.lock();
        let (entries, origins) = state.hand_entries();
        HandedFeed {
            name: self.name.clone(),
            epoch: self.epoch(),
            number: self.number(),
            used_ns: (state.last_publish_ns, state.left_ns),
            is_awaited: state.awaited.is_some(),
            first_ordinal: state.kept.raw.writer.head().ordinal - entries.len() as u64,
            entries,
            origins,
            times: state.kept.times.clone(),
            runs: self.positions.hand(),
            repeats: state.repeats.iter().map(Repeat::hand).collect(),
        }
    }

    /// The feed that another process handed over, without what repeats it.
    #[must_use]
    pub fn of_handed(
        handed: HandedFeed,
        retention: Retention,
        budget: &Arc<LogBudget>,
        ticket: Option<Ticket>,
    ) -> Self {
        let (last_publish_ns, left_ns) = handed.used_ns;
        let identity = (handed.epoch, handed.number);
        let mut feed = Self::new(handed.name, identity, retention, budget, last_publish_ns);
        feed.positions = Positions::of_handed(handed.runs);
        let raw = LaneWriter::new(LaneKind::RAW, handed.first_ordinal, &retention, budget);
        let state = feed.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.kept = Kept::new(raw);
        state.awaited = ticket.map(Box::new);
        state.left_ns = left_ns;
        feed.take_entries(handed.entries, &handed.origins);
        let state = feed.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.kept.times = handed.times;
        state.kept.raw.writer.retain(&retention, last_publish_ns);
        state.kept.trim();
        feed
    }

    fn take_entries(&self, entries: Vec<HandedEntry>, origins: &[(Topic, u64)]) {
        let pattern = self.target().pattern();
        let origin = |(topic, number): &(Topic, u64)| {
            let pattern = pattern.cloned();
            Arc::new(Origin { topic: topic.as_str().into(), pattern, number: *number })
        };
        let origins: Vec<Arc<Origin>> = origins.iter().map(origin).collect();
        let mut state = self.lock();
        for entry in entries {
            let origin = match &entry {
                HandedEntry::Frame(_, _, index) => index.and_then(|index| origins.get(index)),
                HandedEntry::Notice(_) => None,
            };
            let origin = origin.unwrap_or(&self.own);
            if pattern.is_some() {
                state.kept.note_origin(origin);
            }
            self.take_entry(&mut state, &entry, origin);
        }
    }

    fn take_entry(&self, state: &mut State, entry: &HandedEntry, origin: &Arc<Origin>) {
        let ordinal = state.kept.raw.writer.head().ordinal;
        match entry {
            HandedEntry::Frame(kind, payload, _) => {
                let seq = self.positions.of(ordinal).unwrap_or(ordinal);
                let place = Place { epoch: self.epoch(), ordinal, seq, origin };
                let message = Message { kind: *kind, payload, source: Source::CLIENTS };
                state.kept.raw.writer.append(place, &mut Prepared::new(message));
            }
            HandedEntry::Notice(gap) => {
                state.kept.note_notice(*gap);
                let notice = LaneKind::RAW.gap_notice(self.target(), *gap);
                state.kept.raw.writer.append_notice(&notice);
            }
        }
    }

    /// Has what repeated this topic in the other process repeat it here, under the same numbers.
    /// `find` knows the feeds by their number.
    pub fn take_repeats(
        self: &Arc<Self>,
        repeats: &[HandedRepeat],
        find: impl Fn(u64) -> Option<Arc<Self>>,
    ) {
        for handed in repeats {
            let Some(other) = find(handed.feed) else { continue };
            self.add_repeat(&other, handed.origin);
            let mut state = self.lock();
            let mut all = state.repeats.iter_mut();
            let Some(own) = all.find(|own| Arc::ptr_eq(&own.feed, &other)) else { continue };
            own.taken_ordinal = handed.taken_ordinal;
            if handed.is_noted && other.name.rate.is_some() {
                own.note(self);
            }
        }
    }

    /// The oldest entry that is retained.
    #[must_use]
    pub fn tail_ordinal(&self) -> u64 {
        self.lock().kept.raw.writer.tail().ordinal
    }
}

impl Repeat {
    fn hand(&self) -> HandedRepeat {
        HandedRepeat {
            feed: self.feed.number(),
            origin: self.origin.number,
            is_noted: self.feed.held.is_noted(self.noted),
            taken_ordinal: self.taken_ordinal,
        }
    }
}

impl State {
    /// What is retained, and where it comes from.
    fn hand_entries(&mut self) -> (Vec<HandedEntry>, Vec<(Topic, u64)>) {
        let reader = self.kept.raw.writer.reader();
        let mut at = reader.oldest();
        let (mut entries, mut origins) = (Vec::new(), Vec::new());
        let mut known = BTreeMap::new();
        while at.ordinal < reader.head().ordinal {
            let origin = self.kept.origins.get(entries.len());
            let origin = origin.and_then(|origin| index_of(origin, &mut known, &mut origins));
            let frame = encode::message(reader.frame(at));
            entries.push(match (self.kept.notice_at(at.ordinal), frame) {
                (None, Some((kind, payload))) => HandedEntry::Frame(kind, payload.to_vec(), origin),
                (Some(gap), _) => HandedEntry::Notice(gap),
                // The log holds nothing but messages and notices.
                (None, None) => break,
            });
            at = reader.after(at);
        }
        (entries, origins)
    }
}

/// Where the origin stands in the list, put there if it does not yet.
fn index_of(
    origin: &Origin,
    known: &mut BTreeMap<u64, usize>,
    origins: &mut Vec<(Topic, u64)>,
) -> Option<usize> {
    if let Some(&index) = known.get(&origin.number) {
        return Some(index);
    }
    // The notices of a pattern come from no topic.
    let topic = Topic::new(&origin.topic).ok()?;
    known.insert(origin.number, origins.len());
    origins.push((topic, origin.number));
    Some(origins.len() - 1)
}
