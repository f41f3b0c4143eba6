//! A client of the simulation: what it still has to send, what it waits for, and what it makes of
//! what comes. Owns one end of one connection, from the request on. Must not look into the engine.

use std::collections::{BTreeMap, VecDeque};

use gridcast::feed::epoch::Position;
use gridcast::feed::topic::Target;
use serde_json::Value;

use crate::follower::{Follower, Form, Hello};
use crate::harness::frames;
use crate::harness::http::{UPGRADE, post_bytes};
use crate::network::Wire;
use crate::record::Record;
use crate::session::Session;
use crate::talk::Part;
use crate::tokens::Token;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// It takes whatever comes at once, and answers at once.
    Prompt,
    /// It stalls, takes a few bytes, and comes back.
    Slow,
    /// As the last, and it answers no ping.
    Deaf,
}

/// What a client waits for in answer to a request.
#[derive(Clone, Debug)]
pub enum Due {
    /// That the connection becomes a WebSocket or an event stream.
    Stream,
    /// That a message was published.
    Post(usize),
    /// That all these were.
    PostMany(Vec<usize>),
    /// This status.
    Status(u16),
    /// What comes next.
    Poll,
}

/// A command of a multiplexed client.
#[derive(Clone, Debug)]
pub enum Command {
    /// To follow this.
    Subscribe(Target),
    /// To follow it no more.
    Unsubscribe(Target),
    /// To publish this message.
    Publish(usize),
}

/// See the file header.
#[derive(Debug)]
pub struct Client {
    /// Which one it is.
    pub id: usize,
    /// What it may, where clients are asked.
    pub token: Option<Token>,
    /// Nobody believes whom it comes from: it is let go without a word.
    pub is_turned_away: bool,
    /// Something came from the engine.
    pub has_heard: bool,
    /// Its end of the connection.
    pub wire: Wire,
    /// How it behaves.
    pub temper: Temper,
    /// What it is there for.
    pub part: Part,
    /// Where it publishes, if it does nothing else; or what it polls.
    pub topic: String,
    /// What it makes of a stream once the connection is one.
    pub follower: Follower,
    /// What it follows, with those it has asked for.
    pub targets: Vec<Target>,
    /// It has had the form of a stream since the engine said so.
    pub is_stream: bool,
    /// When something came last.
    pub heard_ns: u64,
    /// A status it did not expect, and so an end.
    pub refused: Option<u16>,
    /// Messages it has sent whole: they have to be published.
    pub published: Vec<usize>,
    /// Messages that it was told were not, or may not have been.
    pub unpublished: Vec<usize>,
    /// Where messages were said to stand.
    pub told: Vec<(usize, Position)>,
    /// It asked for a position, which may be gone.
    pub resumes: bool,
    /// It has sent a close frame.
    pub has_closed: bool,
    has_answered_close: bool,
    outgoing: VecDeque<Vec<u8>>,
    dues: VecDeque<Due>,
    commands: BTreeMap<u64, Command>,
    last_id: u64,
    /// It has said that nothing more follows, or will once its session has begun.
    pub is_ending: bool,
    session: Option<Box<Session>>,
    /// What has come and is not understood yet.
    incoming: Vec<u8>,
}

impl Client {
    /// One that has sent nothing yet.
    pub fn new(id: usize, wire: Wire, temper: Temper, form: Form, part: Part) -> Self {
        if temper == Temper::Prompt {
            wire.give_room(usize::MAX / 2);
        }
        Self {
            id,
            token: None,
            is_turned_away: false,
            has_heard: false,
            wire,
            temper,
            part,
            topic: String::new(),
            follower: Follower::new(form),
            targets: Vec::new(),
            is_stream: false,
            heard_ns: 0,
            refused: None,
            published: Vec::new(),
            unpublished: Vec::new(),
            told: Vec::new(),
            resumes: false,
            has_closed: false,
            has_answered_close: false,
            outgoing: VecDeque::new(),
            dues: VecDeque::new(),
            commands: BTreeMap::new(),
            last_id: 0,
            is_ending: false,
            session: None,
            incoming: Vec::new(),
        }
    }

    /// Has all it says be said through TLS.
    pub fn secure(&mut self) {
        self.session = Some(Box::new(Session::new()));
    }

