//! Bridges to Kafka, against a real broker. Must not share code with the bridge.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod peers;

use peers::kafka::{Kafka, PASSWORD};
use peers::{DEADLINE, Rig, of_page, password_file};

fn settings(url: &str, more: &str) -> String {
    format!("[[bridge]]\nname = \"plant\"\nkind = \"kafka\"\nurl = \"{url}\"\n{more}")
}

#[test]
fn the_page_is_true() {
    let Some(broker) = Kafka::start() else { return };
    broker.create_topic("measurements", 3);
    broker.create_topic("setpoints", 1);
    let url = broker.url();
    let mut rig = Rig::start(&of_page("kafka", &[("kafka://127.0.0.1:9092", &url)]));
    let mut watch = rig.watch("plant/#");
    rig.wait_until_up();
    broker.publish("measurements", "meters/7/power:4.2\n");
    assert_eq!(watch.next(), ("plant/7/power".to_owned(), "4.2".to_owned()));
    rig.publish("setpoints/7/power", "3.9");
    assert_eq!(broker.read("setpoints", 1), ["setpoints/7/power 3.9"]);
    rig.end_bridges();
    assert_eq!(broker.committed("gridcast", "measurements"), 1);
}

#[test]
fn a_broker_that_was_killed_loses_and_repeats_nothing() {
    let Some(mut broker) = Kafka::start() else { return };
    broker.create_topic("numbers", 4);
    let more = "in = [\"numbers\"]\ngroup = \"g\"\nstart = \"earliest\"\n";
    let rig = Rig::start(&settings(&broker.url(), more));
    let mut watch = rig.watch("#");
    rig.wait_until_up();
    const COUNT: u32 = 20_000;
    let publisher = broker.publisher("numbers", COUNT, 2_000);
    for at in [3_000, 8_000] {
        rig.wait_for_metric("messages_total{direction=\"in\"}", at);
        broker.kill();
        broker.restart();
    }
    let acknowledged = publisher.finish();
    assert!(acknowledged.len() > 10_000, "{} acknowledged", acknowledged.len());
    let seen = watch.all(&acknowledged);
    let twice = seen.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "records that were read again are known");
    peers::process::wait_for("commits", DEADLINE, || {
        broker.committed("g", "numbers") >= acknowledged.len() as u64
    });
}

#[test]
fn an_engine_that_comes_back_goes_on_where_it_was() {
    let Some(broker) = Kafka::start() else { return };
    broker.create_topic("numbers", 2);
    let text =
        settings(&broker.url(), "in = [\"numbers\"]\ngroup = \"g\"\nrecord_name = \"topic/key\"\n");
    let mut first = Rig::start(&text);
    let mut watch = first.watch("#");
    first.wait_until_up();
    // The group has committed its beginning once it has partitions: what comes then is not lost.
    peers::process::wait_for("an assignment", DEADLINE, || {
        broker.publish("numbers", "k:probe\n");
        first.metric("messages_total{direction=\"in\"}") > 0
    });
    assert_eq!(watch.next(), ("numbers/k".to_owned(), "probe".to_owned()));
    first.end_bridges();
    drop(first);
    broker.publish("numbers", "k:1\nk:2\n");
    let second = Rig::start(&text);
    let mut watch = second.watch("#");
    assert_eq!(watch.next().1, "1");
    assert_eq!(watch.next().1, "2");
}

#[test]
fn what_goes_out_is_sent_again_until_it_is_acknowledged() {
    let Some(mut broker) = Kafka::start() else { return };
    broker.create_topic("numbers", 1);
    let more = "out = [\"n/#\"]\nout_topic = \"numbers\"\n";
    let mut rig = Rig::start(&settings(&broker.url(), more));
    rig.wait_until_up();
    const COUNT: usize = 4_000;
    for n in 0..COUNT {
        rig.publish("n/a", &n.to_string());
        if n == COUNT / 2 {
            rig.wait_for_metric("messages_total{direction=\"out\"}", 500);
            broker.kill();
        }
    }
    broker.restart();
    rig.wait_for_metric("messages_total{direction=\"out\"}", COUNT as u64);
    assert_eq!(rig.metric("dropped_total"), 0);
    // Those that were sent when the broker was killed may be there twice.
    let lines = broker.read("numbers", COUNT);
    assert_eq!(lines.len(), COUNT);
    assert_eq!(lines[0], "n/a 0");
}

#[test]
fn wrong_credentials_are_told_and_tried_again() {
    let Some(broker) = Kafka::start() else { return };
    broker.create_topic("numbers", 1);
    let (_directory, path) = password_file("wrong");
    let more = format!(
        "in = [\"numbers\"]\ngroup = \"g\"\nsasl = \"plain\"\nuser = \"gridcast\"\n\
         password_file = \"{path}\"\n"
    );
    let rig = Rig::start(&settings(&broker.url_with_users(), &more));
    rig.wait_for_metric("errors_total{reason=\"credentials\"}", 1);
    assert_eq!(rig.metric("up"), 0);
    std::fs::write(&path, PASSWORD).unwrap();
    rig.wait_until_up();
}
