//! The single subscriber sockets of a plan and the publishers that each follows, drawn by seed. A
//! pure function of the scenario, the layout and the publishers.

use std::net::IpAddr;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::plan::follows::Follows;
use crate::plan::layout::Layout;
use crate::plan::overlaid;
use crate::plan::publisher::{PublisherPlan, wall_pattern};
use crate::scenario::groups::{Popularity, SubscriberGroup, TopicsEach};
use crate::scenario::scenario::Scenario;

/// One subscriber socket.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriberPlan {
    /// The request path, percent-encoded.
    pub path: String,
    /// The local address to bind, if the kernel's choice would run out of ports.
    pub source: Option<IpAddr>,
    /// Index into `Plan::classes`.
    pub class: u16,
    /// The publishers whose frames it must receive.
    pub follows: Follows,
}

/// Every subscriber socket, and the publishers of those that follow several.
pub(crate) struct Audience {
    pub(crate) subscribers: Vec<SubscriberPlan>,
    pub(crate) followed: Vec<u32>,
}

impl Audience {
    pub(crate) fn draw(
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

/// The topics of a socket, and the one topic or pattern that matches them.
pub(crate) fn topics<'p>(
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

/// The publishers of one dashboard in the order they were drawn: K different ones, or none if it
/// follows all.
pub(crate) fn draw(
    group: &SubscriberGroup,
    publishers: u32,
    rng: &mut Xoshiro256PlusPlus,
) -> Vec<u32> {
    let count = match group.topics {
        TopicsEach::All => return Vec::new(),
        // The alarm publisher comes after the others.
        TopicsEach::Alarms => return vec![publishers],
        TopicsEach::Count(count) => count,
    };
    if let Popularity::Zipf(exponent) = group.popularity {
        return draw_by_rank(count as usize, publishers, exponent, rng);
    }
    let mut drawn: Vec<u32> = Vec::with_capacity(count as usize);
    // Floyd's sampling without repeats: it needs one draw per publisher wanted, whatever the total.
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

/// The sockets of one dashboard: one for everything, or one per topic.
pub(crate) fn follow(
    group: &SubscriberGroup,
    mut drawn: Vec<u32>,
    followed: &mut Vec<u32>,
) -> Vec<Follows> {
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
