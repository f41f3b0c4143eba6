//! The plan of one run: every socket, its path, class and schedule, as a pure function of the
//! scenario, the layout and the seed. Must not open sockets, read clocks or ask the host anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::dialect::dialect::Dialect;
use crate::os::tls::TlsPlan;
use crate::plan::audience::{Audience, SubscriberPlan, topics};
use crate::plan::class::{ClassPlan, class};
use crate::plan::course::Course;
use crate::plan::follows::Follows;
use crate::plan::layout::Layout;
use crate::plan::part::Part;
use crate::plan::publisher::{PublisherPlan, publishers, wall_pattern};
use crate::plan::{overlaid, publisher};
use crate::scenario::groups::SubscriberGroup;
use crate::scenario::kill::KillPlan;
use crate::scenario::scenario::Scenario;

/// Everything the data plane needs, resolved to single sockets.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// A number that distinguishes this run from earlier runs against the same server.
    pub run_id: u32,
    /// The seed all choices were drawn from.
    pub seed: u64,
    /// Where to connect to.
    pub target: SocketAddr,
    /// Where subscribers connect to instead, if anywhere: see [`Plan::node_of`].
    pub subscriber_nodes: Vec<SocketAddr>,
    /// The `Host` header.
    pub host: String,
    /// The credentials of the clients.
    pub token: Option<String>,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsPlan>,
    /// What kind of server it is.
    pub dialect: Dialect,
    /// Published and verified, but excluded from the latency histograms.
    pub warmup: Duration,
    /// The measured phase.
    pub measure: Duration,
    /// The laps and the growth of the load.
    pub course: Course,
    /// The longest wait at the end for frames in transit.
    pub drain: Duration,
    /// Sockets opened per second, all threads together.
    pub connect_rate: u32,
    /// One per publisher socket.
    pub publishers: Vec<PublisherPlan>,
    /// Threads that share the publishers.
    pub publisher_threads: usize,
    /// One per subscriber socket, in ramp order.
    pub subscribers: Vec<SubscriberPlan>,
    /// The target of the ranges in `Follows::Many`: the publishers of each dashboard, in order.
    pub followed: Arc<[u32]>,
    /// The pattern that matches every publisher's topic.
    pub wall: String,
    /// Threads that share the subscribers round-robin, each with a private descriptor table.
    pub subscriber_threads: usize,
    /// The classes that `SubscriberPlan::class` indexes.
    pub classes: Vec<ClassPlan>,
    /// One of this many frames is sampled for the spread between its first and last receiver.
    pub spread_every: u32,
    /// The CPUs the generator's threads are pinned to.
    pub cpus: Option<Vec<usize>>,
    /// Sockets to reset during the measured phase.
    pub kill: Option<KillPlan>,
    /// The share of publishers and subscribers that this process carries. `subscribers` holds only
    /// those; `publishers` holds all, because frames of every publisher may arrive.
    pub part: Part,
    /// A fault in the instrument, to show that it is detected.
    pub disturbance: Disturbance,
}

/// A fault put into the instrument on purpose; only the self-test uses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disturbance {
    /// A publisher thread stalls: when, from the start of the measured phase, and for how long.
    pub publisher_stop: Option<(Duration, Duration)>,
    /// An offset added to every arrival instant, as if receivers had another clock, ns.
    pub receiver_shift_ns: i64,
}

/// The inputs of a plan besides the scenario and the layout.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Where to connect to.
    pub target: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// The credentials of the clients.
    pub token: Option<String>,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsPlan>,
    /// A number that distinguishes this run from earlier runs against the same server.
    pub run_id: u32,
}

impl Plan {
    /// What a subscriber subscribes to: each of its topics, or the pattern that matches all of them
    /// if the server has patterns.
    pub fn subscriptions(&self, follows: Follows) -> Vec<&str> {
        let (topics, wall) = topics(follows, &self.publishers, &self.followed, &self.wall);
        let is_pattern = follows == Follows::All && self.dialect.has_patterns();
        if is_pattern { vec![wall] } else { topics }
    }

