//! Servers, networks and machines that stand still, without a word.

use std::time::Duration;

use gridcast_client::{Options, SubscribeOptions};
use rustix::process::Signal;

use crate::clock::JumpingClock;
use crate::hearing::{States, resumed, texts, until, within};
use crate::line::Line;
use crate::server::Server;

#[tokio::test]
async fn a_server_that_stands_still_is_left_and_found_again() {
    let server = Server::start(&["keepalive.heartbeat_ms=100"]);
    let states = States::default();
    let options = Options::new(server.url()).connect_timeout(Duration::from_millis(300));
    let client = states.client(options);
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(client.publish("t", "1")).await.unwrap();
    texts(&mut subscription, &["1"]).await;
    server.signal(Signal::STOP);
    let (reason, _) = states.waiting(1).await;
    assert!(reason.contains("nothing came for 0.2 s"), "{reason}");
    // It cannot be reached either: the handshake has a deadline of its own.
    let (reason, _) = states.waiting(2).await;
    assert!(reason.contains("within 0.3 s"), "{reason}");
    server.signal(Signal::CONT);
    resumed(&mut subscription).await;
    within(client.publish("t", "2")).await.unwrap();
    texts(&mut subscription, &["2"]).await;
}

#[tokio::test]
async fn a_network_that_is_silent_is_left() {
    let server = Server::start(&["keepalive.heartbeat_ms=100"]);
    let line = Line::to(server.address);
    let states = States::default();
    let options = Options::new(line.url()).connect_timeout(Duration::from_millis(300));
    let client = states.client(options);
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    line.hold();
    let (reason, _) = states.waiting(1).await;
    assert!(reason.contains("nothing came"), "{reason}");
    server.post("t", "1");
    line.open();
    resumed(&mut subscription).await;
    texts(&mut subscription, &["1"]).await;
}

#[tokio::test]
async fn after_a_jump_of_the_clock_a_dead_connection_is_left_soon() {
    let server = Server::start(&["keepalive.heartbeat_ms=60000"]);
    let line = Line::to(server.address);
    let (states, clock) = (States::default(), JumpingClock::default());
    let client = states.client(Options::new(line.url()).clock(clock.clone()));
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    line.hold();
    clock.jump();
    let (reason, _) = states.waiting(1).await;
    assert!(reason.contains("clock jumped"), "{reason}");
    line.open();
    resumed(&mut subscription).await;
}

#[tokio::test]
async fn after_a_jump_of_the_clock_a_live_connection_is_kept() {
    let server = Server::start(&["keepalive.heartbeat_ms=5000"]);
    let (states, clock) = (States::default(), JumpingClock::default());
    let client = states.client(Options::new(server.url()).clock(clock.clone()));
    let subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    let sent = server.metric("gridcast_frames_received_total");
    clock.jump();
    until("the ping that asks", || server.metric("gridcast_frames_received_total") > sent).await;
    within(client.publish("t", "1")).await.unwrap();
    assert_eq!(states.opened(), 1);
}
