//! Seeded simulation of feeds, sweeps and flushes over fake sockets that take a few bytes, stall,
//! come back, or break. After every step the invariants are checked against an oracle that knows
//! everything that was published. No clock, no thread, no real socket.
//!
//! One seed is replayed with `SEED=123 cargo test -p gridcast --test simulation`; more seeds are
//! run with `SEEDS=5000`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use gridcast::doorbell::{Doorbell, Wake};
use gridcast::epoch::Epoch;
use gridcast::feed::lag::Gap;
use gridcast::feed::lane::{LaneKind, Message};
use gridcast::feed::log::Feed;
use gridcast::feed::pattern::{Pattern, Target, Topic};
use gridcast::feed::registry::{Registry, RegistryOptions};
use gridcast::feed::retention::{Retention, RetentionClasses};
use gridcast::flush::{Delivery, FlushEnd, FlushState, FlushStats, Socket, Subscription};
use gridcast::frame::{Kind, encode};
use gridcast::sse;
use gridcast::subscription::{From, LagPolicy, Mode};
use gridcast::sweep::{Lanes, Member, Step};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use slab::Slab;

const SEEDS_DEFAULT: u64 = 256;
const STEPS: usize = 400;
const TOPICS: [&str; 4] = ["pmu/1", "pmu/2", "alarms", "pmu/1/raw"];
const TARGETS: [&str; 6] = ["pmu/1", "pmu/2", "alarms", "pmu/+", "pmu/#", "#"];

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
    publishers: HashMap<&'static str, Option<Arc<Feed>>>,
    published: HashMap<Epoch, Vec<Payload>>,
    /// Makes every payload another.
    serial: u64,
    stats: FlushStats,
}

type Payload = (Kind, Vec<u8>);

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
    broken: bool,
}

/// What a subscriber was promised and what it has understood so far.
struct Peer {
    kind: LaneKind,
    wants: Vec<Want>,
    /// Gaps that were told and not yet seen in the numbers.
    told: Vec<(u64, u64)>,
    parsed: usize,
    closed: Option<String>,
}

struct Want {
    epoch: Epoch,
    next_seq: u64,
    mode: Mode,
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
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let doorbell = Arc::new(Doorbell::new(Box::new(Quiet)));
        let registry = Registry::new(RegistryOptions {
            topics_max: 100,
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
            publishers: HashMap::new(),
            published: HashMap::new(),
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
                85..90 => self.speak_privately(),
                90..94 => self.break_one(),
                94..97 => self.registry.tidy(self.now_ns),
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
            log.push((kind, payload.clone()));
            assert_eq!(published.seq, log.len() as u64, "numbers are dense and begin at 1");
            self.repeat(&name, &(kind, payload));
        }
    }

    /// The oracle's idea of patterns: every open one that matches gets the message, in this order.
    fn repeat(&mut self, topic: &Topic, message: &Payload) {
        for target in TARGETS {
            let Ok(pattern) = Pattern::new(target) else { continue };
            let target = Target::Pattern(pattern);
            if target.matches(topic) && self.is_open(&target) {
                let feed = self.registry.feed(&target, self.now_ns).unwrap();
                self.published.entry(feed.epoch()).or_default().push(message.clone());
            }
        }
    }

    /// Looking a pattern up creates it, so the oracle asks only for those it has seen created.
    fn is_open(&self, target: &Target) -> bool {
        self.conns
            .iter()
            .flat_map(|(_, conn)| conn.delivery.subscriptions())
            .any(|subscription| self.lanes.feed(subscription.lane).target() == target)
    }

    fn payload(&mut self) -> Payload {
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
        let kind = if self.rng.random_ratio(1, 3) { LaneKind::Sse } else { LaneKind::Raw };
        let entry = self.conns.insert(Conn {
            delivery: Delivery::default(),
            socket: FakeSocket {
                room: self.rng.random_range(0..4_000),
                taken: Vec::new(),
                broken: false,
            },
            peer: Peer { kind, wants: Vec::new(), told: Vec::new(), parsed: 0, closed: None },
            queued: false,
            closing: false,
        });
        let feeds = if self.rng.random_ratio(1, 4) { self.rng.random_range(2..4) } else { 1 };
        // A raw frame does not say its feed, and a notice in no form does: where several share a
        // socket they must not overlap, nor skip.
        let several = feeds > 1;
        let disjoint = several && kind == LaneKind::Raw;
        let mut targets = if disjoint { TARGETS[..3].to_vec() } else { TARGETS.to_vec() };
        for _ in 0..feeds {
            let target = targets.swap_remove(self.rng.random_range(0..targets.len()));
            self.subscribe(entry as u32, target, several);
        }
        self.flush(entry as u32);
    }

