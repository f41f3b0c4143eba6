//! `[[aggregate]]` in a running engine: what is published comes out as figures of its windows.
//! Owns what only an engine shows; the figures are tested with the machine.

#![cfg(feature = "aggregate")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::time::{Duration, Instant};

use gridcast::engine::Engine;
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridcast_connectors::started::Started;
use harness::following::Following;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(20);

/// An engine with aggregates, and what is published to a pattern.
struct Running {
    engine: Engine,
    _started: Started,
    results: Following,
}

fn config(file: &str) -> Config {
    let mut settings = Settings::default();
    settings.add_file("edge.toml", file);
    settings.add_flag("--set", "server.listen", "127.0.0.1:0");
    settings.add_flag("--set", "server.cores", "1");
    Config::new(&settings).unwrap()
}

fn start(file: &str, follow: &str) -> Running {
    let config = config(file);
    let attached = config.attached.clone();
    let engine = Engine::start(config).unwrap();
    let results = Following::new(&engine.handle(), follow);
    let started = gridcast_connectors::start(&attached, engine.handle()).unwrap();
    Running { engine, _started: started, results }
}

impl Running {
    /// The next result: its topic and what it says.
    fn next(&mut self) -> (String, Value) {
        let result = self.results.next();
        let json = serde_json::from_slice(&result.payload).unwrap();
        (result.topic, json)
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.engine.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    fn wait_for(&self, name: &str, value: u64) {
        let began = Instant::now();
        while self.metric(name) != value {
            assert!(began.elapsed() < DEADLINE, "never {name} {value}:\n{}", self.engine.metrics());
            std::thread::yield_now();
        }
    }
}

#[test]
fn every_message_is_in_one_result_of_its_topic() {
    let file = "[[aggregate]]\nname = \"tenths\"\ntopics = \"pmu/+\"\nwindow_ms = 100\n\
                fields = [\"f\"]\n";
    let mut running = start(file, "aggregate/#");
    let mut publisher = running.engine.handle().publisher(Source::CLIENTS);
    let topics = ["pmu/1", "pmu/2"].map(|topic| Topic::new(topic).unwrap());
    for n in 0..1_000 {
        let payload = format!("{{\"f\":{n},\"other\":1}}");
        publisher.publish(&topics[n % 2], Kind::Text, payload.as_bytes()).unwrap();
    }
    publisher.publish(&topics[0], Kind::Binary, b"\xff\x00").unwrap();
    let (mut messages, mut sums) = ([0, 0], [0.0, 0.0]);
    while messages != [500, 500] {
        let (topic, result) = running.next();
        let at = ["aggregate/pmu/1", "aggregate/pmu/2"].iter().position(|own| *own == topic);
        let figures = &result["fields"]["f"];
        assert_eq!(result["from_ms"].as_u64().unwrap() % 100, 0, "{result}");
        assert_eq!(
            (&result["messages"], &result["fields"]["other"]),
            (&figures["count"], &Value::Null)
        );
        let count = figures["count"].as_u64().unwrap();
        messages[at.unwrap()] += count;
        sums[at.unwrap()] += figures["mean"].as_f64().unwrap() * count as f64;
        assert!(figures["min"].as_f64() <= figures["mean"].as_f64());
        assert!(figures["last"].as_f64() == figures["max"].as_f64(), "they grow: {result}");
    }
    assert!((sums[0] - 249_500.0).abs() < 1e-6 && (sums[1] - 250_000.0).abs() < 1e-6, "{sums:?}");
    running.wait_for("gridcast_aggregate_messages_total{aggregate=\"tenths\"}", 1_000);
    let dropped = "gridcast_aggregate_dropped_total{aggregate=\"tenths\",reason=\"unparsable\"}";
    running.wait_for(dropped, 1);
    running.wait_for("gridcast_aggregate_open{aggregate=\"tenths\"}", 0);
}

/// What it publishes matches what it follows: it must not go on for ever.
#[test]
fn an_aggregate_does_not_aggregate_its_own_results() {
    let file = "[[aggregate]]\nname = \"all\"\ntopics = \"#\"\nwindow_ms = 50\n\
                functions = [\"count\"]\n";
    let mut running = start(file, "aggregate/#");
    let mut publisher = running.engine.handle().publisher(Source::CLIENTS);
    let topic = Topic::new("a").unwrap();
    for round in 1..4 {
        publisher.publish(&topic, Kind::Text, b"[1]").unwrap();
        let (topic, result) = running.next();
        assert_eq!((topic.as_str(), &result["fields"]["0"]["count"]), ("aggregate/a", &1.into()));
        running.wait_for("gridcast_aggregate_results_total{aggregate=\"all\"}", round);
    }
    assert_eq!(running.metric("gridcast_aggregate_messages_total{aggregate=\"all\"}"), 3);
}

#[test]
fn what_is_wrong_in_a_table_is_told_with_its_name() {
    let wrong = "[[aggregate]]\nname = \"a\"\ntopics = \"a//b\"\nwindow_ms = 1\n\
                 [[aggregate]]\nname = \"a\"\ntopics = \"a\"\nwindow_ms = 1000\n\
                 [[aggregate]]\nname = \"c\"\ntopic = \"a\"\n";
    let error = gridcast_connectors::check(&config(wrong).attached).unwrap_err().to_string();
    for part in [
        "aggregate \"a\": topics",
        "aggregate \"a\": window_ms = 1",
        "another has that name",
        "aggregate \"c\": unknown field `topic`",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
