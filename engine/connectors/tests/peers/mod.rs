//! What the tests of bridges share: an engine with bridges in this process, and the real servers on
//! the other side, each a child of the test. Owns how one waits. Must not know what a test expects.

// Each test binary uses its own part of this; a failed step of a test should end it where it is.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../harness/mod.rs"]
pub mod harness;

pub mod influxdb;
pub mod kafka;
pub mod postgres;
pub mod process;
pub mod rabbitmq;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use gridcast::engine::Engine;
use gridcast::engine::publisher::Publisher;
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridcast_connectors::started::Started;
use tempfile::TempDir;

use harness::following::Following;
use process::wait_for;

/// How long anything may take before a test gives up: far more than it ever should.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// An engine with bridges.
pub struct Rig {
    // Bridges end before their engine.
    bridges: Option<Started>,
    /// The engine.
    pub engine: Engine,
    publisher: Publisher,
}

impl Rig {
    /// Starts an engine with the bridges that `text` names, as a file of settings does.
    pub fn start(text: &str) -> Self {
        let mut settings = Settings::default();
        let retention = "64000000";
        for (name, value) in [
            ("server.listen", "127.0.0.1:0"),
            ("server.cores", "1"),
            ("retention.bytes_max", retention),
        ] {
            settings.add_flag("--set", name, value);
        }
        settings.add_file("test.toml", text);
        let config = Config::new(&settings).unwrap();
        let attached = config.attached.clone();
        gridcast_connectors::check(&attached).unwrap();
        let engine = Engine::start(config).unwrap();
        let bridges = Some(gridcast_connectors::start(&attached, engine.handle()).unwrap());
        let publisher = engine.handle().publisher(Source::CLIENTS);
        Self { bridges, engine, publisher }
    }

    /// Ends the bridges as a drain does; the engine goes on.
    pub fn end_bridges(&mut self) {
        self.bridges = None;
    }

    /// Publishes a message as a client does.
    pub fn publish(&mut self, topic: &str, text: &str) {
        let topic = Topic::new(topic).unwrap();
        self.publisher.publish(&topic, Kind::Text, text.as_bytes()).unwrap();
    }

    /// Publishes bytes.
    pub fn publish_bytes(&mut self, topic: &str, bytes: &[u8]) {
        let topic = Topic::new(topic).unwrap();
        self.publisher.publish(&topic, Kind::Binary, bytes).unwrap();
    }

    /// The value of a metric of the only bridge; zero where it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.engine.metrics();
        let (family, labels) = name.split_once('{').unwrap_or((name, ""));
        let of_family = text.lines().filter(|line| line.starts_with("gridcast_bridge_"));
        let found = of_family.filter(|line| {
            let family = format!("gridcast_bridge_{family}{{");
            line.starts_with(&family) && line.contains(labels.trim_end_matches('}'))
        });
        found.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Waits until a metric of the only bridge has at least this value.
    pub fn wait_for_metric(&self, name: &str, value: u64) {
        wait_for(&format!("{name} {value}"), DEADLINE, || self.metric(name) >= value);
    }

    /// Waits until the bridge is connected.
    pub fn wait_until_up(&self) {
        self.wait_for_metric("up", 1);
    }

    /// Waits until the bridge is not connected.
    pub fn wait_until_down(&self) {
        wait_for("the bridge to be down", DEADLINE, || self.metric("up") == 0);
    }

    /// The answer to a request of a client, with its head.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.engine.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Sees everything that is published under a pattern from now on.
    pub fn watch(&self, target: &str) -> Watch {
        Watch(Following::new(&self.engine.handle(), target))
    }
}

/// What an engine publishes.
pub struct Watch(Following);

impl Watch {
    /// The next message, as topic and text.
    pub fn next(&mut self) -> (String, String) {
        let came = self.0.next();
        (came.topic.clone(), came.text().to_owned())
    }

    /// Reads on until each of these texts has come; answers how often each text came.
    pub fn all(&mut self, expected: &[String]) -> HashMap<String, usize> {
        let mut missing: HashSet<&String> = expected.iter().collect();
        let mut seen: HashMap<String, usize> = HashMap::new();
        while !missing.is_empty() {
            let Some(came) = self.0.next_within(DEADLINE) else {
                panic!("of {} texts {} never came: {missing:?}", expected.len(), missing.len());
            };
            let text = came.text().to_owned();
            missing.remove(&text);
            *seen.entry(text).or_default() += 1;
        }
        assert_eq!(self.0.take_missed(), 0, "the test itself read too slowly");
        seen
    }
}

/// A directory with a file of a password.
pub fn password_file(password: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    fs::write(&path, format!("{password}\n")).unwrap();
    let text = path.to_str().unwrap().to_owned();
    (directory, text)
}

/// The configuration that a page of the documents shows, with other values in some places.
pub fn of_page(kind: &str, replacements: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join(format!("docs/bridges/{kind}.md"));
    let page = fs::read_to_string(&path).unwrap();
    let block = page.split("```toml run\n").nth(1).expect("a block marked `toml run`");
    let mut text = block.split("```").next().unwrap().to_owned();
    for (shown, used) in replacements {
        assert!(text.contains(shown), "docs/bridges/{kind}.md has no `{shown}`");
        text = text.replace(shown, used);
    }
    text
}
