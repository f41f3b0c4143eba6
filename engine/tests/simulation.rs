//! Seeded simulation of feeds, sweeps and flushes over fake sockets that take a few bytes, stall,
//! come back, or break. After every step the invariants are checked against an oracle that knows
//! everything that was published. No clock, no thread, no real socket.
//!
//! `peer` holds the oracle: what a subscriber was promised and what it has understood.
//!
//! One seed is replayed with `SEED=123 cargo test -p gridcast --test simulation`; more seeds are
//! run with `SEEDS=5000`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "simulation/peer.rs"]
mod peer;

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use gridcast::delivery::doorbell::{Doorbell, Wake};
use gridcast::delivery::flush::{Delivery, FlushEnd, FlushState, FlushStats, Socket};
use gridcast::delivery::subscriptions::Subscription;
use gridcast::delivery::sweep::{Lanes, Look, Member, Step};
use gridcast::feed::awaited::{AwaitedMax, Follower};
use gridcast::feed::encoder::announcement;
use gridcast::feed::epoch::Epoch;
use gridcast::feed::gap::Gap;
use gridcast::feed::kind::{Form, LaneKind};
use gridcast::feed::log::{Feed, FeedName};
use gridcast::feed::message::Message;
use gridcast::feed::options::{From, LagPolicy, Mode, Rate};
use gridcast::feed::registry::{Registry, RegistryOptions};
use gridcast::feed::retention::{Retention, RetentionClasses};
use gridcast::feed::topic::{Target, Topic};
use gridcast::frame::{Kind, encode};
use gridcast::wire::sse;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use slab::Slab;

use peer::{BINARY, DEFLATED, Entry, JSON, Peer, Published};

const SEEDS_DEFAULT: u64 = 1024;
const STEPS: usize = 400;
const TOPICS: [&str; 4] = ["pmu/1", "pmu/2", "alarms", "pmu/1/raw"];
const TARGETS: [&str; 6] = ["pmu/1", "pmu/2", "alarms", "pmu/+", "pmu/#", "#"];
const RATES: [Option<u64>; 4] = [None, None, None, Some(10)];

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("SEED") {
        return World::new(seed).run();
    }
    for seed in 0..number("SEEDS").unwrap_or(SEEDS_DEFAULT) {
        let run = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(run.is_ok(), "replay with SEED={seed} cargo test -p gridcast --test simulation");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Engine-side state of one core, its peers, and what was published.
struct World {
    rng: StdRng,
    now_ns: u64,
    registry: Registry,
    doorbell: Arc<Doorbell>,
    lanes: Lanes,
    conns: Slab<Conn>,
    ready: Vec<u32>,
    marked: Vec<u32>,
    publishers: HashMap<&'static str, Option<Arc<Feed>>>,
    published: Published,
    /// What rated feeds hold back, in the order of each topic's first message.
    held: HashMap<Epoch, Vec<Entry>>,
    /// Makes every payload another.
    serial: u64,
    stats: FlushStats,
}

struct Conn {
    delivery: Delivery,
    socket: FakeSocket,
    peer: Peer,
    queued: bool,
    closing: bool,
}

/// Takes `room` bytes, then blocks until the simulation makes room.
struct FakeSocket {
    room: usize,
    taken: Vec<u8>,
    /// As a TLS session: takes whole records of so many bytes, and holds back the rest of one.
    record_bytes: Option<usize>,
    held: Vec<u8>,
    broken: bool,
}

struct Quiet;

impl Wake for Quiet {
    fn wake(&self) {}
}

impl Socket for FakeSocket {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(record_bytes) = self.record_bytes {
            return self.write_records(slices, record_bytes);
        }
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut count = 0;
        for slice in slices {
            let part = slice.len().min(self.room - count);
            self.taken.extend_from_slice(&slice[..part]);
            count += part;
        }
        self.room -= count;
        Ok(count)
    }

    fn push(&mut self) -> io::Result<bool> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = self.held.len().min(self.room);
        self.taken.extend(self.held.drain(..count));
        self.room -= count;
        Ok(self.held.is_empty())
    }
}

