//! What one turn of a core may do, on a fake network with a clock of its own: a share of everything
//! that is due, and never more. Owns the budgets of turns, the writes that a flush takes, and
//! deadlines that are longer than the core looks ahead. Must not test what is delivered (that is
//! `simulation`).

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/session.rs"]
mod session;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use gridcast::auth::rules::Rules;
use gridcast::core::Core;
use gridcast::core::history::store::{HistoryStore, Page, Question, Reply, StoreError};
use gridcast::core::shared::{Port as SharedPort, Shared};
use gridcast::core::submission::{LogState, Publishing};
use gridcast::feed::epoch::Epoch;
use gridcast::feed::message::Message;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use gridcast::http::route::Door;
use gridcast::net::tls::certificates::Tls;
use gridcast::settings::config::Config;
use harness::frames::{CLOSE, PING, TEXT, frame};
use harness::http::{UPGRADE, post_bytes};
use network::{FakeBackend, FakeClock, FakeWake, Port, UNIX_MS, Wire};
use session::Session;

const MS: u64 = 1_000_000;
/// Most connections that one turn closes, however many are due.
const CLOSED_PER_TURN_MAX: usize = 256;

/// One core, its network and its clock.
struct Bed {
    core: Core<FakeBackend>,
    shared: Arc<Shared>,
    port: Port,
    clock: FakeClock,
}

impl Bed {
    fn new(overrides: harness::Overrides<'_>) -> Self {
        Self::with(harness::config(overrides))
    }

    /// One that speaks TLS.
    fn secure() -> Self {
        let mut config = harness::config(&[]);
        session::secure(&mut config);
        Self::with(config)
    }

    fn with(config: Config) -> Self {
        let rules = Rules::load(&config).unwrap();
        let tls = Tls::new(&config.tls).unwrap();
        let ports = vec![SharedPort::new(FakeWake::default())];
        let publishing = config.publishing;
        let shared = Shared::new(config, rules, tls, ports, UNIX_MS);
        let shared = Arc::new(match publishing {
            Publishing::Local => shared,
            Publishing::Log => shared.through_log(),
        });
        shared.set_ready();
        let (port, clock) = (Port::default(), FakeClock::new(1_000));
        let backend = FakeBackend::new(port.clone(), clock.clone());
        let core = Core::new(Arc::clone(&shared), 0, backend, &[Door::All]);
        Self { core, shared, port, clock }
    }

    fn turn(&mut self) {
        let mut events = Vec::new();
        let timeout = self.core.fall_asleep();
        self.core.wake_up(&mut events, timeout).unwrap();
        self.core.turn(&events);
    }

    /// Turns until nothing is to be done at once.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.turn();
            if self.core.fall_asleep() != Some(Duration::ZERO) && !self.port.has_events() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets `ms` pass, in steps that a core would wake up for.
    fn pass_ms(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.clock.advance(100 * MS);
            self.settle();
        }
    }

    fn ask(&mut self, request: &str) -> Wire {
        let wire = self.port.connect(1);
        wire.give_room(usize::MAX);
        wire.send(request.as_bytes());
        self.settle();
        wire
    }

    fn subscribe(&mut self, feed: &str) -> Wire {
        self.ask(&upgrade(&format!("/v1/feed/{feed}")))
    }

    fn multiplexed(&mut self) -> Wire {
        self.ask(&upgrade("/v1/ws"))
    }

    /// Publishes past all cores.
    fn publish(&self, topic: &str, text: &str) {
        let message = Message::of_client(Kind::Text, text.as_bytes());
        let (topic, now_ns) = (Topic::new(topic).unwrap(), self.clock.now_ns());
        self.shared.registry.publish(&topic, &mut None, message, now_ns).unwrap();
    }

    fn topics(&self) -> usize {
        self.shared.registry.usage().topics
    }

    /// The most topics that came to be in one turn, until there are `count`.
    fn topics_per_turn_max(&mut self, count: usize) -> usize {
        let mut most = 0;
        while self.topics() < count {
            let before = self.topics();
            self.turn();
            most = most.max(self.topics() - before);
        }
        most
    }
}

