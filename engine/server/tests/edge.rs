//! The edge of docs/edge.md: the program as a process of its own, with the configuration of the
//! page, which forwards over TLS to a centre while the line between them is cut. Owns what the page
//! promises: within what is kept nothing is lost, and beyond it is told.
//!
//! `EDGE_CUT_MS=30000` cuts the line for 30 s instead of two.

#![cfg(feature = "connectors")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

#[path = "../../connectors/tests/gridcast/cable.rs"]
#[allow(dead_code)] // this test does not need all of it
mod cable;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use gridcast::delivery::doorbell::Wake;
use gridcast::engine::Engine;
use gridcast::engine::follower::Follower;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use cable::Cable;

const DEADLINE: Duration = Duration::from_secs(60);
/// How long nothing may come: longer than a bridge waits before it connects again.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two messages.
const PACE: Duration = Duration::from_millis(5);

fn cut_ms() -> u64 {
    std::env::var("EDGE_CUT_MS").map_or(2_000, |text| text.parse().unwrap())
}

/// The centre: an engine with TLS and a token, and what it got.
struct Centre {
    engine: Engine,
    all: Follower,
    bell: Receiver<()>,
    directory: TempDir,
}

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(&self) {
        // A test that has ended needs no bell.
        let _ = self.0.send(());
    }
}

impl Centre {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap().pem();
        file("ca.pem", &authority.pem());
        file("token", "token-of-the-edge-7\n");
        let certificate = file("server.pem", &certificate);
        let key = file("key.pem", &key.serialize_pem());
        let mut settings = Settings::default();
        settings.add_file(
            "centre.toml",
            &format!(
                "[server]\nlisten = \"127.0.0.1:0\"\ncores = 1\n[retention]\n\
                 bytes_max = 67108864\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
                 [[auth.token]]\nname = \"edge-7\"\ntoken = \"token-of-the-edge-7\"\n\
                 publish = [\"edge/7/#\", \"gap/centre\"]\nsubscribe = [\"commands/#\"]\n"
            ),
        );
        let engine = Engine::start(Config::new(&settings).unwrap()).unwrap();
        let (ring, bell) = mpsc::channel();
        let all = "#".parse().unwrap();
        let all = engine.handle().follow(&all, None, Box::new(Bell(ring))).unwrap();
        Self { engine, all, bell, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits until the edge is connected.
    fn wait_connected(&self) {
        let began = Instant::now();
        let line = "gridcast_connections{role=\"multiplexed\"} 1";
        while !self.engine.metrics().lines().any(|other| other == line) {
            assert!(began.elapsed() < DEADLINE, "nobody connects");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next message: topic and JSON; none when nothing comes for long.
    fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(message) = self.all.next() {
                let json = serde_json::from_slice(message.payload).unwrap();
                return Some((message.topic.to_owned(), json));
            }
            assert_eq!(self.all.take_missed(), 0, "the test itself reads fast enough");
            self.bell.recv_timeout(PATIENCE).ok()?;
        }
    }
}

/// The configuration of the page, for `centre` over `cable`.
fn page(centre: &Centre, cable: &Cable) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/edge.md");
    let page = fs::read_to_string(page).unwrap();
    let block = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let shown = |name: &str| centre.path(name).display().to_string();
    let mut text = block.to_owned();
    for (there, here) in [
        ("centre.example:9443", cable.address.to_string()),
        ("/etc/gridcast/centre.token", shown("token")),
        ("/etc/gridcast/centre-ca.pem", shown("ca.pem")),
    ] {
        assert!(text.contains(there), "the page has {there}");
        text = text.replace(there, &here);
    }
    text
}

/// The program at the edge.
struct Edge {
    child: Child,
    address: SocketAddr,
}

