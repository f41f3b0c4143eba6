//! What a node sends to the others in relay mode: batches that are sent once, with counters that
//! show what did not arrive. Owns the counters, by topic. Must not know how batches travel.

use std::collections::HashMap;

use bytes::Bytes;

use crate::backplane::batch::{BatchId, Builder, Frame, Head, Note};
use gridcast::frame::Kind;

/// Topics whose frames are counted. With more, the node begins a new life, as after a restart.
pub const TOPICS_MAX: usize = 1 << 20;
/// How long a node may be silent.
const SILENCE_NS: u64 = 1_000_000_000;
/// How often the counters are told at most, however many ask.
const ANSWER_NS: u64 = 1_000_000_000;

/// One shard's way out of a node.
#[derive(Debug)]
pub struct RelaySender {
    boot: u64,
    shards: u16,
    /// When the clock that the times come from stood at 0, ms of UTC.
    clock_starts_ms: u64,
    number: u64,
    missed: u64,
    /// Whether `missed` has grown since the last batch.
    has_missed: bool,
    /// Whether frames were lost since the last batch.
    has_lost: bool,
    builder: Builder,
    /// By the order in which they came, so that an answer can be given in parts.
    topics: Vec<(Box<str>, u64)>,
    topics_max: usize,
    index: HashMap<Box<str>, usize>,
    /// The topic that an answer goes on with.
    answering: Option<usize>,
    is_asked: bool,
    answered_ns: Option<u64>,
    sent_ns: u64,
}

impl RelaySender {
    /// The sender of a node called `node` that has just begun, in a domain of so many shards.
    #[must_use]
    pub fn new(boot: u64, node: &str, shards: u16) -> Self {
        Self {
            boot,
            shards,
            clock_starts_ms: 0,
            number: 0,
            missed: 0,
            has_missed: false,
            has_lost: false,
            builder: Builder::new(node),
            topics: Vec::new(),
            topics_max: TOPICS_MAX,
            index: HashMap::new(),
            answering: None,
            is_asked: false,
            answered_ns: None,
            sent_ns: 0,
        }
    }

    /// Says when the clock stood at 0, in UTC.
    #[must_use]
    pub fn with_clock(self, clock_starts_ms: u64) -> Self {
        Self { clock_starts_ms, ..self }
    }

