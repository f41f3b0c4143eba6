//! Nodes and their log, in which anything may happen. Owns what each node applied and was told,
//! and what publishers were. Must not judge it.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use gridcast::frame::Kind;
use gridcast_connectors::backplane::applier::{Applier, Doubt, Passed, Verdict};
use gridcast_connectors::backplane::batch::{Batch, BatchId, Frame};
use gridcast_connectors::backplane::sender::{Outgoing, Sender, Stamp};
use proptest::prelude::*;

pub const NODES: usize = 3;
pub const TOPICS: [&str; 3] = ["a", "b", "c"];
pub const ACK_NS: u64 = 10;
/// Places that one message of the log has.
const MESSAGE_FRAMES: u64 = 4096;
/// The log drops a batch that comes again within so many messages.
pub const WINDOW: usize = 2;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client of a node publishes.
    Publish(usize, usize),
    /// A node sends what it has to send.
    Send(usize),
    /// The log takes the oldest batch that is on its way from a node.
    Take(usize),
    /// It gets lost.
    LoseBatch(usize),
    /// It arrives twice.
    Repeat(usize),
    /// A node gets the oldest answer that is on its way to it.
    Answer(usize),
    /// It gets lost.
    LoseAnswer(usize),
    /// A node reads some messages.
    Read(usize, usize),
    /// The log delivers some of the last messages to a node once more.
    ReadAgain(usize, usize),
    /// A node looks at the record and at the end of the log.
    Look(usize),
    /// A connection ends, and one begins.
    Cut(usize),
    Connect(usize),
    /// A node ends without a word, and another takes its place.
    Restart(usize),
    /// The log loses its last messages, and whoever is connected may not notice.
    RollBack(usize, bool),
    /// The log is removed.
    Remove,
    /// Retention takes the first messages.
    Retain(usize),
    /// Time passes.
    Wait,
}

pub fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    prop_oneof![
        12 => (node(), 0..TOPICS.len()).prop_map(|(n, t)| Step::Publish(n, t)),
        12 => node().prop_map(Step::Send),
        12 => node().prop_map(Step::Take),
        12 => node().prop_map(Step::Answer),
        12 => (node(), 1..5_usize).prop_map(|(n, k)| Step::Read(n, k)),
        2 => node().prop_map(Step::LoseBatch),
        2 => node().prop_map(Step::Repeat),
        2 => node().prop_map(Step::LoseAnswer),
        2 => (node(), 1..4_usize).prop_map(|(n, k)| Step::ReadAgain(n, k)),
        3 => node().prop_map(Step::Look),
        2 => node().prop_map(Step::Cut),
        4 => node().prop_map(Step::Connect),
        1 => node().prop_map(Step::Restart),
        1 => (1..4_usize, any::<bool>()).prop_map(|(k, b)| Step::RollBack(k, b)),
        1 => Just(Step::Remove),
        1 => (1..4_usize).prop_map(Step::Retain),
        6 => Just(Step::Wait),
    ]
}

/// Which frame it is: the life of the node that took it, its topic, and its number there.
pub type FrameId = (u64, usize, u64);

/// What happened to whoever follows a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Frame { epoch: u64, place: u64, frame: FrameId },
    Told,
}

pub struct Node {
    pub boot: u64,
    sender: Sender<Vec<FrameId>>,
    pub applier: Applier,
    queue: VecDeque<FrameId>,
    pub published: [u64; TOPICS.len()],
    on_its_way: VecDeque<Outgoing>,
    answers: VecDeque<(BatchId, u64)>,
    is_up: bool,
    read_next: u64,
    pub events: Vec<Event>,
}

pub struct World {
    dedups: bool,
    now_ns: u64,
    pub epoch: u64,
    /// The message that it holds from.
    epoch_from: u64,
    first: u64,
    log: Vec<Bytes>,
    window: VecDeque<(BatchId, u64)>,
    pub nodes: Vec<Node>,
    /// What publishers were answered: the frame, and where it stands.
    pub acknowledged: Vec<(u64, u64, FrameId)>,
    /// Those that a node answered which did not know the newest epoch yet.
    pub behind: HashSet<FrameId>,
    boots: u64,
    epochs: u64,
    /// What the log had acknowledged and lost, and how much each node had heard of then. Where
    /// nobody is left who knew of it, nobody can tell.
    pub removed: HashMap<FrameId, Vec<(u64, usize)>>,
    /// The same of what retention took.
    retained: HashMap<FrameId, Vec<(u64, usize)>>,
    /// The lives of nodes that have ended.
    pub ended: Vec<(u64, Vec<Event>)>,
}

