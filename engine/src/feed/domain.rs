//! A domain: nodes whose feeds are numbered by one log. Owns its epoch, how far this node has
//! applied the log, and the newest messages of it, from which feeds that are made later are filled.
//! Must not know how the log is reached, nor apply anything (that is `registry`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::feed::epoch::{Epoch, Position};
use crate::feed::positions::{BATCH_FRAMES_MAX, SEQUENCE_MAX, in_log};
use crate::feed::source::Source;
use crate::feed::topic::Topic;
use crate::frame::Kind;

/// Bytes of the newest messages that are kept, and their frames: a second or two of a busy domain,
/// and little enough for a new pattern to be compared with all of them within a turn.
const RECENT_BYTES_MAX: usize = 16 << 20;
const RECENT_FRAMES_MAX: usize = 64 << 10;
/// What a frame costs beside its payload.
const FRAME_BYTES: usize = size_of::<LogFrame>();

/// One frame of a message of the log, or one that is to become a part of it.
#[derive(Clone, Debug)]
pub struct LogFrame {
    /// The topic it was published to.
    pub topic: Topic,
    /// Text or binary, as published.
    pub kind: Kind,
    /// Which way it came in.
    pub source: Source,
    /// The publisher's bytes; from the log, a part of the message, which is shared.
    pub payload: Bytes,
}

/// One message of the log.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// Its number in the log.
    pub sequence: u64,
    /// What it carries, in order.
    pub frames: Arc<[LogFrame]>,
}

/// What became of a message of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Frames that were published.
    pub frames: u64,
    /// Frames that this node had already.
    pub repeated: u64,
    /// Frames that this node has no room for: their followers were told.
    pub unkept: u64,
    /// Encodings made of them, and how often something was deflated for them.
    pub encodes: u32,
    /// See there.
    pub deflates: u32,
}

/// Why a message of the log was not applied, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The log budget of the engine is used up: apply the same message again in a moment.
    #[error("the engine's log memory is used up (memory.log_bytes_max): apply it again later")]
    OverBudget,
    /// More frames than a position can tell apart.
    #[error("a message of the log has at most {BATCH_FRAMES_MAX} frames, this one has {0}")]
    TooLong(usize),
    /// A number of a message beyond what a position can hold.
    #[error("messages of the log have numbers up to {SEQUENCE_MAX}, this one has {0}")]
    TooFar(u64),
    /// The engine publishes by itself.
    #[error("this engine was not started for a log")]
    NoLog,
}

/// See the file header.
#[derive(Debug)]
pub struct Domain {
    epoch: AtomicU64,
    /// The message that was applied last; 0 before the first.
    applied: AtomicU64,
    /// The position up to which this node knows nothing.
    floor: AtomicU64,
    /// The position up to which frames may have been forgotten with their topic.
    forgotten: AtomicU64,
    recent: Mutex<Recent>,
    /// Held while a message is applied, so that all are in order.
    applying: Mutex<()>,
}

#[derive(Debug, Default)]
struct Recent {
    batches: VecDeque<LogBatch>,
    bytes: usize,
    frames: usize,
    /// The last message that is kept no more.
    given_up: u64,
    /// Topics that were forgotten, though frames of theirs are kept here; the last one's position.
    forgotten: BTreeMap<Topic, u64>,
}

