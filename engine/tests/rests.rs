//! How often a lane is swept: at once after a quiet time, and with a rest in between while it goes
//! on moving. Must not test what is delivered (that is `simulation`).

#![allow(clippy::unwrap_used)] // a failed step ends its test

use std::sync::Arc;

use gridcast::delivery::doorbell::{Doorbell, Wake};
use gridcast::delivery::sweep::{Lanes, Member, Step, Swept};
use gridcast::feed::epoch::Epoch;
use gridcast::feed::kind::LaneKind;
use gridcast::feed::log::{Feed, FeedName};
use gridcast::feed::message::Message;
use gridcast::feed::options::LagPolicy;
use gridcast::feed::retention::Retention;
use gridcast::feed::segment::LogBudget;
use gridcast::feed::topic::{Target, Topic};
use gridcast::frame::Kind;

const US: u64 = 1_000;
/// How long each sweep takes here, and what a rest may be at most.
const SWEEP_NS: u64 = 1_500 * US;
const REST_NS_MAX: u64 = 2_000 * US;

struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

/// A lane with one member, the feed behind it, and a clock.
struct Bed {
    feed: Arc<Feed>,
    doorbell: Arc<Doorbell>,
    lanes: Lanes,
    lane: u32,
    now_ns: u64,
}

impl Bed {
    fn new() -> Self {
        let lag = LagPolicy::Disconnect;
        let retention = Retention { frames_max: 1_000, bytes_max: 1 << 20, age_ns_max: None, lag };
        let target = Target::Topic(Topic::new("a").unwrap());
        let budget = Arc::new(LogBudget::new(1 << 30));
        let identity = (Epoch(1), 1);
        let name = FeedName { target, rate: None };
        let feed = Arc::new(Feed::new(name, identity, retention, &budget, 0));
        let doorbell = Arc::new(Doorbell::new(Box::new(Awake)));
        let mut lanes = Lanes::new(Arc::clone(&doorbell));
        let lane = lanes.open(&feed, LaneKind::RAW).unwrap();
        lanes.join(lane, Member { conn: 0, subscription: 0 });
        Self { feed, doorbell, lanes, lane, now_ns: 1 }
    }

    /// Answers whether the publisher may go on.
    fn publish(&self) -> bool {
        let message = Message::of_client(Kind::Text, &[b'x'; 1_000]);
        self.feed.publish(message, self.now_ns).unwrap().behind.is_none()
    }

    /// What a core does in a turn, before it sends anything. Answers a sweep that has visited all.
    fn turn(&mut self) -> Option<Swept> {
        while let Some(lane) = self.doorbell.take() {
            self.lanes.moved(lane, self.now_ns);
        }
        while let Some(lane) = self.lanes.rested(self.now_ns) {
            self.lanes.moved(lane, self.now_ns);
        }
        loop {
            match self.lanes.step() {
                Step::Visit(_) => {}
                Step::Finished(swept) => return Some(swept),
                Step::Idle => return None,
            }
        }
    }

    /// One sweep, and the time that it takes.
    fn sweep(&mut self, rest_ns_max: u64) {
        let swept = self.turn().unwrap();
        self.now_ns += SWEEP_NS;
        self.lanes.confirm(&swept, self.now_ns, rest_ns_max);
    }
}

#[test]
fn what_moves_after_a_quiet_time_is_swept_at_once() {
    let mut bed = Bed::new();
    for _ in 0..3 {
        bed.publish();
        bed.sweep(REST_NS_MAX);
        assert_eq!((bed.lanes.rest_ends_ns(), bed.lanes.is_due(bed.lane)), (None, false));
        bed.now_ns += SWEEP_NS;
    }
}

#[test]
fn what_moves_again_soon_rests_for_as_long_as_a_sweep_takes() {
    let mut bed = Bed::new();
    bed.publish();
    bed.sweep(REST_NS_MAX);
    let rests_until_ns = bed.now_ns + SWEEP_NS;
    for _ in 0..5 {
        bed.now_ns += SWEEP_NS / 10;
        bed.publish();
        assert!(bed.turn().is_none() && bed.lanes.is_due(bed.lane));
        assert_eq!(bed.lanes.rest_ends_ns(), Some(rests_until_ns));
    }
    bed.now_ns = rests_until_ns;
    bed.sweep(REST_NS_MAX);
    assert!(!bed.lanes.is_due(bed.lane), "one sweep was for all of it");
}

#[test]
fn what_moves_during_a_sweep_rests_after_it() {
    let mut bed = Bed::new();
    bed.publish();
    let swept = bed.turn().unwrap();
    bed.publish();
    assert!(bed.turn().is_none(), "what it visited is not flushed yet");
    bed.now_ns += SWEEP_NS;
    bed.lanes.confirm(&swept, bed.now_ns, REST_NS_MAX);
    assert_eq!(bed.lanes.rest_ends_ns(), Some(bed.now_ns + SWEEP_NS));
    bed.now_ns += SWEEP_NS;
    assert!(bed.turn().is_some());
}

#[test]
fn a_rest_is_no_longer_than_is_allowed() {
    for rest_ns_max in [0, 100 * US] {
        let mut bed = Bed::new();
        bed.publish();
        bed.sweep(rest_ns_max);
        bed.now_ns += rest_ns_max;
        bed.publish();
        assert!(bed.turn().is_some(), "after {rest_ns_max} ns");
    }
}

#[test]
fn publishers_that_wait_end_a_rest() {
    let mut bed = Bed::new();
    bed.publish();
    let swept = bed.turn().unwrap();
    bed.publish();
    bed.now_ns += SWEEP_NS;
    bed.lanes.confirm(&swept, bed.now_ns, REST_NS_MAX);
    assert!(bed.turn().is_none());
    while bed.publish() {}
    assert!(bed.turn().is_some());
}

#[test]
fn a_lane_that_rests_can_be_closed() {
    let mut bed = Bed::new();
    bed.publish();
    bed.sweep(REST_NS_MAX);
    bed.publish();
    assert!(bed.turn().is_none());
    bed.lanes.leave(bed.lane, 0, bed.now_ns);
    assert!(bed.lanes.is_empty() && bed.lanes.rest_ends_ns().is_none());
    bed.now_ns += REST_NS_MAX;
    assert!(bed.turn().is_none());
}
