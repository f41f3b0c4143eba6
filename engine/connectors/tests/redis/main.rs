//! The Redis bridge against redis-server. Owns what a person may rely on: messages both ways, loops
//! cut, trust, clear words where something is wrong, and that what is lost when the server is
//! killed is told, and nothing else is lost.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../harness/mod.rs"]
mod harness;

mod client;

use std::path::Path;

use client::{Client, Load, Value, subscriber};
use harness::node::{Node, check};
use harness::process::{self, Server, file};
use harness::{certificates, manual, wait_until};

fn server(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Option<Server> {
    let program = process::find("redis-server", "apt-get install redis-server")?;
    Some(Server::start(program, |port, directory| {
        let common = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        [common.map(str::to_owned).to_vec(), arguments(port, directory)].concat()
    }))
}

fn open_server() -> Option<Server> {
    server(|port, _| vec!["--port".to_owned(), port.to_string()])
}

fn bridge(port: u16, rest: &str) -> String {
    format!(
        "[[bridge]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"\n{rest}"
    )
}

#[test]
fn messages_come_in_by_channels_and_patterns() {
    let Some(server) = open_server() else { return };
    let node = Node::start(&bridge(server.port, "in = [\"plant:1:kw\", \"pmu:*\"]"));
    node.wait_until_up(1);
    let listener = node.listen("#");
    let mut client = Client::connect(server.port).unwrap();
    client.publish("plant:1:kvar", b"not asked for").unwrap();
    client.publish("plant:1:kw", b"one").unwrap();
    client.publish("pmu:a:b", "ä".as_bytes()).unwrap();
    client.publish("pmu:bytes", &[0xaa, 1]).unwrap();
    client.publish("pmu:a/b", b"no topic").unwrap();
    client.publish("pmu::", b"no topic").unwrap();
    client.publish("pmu:empty", b"").unwrap();
    for expected in ["one", "ä", "[170, 1]", ""] {
        listener.wait_for(expected);
    }
    assert_eq!(node.last("plant/1/kw"), "one");
    assert_eq!(node.last("pmu/a/b"), "ä");
    assert_eq!(node.metric("messages_total", "direction=\"in\""), 4);
    assert_eq!(node.metric("dropped_total", "reason=\"topic\""), 2);
}

#[test]
fn messages_go_out_and_names_that_cannot_are_counted() {
    let Some(server) = open_server() else { return };
    let rest = "out = [\"out/#\"]\nmap_out = [{ from = \"out/#\", to = \"from/gridcast/{1}\" }]";
    let node = Node::start(&bridge(server.port, rest));
    node.wait_until_up(1);
    let mut client = Client::connect(server.port).unwrap();
    client.subscribe("from:*").unwrap();
    node.publish("out/a:b", "a separator");
    node.publish("out/a/b", "fine");
    assert_eq!(client.message().unwrap(), ("from:gridcast:a:b".into(), "fine".into()));
    node.wait_until("answered", |node| node.metric("messages_total", "direction=\"out\"") == 1);
    assert_eq!(node.metric("dropped_total", "reason=\"name\""), 1);
}

#[test]
fn what_goes_both_ways_does_not_go_round() {
    let Some(server) = open_server() else { return };
    // Redis sends each of the bridge's own messages back twice.
    let rest = "separator = \"/\"\nin = [\"both/*\", \"both/?\"]\nout = [\"both/#\"]";
    let node = Node::start(&bridge(server.port, rest));
    node.wait_until_up(1);
    let listener = node.listen("both/#");
    let mut client = Client::connect(server.port).unwrap();
    let mut subscriber = Client::connect(server.port).unwrap();
    subscriber.subscribe("both/*").unwrap();
    for round in 0..200 {
        node.publish("both/a", &format!("out {round}"));
    }
    for round in 0..200 {
        assert_eq!(subscriber.message().unwrap().1, format!("out {round}"));
    }
    // The same payload from somebody else is another message.
    client.publish("both/a", b"out 7").unwrap();
    client.publish("both/long", b"in").unwrap();
    listener.wait_for("in");
    let seen = listener.seen();
    assert_eq!((seen.len(), seen["out 7"], seen["in"]), (201, 3, 1), "ours, and theirs twice");
    assert_eq!(seen.values().sum::<u32>(), 203);
    assert_eq!(node.metric("messages_total", "direction=\"in\""), 3);
}

#[test]
fn a_server_is_trusted_by_its_authority_only() {
    let Some(server) = server(|port, directory| {
        let made = certificates::make(directory);
        let port = port.to_string();
        let tls = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
        let files = ["--tls-cert-file", &made.certificate, "--tls-key-file", &made.key];
        let authority = ["--tls-ca-cert-file", &made.authority];
        [&tls[..], &files, &authority].concat().iter().map(|part| (*part).to_owned()).collect()
    }) else {
        return;
    };
    let secure = |authority: &str| {
        let rest = format!("in = [\"b\"]\nout = [\"a\"]\nca_file = \"{authority}\"");
        let plain = format!("redis://127.0.0.1:{}", server.port);
        bridge(server.port, &rest).replace(&plain, &format!("rediss://localhost:{}", server.port))
    };
    let authority = server.directory.path().join("authority.pem");
    let node = Node::start(&secure(authority.to_str().unwrap()));
    node.wait_until_up(1);
    node.publish("a", "secret");
    node.wait_until("sent", |node| node.metric("messages_total", "direction=\"out\"") == 1);
    let elsewhere = tempfile::TempDir::new().unwrap();
    let node = Node::start(&secure(&certificates::make(elsewhere.path()).authority));
    node.wait_until("refused", |node| node.metric("errors_total", "reason=\"tls\"") > 0);
    assert_eq!(node.metric("up", ""), 0);
}

#[test]
fn wrong_credentials_are_said_and_do_not_make_it_spin() {
    let Some(server) = server(|port, _| {
        ["--port", &port.to_string(), "--requirepass", "secret"].map(str::to_owned).to_vec()
    }) else {
        return;
    };
    let directory = server.directory.path();
    let with = |password: &str| {
        let path = file(directory, password, &format!("{password}\n"));
        Node::start(&bridge(server.port, &format!("password_file = \"{path}\"\nin = [\"a\"]")))
    };
    with("secret").wait_until_up(1);
    for node in [with("guess"), Node::start(&bridge(server.port, "in = [\"a\"]"))] {
        let refusals = |node: &Node| node.metric("errors_total", "reason=\"credentials\"");
        node.wait_until("refused", |node| refusals(node) > 1);
        assert!(refusals(&node) < 5, "{}", node.metrics());
    }
}

#[test]
fn what_a_user_may_not_publish_is_dropped_and_the_rest_is_not() {
    let Some(server) = open_server() else { return };
    let mut client = Client::connect(server.port).unwrap();
    let rights = b"SETUSER me on >secret +@all resetchannels &both:*";
    let words: Vec<&[u8]> = [&b"ACL"[..]].into_iter().chain(rights.split(|b| *b == b' ')).collect();
    assert_eq!(client.ask(&words).unwrap(), Value::Text(b"OK".to_vec()));
    let path = file(server.directory.path(), "password", "secret\n");
    let rest = format!(
        "user = \"me\"\npassword_file = \"{path}\"\nin = [\"both:a\"]\nout = [\"both/#\", \"no/#\"]"
    );
    let node = Node::start(&bridge(server.port, &rest));
    node.wait_until_up(1);
    node.publish("no/a", "refused");
    node.publish("both/a", "fine");
    node.wait_until("sent", |node| node.metric("messages_total", "direction=\"out\"") == 1);
    node.wait_until("told", |node| node.metric("dropped_total", "reason=\"refused\"") == 1);
    assert_eq!(node.metric("sessions_total", ""), 1);
    let refused = bridge(server.port, &rest.replace("both:a", "other"));
    let node = Node::start(&refused);
    node.wait_until("told", |node| node.metric("errors_total", "reason=\"credentials\"") > 0);
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
    let (count, delivered) = load.end();
    let state = || format!("{:?} of {}", inside.counts(), delivered.len());
    let came = || inside.seen();
    // The last answer before a kill may be out while what it is about is not.
    let kills = 3;
    wait_until("all in", state, || {
        let came = came();
        let is_missing = |n: &&u32| !came.contains_key(&n.to_string());
        delivered.iter().filter(is_missing).count() <= kills
    });
    node.wait_until("sent", |node| node.metric("messages_total", "\"out\"") == u64::from(sent));
    assert_eq!(node.metric("errors_total", "reason=\"gap\""), 3);
    assert_eq!(inside.counts().1, 0, "Redis does not repeat");
    let again: u32 = outside.seen().values().map(|times| times - 1).sum();
    eprintln!(
        "killed 3 times, Redis: in {} of {count}, of which it said to have delivered {}, 3 gaps \
         told; out {sent} answered, {} seen by a subscriber that was away as well, {again} twice",
        inside.counts().0,
        delivered.len(),
        outside.seen().len()
    );
}

#[test]
fn wrong_settings_name_their_key() {
    for (rest, part) in [
        ("in = [\"\"]", "in: "),
        ("separator = \".\"", "separator"),
        ("user = \"me\"", "user"),
        ("token_file = \"/x\"", "token_file"),
        ("colour = \"red\"", "colour"),
    ] {
        let error = check(&bridge(1, rest)).unwrap_err();
        assert!(error.contains("bridge \"cache\"") && error.contains(part), "{rest}: {error}");
    }
}

#[test]
fn the_configurations_of_the_manual_work() {
    let configurations = manual::configurations("redis.md");
    for configuration in &configurations {
        check(configuration).unwrap();
    }
    let Some(server) = open_server() else { return };
    let local =
        configurations[0].replace("redis.example:6379", &format!("127.0.0.1:{}", server.port));
    assert_ne!(local, configurations[0], "the first names redis://redis.example:6379");
    let node = Node::start(&local);
    node.wait_until_up(1);
    let listener = node.listen("meters/#");
    let mut client = Client::connect(server.port).unwrap();
    let mut subscriber = Client::connect(server.port).unwrap();
    subscriber.subscribe("commands:*").unwrap();
    client.publish("site:7:meter:3", b"{\"kw\":1.5}").unwrap();
    listener.wait_for("{\"kw\":1.5}");
    assert_eq!(node.last("meters/7/3"), "{\"kw\":1.5}");
    node.publish("commands/7", "open");
    assert_eq!(subscriber.message().unwrap(), ("commands:7".into(), "open".into()));
}
