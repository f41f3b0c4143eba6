//! Hot restarts: generations of the program as processes of their own, of which each takes over
//! from the one before under load. Owns what docs/hot-restart.md promises: nobody is closed,
//! nothing is lost, repeated or out of order; and whatever goes wrong, the old one goes on.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod client;
mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use gridcast::engine::handover::message::{Message, Offer, VERSION};
use gridcast::net::passing::Passage;
use gridcast::wire::packed::Packed;
use rustix::process::Signal;
use serde_json::Value;

use client::{Events, Poster, Socket, text};
use process::{Place, Process};

/// How often the program is restarted under load.
const RESTARTS: usize = 20;
/// Between two messages of a publisher, as a PMU sends them.
const PACE: Duration = Duration::from_micros(16_667);
/// What is published last.
const LAST: u64 = 1_000_000_000;

/// Publishers of three kinds, until they are told to end.
struct Load {
    is_over: Arc<AtomicBool>,
    /// Messages of all of them.
    published: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (is_over, published) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let mut load = Self { is_over, published, threads: Vec::new() };
        load.spawn(move |numbers| publish_raw(address, numbers));
        load.spawn(move |numbers| publish_by_post(address, numbers));
        load.spawn(move |numbers| publish_by_command(address, numbers));
        load
    }

    fn spawn(&mut self, publish: impl FnOnce(&mut dyn Iterator<Item = u64>) + Send + 'static) {
        let (is_over, published) = (Arc::clone(&self.is_over), Arc::clone(&self.published));
        self.threads.push(thread::spawn(move || {
            let mut count = 0;
            let mut numbers = std::iter::from_fn(|| {
                thread::sleep(PACE);
                (!is_over.load(Ordering::Relaxed)).then(|| {
                    count += 1;
                    published.fetch_add(1, Ordering::Relaxed);
                    count
                })
            });
            publish(&mut (&mut numbers).chain([LAST]));
            count
        }));
    }

    /// Waits until so many more are published.
    fn wait_for(&self, more: usize) {
        let until = self.published.load(Ordering::Relaxed) + more;
        while self.published.load(Ordering::Relaxed) < until {
            thread::sleep(PACE);
        }
    }

    /// Ends it, and answers how many messages each topic got before the last.
    fn end(self) -> Vec<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

/// To `load/0`, each frame in two pieces.
fn publish_raw(address: SocketAddr, numbers: &mut dyn Iterator<Item = u64>) {
    let socket = Socket::open(address, "/v1/publish/load/0", None);
    let mut writer = socket.writer();
    for number in numbers {
        let frame = text(&number.to_string());
        let (front, back) = frame.split_at(number as usize % frame.len());
        writer.write_all(front).unwrap();
        thread::sleep(PACE / 2);
        writer.write_all(back).unwrap();
    }
}

/// To `load/1`, each body in two pieces; its position is told.
fn publish_by_post(address: SocketAddr, numbers: &mut dyn Iterator<Item = u64>) {
    let mut poster = Poster::open(address);
    for (at, number) in (1_u64..).zip(numbers) {
        let reply = poster.post("load/1", &number.to_string(), || thread::sleep(PACE / 2));
        assert_eq!(reply["seq"], at);
    }
}

/// To `load/2`, by commands that are answered.
fn publish_by_command(address: SocketAddr, numbers: &mut dyn Iterator<Item = u64>) {
    let mut socket = Socket::open(address, "/v1/ws", Some("gridcast.v1.json"));
    let mut writer = socket.writer();
    for (at, number) in (1_u64..).zip(numbers) {
        let command =
            format!("{{\"id\":{at},\"publish\":{{\"topic\":\"load/2\",\"data\":{number}}}}}");
        writer.write_all(&text(&command)).unwrap();
        let reply = socket.json();
        assert_eq!((&reply["id"], &reply["published"]["seq"]), (&at.into(), &at.into()), "{reply}");
    }
}

