//! Feeds that a log numbers: the same positions on every node, feeds that are made late, epochs,
//! and losses that are told. Owns what a registry promises of a domain, without sockets. Must not
//! test how the log is reached.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use gridcast::feed::domain::{Applied, ApplyError, LogBatch, LogFrame};
use gridcast::feed::epoch::{Epoch, Position};
use gridcast::feed::gap::GapReason;
use gridcast::feed::kind::{Form, LaneKind};
use gridcast::feed::lane_reader::LaneReader;
use gridcast::feed::log::interruption::Loss;
use gridcast::feed::log::{Feed, Opened};
use gridcast::feed::options::From;
use gridcast::feed::placed::Subscribed;
use gridcast::feed::positions::in_log;
use gridcast::feed::registry::{Identity, Registry, RegistryOptions};
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::{Kind, encode};
use harness::feeds::{S, doorbell, message, name, options, retention};

const JSON: LaneKind = LaneKind::plain(Form::Json);
const BINARY: LaneKind = LaneKind::plain(Form::Binary);

/// A node of a domain that has applied nothing.
fn node() -> Registry {
    node_with(options(retention(u64::MAX)))
}

fn node_with(options: RegistryOptions) -> Registry {
    let registry = Registry::new(RegistryOptions { identity: Identity::Domain, ..options });
    registry.begin_epoch(Epoch(7), S);
    registry
}

fn batch(sequence: u64, frames: &[(&str, u64)]) -> LogBatch {
    let frame = |(topic, number): &(&str, u64)| LogFrame {
        topic: Topic::new(topic).unwrap(),
        kind: Kind::Text,
        source: Source::CLIENTS,
        payload: Bytes::from(number.to_string()),
    };
    LogBatch { sequence, frames: frames.iter().map(frame).collect() }
}

fn apply(registry: &Registry, batch: &LogBatch) -> Applied {
    registry.apply(batch, S, |_| ()).unwrap()
}

fn follow(registry: &Registry, target: &str) -> Arc<Feed> {
    registry.follow(&name(target), &Default::default(), S).unwrap()
}

fn open(feed: &Feed, kind: LaneKind) -> LaneReader {
    let Opened { reader, .. } = feed.open(kind, &doorbell(), 0).unwrap();
    reader
}

/// What comes from `placed` on.
fn bytes_from(reader: &LaneReader, placed: &Subscribed) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.slices(placed.cursor.frame_pos, |slice| {
        bytes.extend_from_slice(slice);
        true
    });
    bytes
}

/// The positions that a gap is told from and to, and its frames where they are known.
type Told = (u64, u64, Option<u64>);

/// The text messages that a subscriber gets that asks for `from`, and the gap it is told first.
fn got(feed: &Feed, from: &From) -> (Vec<String>, Option<Told>) {
    let mut reader = open(feed, JSON);
    feed.reach_back(&mut reader, from);
    let placed = feed.place(&reader, from);
    let mut rest = &*bytes_from(&reader, &placed);
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let (frame, others) = rest.split_at(encode::frame_len(rest).unwrap() as usize);
        let (_, text) = encode::message(frame).unwrap();
        texts.push(String::from_utf8(text.to_vec()).unwrap());
        rest = others;
    }
    (texts, placed.gap.map(|gap| (gap.from, gap.to, gap.frames)))
}

fn after(seq: u64) -> From {
    From::After { epoch: Epoch(7), seq }
}

/// The envelope of a number, published as frame `index` of message `sequence`.
fn envelope(topic: &str, pattern: Option<&str>, at: (u64, usize), number: u64) -> String {
    let pattern = pattern.map_or(String::new(), |name| format!("\"pattern\":\"{name}\","));
    let seq = in_log(at.0, at.1);
    format!("{{\"topic\":\"{topic}\",{pattern}\"seq\":{seq},\"data\":{number}}}")
}

