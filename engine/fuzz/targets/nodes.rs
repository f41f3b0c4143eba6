//! What a node makes of the batches of others, in a relay and in a log: numbers, counters and
//! places jump at will, nodes come and go. A frame is handed out at most once, a place is applied
//! once and in order, and what is told has a bound. Input: seven bytes a step. Owns no rule of
//! either.
#![no_main]

use std::collections::HashMap;

use gridcast::feed::positions::SEQUENCE_MAX;
use gridcast::frame::Kind;
use gridcast_connectors::backplane::applier::{Applier, Verdict};
use gridcast_connectors::backplane::batch::{
    Batch, BatchId, Builder, Frame, Head, NUMBER_MAX, Note,
};
use gridcast_connectors::backplane::relay::{Heard, Peers};
use libfuzzer_sys::fuzz_target;

const OWN: u64 = 5;
const TOPICS: [&str; 4] = ["a", "b/c", "a//b", "$sys/a"];
const S: u64 = 1_000_000_000;

fuzz_target!(|data: &[u8]| {
    let (mut relay, mut log) = (Relay::new(), Log::new());
    let mut hashes = HashMap::new();
    let (steps, _) = data.as_chunks::<7>();
    for &[what, who, number, counter, note, place, wait] in steps {
        let id = BatchId { boot: u64::from(who % 7), number: number_of(number).max(1) };
        let previous = if what & 1 == 0 { hashes.get(&id.boot).copied() } else { Some(7) };
        let head = head(id, previous.unwrap_or(0), note, place);
        let batch = batch(&head, counter, what >> 6);
        hashes.insert(id.boot, batch.hash());
        relay.now_ns += u64::from(wait) * S / 8;
        relay.step(what >> 1 & 7, &batch);
        log.step(what >> 1 & 31, place, &batch);
    }
});

/// Small ones as they are, and the highest that there are.
fn number_of(byte: u8) -> u64 {
    if byte < 240 { byte.into() } else { NUMBER_MAX - u64::from(255 - byte) }
}

fn head(id: BatchId, previous: u64, note: u8, place: u8) -> Head {
    let missed = if note & 4 == 0 { 0 } else { u64::MAX - u64::from(note >> 5) };
    let note = match note & 3 {
        0 => Note::Frames,
        1 => Note::Ask { boot: OWN },
        2 => Note::Counters { is_last: false },
        _ => Note::Counters { is_last: true },
    };
    let (previous_at, epoch) = (u64::from(place >> 3), u64::from(place & 1) + 1);
    Head { id, previous, previous_at, missed, epoch, made_ms: u64::MAX, shards: 1, note }
}

fn batch(head: &Head, counter: u8, entries: u8) -> Batch {
    let mut builder = Builder::new("n");
    for entry in 0..entries {
        let topic = TOPICS[usize::from(entry.wrapping_add(counter)) % TOPICS.len()];
        let counter = number_of(counter).saturating_add(entry.into()).min(NUMBER_MAX);
        let (kind, is_bridged, payload) = (Kind::Text, false, b"x");
        builder.push(&Frame { topic, kind, is_bridged, counter, payload });
    }
    Batch::decode(builder.seal(head)).expect("it was written here")
}

struct Relay {
    peers: Peers,
    now_ns: u64,
    /// The last counter of each topic of a peer, while none was forgotten.
    last: HashMap<(u64, String), u64>,
}

impl Relay {
    fn new() -> Self {
        Self { peers: Peers::new(vec![OWN]), now_ns: S, last: HashMap::new() }
    }

    fn step(&mut self, what: u8, batch: &Batch) {
        let boot = batch.head().id.boot;
        match what {
            0 => {
                self.peers.connected(self.now_ns);
                // Whoever is not heard again is forgotten.
                self.last.clear();
            }
            1 => assert_ne!(self.peers.ask(self.now_ns), Some(OWN)),
            _ => {}
        }
        let (mut events, last) = (0, &mut self.last);
        self.peers.take(batch, self.now_ns, |heard| {
            events += 1;
            match heard {
                Heard::Frame { topic, frame } => {
                    assert_ne!(boot, OWN, "what came from here");
                    let last = last.entry((boot, topic.as_str().to_owned())).or_default();
                    assert!(frame.counter > *last, "frame {} after {last}", frame.counter);
                    *last = frame.counter;
                }
                Heard::Lost { frames, .. } => assert!((1..=NUMBER_MAX).contains(&frames)),
                Heard::LostSomewhere | Heard::Late | Heard::NoTopic => {}
            }
        });
        assert!(events <= 2 * batch.len() + 2, "{events} of {} entries", batch.len());
        let mut told = 0;
        self.peers.tick(self.now_ns, |_| told += 1);
        assert!(told <= 1, "every topic is told, each time");
    }
}

struct Log {
    applier: Applier,
    /// The last place that was applied in this epoch.
    applied: u64,
}

impl Log {
    fn new() -> Self {
        Self { applier: Applier::new(1, OWN), applied: 0 }
    }

    fn step(&mut self, what: u8, place: u8, batch: &Batch) {
        let sequence = self.place(place);
        let head = batch.head();
        match what {
            0 => {
                let passed = self.applier.skip(sequence);
                assert!(passed.is_none_or(|one| one.from <= one.to && one.to == sequence));
            }
            1 => self.look(sequence),
            2 if head.id.boot == OWN => {
                // What it answers is of no matter here, only that it does.
                let _ = self.applier.acknowledged(sequence, head.id);
            }
            3 => self.enter(sequence),
            _ => self.take(sequence, batch),
        }
        self.applied = self.applied.max(self.applier.next().map_or(0, |next| next - 1));
    }

    /// Near the one that comes next, or at the end of all.
    fn place(&self, place: u8) -> u64 {
        let next = self.applier.next().unwrap_or(1);
        let near = next.saturating_add(u64::from(place)).saturating_sub(8);
        let place = if place < 240 { near } else { SEQUENCE_MAX - u64::from(255 - place) };
        place.clamp(1, SEQUENCE_MAX)
    }

    fn look(&mut self, last: u64) {
        match self.applier.begin(1, last) {
            Ok((from, _)) => assert!(from >= 1 && from <= self.applier.next().unwrap_or(1)),
            Err(doubt) => self.enter(doubt.from()),
        }
    }

    fn enter(&mut self, from: u64) {
        self.applier.enter(self.applier.epoch() + 1, from);
        self.applied = self.applier.next().map_or(0, |next| next - 1);
    }

    fn take(&mut self, sequence: u64, batch: &Batch) {
        match self.applier.take(sequence, batch.head(), batch.hash()) {
            Verdict::Apply { passed } => {
                assert!(sequence > self.applied, "{sequence} after {}", self.applied);
                assert_eq!(self.applier.next(), Some(sequence + 1));
                assert!(passed.is_none_or(|one| one.from <= one.to && one.to < sequence));
            }
            Verdict::Repeated { .. } => {}
            Verdict::Doubt(doubt) => {
                assert!((1..=SEQUENCE_MAX + 1).contains(&doubt.from()), "{doubt}");
                self.enter(doubt.from());
            }
        }
    }
}
