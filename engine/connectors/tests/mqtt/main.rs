//! The MQTT bridge against Mosquitto. Owns what a person may rely on: messages both ways in both
//! versions, nothing lost at QoS 1 whatever happens between or to the broker, loops cut, trust, and
//! clear words where something is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../harness/mod.rs"]
mod harness;

mod client;

use std::path::Path;

use client::{Client, Load, subscriber};
use harness::node::{Node, check};
use harness::process::{self, Server, file};
use harness::relay::Relay;
use harness::{certificates, manual, wait_until};

/// A broker with `lines` of settings; it has everything in memory unless these say more.
fn broker(lines: impl Fn(&Path) -> String) -> Option<Server> {
    let program = process::find("mosquitto", "apt-get install mosquitto")?;
    Some(Server::start(program, |port, directory| {
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\nmax_inflight_messages 0\n\
             max_queued_messages 0\nlog_type error\n{}\n",
            lines(directory)
        );
        vec!["-c".to_owned(), file(directory, "mosquitto.conf", &text)]
    }))
}

fn open_broker() -> Option<Server> {
    broker(|_| "allow_anonymous true".to_owned())
}

/// A broker that keeps sessions through a crash, as `docs/bridges/mqtt.md` has it.
fn lasting_broker() -> Option<Server> {
    broker(|directory| {
        format!(
            "allow_anonymous true\npersistence true\npersistence_location {}/\n\
             autosave_on_changes true\nautosave_interval 1",
            directory.display()
        )
    })
}

fn bridge(port: u16, rest: &str) -> String {
    format!(
        "[[bridge]]\nname = \"plant\"\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n{rest}"
    )
}

const VERSIONS: [&str; 2] = ["5", "3.1.1"];

#[test]
fn messages_come_in_as_they_are() {
    let Some(server) = open_broker() else { return };
    let mut client = Client::connect(server.port, "test", true).unwrap();
    client.publish("plant/retained", b"kept", Some(1), true).unwrap();
    for version in VERSIONS {
        let rest =
            format!("version = \"{version}\"\nclient_id = \"in-{version}\"\nin = [\"plant/#\"]");
        let node = Node::start(&bridge(server.port, &rest));
        node.wait_until_up(1);
        assert_eq!(node.last("plant/retained"), "kept", "what is retained is the last value");
        let listener = node.listen("plant/#");
        client.publish("plant/a", b"qos 0", None, false).unwrap();
        client.publish("plant/b", "qos 1 ä".as_bytes(), Some(2), false).unwrap();
        client.publish("plant/c", &[0xaa, 0x01], Some(3), false).unwrap();
        client.publish("plant/d", b"", Some(4), false).unwrap();
        for expected in ["qos 0", "qos 1 ä", "[170, 1]", ""] {
            listener.wait_for(expected);
        }
        assert_eq!(node.metric("messages_total", "direction=\"in\""), 5);
    }
}

#[test]
fn names_that_are_no_topics_are_counted_and_passed_over() {
    let Some(server) = open_broker() else { return };
    let rest = "in = [\"#\", \"$SYS/broker/version\"]\n\
                map_in = [{ from = \"old/+/#\", to = \"new/{2}/{1}\" }]";
    let node = Node::start(&bridge(server.port, rest));
    node.wait_until_up(1);
    let listener = node.listen("#");
    let mut client = Client::connect(server.port, "test", true).unwrap();
    let long = "x".repeat(300);
    for topic in ["a//b", "/a", "a/", &long, "$mine/a"] {
        client.publish(topic, b"no", Some(1), false).unwrap();
    }
    client.publish("old/1/x/y", b"mapped", Some(2), false).unwrap();
    listener.wait_for("mapped");
    assert_eq!(node.last("new/x/y/1"), "mapped");
    // A broker sends its own topics to nobody who asks for `#`, but retains this one.
    node.wait_until("five dropped", |node| node.metric("dropped_total", "reason=\"topic\"") == 5);
    assert_eq!(listener.counts().0, 1);
}

#[test]
fn messages_go_out_and_are_retained_where_asked() {
    let Some(server) = open_broker() else { return };
    for version in VERSIONS {
        let rest = format!(
            "version = \"{version}\"\nout = [\"out/#\"]\nretain = [\"out/+/status\"]\n\
             map_out = [{{ from = \"out/#\", to = \"v{version}/{{1}}\" }}]"
        );
        let node = Node::start(&bridge(server.port, &rest));
        node.wait_until_up(1);
        let mut client = Client::connect(server.port, "test", true).unwrap();
        client.subscribe(&format!("v{version}/#")).unwrap();
        node.publish("out/1/value", "one");
        node.publish("out/1/status", "on");
        node.publish("elsewhere", "not this");
        let mut come = [client.message().unwrap(), client.message().unwrap()];
        come.sort();
        let name = |rest: &str| format!("v{version}/1/{rest}");
        let expected = [(name("status"), b"on".to_vec()), (name("value"), b"one".to_vec())];
        assert_eq!(come.map(|(topic, payload, _)| (topic, payload)), expected);
        node.wait_until("acknowledged", |node| node.metric("messages_total", "\"out\"") == 2);
        let mut late = Client::connect(server.port, "late", true).unwrap();
        late.subscribe(&format!("v{version}/#")).unwrap();
        assert_eq!(late.message().unwrap(), (name("status"), b"on".to_vec(), true));
    }
}