impl FakeSocket {
    fn write_records(&mut self, slices: &[IoSlice<'_>], record_bytes: usize) -> io::Result<usize> {
        assert!(self.held.is_empty(), "nothing is given to a socket that holds bytes back");
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let mut count = 0;
        for record in all.chunks(record_bytes) {
            self.held.extend_from_slice(record);
            count += record.len();
            if !self.push()? {
                break;
            }
        }
        Ok(count)
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let doorbell = Arc::new(Doorbell::new(Box::new(Quiet)));
        let registry = Registry::new(RegistryOptions {
            topics_max: 100,
            awaited_max: AwaitedMax::default(),
            log_bytes_max: 64 << 20,
            compact_after_ns: 1_000,
            forget_after_ns: 1_000_000,
            classes: RetentionClasses::new(Vec::new(), retention(&mut rng)),
            epoch: Epoch(1_000),
        });
        Self {
            rng,
            now_ns: 1,
            registry,
            lanes: Lanes::new(Arc::clone(&doorbell)),
            doorbell,
            conns: Slab::new(),
            ready: Vec::new(),
            marked: Vec::new(),
            publishers: HashMap::new(),
            published: HashMap::new(),
            held: HashMap::new(),
            serial: 0,
            stats: FlushStats::default(),
        }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.now_ns += self.rng.random_range(0..200);
            match self.rng.random_range(0..100) {
                0..35 => self.publish(),
                35..45 => self.connect(),
                45..65 => self.give_room(),
                65..85 => self.flush_some(),
                85..87 => self.change_subscriptions(),
                87..89 => self.speak_privately(),
                89..90 => self.shed(),
                90..94 => self.break_one(),
                94..96 => self.registry.tidy(self.now_ns),
                96..98 => self.release(),
                _ => self.leave_one(),
            }
            self.check();
        }
        self.settle();
    }

    // ---- what happens ----

    fn publish(&mut self) {
        for _ in 0..self.rng.random_range(1..8) {
            let topic = *TOPICS.choose(&mut self.rng).unwrap();
            let (kind, payload) = self.payload();
            let held = self.publishers.entry(topic).or_default();
            let message = Message { kind, payload: &payload };
            let name = Topic::new(topic).unwrap();
            let published =
                self.registry.publish(&name, held, message, self.now_ns).expect("within limits");
            let log = self.published.entry(held.as_ref().unwrap().epoch()).or_default();
            let entry = Entry { topic, kind, payload: payload.clone() };
            log.push(entry.clone());
            assert_eq!(published.seq, log.len() as u64, "numbers are dense and begin at 1");
            self.repeat(&name, &entry);
        }
    }

    /// The oracle's idea of patterns and rates: every open one that matches gets the message, in
    /// this order; a rated one holds it back.
    fn repeat(&mut self, topic: &Topic, entry: &Entry) {
        for name in all_names().filter(|name| name.target.matches(topic)) {
            let is_topic = matches!(name.target, Target::Topic(_));
            if is_topic && name.rate.is_none() || !self.is_open(&name) {
                continue;
            }
            let epoch =
                self.registry.follow(&name, &Follower::default(), self.now_ns).unwrap().epoch();
            if name.rate.is_none() {
                self.published.entry(epoch).or_default().push(entry.clone());
                continue;
            }
            let held = self.held.entry(epoch).or_default();
            match held.iter_mut().find(|other| other.topic == entry.topic) {
                Some(older) => *older = entry.clone(),
                None => held.push(entry.clone()),
            }
        }
    }

