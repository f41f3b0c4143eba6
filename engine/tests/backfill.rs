//! Lanes that are opened late, and filled with older frames for those who ask for them: what is
//! encoded, that it is what a lane holds which was always open, and that nobody waits for it. Must
//! not know how it is done.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use gridcast::feed::cursor::Cursor;
use gridcast::feed::encoder::Encoder;
use gridcast::feed::kind::{Deflation, Form, LaneKind};
use gridcast::feed::lane_reader::LaneReader;
use gridcast::feed::log::{Feed, Opened};
use gridcast::feed::message::{Origin, Place};
use gridcast::feed::options::From;
use gridcast::feed::prepared::Prepared;
use gridcast::feed::registry::{Registry, RegistryOptions};
use gridcast::feed::topic::Topic;
use harness::feeds::{S, doorbell, message, name, options, retention};
use harness::{Server, Told, http};
use proptest::prelude::*;

const JSON: LaneKind = LaneKind::plain(Form::Json);
const DEFLATED: LaneKind = deflated(Form::Json);
const KINDS: [LaneKind; 5] =
    [LaneKind::SSE, JSON, LaneKind::plain(Form::Binary), DEFLATED, deflated(Form::Raw)];

const fn deflated(form: Form) -> LaneKind {
    LaneKind { form, deflate: Some(Deflation { window_bits: 15, level: 6, bytes_min: 0 }) }
}

/// A feed and what was published to it, through the topics that it is of.
struct Bed {
    registry: Registry,
    feed: Arc<Feed>,
    sent: Vec<(String, Vec<u8>)>,
}

impl Bed {
    fn new(target: &str, frames_max: u64) -> Self {
        Self::with(target, options(retention(frames_max)))
    }

    fn with(target: &str, options: RegistryOptions) -> Self {
        let registry = Registry::new(options);
        let feed = registry.follow(&name(target), &Default::default(), S).unwrap();
        Self { registry, feed, sent: Vec::new() }
    }

    fn publish(&mut self, topic: &str, payload: &[u8]) {
        let at = Topic::new(topic).unwrap();
        self.registry.publish(&at, &mut None, message(payload), S).unwrap();
        self.sent.push((topic.to_owned(), payload.to_vec()));
    }

    fn publish_numbers(&mut self, count: u64) {
        (0..count).for_each(|number| self.publish("t", number.to_string().as_bytes()));
    }

    fn open(&self, kind: LaneKind) -> LaneReader {
        let Opened { reader, .. } = self.feed.open(kind, &doorbell(), 0).unwrap();
        reader
    }

    fn after(&self, seq: u64) -> From {
        From::After { epoch: self.feed.epoch(), seq }
    }

    /// The frames `seqs` as an encoder makes them that made no others.
    fn encoded(&self, kind: LaneKind, seqs: Range<u64>) -> Vec<u8> {
        let mut encoder = Encoder::new(kind);
        let frames = seqs.map(|seq| {
            let (topic, payload) = &self.sent[seq as usize - 1];
            let number = self.feed.number();
            let origin = Arc::new(Origin { topic: topic.as_str().into(), pattern: None, number });
            let place = Place { epoch: self.feed.epoch(), ordinal: seq, seq, origin: &origin };
            encoder.encode(place, &mut Prepared::new(message(payload))).concat()
        });
        frames.flatten().collect()
    }
}

fn bytes_from(reader: &LaneReader, cursor: Cursor) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.slices(cursor.frame_pos, |slice| {
        bytes.extend_from_slice(slice);
        true
    });
    bytes
}