impl Edge {
    fn start(file: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridcast"));
        command.args(["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        command.args(["--log", "json"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("a line that it listens").unwrap();
            let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if said["message"] == "listening" {
                break said["address"].as_str().unwrap().parse().unwrap();
            }
        };
        // What else it says must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where messages come into the edge.
enum Source {
    /// A broker, and a client of it that publishes what it is given line by line.
    Mqtt { broker: Child, clients: [Child; 2] },
    /// A connection that posts.
    Post(TcpStream),
}

impl Source {
    fn send(&mut self, unit: u64, text: &str) {
        match self {
            Self::Mqtt { clients, .. } => {
                let client = &mut clients[unit as usize - 1];
                writeln!(client.stdin.as_mut().unwrap(), "{text}").unwrap();
            }
            Self::Post(stream) => {
                let length = text.len();
                let head = format!(
                    "POST /v1/publish/pmu/{unit} HTTP/1.1\r\nHost: h\r\n\
                     Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
                );
                stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
                let mut answer = [0; 1_024];
                let count = stream.read(&mut answer).unwrap();
                let answer = String::from_utf8_lossy(&answer[..count]);
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Mqtt { broker, clients } = self {
            for child in clients.iter_mut().chain([broker]) {
                // It may be gone already.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Without a broker, or in a build without MQTT, messages are posted.
fn without_mqtt(text: &str) -> String {
    let tables = text.split("\n\n").filter(|table| !table.contains("kind = \"mqtt\""));
    tables.collect::<Vec<_>>().join("\n\n")
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn start_broker(centre: &Centre) -> Option<(Child, SocketAddr)> {
    if !is_there("mosquitto") || !is_there("mosquitto_pub") {
        eprintln!(
            "SKIPPED: MQTT at the edge needs mosquitto: apt-get install mosquitto \
                   mosquitto-clients"
        );
        return None;
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = centre.path("mosquitto.conf");
    let port = address.port();
    fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let broker = command.spawn().unwrap();
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < DEADLINE, "the broker does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    Some((broker, address))
}

fn client(broker: SocketAddr, unit: u64) -> Child {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-q", "1", "-l", "-t"]);
    command.arg(format!("pmu/{unit}")).stdin(Stdio::piped()).spawn().unwrap()
}

/// An edge that takes messages in from a broker, or where there is none by POST.
fn start(centre: &Centre, text: &str) -> (Edge, Source) {
    let file = centre.path("edge.toml");
    let plain = without_mqtt(text);
    fs::write(&file, text).unwrap();
    let check = ["config", "--check", file.to_str().unwrap()];
    let has_mqtt =
        Command::new(env!("CARGO_BIN_EXE_gridcast")).args(check).output().unwrap().status.success();
    let broker = if has_mqtt { start_broker(centre) } else { None };
    if !has_mqtt {
        eprintln!("SKIPPED: MQTT at the edge needs a build with the feature mqtt");
    }
    let Some((broker, address)) = broker else {
        fs::write(&file, plain).unwrap();
        let edge = Edge::start(&file);
        let stream = TcpStream::connect(edge.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        return (edge, Source::Post(stream));
    };
    fs::write(&file, text.replace("127.0.0.1:1883", &address.to_string())).unwrap();
    let edge = Edge::start(&file);
    wait_up(&edge, "plant");
    let clients = [1, 2].map(|unit| client(address, unit));
    (edge, Source::Mqtt { broker, clients })
}

fn wait_up(edge: &Edge, bridge: &str) {
    let (began, line) = (Instant::now(), format!("gridcast_bridge_up{{bridge=\"{bridge}\""));
    while !metrics(edge).lines().any(|other| other.starts_with(&line) && other.ends_with(" 1")) {
        assert!(began.elapsed() < DEADLINE, "{bridge} is never up");
        thread::sleep(Duration::from_millis(5));
    }
}

fn metrics(edge: &Edge) -> String {
    let mut stream = TcpStream::connect(edge.address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// What the centre has got of the numbers that were sent.
#[derive(Default)]
struct Got {
    numbers: BTreeSet<u64>,
    again: u64,
    missing: u64,
    aggregated: u64,
}

impl Got {
    fn take(&mut self, (topic, json): (String, Value)) {
        match topic.as_str() {
            "gap/centre" => {
                assert_eq!(json["gap"]["direction"], "out", "{json}");
                self.missing += json["gap"]["messages"].as_u64().unwrap();
            }
            "edge/7/aggregate/pmu/1" | "edge/7/aggregate/pmu/2" => {
                self.aggregated += json["fields"]["f"]["count"].as_u64().unwrap();
            }
            "edge/7/pmu/1" | "edge/7/pmu/2" => {
                let is_new = self.numbers.insert(json["n"].as_u64().unwrap());
                self.again += u64::from(!is_new);
            }
            other => panic!("{other}: {json}"),
        }
    }
}

/// Sends numbers at a steady pace, with the line cut in the midst of it. Answers how many.
fn send_through_a_cut(source: &mut Source, cable: &Cable, padding: usize) -> u64 {
    let (cut, whole) = (Duration::from_millis(cut_ms()), Duration::from_millis(700));
    let (began, mut n) = (Instant::now(), 0);
    let padding = "x".repeat(padding);
    while began.elapsed() < whole + cut + whole {
        let elapsed = began.elapsed();
        if elapsed > whole && elapsed < whole + cut {
            cable.cut();
        } else {
            cable.mend();
        }
        n += 1;
        source.send(n % 2 + 1, &format!("{{\"n\":{n},\"f\":50.01,\"text\":\"{padding}\"}}"));
        thread::sleep(PACE);
    }
    n
}

#[test]
fn what_the_edge_forwards_survives_a_cut() {
    let mut centre = Centre::start();
    let cable = Cable::to(centre.engine.address());
    let (edge, mut source) = start(&centre, &page(&centre, &cable));
    centre.wait_connected();
    let sent = send_through_a_cut(&mut source, &cable, 0);
    let mut got = Got::default();
    while (got.numbers.len() as u64) < sent || got.aggregated < sent {
        let Some(message) = centre.next() else {
            let (came, text) = (got.numbers.len(), metrics(&edge));
            panic!("{sent} sent, {came} came, {} aggregated:\n{text}", got.aggregated);
        };
        got.take(message);
    }
    eprintln!("{sent} sent, cut for {} ms: {} came twice, 0 missing", cut_ms(), got.again);
    assert_eq!((got.numbers.last(), got.aggregated), (Some(&sent), sent));
    assert_eq!(got.missing, 0, "nothing is lost, and nothing told as lost");
    let text = metrics(&edge);
    let mut given_up = text.lines().filter(|line| line.contains("reason=\"retention\""));
    assert!(given_up.all(|line| line.ends_with(" 0")), "{text}");
}

#[test]
fn what_the_edge_cannot_keep_is_told() {
    let mut centre = Centre::start();
    let cable = Cable::to(centre.engine.address());
    let text = page(&centre, &cable);
    let little = text.replace("bytes_max = 67108864", "bytes_max = 16384");
    assert_ne!(text, little, "the page keeps 64 MiB");
    let (_edge, mut source) = start(&centre, &little);
    centre.wait_connected();
    let sent = send_through_a_cut(&mut source, &cable, 1_000);
    let mut got = Got::default();
    while (got.numbers.len() as u64) + got.missing < sent {
        let came = got.numbers.len();
        let Some(message) = centre.next() else {
            panic!("{sent} sent, {came} came, {} told", got.missing);
        };
        got.take(message);
    }
    let came = got.numbers.len() as u64;
    eprintln!("{sent} sent, cut for {} ms: {came} came, {} told", cut_ms(), got.missing);
    assert!(got.missing > sent / 10, "most of the time of the cut is missing");
    assert_eq!(came + got.missing, sent);
    assert!(got.numbers.contains(&sent), "the newest came");
}
