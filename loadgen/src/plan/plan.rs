//! The plan of one run: every socket, its path, class and schedule, as a pure function of the
//! scenario, the layout and the seed. Must not open sockets, read clocks or ask the host anything.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::codec::dialect::Dialect;
use crate::codec::form::{Form, Pace};
use crate::codec::payload::Payload;
use crate::codec::track::Track;
use crate::os::tls::TlsPlan;
use crate::plan::budget::Layout;
use crate::plan::deviation::Deviation;
use crate::plan::follows::Follows;
use crate::plan::laps::Course;
use crate::plan::overlaid;
use crate::plan::part::Part;
use crate::scenario::attendance::Attendance;
use crate::scenario::groups::{ClassKind, Popularity, SubscriberGroup, TopicsEach};
use crate::scenario::kill::KillPlan;
use crate::scenario::limits::FIRST_PUBLISHER_ID;
use crate::scenario::publishers::{Phase, PublisherGroup};
use crate::scenario::scenario::Scenario;
use crate::time::rate::Rate;

/// Everything the data plane needs to know, resolved down to single sockets.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Told apart from earlier runs against the same server by this number.
    pub run_id: u32,
    /// The seed all choices were drawn from.
    pub seed: u64,
    /// Where to connect to.
    pub target: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// What shows the server who is asking.
    pub token: Option<String>,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsPlan>,
    /// What kind of server it is.
    pub dialect: Dialect,
    /// Published and verified, but kept out of the latency histograms.
    pub warmup: Duration,
    /// The measured phase.
    pub measure: Duration,
    /// What happens in the course of it.
    pub course: Course,
    /// How long to wait at the end for frames that are still under way.
    pub drain: Duration,
    /// Sockets opened per second, all threads together.
    pub connect_rate: u32,
    /// One per publisher socket.
    pub publishers: Vec<PublisherPlan>,
    /// Threads that share the publishers.
    pub publisher_threads: usize,
    /// One per subscriber socket, in ramp order.
    pub subscribers: Vec<SubscriberPlan>,
    /// What the ranges of `Follows::Many` lie in: the publishers of each dashboard, in order.
    pub followed: Arc<[u32]>,
    /// The pattern that matches every publisher's topic.
    pub wall: String,
    /// Threads that share the subscribers round-robin, each with a private descriptor table.
    pub subscriber_threads: usize,
    /// What `SubscriberPlan::class` indexes.
    pub classes: Vec<ClassPlan>,
    /// One of this many frames is sampled for the spread between first and last receiver.
    pub spread_every: u32,
    /// The CPUs the generator's threads are pinned to.
    pub cpus: Option<Vec<usize>>,
    /// Sockets to be made vanish during the measured phase.
    pub kill: Option<KillPlan>,
    /// The share of publishers and subscribers that is carried here. `subscribers` holds no others;
    /// `publishers` holds all, because anybody's frames may arrive.
    pub part: Part,
    /// What the instrument itself does wrong, to show that it notices.
    pub disturbance: Disturbance,
}

/// An error put into the instrument on purpose, by its self-test alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disturbance {
    /// A publisher thread stands still: when, from the start of the measured phase, and how long.
    pub publisher_stop: Option<(Duration, Duration)>,
    /// Added to the instant of every arrival, as if receivers had a clock of their own, ns.
    pub receiver_shift_ns: i64,
}

/// One publisher socket.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherPlan {
    /// IDCODE of its C37.118 frames, and the key of its frames whatever the payload.
    pub id: u16,
    /// The topic it publishes to.
    pub topic: String,
    /// The request path, percent-encoded.
    pub path: String,
    /// Frames per second.
    pub rate: Rate,
    /// Distance of its instants from the grid, below one period.
    pub offset_ns: u64,
    /// Upper bound of its deterministic jitter; 0 for none.
    pub jitter_ns: u64,
    /// What its frames carry.
    pub payload: Payload,
    /// What it does otherwise than its schedule says, on purpose.
    pub deviation: Deviation,
    /// The frames themselves, where they are recorded ones.
    pub recorded: Option<Arc<Track>>,
}