    /// The publishers a subscriber follows, in order.
    pub fn followed(&self, follows: Follows) -> impl Iterator<Item = u32> + use<'_> {
        follows.publishers(&self.followed, self.publishers.len())
    }

    /// The number of messages to cache. It covers one second of messages, so that sockets this far
    /// apart share the work. It is more than one tick of all publishers, however slow they are,
    /// because some messages share a slot.
    pub fn messages_remembered(&self) -> usize {
        let rates = self.publishers.iter().map(|publisher| publisher.rate.per_second());
        (rates.sum::<f64>() as usize).max(self.publishers.len() * 32)
    }

    /// The node that a subscriber of this plan connects to, after so many attempts that failed.
    pub fn node_of(&self, subscriber: u32, failed: u32) -> SocketAddr {
        let count = self.subscriber_nodes.len().max(1);
        let at = subscriber.wrapping_add(failed) as usize % count;
        self.subscriber_nodes.get(at).copied().unwrap_or(self.target)
    }

    /// When a subscriber joins, from the start of the measured phase; `None` if it is connected
    /// before, or if an overlay makes it join.
    pub fn joins_at(&self, subscriber: u32) -> Option<Duration> {
        let profile = self.course.of_subscribers()?;
        let class = self.subscribers.get(subscriber as usize)?.class;
        let lifecycle = self.classes.get(usize::from(class))?.lifecycle;
        // Dashboards are in the order they were drawn, so every leading part is a random sample of
        // all.
        let joins_at = profile.joins_at(subscriber as usize, self.subscribers.len(), self.measure);
        joins_at.filter(|_| lifecycle.joins.is_none())
    }

    /// Resolves a scenario to single sockets. The same arguments give the same plan on any machine.
    pub fn build(scenario: &Scenario, layout: &Layout, destination: Destination) -> Plan {
        let dialect = &scenario.target.dialect;
        let mut publishers = publishers(&scenario.publishers, dialect);
        let (course, measure) = (Course::of(scenario), scenario.phases.measured());
        course.profile.inspect(|profile| publisher::delay(&mut publishers, *profile, measure));
        overlaid::deviate(scenario, &mut publishers);
        let groups = overlaid::audience(scenario);
        let audience = Audience::draw(scenario, &groups, layout, &publishers);
        let Audience { subscribers, followed } = audience;
        Plan {
            run_id: destination.run_id,
            seed: scenario.seed,
            target: destination.target,
            subscriber_nodes: scenario.target.subscriber_nodes.clone(),
            host: destination.host,
            token: destination.token,
            tls: destination.tls,
            dialect: dialect.clone(),
            warmup: scenario.phases.warmup,
            measure,
            course,
            drain: scenario.phases.drain,
            connect_rate: connect_rate(&groups),
            spread_every: spread_every(&publishers),
            publishers,
            publisher_threads: layout.publisher_threads,
            subscribers,
            followed: followed.into(),
            wall: wall_pattern(&scenario.publishers),
            subscriber_threads: layout.subscriber_threads,
            classes: groups.iter().map(|group| class(group, course)).collect(),
            cpus: layout.generator_cpus.clone(),
            kill: scenario.kill,
            part: Part::default(),
            disturbance: Disturbance::default(),
        }
    }

    /// The part of a plan that one of several hosts carries.
    pub fn restricted(mut self, part: Part, layout: &Layout) -> Plan {
        let subscribers = (0u32..).zip(self.subscribers).filter(|(number, _)| part.has(*number));
        self.subscribers = subscribers.map(|(_, subscriber)| subscriber).collect();
        for (place, subscriber) in self.subscribers.iter_mut().enumerate() {
            subscriber.source = layout.source_of(place);
        }
        self.connect_rate = (self.connect_rate / part.of.max(1)).max(1);
        self.part = part;
        self
    }

    /// The publishers of this part, by number.
    pub fn own_publishers(&self) -> impl Iterator<Item = (u32, &PublisherPlan)> {
        (0u32..).zip(&self.publishers).filter(|(number, _)| self.part.has(*number))
    }

    /// The threads with a publisher of this part.
    pub fn publishing_threads(&self) -> usize {
        self.publisher_threads.max(1).min(self.own_publishers().count())
    }
}

/// The most sampled frames per second; more would only cost memory.
const SPREAD_SAMPLES_PER_S: f64 = 50.0;

/// The total ramp rate, chosen so that no group exceeds its own rate; groups ramp interleaved.
pub fn connect_rate(groups: &[SubscriberGroup]) -> u32 {
    let groups = || groups.iter().filter(|group| group.lifecycle.joins.is_none());
    let seconds = |g: &SubscriberGroup| g.sockets() as f64 / f64::from(g.ramp_per_s.max(1));
    let longest_s = groups().map(seconds).fold(0.0, f64::max);
    let sockets: u64 = groups().map(SubscriberGroup::sockets).sum();
    if longest_s <= 0.0 {
        return 1;
    }
    ((sockets as f64 / longest_s).floor() as u32).max(1)
}