    /// Has something be said before anything else.
    pub fn introduce(&mut self, header: Vec<u8>) {
        self.outgoing.push_front(header);
    }

    /// The form in which it gets its feeds.
    pub fn form(&self) -> Form {
        self.follower.form
    }

    // ---- sending ----

    /// Asks for `path` as WebSocket.
    pub fn upgrade(&mut self, path: &str, more: &str) {
        let path = self.signed(path);
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{UPGRADE}{more}\r\n");
        self.request(request.into_bytes(), Due::Stream);
    }

    /// Asks for `path` as event stream.
    pub fn events(&mut self, path: &str) {
        let (path, accept) = (self.signed(path), "Accept: text/event-stream\r\n");
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{accept}\r\n");
        self.request(request.into_bytes(), Due::Stream);
    }

    /// Asks for what comes next, at a path that ends with where, and again behind each answer.
    pub fn poll(&mut self, path: String, from: &str) {
        let asked = self.signed(&format!("{path}{from}"));
        let request = format!("GET {asked} HTTP/1.1\r\nHost: h\r\n\r\n");
        self.topic = path;
        self.request(request.into_bytes(), Due::Poll);
    }

    /// Asks for `path`, which is answered with `status`.
    pub fn get(&mut self, path: &str, status: u16) {
        let path = self.signed(path);
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        self.request(request.into_bytes(), Due::Status(status));
    }

    /// Posts nothing to `path`, which is answered with `status`.
    pub fn act(&mut self, path: &str, status: u16) {
        let request = post_bytes(&self.signed(path), "text/plain", b"");
        self.request(request, Due::Status(status));
    }

    /// The path, with the token if there is one.
    fn signed(&self, path: &str) -> String {
        let Some(token) = &self.token else { return path.to_owned() };
        let joint = if path.contains('?') { '&' } else { '?' };
        format!("{path}{joint}token={}", token.text)
    }

    /// Posts one message.
    pub fn post(&mut self, message: usize, record: &Record) {
        let sent = record.sent(message);
        let is_text = sent.kind == gridcast::frame::Kind::Text;
        let content_type = if is_text { "text/plain" } else { "application/octet-stream" };
        let path = self.signed(&format!("/v1/publish/{}", sent.topic));
        self.request(post_bytes(&path, content_type, &sent.payload), Due::Post(message));
        self.published.push(message);
    }

    /// Posts some messages, as lines.
    pub fn post_many(&mut self, messages: Vec<usize>, record: &Record) {
        let mut body = Vec::new();
        for &message in &messages {
            body.extend(publish_json(message, record).to_string().into_bytes());
            body.push(b'\n');
        }
        let path = self.signed("/v1/publish");
        let request = post_bytes(&path, "application/x-ndjson", &body);
        self.published.extend(&messages);
        self.request(request, Due::PostMany(messages));
    }

    fn request(&mut self, bytes: Vec<u8>, due: Due) {
        self.outgoing.push_back(bytes);
        self.dues.push_back(due);
    }

    /// Publishes over a socket that is for that.
    pub fn publish(&mut self, message: usize, record: &Record) {
        let sent = record.sent(message);
        let is_text = sent.kind == gridcast::frame::Kind::Text;
        let first = if is_text { frames::TEXT } else { frames::BINARY };
        self.outgoing.push_back(frames::frame(first, &sent.payload));
        self.published.push(message);
    }

    /// Sends a command over a multiplexed socket.
    pub fn command(&mut self, command: Command, options: &Value, record: &Record) {
        self.last_id += 1;
        let id = self.last_id;
        let topic = |target: &Target| {
            let mut value = options.clone();
            value["topic"] = target.as_str().into();
            value
        };
        let text = match &command {
            Command::Subscribe(target) if options["ack"] == true => {
                serde_json::json!({"subscribe": topic(target)})
            }
            Command::Subscribe(target) => {
                serde_json::json!({"id": id, "subscribe": topic(target)})
            }
            Command::Unsubscribe(target) => {
                serde_json::json!({"id": id, "unsubscribe": {"topic": target.as_str()}})
            }
            Command::Publish(message) => {
                self.published.push(*message);
                serde_json::json!({"id": id, "publish": publish_json(*message, record)})
            }
        };
        self.outgoing.push_back(frames::frame(frames::TEXT, text.to_string().as_bytes()));
        self.commands.insert(id, command);
    }