impl Domain {
    /// Of which this node has applied nothing yet.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch: AtomicU64::new(epoch.0),
            applied: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            recent: Mutex::default(),
            applying: Mutex::default(),
        }
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Has it begin another epoch. To be called while nothing is [applied](Self::apply_alone).
    pub fn begin(&self, epoch: Epoch) {
        *self.recent() = Recent::default();
        self.applied.store(0, Ordering::Release);
        self.floor.store(0, Ordering::Release);
        self.forgotten.store(0, Ordering::Release);
        self.epoch.store(epoch.0, Ordering::Release);
    }

    /// The message that was applied last; 0 before the first.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// True while this node has not applied the message that a position of this epoch lies in.
    #[must_use]
    pub fn is_behind(&self, position: Position) -> bool {
        let reached = in_log(self.applied(), BATCH_FRAMES_MAX - 1);
        position.epoch == self.epoch() && position.seq > reached
    }

    /// The position up to which this node knows nothing of any feed.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// The position up to which nothing is known of a topic that this node makes a feed for, and
    /// whether frames of it are kept here.
    #[must_use]
    pub fn floor_of(&self, topic: &Topic) -> (u64, bool) {
        let recent = self.recent();
        let is_kept = recent.forgotten.contains_key(topic);
        let forgotten = match is_kept {
            true => recent.floor(),
            false => self.forgotten.load(Ordering::Acquire),
        };
        (forgotten.max(self.floor()), is_kept)
    }

    /// The position before the oldest message that is kept.
    #[must_use]
    pub fn recent_floor(&self) -> u64 {
        self.recent().floor().max(self.floor())
    }

    /// Notes that the feed of a topic is no more, whose last frame had this position.
    pub fn forget(&self, topic: &Topic, last: u64) {
        let mut recent = self.recent();
        if last > recent.floor() {
            recent.forgotten.insert(topic.clone(), last);
        } else {
            self.forgotten.fetch_max(last, Ordering::AcqRel);
        }
    }

    /// Held while a message is applied, or the epoch changes.
    pub fn apply_alone(&self) -> MutexGuard<'_, ()> {
        self.applying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a message that is about to be applied. Answers false when it was applied already.
    pub fn keep(&self, batch: &LogBatch) -> bool {
        if batch.sequence <= self.applied() {
            return false;
        }
        let mut recent = self.recent();
        if recent.is_empty() {
            // What came before this node looked at the log, it cannot know.
            let before = in_log(batch.sequence, 0).saturating_sub(1);
            self.floor.fetch_max(before, Ordering::AcqRel);
        }
        let forgotten = recent.keep(batch);
        self.forgotten.fetch_max(forgotten, Ordering::AcqRel);
        true
    }

    /// Notes that the messages up to `sequence` will never be applied here.
    pub fn lose(&self, sequence: u64) {
        let mut recent = self.recent();
        *recent = Recent { given_up: sequence, ..Recent::default() };
        self.floor.fetch_max(recent.floor(), Ordering::AcqRel);
        self.has_applied(sequence);
    }

    /// Notes that a message has been applied.
    pub fn has_applied(&self, sequence: u64) {
        self.applied.fetch_max(sequence, Ordering::AcqRel);
    }

    /// The messages that are kept and follow `sequence`, the oldest first, and the position up to
    /// which nothing is kept.
    #[must_use]
    pub fn since(&self, sequence: u64) -> (u64, Vec<LogBatch>) {
        let recent = self.recent();
        let from = recent.batches.partition_point(|batch| batch.sequence <= sequence);
        (recent.floor(), recent.batches.iter().skip(from).cloned().collect())
    }

    /// The newest message that is kept; 0 where there is none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.recent().newest()
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.given_up == 0
    }

    fn newest(&self) -> u64 {
        self.batches.back().map_or(self.given_up, |batch| batch.sequence)
    }

    fn floor(&self) -> u64 {
        match self.batches.front() {
            Some(oldest) => in_log(oldest.sequence, 0).saturating_sub(1),
            None => in_log(self.given_up, BATCH_FRAMES_MAX - 1),
        }
    }

    /// Keeps a message, and gives up the oldest. Answers the last position of topics that nothing
    /// is kept of any more.
    fn keep(&mut self, batch: &LogBatch) -> u64 {
        if batch.sequence > self.newest() {
            self.frames += batch.frames.len();
            self.bytes += bytes_of(batch);
            self.batches.push_back(batch.clone());
        }
        let mut gives_up = false;
        while self.bytes > RECENT_BYTES_MAX || self.frames > RECENT_FRAMES_MAX {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.frames -= oldest.frames.len();
            self.bytes -= bytes_of(&oldest);
            self.given_up = oldest.sequence;
            gives_up = true;
        }
        if gives_up && !self.forgotten.is_empty() { self.forget_passed() } else { 0 }
    }

    fn forget_passed(&mut self) -> u64 {
        let (floor, mut last) = (self.floor(), 0);
        self.forgotten.retain(|_, position| {
            let stays = *position > floor;
            last = if stays { last } else { last.max(*position) };
            stays
        });
        last
    }
}

fn bytes_of(batch: &LogBatch) -> usize {
    batch.frames.iter().map(|frame| frame.payload.len() + FRAME_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sequence: u64, count: usize, bytes: usize) -> LogBatch {
        let topic = Topic::new("a").unwrap();
        let payload = Bytes::from(vec![0; bytes]);
        let frame = LogFrame { topic, kind: Kind::Binary, source: Source::CLIENTS, payload };
        LogBatch { sequence, frames: vec![frame; count].into() }
    }

    #[test]
    fn only_the_newest_messages_are_kept() {
        let domain = Domain::new(Epoch(1));
        for sequence in 10..60 {
            assert!(domain.keep(&batch(sequence, 4, 1 << 18)));
            domain.has_applied(sequence);
        }
        assert_eq!((domain.newest(), domain.applied()), (59, 59));
        let (floor, kept) = domain.since(0);
        assert!(kept.len() > 10 && kept.len() <= 16, "{}", kept.len());
        assert_eq!([floor, domain.recent_floor()], [in_log(kept[0].sequence, 0) - 1; 2]);
        assert_eq!(domain.floor(), in_log(10, 0) - 1, "what came before it was there");
        assert!(!domain.keep(&batch(59, 1, 1)), "applied already");
        assert_eq!(domain.since(58).1.len(), 1);
    }

    #[test]
    fn a_topic_that_was_forgotten_is_known_while_its_frames_are_kept() {
        let domain = Domain::new(Epoch(1));
        let topic = Topic::new("a").unwrap();
        domain.keep(&batch(1, 1, 1));
        domain.forget(&topic, in_log(1, 0));
        assert_eq!(domain.floor_of(&topic), (in_log(1, 0) - 1, true));
        for sequence in 2..40 {
            domain.keep(&batch(sequence, 1, 1 << 20));
        }
        assert_eq!(domain.floor_of(&topic), (in_log(1, 0), false));
    }

    #[test]
    fn frames_have_a_bound_as_well() {
        let domain = Domain::new(Epoch(1));
        (1..40).for_each(|sequence| assert!(domain.keep(&batch(sequence, BATCH_FRAMES_MAX, 0))));
        let frames: usize = domain.since(0).1.iter().map(|batch| batch.frames.len()).sum();
        assert!(frames <= RECENT_FRAMES_MAX);
    }
}