/// One subscriber socket.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriberPlan {
    /// The request path, percent-encoded.
    pub path: String,
    /// The local address to bind, where the kernel's choice would run out of ports.
    pub source: Option<IpAddr>,
    /// Index into `Plan::classes`.
    pub class: u16,
    /// Whose frames it must receive.
    pub follows: Follows,
}

/// A named class of subscribers; results are kept apart by class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassPlan {
    /// The name of the scenario's subscriber group.
    pub name: String,
    /// How its sockets read.
    pub kind: ClassKind,
    /// In which form they get frames.
    pub form: Form,
    /// Which of them.
    pub pace: Pace,
    /// Whether they offer to take compressed messages.
    pub deflate: bool,
    /// When they are there.
    pub attendance: Attendance,
}

impl ClassPlan {
    /// Healthy raw subscribers of everything that is published.
    pub fn raw(name: &str) -> ClassPlan {
        ClassPlan {
            name: name.to_owned(),
            kind: ClassKind::Healthy,
            form: Form::Raw,
            pace: Pace::default(),
            deflate: false,
            attendance: Attendance::default(),
        }
    }
}

/// What a plan needs beside the scenario and the layout.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Where to connect to.
    pub target: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// What shows the server who is asking.
    pub token: Option<String>,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsPlan>,
    /// Told apart from earlier runs against the same server by this number.
    pub run_id: u32,
}

impl Plan {
    /// What a subscriber asks for: each of its topics, or the pattern that stands for all if the
    /// server has patterns.
    pub fn subscriptions(&self, follows: Follows) -> Vec<&str> {
        let (topics, wall) = topics(follows, &self.publishers, &self.followed, &self.wall);
        let is_pattern = follows == Follows::All && self.dialect.has_patterns();
        if is_pattern { vec![wall] } else { topics }
    }

    /// The publishers a subscriber follows, in order.
    pub fn followed(&self, follows: Follows) -> impl Iterator<Item = u32> + use<'_> {
        follows.publishers(&self.followed, self.publishers.len())
    }

    /// How many messages are worth remembering: a second of them, so that sockets that are that far
    /// apart share the work on each, and more than a tick of all publishers, however slow, because
    /// some meet in a slot.
    pub fn messages_remembered(&self) -> usize {
        let rates = self.publishers.iter().map(|publisher| publisher.rate.per_second());
        (rates.sum::<f64>() as usize).max(self.publishers.len() * 32)
    }

    /// When a subscriber comes, from the start of the measured phase; `None` for one that is there
    /// before, or that an overlay has come.
    pub fn comes(&self, subscriber: u32) -> Option<Duration> {
        let profile = self.course.of_subscribers()?;
        let class = self.subscribers.get(subscriber as usize)?.class;
        let attendance = self.classes.get(usize::from(class))?.attendance;
        // They are in the order that was drawn, so any first part of them is a sample of all.
        let comes = profile.comes(subscriber as usize, self.subscribers.len(), self.measure);
        comes.filter(|_| attendance.joins.is_none())
    }

    /// Resolves a scenario down to sockets. The same arguments give the same plan on any machine.
    pub fn build(scenario: &Scenario, layout: &Layout, destination: Destination) -> Plan {
        let dialect = &scenario.target.dialect;
        let mut publishers = publishers(&scenario.publishers, dialect);
        let (course, measure) = (Course::of(scenario), scenario.phases.measured());
        course.profile.inspect(|profile| profile.delay(&mut publishers, measure));
        overlaid::deviate(scenario, &mut publishers);
        let groups = overlaid::audience(scenario);
        let audience = Audience::draw(scenario, &groups, layout, &publishers);
        let Audience { subscribers, followed } = audience;
        Plan {
            run_id: destination.run_id,
            seed: scenario.seed,
            target: destination.target,
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

    /// What one of several hosts carries of a whole plan.
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

    /// The publishers that are carried here, by number.
    pub fn own_publishers(&self) -> impl Iterator<Item = (u32, &PublisherPlan)> {
        (0u32..).zip(&self.publishers).filter(|(number, _)| self.part.has(*number))
    }

    /// Threads that have a publisher of this part.
    pub fn publishing_threads(&self) -> usize {
        self.publisher_threads.max(1).min(self.own_publishers().count())
    }
}

/// More sampled frames a second than this would cost memory without telling more.
const SPREAD_SAMPLES_PER_S: f64 = 50.0;

/// All sockets a second such that no group exceeds its own rate, as the groups ramp interleaved.
pub fn connect_rate(groups: &[SubscriberGroup]) -> u32 {
    let groups = || groups.iter().filter(|group| group.attendance.joins.is_none());
    let seconds = |g: &SubscriberGroup| g.sockets() as f64 / f64::from(g.ramp_per_s.max(1));
    let longest_s = groups().map(seconds).fold(0.0, f64::max);
    let sockets: u64 = groups().map(SubscriberGroup::sockets).sum();
    if longest_s <= 0.0 {
        return 1;
    }
    ((sockets as f64 / longest_s).floor() as u32).max(1)
}

fn publishers(groups: &[PublisherGroup], dialect: &Dialect) -> Vec<PublisherPlan> {
    let ids = FIRST_PUBLISHER_ID..=u16::MAX;
    let members = groups.iter().flat_map(|group| (0..group.count).map(move |i| (group, i)));
    ids.zip(members).map(|(id, (group, index))| publisher(id, group, index, dialect)).collect()
}

fn publisher(id: u16, group: &PublisherGroup, index: u32, dialect: &Dialect) -> PublisherPlan {
    let id = group.recorded.as_ref().map_or(id, |track| track.id());
    let topic = format!("{}/{id}", group.topic_prefix);
    let (offset_ns, jitter_ns) = match group.phase {
        Phase::Aligned => (0, 0),
        Phase::Staggered => (share_of(group.rate.period_ns(), index, group.count), 0),
        Phase::Jitter { max } => (0, u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)),
    };
    PublisherPlan {
        id,
        path: dialect.publish_path(&topic),
        topic,
        rate: group.rate,
        offset_ns,
        jitter_ns,
        payload: group.payload,
        deviation: Deviation { burst: group.burst, ..Deviation::default() },
        recorded: group.recorded.clone(),
    }
}