fn upgrade(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n")
}

/// A command that subscribes to each of these topics, without an answer.
fn subscribes(topics: Range<usize>) -> Vec<u8> {
    let command = |n| frame(TEXT, format!("{{\"subscribe\":{{\"topic\":\"t/{n}\"}}}}").as_bytes());
    topics.flat_map(command).collect()
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.port.clear();
    }
}

fn text_of(wire: &Wire) -> String {
    String::from_utf8_lossy(&wire.received()).into_owned()
}

/// Whether the last frame is a close, of any length below 126.
fn is_closed(wire: &Wire) -> bool {
    let received = wire.received();
    let close = received.windows(2).rposition(|pair| pair[0] == 0x88);
    close.is_some_and(|at| at + 2 + usize::from(received[at + 1]) == received.len())
}

/// How many of `wires` each turn closes, until all are.
fn closed_per_turn(bed: &mut Bed, wires: &[Wire]) -> Vec<usize> {
    let mut counts = vec![wires.iter().filter(|wire| is_closed(wire)).count()];
    while *counts.last().unwrap() < wires.len() {
        assert!(counts.len() < 1000, "they are never closed: {counts:?}");
        bed.turn();
        counts.push(wires.iter().filter(|wire| is_closed(wire)).count());
    }
    counts.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn all_that_are_due_at_once_are_closed_in_several_turns() {
    let mut bed =
        Bed::new(&[("keepalive.ping_interval_ms", "1000"), ("keepalive.idle_timeout_ms", "2000")]);
    let wires: Vec<Wire> = (0..2000).map(|_| bed.subscribe("t")).collect();
    // None of them answers a ping: all are idle at the same instant, which one turn sees.
    bed.pass_ms(1500);
    bed.clock.advance(10_000 * MS);
    let closed = closed_per_turn(&mut bed, &wires);
    assert!(closed.iter().all(|&count| count <= CLOSED_PER_TURN_MAX), "{closed:?}");
}

#[test]
fn a_drain_without_a_window_closes_in_several_turns() {
    let mut bed = Bed::new(&[("drain.window_ms", "0")]);
    let wires: Vec<Wire> = (0..2000).map(|_| bed.subscribe("t")).collect();
    bed.shared.drain(bed.clock.now_ns());
    bed.clock.advance(MS);
    let closed = closed_per_turn(&mut bed, &wires);
    assert!(closed.iter().all(|&count| count <= CLOSED_PER_TURN_MAX), "{closed:?}");
}

#[test]
fn a_drain_does_not_sleep_while_it_is_late() {
    let mut bed = Bed::new(&[("drain.window_ms", "0")]);
    let wires: Vec<Wire> = (0..2000).map(|_| bed.subscribe("t")).collect();
    bed.shared.drain(bed.clock.now_ns());
    bed.clock.advance(MS);
    bed.settle();
    assert!(wires.iter().all(is_closed), "all of them, before the next tick");
}

#[test]
fn the_lines_of_a_large_post_are_published_in_several_turns() {
    const LINES: usize = 40_000;
    let mut bed = Bed::new(&[]);
    let reader = bed.subscribe("t?mode=lossless");
    let body = "{\"topic\":\"t\",\"data\":1}\n".repeat(LINES);
    let request = post_bytes("/v1/publish", "application/x-ndjson", body.as_bytes());
    let poster = bed.port.connect(1);
    poster.give_room(usize::MAX);
    poster.send(&request);
    // The next request waits until this one is answered.
    poster.send(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    poster.end();
    let ones_before = reader.received().iter().filter(|&&byte| byte == b'1').count();
    let (mut before, mut most, mut turns) = (reader.received().len(), 0, 0);
    while !text_of(&poster).contains("published") {
        bed.turn();
        turns += 1;
        assert!(turns < 10_000, "never answered");
        let now = reader.received().len();
        (most, before) = (most.max(now - before), now);
    }
    // A frame of one byte takes three.
    assert!(most <= 2 * 3 * 256, "{most} bytes in one turn");
    bed.settle();
    let answers = text_of(&poster);
    assert!(answers.contains(&format!("{{\"failed\":0,\"published\":{LINES}}}")), "{answers}");
    assert!(answers.ends_with("ok\n"), "the request behind it is answered as well: {answers}");
    let ones = |wire: &Wire| wire.received().iter().filter(|&&byte| byte == b'1').count();
    assert_eq!(ones(&reader) - ones_before, LINES);
}

#[test]
fn a_large_post_waits_for_subscribers_that_are_behind() {
    let mut bed = Bed::new(&[
        ("flush.bytes_per_slice", "65536"),
        ("flush.bytes_per_socket", "4096"),
        ("retention.bytes_max", "65536"),
    ]);
    let walls: Vec<Wire> = (0..20).map(|_| bed.subscribe("%23")).collect();
    let line = format!("{{\"topic\":\"t\",\"data\":\"{}\"}}\n", "x".repeat(990));
    let request = post_bytes("/v1/publish", "application/x-ndjson", line.repeat(1000).as_bytes());
    let poster = bed.port.connect(1);
    poster.give_room(usize::MAX);
    poster.send(&request);
    let mut log_bytes_max = 0;
    for _ in 0..10_000 {
        bed.turn();
        log_bytes_max = log_bytes_max.max(bed.shared.registry.usage().log_bytes);
        if text_of(&poster).contains("published") {
            break;
        }
    }
    bed.settle();
    assert!(text_of(&poster).contains("{\"failed\":0,\"published\":1000}"));
    for wall in &walls {
        assert!(!is_closed(wall) && wall.received().len() > 990_000, "all of it came");
    }
    assert!(log_bytes_max < 900_000, "{log_bytes_max} bytes of a body of a megabyte at once");
}

/// Dashboards that are due at once: an end takes time for each of its subscriptions.
#[test]
fn those_with_many_subscriptions_are_closed_a_few_a_turn() {
    const CLIENTS: usize = 50;
    const EACH: usize = 500;
    let idle = [("keepalive.ping_interval_ms", "1000"), ("keepalive.idle_timeout_ms", "2000")];
    for (overrides, drains) in [(&idle[..], false), (&[("drain.window_ms", "0")], true)] {
        let mut bed = Bed::new(overrides);
        let wires: Vec<Wire> = (0..CLIENTS).map(|_| bed.multiplexed()).collect();
        for (n, wire) in wires.iter().enumerate() {
            wire.send(&subscribes(n * EACH..(n + 1) * EACH));
        }
        bed.settle();
        assert_eq!(bed.topics(), CLIENTS * EACH);
        if drains {
            bed.shared.drain(bed.clock.now_ns());
            bed.clock.advance(MS);
        } else {
            bed.pass_ms(1500);
            bed.clock.advance(10_000 * MS);
        }
        // A look at the clock takes a thousandth of the time that they have.
        let closed = closed_per_turn(&mut bed, &wires);
        assert!(closed.iter().all(|&count| count <= 8), "{closed:?}");
    }
}

const LONG_CLOSE: harness::Overrides<'_> = &[("keepalive.close_timeout_ms", "120000")];

#[test]
fn a_close_may_take_longer_than_the_wheel_reaches() {
    let mut bed = Bed::new(LONG_CLOSE);
    let wire = bed.subscribe("t");
    // A reserved bit: the engine closes, and the peer never answers.
    wire.send(&[0xC1, 0x80, 0, 0, 0, 0]);
    bed.settle();
    assert!(is_closed(&wire));
    bed.pass_ms(119_000);
    // What it sends meanwhile does not make it longer.
    wire.send(b"still here");
    assert!(!wire.is_dropped(), "119 s of 120 are over");
    bed.pass_ms(2_000);
    assert!(wire.is_dropped());
}

#[test]
fn who_is_refused_after_a_long_sleep_has_its_time() {
    for (request, asleep_ms) in [("GARBAGE\r\n\r\n", 60_000), ("GARBAGE\r\n\r\n", 3_600_000)] {
        let mut bed = Bed::new(&[("keepalive.close_timeout_ms", "5000")]);
        bed.settle();
        // Without connections a core sleeps as long as nothing happens.
        bed.clock.advance(asleep_ms * MS);
        let wire = bed.ask(request);
        assert!(text_of(&wire).starts_with("HTTP/1.1 400 "), "{}", text_of(&wire));
        bed.pass_ms(4_000);
        assert!(!wire.is_dropped(), "4 s of 5 are over, after {asleep_ms} ms");
        bed.pass_ms(2_000);
        assert!(wire.is_dropped());
    }
}

const EVENTS: &str = "GET /v1/feed/t HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";

fn comments(events: &Wire) -> usize {
    text_of(events).matches("\n:").count()
}

#[test]
fn a_heartbeat_may_be_rarer_than_the_wheel_reaches() {
    let mut bed = Bed::new(&[("keepalive.heartbeat_ms", "120000")]);
    let events = bed.ask(EVENTS);
    let before = comments(&events);
    bed.pass_ms(119_000);
    assert_eq!(comments(&events), before);
    bed.pass_ms(2_000);
    assert_eq!(comments(&events), before + 1);
}

const HELLO: &str = "/v1/ws?hello=1";

fn beats(wire: &Wire) -> usize {
    text_of(wire).matches("{\"beat\":{\"t\":").count()
}

/// A client waits for a heartbeat as long as it was told, and a little.
#[test]
fn only_silence_has_heartbeats_and_each_comes_in_time() {
    let mut bed = Bed::new(&[
        ("keepalive.heartbeat_ms", "1000"),
        ("keepalive.ping_interval_ms", "100000"),
        ("keepalive.idle_timeout_ms", "400000"),
    ]);
    let events = bed.ask(EVENTS);
    let (asked, plain) = (bed.ask(&upgrade(HELLO)), bed.ask(&upgrade("/v1/ws")));
    let raw = bed.subscribe("t");
    let before = [&plain, &raw].map(|wire| wire.received().len());
    let first = comments(&events);
    bed.pass_ms(100);
    for count in 1..20 {
        bed.pass_ms(1_000);
        assert_eq!((comments(&events), beats(&asked)), (first + count, count));
    }
    assert_eq!([&plain, &raw].map(|wire| wire.received().len()), before);
    asked.send(&frame(TEXT, br#"{"subscribe":{"topic":"t"}}"#));
    bed.settle();
    let (said, beaten) = (comments(&events), beats(&asked));
    for _ in 0..20 {
        let publish = post_bytes("/v1/publish/t", "text/plain", b"x");
        bed.ask(str::from_utf8(&publish).unwrap());
        bed.pass_ms(900);
    }
    assert_eq!((comments(&events), beats(&asked)), (said, beaten), "while others speak");
}

/// What cannot be taken is not piled up, and a stall ends as it always did.
#[test]
fn who_takes_nothing_is_sent_no_heartbeats() {
    let mut bed = Bed::new(&[("keepalive.heartbeat_ms", "100"), ("flush.lag_age_ms_max", "5000")]);
    let wire = bed.port.connect(1);
    wire.give_room(1_000);
    wire.send(EVENTS.as_bytes());
    bed.settle();
    let publish = post_bytes("/v1/publish/t", "text/plain", &[b'x'; 2_000]);
    bed.ask(str::from_utf8(&publish).unwrap());
    let said = comments(&wire);
    bed.pass_ms(4_000);
    wire.give_room(2_000);
    bed.settle();
    assert!(text_of(&wire).ends_with("xx\n\n\r\n"), "nothing waited but the rest of the event");
    assert_eq!(comments(&wire), said);
    bed.pass_ms(300);
    assert!(comments(&wire) > said, "it took bytes, and is shown that the engine lives");
}

/// Commands of one connection that are carried out in one turn.
const COMMANDS_PER_TURN_MAX: usize = 256;

#[test]
fn the_commands_of_one_read_are_carried_out_in_several_turns() {
    const COMMANDS: usize = 3000;
    let mut bed = Bed::new(&[]);
    let other = bed.subscribe("t");
    let client = bed.multiplexed();
    client.send(&subscribes(0..COMMANDS));
    client.send(&frame(TEXT, br#"{"id":"last","unsubscribe":{"topic":"t/1"}}"#));
    client.end();
    let (mut before, mut turns, pongs_from) = (bed.topics(), 0, other.received().len());
    while !text_of(&client).contains(r#"{"id":"last","unsubscribed""#) {
        other.send(&frame(PING, b""));
        bed.turn();
        turns += 1;
        assert!(turns < 10_000, "never answered");
        let now = bed.topics();
        assert!(now - before <= COMMANDS_PER_TURN_MAX, "{} in one turn", now - before);
        before = now;
    }
    assert_eq!(bed.topics(), COMMANDS + 1);
    let pongs = (other.received().len() - pongs_from) / 2;
    assert!(pongs >= turns - 1, "{pongs} of {turns} pings were answered meanwhile");
    bed.settle();
    assert!(client.is_dropped(), "the end that came behind the commands");
}

#[test]
fn the_commands_of_many_clients_share_the_turns() {
    const CLIENTS: usize = 30;
    const COMMANDS: usize = 1000;
    let mut bed = Bed::new(&[]);
    let clients: Vec<Wire> = (0..CLIENTS).map(|_| bed.multiplexed()).collect();
    // Whose first read was no costly one is read with those who publish, as many as there are.
    for (n, client) in clients.iter().enumerate() {
        client.send(&subscribes(n * COMMANDS..n * COMMANDS + 1));
    }
    bed.settle();
    for (n, client) in clients.iter().enumerate() {
        client.send(&subscribes(n * COMMANDS + 1..(n + 1) * COMMANDS));
    }
    let most = bed.topics_per_turn_max(CLIENTS * COMMANDS);
    // A turn reads the commands of seven, and lets one or two go on that had to wait.
    assert!(most <= 10 * COMMANDS_PER_TURN_MAX, "{most} in one turn");
}

#[test]
fn commands_that_wait_are_answered_in_order_and_then_the_close() {
    const COMMANDS: usize = 2000;
    let mut bed = Bed::new(&[]);
    let client = bed.multiplexed();
    for id in 0..COMMANDS {
        let action = if id % 2 == 0 { "subscribe" } else { "unsubscribe" };
        let command = format!("{{\"id\":{id},\"{action}\":{{\"topic\":\"t\"}}}}");
        client.send(&frame(TEXT, command.as_bytes()));
    }
    client.send(&frame(CLOSE, &1000_u16.to_be_bytes()));
    client.end();
    bed.settle();
    let answers = text_of(&client);
    let ids: Vec<&str> =
        answers.split("{\"id\":").skip(1).map(|part| part.split(',').next().unwrap()).collect();
    let expected: Vec<String> = (0..COMMANDS).map(|id| id.to_string()).collect();
    assert_eq!(ids, expected);
    assert!(!answers.contains("error"), "{answers}");
    assert!(is_closed(&client) && client.is_dropped());
}

#[test]
fn what_is_inflated_of_one_read_is_published_in_several_turns() {
    const MESSAGES: usize = 100;
    const BYTES: usize = 256 << 10;
    let mut bed = Bed::new(&[("compression.enabled", "true"), ("retention.bytes_max", "67108864")]);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n";
    let client = bed.ask(&upgrade("/v1/publish/t").replace(UPGRADE, &format!("{UPGRADE}{offer}")));
    let mut deflated = Vec::with_capacity(BYTES);
    Compress::new(Compression::default(), false)
        .compress_vec(&[0; BYTES], &mut deflated, FlushCompress::Sync)
        .unwrap();
    deflated.truncate(deflated.len() - 4);
    client.send(&frame(0xC2, &deflated).repeat(MESSAGES));
    let log_bytes = |bed: &Bed| bed.shared.registry.usage().log_bytes as usize;
    while log_bytes(&bed) < MESSAGES * BYTES {
        let before = log_bytes(&bed);
        bed.turn();
        let grown = log_bytes(&bed) - before;
        assert!((1..=4 * BYTES).contains(&grown), "{grown} bytes in one turn");
    }
}

/// Another node may have been faster, but not for ever; while the log does not answer nobody knows.
#[test]
fn who_claims_more_than_the_log_comes_to_is_told_after_a_while() {
    let config = Config { publishing: Publishing::Log, ..harness::config(&[]) };
    let mut bed = Bed::with(config);
    let (shared, clock) = (Arc::clone(&bed.shared), bed.clock.clone());
    let set_log = |state| shared.submission.log().unwrap().set_state(state, clock.now_ns());
    set_log(LogState::Up);
    shared.registry.begin_epoch(Epoch(723), 0);
    let raw = bed.subscribe(&format!("a?from=k3-{}&lag=disconnect", u64::MAX));
    let multiplexed = bed.multiplexed();
    let command = r#"{"subscribe":{"topic":"a","from":"k3-4096"}}"#;
    multiplexed.send(&frame(TEXT, command.as_bytes()));
    bed.pass_ms(5_000);
    set_log(LogState::Held);
    bed.pass_ms(8_000);
    set_log(LogState::Up);
    bed.pass_ms(9_000);
    assert!(!is_closed(&raw) && !text_of(&multiplexed).contains("gap"));
    bed.pass_ms(2_000);
    assert!(is_closed(&raw) && text_of(&raw).contains("epoch: missed"), "{}", text_of(&raw));
    let told = r#"{"gap":{"topic":"a","from":0,"to":0,"reason":"epoch"}}"#;
    assert!(text_of(&multiplexed).ends_with(told), "{}", text_of(&multiplexed));
}

/// A store whose questions wait until a test answers them.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<Vec<Reply>>>);

impl HistoryStore for Slow {
    fn keeps(&self, _: &Topic) -> bool {
        true
    }

    fn ask(&self, _: Question, reply: Reply) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(reply);
        Ok(())
    }
}

/// Those who asked first are gone, so nothing but the answer brings up the last one.
#[test]
fn answers_of_a_store_that_one_turn_leaves_are_taken_in_the_next() {
    let mut bed = Bed::new(&[("history.store_requests_max", "100")]);
    let store = Slow::default();
    bed.shared.add_history(Box::new(store.clone()));
    let ask = |n| format!("GET /v1/history/t/{n} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut wires: Vec<Wire> = (0..65).map(|n| bed.ask(&ask(n))).collect();
    let last = wires.pop().unwrap();
    wires.iter().for_each(Wire::reset);
    bed.settle();
    for reply in store.0.lock().unwrap().drain(..) {
        reply.send(Ok(Page { rows: Vec::new(), is_last: true }));
    }
    bed.turn();
    assert_eq!(bed.core.fall_asleep(), Some(Duration::ZERO), "one answer is left");
    bed.settle();
    assert!(text_of(&last).contains("200 OK"), "{}", text_of(&last));
}

#[test]
fn a_live_feed_waits_for_one_share_of_each_that_is_replayed() {
    const REPLAYED: usize = 100;
    const FRAMES: usize = 80;
    /// Bytes of one feed that a write carries, and the frame that goes beyond.
    const SHARE_BYTES: usize = 18 << 10;
    let mut bed = Bed::new(&[]);
    for n in 0..REPLAYED {
        (0..FRAMES).for_each(|_| bed.publish(&format!("old/{n}"), &"x".repeat(1000)));
    }
    bed.publish("live", "1");
    let client = bed.multiplexed();
    let replay = |topic: String, from: &str| {
        let command = format!("{{\"subscribe\":{{\"topic\":\"{topic}\",\"from\":\"{from}\"}}}}");
        client.send(&frame(TEXT, command.as_bytes()));
    };
    (0..REPLAYED).for_each(|n| replay(format!("old/{n}"), "oldest"));
    replay("live".to_owned(), "last");
    bed.settle();
    let received = text_of(&client);
    let before = received.find(r#"{"topic":"live""#).unwrap();
    assert!(before <= REPLAYED * SHARE_BYTES, "{before} of {} bytes came first", received.len());
    let mut seqs = [0; REPLAYED];
    for envelope in received.split(r#"{"topic":"old/"#).skip(1) {
        let mut words =
            envelope.split(|byte: char| !byte.is_ascii_digit()).filter(|w| !w.is_empty());
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (feed, seq) = (number(), number());
        assert_eq!(seq, seqs[feed] + 1, "in order: old/{feed}");
        seqs[feed] = seq;
    }
    assert_eq!(seqs, [FRAMES; REPLAYED]);
}

/// A client that speaks TLS.
struct Secure {
    wire: Wire,
    session: Session,
    opened: Vec<u8>,
}

impl Secure {
    /// One whose handshake is done, and that takes `room` bytes in all.
    fn connect(bed: &mut Bed, room: usize) -> Self {
        let wire = bed.port.connect(1);
        wire.give_room(room);
        let mut client = Self { wire, session: Session::new(), opened: Vec::new() };
        while client.session.is_handshaking() {
            client.exchange(bed);
        }
        client.exchange(bed);
        client
    }

    /// Sends what is to be sent, and takes in what comes then.
    fn exchange(&mut self, bed: &mut Bed) {
        let sealed = self.session.sealed();
        self.wire.send(&sealed);
        bed.settle();
        let cipher = std::mem::take(&mut *self.wire.received());
        self.opened.extend(self.session.open(&cipher));
    }

    fn ask(&mut self, bed: &mut Bed, request: &str) {
        self.session.say(request.as_bytes());
        self.exchange(bed);
    }
}

/// More than three records of TLS.
const FRAME_BYTES: usize = 60_000;

#[test]
fn several_records_of_tls_leave_in_one_write() {
    let mut bed = Bed::secure();
    bed.publish("t", &"x".repeat(FRAME_BYTES));
    let mut client = Secure::connect(&mut bed, usize::MAX);
    bed.port.take_work();
    client.ask(&mut bed, &upgrade("/v1/feed/t?from=last"));
    assert!(client.opened.ends_with(&[b'x'; FRAME_BYTES]), "{} bytes", client.opened.len());
    assert_eq!(bed.port.take_work().writes, 1);
    // The first two fill a segment, so that what leaves together then lies in two places.
    for sizes in [[1, FRAME_BYTES], [FRAME_BYTES - 1000, 5000]] {
        sizes.iter().for_each(|&bytes| bed.publish("t", &"y".repeat(bytes)));
        bed.settle();
        assert_eq!(bed.port.take_work().writes, 1);
        client.exchange(&mut bed);
        assert!(client.opened.ends_with(&vec![b'y'; sizes[1]]), "{sizes:?}");
    }
}

#[test]
fn what_a_slow_peer_does_not_take_is_a_record_at_most() {
    let mut bed = Bed::secure();
    let mut client = Secure::connect(&mut bed, 8 << 10);
    client.ask(&mut bed, &upgrade("/v1/feed/t"));
    for _ in 0..4 {
        bed.publish("t", &"_".repeat(FRAME_BYTES));
    }
    bed.settle();
    // It takes what was refused, and a little of what follows.
    client.wire.give_room(FRAME_BYTES + (8 << 10));
    bed.settle();
    bed.port.take_work();
    client.wire.give_room(usize::MAX);
    bed.turn();
    let work = bed.port.take_work();
    assert!(work.written_bytes / work.writes <= 17 << 10, "{work:?}");
    bed.settle();
    client.exchange(&mut bed);
    let payload = client.opened.iter().filter(|&&byte| byte == b'_').count();
    assert_eq!(payload, 4 * FRAME_BYTES);
}