    /// An instant of the grid: rated feeds publish what they hold.
    fn release(&mut self) {
        for feed in self.registry.rated().due(0, u64::MAX / 2) {
            feed.release(self.now_ns);
            let held = self.held.remove(&feed.epoch()).unwrap_or_default();
            self.published.entry(feed.epoch()).or_default().extend(held);
        }
    }

    /// Looking a feed up creates it, so the oracle asks only for those it has seen created.
    fn is_open(&self, name: &FeedName) -> bool {
        self.conns
            .iter()
            .flat_map(|(_, conn)| conn.delivery.subscriptions())
            .any(|subscription| self.lanes.feed(subscription.lane).name() == name)
    }

    fn payload(&mut self) -> (Kind, Vec<u8>) {
        let len = match self.rng.random_range(0..20) {
            0 => self.rng.random_range(3_000..9_000),
            1..4 => self.rng.random_range(120..130),
            _ => self.rng.random_range(0..120),
        };
        let kind = if self.rng.random() { Kind::Text } else { Kind::Binary };
        let mut bytes = format!("{}:", self.serial).into_bytes();
        self.serial += 1;
        bytes.extend((0..len).map(|_| self.rng.random_range(b' '..b'~')));
        (kind, bytes)
    }

    fn connect(&mut self) {
        if self.conns.len() >= 24 {
            return;
        }
        let kinds = [LaneKind::RAW, LaneKind::SSE, JSON, BINARY, DEFLATED];
        let kind = *kinds.choose(&mut self.rng).unwrap();
        let room = self.rng.random_range(0..4_000);
        let record_bytes = *[None, Some(10), Some(1_000)].choose(&mut self.rng).unwrap();
        let held = Vec::new();
        let key = self.conns.insert(Conn {
            delivery: Delivery::default(),
            socket: FakeSocket { room, taken: Vec::new(), record_bytes, held, broken: false },
            peer: Peer::new(kind),
            queued: false,
            closing: false,
        }) as u32;
        let count = if kind.is_multiplexed() {
            self.conns[key as usize].delivery.multiplex();
            self.rng.random_range(1..6)
        } else {
            1
        };
        (0..count).for_each(|_| self.subscribe(key));
        self.flush(key);
    }

    /// Subscribes to something the connection does not follow yet.
    fn subscribe(&mut self, key: u32) {
        let kind = self.conns[key as usize].peer.kind;
        let target: Target = TARGETS.choose(&mut self.rng).unwrap().parse().unwrap();
        let rate = RATES.choose(&mut self.rng).unwrap().map(|per_s| Rate::new(per_s).unwrap());
        // Envelopes in JSON do not say which of two overlapping subscriptions they are for, and
        // announcements not which of two overlapping patterns.
        let overlap = |other: &Target| {
            let both = |topic: &Topic| other.matches(topic) && target.matches(topic);
            let is_pattern = |target: &Target| matches!(target, Target::Pattern(_));
            let unclear = kind.form == Form::Json || is_pattern(other) && is_pattern(&target);
            unclear && TOPICS.iter().any(|text| both(&Topic::new(text).unwrap()))
        };
        if self.followed(key).any(|name| name.target == target || overlap(&name.target)) {
            return;
        }
        let name = FeedName { target, rate };
        // A pattern nobody follows may linger with frames the oracle did not see; a fresh one is
        // what a first subscriber gets after it is forgotten.
        let is_plain_topic = matches!(name.target, Target::Topic(_)) && rate.is_none();
        if !is_plain_topic && !self.is_open(&name) {
            self.registry.tidy(self.now_ns + 60_000_000_000);
        }
        let (feed, lane) = loop {
            let feed = self.registry.follow(&name, &Follower::default(), self.now_ns).unwrap();
            if let Some(lane) = self.lanes.find(&feed, kind) {
                self.moved(lane);
            }
            if let Some(lane) = self.lanes.open(&feed, kind) {
                break (feed, lane);
            }
        };
        let from = *[From::Latest, From::Last, From::Oldest].choose(&mut self.rng).unwrap();
        let mode = if self.rng.random_ratio(1, 4) { Mode::Latest } else { Mode::Lossless };
        let lag = *[LagPolicy::Disconnect, LagPolicy::SkipToOldest, LagPolicy::SkipToLatest]
            .choose(&mut self.rng)
            .unwrap();
        let placed = feed.place(self.lanes.reader(lane), &from);
        assert!(placed.gap.is_none(), "only a position can be gone");
        let cursor = placed.cursor;
        let conn = &mut self.conns[key as usize];
        let index = conn.delivery.subscriptions().len() as u32;
        let member = self.lanes.join(lane, Member { conn: key, subscription: index });
        for origin in feed.announced(kind, 0..cursor.seq) {
            conn.delivery.push_private(&announcement(&origin));
        }
        conn.delivery.subscribe(Subscription::new((lane, member), cursor, mode, lag));
        conn.peer.follow(&feed, cursor.seq, mode);
    }

