//! Bridges to RabbitMQ, against the real broker of Debian. Must not share code with the bridge.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod peers;

use std::thread;

use peers::rabbitmq::{PASSWORD, RabbitMq};
use peers::{Rig, of_page, password_file};

fn settings(broker: &RabbitMq, password_file: &str, more: &str) -> String {
    format!(
        "[[bridge]]\nname = \"plant\"\nkind = \"amqp\"\nurl = \"{}\"\nuser = \"gridcast\"\n\
         password_file = \"{password_file}\"\n{more}",
        broker.url()
    )
}

#[test]
fn the_page_is_true() {
    let Some(broker) = RabbitMq::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let page = of_page(
        "amqp",
        &[("amqp://127.0.0.1:5672/%2f", &broker.url()), ("/etc/gridcast/amqp.password", &path)],
    );
    let mut rig = Rig::start(&page);
    let mut watch = rig.watch("#");
    rig.wait_until_up();
    let consumer = broker.consumer("orders", "setpoints.#");
    let mut publisher = broker.publisher();
    publisher.publish("meters.7.power", "4.2");
    assert_eq!(watch.next(), ("plant/7/power".to_owned(), "4.2".to_owned()));
    rig.publish("setpoints/7/power", "3.9");
    assert_eq!(consumer.next(), "setpoints.7.power 3.9");
    rig.wait_for_metric("messages_total{direction=\"out\"}", 1);
}

#[test]
fn a_broker_that_was_killed_loses_nothing_that_it_had_confirmed() {
    let Some(mut broker) = RabbitMq::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let more = "queue = \"in\"\nin = [\"n.#\"]\nprefetch = 200\n";
    let rig = Rig::start(&settings(&broker, &path, more));
    let mut watch = rig.watch("n/#");
    rig.wait_until_up();
    let mut publisher = broker.publisher();
    const COUNT: usize = 6_000;
    let feeding = thread::spawn(move || {
        (0..COUNT).for_each(|n| publisher.publish(&format!("n.{}", n % 10), &n.to_string()));
        publisher.wait_until_confirmed(COUNT);
        publisher
    });
    for at in [1_000, 3_000] {
        rig.wait_for_metric("messages_total{direction=\"in\"}", at);
        broker.kill();
        rig.wait_until_down();
        broker.restart();
        rig.wait_until_up();
    }
    drop(feeding.join().unwrap());
    let sent: Vec<String> = (0..COUNT).map(|n| n.to_string()).collect();
    watch.all(&sent);
    peers::process::wait_for("an empty queue", peers::DEADLINE, || broker.queued("in") == 0);
}

#[test]
fn what_goes_out_is_sent_again_until_it_is_confirmed() {
    let Some(mut broker) = RabbitMq::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let mut rig = Rig::start(&settings(&broker, &path, "out = [\"n/#\"]\n"));
    rig.wait_until_up();
    let consumer = broker.consumer("out", "n.#");
    const COUNT: usize = 3_000;
    let mut seen = std::collections::HashSet::new();
    for n in 0..COUNT {
        rig.publish("n/a", &n.to_string());
        if n == COUNT / 2 {
            seen.extend((0..500).map(|_| consumer.next()));
            broker.kill();
        }
    }
    broker.restart();
    while seen.len() < COUNT {
        let line = consumer.next();
        if line != "bound" {
            seen.insert(line);
        }
    }
    assert!((0..COUNT).all(|n| seen.contains(&format!("n.a {n}"))));
    assert_eq!(rig.metric("dropped_total"), 0);
}

#[test]
fn what_is_no_message_is_rejected_and_counted() {
    let Some(broker) = RabbitMq::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let more = "queue = \"in\"\nin = [\"#\"]\nout = [\"#\"]\n";
    let mut rig = Rig::start(&settings(&broker, &path, more));
    let mut watch = rig.watch("#");
    rig.wait_until_up();
    let mut publisher = broker.publisher();
    publisher.publish("a..b", "no topic has an empty segment");
    publisher.publish("$sys.x", "nor is it the engine's own");
    publisher.publish("a.b", "right");
    assert_eq!(watch.next(), ("a/b".to_owned(), "right".to_owned()));
    rig.wait_for_metric("dropped_total{reason=\"rejected\"}", 2);
    // A dot within a segment would come back as two; what came in does not go out again.
    rig.publish("host.example/cpu", "1");
    rig.wait_for_metric("dropped_total{reason=\"name\"}", 1);
    assert_eq!(rig.metric("messages_total{direction=\"out\"}"), 0);
}

#[test]
fn wrong_credentials_are_told_and_tried_again() {
    let Some(broker) = RabbitMq::start() else { return };
    let (_directory, path) = password_file("wrong");
    let rig = Rig::start(&settings(&broker, &path, "queue = \"in\"\nin = [\"n.#\"]\n"));
    rig.wait_for_metric("errors_total{reason=\"credentials\"}", 1);
    assert_eq!(rig.metric("up"), 0);
    std::fs::write(&path, PASSWORD).unwrap();
    rig.wait_until_up();
}
