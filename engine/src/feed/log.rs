//! A feed: an ordered stream with one numbering, kept in one lane per encoding in use. Owns the
//! lock under which frames get their ordinal and their position, who must be rung, and what is
//! retained. Must not know sockets or clocks; `now_ns` is handed in.

pub mod filling;
pub mod handing;
pub mod interruption;
pub mod listed;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::delivery::doorbell::{Doorbell, Tap};
use crate::feed::awaited::Ticket;
use crate::feed::domain::Domain;
use crate::feed::epoch::{Epoch, Position};
use crate::feed::gap::{Gap, Missed};
use crate::feed::held::Held;
use crate::feed::kept::Kept;
use crate::feed::kind::LaneKind;
use crate::feed::lane::{LaneWriter, NewestFrame};
use crate::feed::lane_reader::LaneReader;
use crate::feed::message::{Message, Origin, Place, Stamp};
use crate::feed::options::{From, Rate};
use crate::feed::placed::Subscribed;
use crate::feed::positions::{Positions, Wanted};
use crate::feed::prepared::Prepared;
use crate::feed::published::{PublishError, Published};
use crate::feed::retention::Retention;
use crate::feed::segment::LogBudget;
use crate::feed::source::Source;
use crate::feed::topic::Target;
use crate::frame::encode;

/// An ordered stream of frames.
#[derive(Debug)]
pub struct Feed {
    name: FeedName,
    /// Changes only under the lock, and only in a domain.
    epoch: AtomicU64,
    /// Where a log numbers its frames.
    domain: Option<Arc<Domain>>,
    /// What frames say they come from where they do not name a topic of their own.
    own: Arc<Origin>,
    retention: Retention,
    budget: Arc<LogBudget>,
    /// Where the feed is rated, the topics that got something since the last instant of its grid.
    held: Held<Noted>,
    /// What publishers of rated feeds' topics look at without the lock.
    followers: AtomicU32,
    retired: AtomicBool,
    positions: Positions,
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
pub(super) struct State {
    pub(super) kept: Kept,
    /// Pattern feeds and rated feeds that repeat this topic, in the order of their numbers.
    repeats: Vec<Repeat>,
    /// Until the first message, where a subscription created the feed.
    awaited: Option<Box<Ticket>>,
    subscribers: u32,
    last_publish_ns: u64,
    /// Which way the newest frame came in.
    newest_source: Source,
    left_ns: u64,
    closed: bool,
    /// What is published is left out: it is going to be filled with that.
    is_filling: bool,
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
    taken_ordinal: u64,
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
        let state = State {
            kept: Kept::new(LaneWriter::new(LaneKind::RAW, 1, &retention, budget)),
            repeats: Vec::new(),
            awaited: None,
            subscribers: 0,
            last_publish_ns: now_ns,
            newest_source: Source::CLIENTS,
            left_ns: now_ns,
            closed: false,
            is_filling: false,
        };
        let own = Arc::new(Origin { topic: name.target.text(), pattern: None, number });
        let budget = Arc::clone(budget);
        Self {
            name,
            epoch: AtomicU64::new(epoch.0),
            domain: None,
            own,
            retention,
            budget,
            held: Held::default(),
            followers: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            positions: Positions::default(),
            state: Mutex::new(state),
        }
    }

    /// Has a log number its frames, of which this node knows nothing up to the position `floor`.
    /// One that has to be filled takes nothing in before it [is](Self::end_filling).
    #[must_use]
    pub fn in_domain(mut self, domain: &Arc<Domain>, floor: u64, is_filling: bool) -> Self {
        self.domain = Some(Arc::clone(domain));
        self.positions = Positions::of_log(floor);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.is_filling = is_filling;
        self
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
        Epoch(self.epoch.load(Ordering::Acquire))
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
        self.publish_as(message, Wanted::Next, now_ns)
    }

