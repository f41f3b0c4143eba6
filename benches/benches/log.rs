//! What a message costs the engine in user space: numbering and encoding it once, walking past it,
//! and handing it to a socket that costs nothing. Must not make system calls: with the floor
//! program's figure for one `write(2)`, these tell how much of a delivery is the engine's own.
#![allow(clippy::unwrap_used)] // a set-up that fails ends the benchmark

mod suite;

use std::hint::black_box;
use std::io::{self, IoSlice};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use gridcast::delivery::doorbell::{Doorbell, Tap, Wake};
use gridcast::delivery::flush::{Delivery, FlushState, FlushStats, Socket};
use gridcast::delivery::subscriptions::Subscription;
use gridcast::delivery::sweep::{Lanes, Member, Step};
use gridcast::feed::awaited::{AwaitedMax, Follower};
use gridcast::feed::cursor::Cursor;
use gridcast::feed::epoch::Epoch;
use gridcast::feed::kind::{Form, LaneKind};
use gridcast::feed::log::{Feed, FeedName, Opened};
use gridcast::feed::message::Message;
use gridcast::feed::options::{From, LagPolicy, Mode};
use gridcast::feed::registry::{Identity, Registry, RegistryOptions};
use gridcast::feed::retention::{Retention, RetentionClasses};
use gridcast::feed::topic::{Pattern, Target, Topic};
use gridcast::frame::Kind;

const TOPIC: &str = "pmu/1001/data";
/// Ten that select the topic.
const PATTERNS: [&str; 10] = [
    "#",
    "+/#",
    "pmu/#",
    "pmu/+/#",
    "pmu/1001/#",
    "+/+/+",
    "pmu/+/+",
    "+/1001/+",
    "+/+/data",
    "pmu/1001/+",
];
const MESSAGE: Message<'static> = Message::of_client(Kind::Binary, &[0x5A; 92]);
const FLUSH_BYTES_MAX: usize = 256 << 10;
const SUBSCRIBERS: u32 = 1_000;

fn main() {
    suite::run(|criterion| {
        publish(criterion);
        walk(criterion);
        flush(criterion);
        flush_many(criterion);
        sweep(criterion);
    });
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/publish 92 B");
    for sse_lanes in [0, 1] {
        group.bench_function(BenchmarkId::new("SSE lanes", sse_lanes), |bencher| {
            let mut bed = Bed::new(0);
            let _tap = (sse_lanes > 0).then(|| bed.tap(LaneKind::SSE));
            bencher.iter(|| bed.publish());
        });
    }
    for patterns in [0, 1, 10] {
        group.bench_function(BenchmarkId::new("patterns", patterns), |bencher| {
            let mut bed = Bed::new(patterns);
            bencher.iter(|| bed.publish());
        });
    }
    group.finish();
}

/// Time is per walk over everything retained, the rate per frame.
fn walk(criterion: &mut Criterion) {
    let frames = 1_000;
    let mut bed = Bed::new(0);
    (0..frames).for_each(|_| bed.publish());
    let opened = bed.feed().open(LaneKind::RAW, &bed.doorbell, 0).unwrap();
    let mut group = criterion.benchmark_group("log/walk");
    group.throughput(Throughput::Elements(frames));
    group.bench_function("1000 frames", |bencher| {
        bencher.iter(|| {
            let mut at = opened.reader.oldest();
            while at.ordinal < opened.reader.head().ordinal {
                at = opened.reader.after(black_box(at));
            }
            at
        });
    });
    group.finish();
}

/// A subscriber that was caught up, and frames that were published since. Time is per flush, the
/// rate per frame.
fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/flush 92 B");
    for frames in [1, 64] {
        let mut core = Core::with(1);
        let caught_up = core.deliveries[0].subscriptions()[0].cursor;
        (0..frames).for_each(|_| core.bed.publish());
        core.lanes.moved(core.lane, 0);
        group.throughput(Throughput::Elements(frames));
        group.bench_function(BenchmarkId::new("frames", frames), |bencher| {
            bencher.iter(|| {
                core.deliveries[0].subscriptions_mut()[0].cursor = caught_up;
                core.flush(0)
            });
        });
    }
    group.finish();
}

/// A multiplexed subscriber that waits for a frame of each of its topics. Time is until it is
/// caught up, the rate per frame.
fn flush_many(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/flush of many topics 92 B");
    for topics in [64, 4_096] {
        let mut dashboard = Dashboard::with(topics);
        group.throughput(Throughput::Elements(u64::from(topics)));
        group.bench_function(BenchmarkId::new("topics", topics), |bencher| {
            bencher.iter(|| dashboard.catch_up());
        });
    }
    group.finish();
}

/// One frame to a thousand caught-up subscribers, from its publishing to the last flush. Time is
/// per frame, the rate per delivery.
fn sweep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/sweep of 1000");
    group.throughput(Throughput::Elements(u64::from(SUBSCRIBERS)));
    group.bench_function("visits", |bencher| {
        let mut core = Core::with(SUBSCRIBERS);
        bencher.iter(|| assert_eq!(core.turn(|_, _| ()), SUBSCRIBERS));
    });
    group.bench_function("visits and flushes", |bencher| {
        let mut core = Core::with(SUBSCRIBERS);
        bencher.iter(|| assert_eq!(core.turn(|core, conn| core.flush(conn)), SUBSCRIBERS));
    });
    group.finish();
}

/// A topic with its publisher.
struct Bed {
    registry: Registry,
    topic: Topic,
    held: Option<Arc<Feed>>,
    doorbell: Arc<Doorbell>,
    now_ns: u64,
}