/// The numbers of some topics as they have to come: each once and in order.
#[derive(Default)]
struct Numbers {
    next: BTreeMap<String, u64>,
    ended: usize,
}

impl Numbers {
    fn take(&mut self, topic: &str, number: u64) {
        if number == LAST {
            self.ended += 1;
            return;
        }
        let next = self.next.entry(topic.to_owned()).or_insert(1);
        assert_eq!(number, *next, "{topic}");
        *next += 1;
    }

    fn counts(&self) -> Vec<u64> {
        self.next.values().map(|next| next - 1).collect()
    }
}

type Follower = JoinHandle<Vec<u64>>;

fn follow_raw(address: SocketAddr, topic: &'static str) -> Follower {
    let mut socket = Socket::open(address, &format!("/v1/feed/{topic}"), None);
    thread::spawn(move || {
        let mut numbers = Numbers::default();
        while numbers.ended < 1 {
            let message = String::from_utf8(socket.message()).unwrap();
            numbers.take(topic, message.parse().unwrap());
        }
        numbers.counts()
    })
}

fn follow_events(address: SocketAddr, topic: &'static str) -> Follower {
    let mut events = Events::open(address, &format!("/v1/feed/{topic}"));
    thread::spawn(move || {
        let (mut numbers, mut epochs) = (Numbers::default(), Vec::new());
        for at in 1_u64.. {
            let (id, data) = events.next();
            let (epoch, seq) = id.split_once('-').unwrap();
            assert_eq!(seq.parse(), Ok(at), "positions go on");
            epochs.push(epoch.to_owned());
            numbers.take(topic, data.parse().unwrap());
            if numbers.ended == 1 {
                break;
            }
        }
        epochs.dedup();
        assert_eq!(epochs.len(), 1, "one life of the feed");
        numbers.counts()
    })
}

fn subscribe<'s>(
    socket: &mut Socket<std::net::TcpStream>,
    targets: &'s [&'s str],
) -> BTreeMap<u64, &'s str> {
    let mut feeds = BTreeMap::new();
    for target in targets {
        let command = format!("{{\"id\":1,\"subscribe\":{{\"topic\":\"{target}\"}}}}");
        socket.writer().write_all(&text(&command)).unwrap();
        let reply = socket.json();
        assert_eq!(reply["subscribed"]["topic"], *target, "{reply}");
        feeds.insert(reply["subscribed"]["feed"].as_u64().unwrap_or(0), *target);
    }
    feeds
}

/// Two topics and a pattern over all three.
fn follow_json(address: SocketAddr) -> Follower {
    let mut socket = Socket::open(address, "/v1/ws", Some("gridcast.v1.json"));
    subscribe(&mut socket, &["load/0", "load/2", "load/+"]);
    thread::spawn(move || {
        let (mut own, mut all) = (Numbers::default(), Numbers::default());
        let mut seq_of_all = 0;
        while own.ended < 2 || all.ended < 3 {
            let message = socket.json();
            let topic = message["topic"].as_str().unwrap_or_else(|| panic!("{message}"));
            let number = message["data"].as_u64().unwrap();
            if message["pattern"].is_string() {
                seq_of_all += 1;
                assert_eq!(message["seq"], seq_of_all, "{message}");
                all.take(topic, number);
            } else {
                own.take(topic, number);
            }
        }
        assert_eq!(own.counts(), [all.counts()[0], all.counts()[2]]);
        all.counts()
    })
}