    /// The life of the node, in its batches.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Whether there are so many topics that a new life has to begin.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.topics.len() >= self.topics_max
    }

    /// Puts a frame into the next batch, whose counter is filled in. Answers the batch before it,
    /// where that had no room for it.
    pub fn push(&mut self, frame: &Frame<'_>, now_ns: u64) -> Option<Bytes> {
        let counter = self.count(frame.topic);
        let has_room = self.builder.has_room(frame.topic.len(), frame.payload.len());
        let full = if has_room { None } else { Some(self.seal(Note::Frames, now_ns)) };
        self.builder.push(&Frame { counter, ..*frame });
        full
    }

    /// Counts a frame that will not be sent. The next batch skips a number, so that the others ask
    /// for what they missed. A new topic for which there is no room is told as one that is not
    /// known: so much may be lost before the others can be told.
    pub fn lose(&mut self, topic: &str) {
        if self.is_worn() && !self.index.contains_key(topic) {
            return self.missed(1);
        }
        self.count(topic);
        self.has_lost = true;
    }

    fn count(&mut self, topic: &str) -> u64 {
        let at = match self.index.get(topic) {
            Some(&at) => at,
            None => {
                self.topics.push((topic.into(), 0));
                self.index.insert(topic.into(), self.topics.len() - 1);
                self.topics.len() - 1
            }
        };
        self.topics[at].1 += 1;
        self.topics[at].1
    }

    /// Frames that were lost before their topics were known.
    pub fn missed(&mut self, frames: u64) {
        self.missed = self.missed.saturating_add(frames);
        self.has_missed = true;
    }

    /// What waits to be sent, if anything does.
    pub fn flush(&mut self, now_ns: u64) -> Option<Bytes> {
        (!self.builder.is_empty()).then(|| self.seal(Note::Frames, now_ns))
    }

    /// The question for another node's counters. What waits is to be flushed before.
    pub fn ask(&mut self, boot: u64, now_ns: u64) -> Bytes {
        debug_assert!(self.builder.is_empty());
        self.seal(Note::Ask { boot }, now_ns)
    }

    /// Somebody asks for the counters.
    pub fn was_asked(&mut self) {
        self.is_asked = true;
    }

    /// Part of an answer, word of a loss, or a sign of life, where one is due. What waits is to be
    /// flushed before.
    pub fn tick(&mut self, now_ns: u64) -> Option<Bytes> {
        debug_assert!(self.builder.is_empty());
        let may_answer = self.answered_ns.is_none_or(|at| now_ns >= at + ANSWER_NS);
        if self.is_asked && may_answer {
            self.is_asked = false;
            self.answered_ns = Some(now_ns);
            self.answering = Some(0);
        }
        if let Some(from) = self.answering {
            return Some(self.answer(from, now_ns));
        }
        let is_untold = self.number == 0 || self.has_lost || self.has_missed;
        let is_due = is_untold || now_ns >= self.sent_ns + SILENCE_NS;
        is_due.then(|| self.seal(Note::Frames, now_ns))
    }

    /// When [`tick`](Self::tick) has something, if nothing else happens.
    #[must_use]
    pub fn wake_at_ns(&self) -> u64 {
        if self.answering.is_some() || self.number == 0 {
            return 0;
        }
        let silence = self.sent_ns + SILENCE_NS;
        let answer = self.answered_ns.map_or(0, |at| at + ANSWER_NS);
        if self.is_asked { silence.min(answer) } else { silence }
    }

    fn answer(&mut self, from: usize, now_ns: u64) -> Bytes {
        let mut next = from;
        for (topic, counter) in &self.topics[from..] {
            if !self.builder.has_room(topic.len(), 0) {
                break;
            }
            let counter = *counter;
            let (kind, is_bridged) = (Kind::Text, false);
            self.builder.push(&Frame { topic, kind, is_bridged, counter, payload: &[] });
            next += 1;
        }
        let is_last = next == self.topics.len();
        self.answering = (!is_last).then_some(next);
        self.seal(Note::Counters { is_last }, now_ns)
    }

    fn seal(&mut self, note: Note, now_ns: u64) -> Bytes {
        self.number += 1 + u64::from(std::mem::take(&mut self.has_lost));
        self.has_missed = false;
        self.sent_ns = now_ns;
        let id = BatchId { boot: self.boot, number: self.number };
        let (missed, shards) = (self.missed, self.shards);
        let made_ms = self.clock_starts_ms + now_ns / 1_000_000;
        let (previous, previous_at, epoch) = (0, 0, 0);
        self.builder.seal(&Head { id, previous, previous_at, missed, epoch, made_ms, shards, note })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::batch::{Batch, FRAMES_MAX};

    const S: u64 = 1_000_000_000;

    fn push(sender: &mut RelaySender, topic: &str, now_ns: u64) -> Option<Bytes> {
        let (kind, is_bridged) = (Kind::Text, false);
        sender.push(&Frame { topic, kind, is_bridged, counter: 0, payload: b"x" }, now_ns)
    }

    fn counters(bytes: Bytes) -> Vec<(String, u64)> {
        let batch = Batch::decode(bytes).unwrap();
        batch.frames().map(|frame| (frame.topic.to_owned(), frame.counter)).collect()
    }

    #[test]
    fn frames_are_counted_by_topic_whether_they_are_sent_or_not() {
        let mut sender = RelaySender::new(1, "n", 1);
        for topic in ["a", "b", "a"] {
            assert_eq!(push(&mut sender, topic, 0), None);
        }
        let sent = counters(sender.flush(0).unwrap());
        assert_eq!(sent, [("a".into(), 1), ("b".into(), 1), ("a".into(), 2)]);
        assert_eq!(sender.flush(0), None);
        sender.lose("a");
        push(&mut sender, "a", 0);
        let after = sender.flush(0).unwrap();
        assert_eq!(Batch::decode(after.clone()).unwrap().head().id.number, 3, "2 is missed");
        assert_eq!(counters(after), [("a".into(), 4)]);
    }

    #[test]
    fn what_is_lost_while_nobody_can_be_told_has_a_bound_and_is_told_at_once() {
        let mut sender = RelaySender::new(1, "n", 1);
        sender.topics_max = 2;
        sender.tick(0);
        for topic in ["a", "b", "c", "d", "a"] {
            sender.lose(topic);
        }
        assert_eq!((sender.topics.len(), sender.is_worn()), (2, true));
        let told = Batch::decode(sender.tick(1).unwrap()).unwrap();
        assert_eq!((told.head().id.number, told.head().missed), (3, 2));
        assert_eq!(sender.tick(2), None, "once");
        sender.was_asked();
        let answer = counters(sender.tick(3).unwrap());
        assert_eq!(answer, [("a".into(), 2), ("b".into(), 1)]);
    }

    #[test]
    fn a_full_batch_leaves_by_itself() {
        let mut sender = RelaySender::new(1, "n", 1);
        let full = (0..=FRAMES_MAX).find_map(|_| push(&mut sender, "a", 0)).unwrap();
        assert_eq!(counters(full).len(), FRAMES_MAX);
        assert_eq!(counters(sender.flush(0).unwrap()), [("a".into(), FRAMES_MAX as u64 + 1)]);
    }

    #[test]
    fn a_silent_node_says_that_it_is_there() {
        let mut sender = RelaySender::new(1, "n", 1);
        assert_eq!(sender.wake_at_ns(), 0);
        assert!(sender.tick(0).is_some(), "so that the others meet it at its first batch");
        assert_eq!((sender.tick(S - 1), sender.wake_at_ns()), (None, S));
        let sign = Batch::decode(sender.tick(S).unwrap()).unwrap();
        assert_eq!((sign.len(), sign.head().id.number), (0, 2));
    }

    #[test]
    fn counters_are_told_in_parts_and_not_more_often_than_need_be() {
        let mut sender = RelaySender::new(1, "n", 1);
        let topics = FRAMES_MAX + 10;
        for i in 0..topics {
            sender.count(&format!("t/{i}"));
        }
        sender.tick(0);
        sender.was_asked();
        let parts: Vec<Batch> = std::iter::from_fn(|| sender.tick(1))
            .map(|bytes| Batch::decode(bytes).unwrap())
            .collect();
        assert_eq!(parts.iter().map(Batch::len).sum::<usize>(), topics);
        let notes: Vec<Note> = parts.iter().map(|part| part.head().note).collect();
        let last = [false, true].map(|is_last| Note::Counters { is_last });
        assert_eq!(notes, last);
        sender.was_asked();
        assert_eq!((sender.tick(2), sender.wake_at_ns()), (None, 1 + S));
        assert!(sender.tick(1 + S).is_some());
    }
}
