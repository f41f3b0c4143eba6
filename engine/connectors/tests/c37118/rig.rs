//! An engine with what a file of settings attaches to it, and followers. Must not know C37.118.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use gridcast::delivery::doorbell::Wake;
use gridcast::engine::Engine;
use gridcast::engine::follower::Follower;
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridcast_connectors::started::Started;
use serde_json::Value;

pub const DEADLINE: Duration = Duration::from_secs(30);

/// What is attached ends before the engine does.
pub struct Rig {
    _attached: Option<Started>,
    pub engine: Engine,
}

impl Rig {
    /// An engine, to which nothing is attached yet.
    pub fn new(text: &str) -> Self {
        let mut settings = Settings::default();
        settings.add_flag("--set", "server.listen", "127.0.0.1:0");
        settings.add_flag("--set", "server.cores", "1");
        settings.add_file("gridcast.toml", text);
        let config = Config::new(&settings).unwrap_or_else(|error| panic!("{error}: {text}"));
        Self { engine: Engine::start(config).unwrap(), _attached: None }
    }

    /// An engine with everything attached. Followers get what comes from then on.
    pub fn start(text: &str, targets: &[&str]) -> (Self, Vec<Following>) {
        let mut rig = Self::new(text);
        let following = targets.iter().map(|target| rig.follow(target)).collect();
        rig.attach(text);
        (rig, following)
    }

    fn attach(&mut self, text: &str) {
        let mut settings = Settings::default();
        settings.add_file("gridcast.toml", text);
        let attached = Config::new(&settings).unwrap().attached;
        self._attached = Some(gridcast_connectors::start(&attached, self.engine.handle()).unwrap());
    }

    pub fn follow(&self, target: &str) -> Following {
        let (ring, rung) = mpsc::channel();
        let target = target.parse().unwrap();
        let follower = self.engine.handle().follow(&target, None, Box::new(Bell(ring))).unwrap();
        Following { follower, rung }
    }

    pub fn publish(&self, topic: &str, kind: Kind, payload: &[u8]) {
        let mut publisher = self.engine.handle().publisher(Source::CLIENTS);
        publisher.publish(&Topic::new(topic).unwrap(), kind, payload).unwrap();
    }

    /// The sum of the metrics of a family that have all these labels.
    pub fn count(&self, family: &str, labels: &[&str]) -> u64 {
        let metrics = self.engine.metrics();
        let lines = metrics.lines().filter(|line| {
            line.starts_with(family) && labels.iter().all(|label| line.contains(label))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }

    pub fn errors(&self, reason: &str) -> u64 {
        self.count("gridcast_bridge_errors_total", &[&format!("reason=\"{reason}\"")])
    }

    pub fn frames(&self, word: &str) -> u64 {
        self.count("gridcast_bridge_frames_total", &[&format!("type=\"{word}\"")])
    }

    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < DEADLINE, "never {what}:\n{}", self.engine.metrics());
            std::thread::yield_now();
        }
    }
}

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(&self) {
        // A test that has ended needs no bell.
        let _ = self.0.send(());
    }
}

pub struct Following {
    follower: Follower,
    rung: Receiver<()>,
}

/// A message that a follower got.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    pub topic: String,
    pub kind: Kind,
    pub payload: Vec<u8>,
}

impl Got {
    pub fn json(&self) -> Value {
        assert_eq!(self.kind, Kind::Text, "{}", self.topic);
        serde_json::from_slice(&self.payload).unwrap()
    }
}

impl Following {
    pub fn next(&mut self) -> Got {
        loop {
            if let Some(message) = self.follower.next() {
                let (topic, kind) = (message.topic.to_owned(), message.kind);
                return Got { topic, kind, payload: message.payload.to_vec() };
            }
            self.rung.recv_timeout(DEADLINE).expect("woken when there is more");
        }
    }
}