impl World {
    pub fn new(dedups: bool) -> Self {
        let mut world = Self {
            dedups,
            now_ns: 0,
            epoch: 1,
            epoch_from: 1,
            first: 1,
            log: Vec::new(),
            window: VecDeque::new(),
            nodes: Vec::new(),
            acknowledged: Vec::new(),
            behind: HashSet::new(),
            boots: 0,
            epochs: 1,
            removed: HashMap::new(),
            retained: HashMap::new(),
            ended: Vec::new(),
        };
        for _ in 0..NODES {
            let node = world.node();
            world.nodes.push(node);
        }
        (0..NODES).for_each(|n| world.connect(n));
        world
    }

    fn node(&mut self) -> Node {
        self.boots += 1;
        let boot = self.boots;
        Node {
            boot,
            sender: Sender::new(boot, "n", ACK_NS, self.dedups),
            applier: Applier::new(self.epoch, boot),
            queue: VecDeque::new(),
            published: [0; TOPICS.len()],
            on_its_way: VecDeque::new(),
            answers: VecDeque::new(),
            is_up: false,
            read_next: 1,
            events: Vec::new(),
        }
    }

    fn last(&self) -> u64 {
        self.first + self.log.len() as u64 - 1
    }

    pub fn run(&mut self, step: &Step) {
        match *step {
            Step::Publish(n, topic) => {
                let node = &mut self.nodes[n];
                node.published[topic] += 1;
                node.queue.push_back((node.boot, topic, node.published[topic]));
            }
            Step::Send(n) => self.send(n),
            Step::Take(n) => self.take(n, false),
            Step::Repeat(n) => self.take(n, true),
            Step::LoseBatch(n) => drop(self.nodes[n].on_its_way.pop_front()),
            Step::Answer(n) => self.answer(n),
            Step::LoseAnswer(n) => drop(self.nodes[n].answers.pop_front()),
            Step::Read(n, count) => self.read(n, count),
            Step::ReadAgain(n, count) => self.read_again(n, count),
            Step::Look(n) => self.look(n),
            Step::Cut(n) => self.cut(n),
            Step::Connect(n) => self.connect(n),
            Step::Restart(n) => self.restart(n),
            Step::RollBack(count, is_seen) => self.roll_back(count, is_seen),
            Step::Remove => self.roll_back(usize::MAX, true),
            Step::Retain(count) => {
                let count = count.min(self.log.len());
                let heard = self.heard();
                let frames = self.log.drain(..count).flat_map(|bytes| frames_of(&bytes));
                self.retained.extend(frames.map(|frame| (frame, heard.clone())));
                self.first += count as u64;
            }
            Step::Wait => self.now_ns += ACK_NS,
        }
    }

    fn send(&mut self, n: usize) {
        let now_ns = self.now_ns;
        let node = &mut self.nodes[n];
        if node.sender.is_free() && !node.queue.is_empty() {
            let frames: Vec<FrameId> = node.queue.drain(..).collect();
            let payloads: Vec<[u8; 16]> = frames.iter().map(payload).collect();
            let batch = frames.iter().zip(&payloads).map(|(&(_, topic, _), payload)| Frame {
                topic: TOPICS[topic],
                kind: Kind::Binary,
                is_bridged: false,
                counter: 0,
                payload,
            });
            let stamp = Stamp { epoch: node.applier.epoch(), made_ms: 0, now_ns };
            node.sender.load(batch, frames.clone(), stamp);
        }
        let sent = node.sender.poll(now_ns);
        node.on_its_way.extend(sent);
    }

    fn take(&mut self, n: usize, twice: bool) {
        let node = &mut self.nodes[n];
        if !node.is_up {
            return;
        }
        let Some(batch) = node.on_its_way.pop_front() else { return };
        for _ in 0..=usize::from(twice) {
            let place = self.append(&batch);
            self.nodes[n].answers.push_back((batch.id, place));
        }
    }

    fn append(&mut self, batch: &Outgoing) -> u64 {
        let known = self.window.iter().find(|(id, _)| *id == batch.id);
        if let Some(&(_, place)) = known.filter(|_| self.dedups) {
            return place;
        }
        self.log.push(batch.bytes.clone());
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back((batch.id, self.last()));
        self.last()
    }

