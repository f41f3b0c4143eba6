//! Publishes whose reply does not come: what is said of them, and what `retry` does.

use std::time::Duration;

use gridcast_client::{Client, Error, Options, PublishOptions, Published};
use tokio::task::JoinHandle;

use crate::hearing::{States, until, within};
use crate::line::Line;
use crate::server::Server;

/// A publish that the server has taken, and whose reply is on its way.
async fn in_flight(
    client: &Client,
    line: &Line,
    server: &Server,
    retry: bool,
) -> JoinHandle<Result<Published, Error>> {
    within(client.connected()).await.unwrap();
    line.hold_down();
    let client = client.clone();
    let publishing = tokio::spawn(async move {
        let options = PublishOptions { retry, timeout: Some(Duration::from_secs(60)) };
        client.publish_with("t", "once", options).await
    });
    until("it was taken", || server.metric("gridcast_publishes_total") == 1).await;
    publishing
}

#[tokio::test]
async fn a_reply_that_is_cut_off_leaves_it_open() {
    let server = Server::start(&[]);
    let line = Line::to(server.address);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let publishing = in_flight(&client, &line, &server, false).await;
    line.cut();
    states.waiting(1).await;
    let error = within(publishing).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::MaybePublished(_)), "{error}");
    line.open();
    assert_eq!(within(client.publish("t", "next")).await.unwrap().position.seq, 2);
}

#[tokio::test]
async fn a_killed_server_leaves_a_publish_open() {
    let mut server = Server::start(&[]);
    let line = Line::to(server.address);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let publishing = in_flight(&client, &line, &server, false).await;
    server.kill();
    line.cut();
    states.waiting(1).await;
    let error = within(publishing).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::MaybePublished(_)), "{error}");
    let server = Server::start(&[]);
    line.lead_to(server.address);
    line.open();
    assert_eq!(within(client.publish("t", "next")).await.unwrap().position.seq, 1);
}

#[tokio::test]
async fn with_retry_it_is_published_again() {
    let server = Server::start(&[]);
    let line = Line::to(server.address);
    let states = States::default();
    let client = states.client(Options::new(line.url()));
    let publishing = in_flight(&client, &line, &server, true).await;
    line.cut();
    states.waiting(1).await;
    line.open();
    assert_eq!(within(publishing).await.unwrap().unwrap().position.seq, 2);
}

#[tokio::test]
async fn without_a_connection_in_time_it_was_not_published() {
    let server = Server::start(&[]);
    let line = Line::to(server.address);
    line.shut();
    let timeout = Duration::from_millis(200);
    let client = States::default().client(Options::new(line.url()).publish_timeout(timeout));
    assert_eq!(within(client.publish("t", "1")).await, Err(Error::NotConnected(timeout)));
    line.open();
    within(client.connected()).await.unwrap();
    assert_eq!(server.metric("gridcast_publishes_total"), 0);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_and_nothing_else_is_hurt() {
    let server = Server::start(&[]);
    let client = States::default().client(Options::new(server.url()));
    let error = within(client.publish("$sys/x", "1")).await.unwrap_err();
    assert!(matches!(&error, Error::Command { code, .. } if code == "forbidden"), "{error}");
    let mut wrong = client.subscribe("a//b", gridcast_client::SubscribeOptions::new()).unwrap();
    let error = within(wrong.next()).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Command { code, .. } if code == "bad_request"), "{error}");
    assert_eq!(within(wrong.ready()).await, Err(error));
    assert_eq!(within(client.publish_json("t", &[1, 2])).await.unwrap().position.seq, 1);
}