    fn followed(&self, key: u32) -> impl Iterator<Item = &FeedName> {
        let subscriptions = self.conns[key as usize].delivery.subscriptions().iter();
        subscriptions.map(|subscription| self.lanes.feed(subscription.lane).name())
    }

    /// What a multiplexed client may do at any time.
    fn change_subscriptions(&mut self) {
        let Some(key) = self.any() else { return };
        let conn = &self.conns[key as usize];
        if conn.closing || !conn.peer.kind.is_multiplexed() {
            return;
        }
        let count = conn.delivery.subscriptions().len() as u32;
        if count > 0 && self.rng.random() {
            let index = self.rng.random_range(0..count);
            self.unsubscribe_one(key, index);
        } else {
            self.subscribe(key);
        }
        if self.conns[key as usize].delivery.state() != FlushState::Blocked {
            self.flush(key);
        }
    }

    fn unsubscribe_one(&mut self, key: u32, index: u32) {
        let gone = self.conns[key as usize].delivery.unsubscribe(index, &self.lanes).unwrap();
        let epoch = self.lanes.feed(gone.lane).epoch();
        self.leave(gone);
        let conn = &mut self.conns[key as usize];
        conn.peer.unfollow(epoch);
        if let Some(moved) = conn.delivery.subscriptions().get(index as usize) {
            self.lanes.renumber(moved.lane, moved.member, index);
        }
    }

    fn give_room(&mut self) {
        let Some(key) = self.any() else { return };
        let room = match self.rng.random_range(0..3) {
            0 => self.rng.random_range(1..5),
            1 => self.rng.random_range(1..300),
            _ => self.rng.random_range(1..20_000),
        };
        let conn = &mut self.conns[key as usize];
        conn.socket.room += room;
        if conn.delivery.state() == FlushState::Blocked {
            self.flush(key);
        }
    }

    fn speak_privately(&mut self) {
        let Some(key) = self.any() else { return };
        let conn = &mut self.conns[key as usize];
        if conn.closing {
            return;
        }
        if conn.peer.kind == LaneKind::SSE {
            let mut comment = Vec::new();
            sse::ping(&mut comment);
            conn.delivery.push_private(&comment);
        } else {
            let pong = encode::control(gridcast::frame::Opcode::Pong, b"are you there");
            conn.delivery.push_private(&pong);
        }
        if conn.delivery.state() != FlushState::Blocked {
            self.flush(key);
        }
    }

    /// Memory is short: whoever lags gives up what it may.
    fn shed(&mut self) {
        for (_, conn) in &mut self.conns {
            if conn.delivery.lags() {
                conn.delivery.shed(&self.lanes, &mut self.stats);
            }
        }
    }

    fn break_one(&mut self) {
        let Some(key) = self.any() else { return };
        self.conns[key as usize].socket.broken = true;
        self.conns[key as usize].socket.room = 1;
        if self.conns[key as usize].delivery.state() == FlushState::Blocked {
            self.flush(key);
        }
    }