    fn answer(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some((id, place)) = node.answers.pop_front() else { return };
        if let Err(doubt) = node.applier.acknowledged(place, id) {
            return self.raise(n, doubt);
        }
        let landed = node.sender.acknowledged(id, place);
        self.landed(n, landed, place);
    }

    fn landed(&mut self, n: usize, frames: Option<Vec<FrameId>>, place: u64) {
        let epoch = self.nodes[n].applier.epoch();
        let frames = frames.into_iter().flatten();
        if epoch != self.epoch {
            self.behind.extend(frames.clone());
        }
        let at =
            frames.zip(0..).map(|(frame, index)| (epoch, place * MESSAGE_FRAMES + index, frame));
        self.acknowledged.extend(at);
    }

    fn read(&mut self, n: usize, count: usize) {
        for _ in 0..count {
            let node = &self.nodes[n];
            let at = node.read_next.max(self.first);
            if !node.is_up || at > self.last() {
                return;
            }
            let bytes = self.log[(at - self.first) as usize].clone();
            self.nodes[n].read_next = at + 1;
            self.deliver(n, at, bytes);
        }
    }

    fn read_again(&mut self, n: usize, count: usize) {
        let next = self.nodes[n].read_next;
        let from = next.saturating_sub(count as u64).max(self.first);
        for at in from..next.min(self.last() + 1) {
            if self.nodes[n].is_up && self.nodes[n].read_next == next {
                let bytes = self.log[(at - self.first) as usize].clone();
                self.deliver(n, at, bytes);
            }
        }
    }

    fn deliver(&mut self, n: usize, place: u64, bytes: Bytes) {
        let batch = Batch::decode(bytes).unwrap();
        let head = *batch.head();
        if head.epoch != self.nodes[n].applier.epoch() && self.look_at_record(n) {
            // It reads on from where that says.
            return;
        }
        let node = &mut self.nodes[n];
        match node.applier.take(place, &head, batch.hash()) {
            Verdict::Doubt(doubt) => return self.raise(n, doubt),
            Verdict::Repeated { passed } => node.tell(passed),
            Verdict::Apply { passed } => {
                node.tell(passed);
                node.apply(place, &batch);
            }
        }
        let landed = node.sender.seen(head.id, place);
        self.landed(n, landed, place);
    }

    /// Compare and set: whoever has seen the newest epoch may raise it.
    fn raise(&mut self, n: usize, doubt: Doubt) {
        if self.nodes[n].applier.epoch() == self.epoch {
            self.epochs += 1;
            (self.epoch, self.epoch_from) = (self.epochs, doubt.from());
        }
        self.look_at_record(n);
    }

    /// Whether it says something new: then the node begins anew.
    fn look_at_record(&mut self, n: usize) -> bool {
        let node = &mut self.nodes[n];
        let is_new = node.applier.epoch() != self.epoch;
        if is_new {
            node.applier.enter(self.epoch, self.epoch_from);
            node.events.push(Event::Told);
            node.answers.clear();
            if node.is_up {
                self.begin(n);
            }
        }
        is_new
    }

    fn look(&mut self, n: usize) {
        if !self.nodes[n].is_up || self.look_at_record(n) {
            return;
        }
        if let Err(doubt) = self.nodes[n].applier.check(self.last()) {
            return self.raise(n, doubt);
        }
        // Nothing is on its way to a node here.
        if self.nodes[n].applier.next().is_some_and(|next| next < self.first) {
            self.begin(n);
        }
    }

    fn cut(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.is_up = false;
        node.sender.went_down();
        node.answers.clear();
    }

    fn connect(&mut self, n: usize) {
        if !self.nodes[n].is_up {
            self.look_at_record(n);
            self.begin(n);
        }
    }

    fn begin(&mut self, n: usize) {
        let (first, last) = (self.first, self.last());
        let node = &mut self.nodes[n];
        match node.applier.begin(first, last) {
            Ok((from, passed)) => {
                node.tell(passed);
                node.read_next = from;
                node.is_up = true;
                node.sender.came_up(self.now_ns);
            }
            Err(doubt) => {
                node.is_up = true;
                self.raise(n, doubt);
            }
        }
    }

    fn restart(&mut self, n: usize) {
        let new = self.node();
        let old = std::mem::replace(&mut self.nodes[n], new);
        // What it had sent may still arrive.
        self.nodes[n].on_its_way = old.on_its_way;
        self.ended.push((old.boot, old.events));
    }

