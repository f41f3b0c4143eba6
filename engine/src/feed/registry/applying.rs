//! What a log brings is applied here: in its order, each message once. Owns that a feed which is
//! made meanwhile misses nothing and gets nothing twice, and that every loss is told. Must not know
//! how the log is reached.
//!
//! # Why a feed that is made late misses nothing
//! A message is kept among the newest *before* its frames are published. A pattern is wired to its
//! topics first, then filled from the messages that are kept; what is published meanwhile it leaves
//! out, because it is kept as well. It begins to take in what is published once it has all of that,
//! which is found out under its lock. What it is brought again then it knows by its position.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delivery::doorbell::Behind;
use crate::feed::domain::{Applied, ApplyError, Domain, LogBatch, LogFrame};
use crate::feed::epoch::Epoch;
use crate::feed::gap::GapReason;
use crate::feed::log::Feed;
use crate::feed::log::interruption::Loss;
use crate::feed::message::{Message, Origin};
use crate::feed::positions::{BATCH_FRAMES_MAX, SEQUENCE_MAX, Wanted, in_log};
use crate::feed::registry::{FeedError, Registry};
use crate::feed::topic::Topic;

impl LogFrame {
    fn message(&self) -> Message<'_> {
        Message { kind: self.kind, payload: &self.payload, source: self.source }
    }
}

impl Registry {
    /// The domain, where a log numbers all frames.
    pub fn domain(&self) -> Option<&Arc<Domain>> {
        self.domain.as_ref()
    }

    /// Publishes the frames of a message of the log. What was published before is left out, so that
    /// a message which could not be applied to its end is applied again as a whole. A core that is
    /// too far behind with it is handed to `behind`.
    ///
    /// # Errors
    /// [`ApplyError`]; some of the frames may have been published then.
    pub fn apply(
        &self,
        batch: &LogBatch,
        now_ns: u64,
        mut behind: impl FnMut(Behind),
    ) -> Result<Applied, ApplyError> {
        let domain = self.domain.as_ref().ok_or(ApplyError::NoLog)?;
        if batch.frames.len() > BATCH_FRAMES_MAX {
            return Err(ApplyError::TooLong(batch.frames.len()));
        }
        if batch.sequence > SEQUENCE_MAX {
            return Err(ApplyError::TooFar(batch.sequence));
        }
        let alone = domain.apply_alone();
        let mut applied = Applied::default();
        if !domain.keep(batch) {
            return Ok(Applied { repeated: batch.frames.len() as u64, ..applied });
        }
        for (index, frame) in batch.frames.iter().enumerate() {
            let position = in_log(batch.sequence, index);
            self.apply_one(frame, (position, now_ns), &mut applied, &mut behind)?;
        }
        domain.has_applied(batch.sequence);
        drop(alone);
        Ok(applied)
    }

    fn apply_one(
        &self,
        frame: &LogFrame,
        (position, now_ns): (u64, u64),
        applied: &mut Applied,
        behind: &mut impl FnMut(Behind),
    ) -> Result<(), ApplyError> {
        let place = (Wanted::Exactly(position), now_ns);
        match self.publish_as(&frame.topic, &mut None, frame.message(), place) {
            Ok(published) => {
                applied.repeated += u64::from(published.is_repeated);
                applied.frames += u64::from(!published.is_repeated);
                applied.encodes += published.encodes;
                applied.deflates += published.deflates;
                published.behind.into_iter().for_each(&mut *behind);
                Ok(())
            }
            Err(FeedError::OverBudget) => Err(ApplyError::OverBudget),
            Err(_) => {
                // There is no room for one topic more: those who follow it by a pattern are told.
                applied.unkept += 1;
                let loss = Loss::up_to(position, Some(1), GapReason::Expired);
                self.tell_patterns(&frame.topic, loss, now_ns);
                Ok(())
            }
        }
    }

    /// Tells whoever follows a topic, by itself or by a pattern, of a loss.
    pub fn tell(&self, topic: &Topic, loss: Loss, now_ns: u64) {
        let known = self.read().topics.get(topic).cloned();
        match known {
            Some(feed) => feed.tell(loss, now_ns),
            None => self.tell_patterns(topic, loss, now_ns),
        }
    }

    fn tell_patterns(&self, topic: &Topic, loss: Loss, now_ns: u64) {
        let mut next = 0;
        loop {
            let before = next;
            let matching = self.read().some_matching(topic, &mut next);
            let told = matching.iter().filter(|feed| feed.name().rate.is_none());
            told.for_each(|feed| feed.tell_alone(loss, now_ns));
            if next == before {
                return;
            }
        }
    }

    /// Tells whoever follows anything of a loss that is not known by topic.
    pub fn tell_all(&self, loss: Loss, now_ns: u64) {
        self.each(|feed| {
            if feed.name().rate.is_none() {
                feed.tell_alone(loss, now_ns);
            }
        });
    }