    /// Asks whether the engine is there.
    pub fn ping(&mut self) {
        self.outgoing.push_back(frames::frame(frames::PING, b"are you there"));
    }

    /// Closes a WebSocket in good order.
    pub fn close(&mut self) {
        self.has_closed = true;
        self.outgoing.push_back(frames::close(1000, b"done"));
    }

    /// Whether the engine has to show it that it lives.
    pub fn has_heartbeat(&self) -> bool {
        self.form() == Form::Events || self.follower.hello == Hello::Told
    }

    /// Whether all it had to say is said.
    pub fn has_sent_all(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Sends the next piece of what it has to say, at most `bytes_max` long.
    pub fn send(&mut self, bytes_max: usize) {
        let Some(mut piece) = self.outgoing.pop_front() else { return };
        if piece.len() > bytes_max {
            let rest = piece.split_off(bytes_max);
            self.outgoing.push_front(rest);
        }
        self.say(&piece);
    }

    /// Sends all it has to say at once.
    pub fn send_all(&mut self) {
        let all: Vec<u8> = self.outgoing.drain(..).flatten().collect();
        self.say(&all);
    }

    /// Says that nothing more follows.
    pub fn end(&mut self) {
        self.send_all();
        self.is_ending = true;
        self.end_session();
    }

    /// What was said before a session began is sent before its end is.
    fn end_session(&mut self) {
        if !self.is_ending || self.wire.has_sent_end() {
            return;
        }
        if let Some(session) = &mut self.session {
            if session.is_handshaking() {
                return;
            }
            session.end();
            self.wire.send(&session.sealed());
        }
        self.wire.end();
    }

    fn say(&mut self, bytes: &[u8]) {
        if self.wire.has_sent_end() {
            return;
        }
        let Some(session) = &mut self.session else { return self.wire.send(bytes) };
        session.say(bytes);
        self.wire.send(&session.sealed());
    }

    // ---- receiving ----

    /// Understands what has come.
    pub fn receive(&mut self, record: &Record, now_ns: u64) {
        let received = std::mem::take(&mut *self.wire.received());
        if received.is_empty() {
            return;
        }
        (self.has_heard, self.heard_ns) = (true, now_ns);
        match &mut self.session {
            None => self.incoming.extend(received),
            Some(session) => {
                self.incoming.extend(session.open(&received));
                if !self.wire.has_sent_end() {
                    self.wire.send(&session.sealed());
                }
            }
        }
        self.end_session();
        self.understand(record);
        self.answer_control();
    }

    fn understand(&mut self, record: &Record) {
        let incoming = std::mem::take(&mut self.incoming);
        let mut parsed = 0;
        loop {
            let used = match self.is_stream {
                true => self.follower.read(&incoming[parsed..], record),
                false => self.read_answer(&incoming[parsed..], record),
            };
            parsed += used;
            if let Some(answer) = self.follower.answer.take() {
                self.take_answer(&answer, record);
            }
            if used == 0 {
                break;
            }
        }
        self.incoming = incoming[parsed..].to_vec();
    }

    fn answer_control(&mut self) {
        if self.follower.closed.is_some() && !self.has_closed && !self.has_answered_close {
            self.has_answered_close = true;
            self.outgoing.clear();
            if self.form() != Form::Events {
                self.outgoing.push_back(frames::close(1000, b""));
            }
        }
        for ping in std::mem::take(&mut self.follower.pings) {
            let may_answer = !self.is_ending && !self.has_closed && !self.has_answered_close;
            if self.temper != Temper::Deaf && may_answer {
                self.outgoing.push_back(frames::frame(frames::PONG, &ping));
            }
        }
    }

    /// Whether bytes came that are no whole frame or answer.
    pub fn has_torn_bytes(&self) -> bool {
        !self.incoming.is_empty()
    }

    fn read_answer(&mut self, bytes: &[u8], record: &Record) -> usize {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return 0 };
        let head = str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            return end + 4;
        }
        if (head.contains("chunked") || status == 101) && self.is_due_stream() {
            self.dues.pop_front();
            self.is_stream = true;
            if let ([target], false) = (&self.targets[..], self.form().is_multiplexed()) {
                self.follower.begins(&target.clone(), None, None, record);
            }
            return end + 4;
        }
        let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let Some(body) = bytes.get(end + 4..end + 4 + length) else { return 0 };
        self.answered(status, body, record);
        end + 4 + length
    }

    fn is_due_stream(&self) -> bool {
        matches!(self.dues.front(), Some(Due::Stream))
    }

    fn answered(&mut self, status: u16, body: &[u8], record: &Record) {
        let due = self.dues.pop_front();
        match due {
            Some(Due::Status(expected)) if status == expected => {}
            Some(Due::Poll) if status == 200 => {
                let answer = serde_json::from_slice(body).unwrap();
                let next = self.follower.polled(&answer, record);
                if !self.is_ending {
                    self.poll(self.topic.clone(), &next);
                }
            }
            Some(Due::Post(message)) if status == 200 => {
                let answer: Value = serde_json::from_slice(body).unwrap();
                self.told.push((message, position_in(&answer)));
            }
            Some(Due::PostMany(messages)) if status == 200 => {
                let answer: Value = serde_json::from_slice(body).unwrap();
                assert_eq!(answer["published"], messages.len(), "{answer}");
            }
            _ => self.refused = Some(status),
        }
    }

    fn take_answer(&mut self, answer: &Value, record: &Record) {
        let id = answer["id"].as_u64().or_else(|| self.acknowledged(&answer["subscribed"]));
        let command = id.and_then(|id| self.commands.remove(&id));
        let command = command.unwrap_or_else(|| panic!("nobody asked for {answer}"));
        if let (Command::Publish(_), false) = (&command, self.may_publish()) {
            return assert_eq!(answer["error"]["code"], "forbidden", "{answer}");
        }
        match command {
            Command::Subscribe(target) => {
                let told = &answer["subscribed"];
                assert_eq!(told["topic"], target.as_str(), "{answer}");
                let seq = told["seq"].as_u64().unwrap();
                self.follower.begins(&target, Some(seq), told["feed"].as_u64(), record);
            }
            Command::Unsubscribe(target) => {
                assert_eq!(answer["unsubscribed"]["topic"], target.as_str(), "{answer}");
                self.follower.unfollow(&target);
                self.targets.retain(|own| *own != target);
            }
            Command::Publish(message) if answer["error"]["code"] == "unavailable" => {
                self.unpublished.push(message);
            }
            Command::Publish(message) => {
                self.told.push((message, position_in(&answer["published"])));
            }
        }
    }

    /// The command whose answer has no id.
    fn acknowledged(&self, told: &Value) -> Option<u64> {
        self.commands.iter().find_map(|(id, command)| match command {
            Command::Subscribe(target) if told["topic"] == target.as_str() => Some(*id),
            _ => None,
        })
    }

    /// Whether it may publish.
    pub fn may_publish(&self) -> bool {
        self.token.as_ref().is_none_or(|token| token.publishes)
    }

    /// What it still waits for.
    pub fn waits_for(&self) -> Option<String> {
        // A poll waits for what may never come.
        let due = self.dues.front().filter(|due| !matches!(due, Due::Poll));
        let due = due.map(|due| format!("{due:?} of {}", self.dues.len()));
        due.or_else(|| self.commands.first_key_value().map(|command| format!("{command:?}")))
    }
}

/// What a command or a line says of a message.
fn publish_json(message: usize, record: &Record) -> Value {
    let sent = record.sent(message);
    match sent.kind {
        gridcast::frame::Kind::Text => {
            let data: Value = serde_json::from_slice(&sent.payload).unwrap();
            serde_json::json!({"topic": sent.topic, "data": data})
        }
        gridcast::frame::Kind::Binary => {
            use base64::Engine as _;
            let data64 = base64::engine::general_purpose::STANDARD.encode(&sent.payload);
            serde_json::json!({"topic": sent.topic, "data64": data64})
        }
    }
}

/// Where a message is said to stand.
fn position_in(answer: &Value) -> Position {
    let epoch = answer["epoch"].as_str().unwrap().parse().unwrap();
    Position { epoch, seq: answer["seq"].as_u64().unwrap() }
}
