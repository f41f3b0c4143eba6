//! How all feeds get from one process into the next. Owns their order, so that whatever a feed
//! names is there before it. Must not know how they get across.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};

use crate::feed::awaited::Follower;
use crate::feed::handed::HandedFeed;
use crate::feed::log::Feed;
use crate::feed::registry::{Registry, Repeating};
use crate::feed::topic::Target;

/// The numbers that the next epoch and the next number will have: what was given to clients is
/// never given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Of the next feed's epoch.
    pub epoch: u64,
    /// Of the next feed, or topic of a pattern.
    pub number: u64,
}

/// Feeds of which a part came before the rest, by their numbers. Nobody can use them yet.
#[derive(Debug, Default)]
pub struct Ahead(HashMap<u64, Feed>);

impl Registry {
    /// Gives each feed, patterns first, as long as that succeeds.
    ///
    /// # Errors
    /// What `give` answers.
    pub fn hand<E>(&self, mut give: impl FnMut(&Feed) -> Result<(), E>) -> Result<(), E> {
        let repeating: Vec<Arc<Feed>> = self.read().by_number.values().cloned().collect();
        for feed in repeating {
            give(&feed)?;
        }
        let mut last = None;
        loop {
            let some = self.topics_after("", last.as_ref());
            for (_, feed) in &some {
                give(feed)?;
            }
            last = match some.into_iter().last() {
                Some((topic, _)) => Some(topic),
                None => return Ok(()),
            };
        }
    }