    /// What the log had up to a message, and was not applied, never will be: whoever follows
    /// anything is told.
    pub fn lose(&self, to_sequence: u64, loss: Loss, now_ns: u64) {
        let Some(domain) = &self.domain else { return };
        let alone = domain.apply_alone();
        if to_sequence > domain.applied() {
            domain.lose(to_sequence);
            self.tell_all(loss, now_ns);
        }
        drop(alone);
    }

    /// Begins another epoch of the domain, and tells whoever follows anything.
    pub fn begin_epoch(&self, epoch: Epoch, now_ns: u64) {
        let Some(domain) = &self.domain else { return };
        let alone = domain.apply_alone();
        domain.begin(epoch);
        self.each(|feed| feed.begin_epoch(epoch, now_ns));
        drop(alone);
    }

    /// A feed that became known after the epoch changed was made before.
    pub(super) fn catch_up_with_epoch(&self, feed: &Feed, now_ns: u64) {
        if let Some(domain) = &self.domain {
            feed.begin_epoch(domain.epoch(), now_ns);
        }
    }

    fn each(&self, act: impl Fn(&Feed)) {
        let repeating: Vec<Arc<Feed>> = self.read().by_number.values().cloned().collect();
        repeating.iter().for_each(|feed| act(feed));
        let mut last = None;
        loop {
            let some = self.topics_after("", last.as_ref());
            some.iter().for_each(|(_, feed)| act(feed));
            match some.into_iter().last() {
                Some((topic, _)) => last = Some(topic),
                None => return,
            }
        }
    }

    /// Fills a topic that nobody finds yet with what is kept of it, if it was forgotten before.
    pub(super) fn fill_topic(&self, feed: &Feed, topic: &Topic, now_ns: u64) {
        let Some(domain) = &self.domain else { return };
        if !domain.floor_of(topic).1 {
            return;
        }
        let (floor, batches) = domain.since(0);
        feed.knows_nothing_up_to(floor, now_ns);
        for batch in batches {
            for (position, frame) in frames_of(&batch).filter(|(_, frame)| frame.topic == *topic) {
                feed.fill_with(frame.message(), None, position, now_ns);
            }
        }
    }

    /// Fills a pattern that is wired to its topics; nobody who asked for it is answered before.
    pub(super) fn fill_pattern(&self, feed: &Arc<Feed>, now_ns: u64) {
        let Some(domain) = &self.domain else { return };
        let (mut filled, mut origins) = (0, BTreeMap::new());
        while !feed.end_filling(|| domain.newest() <= filled) {
            let (floor, batches) = match filled {
                0 => needed(domain.since(0), feed),
                _ => domain.since(filled),
            };
            // At first that is where it begins; later, what was given up before it was seen.
            if floor > in_log(filled, BATCH_FRAMES_MAX) {
                feed.knows_nothing_up_to(floor, now_ns);
            }
            for batch in batches {
                for (position, frame) in frames_of(&batch) {
                    if feed.target().matches(&frame.topic) {
                        let origin = origins.entry(frame.topic.clone());
                        let origin = origin.or_insert_with(|| self.origin(feed, &frame.topic));
                        feed.fill_with(frame.message(), Some(origin), position, now_ns);
                    }
                }
                filled = batch.sequence;
            }
        }
    }

    /// What frames of a topic say they come from in `feed`.
    fn origin(&self, feed: &Feed, topic: &Topic) -> Arc<Origin> {
        let known = self.read().topics.get(topic).cloned();
        known.and_then(|known| known.origin_in(feed)).unwrap_or_else(|| {
            let (topic, pattern) = (topic.as_str().into(), feed.target().pattern().cloned());
            Arc::new(Origin { topic, pattern, number: self.number() })
        })
    }

    /// How many follow a topic, by itself or by patterns and rates.
    pub fn subscribers(&self, topic: &Topic) -> u64 {
        let known = self.read().topics.get(topic).cloned();
        known.map_or(0, |known| known.subscribers())
    }
}

/// Of the messages that are kept those that a feed needs: where it cannot retain all of it, only
/// the newest.
fn needed((floor, mut batches): (u64, Vec<LogBatch>), feed: &Feed) -> (u64, Vec<LogBatch>) {
    let (mut bytes, mut frames) = (0, 0);
    let retention = feed.retention();
    let older = batches.iter().rposition(|batch| {
        let is_enough = bytes > retention.bytes_max || frames > retention.frames_max;
        let matching = batch.frames.iter().filter(|frame| feed.target().matches(&frame.topic));
        for frame in matching.filter(|_| !is_enough) {
            bytes += frame.payload.len() as u64;
            frames += 1;
        }
        is_enough
    });
    let Some(older) = older else { return (floor, batches) };
    let floor = in_log(batches[older].sequence, BATCH_FRAMES_MAX - 1);
    batches.drain(..=older);
    (floor, batches)
}

fn frames_of(batch: &LogBatch) -> impl Iterator<Item = (u64, &LogFrame)> {
    let sequence = batch.sequence;
    batch.frames.iter().enumerate().map(move |(index, frame)| (in_log(sequence, index), frame))
}
