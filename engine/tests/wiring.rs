//! Patterns and topics that come while others go on: nobody waits for all topics to be wired, and
//! no topic is left out or wired twice. Must not test what a pattern matches.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use gridcast::delivery::doorbell::{Doorbell, Wake};
use gridcast::feed::kind::LaneKind;
use gridcast::feed::log::Feed;
use gridcast::feed::registry::Registry;
use gridcast::feed::topic::Topic;
use harness::DEADLINE;
use harness::feeds::{S, doorbell, message, name, options, retention};

fn registry() -> Registry {
    Registry::new(options(retention(u64::MAX)))
}

fn follow(registry: &Registry, target: &str) -> Arc<Feed> {
    registry.follow(&name(target), &Default::default(), S).unwrap()
}

fn publish(registry: &Registry, topic: &str) {
    registry.publish(&Topic::new(topic).unwrap(), &mut None, message(b"x"), S).unwrap();
}

/// How many frames a feed has had.
fn count(feed: &Feed) -> u64 {
    feed.open(LaneKind::RAW, &doorbell(), 0).unwrap().reader.head().ordinal - 1
}

/// A core that takes its time to wake up, as far as a publisher can tell: until then the topic that
/// it published to is locked.
struct Slow {
    is_rung: Sender<()>,
    may_go_on: Mutex<Receiver<()>>,
}

impl Wake for Slow {
    fn wake(&self) {
        self.is_rung.send(()).unwrap();
        self.may_go_on.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn others_go_on_while_a_pattern_is_wired_and_none_is_answered_before() {
    let registry = registry();
    ["a", "b", "c"].iter().for_each(|topic| publish(&registry, topic));
    let ((is_rung, rung), (go_on, may_go_on)) = (channel(), channel());
    let slow =
        Arc::new(Doorbell::new(Box::new(Slow { is_rung, may_go_on: Mutex::new(may_go_on) })));
    let _opened = follow(&registry, "b").open(LaneKind::RAW, &slow, 0).unwrap();
    assert!(slow.park());
    let is_released = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| publish(&registry, "b"));
        rung.recv_timeout(DEADLINE).unwrap();
        // Two cores ask for the same pattern, and cannot get past `b`.
        for _ in 0..2 {
            scope.spawn(|| {
                let pattern = follow(&registry, "#");
                assert!(is_released.load(Ordering::SeqCst), "answered before all were wired");
                let before = count(&pattern);
                ["a", "b", "c", "d"].iter().for_each(|topic| publish(&registry, topic));
                assert!(count(&pattern) >= before + 4);
            });
        }
        let (is_done, done) = channel();
        let registry = &registry;
        scope.spawn(move || {
            while registry.usage().patterns == 0 {
                thread::yield_now();
            }
            for _ in 0..1000 {
                publish(registry, "a");
            }
            publish(registry, "d");
            follow(registry, "d/other");
            is_done.send(()).unwrap();
        });
        let went_on = done.recv_timeout(DEADLINE);
        is_released.store(true, Ordering::SeqCst);
        go_on.send(()).unwrap();
        assert!(went_on.is_ok(), "nothing was published while the pattern was wired");
    });
    let pattern = follow(&registry, "#");
    let before = count(&pattern);
    ["a", "b", "c", "d"].iter().for_each(|topic| publish(&registry, topic));
    assert_eq!(count(&pattern), before + 4, "each once");
}

#[test]
fn topics_and_patterns_that_come_at_once_find_each_other_once() {
    const TOPICS: usize = 400;
    const PATTERNS: [&str; 8] = ["#", "a/#", "a/+", "+/+", "a/+/+", "b/#", "+/7", "a/+/#"];
    let registry = &registry();
    thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                (half..TOPICS).step_by(2).for_each(|at| publish(registry, &format!("a/{at}")));
            });
            scope.spawn(move || {
                for pattern in PATTERNS {
                    follow(registry, pattern);
                    thread::yield_now();
                }
            });
        }
    });
    for pattern in PATTERNS {
        let feed = follow(registry, pattern);
        let matching = |at: &usize| {
            let topic = Topic::new(&format!("a/{at}")).unwrap();
            feed.target().matches(&topic)
        };
        let (before, expected) = (count(&feed), (0..TOPICS).filter(matching).count() as u64);
        (0..TOPICS).for_each(|at| publish(registry, &format!("a/{at}")));
        assert_eq!(count(&feed), before + expected, "{pattern}");
    }
}

/// Topics are wired some thousands at a time.
#[test]
fn of_very_many_topics_none_is_left_out() {
    const TOPICS: usize = 10_000;
    let registry = registry();
    let topics: Vec<String> =
        (0..TOPICS).map(|at| format!("{}/{at}", ["a", "a-b", "b", "pmu"][at % 4])).collect();
    topics.iter().for_each(|topic| publish(&registry, topic));
    publish(&registry, "a");
    for (pattern, expected) in
        [("#", TOPICS + 1), ("a/#", TOPICS / 4 + 1), ("pmu/+", TOPICS / 4), ("+/4", 1), ("c/#", 0)]
    {
        let feed = follow(&registry, pattern);
        topics.iter().for_each(|topic| publish(&registry, topic));
        publish(&registry, "a");
        assert_eq!(count(&feed), expected as u64, "{pattern}");
    }
}
