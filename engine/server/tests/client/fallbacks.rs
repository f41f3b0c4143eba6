//! Ways around proxies that let no WebSocket through, or no event stream either: what comes is the
//! same, nothing is lost or comes twice, and what is missing is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gridcast_client::{
    Client, Error, Item, Message, Options, Reason, State, SubscribeOptions, Subscription, Transport,
};

use crate::hearing::{States, gap, item, restarted, resumed, texts, until, within};
use crate::line::{Line, Spoilt};
use crate::server::Server;
use crate::tokens::{asking, covering, guarded, signed};

const NO_WEBSOCKETS: Spoilt = Spoilt::Lost("Upgrade: websocket");
const NO_STREAMS: Spoilt = Spoilt::Reset("text/event-stream");

/// A line that lets `transport` through and nothing better.
fn line_for(transport: Transport, server: &Server) -> Line {
    let line = Line::to(server.address);
    narrow(&line, transport);
    line
}

fn narrow(line: &Line, transport: Transport) {
    line.spoil(NO_WEBSOCKETS);
    if transport == Transport::Poll {
        line.spoil(NO_STREAMS);
    }
}

async fn subscribed(client: &Client, target: &str) -> Subscription {
    let subscription = client.subscribe(target, SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    subscription
}

async fn payloads_are_kept_by(transport: Transport) {
    let server = Server::start(&[]);
    let line = line_for(transport, &server);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let mut topic = subscribed(&client, "kinds/grüße 1").await;
    let mut pattern = subscribed(&client, "kinds/#").await;
    states.fallback(transport).await;
    let payloads: [&[u8]; 5] = [b"text", b" {\"v\": 1} ", b"", b"two\nlines", &[0, 255, 10]];
    for (number, payload) in payloads.into_iter().enumerate() {
        let seq = number as u64 + 1;
        let published = match std::str::from_utf8(payload) {
            Ok(text) => within(client.publish("kinds/grüße 1", text)).await,
            Err(_) => within(client.publish("kinds/grüße 1", payload)).await,
        };
        assert_eq!(published.unwrap().position.seq, seq);
        for subscription in [&mut topic, &mut pattern] {
            let message = next(subscription).await;
            assert_eq!((&*message.payload, message.position.seq), (payload, seq));
            assert_eq!(message.is_text, std::str::from_utf8(payload).is_ok());
            assert_eq!(&*message.topic, "kinds/grüße 1");
            let is_pattern = subscription.topic() == "kinds/#";
            assert_eq!(message.pattern.as_deref(), is_pattern.then_some("kinds/#"));
        }
    }
    let error = within(client.publish("$sys/x", "1")).await.unwrap_err();
    assert!(matches!(&error, Error::Command { code, .. } if code == "forbidden"), "{error}");
    let wrong = client.subscribe("a//b", SubscribeOptions::new()).unwrap();
    let error = within(wrong.ready()).await.unwrap_err();
    assert!(matches!(&error, Error::Command { code, .. } if code == "bad_request"), "{error}");
    assert_eq!(states.opened(), 0);
    within(client.close()).await;
}

#[tokio::test]
async fn where_no_websocket_passes_event_streams_do() {
    payloads_are_kept_by(Transport::EventStream).await;
}

#[tokio::test]
async fn where_no_event_stream_passes_either_it_polls() {
    payloads_are_kept_by(Transport::Poll).await;
}

/// From a WebSocket to a fallback and back, with a cut within each.
async fn positions_hold_over(transport: Transport) {
    let server = Server::start(&[]);
    let line = Line::to(server.address);
    let states = States::default();
    let again = Duration::from_secs(1);
    let client = states.client(Options::new(line.url()).websocket_again(again));
    let mut all = [subscribed(&client, "t").await, subscribed(&client, "+").await];
    server.post("t", "1");
    for subscription in &mut all {
        texts(subscription, &["1"]).await;
    }
    narrow(&line, transport);
    line.cut();
    server.post("t", "2");
    states.fallback(transport).await;
    server.post("t", "3");
    for subscription in &mut all {
        resumed(subscription).await;
        come_once(subscription, &["2", "3"]).await;
    }
    line.cut();
    server.post("t", "4");
    for subscription in &mut all {
        come_once(subscription, &["4"]).await;
    }
    line.spare();
    states.open(2).await;
    server.post("t", "5");
    for subscription in &mut all {
        come_once(subscription, &["5"]).await;
        assert_eq!(subscription.position().unwrap().seq, 5);
    }
}

/// The next message; before it, it may be resumed.
async fn next(subscription: &mut Subscription) -> Message {
    loop {
        match item(subscription).await {
            Item::Message(message) => return message,
            Item::Resumed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn come_once(subscription: &mut Subscription, expected: &[&str]) {
    for expected in expected {
        assert_eq!(next(subscription).await.text(), Some(*expected));
    }
}

#[tokio::test]
async fn event_streams_go_on_where_the_websocket_was_and_it_where_they_were() {
    positions_hold_over(Transport::EventStream).await;
}

#[tokio::test]
async fn polls_go_on_where_the_websocket_was_and_it_where_they_were() {
    positions_hold_over(Transport::Poll).await;
}

async fn what_is_missing_is_told_by(transport: Transport) {
    let mut server = Server::start(&["retention.frames_max=2"]);
    let line = line_for(transport, &server);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let mut subscription = subscribed(&client, "t").await;
    states.fallback(transport).await;
    server.post("t", "1");
    come_once(&mut subscription, &["1"]).await;
    line.shut();
    until("it waits", || matches!(client.state(), State::Waiting { .. })).await;
    for number in 2..=6 {
        server.post("t", &number.to_string());
    }
    line.open();
    resumed(&mut subscription).await;
    let gap = gap(&mut subscription).await;
    assert_eq!((gap.from, gap.to, gap.frames), (2, 4, Some(3)));
    assert_eq!(gap.reason, Reason::Expired);
    texts(&mut subscription, &["5", "6"]).await;
    server.kill();
    let server = Server::start(&[]);
    line.lead_to(server.address);
    server.post("t", "7");
    restarted(&mut subscription, &["7"]).await;
}

#[tokio::test]
async fn an_event_stream_tells_gaps_and_restarts() {
    what_is_missing_is_told_by(Transport::EventStream).await;
}

#[tokio::test]
async fn a_poll_tells_gaps_and_restarts() {
    what_is_missing_is_told_by(Transport::Poll).await;
}

async fn tokens_are_replaced_by(transport: Transport) {
    let (server, _directory) = guarded();
    let line = line_for(transport, &server);
    let states = States::default();
    // Three openings are refused before, and a token is asked for each.
    let tokens = [signed(600), signed(600), signed(600), covering("t", 6), covering("t", 600)];
    let (options, asked) = asking(&line.url(), tokens.to_vec());
    let client = states.client(options);
    let mut subscription = subscribed(&client, "t").await;
    within(client.publish("t", "1")).await.unwrap();
    come_once(&mut subscription, &["1"]).await;
    until("another token", || asked.load(Ordering::SeqCst) == 5).await;
    within(client.publish("t", "2")).await.unwrap();
    come_once(&mut subscription, &["2"]).await;
    let other = client.subscribe("other", SubscribeOptions::new()).unwrap();
    let error = within(other.ready()).await.unwrap_err();
    assert!(matches!(&error, Error::Command { code, .. } if code == "forbidden"), "{error}");
}

#[tokio::test]
async fn a_token_that_ends_in_an_event_stream_is_replaced() {
    tokens_are_replaced_by(Transport::EventStream).await;
}

#[tokio::test]
async fn a_token_that_ends_while_it_polls_is_replaced() {
    tokens_are_replaced_by(Transport::Poll).await;
}

#[tokio::test]
async fn without_fallbacks_a_lost_upgrade_is_final() {
    let server = Server::start(&[]);
    let line = line_for(Transport::EventStream, &server);
    let client = States::default().client(Options::new(line.url()).falls_back(false));
    let error = within(client.connected()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 426, .. }), "{error}");
}

/// It would be no better by other means.
#[tokio::test]
async fn a_server_that_is_away_is_not_gone_around() {
    let mut server = Server::start(&[]);
    let line = Line::to(server.address);
    server.kill();
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    states.waiting(6).await;
    let server = Server::start(&[]);
    line.lead_to(server.address);
    within(client.connected()).await.unwrap();
    assert_eq!((client.state(), states.opened()), (State::Open, 1));
}