fn share_of(whole: u64, index: u32, count: u32) -> u64 {
    let share = u128::from(whole) * u128::from(index) / u128::from(count.max(1));
    u64::try_from(share).unwrap_or(whole)
}

/// Every subscriber socket, and whom those with several publishers follow.
struct Audience {
    subscribers: Vec<SubscriberPlan>,
    followed: Vec<u32>,
}

impl Audience {
    fn draw(
        scenario: &Scenario,
        groups: &[SubscriberGroup],
        layout: &Layout,
        publishers: &[PublisherPlan],
    ) -> Audience {
        let fleet = overlaid::fleet(publishers) as u32;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(scenario.seed);
        let mut followed: Vec<u32> = Vec::new();
        let mut sockets: Vec<(u16, Follows)> = Vec::new();
        for (class, group) in (0u16..).zip(groups) {
            for _ in 0..group.count {
                let drawn = draw(group, fleet, &mut rng);
                let follows = follow(group, drawn, &mut followed);
                sockets.extend(follows.into_iter().map(|follows| (class, follows)));
            }
        }
        sockets.shuffle(&mut rng);
        let wall = wall_pattern(&scenario.publishers);
        let path = |class: u16, follows: Follows| {
            let group = groups.get(usize::from(class))?;
            let (topics, subscription) = topics(follows, publishers, &followed, &wall);
            let path = scenario.target.dialect.feed_path(group.form, subscription, &topics);
            let query =
                if group.form.is_multiplexed() { String::new() } else { group.pace.query() };
            Some(path + &query)
        };
        let socket = |(index, (class, follows)): (usize, (u16, Follows))| SubscriberPlan {
            path: path(class, follows).unwrap_or_default(),
            source: layout.source_of(index),
            class,
            follows,
        };
        let subscribers = sockets.into_iter().enumerate().map(socket).collect();
        Audience { subscribers, followed }
    }
}