    /// The same, at the position that is wanted. What the feed has already is left out.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was published then.
    pub fn publish_as(
        self: &Arc<Self>,
        message: Message<'_>,
        wanted: Wanted,
        now_ns: u64,
    ) -> Result<Published, PublishError> {
        let mut state = self.lock();
        if state.closed {
            return Err(PublishError::Closed);
        }
        if self.budget.would_pass(message.payload.len() as u64 + u64::from(u16::MAX)) {
            state.kept.compact();
            return Err(PublishError::OverBudget);
        }
        let message = &mut Prepared::new(message);
        let own = self.append(&mut state, message, (&self.own, wanted), now_ns);
        let mut published = own.unwrap_or_else(|| self.unchanged(&state));
        state.repeats.retain_mut(|repeat| {
            if repeat.feed.name.rate.is_some() {
                published.subscribers += repeat.note(self);
                return !repeat.feed.retired.load(Ordering::Relaxed);
            }
            let repeated = repeat.feed.repeat(message, (&repeat.origin, wanted), now_ns);
            repeated.map(|repeated| published.add(repeated)).is_some()
        });
        Ok(published)
    }

    /// Takes in a topic's frame; none once the feed is closed.
    fn repeat(
        &self,
        message: &mut Prepared<'_>,
        place: (&Arc<Origin>, Wanted),
        now_ns: u64,
    ) -> Option<Published> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let is_filling = state.is_filling;
        let taken = if is_filling { None } else { self.append(&mut state, message, place, now_ns) };
        Some(taken.unwrap_or_else(|| self.unchanged(&state)))
    }

    /// The answer to a message that the feed has already, or is going to be filled with.
    fn unchanged(&self, state: &State) -> Published {
        Published {
            epoch: self.epoch(),
            seq: self.positions.before(u64::MAX),
            subscribers: u64::from(state.subscribers),
            encodes: 0,
            deflates: 0,
            behind: None,
            is_repeated: true,
        }
    }

    /// An instant of a rated feed's grid: the newest frame of each topic that got one since the
    /// last one is published. Answers how many encodings that took, and how often deflating.
    /// While a core is behind, instants are left out: what is read then is newer at the next one.
    ///
    /// The feed is locked for each topic anew: publishers and subscribers never wait for all.
    pub fn release(&self, now_ns: u64) -> (u32, u32) {
        if self.lock().kept.lanes().any(|lane| lane.behind(&self.retention).is_some()) {
            return (0, 0);
        }
        let (mut encodes, mut deflates) = (0, 0);
        let mut fresh = self.held.take_newest(|noted| Arc::clone(&noted.origin.topic));
        if self.domain.is_some() {
            // The same order on every node.
            fresh.sort_by_cached_key(|noted| noted.topic.last_seq());
        }
        for Noted { topic, origin } in fresh {
            let Some((newest, source)) = topic.newest_for(self) else { continue };
            let wanted = match (&self.domain, topic.positions.of(newest.ordinal)) {
                (Some(_), Some(position)) => Wanted::AtLeast(position),
                _ => Wanted::Next,
            };
            let Some((kind, payload)) = encode::message(newest.bytes()) else { continue };
            let message = &mut Prepared::new(Message { kind, payload, source });
            let place = (&origin, wanted);
            let seq = topic.positions.of(newest.ordinal).unwrap_or_default();
            let position = Position { epoch: topic.epoch(), seq };
            message.stamp(Stamp { position, published_ns: now_ns });
            let Some(repeated) = self.repeat(message, place, now_ns) else { break };
            encodes += repeated.encodes;
            deflates += repeated.deflates;
        }
        (encodes, deflates)
    }

    /// The newest frame of this topic and which way it came in, if `rated`, which repeats it, has
    /// not taken it yet.
    fn newest_for(&self, rated: &Self) -> Option<(NewestFrame, Source)> {
        let mut state = self.lock();
        let newest = state.kept.raw.writer.newest()?;
        let mut repeats = state.repeats.iter_mut();
        let repeat = repeats.find(|repeat| std::ptr::eq(Arc::as_ptr(&repeat.feed), rated));
        // A topic that is no more has left all that repeat it: what it sent last is still due.
        let ordinal = newest.ordinal;
        let taken = repeat.map(|repeat| std::mem::replace(&mut repeat.taken_ordinal, ordinal));
        (taken != Some(ordinal)).then_some((newest, state.newest_source))
    }

    fn append(
        &self,
        state: &mut State,
        message: &mut Prepared<'_>,
        (origin, wanted): (&Arc<Origin>, Wanted),
        now_ns: u64,
    ) -> Option<Published> {
        let retention = self.effective_retention();
        let ordinal = state.kept.raw.writer.head().ordinal;
        let seq = self.positions.give(ordinal, wanted)?;
        state.last_publish_ns = now_ns;
        state.newest_source = message.message().source;
        state.awaited = None;
        state.kept.times.note(ordinal, now_ns);
        let place = self.place_of((ordinal, seq), origin);
        let position = Position { epoch: self.epoch(), seq };
        message.stamp(Stamp { position, published_ns: now_ns });
        if self.name.target.is_pattern() {
            state.kept.note_origin(origin);
        }
        let (mut behind, deflates_before) = (None, message.deflates());
        for lane in state.kept.lanes() {
            lane.writer.append(place, message);
            lane.writer.retain(&retention, now_ns);
            behind = behind.or_else(|| lane.behind(&self.retention));
            lane.taps.iter().for_each(|tap| tap.mark(now_ns));
        }
        self.trim(state);
        Some(Published {
            epoch: self.epoch(),
            seq,
            subscribers: u64::from(state.subscribers),
            encodes: state.kept.encodings(),
            deflates: message.deflates() - deflates_before,
            behind,
            is_repeated: false,
        })
    }

    /// Lets go of what is known of frames that retention has given up.
    fn trim(&self, state: &mut State) {
        state.kept.trim();
        self.positions.forget_before(state.kept.raw.writer.tail().ordinal);
    }

    /// Only the frames of a pattern come from topics it does not name.
    fn place_of<'a>(&'a self, (ordinal, seq): (u64, u64), origin: &'a Arc<Origin>) -> Place<'a> {
        let origin = if self.name.target.is_pattern() { origin } else { &self.own };
        Place { epoch: self.epoch(), ordinal, seq, origin }
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
        let lane = state.kept.lane_or_open(kind, |first_ordinal| {
            LaneWriter::new(kind, first_ordinal, &self.retention, &self.budget)
        });
        let tap = Arc::new(Tap::new(Arc::clone(doorbell), lane_key));
        let reader = lane.writer.reader();
        tap.set_swept(reader.head().pos);
        lane.taps.push(Arc::clone(&tap));
        Some(Opened { reader, tap })
    }

    /// All that is retained of a lane that is open now.
    pub fn view(&self, kind: LaneKind) -> Option<LaneReader> {
        self.lock().kept.lane(kind).map(|lane| lane.writer.reader())
    }

    /// Gives up what [`open`](Self::open) gave.
    pub fn shut(&self, kind: LaneKind, tap: &Arc<Tap>, now_ns: u64) {
        let mut state = self.lock();
        if let Some(lane) = state.kept.lane(kind) {
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

    /// How many follow it, by itself or by what repeats it.
    pub fn subscribers(&self) -> u64 {
        let state = self.lock();
        let others = state.repeats.iter().map(|repeat| &repeat.feed.followers);
        let others = others.map(|followers| u64::from(followers.load(Ordering::Relaxed)));
        u64::from(state.subscribers) + others.sum::<u64>()
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
            From::Latest => Subscribed::at(reader.latest()),
            From::Last => Subscribed::at(reader.newest()),
            From::Oldest => Subscribed::at(reader.oldest()),
            From::After { epoch, seq } if epoch == self.epoch() => {
                let floor = self.domain.as_ref().map(|domain| domain.floor());
                Subscribed::after(reader, &self.positions, Position { epoch, seq }, floor)
            }
            From::After { .. } => Subscribed::in_other_epoch(reader, &self.positions),
        }
    }

    /// What is told of frames that a subscriber missed.
    pub fn gap(&self, missed: Missed) -> Gap {
        self.positions.gap(missed)
    }

    /// The last position before the frame `ordinal`.
    pub fn seq_before(&self, ordinal: u64) -> u64 {
        self.positions.before(ordinal)
    }

    /// The position of a frame that is retained.
    pub fn seq_of(&self, ordinal: u64) -> u64 {
        let next = || self.positions.before(ordinal).saturating_add(1);
        self.positions.of(ordinal).unwrap_or_else(next)
    }

    /// The first frame behind position `seq` of this epoch, and whether all between is known here.
    pub fn ordinal_after(&self, seq: u64) -> (u64, bool) {
        let found = self.positions.after(seq);
        found.map_or((seq.saturating_add(1), true), |found| (found.ordinal, found.is_known))
    }

    /// What is told to somebody who comes from another epoch and begins at the frame `ordinal`.
    pub fn gap_of_epoch(&self, ordinal: u64) -> Gap {
        self.positions.gap_of_epoch(ordinal)
    }

    pub(super) fn positions_of(&self, ordinals: &Range<u64>) -> Vec<u64> {
        self.positions.of_all(ordinals.clone())
    }

    /// The position of the newest entry; 0 before the first, or where nothing is known up to it.
    pub fn last_seq(&self) -> u64 {
        let head_ordinal = self.lock().kept.raw.writer.head().ordinal;
        self.positions.before(head_ordinal)
    }

    /// The first frame behind position `seq` of this epoch that is here; none before there is one.
    pub fn first_after(&self, epoch: Epoch, seq: u64) -> Option<u64> {
        if epoch != self.epoch() {
            return Some(0);
        }
        let found = self.positions.after(seq);
        found.filter(|found| !found.is_ahead).map(|found| found.ordinal)
    }

    /// True while this node has not taken in what the log has up to a position of this epoch.
    pub fn is_behind(&self, position: Position) -> bool {
        self.domain.as_ref().is_some_and(|domain| domain.is_behind(position))
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
            repeats.insert(at, Repeat { feed, origin, noted: 0, taken_ordinal: 0 });
        }
    }

    /// The topics whose numbers the frames `ordinals` of lane `kind` announce: whoever does not get
    /// those frames must be told otherwise.
    pub fn announced(&self, kind: LaneKind, ordinals: Range<u64>) -> Vec<Arc<Origin>> {
        let mut state = self.lock();
        let lane = state.kept.lane(kind);
        lane.map_or(Vec::new(), |lane| lane.writer.announced_in(ordinals))
    }

    /// Tells those who repeat this topic that it is no more.
    fn leave_repeats(&self, state: &mut State) {
        for Repeat { feed, origin, .. } in state.repeats.drain(..) {
            let mut other = feed.lock();
            other.kept.lanes().for_each(|lane| lane.writer.encoder().leave(origin.number));
        }
    }

    /// Housekeeping, about once a second: retention by age, and the memory of a feed that has been
    /// idle for `idle_ns`.
    pub fn tidy(&self, now_ns: u64, idle_ns: u64) {
        let retention = self.effective_retention();
        let state = &mut *self.lock();
        state.repeats.retain(|repeat| !repeat.feed.is_closed());
        let idle = now_ns.saturating_sub(state.last_publish_ns) >= idle_ns;
        for lane in state.kept.lanes() {
            let moved = lane.writer.retain(&retention, now_ns);
            // Readers are rung so that they let go of the memory as well.
            if moved | (idle && lane.writer.compact()) {
                lane.taps.iter().for_each(|tap| tap.mark(now_ns));
            }
        }
        state.kept.forget_unused(now_ns);
        self.trim(state);
        state.kept.forget_announced();
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

    /// What frames say they come from where they do not name a topic of their own.
    pub(super) fn own_origin(&self) -> &Arc<Origin> {
        &self.own
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
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
    fn is_unused(&self, is_topic: bool, now_ns: u64, idle_ns: u64) -> bool {
        let used_ns = if is_topic { self.last_publish_ns.max(self.left_ns) } else { self.left_ns };
        // Of a topic that nobody published to there is nothing to come back for.
        let idle_ns = if self.awaited.is_some() { idle_ns.min(AWAITED_LINGER_NS) } else { idle_ns };
        let is_left = self.subscribers == 0 && !self.kept.is_tapped();
        is_left && now_ns.saturating_sub(used_ns) >= idle_ns
    }
}