#[test]
fn nothing_old_is_encoded_for_those_who_want_what_comes() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 300);
    let before = server.metric("encodes_total");
    let mut events = http::Events::open(&server, "t?from=latest");
    let mut clients: Vec<_> = ["gridcast.v1.json", "gridcast.v1.bin"]
        .map(|protocol| {
            let mut client = server.multiplexed(protocol);
            client.say(r#"{"id":1,"subscribe":{"topic":"t","from":"latest"}}"#);
            assert!(client.text().contains(r#""seq":300"#));
            client
        })
        .into();
    assert_eq!(server.metric("encodes_total"), before);
    server.post("t", "301");
    assert_eq!(events.next().unwrap().data, "301");
    for client in &mut clients {
        assert!(matches!(client.next(), Told::Text(_) | Told::Binary(_)));
    }
    // The log's own, and one for each form.
    assert_eq!(server.metric("encodes_total"), before + 4);
}

#[test]
fn as_much_is_encoded_as_is_asked_for_and_only_once() {
    for kind in KINDS {
        let mut bed = Bed::new("t", u64::MAX);
        bed.publish_numbers(1000);
        let (mut one, mut other) = (bed.open(kind), bed.open(kind));
        let deflates = |encodes| if kind.deflate.is_some() { encodes } else { 0 };
        for (from, encodes) in [
            (From::Latest, 0),
            (From::Last, 1),
            (bed.after(1000), 0),
            (bed.after(990), 9),
            (bed.after(990), 0),
            (From::Oldest, 990),
            (bed.after(0), 0),
        ] {
            let answer = bed.feed.reach_back(&mut one, &from);
            assert_eq!(answer, (encodes, deflates(encodes)), "{kind:?} {from:?}");
            assert_eq!(bed.feed.reach_back(&mut other, &from), (0, 0), "{kind:?} {from:?}");
            assert_eq!(one.oldest(), other.oldest());
        }
        assert_eq!(bytes_from(&one, one.oldest()), bed.encoded(kind, 1..1001));
    }
}

#[test]
fn going_back_step_by_step_takes_few_fillings() {
    let mut bed = Bed::new("t", u64::MAX);
    bed.publish_numbers(1000);
    let mut reader = bed.open(JSON);
    let encodes: Vec<u32> = (0..1000)
        .rev()
        .map(|seq| bed.feed.reach_back(&mut reader, &bed.after(seq)).0)
        .filter(|encodes| *encodes > 0)
        .collect();
    assert_eq!(encodes.iter().sum::<u32>(), 1000);
    assert!(encodes.len() <= 11, "{encodes:?}");
}

#[test]
fn what_all_ask_for_at_once_is_encoded_once() {
    const CORES: usize = 4;
    let mut bed = Bed::new("t", u64::MAX);
    bed.publish_numbers(2000);
    let (barrier, encodes, bed) = (Barrier::new(CORES), AtomicU64::new(0), &bed);
    std::thread::scope(|scope| {
        for _ in 0..CORES {
            scope.spawn(|| {
                let mut reader = bed.open(JSON);
                barrier.wait();
                let (own, _) = bed.feed.reach_back(&mut reader, &From::Oldest);
                encodes.fetch_add(u64::from(own), Ordering::Relaxed);
                assert_eq!(reader.oldest().ordinal, 1);
            });
        }
    });
    assert_eq!(encodes.into_inner(), 2000);
}

/// The log is deflated for one who asks for all of it; were the feed locked for it, what is
/// published meanwhile would wait.
#[test]
fn publishers_go_on_while_a_lane_is_filled() {
    let mut bed = Bed::new("t", u64::MAX);
    (0..10_000).for_each(|number: u32| bed.publish("t", &number.to_be_bytes().repeat(16)));
    let (mut reader, mut raw) = (bed.open(DEFLATED), bed.open(LaneKind::RAW));
    let (begun, is_over, bed) = (Barrier::new(2), AtomicBool::new(false), &bed);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            begun.wait();
            while !is_over.load(Ordering::Relaxed) {
                bed.feed.publish(message(b"meanwhile"), S).unwrap();
                std::thread::yield_now();
            }
        });
        begun.wait();
        raw.refresh();
        let before = raw.head().ordinal;
        bed.feed.reach_back(&mut reader, &From::Oldest);
        raw.refresh();
        is_over.store(true, Ordering::Relaxed);
        let meanwhile = raw.head().ordinal - before;
        assert!(meanwhile > 10, "{meanwhile} messages were published meanwhile");
        publisher.join().unwrap();
    });
}

