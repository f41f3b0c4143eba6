//! A node of a domain: an engine and its back-plane, in this process. Owns how it is published to
//! and followed, as a client would. Must not know which server is behind it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use gridcast::engine::Engine;
use gridcast::settings::choices::Publishing;
use gridcast::settings::config::Config;
use gridcast_connectors::backplane;
use gridcast_connectors::backplane::settings::{Backplane, Mode};
use tokio::sync::watch;

use crate::wait::until;

/// See the file header.
pub struct Node {
    pub engine: Engine,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What a follower got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// An event: its id, `epoch-seq`, and its data.
    Frame(String, String),
    /// A gap, as it was told.
    Gap(String),
}

impl Node {
    /// Starts one; an error when it may not take part.
    pub fn start(settings: &str) -> std::io::Result<Self> {
        let settings = Backplane::read(&settings.parse().unwrap()).unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.server.cores = 1;
        let publishing = match settings.mode {
            Mode::Relay => Publishing::Local,
            Mode::Log => Publishing::Log,
        };
        let engine = Engine::start_with(config, publishing).unwrap();
        let (stop, stopping) = watch::channel(false);
        let thread = Some(backplane::start(settings, &engine.handle(), stopping)?);
        Ok(Self { engine, stop, thread })
    }

    pub fn address(&self) -> SocketAddr {
        self.engine.address()
    }

    /// The value of a metric, 0 where it is not shown.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.engine.metrics();
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let of = lines.filter(|(series, _)| series.split('{').next() == Some(name));
        of.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    pub fn wait_up(&self) {
        until("the back-plane to be up", || self.metric("gridcast_backplane_up") == 1.0);
    }

    /// The status of a request and its body.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status, body.unwrap_or_default())
    }

    pub fn is_ready(&self) -> bool {
        self.request("GET", "/readyz", "").0 == 200
    }

    /// Publishes a text; the status of the answer.
    pub fn publish(&self, topic: &str, text: &str) -> u16 {
        self.request("POST", &format!("/v1/publish/{topic}"), text).0
    }

    /// Follows a topic or pattern as an event stream, from after `last` on where that is given.
    pub fn follow(&self, target: &str, last: Option<&str>) -> Follower {
        Follower::new(self.address(), target, last)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop.send(true); // nobody is left where it has ended
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there was told
        }
    }
}

/// An event stream, read by a thread of its own.
pub struct Follower {
    got: Receiver<Got>,
    pub all: Vec<Got>,
}

impl Follower {
    fn new(address: SocketAddr, target: &str, last: Option<&str>) -> Self {
        let target = target.replace('#', "%23").replace('+', "%2B");
        let mut stream = TcpStream::connect(address).unwrap();
        let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let head = format!(
            "GET /v1/feed/{target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             {last}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next().unwrap().unwrap();
        assert!(status.contains(" 200 "), "{status}");
        // The head ends when the subscription stands.
        while !lines.next().unwrap().unwrap().is_empty() {}
        let (send, got) = channel();
        thread::spawn(move || {
            let (mut event, mut id, mut data) = (String::new(), String::new(), String::new());
            for line in lines.map_while(Result::ok) {
                if let Some(text) = line.strip_prefix("event: ") {
                    text.clone_into(&mut event);
                } else if let Some(text) = line.strip_prefix("id: ") {
                    text.clone_into(&mut id);
                } else if let Some(text) = line.strip_prefix("data: ") {
                    text.clone_into(&mut data);
                } else if line.is_empty() && !(data.is_empty() && event.is_empty()) {
                    let got = match event.as_str() {
                        "gap" => Got::Gap(data.clone()),
                        _ => Got::Frame(id.clone(), data.clone()),
                    };
                    event.clear();
                    data.clear();
                    if send.send(got).is_err() {
                        return;
                    }
                }
            }
        });
        Self { got, all: Vec::new() }
    }

    /// Waits until so many frames came.
    pub fn wait_frames(&mut self, count: usize) -> Vec<(String, String)> {
        until(&format!("{count} frames"), || {
            self.all.extend(self.got.try_iter());
            self.frames().len() >= count
        });
        self.frames()
    }

    pub fn wait_gap(&mut self) -> String {
        until("a gap to be told", || {
            self.all.extend(self.got.try_iter());
            self.gaps().next().is_some()
        });
        self.gaps().next().unwrap().to_owned()
    }

    pub fn gaps(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter_map(|got| match got {
            Got::Gap(gap) => Some(gap.as_str()),
            Got::Frame(..) => None,
        })
    }

    pub fn frames(&self) -> Vec<(String, String)> {
        let frames = self.all.iter().filter_map(|got| match got {
            Got::Frame(id, data) => Some((id.clone(), data.clone())),
            Got::Gap(_) => None,
        });
        frames.collect()
    }
}
