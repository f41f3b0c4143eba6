//! The registry: which feeds exist. Owns creation, the wiring of patterns to topics, and the
//! retiring of feeds nobody uses. Must not be consulted on the flush path, nor once per frame by a
//! publisher that keeps its feed.
//!
//! # Why a pattern misses no topic, though both are wired without the registry's lock
//! A pattern is made known first and wired second; nobody who asks for it is answered before that.
//! A topic is wired first and made known second, and in the same moment wired to what became known
//! meanwhile. So whichever becomes known later finds the other. Where both find each other, wiring
//! twice is the same as once.

pub mod applying;
pub mod handing;
pub mod listing;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::feed::awaited::{Awaited, AwaitedMax, Follower, TooManyAwaited};
use crate::feed::domain::Domain;
use crate::feed::epoch::Epoch;
use crate::feed::log::{Feed, FeedName};
use crate::feed::message::Message;
use crate::feed::options::Rate;
use crate::feed::positions::Wanted;
use crate::feed::published::{PublishError, Published};
use crate::feed::rated::Rated;
use crate::feed::retention::RetentionClasses;
use crate::feed::segment::LogBudget;
use crate::feed::topic::{Target, Topic};

/// How long a pattern or a rated feed outlives its last subscriber: long enough for a wall that
/// reconnects to find its position again, short enough that one nobody follows costs its topics
/// little.
const REPEATING_LINGER_NS: u64 = 30_000_000_000;

/// Topics that are listed at once; others may be created only in between.
const LISTED_AT_ONCE: usize = 1024;
/// Topics that are tidied in one call: of a million, each every four seconds.
const TIDIED_MAX: usize = 256 * LISTED_AT_ONCE;
/// Patterns that a new topic is compared with at once; others may be created only in between.
const MATCHED_AT_ONCE: usize = 512;

/// Bounds and defaults of a registry.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Most topics that may exist.
    pub topics_max: usize,
    /// Most patterns, and topics or patterns at a rate, that may be followed at once.
    pub patterns_max: usize,
    /// Most different rates of one topic or pattern.
    pub rates_per_target_max: usize,
    /// Most topics that may exist only because somebody subscribed to them.
    pub awaited_max: AwaitedMax,
    /// Most bytes all logs together may hold.
    pub log_bytes_max: u64,
    /// Time without a publish after which a feed keeps only its last frame, in ns.
    pub compact_after_ns: u64,
    /// Time without a publish or subscriber after which a topic is forgotten, in ns.
    pub forget_after_ns: u64,
    /// Retention by class.
    pub classes: RetentionClasses,
    /// First epoch, which names the life of the engine; each feed that is created takes the next.
    pub epoch: Epoch,
    /// Whose numbers frames have.
    pub identity: Identity,
}

/// Whose numbers the frames of an engine have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Each feed counts its own, in an epoch of its own.
    #[default]
    PerFeed,
    /// A log numbers all of them, in one epoch.
    Domain,
}

/// All feeds of an engine.
#[derive(Debug)]
pub struct Registry {
    feeds: RwLock<Feeds>,
    options: RegistryOptions,
    budget: Arc<LogBudget>,
    next_epoch: AtomicU64,
    next_number: AtomicU64,
    /// Where a log numbers all frames.
    domain: Option<Arc<Domain>>,
    rated: Rated,
    awaited: Arc<Awaited>,
    /// The topic that was tidied last; none when the first is next.
    tidied: Mutex<Option<Topic>>,
    /// Another process has taken over.
    is_closed: AtomicBool,
}

/// Ordered maps: names come from the network, and a tree has no worst case a stranger could choose;
/// and the order of work is the same in every replay of a simulation.
#[derive(Debug, Default)]
struct Feeds {
    topics: BTreeMap<Topic, Arc<Feed>>,
    /// Patterns, and whatever is rated: they repeat what topics get.
    repeating: BTreeMap<FeedName, Repeating>,
    /// The same by their numbers: in the order in which they came.
    by_number: BTreeMap<u64, Arc<Feed>>,
}

#[derive(Clone, Debug)]
struct Repeating {
    feed: Arc<Feed>,
    /// Done when all topics that were there before it are wired to it.
    wired: Arc<Once>,
}

