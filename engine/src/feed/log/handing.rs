//! How a feed gets from one process into the next: in parts, the last of which is read while nobody
//! publishes, and made again with the same numbering. Owns what has to be the same there. Must not
//! know how it gets across.

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
    /// What the next process has to know of it. Of what is retained, the entries from
    /// `since_ordinal` on that about `bytes_max` have room for, at least one.
    #[must_use]
    pub fn hand(&self, since_ordinal: u64, bytes_max: usize) -> HandedFeed {
        let mut state = self.lock();
        let (first_ordinal, entries, origins) = state.hand_entries(since_ordinal, bytes_max);
        HandedFeed {
            name: self.name.clone(),
            epoch: self.epoch(),
            number: self.number(),
            used_ns: (state.last_publish_ns, state.left_ns),
            is_awaited: state.awaited.is_some(),
            first_ordinal,
            next_ordinal: state.kept.raw.writer.head().ordinal,
            entries,
            origins,
            times: state.kept.times.clone(),
            runs: self.positions.hand(),
            repeats: state.repeats.iter().map(Repeat::hand).collect(),
        }
    }

    /// The feed of which another process handed over the first part, without what repeats it.
    #[must_use]
    pub fn of_handed(handed: HandedFeed, retention: Retention, budget: &Arc<LogBudget>) -> Self {
        let identity = (handed.epoch, handed.number);
        let mut feed =
            Self::new(handed.name.clone(), identity, retention, budget, handed.used_ns.0);
        let raw = LaneWriter::new(LaneKind::RAW, handed.first_ordinal, &retention, budget);
        let state = feed.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.kept = Kept::new(raw);
        feed.take_part(handed);
        feed
    }

    /// Whether this part follows those that came before it.
    #[must_use]
    pub fn is_followed_by(&self, handed: &HandedFeed) -> bool {
        self.number() == handed.number
            && self.epoch() == handed.epoch
            && self.lock().kept.raw.writer.head().ordinal == handed.first_ordinal
    }

    /// Takes in one more part, which has to [follow](Self::is_followed_by). What is said beside the
    /// entries holds from now on.
    pub fn take_part(&mut self, handed: HandedFeed) {
        self.positions = Positions::of_handed(handed.runs);
        self.take_entries(handed.entries, &handed.origins);
        let retention = self.retention;
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        (state.last_publish_ns, state.left_ns) = handed.used_ns;
        state.kept.times = handed.times;
        state.kept.raw.writer.retain(&retention, state.last_publish_ns);
        state.kept.trim();
    }

    /// Has it wait for its first message, on this ticket.
    pub fn set_awaited(&mut self, ticket: Ticket) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.awaited = Some(Box::new(ticket));
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
    /// From which ordinal on entries are answered, those from `since_ordinal` on, and where each
    /// comes from.
    fn hand_entries(
        &mut self,
        since_ordinal: u64,
        bytes_max: usize,
    ) -> (u64, Vec<HandedEntry>, Vec<(Topic, u64)>) {
        let reader = self.kept.raw.writer.reader();
        let oldest_ordinal = reader.oldest().ordinal;
        let first = reader.at_ordinal(since_ordinal);
        let mut at = first;
        let (mut entries, mut origins) = (Vec::new(), Vec::new());
        let mut known = BTreeMap::new();
        while at.ordinal < reader.head().ordinal && at.pos() - first.pos() < bytes_max as u64 {
            let origin = self.kept.origins.get((at.ordinal - oldest_ordinal) as usize);
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
        (first.ordinal, entries, origins)
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