#[test]
fn topics_and_patterns_have_the_positions_of_the_log_on_every_node() {
    let nodes = [node(), node()];
    let early = follow(&nodes[0], "pmu/#");
    for registry in &nodes {
        apply(registry, &batch(3, &[("pmu/1", 10), ("alarms", 11), ("pmu/2", 12)]));
        apply(registry, &batch(9, &[("pmu/2", 13)]));
    }
    let late = follow(&nodes[1], "pmu/#");
    let expected = [
        envelope("pmu/1", Some("pmu/#"), (3, 0), 10),
        envelope("pmu/2", Some("pmu/#"), (3, 2), 12),
        envelope("pmu/2", Some("pmu/#"), (9, 0), 13),
    ];
    for feed in [&early, &late] {
        assert_eq!(got(feed, &From::Oldest), (expected.to_vec(), None));
        assert_eq!(got(feed, &after(in_log(3, 0))), (expected[1..].to_vec(), None));
        assert_eq!(got(feed, &after(in_log(3, 1))), (expected[1..].to_vec(), None));
        assert_eq!(got(feed, &after(in_log(9, 0))), (vec![], None));
    }
    for registry in &nodes {
        let expected =
            vec![envelope("pmu/2", None, (3, 2), 12), envelope("pmu/2", None, (9, 0), 13)];
        assert_eq!(got(&follow(registry, "pmu/2"), &From::Oldest), (expected, None));
    }
}

#[test]
fn what_comes_again_changes_nothing() {
    let registry = node();
    let pattern = follow(&registry, "#");
    let first = batch(1, &[("a", 1), ("b", 2)]);
    let applied = apply(&registry, &first);
    assert_eq!((applied.frames, applied.repeated), (2, 0));
    let again = apply(&registry, &first);
    assert_eq!((again.frames, again.repeated), (0, 2));
    assert_eq!(got(&pattern, &From::Oldest).0.len(), 2);
    let frames = vec![first.frames[0].clone(); 4097].into();
    let too_long = registry.apply(&LogBatch { sequence: 2, frames }, S, |_| ());
    assert_eq!(too_long, Err(ApplyError::TooLong(4097)));
    let too_far = registry.apply(&batch(u64::MAX, &[("a", 3)]), S, |_| ());
    assert_eq!(too_far, Err(ApplyError::TooFar(u64::MAX)));
    assert_eq!(apply(&registry, &batch(2, &[("a", 3)])).frames, 1);
}

#[test]
fn what_a_node_cannot_know_is_told_and_what_it_has_not_yet_is_waited_for() {
    let registry = node();
    apply(&registry, &batch(100, &[("a", 1)]));
    apply(&registry, &batch(101, &[("a", 2)]));
    let feed = follow(&registry, "a");
    let told = Some((in_log(50, 0) + 1, in_log(100, 0) - 1, None));
    assert_eq!(got(&feed, &after(in_log(50, 0))).1, told, "it began with message 100");
    let reader = open(&feed, LaneKind::RAW);
    let ahead = feed.place(&reader, &after(in_log(200, 3)));
    let position = Position { epoch: Epoch(7), seq: in_log(200, 3) };
    assert_eq!((ahead.ahead, ahead.gap), (Some(position), None));
    assert!(feed.is_behind(position));
    assert_eq!(feed.first_after(Epoch(7), in_log(200, 3)), None);
    apply(&registry, &batch(200, &[("a", 3), ("b", 0), ("b", 0), ("a", 4), ("a", 5)]));
    assert_eq!(feed.first_after(Epoch(7), in_log(200, 3)), Some(5), "the frame behind it");
    assert!(!feed.is_behind(position));
}

/// Messages are applied while patterns are made: each has every frame of its own, once.
#[test]
fn a_pattern_that_is_made_meanwhile_misses_nothing() {
    const MESSAGES: u64 = 600;
    let registry = node();
    let topics: Vec<String> = (0..10).map(|at| format!("t/{at}")).collect();
    let apply_all = || {
        for sequence in 1..=MESSAGES {
            let frames = topics.iter().map(|topic| (topic.as_str(), sequence));
            apply(&registry, &batch(sequence, &frames.collect::<Vec<_>>()));
        }
    };
    let targets = ["#", "t/+", "t/#", "t/7", "+/7", "+/+", "t/3/#", "+/3/#"];
    thread::scope(|scope| {
        scope.spawn(apply_all);
        for target in targets {
            let registry = &registry;
            scope.spawn(move || {
                while registry.domain().unwrap().applied() < MESSAGES / 3 {
                    thread::yield_now();
                }
                follow(registry, target)
            });
        }
    });
    for target in targets {
        let feed = follow(&registry, target);
        let reader = open(&feed, LaneKind::RAW);
        let matching =
            topics.iter().filter(|topic| feed.target().matches(&Topic::new(topic).unwrap()));
        let expected = MESSAGES * matching.count() as u64;
        assert_eq!(reader.head().ordinal - 1, expected, "{target}");
    }
}

