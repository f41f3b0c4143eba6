//! Three nodes behind a real NATS or Redis: what is published on one arrives on all, and what
//! becomes of it when the server stops, dies, or loses its store. Skipped, loudly, where there is
//! no server.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod moving;
mod node;
#[path = "../harness/relay.rs"]
mod relay;
mod server;
mod wait;

use std::thread;

use node::Node;
use server::{Kind, Server};
use wait::until;

const FRAMES: usize = 300;

fn settings(server: &Server, mode: &str, node: &str) -> String {
    let kind = if server.kind == Kind::Nats { "nats" } else { "redis" };
    let (url, more) = (server.url(), "ack_timeout_ms = 300");
    format!("kind = \"{kind}\"\nmode = \"{mode}\"\nurl = \"{url}\"\nnode = \"{node}\"\n{more}")
}

fn three(server: &Server, mode: &str) -> [Node; 3] {
    let nodes = ["a", "b", "c"].map(|name| Node::start(&settings(server, mode, name)).unwrap());
    nodes.iter().for_each(Node::wait_up);
    if mode == "log" {
        nodes.iter().for_each(|node| until("a node to be ready", || node.is_ready()));
    } else {
        let sees_all = |node: &Node| node.metric("gridcast_backplane_peers") >= 2.0;
        nodes.iter().for_each(|node| until("the nodes to meet", || sees_all(node)));
    }
    nodes
}

fn texts(frames: &[(String, String)]) -> Vec<&str> {
    frames.iter().map(|(_, text)| text.as_str()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("frame {number}")).collect()
}

/// Publishes until it is taken, as a client does that was told to come back.
fn publish_surely(node: &Node, topic: &str, text: &str) {
    until("a publish to be taken", || node.publish(topic, text) == 200);
}

fn relays(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let [a, b, c] = three(&server, "relay");
    let mut followers = [b.follow("t/1", None), c.follow("#", None), a.follow("t/1", None)];
    for text in numbers(0..FRAMES) {
        assert_eq!(a.publish("t/1", &text), 200);
    }
    for follower in &mut followers {
        assert_eq!(texts(&follower.wait_frames(FRAMES)), numbers(0..FRAMES));
        assert_eq!(follower.gaps().count(), 0);
    }
}

#[test]
fn nats_relays() {
    relays(Kind::Nats);
}

#[test]
fn redis_relays() {
    relays(Kind::Redis);
}

fn tells_what_a_relay_lost(kind: Kind) {
    let Some(mut server) = Server::start(kind) else { return };
    let [a, b, c] = three(&server, "relay");
    let mut follower = b.follow("t/1", None);
    assert_eq!(a.publish("t/1", "before"), 200);
    follower.wait_frames(1);
    server.kill();
    until("the loss to be seen", || a.metric("gridcast_backplane_up") == 0.0);
    let mut local = a.follow("t/1", None);
    for text in numbers(0..10) {
        assert_eq!(a.publish("t/1", &text), 200, "a node goes on alone");
    }
    local.wait_frames(10);
    server.begin();
    [&a, &b, &c].into_iter().for_each(Node::wait_up);
    // Nothing more is published: what is lost is told all the same.
    let gap = follower.wait_gap();
    assert!(gap.contains("10"), "{gap}");
    assert_eq!(a.publish("t/1", "after"), 200);
    assert_eq!(texts(&follower.wait_frames(2)), ["before", "after"]);
}

#[test]
fn nats_relay_tells_what_it_lost() {
    tells_what_a_relay_lost(Kind::Nats);
}

#[test]
fn redis_relay_tells_what_it_lost() {
    tells_what_a_relay_lost(Kind::Redis);
}

fn logs(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let [a, b, c] = three(&server, "log");
    let mut topics = [&a, &b, &c].map(|node| node.follow("t/1", None));
    let mut patterns = [&a, &b, &c].map(|node| node.follow("t/#", None));
    thread::scope(|scope| {
        scope.spawn(|| {
            numbers(0..FRAMES).iter().for_each(|text| assert_eq!(a.publish("t/1", text), 200));
        });
        scope.spawn(|| {
            numbers(0..FRAMES).iter().for_each(|text| assert_eq!(b.publish("t/2", text), 200));
        });
    });
    let [first, rest @ ..] = &mut topics;
    let frames = first.wait_frames(FRAMES);
    assert_eq!(texts(&frames), numbers(0..FRAMES));
    for follower in rest {
        assert_eq!(follower.wait_frames(FRAMES), frames, "the same positions everywhere");
    }
    let [first, rest @ ..] = &mut patterns;
    let frames = first.wait_frames(2 * FRAMES);
    for follower in rest {
        assert_eq!(follower.wait_frames(2 * FRAMES), frames, "the same order everywhere");
    }
    // Whoever leaves a node goes on at another.
    let (last, _) = &frames[FRAMES];
    let mut resumed = c.follow("t/#", Some(last));
    assert_eq!(resumed.wait_frames(FRAMES - 1), frames[FRAMES + 1..]);
    assert_eq!(resumed.gaps().count(), 0);
}

