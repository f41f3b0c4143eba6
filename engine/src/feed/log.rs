//! A feed: an ordered stream with one numbering, kept in one lane per encoding in use. Owns the
//! lock under which frames get their `seq`, who must be rung, and what is retained. Must not know
//! sockets or clocks; `now_ns` is handed in.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::delivery::doorbell::{Doorbell, Tap};
use crate::feed::awaited::Ticket;
use crate::feed::backfill::{Backfill, Slice};
use crate::feed::epoch::Epoch;
use crate::feed::held::Held;
use crate::feed::kind::LaneKind;
use crate::feed::lane::{LaneWriter, NewestFrame};
use crate::feed::lane_reader::LaneReader;
use crate::feed::message::{Message, Origin, Place};
use crate::feed::open_lane::OpenLane;
use crate::feed::options::{From, Rate};
use crate::feed::placed::Subscribed;
use crate::feed::prepared::Prepared;
use crate::feed::published::{PublishError, Published};
use crate::feed::retention::Retention;
use crate::feed::segment::LogBudget;
use crate::feed::topic::Target;
use crate::frame::encode;

/// An ordered stream of frames.
#[derive(Debug)]
pub struct Feed {
    name: FeedName,
    epoch: Epoch,
    /// What frames say they come from where they do not name a topic of their own.
    own: Arc<Origin>,
    retention: Retention,
    budget: Arc<LogBudget>,
    /// Where the feed is rated, the topics that got something since the last instant of its grid.
    held: Held<Noted>,
    /// What publishers of rated feeds' topics look at without the lock.
    followers: AtomicU32,
    retired: AtomicBool,
    state: Mutex<State>,
}

/// A topic that a rated feed has to repeat at the next instant.
#[derive(Debug)]
struct Noted {
    topic: Arc<Feed>,
    origin: Arc<Origin>,
}

/// What tells one feed from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedName {
    /// The topic, or the pattern whose topics' frames it repeats.
    pub target: Target,
    /// Where set, only the newest frame of each topic is repeated, so many times a second.
    pub rate: Option<Rate>,
}

#[derive(Debug)]
struct State {
    raw: OpenLane,
    /// Encodings beside the log; each is here while somebody uses it.
    derived: Vec<OpenLane>,
    /// Pattern feeds and rated feeds that repeat this topic, in the order of their numbers.
    repeats: Vec<Repeat>,
    /// Of each retained frame where it comes from; only where that is not the feed's own topic.
    origins: VecDeque<Arc<Origin>>,
    /// Until the first message, where a subscription created the feed.
    awaited: Option<Box<Ticket>>,
    subscribers: u32,
    last_publish_ns: u64,
    left_ns: u64,
    closed: bool,
}

/// How long a topic that nobody published to outlives its last subscriber: names are free, so they
/// must not be kept like topics in use.
const AWAITED_LINGER_NS: u64 = 10_000_000_000;

