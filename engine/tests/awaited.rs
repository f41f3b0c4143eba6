//! Topics that somebody subscribed to and nobody has published to yet: what they cost, how many
//! there may be, and when they go. Owns the limits of them. Must not test what is delivered.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use gridcast::feed::awaited::{AwaitedMax, Follower};
use gridcast::feed::registry::{FeedError, Registry, RegistryOptions};
use gridcast::feed::topic::Topic;
use harness::feeds::{S, message, name, options, retention};
use harness::{Client, Server, Told};

fn subscribe(client: &mut Client, topic: &str) -> serde_json::Value {
    client.say(&format!(r#"{{"id":1,"subscribe":{{"topic":"{topic}"}}}}"#));
    loop {
        let answer: serde_json::Value = serde_json::from_str(&client.text()).unwrap();
        if answer["id"] == 1 {
            return answer;
        }
    }
}

/// How many of `count` topics a client may subscribe to; the others name the setting.
fn subscribed(client: &mut Client, prefix: &str, count: usize, setting: &str) -> usize {
    let answers: Vec<_> =
        (0..count).map(|at| subscribe(client, &format!("{prefix}/{at}"))).collect();
    for answer in answers.iter().filter(|answer| answer["subscribed"].is_null()) {
        assert!(answer["error"]["message"].as_str().unwrap().contains(setting), "{answer}");
    }
    answers.iter().filter(|answer| answer["error"].is_null()).count()
}

#[test]
fn a_subscription_takes_no_log_memory_before_the_first_frame() {
    for protocol in ["gridcast.v1.json", "gridcast.v1.bin"] {
        let server = Server::start(&[]);
        let mut client = server.multiplexed(protocol);
        assert_eq!(subscribed(&mut client, "t", 1000, ""), 1000);
        let (mut raw, _events) = (server.subscribe("u"), harness::http::Events::open(&server, "u"));
        assert_eq!(server.log_bytes(), 0, "{protocol}");
        server.post("t/7", "first");
        server.post("u", "first");
        assert!(!matches!(client.next(), Told::Close(..)));
        assert_eq!(raw.text(), "first");
        let bytes = server.log_bytes();
        assert!(
            bytes > 0 && bytes <= 4 * 4096,
            "{protocol}: {bytes}: a segment for each lane used"
        );
    }
}

#[test]
fn a_connection_may_await_so_many_topics_and_a_publish_makes_room() {
    let setting = "limits.awaited_topics_per_connection_max";
    let server = Server::start(&[(setting, "3")]);
    let mut client = server.multiplexed("gridcast.v1.json");
    assert_eq!(subscribed(&mut client, "t", 5, setting), 3);
    let mut other = server.multiplexed("gridcast.v1.json");
    assert_eq!(subscribed(&mut other, "t", 3, setting), 3, "who comes later creates nothing");
    assert_eq!(subscribed(&mut other, "u", 5, setting), 3, "each connection has its own");
    // What it leaves is awaited until it is forgotten: leaving makes no room at once.
    client.say(r#"{"id":1,"unsubscribe":{"topic":"t/1"}}"#);
    assert!(client.text().contains("unsubscribed"));
    assert!(subscribe(&mut client, "v")["error"].is_object());
    server.post("t/0", "born");
    assert!(subscribe(&mut client, "v")["subscribed"].is_object());
    assert!(subscribe(&mut client, "t/0")["error"]["code"] == "already_subscribed");
}

#[test]
fn all_together_may_await_so_many_topics_and_publishers_are_not_held_back() {
    let setting = "limits.awaited_topics_max";
    let server = Server::start(&[(setting, "3")]);
    let _waiting: Vec<Client> = (0..3).map(|at| server.subscribe(&format!("t/{at}"))).collect();
    let refused = harness::http::ask(
        &server,
        format!("GET /v1/feed/u HTTP/1.1\r\nHost: h\r\n{}\r\n", harness::http::UPGRADE).as_bytes(),
    );
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains(setting), "{}", refused.body);
    let mut client = server.multiplexed("gridcast.v1.json");
    assert_eq!(subscribed(&mut client, "u", 2, setting), 0);
    server.post("u/0", "published topics are no awaited ones");
    assert_eq!(subscribed(&mut client, "u", 1, setting), 1);
    let mut pattern = server.subscribe("u/%23");
    server.post("u/9", "patterns wait for nothing");
    assert_eq!(pattern.text(), "patterns wait for nothing");
}

fn registry(awaited_max: AwaitedMax) -> Registry {
    Registry::new(RegistryOptions { awaited_max, ..options(retention(u64::MAX)) })
}

#[test]
fn one_token_may_await_so_many_topics_over_all_its_connections() {
    let registry = registry(AwaitedMax { in_all: 100, per_subject: 3, per_connection: 2 });
    let follow = |subject, connection, topic: &str| {
        let follower = Follower { subject: Some(subject), connection: Some(connection) };
        registry.follow(&name(topic), &follower, S)
    };
    assert!(follow("sub:a", 1, "t/1").is_ok());
    assert!(follow("sub:a", 1, "t/2").is_ok());
    let setting = |error: Result<_, FeedError>| error.map(|_| ()).unwrap_err().to_string();
    assert!(setting(follow("sub:a", 1, "t/3")).contains("per_connection"));
    assert!(follow("sub:a", 2, "t/3").is_ok());
    assert!(setting(follow("sub:a", 2, "t/4")).contains("awaited_topics_per_token_max"));
    assert!(follow("sub:b", 3, "t/4").is_ok(), "another token");
    assert!(follow("sub:a", 4, "t/4").is_ok(), "it exists");
    registry.publish(&Topic::new("t/1").unwrap(), &mut None, message(b"x"), S).unwrap();
    assert!(follow("sub:a", 2, "t/5").is_ok());
}

#[test]
fn topics_nobody_published_to_are_soon_forgotten() {
    let registry = registry(AwaitedMax { in_all: 100_000, per_subject: 0, per_connection: 0 });
    let mut held = None;
    registry.publish(&Topic::new("kept").unwrap(), &mut held, message(b"x"), S).unwrap();
    for round in 0..3_u64 {
        let now_ns = (100 * round + 1) * S;
        for at in 0..100_000 {
            let follower = Follower { subject: None, connection: Some(round) };
            registry.follow(&name(&format!("{round}/{at}")), &follower, now_ns).unwrap();
        }
        assert_eq!(registry.usage().topics, 100_001);
        assert!(registry.usage().log_bytes < 8192);
        registry.tidy(now_ns + 40 * S);
        assert_eq!(registry.usage().topics, 1, "what was published to is kept as long as before");
    }
}

#[test]
fn subscriptions_are_counted_in_the_memory_of_their_connection() {
    let server = Server::start(&[("server.cores", "1")]);
    let mut client = server.multiplexed("gridcast.v1.json");
    let pending = |server: &Server| server.metric("memory_bytes{kind=\"pending\"}");
    assert_eq!(subscribed(&mut client, "t", 4000, ""), 4000);
    server.wait_until("counted", |server| pending(server) > 4000 * 60);
    drop(client);
    server.wait_until("given back", |server| pending(server) == 0);
}