/// Why a feed could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// There are as many topics as the engine takes.
    #[error("the engine holds {0} topics and takes no more (limits.topics_max)")]
    TooManyTopics(usize),
    /// There are as many patterns as the engine takes.
    #[error(
        "{0} patterns and rates are followed, and no more may be (limits.patterns_max): each of \
         them costs every message of its topics"
    )]
    TooManyPatterns(usize),
    /// A topic or pattern is followed at as many rates as may be.
    #[error(
        "it is followed at {max} different rates, and at no more may it be \
         (limits.rates_per_target_max): use rate={nearest}"
    )]
    TooManyRates {
        /// How many that is.
        max: usize,
        /// The nearest rate that is in use.
        nearest: u16,
    },
    /// There are as many awaited topics as there may be.
    #[error(transparent)]
    TooManyAwaited(#[from] TooManyAwaited),
    /// The log budget of the engine is used up.
    #[error("the engine's log memory is used up (memory.log_bytes_max)")]
    OverBudget,
    /// What is published goes through a log, and that does not answer.
    #[error("the back-plane does not answer: nothing is published until it does")]
    Unavailable,
    /// Another process serves this address now.
    #[error("another process has taken over: connect again")]
    HandedOver,
    /// The log has not answered in time.
    #[error("the back-plane has not acknowledged it in time: it may have been published or not")]
    Unacknowledged,
}

/// What the registry holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryUsage {
    /// Topics known.
    pub topics: usize,
    /// Of them, topics that somebody waits for and nobody has published to yet.
    pub awaited: usize,
    /// Patterns somebody follows, and topics or patterns somebody follows at a rate.
    pub patterns: usize,
    /// Bytes allocated to logs.
    pub log_bytes: u64,
}

impl Feeds {
    /// The rates at which a topic or pattern is followed.
    fn rates(&self, target: &Target) -> Vec<u16> {
        let first = FeedName { target: target.clone(), rate: None };
        let same = self.repeating.range(first..).take_while(|(name, _)| name.target == *target);
        same.filter_map(|(name, _)| name.rate).map(Rate::per_s).collect()
    }

    fn remove(&mut self, feed: &Feed) {
        match (feed.target(), feed.name().rate) {
            (Target::Topic(topic), None) => drop(self.topics.remove(topic)),
            _ => {
                self.repeating.remove(feed.name());
                self.by_number.remove(&feed.number());
            }
        }
    }

    /// Compares `topic` with some of what repeats topics, from number `next` on, which is moved to
    /// where to go on. Answers those that match.
    fn some_matching(&self, topic: &Topic, next: &mut u64) -> Vec<Arc<Feed>> {
        let some = self.by_number.range(*next..).take(MATCHED_AT_ONCE);
        let some = some.inspect(|(number, _)| *next = *number + 1).map(|(_, feed)| feed);
        some.filter(|feed| feed.target().matches(topic)).cloned().collect()
    }
}

impl Registry {
    /// An empty registry.
    pub fn new(options: RegistryOptions) -> Self {
        Self {
            feeds: RwLock::default(),
            budget: Arc::new(LogBudget::new(options.log_bytes_max)),
            next_epoch: AtomicU64::new(options.epoch.0),
            next_number: AtomicU64::new(1),
            domain: (options.identity == Identity::Domain)
                .then(|| Arc::new(Domain::new(options.epoch))),
            rated: Rated::default(),
            awaited: Arc::new(Awaited::new(options.awaited_max)),
            tidied: Mutex::default(),
            is_closed: AtomicBool::new(false),
            options,
        }
    }

    /// The epoch that names this life of the engine: that of the first feed, or of the domain.
    pub fn epoch(&self) -> Epoch {
        self.domain.as_ref().map_or(self.options.epoch, |domain| domain.epoch())
    }

    /// The feed of `name` for somebody who wants to follow it, created if need be.
    ///
    /// # Errors
    /// [`FeedError`] when a limit forbids a new one.
    pub fn follow(
        &self,
        name: &FeedName,
        follower: &Follower<'_>,
        now_ns: u64,
    ) -> Result<Arc<Feed>, FeedError> {
        match (&name.target, name.rate) {
            (Target::Topic(topic), None) => self.topic(topic, Some(follower), now_ns),
            _ => self.repeating(name, now_ns),
        }
    }

    /// The feed of `name`, if there is one.
    pub fn find(&self, name: &FeedName) -> Option<Arc<Feed>> {
        let feeds = self.read();
        match (&name.target, name.rate) {
            (Target::Topic(topic), None) => feeds.topics.get(topic).cloned(),
            _ => feeds.repeating.get(name).map(|known| Arc::clone(&known.feed)),
        }
    }

    /// The feed of a topic. Created for a `follower`, it counts as awaited.
    fn topic(
        &self,
        topic: &Topic,
        follower: Option<&Follower<'_>>,
        now_ns: u64,
    ) -> Result<Arc<Feed>, FeedError> {
        if let Some(feed) = self.read().topics.get(topic) {
            return Ok(Arc::clone(feed));
        }
        self.admit(&self.read())?;
        let ticket = follower.map(|follower| self.awaited.enter(follower)).transpose()?;
        let name = FeedName { target: Target::Topic(topic.clone()), rate: None };
        let feed = self.create(name, now_ns);
        self.fill_topic(&feed, topic, now_ns);
        let mut next = 0;
        while self.wire_some(&feed, topic, &self.read(), &mut next) {}
        let mut feeds = self.write();
        if let Some(feed) = feeds.topics.get(topic) {
            return Ok(Arc::clone(feed));
        }
        self.admit(&feeds)?;
        feed.await_first(ticket);
        // What came since; whatever comes later finds the topic.
        while self.wire_some(&feed, topic, &feeds, &mut next) {}
        feeds.topics.insert(topic.clone(), Arc::clone(&feed));
        self.catch_up_with_epoch(&feed, now_ns);
        Ok(feed)
    }

