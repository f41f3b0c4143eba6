//! A gridcast with what is attached to it, in this process. Owns how one waits for it. Must not
//! know what a test expects.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gridcast::engine::Engine;
use gridcast::engine::publisher::Publisher;
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridcast_connectors::started::Started;

use crate::harness::DEADLINE;
use crate::harness::following::Following;

/// See the file header.
pub struct Site {
    /// The engine.
    pub engine: Engine,
    publisher: Publisher,
    // Behind the engine's handles, before the engine is gone.
    _started: Started,
}

impl Site {
    /// A site with the settings of a file; it listens on a free port.
    pub fn start(file: &str) -> Self {
        let mut settings = Settings::default();
        settings.add_file("site.toml", file);
        settings.add_flag("--set", "server.listen", "127.0.0.1:0");
        settings.add_flag("--set", "server.cores", "1");
        let config = Config::new(&settings).unwrap();
        let attached = config.attached.clone();
        gridcast_connectors::check(&attached).unwrap();
        let engine = Engine::start(config).unwrap();
        let started = gridcast_connectors::start(&attached, engine.handle()).unwrap();
        let publisher = engine.handle().publisher(Source::CLIENTS);
        Self { engine, publisher, _started: started }
    }

    pub fn address(&self) -> SocketAddr {
        self.engine.address()
    }

    /// Follows a pattern from now on.
    pub fn follow(&self, target: &str) -> Following {
        Following::new(&self.engine.handle(), target)
    }

    pub fn publish(&mut self, topic: &str, kind: Kind, payload: &[u8]) {
        self.publisher.publish(&Topic::new(topic).unwrap(), kind, payload).unwrap();
    }

    /// Publishes the numbers `from..=to` as text.
    pub fn count(&mut self, topic: &str, from: u64, to: u64) {
        for n in from..=to {
            self.publish(topic, Kind::Text, n.to_string().as_bytes());
        }
    }

    /// The value of a metric; 0 where it is not there yet.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.engine.metrics();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric is at least `value`.
    pub fn wait_for(&self, name: &str, value: u64) {
        let began = Instant::now();
        while self.metric(name) < value {
            assert!(began.elapsed() < DEADLINE, "never {name} {value}:\n{}", self.engine.metrics());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a bridge was connected so many times, and is.
    pub fn wait_connected(&self, bridge: &str, times: u64) {
        let labels = format!("bridge=\"{bridge}\",kind=\"gridcast\"");
        self.wait_for(&format!("gridcast_bridge_sessions_total{{{labels}}}"), times);
        self.wait_for(&format!("gridcast_bridge_up{{{labels}}}"), 1);
    }

    /// Waits until a bridge is not connected.
    pub fn wait_disconnected(&self, bridge: &str) {
        let name = format!("gridcast_bridge_up{{bridge=\"{bridge}\",kind=\"gridcast\"}}");
        let began = Instant::now();
        while self.metric(&name) != 0 {
            assert!(began.elapsed() < DEADLINE, "never down:\n{}", self.engine.metrics());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn dropped(&self, bridge: &str, reason: &str) -> u64 {
        let labels = format!("bridge=\"{bridge}\",kind=\"gridcast\",reason=\"{reason}\"");
        self.metric(&format!("gridcast_bridge_dropped_total{{{labels}}}"))
    }
}
