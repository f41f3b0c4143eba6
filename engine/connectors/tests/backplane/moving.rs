//! Clients that come back at another node, nodes that come late, and one that was cut off for
//! longer than the log is kept: what they get, and what they are told. Must not test that servers
//! end.

use crate::node::Node;
use crate::relay::Relay;
use crate::server::{Kind, Server};
use crate::wait::until;
use crate::{numbers, publish_surely, settings, texts, three};

fn comes_back_elsewhere(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let [a, b, c] = three(&server, "relay");
    let (mut follower, mut other) = (b.follow("t/1", None), c.follow("t/1", None));
    numbers(0..5).iter().for_each(|text| publish_surely(&a, "t/1", text));
    let frames = follower.wait_frames(5);
    other.wait_frames(5);
    drop((follower, b));
    let mut back = c.follow("t/1", Some(&frames[4].0));
    let gap = back.wait_gap();
    assert!(gap.contains("epoch"), "a position is the node's own: {gap}");
    publish_surely(&a, "t/1", "after");
    let all = back.wait_frames(6);
    assert_eq!(texts(&all)[5], "after");
    assert_eq!(back.gaps().count(), 1, "{:?}", back.all);
}

#[test]
fn who_comes_back_at_another_node_of_a_relay_is_told() {
    comes_back_elsewhere(Kind::Nats);
    comes_back_elsewhere(Kind::Redis);
}

fn answers_resumes_though_it_began_late(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let [a, b, _c] = three(&server, "log");
    let mut follower = b.follow("t/1", None);
    numbers(0..50).iter().for_each(|text| publish_surely(&a, "t/1", text));
    let frames = follower.wait_frames(50);
    let late = Node::start(&settings(&server, "log", "late")).unwrap();
    until("the late node to be ready", || late.is_ready());
    let mut resumed = late.follow("t/1", Some(&frames[9].0));
    assert_eq!(resumed.wait_frames(40), frames[10..]);
    assert_eq!(resumed.gaps().count(), 0, "{:?}", resumed.all);
}

#[test]
fn a_node_that_begins_late_answers_resumes_once_it_is_ready() {
    answers_resumes_though_it_began_late(Kind::Nats);
    answers_resumes_though_it_began_late(Kind::Redis);
}

/// Redis gives up a hundred entries at a time.
const PASSED: usize = 250;

fn tells_what_retention_took(kind: Kind) {
    let Some(server) = Server::start(kind) else { return };
    let link = Relay::start(server.port);
    let short = |node: &str| format!("{}\nretention_s = 1", settings(&server, "log", node));
    let a = Node::start(&short("a")).unwrap();
    let through = short("b").replace(&server.port.to_string(), &link.port.to_string());
    let b = Node::start(&through).unwrap();
    [&a, &b].into_iter().for_each(|node| until("a node to be ready", || node.is_ready()));
    let mut follower = b.follow("t/1", None);
    publish_surely(&a, "t/1", "before");
    follower.wait_frames(1);
    link.cut();
    until("the cut to be seen", || b.metric("gridcast_backplane_up") == 0.0);
    numbers(0..PASSED).iter().for_each(|text| publish_surely(&a, "t/1", text));
    until("retention to pass", || server.first_message().is_none_or(|first| first > 2));
    link.mend();
    let gap = follower.wait_gap();
    assert!(gap.contains("expired"), "{gap}");
    publish_surely(&a, "t/1", "after");
    until("what came after", || {
        let frames = follower.wait_frames(2);
        texts(&frames).last() == Some(&"after")
    });
    assert_eq!(follower.gaps().count(), 1, "{:?}", follower.gaps().collect::<Vec<_>>());
}

#[test]
fn a_node_that_was_cut_off_for_longer_than_the_log_is_kept_tells_what_it_missed() {
    tells_what_retention_took(Kind::Nats);
    tells_what_retention_took(Kind::Redis);
}
