//! What threads that are not cores do with an engine: publish, follow, count. Must not know
//! bridges: those are other crates' matter.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::sync::mpsc::{self, Receiver, Sender};

use gridcast::delivery::doorbell::Wake;
use gridcast::engine::follower::Follower;
use gridcast::feed::gap::GapReason;
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use harness::{DEADLINE, Server};
use prometheus_client::metrics::counter::Counter;

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(&self) {
        // A test that has ended needs no bell.
        let _ = self.0.send(());
    }
}

/// A follower and what it is woken by.
fn follow(server: &Server, target: &str) -> (Follower, Receiver<()>) {
    let (ring, rung) = mpsc::channel();
    let handle = server.engine.handle();
    (handle.follow(&target.parse().unwrap(), None, Box::new(Bell(ring))).unwrap(), rung)
}

/// The next message, as source, topic, kind and text.
fn next(follower: &mut Follower, rung: &Receiver<()>) -> (Source, String, Kind, String) {
    loop {
        if let Some(message) = follower.next() {
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            return (message.source, message.topic.to_owned(), message.kind, text);
        }
        rung.recv_timeout(DEADLINE).expect("woken when there is more");
    }
}

fn topic(text: &str) -> Topic {
    Topic::new(text).unwrap()
}

/// A core has a table of descriptors of its own: what wakes a follower must not be called there.
#[test]
fn a_follower_is_not_woken_on_the_thread_of_a_core() {
    struct Named(Sender<String>);

    impl Wake for Named {
        fn wake(&self) {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            // A test that has ended needs no bell.
            let _ = self.0.send(name);
        }
    }

    let server = Server::start(&[]);
    let (ring, rung) = mpsc::channel();
    let handle = server.engine.handle();
    let target = "a".parse().unwrap();
    let mut follower = handle.follow(&target, None, Box::new(Named(ring))).unwrap();
    assert!(follower.next().is_none());
    server.post("a", "by a core");
    assert_eq!(rung.recv_timeout(DEADLINE).unwrap(), "bells");
    assert_eq!(follower.next().unwrap().payload, b"by a core");
}

#[test]
fn what_a_thread_publishes_reaches_subscribers() {
    let server = Server::start(&[]);
    let mut wall = server.subscribe("a");
    let handle = server.engine.handle();
    let mut publisher = handle.publisher(handle.new_source().unwrap());
    let published = publisher.publish(&topic("a"), Kind::Text, b"hello").unwrap().unwrap();
    assert_eq!((published.seq, published.subscribers), (1, 1));
    assert_eq!(wall.text(), "hello");
    // It is counted as what clients publish.
    server.wait_for("publishes_total", 1);
}

#[test]
fn a_follower_gets_what_is_published_from_then_on_and_by_whom() {
    let server = Server::start(&[]);
    server.post("a/1", "before");
    let (mut follower, rung) = follow(&server, "a/#");
    server.post("a/1", "x");
    let handle = server.engine.handle();
    let source = handle.new_source().unwrap();
    handle.publisher(source).publish(&topic("a/2"), Kind::Binary, b"y").unwrap();
    let of =
        |source, topic: &str, kind, text: &str| (source, topic.to_owned(), kind, text.to_owned());
    assert_eq!(next(&mut follower, &rung), of(Source::CLIENTS, "a/1", Kind::Text, "x"));
    assert_eq!(next(&mut follower, &rung), of(source, "a/2", Kind::Binary, "y"));
    assert!(follower.next().is_none());
    assert_eq!(follower.take_missed(), 0);
}

/// So that what a bridge brought in is not sent back by it, whatever the rate.
#[test]
fn a_rated_follower_is_told_by_whom_it_was_published() {
    let server = Server::start(&[]);
    let handle = server.engine.handle();
    let (ring, rung) = mpsc::channel();
    let (target, rate) = ("a/#".parse().unwrap(), "100".parse().unwrap());
    let mut follower = handle.follow(&target, Some(rate), Box::new(Bell(ring))).unwrap();
    let source = handle.new_source().unwrap();
    handle.publisher(source).publish(&topic("a/1"), Kind::Text, b"x").unwrap();
    let told = (source, "a/1".to_owned(), Kind::Text, "x".to_owned());
    assert_eq!(next(&mut follower, &rung), told);
    server.post("a/1", "y");
    let told = (Source::CLIENTS, "a/1".to_owned(), Kind::Text, "y".to_owned());
    assert_eq!(next(&mut follower, &rung), told);
}

#[test]
fn a_follower_is_woken_each_time_there_is_something_after_nothing() {
    let server = Server::start(&[]);
    let (mut follower, rung) = follow(&server, "a");
    for number in 0..100 {
        assert!(follower.next().is_none());
        server.post("a", &number.to_string());
        assert_eq!(next(&mut follower, &rung).3, number.to_string());
    }
}

#[test]
fn a_follower_that_does_not_read_costs_no_memory_and_is_told_what_it_missed() {
    let server = Server::start(&[("retention.frames_max", "10"), ("retention.bytes_max", "4096")]);
    let (mut follower, rung) = follow(&server, "a");
    let payload = "x".repeat(4000);
    for _ in 0..200 {
        server.post("a", &payload);
    }
    // Had it held what it did not read, the log would hold 800 kB.
    let log_bytes = server.metric("memory_bytes{kind=\"log\"}");
    assert!(log_bytes < 100_000, "{log_bytes}");
    let (mut read, mut missed) = (0, 0);
    while read + missed < 200 {
        next(&mut follower, &rung);
        read += 1;
        missed += follower.take_missed();
    }
    assert_eq!(read + missed, 200);
    assert!(read <= 10 && missed >= 190, "{read} read, {missed} missed");
}

/// Another node may say anything.
#[test]
fn what_a_follower_missed_is_counted_however_much_is_said_to_be_lost() {
    let server = Server::start(&[]);
    let (mut follower, rung) = follow(&server, "a");
    for _ in 0..3 {
        server.engine.handle().tell_gap(&topic("a"), u64::MAX, GapReason::Relay);
    }
    server.post("a", "after it");
    assert_eq!(next(&mut follower, &rung).3, "after it");
    assert_eq!(follower.take_missed(), 3 << 32);
}

#[test]
fn sources_are_told_apart() {
    let server = Server::start(&[]);
    let handle = server.engine.handle();
    let sources: Vec<Source> = (0..3).map(|_| handle.new_source().unwrap()).collect();
    assert_eq!(sources, [Source(1), Source(2), Source(3)]);
    let others = (3..u16::MAX).all(|_| handle.new_source().is_ok());
    assert!(others && handle.new_source().is_err(), "there are 65,535");
}

#[test]
fn families_of_others_are_in_the_metrics() {
    let server = Server::start(&[]);
    let counter = Counter::<u64>::default();
    let shown = counter.clone();
    server.engine.handle().add_metrics(move |registry| {
        registry.register("others", "What others count.", shown.clone());
    });
    counter.inc_by(7);
    assert_eq!(server.metric("others_total"), 7);
}
