//! Rate classes over real sockets: the newest in an interval, one feed for all who ask the same.
//! Must not measure time: how late an instant is, a busy machine decides.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use harness::Server;

#[test]
fn the_newest_in_an_interval_comes_and_the_others_do_not() {
    let server = Server::start(&[]);
    let mut slow = server.subscribe("t?rate=2");
    let mut all = server.subscribe("t");
    server.post_numbers("t", 1, 50);
    assert_eq!(all.texts(50).last().unwrap(), "50");
    // An instant may fall between two of them, but then the rest comes at the next.
    let first: u64 = slow.text().parse().unwrap();
    assert!(first == 50 || slow.text() == "50");
}

#[test]
fn a_class_is_encoded_once_whoever_follows_it() {
    let server = Server::start(&[]);
    let mut group: Vec<_> = (0..20).map(|_| server.subscribe("t?rate=5")).collect();
    let before = server.metric("encodes_total");
    server.post("t", "x");
    for client in &mut group {
        assert_eq!(client.text(), "x");
    }
    // Once for the topic's own log, once for the class.
    server.wait_for("encodes_total", before + 2);
}

#[test]
fn a_pattern_at_a_rate_keeps_the_newest_of_each_topic() {
    let server = Server::start(&[]);
    let mut wall = server.multiplexed("gridcast.v1.json");
    wall.say(r##"{"id":1,"subscribe":{"topic":"pmu/#","rate":1}}"##);
    assert!(wall.text().contains("subscribed"));
    let mut newest = std::collections::BTreeMap::new();
    for n in 1..=30 {
        server.post(&format!("pmu/{}", n % 3), &n.to_string());
    }
    while newest.values().copied().max() != Some(30) || newest.len() < 3 {
        let message: serde_json::Value = serde_json::from_str(&wall.text()).unwrap();
        let topic = message["topic"].as_str().unwrap().to_owned();
        newest.insert(topic, message["data"].as_u64().unwrap());
    }
    assert_eq!(newest["pmu/0"], 30);
}

#[test]
fn a_rated_feed_has_numbers_of_its_own_and_resumes() {
    let server = Server::start(&[]);
    let mut events = harness::http::Events::open(&server, "t?rate=10");
    server.post("t", "a");
    let first = events.next().unwrap();
    server.post("t", "b");
    let second = events.next().unwrap();
    assert_eq!((first.data.as_str(), second.data.as_str()), ("a", "b"));
    let mut again = harness::http::Events::resume(&server, "t?rate=10", &first.id);
    assert_eq!(again.next().unwrap(), second);
}