/// The same in binary.
fn follow_binary(address: SocketAddr) -> Follower {
    let mut socket = Socket::open(address, "/v1/ws", Some("gridcast.v1.bin"));
    let feeds = subscribe(&mut socket, &["load/0", "load/2", "load/+"]);
    let mut names: BTreeMap<u64, (String, bool)> =
        feeds.into_iter().map(|(feed, topic)| (feed, (topic.to_owned(), false))).collect();
    thread::spawn(move || {
        let (mut own, mut all) = (Numbers::default(), Numbers::default());
        while own.ended < 2 || all.ended < 3 {
            let message = socket.message();
            if let Ok(told) = serde_json::from_slice::<Value>(&message) {
                let topic = told["topic"].as_str().unwrap_or_else(|| panic!("{told}"));
                let before = names.insert(told["feed"].as_u64().unwrap(), (topic.to_owned(), true));
                assert!(before.is_none_or(|(before, _)| before == topic), "another number");
                continue;
            }
            let (feed, rest) = varint(&message);
            let (_, rest) = varint(rest);
            let number = std::str::from_utf8(&rest[1..]).unwrap().parse().unwrap();
            let (topic, is_of_pattern) = &names[&feed];
            let numbers = if *is_of_pattern { &mut all } else { &mut own };
            numbers.take(topic, number);
        }
        all.counts()
    })
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let len = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let value =
        bytes[..len].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F));
    (value, &bytes[len..])
}

#[test]
fn nobody_notices_twenty_restarts() {
    let place = Place::new(&[]);
    let mut process = place.start();
    let address = process.address;
    let followers = [
        follow_raw(address, "load/0"),
        follow_raw(address, "load/1"),
        follow_events(address, "load/2"),
    ];
    let all = [follow_json(address), follow_binary(address)];
    // A connection that asks for something only afterwards.
    let mut idle = Poster::open(address);
    let load = Load::start(address);
    for _ in 0..RESTARTS {
        load.wait_for(10);
        let next = place.start();
        assert_eq!(next.address, address);
        let old = std::mem::replace(&mut process, next);
        assert!(old.ended().success());
        // Somebody who comes now as well.
        let mut newcomer = Socket::open(address, "/v1/feed/load/0?from=last", None);
        newcomer.message();
    }
    let counts = load.end();
    assert!(counts.iter().sum::<u64>() >= 10 * RESTARTS as u64, "{counts:?}");
    for (follower, count) in followers.into_iter().zip(&counts) {
        assert_eq!(follower.join().unwrap(), [*count]);
    }
    for follower in all {
        assert_eq!(follower.join().unwrap(), counts);
    }
    assert_eq!(idle.post("after", "1", || {})["seq"], 1);
}

/// More than goes over at once, and some while it does.
#[test]
fn what_is_retained_goes_over_while_more_is_published() {
    let place = Place::new(&["retention.bytes_max=16777216"]);
    let mut process = place.start();
    let address = process.address;
    let padding = "x".repeat(10_000);
    let mut poster = Poster::open(address);
    for number in 1..=300 {
        poster.post("kept", &format!("{number} {padding}"), || {});
    }
    let load = Load::start(address);
    for _ in 0..2 {
        load.wait_for(10);
        let next = place.start();
        assert!(std::mem::replace(&mut process, next).ended().success());
    }
    let counts = load.end();
    assert_eq!(poster.post("kept", "301 ", || {})["seq"], 301);
    let mut subscriber = Socket::open(address, "/v1/feed/kept?from=oldest", None);
    for number in 1..=301 {
        let message = String::from_utf8(subscriber.message()).unwrap();
        assert_eq!(message.split_once(' ').unwrap().0, number.to_string());
    }
    for (topic, count) in (0..).zip(counts) {
        let target = format!("/v1/feed/load/{topic}?from=oldest");
        let mut subscriber = Socket::open(address, &target, None);
        for number in (1..=count).chain([LAST]) {
            assert_eq!(subscriber.message(), number.to_string().into_bytes());
        }
    }
}

/// Somebody who is told, and then goes on.
fn follow_and_publish(process: &Process, number: u64) {
    let mut socket = Socket::open(process.address, "/v1/feed/after?from=latest", None);
    let mut poster = Poster::open(process.address);
    poster.post("after", &number.to_string(), || {});
    assert_eq!(socket.message(), number.to_string().into_bytes());
}

fn say(passage: &mut Passage, message: &Message) {
    passage.send(&message.packed(), &[]).unwrap();
}

