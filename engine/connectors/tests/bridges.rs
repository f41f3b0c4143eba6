//! What all bridges have in common, with a kind that is made up. Must not know real ones.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use gridcast::engine::Engine;
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridcast_connectors::bridge::context::{Context, Out};
use gridcast_connectors::bridge::metrics::Metrics;
use gridcast_connectors::bridge::settings::Common;
use gridcast_connectors::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use gridcast_connectors::table::Reader;
use harness::following::Following;
use tokio::sync::{mpsc as queue, watch};

const DEADLINE: Duration = Duration::from_secs(20);

fn engine() -> Engine {
    let mut settings = Settings::default();
    settings.add_flag("--set", "server.listen", "127.0.0.1:0");
    settings.add_flag("--set", "server.cores", "1");
    Engine::start(Config::new(&settings).unwrap()).unwrap()
}

/// The common settings of a `[[bridge]]`.
fn common(text: &str) -> Result<Common, String> {
    let table = text.parse().unwrap();
    Common::take(&mut Reader::new("bridge", 0, &table))
}

const PLANT: &str = r##"
name = "plant"
kind = "made-up"
url = "nowhere"
out = ["#"]
map_in = [{ from = "sites/+/#", to = "plant/{1}/{2}" }]
"##;

/// What the other side of the made-up kind sends, and what it gets.
struct MadeUp {
    /// Names and texts; an empty name ends the session.
    incoming: queue::UnboundedReceiver<(&'static str, &'static str)>,
    outgoing: Sender<String>,
}

impl Connector for MadeUp {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        context.is_up();
        loop {
            tokio::select! {
                Some((name, text)) = self.incoming.recv() => match name {
                    "" => return Err(SessionError::new("closed", text)),
                    name => {
                        let topic = context.map_in(name).unwrap();
                        context.publish(&topic, Kind::Text, text.as_bytes()).await.unwrap();
                    }
                },
                out = context.next_out() => match out {
                    Out::Message { topic, payload, .. } => {
                        let text = String::from_utf8(payload.to_vec()).unwrap();
                        self.outgoing.send(format!("{topic} {text}")).unwrap();
                    }
                    Out::Missed(_) => {}
                },
            }
        }
    }
}

/// A bridge of that kind that runs, and its other side.
struct Running {
    engine: Engine,
    send: queue::UnboundedSender<(&'static str, &'static str)>,
    got: Receiver<String>,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

fn start() -> Running {
    let engine = engine();
    let (send, incoming) = queue::unbounded_channel();
    let (outgoing, got) = mpsc::channel();
    let (stop, stopping) = watch::channel(false);
    let connector = MadeUp { incoming, outgoing };
    let bridge = Box::new(Supervised { common: common(PLANT).unwrap(), connector });
    let metrics = Metrics::default();
    let (handle, shown) = (engine.handle(), metrics.clone());
    handle.add_metrics(move |registry| shown.register(registry));
    let thread = bridge.start(&handle, &metrics, stopping).unwrap();
    Running { engine, send, got, stop, thread }
}

impl Running {
    /// Waits until the metrics have this line.
    fn wait_for(&self, line: &str) {
        let began = std::time::Instant::now();
        while !self.engine.metrics().lines().any(|other| other == line) {
            assert!(began.elapsed() < DEADLINE, "no {line} in\n{}", self.engine.metrics());
            std::thread::yield_now();
        }
    }
}

fn publish(engine: &Engine, topic: &str, text: &str) {
    let mut publisher = engine.handle().publisher(Source::CLIENTS);
    publisher.publish(&Topic::new(topic).unwrap(), Kind::Text, text.as_bytes()).unwrap();
}

#[test]
fn what_comes_in_is_mapped_published_and_not_sent_back() {
    let bridge = start();
    let mut following = Following::new(&bridge.engine.handle(), "plant/#");
    bridge.send.send(("sites/7/pump/3", "on")).unwrap();
    let came = following.next();
    assert_eq!((came.topic.as_str(), came.text()), ("plant/7/pump/3", "on"));
    publish(&bridge.engine, "other", "x");
    // The first that goes out is that of somebody else: what came in did not.
    assert_eq!(bridge.got.recv_timeout(DEADLINE).unwrap(), "other x");
    let labels = r#"bridge="plant",kind="made-up""#;
    for (direction, count) in [("in", 1), ("out", 0)] {
        bridge.wait_for(&format!(
            r#"gridcast_bridge_messages_total{{{labels},direction="{direction}"}} {count}"#
        ));
    }
}

#[test]
fn what_a_client_publishes_wakes_a_bridge() {
    let bridge = start();
    let mut stream = TcpStream::connect(bridge.engine.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // A core publishes it, which has a descriptor table of its own.
    for n in 0..20 {
        write!(
            stream,
            "POST /v1/publish/other HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{n:02}"
        )
        .unwrap();
        assert_eq!(bridge.got.recv_timeout(DEADLINE).unwrap(), format!("other {n:02}"));
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        read_past(&mut stream, b"}");
        read_past(&mut stream, b"\n");
    }
}

/// Reads on until these bytes.
fn read_past(stream: &mut TcpStream, end: &[u8; 1]) {
    let mut byte = [0];
    while &byte != end {
        stream.read_exact(&mut byte).unwrap();
    }
}

#[test]
fn a_session_that_ends_is_counted_and_followed_by_another() {
    let bridge = start();
    let labels = r#"bridge="plant",kind="made-up""#;
    bridge.wait_for(&format!("gridcast_bridge_up{{{labels}}} 1"));
    bridge.send.send(("", "gone")).unwrap();
    bridge.wait_for(&format!(r#"gridcast_bridge_errors_total{{{labels},reason="closed"}} 1"#));
    // What is published between two sessions goes out in the next.
    publish(&bridge.engine, "other", "meanwhile");
    assert_eq!(bridge.got.recv_timeout(DEADLINE).unwrap(), "other meanwhile");
    bridge.wait_for(&format!("gridcast_bridge_sessions_total{{{labels}}} 2"));
}

#[test]
fn a_bridge_ends_when_it_is_told() {
    let bridge = start();
    bridge.stop.send(true).unwrap();
    bridge.thread.join().unwrap();
    assert!(bridge.got.recv_timeout(DEADLINE).is_err(), "its other side is gone");
}

#[test]
fn settings_that_are_wrong_are_named() {
    for (text, part) in [
        ("kind = \"mqtt\"\nurl = \"x\"", "bridge 1: `name` is missing"),
        ("name = \"a\"\nurl = \"x\"", "bridge \"a\": `kind` is missing"),
        ("name = \"a\"\nkind = \"mqtt\"\nurl = 1", "bridge \"a\": url: "),
        (
            "name = \"a\"\nkind = \"k\"\nurl = \"x\"\nout = [\"a//b\"]",
            "out: `a//b`: segment 2 is empty",
        ),
        (
            "name = \"a\"\nkind = \"k\"\nurl = \"x\"\nmap_in = [{ from = \"+\", to = \"{2}\" }]",
            "bridge \"a\": map_in: ",
        ),
    ] {
        let error = common(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_kind_that_does_not_exist_is_refused() {
    let mut settings = Settings::default();
    settings.add_file("g.toml", "[[bridge]]\nname = \"a\"\nkind = \"fax\"\nurl = \"x\"\n");
    let config = Config::new(&settings).unwrap();
    let error = gridcast_connectors::check(&config.attached).unwrap_err().to_string();
    assert!(error.contains("bridge \"a\": kind: `fax` is none"), "{error}");
}