#[test]
fn what_goes_both_ways_does_not_go_round() {
    let Some(server) = open_broker() else { return };
    let rest = "in = [\"both/#\"]\nout = [\"both/#\"]";
    let node = Node::start(&bridge(server.port, rest));
    node.wait_until_up(1);
    let listener = node.listen("both/#");
    let mut client = Client::connect(server.port, "test", true).unwrap();
    client.subscribe("both/#").unwrap();
    client.publish("both/a", b"from the broker", Some(1), false).unwrap();
    listener.wait_for("from the broker");
    node.publish("both/a", "from the engine");
    assert_eq!(client.message().unwrap().1, b"from the broker", "its own, from the broker");
    assert_eq!(client.message().unwrap().1, b"from the engine");
    // What would have gone round had time to: a later message has made the way both times.
    client.publish("both/b", b"last", Some(2), false).unwrap();
    listener.wait_for("last");
    node.publish("both/b", "very last");
    assert_eq!(client.message().unwrap().1, b"last");
    assert_eq!(client.message().unwrap().1, b"very last");
    assert_eq!(listener.seen().into_values().max(), Some(1));
    assert_eq!(node.metric("messages_total", "direction=\"in\""), 2);
}

#[test]
fn a_loop_that_the_broker_does_not_cut_is_refused() {
    let rest = "version = \"3.1.1\"\nin = [\"a/#\"]\nout = [\"a/b\"]";
    let error = check(&bridge(1, rest)).unwrap_err();
    assert!(error.contains("would come back by `a/#`") && error.contains("version"), "{error}");
    let rest = "in = [\"$share/g/a/#\"]\nout = [\"a/b\"]";
    assert!(check(&bridge(1, rest)).is_err());
    let Some(server) = open_broker() else { return };
    // What rules make of a name is known only when it is sent.
    let rest = "version = \"3.1.1\"\nin = [\"a/#\"]\nout = [\"b/+\"]\n\
                map_out = [{ from = \"b/1\", to = \"a/1\" }]";
    let node = Node::start(&bridge(server.port, rest));
    node.wait_until_up(1);
    node.publish("b/1", "round");
    node.publish("b/2", "out");
    node.wait_until("sent", |node| node.metric("messages_total", "direction=\"out\"") == 1);
    assert_eq!(node.metric("dropped_total", "reason=\"loop\""), 1);
    assert_eq!(node.metric("messages_total", "direction=\"in\""), 0);
}

#[test]
fn a_broker_is_trusted_by_its_authority_only() {
    let Some(server) = broker(|directory| {
        let made = certificates::make(directory);
        format!("allow_anonymous true\ncertfile {}\nkeyfile {}", made.certificate, made.key)
    }) else {
        return;
    };
    let url = format!("url = \"mqtts://localhost:{}\"", server.port);
    let authority = server.directory.path().join("authority.pem");
    let secure = |rest: &str| {
        let text = bridge(server.port, rest);
        let plain = format!("url = \"mqtt://127.0.0.1:{}\"", server.port);
        text.replace(&plain, &url)
    };
    let rest = format!("in = [\"a\"]\nout = [\"a\"]\nca_file = \"{}\"", authority.display());
    let node = Node::start(&secure(&rest));
    node.wait_until_up(1);
    node.publish("a", "secret");
    node.wait_until("sent", |node| node.metric("messages_total", "direction=\"out\"") == 1);
    let stranger = certificates::make(tempfile::TempDir::new().unwrap().keep().as_path());
    let node = Node::start(&secure(&format!("in = [\"a\"]\nca_file = \"{}\"", stranger.authority)));
    node.wait_until("refused", |node| node.metric("errors_total", "reason=\"tls\"") > 0);
    assert_eq!(node.metric("up", ""), 0);
}

#[test]
fn wrong_credentials_are_said_and_do_not_make_it_spin() {
    let Some(server) = broker(|directory| {
        let passwords = file(directory, "passwords", "me:secret\n");
        let tool = process::find("mosquitto_passwd", "apt-get install mosquitto").unwrap();
        let status = std::process::Command::new(tool).args(["-U", &passwords]).status();
        assert!(status.unwrap().success());
        format!("allow_anonymous false\npassword_file {passwords}")
    }) else {
        return;
    };
    let directory = server.directory.path();
    let good = file(directory, "good", "secret\n");
    let bad = file(directory, "bad", "guess\n");
    for version in VERSIONS {
        let with = |password: &str| {
            let rest = format!(
                "version = \"{version}\"\nuser = \"me\"\npassword_file = \"{password}\"\n\
                 in = [\"a\"]"
            );
            Node::start(&bridge(server.port, &rest))
        };
        with(&good).wait_until_up(1);
        let node = with(&bad);
        let refusals = |node: &Node| node.metric("errors_total", "reason=\"credentials\"");
        node.wait_until("refused", |node| refusals(node) > 1);
        // Pauses grow from half a second on.
        assert!(refusals(&node) < 5, "{}", node.metrics());
    }
}

