//! A feed: an ordered stream with one numbering, kept in one lane per encoding in use. Owns the
//! lock under which frames get their `seq`, who must be rung, and what is retained. Must not know
//! sockets or clocks; `now_ns` is handed in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::doorbell::{Doorbell, Tap};
use crate::epoch::Epoch;
use crate::feed::cursor::Cursor;
use crate::feed::lag::{Gap, GapReason};
use crate::feed::lane::{LaneKind, LaneReader, LaneWriter, Message};
use crate::feed::pattern::Target;
use crate::feed::retention::Retention;
use crate::feed::segment::LogBudget;
use crate::frame::encode;
use crate::subscription::From;

/// An ordered stream of frames.
#[derive(Debug)]
pub struct Feed {
    target: Target,
    epoch: Epoch,
    retention: Retention,
    budget: Arc<LogBudget>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    raw: OpenLane,
    /// Encodings beside the log; each is here while somebody uses it.
    derived: Vec<OpenLane>,
    /// Pattern feeds that repeat this topic.
    repeats: Vec<Arc<Feed>>,
    subscribers: u32,
    last_publish_ns: u64,
    left_ns: u64,
    closed: bool,
}

#[derive(Debug)]
struct OpenLane {
    writer: LaneWriter,
    taps: Vec<Arc<Tap>>,
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Sequence number the message got.
    pub seq: u64,
    /// Subscribers it is for, those of matching patterns included.
    pub subscribers: u64,
    /// Encodings made of it, in the topic and in every pattern that repeats it.
    pub encodes: u32,
    /// True when cores are so far behind that the publisher should wait before the next message.
    pub behind: bool,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The feed was retired since it was looked up; look it up again.
    #[error("the feed was retired: look it up again")]
    Closed,
    /// The log budget of the engine is used up.
    #[error("the engine's log memory is used up (memory.log_bytes_max)")]
    OverBudget,
}

/// A place in a lane, ready to be read.
#[derive(Debug)]
pub struct Subscribed {
    /// Where to begin.
    pub cursor: Cursor,
    /// What the subscriber asked for and cannot get.
    pub gap: Option<Gap>,
}

/// A core's way into a lane.
#[derive(Debug)]
pub struct Opened {
    /// The core's own view of the lane.
    pub reader: LaneReader,
    /// The core's tap, by which the feed rings it.
    pub tap: Arc<Tap>,
}

impl Feed {
    /// An empty feed whose first frame will be number 1.
    pub fn new(
        target: Target,
        epoch: Epoch,
        retention: Retention,
        budget: &Arc<LogBudget>,
        now_ns: u64,
    ) -> Self {
        let raw = OpenLane::new(LaneWriter::new(LaneKind::Raw, 1, &retention, budget));
        let state = State {
            raw,
            derived: Vec::new(),
            repeats: Vec::new(),
            subscribers: 0,
            last_publish_ns: now_ns,
            left_ns: now_ns,
            closed: false,
        };
        Self { target, epoch, retention, budget: Arc::clone(budget), state: Mutex::new(state) }
    }

    /// The topic, or the pattern whose topics' frames it repeats in the order of publishing.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The incarnation of this numbering.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What is kept, and the default for those left behind.
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Numbers `message`, encodes it once per open lane, publishes it and rings the cores that have
    /// subscribers; then the same for every pattern that repeats this topic.
    ///
    /// The topic stays locked meanwhile, so a topic's frames keep their order in every pattern.
    /// Patterns are always locked after topics, never the other way round.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published then.
    pub fn publish(&self, message: Message<'_>, now_ns: u64) -> Result<Published, PublishError> {
        let mut state = self.lock();
        if state.closed {
            return Err(PublishError::Closed);
        }
        if self.budget.would_pass(message.payload.len() as u64 + u64::from(u16::MAX)) {
            state.compact();
            return Err(PublishError::OverBudget);
        }
        let mut published = self.append(&mut state, message, now_ns);
        state.repeats.retain(|feed| match feed.repeat(message, now_ns) {
            Some(repeated) => {
                published.subscribers += repeated.subscribers;
                published.encodes += repeated.encodes;
                published.behind |= repeated.behind;
                true
            }
            None => false,
        });
        Ok(published)
    }

