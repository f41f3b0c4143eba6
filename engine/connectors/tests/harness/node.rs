//! An engine with bridges, and what a test asks of it through its own doors: subscribers and
//! publishers over WebSocket, metrics. Must not reach into a bridge.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gridcast::engine::Engine;
use gridcast::settings::attached::Attached;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridcast_connectors::started::Started;
use tungstenite::{Message, WebSocket};

use super::wait_until;

/// An engine and its bridges.
pub struct Node {
    // The bridges end before the engine does.
    started: Started,
    engine: Engine,
}

/// Checks tables as `gridcast config --check` does.
pub fn check(tables: &str) -> Result<(), String> {
    let attached: Attached = toml::from_str(tables).unwrap();
    gridcast_connectors::check(&attached).map_err(|error| error.to_string())
}

impl Node {
    /// Starts an engine on a free port, with the bridges of `tables`.
    pub fn start(tables: &str) -> Self {
        let mut settings = Settings::default();
        settings.add_flag("--set", "server.listen", "127.0.0.1:0");
        settings.add_flag("--set", "server.cores", "1");
        let engine = Engine::start(Config::new(&settings).unwrap()).unwrap();
        let attached: Attached = toml::from_str(tables).unwrap();
        let started = gridcast_connectors::start(&attached, engine.handle()).unwrap();
        Self { started, engine }
    }

    /// Everything that its metrics say of bridges.
    pub fn metrics(&self) -> String {
        let text = self.engine.metrics();
        text.lines().filter(|line| line.starts_with("gridcast_bridge_")).fold(
            String::new(),
            |mut all, line| {
                writeln!(all, "{line}").unwrap();
                all
            },
        )
    }

    /// A metric of the one bridge that there is: `up`, `errors_total` with `reason="gap"`; 0 where
    /// it was never counted.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let begin = format!("gridcast_bridge_{name}{{");
        let metrics = self.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with(&begin) && line.contains(label));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// Waits until `holds`.
    pub fn wait_until(&self, what: impl Display, holds: impl Fn(&Self) -> bool) {
        wait_until(what, || self.metrics(), || holds(self));
    }

    /// Waits until every bridge is connected.
    pub fn wait_until_up(&self, bridges: u64) {
        self.wait_until("connected", |node| node.metric("up", "") == bridges);
    }

    /// Waits until every bridge knows that it is not connected.
    pub fn wait_until_down(&self) {
        self.wait_until("not connected", |node| node.metric("up", "") == 0);
    }

    fn web_socket(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.engine.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        tungstenite::client(format!("ws://localhost{path}"), stream).unwrap().0
    }

    /// A subscriber of a topic or pattern.
    pub fn listen(&self, target: &str) -> Listener {
        let path = format!("/v1/feed/{}", target.replace('#', "%23").replace('+', "%2B"));
        Listener::new(self.web_socket(&path))
    }

    /// A publisher to a topic.
    pub fn publisher(&self, topic: &str) -> Publisher {
        Publisher(self.web_socket(&format!("/v1/publish/{topic}")))
    }

    /// Publishes one text.
    pub fn publish(&self, topic: &str, text: &str) {
        self.publisher(topic).say(text);
    }

    /// The last value of a topic, as a client that comes now gets it.
    pub fn last(&self, topic: &str) -> String {
        let mut socket = self.web_socket(&format!("/v1/feed/{topic}?from=last"));
        socket.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        loop {
            match socket.read().unwrap() {
                Message::Text(text) => return text.to_string(),
                Message::Binary(bytes) => return format!("{bytes:?}"),
                _ => {}
            }
        }
    }
}

/// A publisher over WebSocket.
pub struct Publisher(WebSocket<TcpStream>);

impl Publisher {
    /// Publishes one text; waits while the engine brakes.
    pub fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }
}

/// How often each message came; what is binary is shown as a list of numbers.
pub type Seen = BTreeMap<String, u32>;

/// A subscriber over WebSocket that counts every message.
pub struct Listener {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

impl Listener {
    fn new(mut socket: WebSocket<TcpStream>) -> Self {
        let stream = socket.get_ref().try_clone().unwrap();
        let seen = Arc::new(Mutex::new(Seen::new()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            while let Ok(message) = socket.read() {
                let text = match message {
                    Message::Text(text) => text.to_string(),
                    Message::Binary(bytes) => format!("{:?}", &bytes[..]),
                    _ => continue,
                };
                *shared.lock().unwrap().entry(text).or_default() += 1;
            }
        });
        Self { stream, seen }
    }

    /// What came so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Messages so far, and how many of them came more than once.
    pub fn counts(&self) -> (usize, u32) {
        let seen = self.seen.lock().unwrap();
        (seen.len(), seen.values().map(|times| times - 1).sum())
    }

    /// Waits until a message came.
    pub fn wait_for(&self, text: &str) {
        let state = || format!("{:?}", self.seen());
        wait_until(text, state, || self.seen.lock().unwrap().contains_key(text));
    }

    /// Waits until so many different messages came.
    pub fn wait_for_count(&self, count: usize) {
        let state = || format!("{:?} of {count}", self.counts());
        wait_until("all there", state, || self.seen.lock().unwrap().len() >= count);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Its thread ends with the connection; it may be gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