    fn roll_back(&mut self, count: usize, is_seen: bool) {
        let kept = self.log.len() - count.min(self.log.len());
        let heard = self.heard();
        let frames = self.log.drain(kept..).flat_map(|bytes| frames_of(&bytes));
        self.removed.extend(frames.map(|frame| (frame, heard.clone())));
        if count == usize::MAX {
            // Its record is gone with it: whoever looks first makes another one.
            self.first = 1;
            self.epochs += 1;
            (self.epoch, self.epoch_from) = (self.epochs, 1);
        }
        let last = self.last();
        self.window.retain(|&(_, place)| place <= last);
        // A server that loses its last messages starts anew, and its connections end; or somebody
        // removes them, and the nodes see that before there are more.
        (0..NODES).for_each(|n| if is_seen { self.cut(n) } else { self.look(n) });
    }

    fn heard(&self) -> Vec<(u64, usize)> {
        self.nodes.iter().map(|node| (node.boot, node.events.len())).collect()
    }

    /// Whether no node is left that knew of a frame in this place before it was gone.
    pub fn is_forgotten(&self, epoch: u64, place: u64, frame: FrameId) -> bool {
        let Some(heard) = self.removed.get(&frame).or(self.retained.get(&frame)) else {
            return false;
        };
        let there = Event::Frame { epoch, place, frame };
        let knows = |&(boot, from): &(u64, usize)| {
            let mut nodes = self.nodes.iter().filter(|node| node.boot == boot);
            nodes.any(|node| boot == frame.0 || node.events[..from].contains(&there))
        };
        !heard.iter().any(knows)
    }

    /// Whether two frames may stand in one place: retention took one, and the other is gone as
    /// well. A node that had applied it, and was away meanwhile, finds nothing to compare.
    pub fn may_share_a_place(&self, a: FrameId, b: FrameId) -> bool {
        let is_taken = |frame| self.retained.contains_key(&frame);
        let is_gone = |frame| is_taken(frame) || self.removed.contains_key(&frame);
        a == b || is_gone(a) && is_gone(b) && (is_taken(a) || is_taken(b))
    }

    /// Whether a node had applied another message in the place of a frame, and both are gone.
    pub fn is_out_of_sight(&self, epoch: u64, place: u64, frame: FrameId, node: &Node) -> bool {
        node.events.iter().any(|event| match *event {
            Event::Frame { epoch: own, place: at, frame: other } => {
                let is_there = own == epoch && at / MESSAGE_FRAMES == place / MESSAGE_FRAMES;
                is_there && other != frame && self.may_share_a_place(other, frame)
            }
            Event::Told => false,
        })
    }

    /// Whether a node was told something after the log had lost a frame.
    pub fn was_told_of(&self, frame: FrameId, node: &Node) -> bool {
        let heard = self.removed.get(&frame).into_iter().flatten();
        let mut heard = heard.filter(|(boot, _)| *boot == node.boot);
        heard.next().is_none_or(|&(_, from)| node.events[from..].contains(&Event::Told))
    }

    /// Everything that can arrive arrives, and nothing else happens.
    pub fn settle(&mut self) {
        for _ in 0..20 {
            for n in 0..NODES {
                self.connect(n);
                self.look(n);
                self.connect(n);
                self.send(n);
                while !self.nodes[n].on_its_way.is_empty() {
                    self.take(n, false);
                }
                while !self.nodes[n].answers.is_empty() {
                    self.answer(n);
                }
                self.read(n, usize::MAX);
            }
            self.now_ns += ACK_NS;
        }
    }
}

impl Node {
    fn tell(&mut self, passed: Option<Passed>) {
        self.events.extend(passed.map(|_| Event::Told));
    }

    fn apply(&mut self, place: u64, batch: &Batch) {
        let epoch = self.applier.epoch();
        for (index, frame) in (0..).zip(batch.frames()) {
            let frame = frame_of(frame.topic, frame.payload);
            self.events.push(Event::Frame { epoch, place: place * MESSAGE_FRAMES + index, frame });
        }
    }
}

pub fn payload(&(boot, _, number): &FrameId) -> [u8; 16] {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&boot.to_le_bytes());
    payload[8..].copy_from_slice(&number.to_le_bytes());
    payload
}

pub fn frames_of(bytes: &Bytes) -> Vec<FrameId> {
    let batch = Batch::decode(bytes.clone()).unwrap();
    batch.frames().map(|frame| frame_of(frame.topic, frame.payload)).collect()
}

pub fn frame_of(topic: &str, payload: &[u8]) -> FrameId {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    (number(0), TOPICS.iter().position(|&t| t == topic).unwrap(), number(8))
}