#[test]
fn a_lane_that_is_filled_and_gets_nothing_more_can_be_compacted() {
    for (from, oldest_seq) in [(From::Last, 300), (From::Oldest, 300)] {
        let mut bed = Bed::new("t", u64::MAX);
        bed.publish_numbers(300);
        let mut reader = bed.open(JSON);
        bed.feed.reach_back(&mut reader, &from);
        let cursor = reader.oldest();
        bed.feed.tidy(S, 0);
        let used = bed.registry.usage().log_bytes;
        let mut late = bed.open(JSON);
        assert_eq!(bed.feed.reach_back(&mut late, &From::Oldest), (0, 0));
        assert_eq!(late.oldest().ordinal, oldest_seq);
        bed.feed.tidy(S, 0);
        assert_eq!(bed.registry.usage().log_bytes, used, "nothing is left to give back");
        bed.publish("t", b"one more");
        let oldest = late.oldest();
        for (reader, cursor) in [(&mut late, oldest), (&mut reader, cursor)] {
            reader.refresh();
            assert_eq!(bytes_from(reader, cursor), bed.encoded(JSON, cursor.ordinal..302));
        }
    }
}

#[test]
fn while_memory_is_short_only_the_last_frame_is_encoded() {
    let options = RegistryOptions { log_bytes_max: 1 << 20, ..options(retention(u64::MAX)) };
    let mut bed = Bed::with("t", options);
    // Held, so that what the feed gives up stays in use.
    bed.publish("t", &[0; 1000]);
    let log = bed.open(LaneKind::RAW);
    while bed.registry.usage().log_bytes < (1 << 20) / 8 * 7 {
        bed.publish("t", &[0; 1000]);
    }
    let mut reader = bed.open(JSON);
    assert_eq!(bed.feed.reach_back(&mut reader, &From::Oldest).0, 1);
    assert_eq!(reader.oldest(), reader.newest());
    assert!(log.head().ordinal > 0);
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    /// Somebody on one of two cores subscribes.
    Ask(usize, Start),
    Refresh(usize),
    Compact,
}

#[derive(Clone, Debug)]
enum Start {
    Latest,
    Last,
    Oldest,
    /// So many frames back.
    Back(u64),
    OtherEpoch,
}