#[test]
fn nothing_is_lost_while_the_link_is_down() {
    let Some(server) = open_broker() else { return };
    for version in VERSIONS {
        let relay = Relay::start(server.port);
        let rest = format!(
            "version = \"{version}\"\nclient_id = \"link-{version}\"\nin = [\"load\"]\n\
             out = [\"out\"]"
        );
        let node = Node::start(&bridge(relay.port, &rest));
        node.wait_until_up(1);
        let (inside, outside) = (node.listen("load"), subscriber(server.port, "out"));
        let load = Load::start(server.port, "load");
        let mut publisher = node.publisher("out");
        let mut say = |from: u32, to: u32| (from..to).for_each(|n| publisher.say(&n.to_string()));
        say(0, 1000);
        inside.wait_for_count(1000);
        say(1000, 1500);
        relay.cut();
        node.wait_until_down();
        say(1500, 2500);
        // The broker takes 2,000 messages more for a bridge that is away.
        let before = load.acknowledged();
        let state = || load.acknowledged().to_string();
        wait_until("2,000 more", state, || load.acknowledged() >= before + 2000);
        relay.mend();
        say(2500, 3000);
        node.wait_until_up(1);
        let count = load.end() as usize;
        inside.wait_for_count(count);
        let state = || format!("{} of 3000 out\n{}", outside.seen().len(), node.metrics());
        wait_until("all out", state, || outside.seen().len() == 3000);
        assert_eq!(inside.counts().0, count, "nothing but what was sent");
        tell("link cut", version, &inside.counts(), outside.seen().values().map(|n| n - 1).sum());
    }
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed_under_load() {
    let Some(mut server) = lasting_broker() else { return };
    let rest = "client_id = \"kill\"\nin = [\"load\"]\nout = [\"out\"]";
    let node = Node::start(&bridge(server.port, rest));
    node.wait_until_up(1);
    let (inside, outside) = (node.listen("load"), subscriber(server.port, "out"));
    // The broker knows both sessions on disk; from now on it is killed at any moment.
    server.signal("USR1");
    let load = Load::start(server.port, "load");
    let mut publisher = node.publisher("out");
    let mut sent = 0;
    let mut say = |count: u32| {
        for number in sent..sent + count {
            publisher.say(&number.to_string());
        }
        sent += count;
    };
    for round in 1..=3 {
        say(500);
        inside.wait_for_count(400 * round);
        say(500);
        server.kill();
        node.wait_until_down();
        say(500);
        server.again();
        node.wait_until_up(1);
    }
    let before = inside.counts().0;
    inside.wait_for_count(before + 400);
    let count = load.end() as usize;
    inside.wait_for_count(count);
    let state = || format!("{} of {sent} out\n{}", outside.seen().len(), node.metrics());
    wait_until("all out", state, || outside.seen().len() == sent as usize);
    assert_eq!(inside.counts().0, count, "nothing but what was sent");
    tell("killed", "5", &inside.counts(), outside.seen().values().map(|n| n - 1).sum());
}

/// Figures, for whoever reads the output of a test.
fn tell(what: &str, version: &str, inside: &(usize, u32), again: u32) {
    let (count, twice) = inside;
    eprintln!(
        "{what}, MQTT {version}: in {count}, 0 lost, {twice} twice; out 0 lost, {again} twice"
    );
}

#[test]
fn wrong_settings_name_their_key() {
    for (rest, part) in [
        ("qos = 2", "qos: 2 is not from 0 to 1"),
        ("window = 0", "window: 0"),
        ("in = [\"a/#/b\"]", "in: `a/#/b`"),
        ("retain = [\"a//b\"]", "retain: `a//b`"),
        ("version = \"4\"", "version"),
        ("colour = \"red\"", "colour"),
        ("token_file = \"/x\"", "token_file"),
        ("password_file = \"/x\"", "password_file"),
    ] {
        let error = check(&bridge(1, rest)).unwrap_err();
        assert!(error.contains("bridge \"plant\"") && error.contains(part), "{rest}: {error}");
    }
}

#[test]
fn the_configurations_of_the_manual_work() {
    let configurations = manual::configurations("mqtt.md");
    for configuration in &configurations {
        check(configuration).unwrap();
    }
    let Some(server) = open_broker() else { return };
    let local =
        configurations[0].replace("broker.example:1883", &format!("127.0.0.1:{}", server.port));
    assert_ne!(local, configurations[0], "the first names mqtt://broker.example:1883");
    let node = Node::start(&local);
    node.wait_until_up(1);
    let listener = node.listen("meters/#");
    let mut client = Client::connect(server.port, "test", true).unwrap();
    client.subscribe("commands/#").unwrap();
    client.publish("site/7/meter/3", b"{\"kw\":1.5}", Some(1), false).unwrap();
    listener.wait_for("{\"kw\":1.5}");
    assert_eq!(node.last("meters/7/3"), "{\"kw\":1.5}");
    node.publish("commands/7", "open");
    assert_eq!(client.message().unwrap().1, b"open");
}