    /// The numbers that come next.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let epoch = self.next_epoch.load(Ordering::Relaxed);
        Counters { epoch, number: self.next_number.load(Ordering::Relaxed) }
    }

    /// Goes on with these numbers.
    pub fn go_on_from(&self, counters: Counters) {
        self.next_epoch.fetch_max(counters.epoch, Ordering::Relaxed);
        self.next_number.fetch_max(counters.number, Ordering::Relaxed);
    }

    /// Takes in a part of a feed; another process still publishes to it, or has more of it.
    pub fn take_ahead(&self, ahead: &mut Ahead, handed: HandedFeed) {
        let feed = self.with_part(ahead, handed);
        ahead.0.insert(feed.number(), feed);
    }

    /// The feed of which this part was handed over, with those that came before it. They are given
    /// up where the other process has done so with what was between.
    fn with_part(&self, ahead: &mut Ahead, handed: HandedFeed) -> Feed {
        match ahead.0.remove(&handed.number) {
            Some(mut feed) if feed.is_followed_by(&handed) => {
                feed.take_part(handed);
                feed
            }
            _ => {
                let retention = self.options.classes.find(&handed.name.target);
                Feed::of_handed(handed, retention, &self.budget)
            }
        }
    }

    /// Takes in the last part of a feed that another process had; nobody uses this registry yet.
    pub fn take_in(&self, ahead: &mut Ahead, handed: HandedFeed) {
        let repeats = handed.repeats.clone();
        let is_awaited = handed.is_awaited;
        let mut feed = self.with_part(ahead, handed);
        let ticket = is_awaited.then(|| self.awaited.enter(&Follower::default()).ok()).flatten();
        ticket.into_iter().for_each(|ticket| feed.set_awaited(ticket));
        let feed = Arc::new(feed);
        let find = |number| self.read().by_number.get(&number).cloned();
        feed.take_repeats(&repeats, find);
        let mut feeds = self.write();
        match (feed.target(), feed.name().rate) {
            (Target::Topic(topic), None) => drop(feeds.topics.insert(topic.clone(), feed.clone())),
            (_, rate) => {
                let wired = Arc::new(Once::new());
                // Its topics come behind it, each with what repeats it.
                wired.call_once(|| {});
                feeds.by_number.insert(feed.number(), Arc::clone(&feed));
                rate.iter().for_each(|rate| self.rated.add(*rate, &feed));
                feeds.repeating.insert(feed.name().clone(), Repeating { feed, wired });
            }
        }
    }

    /// From now on nothing is published here: another process does.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::awaited::AwaitedMax;
    use crate::feed::epoch::Epoch;
    use crate::feed::gap::GapReason;
    use crate::feed::log::FeedName;
    use crate::feed::log::interruption::Loss;
    use crate::feed::message::Message;
    use crate::feed::options::{LagPolicy, Rate};
    use crate::feed::registry::{Identity, RegistryOptions};
    use crate::feed::retention::{Retention, RetentionClasses};
    use crate::feed::topic::Topic;
    use crate::frame::Kind;
    use crate::wire::packed::Packed;
    use proptest::prelude::*;

    fn registry(frames_max: u64) -> Registry {
        let lag = LagPolicy::Disconnect;
        let retention = Retention { frames_max, bytes_max: 1 << 20, age_ns_max: None, lag };
        Registry::new(RegistryOptions {
            topics_max: 100,
            patterns_max: 100,
            rates_per_target_max: 10,
            awaited_max: AwaitedMax::default(),
            log_bytes_max: 1 << 30,
            compact_after_ns: u64::MAX,
            forget_after_ns: u64::MAX,
            classes: RetentionClasses::new(Vec::new(), retention),
            epoch: Epoch(1 << 40),
            identity: Identity::PerFeed,
        })
    }

    fn each(registry: &Registry, mut take: impl FnMut(&Feed)) {
        let given = registry.hand(|feed| {
            take(feed);
            Ok::<_, ()>(())
        });
        assert_eq!(given, Ok(()));
    }

    fn handed(registry: &Registry) -> Vec<HandedFeed> {
        let mut all = Vec::new();
        each(registry, |feed| all.push(feed.hand(0, usize::MAX)));
        all
    }

    /// What another process gets of a feed.
    fn across(part: &HandedFeed) -> HandedFeed {
        let packed = part.packed();
        for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
            assert!(HandedFeed::unpacked(&packed[..cut]).is_err());
        }
        HandedFeed::unpacked(&packed).unwrap()
    }

    /// A registry on its way: a part of each feed at a time goes into the next.
    #[derive(Default)]
    struct Way {
        ahead: Ahead,
        sent: HashMap<u64, u64>,
    }

    impl Way {
        fn part(&mut self, feed: &Feed, bytes_max: usize) -> HandedFeed {
            let sent = self.sent.entry(feed.number()).or_default();
            let part = across(&feed.hand(*sent, bytes_max));
            *sent = part.end_ordinal();
            part
        }

        fn give_ahead(&mut self, old: &Registry, new: &Registry, bytes_max: usize) {
            each(old, |feed| {
                let part = self.part(feed, bytes_max);
                new.take_ahead(&mut self.ahead, part);
            });
        }

        fn give_rest(mut self, old: &Registry, new: &Registry) {
            each(old, |feed| {
                let part = self.part(feed, usize::MAX);
                new.take_in(&mut self.ahead, part);
            });
            new.go_on_from(old.counters());
        }
    }

    /// What happens to a registry.
    #[derive(Clone, Debug)]
    enum Step {
        Publish(usize, Kind, Vec<u8>),
        Follow(usize, Option<u64>),
        Lose(usize, u64),
        Release,
    }

    const TOPICS: [&str; 3] = ["a", "b/c", "b/d"];
    const TARGETS: [&str; 5] = ["a", "#", "b/+", "new", "b/c"];

    fn step() -> impl Strategy<Value = Step> {
        let kind = prop_oneof![Just(Kind::Text), Just(Kind::Binary)];
        let payload = prop::collection::vec(b'a'..=b'z', 0..300);
        prop_oneof![
            6 => (0..3_usize, kind, payload).prop_map(|(t, k, p)| Step::Publish(t, k, p)),
            2 => (0..5_usize, prop::option::of(1_u64..9)).prop_map(|(t, r)| Step::Follow(t, r)),
            1 => (0..3_usize, 1_u64..9).prop_map(|(t, frames)| Step::Lose(t, frames)),
            1 => Just(Step::Release),
        ]
    }

    fn take(registry: &Registry, step: Step, now_ns: u64) {
        let topic = |index: usize| Topic::new(TOPICS[index]).unwrap();
        match step {
            Step::Publish(at, kind, payload) => {
                let message = Message::of_client(kind, &payload);
                registry.publish(&topic(at), &mut None, message, now_ns).unwrap();
            }
            Step::Follow(at, rate) => {
                // Of a pattern that is rated, the order of its topics is nobody's business.
                let is_topic = !TARGETS[at].contains(['+', '#']);
                let rate = rate.filter(|_| is_topic).map(|rate| Rate::new(rate).unwrap());
                let name = FeedName { target: TARGETS[at].parse().unwrap(), rate };
                registry.follow(&name, &Follower::default(), now_ns).unwrap();
            }
            Step::Lose(at, frames) => {
                registry.tell(&topic(at), Loss::of(frames, GapReason::Relay), now_ns);
            }
            Step::Release => {
                registry.rated().due(0, u64::MAX).iter().for_each(|feed| {
                    feed.release(now_ns);
                });
            }
        }
    }

    proptest! {
        /// Whatever happened, before and while parts went ahead, the next process has the same, and
        /// goes on in the same way.
        #[test]
        fn a_registry_goes_on_in_another_process(
            frames_max in 1_u64..20,
            rounds in prop::collection::vec(
                (prop::collection::vec(step(), 0..30), prop::option::of(1_usize..2_000)),
                1..4,
            ),
            after in prop::collection::vec(step(), 0..20),
        ) {
            let (old, new) = (registry(frames_max), registry(frames_max));
            let (mut way, mut now_ns) = (Way::default(), 0);
            for (steps, bytes_max) in rounds {
                for step in steps {
                    now_ns += 1;
                    take(&old, step, now_ns);
                }
                bytes_max.iter().for_each(|bytes_max| way.give_ahead(&old, &new, *bytes_max));
            }
            way.give_rest(&old, &new);
            prop_assert_eq!(handed(&new), handed(&old));
            prop_assert_eq!(new.counters(), old.counters());
            for (now_ns, step) in (1_000..).zip(after) {
                take(&old, step.clone(), now_ns);
                take(&new, step, now_ns);
            }
            prop_assert_eq!(handed(&new), handed(&old));
        }

        #[test]
        fn what_was_damaged_never_panics(
            steps in prop::collection::vec(step(), 1..30),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let old = registry(9);
            for (now_ns, step) in (1..).zip(steps) {
                take(&old, step, now_ns);
            }
            for feed in handed(&old) {
                let mut packed = feed.packed();
                for (at, byte) in &flips {
                    let at = at.index(packed.len());
                    packed[at] = *byte;
                }
                if let Ok(feed) = HandedFeed::unpacked(&packed) {
                    registry(9).take_in(&mut Ahead::default(), feed);
                }
            }
        }
    }

    #[test]
    fn a_registry_that_was_handed_over_takes_nothing_more() {
        let registry = registry(9);
        let (topic, message) = (Topic::new("a").unwrap(), Message::of_client(Kind::Text, b"1"));
        let mut held = None;
        registry.publish(&topic, &mut held, message, 1).unwrap();
        registry.close();
        assert!(registry.publish(&topic, &mut held, message, 2).is_err());
        assert_eq!(handed(&registry)[0].end_ordinal(), 2);
    }
}