#[test]
fn jetstream_is_one_log() {
    logs(Kind::Nats);
}

#[test]
fn redis_streams_are_one_log() {
    logs(Kind::Redis);
}

fn holds_while_the_log_is_away(kind: Kind) {
    let Some(mut server) = Server::start(kind) else { return };
    let [a, b, _c] = three(&server, "log");
    let mut follower = b.follow("t/1", None);
    publish_surely(&a, "t/1", "frame 0");
    follower.wait_frames(1);
    server.pause();
    thread::scope(|scope| {
        let held = scope.spawn(|| a.publish("t/1", "frame 1"));
        until("the node to be unready", || !a.is_ready());
        assert!(!held.is_finished(), "a publisher is held for five seconds");
        server.go_on();
        assert_eq!(held.join().unwrap(), 200, "and answered when the log is back");
    });
    server.kill();
    until("publishers to be refused", || a.publish("t/1", "never") == 503);
    server.begin();
    publish_surely(&a, "t/1", "frame 2");
    until("the node to be ready", || a.is_ready());
    let frames = follower.wait_frames(3);
    let expected = numbers(0..3);
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    // What was refused may be in the log all the same.
    let got: Vec<&str> = texts(&frames).into_iter().filter(|text| *text != "never").collect();
    assert_eq!(got, expected);
    assert_eq!(follower.gaps().count(), 0, "{:?}", follower.all);
}

#[test]
fn jetstream_may_be_away() {
    holds_while_the_log_is_away(Kind::Nats);
}

#[test]
fn redis_streams_may_be_away() {
    holds_while_the_log_is_away(Kind::Redis);
}

fn tells_that_the_store_is_gone(kind: Kind) {
    let Some(mut server) = Server::start(kind) else { return };
    let [a, b, _c] = three(&server, "log");
    let mut follower = b.follow("t/1", None);
    numbers(0..20).iter().for_each(|text| publish_surely(&a, "t/1", text));
    let frames = follower.wait_frames(20);
    let epoch = |id: &str| id.split('-').next().unwrap().to_owned();
    server.kill();
    server.remove_store();
    server.begin();
    publish_surely(&a, "t/1", "after");
    let gap = follower.wait_gap();
    assert!(gap.contains("epoch"), "{gap}");
    let all = follower.wait_frames(21);
    assert_eq!(all[20].1, "after");
    assert_ne!(epoch(&all[20].0), epoch(&frames[0].0));
    // Whoever comes with a position of before is told as well.
    let mut resumed = a.follow("t/1", Some(&frames[19].0));
    assert!(resumed.wait_gap().contains("epoch"));
}

#[test]
fn jetstream_may_lose_its_store() {
    tells_that_the_store_is_gone(Kind::Nats);
}

#[test]
fn redis_streams_may_lose_their_store() {
    tells_that_the_store_is_gone(Kind::Redis);
}

fn refuses_who_disagrees(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let _a = Node::start(&settings(&server, "log", "a")).unwrap();
    until("the other mode to be refused", || {
        let other = Node::start(&settings(&server, "relay", "b"));
        other.err().is_some_and(|error| error.to_string().contains("mode = log"))
    });
}

#[test]
fn a_node_of_another_mode_does_not_start() {
    refuses_who_disagrees(Kind::Nats);
    refuses_who_disagrees(Kind::Redis);
}

#[test]
fn a_node_starts_without_its_server_and_joins_later() {
    let Some(mut server) = Server::start(Kind::Redis) else { return };
    let settings = settings(&server, "log", "a");
    server.kill();
    let node = Node::start(&settings).unwrap();
    assert!(!node.is_ready());
    server.begin();
    until("the node to be ready", || node.is_ready());
    publish_surely(&node, "t", "x");
}

/// Where one server of a cluster is gone, the others are what the log is kept for.
#[test]
fn a_node_uses_whichever_server_of_several_is_there() {
    let Some(server) = Server::start(Kind::Nats) else { return };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let several = format!("nats://{nobody}, {}", server.url());
    let settings = settings(&server, "log", "a").replace(&server.url(), &several);
    let node = Node::start(&settings).unwrap();
    until("the node to be ready", || node.is_ready());
    publish_surely(&node, "t", "x");
}