#[derive(Debug)]
struct Repeat {
    feed: Arc<Feed>,
    origin: Arc<Origin>,
    /// Where the feed is rated: the instant at which it was last told of something new, and the
    /// number of the frame it last took.
    noted: u64,
    taken_seq: u64,
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
        name: FeedName,
        (epoch, number): (Epoch, u64),
        retention: Retention,
        budget: &Arc<LogBudget>,
        now_ns: u64,
    ) -> Self {
        let raw = OpenLane::new(LaneWriter::new(LaneKind::RAW, 1, &retention, budget));
        let state = State {
            raw,
            derived: Vec::new(),
            repeats: Vec::new(),
            origins: VecDeque::new(),
            awaited: None,
            subscribers: 0,
            last_publish_ns: now_ns,
            left_ns: now_ns,
            closed: false,
        };
        let own = Arc::new(Origin { topic: name.target.text(), pattern: None, number });
        let budget = Arc::clone(budget);
        Self {
            name,
            epoch,
            own,
            retention,
            budget,
            held: Held::default(),
            followers: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// The topic, or the pattern whose topics' frames it repeats in the order of publishing.
    pub fn target(&self) -> &Target {
        &self.name.target
    }

    /// What tells it from other feeds.
    pub fn name(&self) -> &FeedName {
        &self.name
    }

    /// The number that stands for it in binary envelopes. Where it is a pattern, each of its topics
    /// has another one beside.
    pub fn number(&self) -> u64 {
        self.own.number
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
    pub fn publish(
        self: &Arc<Self>,
        message: Message<'_>,
        now_ns: u64,
    ) -> Result<Published, PublishError> {
        let mut state = self.lock();
        if state.closed {
            return Err(PublishError::Closed);
        }
        if self.budget.would_pass(message.payload.len() as u64 + u64::from(u16::MAX)) {
            state.compact();
            return Err(PublishError::OverBudget);
        }
        let message = &mut Prepared::new(message);
        let mut published = self.append(&mut state, message, &self.own, now_ns);
        state.repeats.retain_mut(|repeat| {
            if repeat.feed.name.rate.is_some() {
                published.subscribers += repeat.note(self);
                return !repeat.feed.retired.load(Ordering::Relaxed);
            }
            let repeated = repeat.feed.repeat(message, &repeat.origin, now_ns);
            repeated.map(|repeated| published.add(repeated)).is_some()
        });
        Ok(published)
    }

    /// Takes in a topic's frame; none once the feed is closed.
    fn repeat(
        &self,
        message: &mut Prepared<'_>,
        origin: &Arc<Origin>,
        now_ns: u64,
    ) -> Option<Published> {
        let mut state = self.lock();
        (!state.closed).then(|| self.append(&mut state, message, origin, now_ns))
    }

    /// An instant of a rated feed's grid: the newest frame of each topic that got one since the
    /// last one is published. Answers how many encodings that took, and how often deflating.
    /// While a core is behind, instants are left out: what is read then is newer at the next one.
    ///
    /// The feed is locked for each topic anew: publishers and subscribers never wait for all.
    pub fn release(&self, now_ns: u64) -> (u32, u32) {
        if self.lock().lanes().any(|lane| lane.behind(&self.retention).is_some()) {
            return (0, 0);
        }
        let (mut encodes, mut deflates) = (0, 0);
        for Noted { topic, origin } in
            self.held.take_newest(|noted| Arc::clone(&noted.origin.topic))
        {
            let Some(newest) = topic.newest_for(self) else { continue };
            let Some((kind, payload)) = encode::message(newest.bytes()) else { continue };
            let message = &mut Prepared::new(Message { kind, payload });
            let Some(repeated) = self.repeat(message, &origin, now_ns) else { break };
            encodes += repeated.encodes;
            deflates += repeated.deflates;
        }
        (encodes, deflates)
    }

    /// The newest frame of this topic, if `rated`, which repeats it, has not taken it yet.
    fn newest_for(&self, rated: &Self) -> Option<NewestFrame> {
        let mut state = self.lock();
        let newest = state.raw.writer.newest()?;
        let mut repeats = state.repeats.iter_mut();
        let repeat = repeats.find(|repeat| std::ptr::eq(Arc::as_ptr(&repeat.feed), rated));
        // A topic that is no more has left all that repeat it: what it sent last is still due.
        let taken = repeat.map(|repeat| std::mem::replace(&mut repeat.taken_seq, newest.seq));
        (taken != Some(newest.seq)).then_some(newest)
    }

    fn append(
        &self,
        state: &mut State,
        message: &mut Prepared<'_>,
        origin: &Arc<Origin>,
        now_ns: u64,
    ) -> Published {
        let retention = self.effective_retention();
        let seq = state.raw.writer.head().seq;
        state.last_publish_ns = now_ns;
        state.awaited = None;
        let place = self.place_of(seq, origin);
        if place.origin.pattern.is_some() {
            state.origins.push_back(Arc::clone(origin));
        }
        let (mut behind, deflates_before) = (None, message.deflates());
        for lane in state.lanes() {
            lane.writer.append(place, message);
            lane.writer.retain(&retention, now_ns);
            behind = behind.or_else(|| lane.behind(&self.retention));
            lane.taps.iter().for_each(|tap| tap.mark(now_ns));
        }
        state.trim_origins();
        Published {
            epoch: self.epoch,
            seq,
            subscribers: u64::from(state.subscribers),
            encodes: 1 + state.derived.len() as u32,
            deflates: message.deflates() - deflates_before,
            behind,
        }
    }

    /// Only the frames of a pattern come from topics it does not name.
    fn place_of<'a>(&'a self, seq: u64, origin: &'a Arc<Origin>) -> Place<'a> {
        let origin = if origin.pattern.is_some() { origin } else { &self.own };
        Place { epoch: self.epoch, seq, origin }
    }

    fn effective_retention(&self) -> Retention {
        if self.budget.is_tight() { self.retention.last_frame_only() } else { self.retention }
    }

    /// Opens `kind` for the core behind `doorbell`, which will know the lane as `lane_key`. A lane
    /// that nobody used yet begins with the next frame. None when the feed is closed.
    pub fn open(&self, kind: LaneKind, doorbell: &Arc<Doorbell>, lane_key: u32) -> Option<Opened> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let lane = state.lane_or_open(kind, |first_seq| {
            LaneWriter::new(kind, first_seq, &self.retention, &self.budget)
        });
        let tap = Arc::new(Tap::new(Arc::clone(doorbell), lane_key));
        let reader = lane.writer.reader();
        tap.set_swept(reader.head().pos);
        lane.taps.push(Arc::clone(&tap));
        Some(Opened { reader, tap })
    }

    /// Has `reader`, whose core holds the lane open, see whatever is retained of what a subscriber
    /// that asks for `from` gets. What the lane lacks is encoded from the log. Answers how many
    /// encodings that took, and of them how many deflating.
    ///
    /// The feed is locked for moments only: publishers and other subscribers never wait for it all.
    pub fn reach_back(&self, reader: &mut LaneReader, from: &From) -> (u32, u32) {
        let (kind, wanted_seq) = (reader.kind(), self.first_wanted(reader, from));
        if kind == LaneKind::RAW || reader.first_seq() <= wanted_seq {
            return (0, 0);
        }
        let filling = self.lock().lane(kind).map(|lane| Arc::clone(&lane.filling));
        let Some(filling) = filling else { return (0, 0) };
        let alone = filling.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.lock().begin_backfill(kind, wanted_seq);
        let encodes = begun.map_or((0, 0), |backfill| self.fill(kind, backfill));
        drop(alone);
        if let Some(lane) = self.lock().lane(kind) {
            lane.writer.show_older(reader);
        }
        encodes
    }

    /// The first frame that a subscriber that asks for `from` gets, if it is retained.
    fn first_wanted(&self, reader: &LaneReader, from: &From) -> u64 {
        match *from {
            From::Latest => reader.head().seq,
            From::Last => reader.head().seq.saturating_sub(1),
            From::After { epoch, seq } if epoch == self.epoch => seq.saturating_add(1),
            From::Oldest | From::After { .. } => 0,
        }
    }

    /// Encodes what a lane lacks and puts it before it.
    fn fill(&self, kind: LaneKind, mut backfill: Backfill) -> (u32, u32) {
        loop {
            // Where memory is short, feeds keep their last frame only.
            let is_tight = self.budget.is_tight() || self.budget.would_pass(backfill.bytes());
            let slice = self.lock().next_slice(&backfill, is_tight);
            if slice.seqs.is_empty() {
                break;
            }
            backfill.encode(&slice, |seq, origin| self.place_of(seq, origin.unwrap_or(&self.own)));
        }
        let encodes = backfill.encodes();
        let filled = backfill.finish(&self.budget);
        let mut state = self.lock();
        let kept_seq = state.raw.writer.tail().seq;
        if let Some(lane) = state.lane(kind) {
            lane.writer.prepend(filled, kept_seq);
        }
        encodes
    }

    /// Gives up what [`open`](Self::open) gave.
    pub fn shut(&self, kind: LaneKind, tap: &Arc<Tap>, now_ns: u64) {
        let mut state = self.lock();
        if let Some(lane) = state.lane(kind) {
            lane.taps.retain(|held| !Arc::ptr_eq(held, tap));
            lane.left_ns = now_ns;
        }
        // Publishers that found the core behind need not wait for it any more.
        tap.close();
    }

    /// Holds `ticket` until the first message.
    pub fn await_first(&self, ticket: Option<Ticket>) {
        self.lock().awaited = ticket.map(Box::new);
    }

    /// Counts a subscriber in.
    pub fn joined(&self) {
        let mut state = self.lock();
        state.subscribers += 1;
        self.followers.store(state.subscribers, Ordering::Relaxed);
    }

    /// Counts a subscriber out.
    pub fn left(&self, now_ns: u64) {
        let mut state = self.lock();
        debug_assert!(state.subscribers > 0);
        state.subscribers = state.subscribers.saturating_sub(1);
        self.followers.store(state.subscribers, Ordering::Relaxed);
        state.left_ns = now_ns;
    }

    /// Where a subscriber that asks for `from` begins in `reader`, a fresh view of a lane of this
    /// feed, and what it cannot get.
    pub fn place(&self, reader: &LaneReader, from: &From) -> Subscribed {
        match *from {
            From::Latest => Subscribed { cursor: reader.latest(), gap: None },
            From::Last => Subscribed { cursor: reader.newest(), gap: None },
            From::Oldest => Subscribed { cursor: reader.oldest(), gap: None },
            From::After { epoch, seq } if epoch == self.epoch => Subscribed::after(reader, seq),
            From::After { .. } => Subscribed::in_other_epoch(reader),
        }
    }

    /// Has `feed`, whose target matches, repeat this topic from now on, under number `number`, if
    /// it does not yet.
    pub fn add_repeat(&self, feed: &Arc<Feed>, number: u64) {
        let (topic, pattern) = (self.name.target.text(), feed.target().pattern().cloned());
        let origin = Arc::new(Origin { topic, pattern, number });
        let feed = Arc::clone(feed);
        let mut state = self.lock();
        let repeats = &mut state.repeats;
        if let Err(at) = repeats.binary_search_by_key(&feed.number(), |other| other.feed.number()) {
            repeats.insert(at, Repeat { feed, origin, noted: 0, taken_seq: 0 });
        }
    }

    /// The topics whose numbers the frames `seqs` of lane `kind` announce: whoever does not get
    /// those frames must be told otherwise.
    pub fn announced(&self, kind: LaneKind, seqs: Range<u64>) -> Vec<Arc<Origin>> {
        let mut state = self.lock();
        let lane = state.lane(kind);
        lane.map_or(Vec::new(), |lane| lane.writer.announced_in(seqs))
    }

    /// Tells those who repeat this topic that it is no more.
    fn leave_repeats(&self, state: &mut State) {
        for Repeat { feed, origin, .. } in state.repeats.drain(..) {
            let mut other = feed.lock();
            other.lanes().for_each(|lane| lane.writer.encoder().leave(origin.number));
        }
    }

    /// Housekeeping, about once a second: retention by age, and the memory of a feed that has been
    /// idle for `idle_ns`.
    pub fn tidy(&self, now_ns: u64, idle_ns: u64) {
        let retention = self.effective_retention();
        let state = &mut *self.lock();
        state.repeats.retain(|repeat| !repeat.feed.is_closed());
        let idle = now_ns.saturating_sub(state.last_publish_ns) >= idle_ns;
        for lane in state.lanes() {
            let moved = lane.writer.retain(&retention, now_ns);
            // Readers are rung so that they let go of the memory as well.
            if moved | (idle && lane.writer.compact()) {
                lane.taps.iter().for_each(|tap| tap.mark(now_ns));
            }
        }
        state.derived.retain(|lane| lane.is_wanted(now_ns));
        state.trim_origins();
        state.forget_announced();
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
        if !state.closed && state.is_unused(self.is_topic(), now_ns, idle_ns) {
            state.closed = true;
            state.awaited = None;
            self.retired.store(true, Ordering::Relaxed);
            // They hold topics, and topics hold this feed.
            drop(self.held.take_newest(|noted| Arc::clone(&noted.origin.topic)));
            self.leave_repeats(&mut state);
        }
        state.closed
    }

    fn is_topic(&self) -> bool {
        self.name.rate.is_none() && matches!(self.name.target, Target::Topic(_))
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

impl Repeat {
    /// Has a rated feed look at `topic` at its next instant. Answers its subscribers.
    fn note(&mut self, topic: &Arc<Feed>) -> u64 {
        let noted = || Noted { topic: Arc::clone(topic), origin: Arc::clone(&self.origin) };
        self.feed.held.note(&mut self.noted, noted);
        u64::from(self.feed.followers.load(Ordering::Relaxed))
    }
}

impl State {
    fn lanes(&mut self) -> impl Iterator<Item = &mut OpenLane> {
        std::iter::once(&mut self.raw).chain(&mut self.derived)
    }

    fn lane(&mut self, kind: LaneKind) -> Option<&mut OpenLane> {
        self.lanes().find(|lane| lane.writer.kind() == kind)
    }

    /// Topics that are no more stay announced while frames of theirs are retained.
    fn forget_announced(&mut self) {
        if self.lanes().any(|lane| lane.writer.encoder().has_gone()) {
            let retained: BTreeSet<u64> = self.origins.iter().map(|origin| origin.number).collect();
            self.lanes().for_each(|lane| lane.writer.encoder().forget_gone(&retained));
        }
    }

    /// Keeps one origin for each frame the log keeps.
    fn trim_origins(&mut self) {
        if !self.origins.is_empty() {
            let kept = (self.raw.writer.head().seq - self.raw.writer.tail().seq) as usize;
            self.origins.drain(..self.origins.len().saturating_sub(kept));
        }
    }

    fn lane_or_open(
        &mut self,
        kind: LaneKind,
        new: impl FnOnce(u64) -> LaneWriter,
    ) -> &mut OpenLane {
        if kind == LaneKind::RAW {
            return &mut self.raw;
        }
        let index = self.derived.iter().position(|lane| lane.writer.kind() == kind);
        let index = index.unwrap_or_else(|| {
            self.derived.push(OpenLane::new(new(self.raw.writer.head().seq)));
            self.derived.len() - 1
        });
        &mut self.derived[index]
    }

    /// Begins to encode what lane `kind` lacks of the frames from `wanted_seq` on, if it does.
    fn begin_backfill(&mut self, kind: LaneKind, wanted_seq: u64) -> Option<Backfill> {
        let lack = self.lane(kind)?.writer.lack(wanted_seq)?;
        Some(Backfill::new(self.raw.writer.reader(), lack))
    }

    /// The next frames of a backfill that the log keeps; where memory is tight, the last one.
    fn next_slice(&self, backfill: &Backfill, is_tight: bool) -> Slice {
        let tail_seq = self.raw.writer.tail().seq;
        let last_seq = backfill.end_seq().saturating_sub(1);
        let seqs = backfill.next_seqs(if is_tight { tail_seq.max(last_seq) } else { tail_seq });
        let from = self.origins.iter().skip((seqs.start - tail_seq) as usize);
        let origins = from.take(seqs.clone().count()).cloned().collect();
        Slice { seqs, origins }
    }

    fn is_unused(&self, is_topic: bool, now_ns: u64, idle_ns: u64) -> bool {
        let used_ns = if is_topic { self.last_publish_ns.max(self.left_ns) } else { self.left_ns };
        // Of a topic that nobody published to there is nothing to come back for.
        let idle_ns = if self.awaited.is_some() { idle_ns.min(AWAITED_LINGER_NS) } else { idle_ns };
        let mut lanes = std::iter::once(&self.raw).chain(&self.derived);
        let tapped = lanes.any(|lane| !lane.taps.is_empty());
        self.subscribers == 0 && !tapped && now_ns.saturating_sub(used_ns) >= idle_ns
    }

    fn compact(&mut self) {
        self.lanes().for_each(|lane| {
            lane.writer.compact();
        });
        self.trim_origins();
    }
}