    /// Appends a topic's frame to this pattern feed; none once the feed is closed.
    fn repeat(&self, message: Message<'_>, now_ns: u64) -> Option<Published> {
        let mut state = self.lock();
        (!state.closed).then(|| self.append(&mut state, message, now_ns))
    }

    fn append(&self, state: &mut State, message: Message<'_>, now_ns: u64) -> Published {
        let retention = self.effective_retention();
        let seq = state.raw.writer.head().seq;
        state.last_publish_ns = now_ns;
        let mut behind = false;
        for lane in std::iter::once(&mut state.raw).chain(&mut state.derived) {
            lane.writer.append(self.epoch, message);
            lane.writer.retain(&retention, now_ns);
            behind |= lane.is_behind(&retention);
            lane.taps.iter().for_each(|tap| tap.mark(now_ns));
        }
        let encodes = 1 + state.derived.len() as u32;
        Published { seq, subscribers: u64::from(state.subscribers), encodes, behind }
    }

    fn effective_retention(&self) -> Retention {
        if self.budget.is_tight() { self.retention.last_frame_only() } else { self.retention }
    }

    /// Opens `kind` for the core behind `doorbell`, which will know the lane as `lane_key`. A lane
    /// that nobody used yet is encoded from the log first. None when the feed is closed.
    pub fn open(&self, kind: LaneKind, doorbell: &Arc<Doorbell>, lane_key: u32) -> Option<Opened> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let epoch = self.epoch;
        let (retention, budget) = (&self.retention, &self.budget);
        let lane = state.lane_or_open(kind, |log| backfill(kind, epoch, retention, budget, log));
        let tap = Arc::new(Tap::new(Arc::clone(doorbell), lane_key));
        let reader = lane.writer.reader();
        tap.set_swept(reader.head().pos, reader.head().seq);
        lane.taps.push(Arc::clone(&tap));
        Some(Opened { reader, tap })
    }

    /// Gives up what [`open`](Self::open) gave.
    pub fn shut(&self, kind: LaneKind, tap: &Arc<Tap>) {
        let mut state = self.lock();
        if let Some(lane) = state.lane(kind) {
            lane.taps.retain(|held| !Arc::ptr_eq(held, tap));
        }
        state.derived.retain(|lane| !lane.taps.is_empty());
    }

    /// Counts a subscriber in.
    pub fn joined(&self) {
        self.lock().subscribers += 1;
    }

    /// Counts a subscriber out.
    pub fn left(&self, now_ns: u64) {
        let mut state = self.lock();
        debug_assert!(state.subscribers > 0);
        state.subscribers = state.subscribers.saturating_sub(1);
        state.left_ns = now_ns;
    }

    /// Where a subscriber that asks for `from` begins in `reader`, a fresh view of a lane of this
    /// feed, and what it cannot get.
    pub fn place(&self, reader: &LaneReader, from: &From) -> Subscribed {
        match *from {
            From::Latest => Subscribed { cursor: reader.latest(), gap: None },
            From::Last => Subscribed { cursor: reader.newest(), gap: None },
            From::Oldest => Subscribed { cursor: reader.oldest(), gap: None },
            From::After { epoch, seq } if epoch == self.epoch => place_after(reader, seq),
            From::After { .. } => place_in_other_epoch(reader),
        }
    }

    /// Has `feed`, a pattern that matches, repeat this topic from now on.
    pub fn add_repeat(&self, feed: &Arc<Feed>) {
        self.lock().repeats.push(Arc::clone(feed));
    }

    /// Housekeeping, about once a second: retention by age, and the memory of a feed that has been
    /// idle for `idle_ns`.
    pub fn tidy(&self, now_ns: u64, idle_ns: u64) {
        let retention = self.effective_retention();
        let state = &mut *self.lock();
        state.repeats.retain(|feed| !feed.is_closed());
        let idle = now_ns.saturating_sub(state.last_publish_ns) >= idle_ns;
        for lane in std::iter::once(&mut state.raw).chain(&mut state.derived) {
            let moved = lane.writer.retain(&retention, now_ns);
            // Readers are rung so that they let go of the memory as well.
            if moved | (idle && lane.writer.compact()) {
                lane.taps.iter().for_each(|tap| tap.mark(now_ns));
            }
        }
    }

    /// True when nobody subscribes, nobody did within `idle_ns`, and a topic was not published to
    /// either. (A pattern is published to by its topics: that alone keeps nothing alive.)
    pub fn is_unused(&self, now_ns: u64, idle_ns: u64) -> bool {
        self.lock().is_unused(self.is_topic(), now_ns, idle_ns)
    }

    /// Retires the feed if it [is unused](Self::is_unused). A publisher that still holds it is told
    /// to look it up again.
    pub fn close_if_unused(&self, now_ns: u64, idle_ns: u64) -> bool {
        let mut state = self.lock();
        state.closed |= state.is_unused(self.is_topic(), now_ns, idle_ns);
        state.closed
    }

    fn is_topic(&self) -> bool {
        matches!(self.target, Target::Topic(_))
    }

    /// True once the feed has been retired.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A publisher that panicked left whole frames behind: the log is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, kind: LaneKind) -> Option<&mut OpenLane> {
        std::iter::once(&mut self.raw)
            .chain(&mut self.derived)
            .find(|lane| lane.writer.kind() == kind)
    }

    fn lane_or_open(
        &mut self,
        kind: LaneKind,
        backfill: impl FnOnce(&LaneWriter) -> LaneWriter,
    ) -> &mut OpenLane {
        if kind == LaneKind::Raw {
            return &mut self.raw;
        }
        let index = self.derived.iter().position(|lane| lane.writer.kind() == kind);
        let index = index.unwrap_or_else(|| {
            self.derived.push(OpenLane::new(backfill(&self.raw.writer)));
            self.derived.len() - 1
        });
        &mut self.derived[index]
    }

    fn is_unused(&self, is_topic: bool, now_ns: u64, idle_ns: u64) -> bool {
        let used_ns = if is_topic { self.last_publish_ns.max(self.left_ns) } else { self.left_ns };
        let tapped = !self.raw.taps.is_empty() || !self.derived.is_empty();
        self.subscribers == 0 && !tapped && now_ns.saturating_sub(used_ns) >= idle_ns
    }

    fn compact(&mut self) {
        self.raw.writer.compact();
        self.derived.iter_mut().for_each(|lane| {
            lane.writer.compact();
        });
    }
}