    /// Wires `feed`, a new topic that nobody finds yet, to some of what matches it. Answers false
    /// when there is no more.
    fn wire_some(&self, feed: &Feed, topic: &Topic, feeds: &Feeds, next: &mut u64) -> bool {
        let before = *next;
        let matching = feeds.some_matching(topic, next);
        matching.iter().for_each(|other| feed.add_repeat(other, self.number()));
        *next > before
    }

    fn repeating(&self, name: &FeedName, now_ns: u64) -> Result<Arc<Feed>, FeedError> {
        let known = self.read().repeating.get(name).cloned();
        let Repeating { feed, wired } = match known {
            Some(known) => known,
            None => self.register(name, now_ns)?,
        };
        // The first who asks does it; whoever else asks meanwhile waits until it is done.
        wired.call_once_force(|_| {
            self.wire(&feed);
            self.fill_pattern(&feed, now_ns);
        });
        Ok(feed)
    }

    /// A feed that topics created from now on are wired to.
    fn register(&self, name: &FeedName, now_ns: u64) -> Result<Repeating, FeedError> {
        let mut feeds = self.write();
        if let Some(known) = feeds.repeating.get(name) {
            return Ok(known.clone());
        }
        self.admit_repeating(&feeds, name)?;
        let feed = self.create(name.clone(), now_ns);
        feeds.by_number.insert(feed.number(), Arc::clone(&feed));
        if let Some(rate) = name.rate {
            self.rated.add(rate, &feed);
        }
        let repeating = Repeating { feed, wired: Arc::new(Once::new()) };
        feeds.repeating.insert(name.clone(), repeating.clone());
        self.catch_up_with_epoch(&repeating.feed, now_ns);
        Ok(repeating)
    }

    /// Wires the topics that there are to `feed`, which is registered: some at a time, so that
    /// others publish, subscribe and create topics meanwhile.
    fn wire(&self, feed: &Arc<Feed>) {
        let pattern = match feed.target() {
            Target::Pattern(pattern) => pattern,
            Target::Topic(topic) => {
                let known = self.read().topics.get(topic).cloned();
                return known.iter().for_each(|known| known.add_repeat(feed, self.number()));
            }
        };
        let mut last = None;
        loop {
            let some = self.topics_after(pattern.stem(), last.as_ref());
            let matching = some.iter().filter(|(topic, _)| pattern.matches(topic));
            matching.for_each(|(_, known)| known.add_repeat(feed, self.number()));
            if some.len() < LISTED_AT_ONCE {
                return;
            }
            last = some.into_iter().last().map(|(topic, _)| topic);
        }
    }

    fn admit(&self, feeds: &Feeds) -> Result<(), FeedError> {
        if feeds.topics.len() >= self.options.topics_max {
            return Err(FeedError::TooManyTopics(self.options.topics_max));
        }
        if self.budget.is_tight() {
            return Err(FeedError::OverBudget);
        }
        Ok(())
    }

    fn admit_repeating(&self, feeds: &Feeds, name: &FeedName) -> Result<(), FeedError> {
        if self.budget.is_tight() {
            return Err(FeedError::OverBudget);
        }
        if feeds.repeating.len() >= self.options.patterns_max {
            return Err(FeedError::TooManyPatterns(self.options.patterns_max));
        }
        let Some(wanted) = name.rate else { return Ok(()) };
        let (rates, max) = (feeds.rates(&name.target), self.options.rates_per_target_max);
        let nearest = rates.iter().copied().min_by_key(|rate| rate.abs_diff(wanted.per_s()));
        match nearest {
            Some(nearest) if rates.len() >= max => Err(FeedError::TooManyRates { max, nearest }),
            _ => Ok(()),
        }
    }

    fn create(&self, name: FeedName, now_ns: u64) -> Arc<Feed> {
        let retention = self.options.classes.find(&name.target);
        let Some(domain) = &self.domain else {
            let epoch = Epoch(self.next_epoch.fetch_add(1, Ordering::Relaxed));
            let identity = (epoch, self.number());
            return Arc::new(Feed::new(name, identity, retention, &self.budget, now_ns));
        };
        let (floor, is_filling) = match &name.target {
            Target::Topic(topic) => (domain.floor_of(topic).0, false),
            Target::Pattern(_) => (domain.recent_floor(), name.rate.is_none()),
        };
        let identity = (domain.epoch(), self.number());
        let feed = Feed::new(name, identity, retention, &self.budget, now_ns);
        Arc::new(feed.in_domain(domain, floor, is_filling))
    }