/// The topics of a socket, and the one topic or pattern that stands for them.
fn topics<'p>(
    follows: Follows,
    publishers: &'p [PublisherPlan],
    followed: &[u32],
    wall: &'p str,
) -> (Vec<&'p str>, &'p str) {
    let numbers = follows.publishers(followed, publishers.len());
    let topics: Vec<&str> = numbers
        .filter_map(|number| publishers.get(number as usize))
        .map(|publisher| publisher.topic.as_str())
        .collect();
    let subscription = match (follows, topics.first()) {
        (Follows::One(_), Some(topic)) => topic,
        _ => wall,
    };
    (topics, subscription)
}

/// The publishers of one dashboard in the order they were drawn: K different ones, or none for all
/// of them at once.
fn draw(group: &SubscriberGroup, publishers: u32, rng: &mut Xoshiro256PlusPlus) -> Vec<u32> {
    let count = match group.topics {
        TopicsEach::All => return Vec::new(),
        // Their publisher comes after the fleet.
        TopicsEach::Alarms => return vec![publishers],
        TopicsEach::Count(count) => count,
    };
    if let Popularity::Zipf(exponent) = group.popularity {
        return draw_by_rank(count as usize, publishers, exponent, rng);
    }
    let mut drawn: Vec<u32> = Vec::with_capacity(count as usize);
    // Floyd's way to draw without repeats: as many draws as are wanted, whatever the fleet's size.
    for upper in publishers.saturating_sub(count)..publishers {
        let candidate = rng.random_range(0..=upper);
        drawn.push(if drawn.contains(&candidate) { upper } else { candidate });
    }
    drawn
}

/// Draws without repeats, the n-th publisher in proportion to 1/n to a power: each gets an
/// exponential waiting time of that rate, and the first ones are taken (Efraimidis and Spirakis,
/// 2006).
fn draw_by_rank(count: usize, publishers: u32, exponent: f64, rng: &mut impl RngExt) -> Vec<u32> {
    let wait = |index: u32, rng: &mut dyn FnMut() -> f64| {
        let weight = f64::from(index + 1).powf(-exponent);
        (-(1.0 - rng()).ln() / weight, index)
    };
    let mut uniform = || rng.random::<f64>();
    let mut waits: Vec<_> = (0..publishers).map(|index| wait(index, &mut uniform)).collect();
    waits.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    waits.into_iter().take(count).map(|(_, index)| index).collect()
}

/// The sockets of one dashboard: one for everything, or one for each topic.
fn follow(group: &SubscriberGroup, mut drawn: Vec<u32>, followed: &mut Vec<u32>) -> Vec<Follows> {
    match group.topics {
        TopicsEach::All => vec![Follows::All],
        _ if group.form.is_multiplexed() => {
            drawn.sort_unstable();
            let many = Follows::Many { from: followed.len() as u32, count: drawn.len() as u32 };
            followed.extend(drawn);
            vec![many]
        }
        _ => drawn.into_iter().map(Follows::One).collect(),
    }
}

/// The pattern of a wall: the common prefix if there is one, everything otherwise.
pub fn wall_pattern(groups: &[PublisherGroup]) -> String {
    let mut prefixes = groups.iter().map(|group| group.topic_prefix.as_str());
    match prefixes.next() {
        Some(first) if prefixes.all(|prefix| prefix == first) => format!("{first}/#"),
        _ => "#".to_owned(),
    }
}

fn class(group: &SubscriberGroup, course: Course) -> ClassPlan {
    let grows = course.of_subscribers().is_some();
    ClassPlan {
        name: group.name.clone(),
        kind: group.class,
        form: group.form,
        pace: group.pace,
        deflate: group.deflate,
        attendance: Attendance { grows, ..group.attendance },
    }
}

fn spread_every(publishers: &[PublisherPlan]) -> u32 {
    let frames_per_s: f64 = publishers.iter().map(|p| p.rate.per_second()).sum();
    (frames_per_s / SPREAD_SAMPLES_PER_S).ceil().max(1.0) as u32
}

#[cfg(test)]
mod tests {
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