impl OpenLane {
    fn new(writer: LaneWriter) -> Self {
        Self { writer, taps: Vec::new() }
    }

    /// True when some core has not yet swept half of what retention allows: one more such stretch
    /// and a subscriber that keeps up would be lapped through no fault of its own.
    fn is_behind(&self, retention: &Retention) -> bool {
        let head = self.writer.head();
        self.taps.iter().any(|tap| {
            let (pos, seq) = tap.swept();
            head.pos.saturating_sub(pos) > retention.bytes_max / 2
                || head.seq.saturating_sub(seq) > retention.frames_max / 2
        })
    }
}

/// A new lane holding what the log holds, in encoding `kind`.
fn backfill(
    kind: LaneKind,
    epoch: Epoch,
    retention: &Retention,
    budget: &Arc<LogBudget>,
    log: &LaneWriter,
) -> LaneWriter {
    let reader = log.reader();
    let mut at = reader.oldest();
    let mut lane = LaneWriter::new(kind, at.seq, retention, budget);
    while at.seq < reader.head().seq {
        let next = reader.after(at);
        reader.slices(at.frame_pos, |slice| {
            let frame = &slice[..(next.frame_pos - at.frame_pos) as usize];
            if let Some((kind, payload)) = encode::message(frame) {
                lane.append(epoch, Message { kind, payload });
            }
            false
        });
        at = next;
    }
    lane
}

fn place_after(reader: &LaneReader, seq: u64) -> Subscribed {
    let oldest = reader.oldest();
    if seq >= reader.head().seq {
        // A position this feed has not reached cannot have been handed out by it.
        return Subscribed { cursor: reader.latest(), gap: None };
    }
    let missed = Gap { from: seq + 1, to: oldest.seq.wrapping_sub(1), reason: GapReason::Expired };
    let gap = (seq + 1 < oldest.seq).then_some(missed);
    Subscribed { cursor: reader.at_seq(seq + 1), gap }
}

/// What lay between two epochs cannot be known: frame 0, which never exists, stands for it.
fn place_in_other_epoch(reader: &LaneReader) -> Subscribed {
    let cursor = reader.oldest();
    let gap = Gap { from: 0, to: cursor.seq - 1, reason: GapReason::Epoch };
    Subscribed { cursor, gap: Some(gap) }
}