    /// A number that was never given before.
    pub fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// The feeds that publish by the clock.
    pub fn rated(&self) -> &Rated {
        &self.rated
    }

    /// Publishes to `topic` through `held`, a publisher's own handle, which is looked up when empty
    /// or retired.
    ///
    /// # Errors
    /// [`FeedError`]; nothing was published then.
    pub fn publish(
        &self,
        topic: &Topic,
        held: &mut Option<Arc<Feed>>,
        message: Message<'_>,
        now_ns: u64,
    ) -> Result<Published, FeedError> {
        self.publish_as(topic, held, message, (Wanted::Next, now_ns))
    }

    /// The same, at a position that the log gave.
    fn publish_as(
        &self,
        topic: &Topic,
        held: &mut Option<Arc<Feed>>,
        message: Message<'_>,
        (wanted, now_ns): (Wanted, u64),
    ) -> Result<Published, FeedError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(FeedError::HandedOver);
        }
        loop {
            let feed = match held {
                Some(feed) => feed,
                None => held.insert(self.topic(topic, None, now_ns)?),
            };
            match feed.publish_as(message, wanted, now_ns) {
                Ok(published) => return Ok(published),
                Err(PublishError::OverBudget) => return Err(FeedError::OverBudget),
                // Retired feeds are taken out of the map first, so the next look-up makes a new
                // one.
                Err(PublishError::Closed) => *held = None,
            }
        }
    }

    /// Housekeeping, about once a second: retention by age, memory of idle feeds, retiring of
    /// unused ones.
    ///
    /// Very many topics are visited a bounded number at a time.
    pub fn tidy(&self, now_ns: u64) {
        let repeating: Vec<Arc<Feed>> = self.read().by_number.values().cloned().collect();
        self.tidy_all(&repeating, now_ns);
        let mut last = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TIDIED_MAX / LISTED_AT_ONCE {
            let (topics, feeds): (Vec<_>, Vec<_>) =
                self.topics_after("", last.as_ref()).into_iter().unzip();
            self.tidy_all(&feeds, now_ns);
            *last = topics.into_iter().last();
            if feeds.len() < LISTED_AT_ONCE {
                *last = None;
                return;
            }
        }
    }

    fn tidy_all(&self, feeds: &[Arc<Feed>], now_ns: u64) {
        let is_tight = self.budget.is_tight();
        let compact_after_ns = if is_tight { 0 } else { self.options.compact_after_ns };
        for feed in feeds {
            feed.tidy(now_ns, compact_after_ns);
        }
        self.forget_unused(feeds, now_ns);
    }

    /// Some topics that begin with `stem`, in their order, from the one that follows `last` on.
    fn topics_after(&self, stem: &str, last: Option<&Topic>) -> Vec<(Topic, Arc<Feed>)> {
        let from = last.map_or(Bound::Included(stem), |last| Bound::Excluded(last.as_str()));
        let feeds = self.read();
        let after = feeds.topics.range::<str, _>((from, Bound::Unbounded));
        let after = after.take_while(|(topic, _)| topic.as_str().starts_with(stem));
        let some = after.take(LISTED_AT_ONCE);
        some.map(|(topic, feed)| (topic.clone(), Arc::clone(feed))).collect()
    }

    /// A feed is closed under the write lock, so that nobody finds it in the map afterwards.
    fn forget_unused(&self, feeds: &[Arc<Feed>], now_ns: u64) {
        for feed in feeds {
            let idle_ns = match (feed.target(), feed.name().rate) {
                (Target::Topic(_), None) => self.options.forget_after_ns,
                _ => REPEATING_LINGER_NS,
            };
            if !feed.is_unused(now_ns, idle_ns) {
                continue;
            }
            let mut map = self.write();
            if !feed.close_if_unused(now_ns, idle_ns) {
                continue;
            }
            map.remove(feed);
            if let (Some(domain), Target::Topic(topic), None) =
                (&self.domain, feed.target(), feed.name().rate)
            {
                domain.forget(topic, feed.last_seq());
            }
            if let Some(rate) = feed.name().rate {
                self.rated.remove(rate, feed);
            }
        }
    }

    /// What there is now.
    pub fn usage(&self) -> RegistryUsage {
        let feeds = self.read();
        RegistryUsage {
            topics: feeds.topics.len(),
            awaited: self.awaited.count(),
            patterns: feeds.repeating.len(),
            log_bytes: self.budget.used_bytes(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Feeds> {
        self.feeds.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Feeds> {
        self.feeds.write().unwrap_or_else(PoisonError::into_inner)
    }
}