    fn subscribe(&mut self, key: u32, target: &str, may_not_skip: bool) {
        let kind = self.conns[key as usize].peer.kind;
        let target: Target = target.parse().unwrap();
        // A pattern nobody follows may linger with frames the oracle did not see; a fresh one is
        // what a first subscriber gets after it is forgotten.
        if matches!(target, Target::Pattern(_)) && !self.is_open(&target) {
            self.registry.tidy(self.now_ns + 60_000_000_000);
        }
        let (feed, lane) = loop {
            let feed = self.registry.feed(&target, self.now_ns).unwrap();
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
        let lag = if may_not_skip { LagPolicy::Disconnect } else { lag };
        let placed = feed.place(self.lanes.reader(lane), &from);
        assert!(placed.gap.is_none(), "only a position can be gone");
        let subscription = self.conns[key as usize].delivery.subscriptions().len() as u32;
        let member = self.lanes.join(lane, Member { conn: key, subscription });
        let cursor = placed.cursor;
        let conn = &mut self.conns[key as usize];
        conn.delivery.subscribe(Subscription { lane, member, cursor, mode, lag });
        conn.peer.wants.push(Want { epoch: feed.epoch(), next_seq: cursor.seq, mode });
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
        match conn.peer.kind {
            LaneKind::Raw => {
                let pong = encode::control(gridcast::frame::Opcode::Pong, b"are you there");
                conn.delivery.push_private(&pong);
            }
            LaneKind::Sse => {
                let mut comment = Vec::new();
                sse::ping(&mut comment);
                conn.delivery.push_private(&comment);
            }
        }
        if conn.delivery.state() != FlushState::Blocked {
            self.flush(key);
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
        for key in std::mem::take(&mut self.ready) {
            if let Some(conn) = self.conns.get_mut(key as usize) {
                conn.queued = false;
                self.flush(key);
            }
        }
        for _ in 0..self.rng.random_range(1..40) {
            match self.lanes.step() {
                Step::Idle => return,
                Step::Finished { .. } => {}
                Step::Visit(key) => {
                    if self.conns[key as usize].delivery.state() == FlushState::CaughtUp {
                        self.flush(key);
                    }
                }
            }
        }
    }

    fn moved(&mut self, lane: u32) {
        if !self.lanes.moved(lane) {
            return;
        }
        let members: Vec<u32> = self.lanes.members(lane).iter().map(|m| m.conn).collect();
        for key in members {
            let Some(conn) = self.conns.get_mut(key as usize) else { continue };
            if let Err(end) = conn.delivery.lapse(&self.lanes, &mut self.stats) {
                self.ended(key, end);
            }
        }
        self.lanes.drop_passed(lane);
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
                match conn.peer.kind {
                    LaneKind::Raw => {
                        conn.delivery.push_private(&encode::close(4409, &reason));
                    }
                    LaneKind::Sse => {
                        let mut last = Vec::new();
                        sse::close(&mut last, 4409, &reason);
                        conn.delivery.push_private(&last);
                    }
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
        for subscription in subscriptions {
            let moved = self.lanes.leave(subscription.lane, subscription.member, self.now_ns);
            if let Some(member) = moved
                && let Some(conn) = self.conns.get_mut(member.conn as usize)
                && let Some(other) =
                    conn.delivery.subscriptions_mut().get_mut(member.subscription as usize)
            {
                other.member = subscription.member;
            }
        }
    }

    // ---- what must hold ----

    fn check(&mut self) {
        for (key, conn) in &mut self.conns {
            conn.peer.read(&conn.socket.taken, &self.published);
            let ready = conn.delivery.state() == FlushState::Ready;
            assert!(!ready || conn.queued, "a ready connection is queued: {key}");
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
            if quiet && self.ready.is_empty() && !self.lanes.is_sweeping() {
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
            assert!(conn.peer.told.is_empty(), "a gap that was told is the one that is there");
            for want in &conn.peer.wants {
                let last = self.published.get(&want.epoch).map_or(0, |log| log.len() as u64);
                assert_eq!(want.next_seq, last + 1, "connection {key} has the newest frame");
            }
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

fn retention(rng: &mut StdRng) -> Retention {
    Retention {
        frames_max: *[u64::MAX, 1, 7, 100].choose(rng).unwrap(),
        bytes_max: *[1 << 20, 0, 500, 20_000].choose(rng).unwrap(),
        age_ns_max: *[None, None, Some(5_000)].choose(rng).unwrap(),
        lag: LagPolicy::Disconnect,
    }
}

impl Peer {
    /// Understands what has arrived in whole and checks it against what was published.
    fn read(&mut self, taken: &[u8], published: &HashMap<Epoch, Vec<Payload>>) {
        while let Some(frame) = self.next_frame(&taken[self.parsed..]) {
            let frame = &taken[self.parsed..self.parsed + frame];
            self.parsed += frame.len();
            assert!(self.closed.is_none(), "nothing follows a close");
            match self.kind {
                LaneKind::Raw => self.read_raw(frame, published),
                LaneKind::Sse => self.read_event(frame, published),
            }
        }
    }

    fn next_frame(&self, bytes: &[u8]) -> Option<usize> {
        let len = match self.kind {
            LaneKind::Raw => encode::frame_len(bytes)?,
            LaneKind::Sse => sse::chunk_len(bytes)?,
        } as usize;
        (len <= bytes.len()).then_some(len)
    }

    fn read_raw(&mut self, frame: &[u8], published: &HashMap<Epoch, Vec<Payload>>) {
        match frame[0] {
            0x81 | 0x82 => {
                let (kind, payload) = encode::message(frame).expect("a data frame");
                self.got(&(kind, payload.to_vec()), published);
            }
            0x8A => assert_eq!(&frame[2..], b"are you there"),
            0x89 => {
                let notice: serde_json::Value = serde_json::from_slice(&frame[2..]).unwrap();
                self.missed(&notice["gap"]);
                let (_, to) = self.told.pop().unwrap();
                self.wants[0].next_seq = to + 1;
            }
            0x88 => self.closed = Some(String::from_utf8_lossy(&frame[4..]).into_owned()),
            other => panic!("frame of first byte {other:#x}: bytes were torn or mixed"),
        }
    }

    /// A raw frame does not say its feed: some wanted feed must have exactly this one next. With
    /// `mode=latest` a jump ahead is allowed.
    fn got(&mut self, message: &Payload, published: &HashMap<Epoch, Vec<Payload>>) {
        let log = |want: &Want| published.get(&want.epoch).map_or(&[][..], Vec::as_slice);
        let exact = self
            .wants
            .iter()
            .position(|want| log(want).get(want.next_seq as usize - 1) == Some(message));
        if let Some(index) = exact {
            self.wants[index].next_seq += 1;
            return;
        }
        for want in self.wants.iter_mut().filter(|want| want.mode == Mode::Latest) {
            let from = want.next_seq as usize;
            let ahead = published.get(&want.epoch).map_or(&[][..], Vec::as_slice);
            if let Some(at) = ahead.iter().skip(from).position(|other| other == message) {
                want.next_seq = (from + at + 2) as u64;
                return;
            }
        }
        panic!("a frame that is not the next of any feed: lost, repeated or out of order");
    }

    /// A notice does not say its feed: one of them must have stood at exactly this place.
    fn missed(&mut self, gap: &serde_json::Value) {
        let [from, to] = ["from", "to"].map(|key| gap[key].as_u64().unwrap());
        assert!(from <= to, "an empty gap is not told");
        // A reader that stands still can be passed twice before it reads of the first time.
        if let Some(earlier) = self.told.iter_mut().find(|(_, before)| before + 1 == from) {
            earlier.1 = to;
            return;
        }
        let stood_there = |want: &Want| {
            want.next_seq == from || (want.mode == Mode::Latest && want.next_seq < from)
        };
        assert!(self.wants.iter().any(stood_there), "the gap begins where a feed stood");
        self.told.push((from, to));
    }

    fn read_event(&mut self, chunk: &[u8], published: &HashMap<Epoch, Vec<Payload>>) {
        let text = String::from_utf8_lossy(chunk);
        let (_, body) = text.split_once("\r\n").unwrap();
        let field =
            |name: &str| body.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        match (field("id: "), field("event: ").as_deref()) {
            (Some(id), _) => self.got_event(&id, body, published),
            (None, Some("gap")) => {
                let gap: serde_json::Value =
                    serde_json::from_str(&field("data: ").unwrap()).unwrap();
                self.missed(&gap);
            }
            (None, Some("close")) => self.closed = field("data: "),
            (None, None) => assert!(body.starts_with(':'), "only comments have no name: {body}"),
            other => panic!("unknown event {other:?}"),
        }
    }

    fn got_event(&mut self, id: &str, body: &str, published: &HashMap<Epoch, Vec<Payload>>) {
        let (epoch, seq) = id.split_once('-').unwrap();
        let (epoch, seq): (Epoch, u64) = (epoch.parse().unwrap(), seq.parse().unwrap());
        let want = self.wants.iter_mut().find(|want| want.epoch == epoch).expect("a wanted feed");
        if want.mode == Mode::Latest {
            self.told.retain(|&(_, to)| to >= seq);
        } else if let Some(at) =
            self.told.iter().position(|&(from, to)| from == want.next_seq && to < seq)
        {
            want.next_seq = self.told.swap_remove(at).1 + 1;
        }
        let jump_allowed = want.mode == Mode::Latest && seq > want.next_seq;
        assert!(seq == want.next_seq || jump_allowed, "{seq} came, {} was next", want.next_seq);
        want.next_seq = seq + 1;
        let (kind, payload) = &published[&epoch][seq as usize - 1];
        if *kind == Kind::Text {
            let data = format!("data: {}", String::from_utf8_lossy(payload));
            assert!(body.lines().any(|line| line == data), "payload of {seq}");
        } else {
            assert!(body.contains("event: binary"));
        }
    }
}

/// The oracle's own arithmetic.
#[test]
fn a_gap_counts_both_ends() {
    let gap = Gap { from: 3, to: 5, reason: gridcast::feed::lag::GapReason::Lagged };
    assert_eq!(gap.frames(), 3);
}