#[test]
fn a_topic_that_was_forgotten_is_known_again() {
    let registry = node_with(RegistryOptions { forget_after_ns: S, ..options(retention(9)) });
    apply(&registry, &batch(1, &[("a", 1), ("b", 2)]));
    apply(&registry, &batch(2, &[("a", 3)]));
    registry.tidy(100 * S);
    assert_eq!(registry.usage().topics, 0);
    let (texts, gap) = got(&follow(&registry, "a"), &after(in_log(1, 0)));
    assert_eq!((texts, gap), (vec![envelope("a", None, (2, 0), 3)], None));
}

#[test]
fn a_topic_too_many_is_told_to_patterns() {
    let registry = node_with(RegistryOptions { topics_max: 1, ..options(retention(99)) });
    let pattern = follow(&registry, "#");
    let applied = apply(&registry, &batch(1, &[("a", 1), ("b", 2), ("a", 3)]));
    assert_eq!((applied.frames, applied.unkept), (2, 1));
    let (texts, _) = got(&pattern, &From::Oldest);
    let told = r##"{"gap":{"topic":"#","from":4097,"to":4097,"frames":1,"reason":"expired"}}"##;
    assert_eq!(texts[1], told);
    assert_eq!(texts.len(), 3);
}

#[test]
fn another_epoch_is_told_to_every_follower() {
    let registry = node();
    apply(&registry, &batch(5, &[("a", 1)]));
    let feeds = ["a", "#"].map(|target| follow(&registry, target));
    registry.begin_epoch(Epoch(8), S);
    apply(&registry, &batch(2, &[("a", 2)]));
    for feed in &feeds {
        assert_eq!(feed.epoch(), Epoch(8));
        let (texts, _) = got(feed, &From::Oldest);
        assert!(texts[0].ends_with(r#""from":0,"to":0,"reason":"epoch"}}"#), "{texts:?}");
        assert_eq!(texts.len(), 2, "what it had before is given up");
        let (_, gap) = got(feed, &after(in_log(5, 0)));
        assert_eq!(gap.map(|(from, _, frames)| (from, frames)), Some((0, None)));
        let resumed = got(feed, &From::After { epoch: Epoch(8), seq: in_log(2, 0) });
        assert_eq!(resumed, (vec![], None));
    }
}

#[test]
fn what_the_log_lost_is_told_once() {
    let registry = node();
    apply(&registry, &batch(5, &[("a", 1)]));
    let feed = follow(&registry, "a");
    let loss = Loss::up_to(in_log(9, 4095), None, GapReason::Expired);
    registry.lose(9, loss, S);
    registry.lose(9, loss, S);
    apply(&registry, &batch(10, &[("a", 2)]));
    let (texts, _) = got(&feed, &From::Oldest);
    assert_eq!(texts.len(), 3, "{texts:?}");
    let (from, to) = (in_log(5, 0) + 1, in_log(9, 4095));
    let told = format!(r#"{{"gap":{{"topic":"a","from":{from},"to":{to},"reason":"expired"}}}}"#);
    assert_eq!(texts[1], told);
}

/// Messages are lost on the way from another node.
#[test]
fn a_loss_is_an_entry_of_each_lane_and_positions_go_on() {
    let registry = Registry::new(options(retention(99)));
    let topic = Topic::new("a").unwrap();
    let publish =
        |payload: &[u8]| registry.publish(&topic, &mut None, message(payload), S).unwrap().seq;
    let feeds = ["a", "#"].map(|target| follow(&registry, target));
    let open_before = feeds.each_ref().map(|feed| open(feed, BINARY));
    assert_eq!(publish(b"1"), 1);
    registry.tell(&topic, Loss::of(10, GapReason::Relay), S);
    for feed in &feeds {
        let reader = open(feed, LaneKind::RAW);
        assert_eq!(reader.newest().ordinal, 1, "the newest frame, not the notice behind it");
        let mut json = open(feed, JSON);
        feed.reach_back(&mut json, &From::Last);
        assert_eq!(json.newest().ordinal, 1);
    }
    assert_eq!(publish(b"2"), 12);
    for (feed, mut reader) in feeds.iter().zip(open_before) {
        let target = feed.target().as_str();
        let told = format!(
            r#"{{"gap":{{"topic":"{target}","from":2,"to":11,"frames":10,"reason":"relay"}}}}"#
        );
        let (texts, _) = got(feed, &From::Oldest);
        assert_eq!((texts.len(), &texts[1]), (3, &told), "encoded later, it stands there as well");
        assert_eq!(got(feed, &From::Last).0.len(), 1);
        assert_eq!(got(feed, &From::After { epoch: feed.epoch(), seq: 11 }).0.len(), 1);
        // The notice is an entry of its own, though in this form others stand before their frame.
        reader.refresh();
        assert_eq!((reader.head().ordinal, reader.oldest().ordinal), (4, 1));
        let notice = reader.after(reader.oldest());
        assert!(reader.frame(notice).ends_with(b"\"relay\"}}"));
        assert_eq!(reader.after(reader.after(notice)), reader.latest());
    }
    let raw = open(&feeds[0], LaneKind::RAW);
    let notice = raw.frame(raw.after(raw.oldest())).to_vec();
    assert_eq!(notice[0], 0x89, "a ping");
    assert_eq!(&notice[2..], br#"{"gap":{"from":2,"to":11,"frames":10,"reason":"relay"}}"#);
}

/// Where nobody else numbers frames, nobody can have more than there is.
#[test]
fn a_position_that_was_not_reached_is_one_of_another_life() {
    let registry = Registry::new(options(retention(99)));
    let topic = Topic::new("a").unwrap();
    registry.publish(&topic, &mut None, message(b"1"), S).unwrap();
    let feed = follow(&registry, "a");
    let resumed = |seq| {
        let (texts, gap) = got(&feed, &From::After { epoch: feed.epoch(), seq });
        (texts.len(), gap)
    };
    assert_eq!(resumed(1), (0, None), "it has the newest");
    assert_eq!([resumed(2), resumed(u64::MAX)], [(1, Some((0, 0, None))); 2]);
    registry.tell(&topic, Loss::of(10, GapReason::Relay), S);
    assert_eq!(resumed(11), (0, None));
    assert_eq!([resumed(12), resumed(u64::MAX)], [(2, Some((0, 0, None))); 2]);
}

/// Another node may say anything.
#[test]
fn a_loss_of_absurdly_many_frames_leaves_positions_to_those_that_come() {
    let registry = Registry::new(options(retention(99)));
    let topic = Topic::new("a").unwrap();
    let publish =
        |payload: &[u8]| registry.publish(&topic, &mut None, message(payload), S).unwrap().seq;
    let feed = follow(&registry, "a");
    publish(b"1");
    for _ in 0..3 {
        registry.tell(&topic, Loss::of(u64::MAX, GapReason::Relay), S);
    }
    assert_eq!(publish(b"2"), 2 + 3 * (1 << 32));
    assert_eq!(got(&feed, &From::Oldest).0.len(), 5);
}

/// Notices alone do not make a feed grow, and the last frame stays as long as it can.
#[test]
fn the_last_frame_outlives_notices() {
    let registry = Registry::new(options(retention(1)));
    let topic = Topic::new("a").unwrap();
    registry.publish(&topic, &mut None, message(b"1"), S).unwrap();
    let feed = follow(&registry, "a");
    for _ in 0..3 {
        registry.tell(&topic, Loss::of(1, GapReason::Relay), S);
        registry.tidy(99 * S);
    }
    let reader = open(&feed, LaneKind::RAW);
    assert_eq!(reader.frame(reader.newest()), [0x82, 1, b'1']);
    for _ in 0..1000 {
        registry.tell(&topic, Loss::of(1, GapReason::Relay), S);
    }
    let reader = open(&feed, LaneKind::RAW);
    assert!(reader.head().ordinal - reader.oldest().ordinal <= 17);
    assert_eq!(registry.publish(&topic, &mut None, message(b"2"), S).unwrap().seq, 1005);
}