fn spread_every(publishers: &[PublisherPlan]) -> u32 {
    let frames_per_s: f64 = publishers.iter().map(|p| p.rate.per_second()).sum();
    (frames_per_s / SPREAD_SAMPLES_PER_S).ceil().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use crate::codec::form::{Form, Pace};
    use crate::plan::audience::draw;
    use crate::plan::publisher::wall_pattern;
    use crate::scenario::groups::Popularity;
    use crate::time::rate::Rate;
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;
    use std::collections::HashSet;

    use super::*;

    const TWO_GROUPS: &str = r#"
        name = "t"
        publishers = [{ name = "a", count = 4, fps = 50, phase = "staggered" },
                      { name = "b", count = 2, fps = "60000/1001", payload = "bytes:64" }]
        subscribers = [{ name = "desk", count = 30, topics_each = 3, ramp = "100/s" },
                       { name = "wall", count = 2, topics_each = "all", ramp = "1/s" }]
        phases = { warmup = "1s", measure = "2s", drain = "1s" }
    "#;

    fn plan(seed: u64) -> Plan {
        let scenario = Scenario { seed, ..Scenario::parse(TWO_GROUPS).unwrap() };
        let destination = Destination {
            target: "127.0.0.1:9400".parse().unwrap(),
            host: "127.0.0.1:9400".into(),
            token: None,
            tls: None,
            run_id: 7,
        };
        Plan::build(&scenario, &Layout::default(), destination)
    }

    #[test]
    fn the_plan_is_a_pure_function_of_the_seed() {
        assert_eq!(plan(1), plan(1));
        let followed = |seed| plan(seed).subscribers.into_iter().map(|s| s.follows);
        assert!(followed(1).ne(followed(2)));
    }

    #[test]
    fn ids_offsets_and_paths_follow_from_the_groups() {
        let plan = plan(1);
        let ids: Vec<_> = plan.publishers.iter().map(|p| p.id).collect();
        assert_eq!(ids, [1001, 1002, 1003, 1004, 1005, 1006]);
        let offsets: Vec<_> = plan.publishers.iter().map(|p| p.offset_ns).collect();
        assert_eq!(offsets, [0, 5_000_000, 10_000_000, 15_000_000, 0, 0]);
        assert_eq!(plan.publishers[0].path, "/v1/publish/pmu/1001");
        let wall = plan.subscribers.iter().find(|s| s.follows == Follows::All).unwrap();
        assert_eq!(wall.path, "/v1/feed/pmu/%23");
    }

    #[test]
    fn every_dashboard_gets_its_number_of_different_feeds() {
        let scenario = Scenario::parse(TWO_GROUPS).unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        for _ in 0..100 {
            let drawn = draw(&scenario.subscribers[0], 6, &mut rng);
            let feeds: HashSet<u32> = drawn.iter().copied().collect();
            assert!((drawn.len(), feeds.len()) == (3, 3) && feeds.iter().all(|feed| *feed < 6));
        }
        let plan = plan(1);
        assert_eq!(plan.subscribers.len(), 92);
        assert_eq!(plan.subscribers.iter().filter(|s| s.class == 1).count(), 2);
    }

    #[test]
    fn the_first_publisher_is_followed_most_where_popularity_is_skewed() {
        let scenario = Scenario::parse(TWO_GROUPS).unwrap();
        let popularity = Popularity::Zipf(1.1);
        let group = SubscriberGroup { popularity, ..scenario.subscribers[0].clone() };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let mut followers = [0u32; 50];
        for _ in 0..2_000 {
            let drawn = draw(&group, 50, &mut rng);
            let feeds: HashSet<u32> = drawn.iter().copied().collect();
            assert_eq!((drawn.len(), feeds.len()), (3, 3));
            feeds.iter().for_each(|feed| followers[*feed as usize] += 1);
        }
        assert!(
            followers[0] > 3 * followers[9] && followers[9] > 2 * followers[49],
            "{followers:?}"
        );
    }

    #[test]
    fn a_multiplexed_dashboard_is_one_socket_with_its_feeds_in_order() {
        let mut scenario = Scenario::parse(TWO_GROUPS).unwrap();
        scenario.subscribers[0].form = Form::Bin;
        scenario.subscribers[1].pace = Pace { rate: Some(4), latest: false };
        let destination = Destination {
            target: "127.0.0.1:9400".parse().unwrap(),
            host: "127.0.0.1:9400".into(),
            token: None,
            tls: None,
            run_id: 7,
        };
        let plan = Plan::build(&scenario, &Layout::default(), destination);
        assert_eq!((plan.subscribers.len(), plan.followed.len()), (32, 90));
        for subscriber in &plan.subscribers {
            let followed: Vec<u32> = plan.followed(subscriber.follows).collect();
            assert!(followed.is_sorted_by(|a, b| a < b), "{followed:?}");
            let (path, count) = match subscriber.class {
                0 => ("/v1/ws", 3),
                _ => ("/v1/feed/pmu/%23?rate=4", 6),
            };
            assert_eq!((subscriber.path.as_str(), followed.len()), (path, count));
            let place = subscriber.follows.place_of(followed[1], &plan.followed);
            assert_eq!(place, Some(1));
        }
    }

    #[test]
    fn no_group_ramps_faster_than_it_asked_for() {
        let groups = Scenario::parse(TWO_GROUPS).unwrap().subscribers;
        // 2 walls at 1/s take 2 s, so all 92 sockets take 2 s.
        assert_eq!(connect_rate(&groups), 46);
    }

    #[test]
    fn walls_of_fleets_without_a_common_prefix_follow_everything() {
        let mut groups = Scenario::parse(TWO_GROUPS).unwrap().publishers;
        assert_eq!(wall_pattern(&groups), "pmu/#");
        groups[1].topic_prefix = "fdr".into();
        assert_eq!(wall_pattern(&groups), "#");
    }

    #[test]
    fn rates_are_exact_fractions() {
        for (text, num, den) in [("60", 60, 1), ("59.94", 5994, 100), ("60000/1001", 60000, 1001)] {
            assert_eq!(text.parse(), Ok(Rate { num, den }), "{text}");
        }
        for wrong in ["0", "-1", "1001", "x", "1/0", "", "1/100"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
