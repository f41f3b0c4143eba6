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

/// What a client is told that may not subscribe: the message of the refusal.
fn refusal(server: &Server, feed: &str) -> String {
    let request =
        format!("GET /v1/feed/{feed} HTTP/1.1\r\nHost: h\r\n{}\r\n", harness::http::UPGRADE);
    let answer = harness::http::ask(server, request.as_bytes());
    assert_eq!(answer.status, 503, "{feed}: {answer:?}");
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_feed_has_so_many_rates_and_the_nearest_is_told() {
    let server = Server::start(&[("limits.rates_per_target_max", "2")]);
    let _slow = server.subscribe("t?rate=1");
    let _fast = server.subscribe("t?rate=50");
    let told = refusal(&server, "t?rate=40");
    assert!(
        told.contains("limits.rates_per_target_max") && told.ends_with("use rate=50"),
        "{told}"
    );
    assert!(refusal(&server, "t?rate=9").ends_with("use rate=1"));
    let _same = server.subscribe("t?rate=50");
    let _other = server.subscribe("t/%23?rate=40");
    let _all = server.subscribe("t");
    let mut client = server.multiplexed("gridcast.v1.json");
    client.say(r#"{"id":1,"subscribe":{"topic":"t","rate":40}}"#);
    let answer = client.text();
    assert!(answer.contains("over_capacity") && answer.contains("use rate=50"), "{answer}");
}

#[test]
fn so_many_patterns_are_followed_at_once_and_topics_are_none() {
    let server = Server::start(&[("limits.patterns_max", "2")]);
    let _one = server.subscribe("a/%23");
    let _two = server.subscribe("b?rate=5");
    assert!(refusal(&server, "c/%23").contains("limits.patterns_max"));
    assert!(refusal(&server, "b?rate=6").contains("limits.patterns_max"));
    let _same = server.subscribe("a/%23");
    let mut topic = server.subscribe("c");
    server.post("c", "a topic is no pattern");
    assert_eq!(topic.text(), "a topic is no pattern");
}

/// Between two instants only the newest counts, whatever came before, of however many topics.
#[test]
fn a_rated_feed_repeats_the_newest_of_every_topic_and_nothing_twice() {
    const TOPICS: usize = 1000;
    let server = Server::start(&[]);
    let mut wall = server.multiplexed("gridcast.v1.json");
    wall.say(r#"{"id":1,"subscribe":{"topic":"t/#","rate":2}}"#);
    assert!(wall.text().contains("subscribed"));
    for round in 0..3 {
        let line = |n: usize| format!("{{\"topic\":\"t/{}\",\"data\":{round}}}\n", n % TOPICS);
        let body: String = (0..2 * TOPICS).map(line).collect();
        assert_eq!(harness::http::post_many(&server, &body).status, 200);
    }
    let mut newest = vec![None; TOPICS];
    while newest.iter().any(|seen| *seen != Some(2)) {
        let value: serde_json::Value = serde_json::from_str(&wall.text()).unwrap();
        let topic = value["topic"].as_str().unwrap().strip_prefix("t/").unwrap();
        let (at, data) = (topic.parse::<usize>().unwrap(), value["data"].as_u64().unwrap());
        assert!(newest[at].is_none_or(|before| before < data), "{topic}: {data} after {newest:?}");
        newest[at] = Some(data);
    }
}