fn hear(passage: &mut Passage) -> Message {
    Message::unpacked(&passage.receive().unwrap().bytes).unwrap()
}

/// A process that wants to take over, and has been offered to.
fn successor(place: &Place) -> (Passage, Offer) {
    let mut passage = Passage::new(UnixStream::connect(place.socket()).unwrap()).unwrap();
    say(&mut passage, &Message::Hello(VERSION));
    match hear(&mut passage) {
        Message::Offer(offer) => (passage, offer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_whose_successor_dies_goes_on() {
    let place = Place::new(&[]);
    let mut process = place.start();
    let mut subscriber = Socket::open(process.address, "/v1/feed/after", None);
    // Before it is ready, with paths where nobody listens, and in the midst of everything.
    drop(UnixStream::connect(place.socket()).unwrap());
    drop(successor(&place));
    let (mut passage, offer) = successor(&place);
    assert_eq!((offer.cores, offer.clients), (2, process.address));
    let paths = |names: [&str; 2]| names.map(|name| place.path(name));
    let ready = |paths: &[std::path::PathBuf; 2]| {
        Message::Ready(paths.iter().map(|path| path.display().to_string()).collect())
    };
    say(&mut passage, &ready(&paths(["a", "b"])));
    drop(passage);
    let paths = paths(["c", "d"]);
    let listeners = paths.each_ref().map(|path| UnixListener::bind(path).unwrap());
    let (mut passage, _) = successor(&place);
    say(&mut passage, &ready(&paths));
    let mut cores = listeners.map(|listener| Passage::new(listener.accept().unwrap().0).unwrap());
    let entrances = cores.each_mut().map(|core| core.receive().unwrap());
    assert!(entrances.iter().all(|parcel| parcel.descriptors.len() == 1));
    drop((passage, cores));
    for _ in 0..4 {
        process.said("not handed over: this process goes on");
    }
    follow_and_publish(&process, 7);
    assert_eq!(subscriber.message(), b"7");
    assert!(process.is_running());
    // And can still be taken over from.
    let next = place.start();
    assert!(process.ended().success());
    follow_and_publish(&next, 8);
    assert_eq!(subscriber.message(), b"8");
}

#[test]
fn a_successor_of_another_version_waits_for_a_drain() {
    let place = Place::new(&[]);
    let process = place.start();
    let mut subscriber = Socket::open(process.address, "/v1/feed/after", None);
    let mut passage = Passage::new(UnixStream::connect(place.socket()).unwrap()).unwrap();
    say(&mut passage, &Message::Hello(VERSION + 1));
    match hear(&mut passage) {
        Message::Refused(reason, true) => assert!(reason.contains("version"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let (opcode, payload) = subscriber.frame();
    assert_eq!((opcode, &payload[..2]), (8, &1001_u16.to_be_bytes()[..]));
    drop(subscriber);
    assert!(process.ended().success());
    assert!(passage.receive().is_err(), "its end is seen");
}

#[test]
fn other_settings_that_need_a_stop_are_told_and_the_old_process_goes_on() {
    let place = Place::new(&[]);
    let process = place.start();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gridcast"))
        .args(["--listen", "127.0.0.1:0", "--cores", "1", "--set"])
        .arg(format!("server.handover={}", place.socket().display()))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("server.cores"), "{text}");
    follow_and_publish(&process, 1);
}

#[test]
fn a_signal_starts_the_program_again() {
    let place = Place::new(&[]);
    let mut process = place.start();
    let mut subscriber = Socket::open(process.address, "/v1/feed/after", None);
    process.signal(Signal::USR2);
    let pid = process.said("started again")["pid"].as_i64().unwrap();
    process.said("handed over");
    let address = process.address;
    assert!(process.ended().success());
    Poster::open(address).post("after", "9", || {});
    assert_eq!(subscriber.message(), b"9");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let (opcode, _) = subscriber.frame();
    assert_eq!(opcode, 8, "it drains");
}