    fn leave_one(&mut self) {
        if let Some(key) = self.any() {
            self.end(key);
        }
    }

    fn any(&mut self) -> Option<u32> {
        let keys: Vec<usize> = self.conns.iter().map(|(key, _)| key).collect();
        keys.choose(&mut self.rng).map(|&key| key as u32)
    }

    // ---- what a core does ----

    fn flush_some(&mut self) {
        while let Some(lane) = self.doorbell.take() {
            self.moved(lane);
        }
        for key in std::mem::take(&mut self.marked) {
            self.flush(key);
        }
        for key in std::mem::take(&mut self.ready) {
            if let Some(conn) = self.conns.get_mut(key as usize) {
                conn.queued = false;
                self.flush(key);
            }
        }
        self.look_some();
        for _ in 0..self.rng.random_range(1..40) {
            match self.lanes.step() {
                Step::Idle => break,
                Step::Finished(swept) => self.lanes.confirm(&swept),
                Step::Visit(Member { conn: key, subscription }) => {
                    let delivery = &mut self.conns[key as usize].delivery;
                    delivery.mark(subscription);
                    // Marked ones are flushed later, or at once, or by whoever comes first.
                    let at_once = !delivery.is_multiplexed() || self.rng.random();
                    if delivery.state() == FlushState::CaughtUp {
                        if at_once {
                            self.flush(key);
                        } else {
                            self.marked.push(key);
                        }
                    }
                }
            }
        }
    }

    fn moved(&mut self, lane: u32) {
        self.lanes.moved(lane);
    }

    /// Only who is blocked lapses; for others what they need is kept.
    fn look_some(&mut self) {
        self.lanes.look_again();
        for _ in 0..self.rng.random_range(1..40) {
            let Some(Look { lane, member, before_pos }) = self.lanes.look() else { return };
            let Member { conn: key, subscription } = member;
            let delivery = &mut self.conns[key as usize].delivery;
            if !delivery.stands_before(subscription, before_pos) {
                continue;
            }
            if delivery.state() != FlushState::Blocked {
                self.lanes.keep(lane);
                continue;
            }
            let lapsed = delivery.lapse_at(subscription, &self.lanes, &mut self.stats);
            if let Err(end) = lapsed {
                self.ended(key, end);
            }
        }
    }

    fn flush(&mut self, key: u32) {
        let bytes_max = *[1, 100, 5_000, 1 << 20].choose(&mut self.rng).unwrap();
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let Conn { delivery, socket, .. } = conn;
        match delivery.flush(&self.lanes, socket, bytes_max, &mut self.stats) {
            Ok(FlushState::Ready) if !std::mem::replace(&mut conn.queued, true) => {
                self.ready.push(key);
            }
            Ok(_) => {}
            Err(end) => self.ended(key, end),
        }
    }

    fn ended(&mut self, key: u32, end: FlushEnd) {
        match end {
            FlushEnd::Failed(_) => self.end(key),
            FlushEnd::Lapsed(gap) => {
                self.unsubscribe(key);
                let conn = &mut self.conns[key as usize];
                conn.closing = true;
                let reason = format!("missed {}-{}", gap.from, gap.to);
                if conn.peer.kind == LaneKind::SSE {
                    let mut last = Vec::new();
                    sse::close(&mut last, 4409, &reason);
                    conn.delivery.push_private(&last);
                } else {
                    conn.delivery.push_private(&encode::close(4409, &reason));
                }
                if conn.delivery.state() != FlushState::Blocked {
                    self.flush(key);
                }
            }
        }
    }

    fn end(&mut self, key: u32) {
        self.unsubscribe(key);
        self.conns.remove(key as usize);
    }

    fn unsubscribe(&mut self, key: u32) {
        let subscriptions = self.conns[key as usize].delivery.unsubscribe_all(&self.lanes);
        subscriptions.into_iter().for_each(|gone| self.leave(gone));
    }