impl Start {
    fn from(&self, bed: &Bed) -> From {
        match self {
            Self::Latest => From::Latest,
            Self::Last => From::Last,
            Self::Oldest => From::Oldest,
            Self::Back(frames) => bed.after((bed.sent.len() as u64).saturating_sub(*frames)),
            Self::OtherEpoch => From::After { epoch: "zz".parse().unwrap(), seq: 3 },
        }
    }
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        2 => Just(Start::Latest),
        2 => Just(Start::Last),
        1 => Just(Start::Oldest),
        4 => (0_u64..60).prop_map(Start::Back),
        1 => Just(Start::OtherEpoch),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0_usize..400).prop_map(Step::Publish),
        10 => (0_usize..2, start()).prop_map(|(core, start)| Step::Ask(core, start)),
        4 => (0_usize..2).prop_map(Step::Refresh),
        1 => Just(Step::Compact),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever subscribes gets what is retained of what he asked for, is told of the rest, and
    /// reads on from there whatever is put before his lane later.
    #[test]
    fn everybody_reads_what_the_log_retains(
        steps in steps(),
        kind in 0..KINDS.len(),
        frames_max in prop_oneof![Just(u64::MAX), 1_u64..40],
    ) {
        let kind = KINDS[kind];
        let mut bed = Bed::new("t", frames_max);
        let mut cores = [None, None];
        let mut cursors = Vec::new();
        for step in steps {
            match step {
                Step::Publish(len) => bed.publish("t", &vec![b'x'; len]),
                Step::Compact => bed.feed.tidy(S, 0),
                Step::Refresh(core) => {
                    if let Some(reader) = &mut cores[core] {
                        LaneReader::refresh(reader);
                    }
                }
                Step::Ask(core, start) => {
                    let from = start.from(&bed);
                    let reader = cores[core].get_or_insert_with(|| bed.open(kind));
                    reader.refresh();
                    bed.feed.reach_back(reader, &from);
                    let placed = bed.feed.place(reader, &from);
                    let expected = bed.feed.place(&bed.open(LaneKind::RAW), &from);
                    prop_assert_eq!(placed.cursor.ordinal, expected.cursor.ordinal);
                    prop_assert_eq!(placed.gap, expected.gap);
                    cursors.push((core, placed.cursor));
                }
            }
        }
        for (core, cursor) in cursors {
            let reader = cores[core].as_mut().unwrap();
            reader.refresh();
            let expected = bed.encoded(kind, cursor.ordinal..bed.sent.len() as u64 + 1);
            prop_assert_eq!(bytes_from(reader, cursor), expected);
        }
    }

    /// In binary a topic of a pattern is known by a number: nobody gets a message whose number he
    /// was not told, wherever he began and whatever he skipped.
    #[test]
    fn nobody_gets_a_number_that_he_was_not_told(steps in steps()) {
        let kind = LaneKind::plain(Form::Binary);
        let mut bed = Bed::new("#", u64::MAX);
        let mut cores = [None, None];
        let mut followers: Vec<Numbered> = Vec::new();
        for step in steps {
            match step {
                Step::Publish(len) => bed.publish(&format!("t/{}", len % 7), b"x"),
                // The first who follows goes on with the newest.
                Step::Compact => {
                    if let Some(follower) = followers.first_mut() {
                        let reader = cores[follower.core].as_ref().unwrap();
                        follower.skip(&bed.feed, reader);
                    }
                }
                Step::Refresh(core) => {
                    if let Some(reader) = &mut cores[core] {
                        LaneReader::refresh(reader);
                        let own = followers.iter_mut().filter(|follower| follower.core == core);
                        own.for_each(|follower| follower.read(reader));
                        let first = followers.len().min(1);
                        followers.rotate_left(first);
                    }
                }
                Step::Ask(core, start) => {
                    let from = start.from(&bed);
                    let reader = cores[core].get_or_insert_with(|| bed.open(kind));
                    reader.refresh();
                    bed.feed.reach_back(reader, &from);
                    let cursor = bed.feed.place(reader, &from).cursor;
                    let told = bed.feed.announced(kind, 0..cursor.ordinal);
                    let told = told.iter().map(|origin| origin.number).collect();
                    followers.push(Numbered { core, cursor, told });
                }
            }
        }
        for follower in &mut followers {
            let reader = cores[follower.core].as_mut().unwrap();
            reader.refresh();
            follower.read(reader);
        }
    }
}

/// Who follows a pattern in binary, and the numbers that he was told.
struct Numbered {
    core: usize,
    cursor: Cursor,
    told: BTreeSet<u64>,
}

impl Numbered {
    fn read(&mut self, reader: &LaneReader) {
        while self.cursor.ordinal < reader.head().ordinal {
            let (announced, number) = announced_and_number(reader.frame(self.cursor));
            self.told.extend(announced);
            assert!(self.told.contains(&number), "{number} at {:?}", self.cursor);
            self.cursor = reader.after(self.cursor);
        }
    }

    fn skip(&mut self, feed: &Feed, reader: &LaneReader) {
        let newest = reader.newest();
        if newest.ordinal > self.cursor.ordinal {
            if reader.has_announced_since(self.cursor.ordinal) {
                let missed = feed.announced(reader.kind(), self.cursor.ordinal..newest.ordinal);
                self.told.extend(missed.iter().map(|origin| origin.number));
            }
            self.cursor = newest;
        }
    }
}

/// What a frame announces, if it does, and the number in its envelope.
fn announced_and_number(frame: &[u8]) -> (Option<u64>, u64) {
    let text_len = if frame[0] & 0x0F == 1 { 2 + usize::from(frame[1]) } else { 0 };
    assert!(text_len <= 2 + 125, "short announcements");
    let announced = (text_len > 0).then(|| {
        let told: serde_json::Value = serde_json::from_slice(&frame[2..text_len]).unwrap();
        told["feed"].as_u64().unwrap()
    });
    let number = &frame[text_len + 2..];
    let len = number.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let number = number[..len].iter().rev();
    (announced, number.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F)))
}