impl Bed {
    fn new(patterns: usize) -> Self {
        let retention = Retention {
            frames_max: 4_096,
            bytes_max: 1 << 20,
            age_ns_max: None,
            lag: LagPolicy::Disconnect,
        };
        let registry = Registry::new(RegistryOptions {
            topics_max: 10_000,
            patterns_max: 1000,
            rates_per_target_max: 16,
            awaited_max: AwaitedMax::default(),
            log_bytes_max: 1 << 30,
            compact_after_ns: u64::MAX,
            forget_after_ns: u64::MAX,
            classes: RetentionClasses::new(Vec::new(), retention),
            epoch: Epoch(1),
            identity: Identity::PerFeed,
        });
        for pattern in &PATTERNS[..patterns] {
            let target = Target::Pattern(Pattern::new(pattern).unwrap());
            registry.follow(&FeedName { target, rate: None }, &Follower::default(), 0).unwrap();
        }
        let doorbell = Arc::new(Doorbell::new(Box::new(Awake)));
        Self { registry, topic: Topic::new(TOPIC).unwrap(), held: None, doorbell, now_ns: 0 }
    }

    fn feed(&self) -> Arc<Feed> {
        let name = FeedName { target: Target::Topic(self.topic.clone()), rate: None };
        self.registry.follow(&name, &Follower::default(), self.now_ns).unwrap()
    }

    /// Opens a lane, whose reader is let go of: one that nobody refreshes keeps every segment.
    fn tap(&self, kind: LaneKind) -> Arc<Tap> {
        let Opened { tap, .. } = self.feed().open(kind, &self.doorbell, 0).unwrap();
        tap
    }

    fn publish(&mut self) {
        self.now_ns += 1;
        let Self { registry, topic, held, now_ns, .. } = self;
        black_box(registry.publish(topic, held, MESSAGE, *now_ns).unwrap());
    }
}

/// A core whose connections all follow the topic, and are caught up.
struct Core {
    bed: Bed,
    lanes: Lanes,
    lane: u32,
    deliveries: Vec<Delivery>,
    stats: FlushStats,
}

impl Core {
    fn with(subscribers: u32) -> Self {
        let bed = Bed::new(0);
        let mut lanes = Lanes::new(Arc::clone(&bed.doorbell));
        let feed = bed.feed();
        let lane = lanes.open(&feed, LaneKind::RAW).unwrap();
        let subscribe = |conn| {
            let cursor = feed.place(lanes.reader(lane), &From::Latest).cursor;
            let member = lanes.join(lane, Member { conn, subscription: 0 });
            let mut delivery = Delivery::default();
            let (mode, lag) = (Mode::Lossless, LagPolicy::Disconnect);
            delivery.subscribe(Subscription::new((lane, member), cursor, mode, lag));
            delivery
        };
        let deliveries = (0..subscribers).map(subscribe).collect();
        Self { bed, lanes, lane, deliveries, stats: FlushStats::default() }
    }

    fn flush(&mut self, conn: u32) {
        let delivery = &mut self.deliveries[conn as usize];
        let state =
            delivery.flush(&self.lanes, &mut TakesAll, FLUSH_BYTES_MAX, &mut self.stats).unwrap();
        assert_eq!(state, FlushState::CaughtUp);
    }

    /// What a core does when a publisher on another thread has rung it. Answers the visits.
    fn turn(&mut self, mut visit: impl FnMut(&mut Self, u32)) -> u32 {
        self.bed.publish();
        while let Some(lane) = self.bed.doorbell.take() {
            self.lanes.moved(lane, 0);
        }
        let mut visits = 0;
        loop {
            match self.lanes.step() {
                Step::Visit(member) => {
                    visit(self, member.conn);
                    visits += 1;
                }
                Step::Finished(swept) => self.lanes.confirm(&swept, 0, 0),
                Step::Idle => break,
            }
        }
        while self.lanes.look().is_some() {}
        visits
    }
}

/// A connection that follows many topics, each with a frame.
struct Dashboard {
    lanes: Lanes,
    delivery: Delivery,
    behind: Vec<Cursor>,
    stats: FlushStats,
}

impl Dashboard {
    fn with(topics: u32) -> Self {
        let mut bed = Bed::new(0);
        let mut lanes = Lanes::new(Arc::clone(&bed.doorbell));
        let mut delivery = Delivery::default();
        delivery.multiplex();
        let kind = LaneKind { form: Form::Binary, deflate: None };
        for subscription in 0..topics {
            bed.topic = Topic::new(&format!("pmu/{subscription}/data")).unwrap();
            bed.held = None;
            bed.publish();
            let feed = bed.feed();
            let lane = lanes.open(&feed, kind).unwrap();
            let member = lanes.join(lane, Member { conn: 0, subscription });
            let cursor = feed.place(lanes.reader(lane), &From::Last).cursor;
            let (mode, lag) = (Mode::Lossless, LagPolicy::Disconnect);
            delivery.subscribe(Subscription::new((lane, member), cursor, mode, lag));
        }
        let behind = delivery.subscriptions().iter().map(|own| own.cursor).collect();
        Self { lanes, delivery, behind, stats: FlushStats::default() }
    }

    fn catch_up(&mut self) {
        for (subscription, cursor) in self.delivery.subscriptions_mut().iter_mut().zip(&self.behind)
        {
            subscription.cursor = *cursor;
        }
        (0..self.behind.len() as u32).for_each(|index| self.delivery.mark(index));
        while let FlushState::Ready = self
            .delivery
            .flush(&self.lanes, &mut TakesAll, FLUSH_BYTES_MAX, &mut self.stats)
            .unwrap()
        {}
    }
}

/// A core that never sleeps.
struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

/// A socket that takes everything at no cost.
struct TakesAll;

impl Socket for TakesAll {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}
