//! How all feeds get from one process into the next. Owns their order, so that whatever a feed
//! names is there before it. Must not know how they get across.

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

impl Registry {
    /// Gives each feed, patterns first, as long as that succeeds. Nobody may publish meanwhile.
    ///
    /// # Errors
    /// What `give` answers.
    pub fn hand<E>(&self, mut give: impl FnMut(HandedFeed) -> Result<(), E>) -> Result<(), E> {
        let repeating: Vec<Arc<Feed>> = self.read().by_number.values().cloned().collect();
        for feed in repeating {
            give(feed.hand())?;
        }
        let mut last = None;
        loop {
            let some = self.topics_after("", last.as_ref());
            for (_, feed) in &some {
                give(feed.hand())?;
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

    /// Takes in a feed that another process had; nobody uses this registry yet.
    pub fn take_in(&self, handed: HandedFeed) {
        let repeats = handed.repeats.clone();
        let retention = self.options.classes.find(&handed.name.target);
        let is_awaited = handed.is_awaited;
        let ticket = is_awaited.then(|| self.awaited.enter(&Follower::default()).ok()).flatten();
        let feed = Arc::new(Feed::of_handed(handed, retention, &self.budget, ticket));
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

    fn handed(registry: &Registry) -> Vec<HandedFeed> {
        let mut all = Vec::new();
        let given = registry.hand(|feed| {
            all.push(feed);
            Ok::<_, ()>(())
        });
        assert_eq!(given, Ok(()));
        all
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
        /// Whatever happened, the next process has the same, and goes on in the same way.
        #[test]
        fn a_registry_goes_on_in_another_process(
            frames_max in 1_u64..20,
            before in prop::collection::vec(step(), 0..60),
            after in prop::collection::vec(step(), 0..20),
        ) {
            let old = registry(frames_max);
            for (now_ns, step) in (1..).zip(before) {
                take(&old, step, now_ns);
            }
            let new = registry(frames_max);
            for feed in handed(&old) {
                let packed = feed.packed();
                for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
                    prop_assert!(HandedFeed::unpacked(&packed[..cut]).is_err());
                }
                new.take_in(HandedFeed::unpacked(&packed).unwrap());
            }
            new.go_on_from(old.counters());
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
                    registry(9).take_in(feed);
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
