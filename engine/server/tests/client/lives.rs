//! Connections and servers that end, in every way, and what the stream says of it.

use std::time::Duration;

use gridcast_client::{Error, Item, Options, Reason, Start, SubscribeOptions};
use rustix::process::Signal;

use crate::hearing::{States, gap, item, restarted, resumed, texts, within};
use crate::line::Line;
use crate::server::Server;

#[tokio::test]
async fn a_restart_is_told_to_every_subscription() {
    let mut server = Server::start(&[]);
    let line = Line::to(server.address);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let mut all = ["t", "+", "silent"]
        .map(|target| client.subscribe(target, SubscribeOptions::new()).unwrap());
    for subscription in &all {
        within(subscription.ready()).await.unwrap();
    }
    within(client.publish("t", "1")).await.unwrap();
    texts(&mut all[0], &["1"]).await;
    texts(&mut all[1], &["1"]).await;
    for times in 2..=3 {
        server.kill();
        server = Server::start(&[]);
        line.lead_to(server.address);
        states.open(times).await;
        within(client.publish("t", "2")).await.unwrap();
        restarted(&mut all[0], &["2"]).await;
        restarted(&mut all[1], &["2"]).await;
        restarted(&mut all[2], &[]).await;
    }
}

#[tokio::test]
async fn a_drained_client_comes_back_after_the_delay_it_was_given() {
    let drain = ["drain.window_ms=0", "drain.reconnect_ms_min=70", "drain.reconnect_ms_max=70"];
    let server = Server::start(&drain);
    let line = Line::to(server.address);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    let next = Server::start(&[]);
    line.lead_to(next.address);
    server.signal(Signal::TERM);
    let (reason, delay) = states.waiting(1).await;
    assert!(reason.contains("draining"), "{reason}");
    assert_eq!(delay, Duration::from_millis(70));
    restarted(&mut subscription, &[]).await;
}

/// A topic and patterns that overlap, each with positions of its own.
#[tokio::test]
async fn a_network_that_is_cut_loses_nothing_and_repeats_nothing() {
    let server = Server::start(&[]);
    let line = Line::to(server.address);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let [mut topic, mut pattern, mut other] =
        ["t/1", "t/#", "+/1"].map(|t| client.subscribe(t, SubscribeOptions::new()).unwrap());
    for subscription in [&topic, &pattern, &other] {
        within(subscription.ready()).await.unwrap();
    }
    server.post("t/1", "1");
    texts(&mut topic, &["1"]).await;
    texts(&mut pattern, &["1"]).await;
    texts(&mut other, &["1"]).await;
    line.shut();
    states.waiting(1).await;
    server.post("t/1", "2");
    server.post("t/2", "3");
    line.open();
    resumed(&mut topic).await;
    texts(&mut topic, &["2"]).await;
    resumed(&mut pattern).await;
    texts(&mut pattern, &["2", "3"]).await;
    resumed(&mut other).await;
    texts(&mut other, &["2"]).await;
    server.post("t/1", "4");
    for (subscription, is_pattern) in [(&mut topic, false), (&mut pattern, true)] {
        let Item::Message(message) = item(subscription).await else { panic!("no message") };
        assert_eq!((&*message.topic, message.text()), ("t/1", Some("4")));
        assert_eq!(message.pattern.is_some(), is_pattern);
    }
}

#[tokio::test]
async fn what_retention_gave_up_meanwhile_is_told() {
    let server = Server::start(&["retention.frames_max=2"]);
    let line = Line::to(server.address);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    let epoch = server.post("t", "1");
    texts(&mut subscription, &["1"]).await;
    line.shut();
    states.waiting(1).await;
    for number in 2..=6 {
        server.post("t", &number.to_string());
    }
    line.open();
    resumed(&mut subscription).await;
    let gap = gap(&mut subscription).await;
    assert_eq!((gap.from, gap.to, gap.frames), (2, 4, Some(3)));
    assert_eq!((&*gap.epoch, gap.reason), (epoch.as_str(), Reason::Expired));
    texts(&mut subscription, &["5", "6"]).await;
}

#[tokio::test]
async fn a_position_that_expired_is_told_at_the_start() {
    let server = Server::start(&["retention.frames_max=2"]);
    let epoch = server.post("t", "1");
    for number in 2..=5 {
        server.post("t", &number.to_string());
    }
    let client = States::default().client(Options::new(server.url()));
    let start: Start = format!("{epoch}-1").parse().unwrap();
    let options = SubscribeOptions::new().start(start);
    let mut subscription = client.subscribe("t", options).unwrap();
    let gap = gap(&mut subscription).await;
    assert_eq!((gap.from, gap.to, gap.frames), (2, 3, Some(2)));
    texts(&mut subscription, &["4", "5"]).await;
}

#[tokio::test]
async fn all_subscriptions_are_made_again_at_once() {
    let server = Server::start(&[]);
    let line = Line::to(server.address);
    let client = States::default().client(Options::new(line.url()));
    let topics = (0..300).map(|number| format!("t/{number}"));
    let mut all: Vec<_> =
        topics.map(|t| client.subscribe(&t, SubscribeOptions::new()).unwrap()).collect();
    for subscription in &all {
        within(subscription.ready()).await.unwrap();
    }
    line.cut();
    for subscription in &mut all {
        resumed(subscription).await;
    }
    assert_eq!(line.connections(), 2);
    for subscription in &mut all {
        within(client.publish(subscription.topic(), "1")).await.unwrap();
        texts(subscription, &["1"]).await;
    }
}

#[tokio::test]
async fn what_would_end_the_same_way_is_final() {
    let server = Server::start(&[]);
    let client = States::default().client(Options::new(format!("{}/nowhere", server.url())));
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    let is_refused = |error: Error| matches!(error, Error::Refused { status: 404, .. });
    assert!(is_refused(within(subscription.next()).await.unwrap().unwrap_err()));
    assert!(within(subscription.next()).await.is_none());
    assert!(is_refused(within(client.connected()).await.unwrap_err()));
    assert!(is_refused(within(client.publish("t", "1")).await.unwrap_err()));
    assert!(is_refused(client.subscribe("u", SubscribeOptions::new()).unwrap_err()));
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = Server::start(&[]);
    let line = Line::to(server.address);
    server.kill();
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    let publishing = tokio::spawn({
        let client = client.clone();
        async move { client.publish("t", "1").await }
    });
    states.waiting(3).await;
    let server = Server::start(&[]);
    line.lead_to(server.address);
    assert_eq!(within(publishing).await.unwrap().unwrap().position.seq, 1);
    texts(&mut subscription, &["1"]).await;
}

#[tokio::test]
async fn closing_ends_subscriptions_and_says_farewell() {
    let server = Server::start(&[]);
    let client = States::default().client(Options::new(server.url()));
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    let again = client.subscribe("t", SubscribeOptions::new());
    assert!(matches!(again, Err(Error::Command { code, .. }) if code == "already_subscribed"));
    let other = client.clone();
    within(client.close()).await;
    assert!(within(subscription.next()).await.is_none());
    assert_eq!(within(other.publish("t", "1")).await, Err(Error::Closed));
}