    fn leave(&mut self, gone: Subscription) {
        if let Some(member) = self.lanes.leave(gone.lane, gone.member, self.now_ns)
            && let Some(conn) = self.conns.get_mut(member.conn as usize)
            && let Some(other) =
                conn.delivery.subscriptions_mut().get_mut(member.subscription as usize)
        {
            other.member = gone.member;
        }
    }

    // ---- what must hold ----

    fn check(&mut self) {
        for (key, conn) in &mut self.conns {
            conn.peer.read(&conn.socket.taken, &self.published);
            let ready = conn.delivery.state() == FlushState::Ready;
            assert!(!ready || conn.queued, "a ready connection is queued: {key}");
            let blocked = conn.delivery.state() == FlushState::Blocked;
            assert!(blocked || conn.socket.held.is_empty(), "what is held back is owed an event");
            for (index, subscription) in conn.delivery.subscriptions().iter().enumerate() {
                let member = self.lanes.members(subscription.lane)[subscription.member as usize];
                assert_eq!(
                    member,
                    Member { conn: key as u32, subscription: index as u32 },
                    "members and subscriptions know each other"
                );
            }
        }
    }

    /// Once every socket takes everything, everyone who stayed has everything that was promised.
    fn settle(mut self) {
        self.release();
        for _ in 0..10_000 {
            for key in self.conns.iter().map(|(key, _)| key as u32).collect::<Vec<_>>() {
                let Some(conn) = self.conns.get_mut(key as usize) else { continue };
                conn.socket.room = 1 << 24;
                if conn.delivery.state() == FlushState::Blocked {
                    self.flush(key);
                }
            }
            self.flush_some();
            let quiet = self.doorbell.take().map(|lane| self.moved(lane)).is_none();
            let idle = self.ready.is_empty() && self.marked.is_empty();
            if quiet && idle && !self.lanes.is_sweeping() && !self.lanes.is_looking() {
                break;
            }
        }
        self.check();
        for (key, conn) in &self.conns {
            assert_eq!(conn.delivery.state(), FlushState::CaughtUp, "connection {key}");
            assert_eq!(conn.peer.parsed, conn.socket.taken.len(), "no frame is left torn");
            if conn.peer.closed.is_some() {
                continue;
            }
            conn.peer.check_complete(key, &self.published);
        }
        self.empties_completely();
    }

    fn empties_completely(mut self) {
        for key in self.conns.iter().map(|(key, _)| key as u32).collect::<Vec<_>>() {
            self.end(key);
        }
        assert!(self.lanes.is_empty(), "a lane closes after its last user");
        self.publishers.clear();
        // Retiring comes in two rounds: patterns first, then the topics that held them.
        self.registry.tidy(u64::MAX / 2);
        self.registry.tidy(u64::MAX / 2);
        let usage = self.registry.usage();
        assert_eq!((usage.topics, usage.patterns, usage.log_bytes), (0, 0, 0));
    }
}

fn all_names() -> impl Iterator<Item = FeedName> {
    TARGETS.iter().flat_map(|target| {
        [None, Some(Rate::new(10).unwrap())]
            .map(|rate| FeedName { target: target.parse().unwrap(), rate })
    })
}

fn retention(rng: &mut StdRng) -> Retention {
    Retention {
        frames_max: *[u64::MAX, 1, 7, 100].choose(rng).unwrap(),
        bytes_max: *[1 << 20, 0, 500, 20_000].choose(rng).unwrap(),
        age_ns_max: *[None, None, Some(5_000)].choose(rng).unwrap(),
        lag: LagPolicy::Disconnect,
    }
}

/// The oracle's own arithmetic.
#[test]
fn a_gap_counts_both_ends() {
    let gap = Gap { from: 3, to: 5, reason: gridcast::feed::gap::GapReason::Lagged };
    assert_eq!(gap.frames(), 3);
}
