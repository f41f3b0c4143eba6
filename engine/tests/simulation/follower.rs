//! The receiving end of a client that follows feeds: what it was promised, what it has understood,
//! and the judgement whether the two agree. Owns decoders of its own. Must not look into the
//! engine: it sees bytes, and the record of everything that was published.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;

use flate2::{Decompress, FlushDecompress};
use gridcast::feed::options::Mode;
use gridcast::feed::topic::Target;
use gridcast::frame::{Kind, encode};
use gridcast::wire::chunked;
use serde_json::Value;

use crate::profile::HEARTBEAT_MS;
use crate::record::{FeedKey, Record, number_in};

/// The form in which a client gets its feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One WebSocket, the publisher's payloads.
    Raw,
    /// An event stream.
    Events,
    /// One WebSocket, envelopes in JSON.
    Json,
    /// One WebSocket, binary envelopes.
    Binary,
    /// One request after the other.
    Poll,
}

impl Form {
    /// True when it may follow many feeds.
    pub fn is_multiplexed(self) -> bool {
        matches!(self, Self::Json | Self::Binary)
    }
}

/// See the file header.
#[derive(Debug)]
pub struct Follower {
    /// In which it gets its feeds.
    pub form: Form,
    wants: Vec<Want>,
    /// Topics, each with its pattern, by the numbers they were announced with.
    numbers: HashMap<u64, [String; 2]>,
    /// Whether it is greeted.
    pub hello: Hello,
    /// What the engine said when it ended the stream.
    pub closed: Option<Closed>,
    /// Gaps that were told because it was too slow.
    pub lapses: usize,
    /// An answer to a command, to be taken by whoever sent that.
    pub answer: Option<Value>,
    /// Pings that are to be answered.
    pub pings: Vec<Vec<u8>>,
    /// Messages it got.
    pub got: usize,
}

/// What has become of a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// Nobody asked for it.
    Unasked,
    /// It has to be the first message.
    Due,
    /// It has come, so that beats may.
    Told,
}

/// The engine's last words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The close code; 1005 where there is none.
    pub code: u16,
    /// In words.
    pub reason: String,
}

/// A feed that is followed.
#[derive(Debug)]
struct Want {
    target: Target,
    feed: FeedKey,
    number: Option<u64>,
    next: Next,
    mode: Mode,
    /// The end of the gap that was told and begins at `next`.
    told: Option<u64>,
    /// Unsubscribed: what was under way may still come.
    is_over: bool,
}

/// The number that has to come next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Is(u64),
    /// It was not told where it begins, and has got nothing yet.
    Within(RangeInclusive<u64>),
}

impl Want {
    /// Whether frame `seq` may be the next one, if not a word was said about those before it.
    fn may_be_next(&self, seq: u64) -> bool {
        match (self.told, &self.next) {
            (Some(to), _) => seq == to + 1,
            (None, Next::Is(next)) => seq == *next,
            (None, Next::Within(range)) => range.contains(&seq),
        }
    }

    /// Whether it asked for a position, and nothing of it has come.
    fn is_position(&self) -> bool {
        matches!(&self.next, Next::Within(range) if range.start() == range.end())
    }

    /// Whether `seq` lies behind what may be the next.
    fn lies_ahead(&self, seq: u64) -> bool {
        match (self.told, &self.next) {
            (Some(to), _) => seq > to,
            (None, Next::Is(next)) => seq >= *next,
            (None, Next::Within(range)) => seq >= *range.start(),
        }
    }
}

/// A data message, however it was encoded.
#[derive(Debug)]
struct Got {
    /// The subscription it is for, where there may be many.
    target: Option<String>,
    /// Unknown in a raw frame.
    seq: Option<u64>,
    topic: Option<String>,
    kind: Kind,
    payload: Payload,
}

enum Payload {
    Bytes(Vec<u8>),
    /// As it stood in an envelope.
    Json(Value),
}

/// The first of it says which message it is.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, len) = match self {
            Self::Bytes(bytes) => (String::from_utf8_lossy(bytes).into_owned(), bytes.len()),
            Self::Json(json) => (json.to_string(), json.to_string().len()),
        };
        write!(f, "{:.16} ({len} bytes)", text)
    }
}

impl Follower {
    /// One that follows nothing yet.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            wants: Vec::new(),
            numbers: HashMap::new(),
            hello: Hello::Unasked,
            closed: None,
            lapses: 0,
            answer: None,
            pings: Vec::new(),
            got: 0,
        }
    }

    /// Asks for a feed whose next frame has a number within `range`.
    pub fn follow(
        &mut self,
        target: Target,
        feed: FeedKey,
        range: RangeInclusive<u64>,
        mode: Mode,
    ) {
        let (next, told, is_over) = (Next::Within(range), None, false);
        self.wants.push(Want { target, feed, number: None, next, mode, told, is_over });
    }

    /// Was told that what it asked for has begun: where, unless it was not told that.
    pub fn begins(
        &mut self,
        target: &Target,
        seq: Option<u64>,
        number: Option<u64>,
        record: &Record,
    ) {
        let mut wants = self.wants.iter_mut().rev();
        let want = wants.find(|want| want.target == *target && !want.is_over).unwrap();
        // What was published since it was answered can not be what it begins with.
        if let Next::Within(range) = &want.next {
            let latest = record.last(want.feed) + 1;
            want.next = Next::Within(*range.start()..=latest.min(*range.end()));
        }
        want.number = number;
        if let Some(seq) = seq.map(|seq| record.count_to(want.feed, seq) + 1) {
            // Behind a position that is gone it begins later, and the gap is told next.
            let begins_later = want.is_position() && want.lies_ahead(seq);
            assert!(want.may_be_next(seq) || begins_later, "{seq} as the first of {want:?}");
            if !begins_later {
                want.next = Next::Is(seq);
            }
        }
    }

    /// Understands an answer to a poll, and answers where to go on.
    pub fn polled(&mut self, answer: &Value, record: &Record) -> String {
        let records = answer["records"].as_array().unwrap();
        for item in records {
            match item.get("gap") {
                Some(gap) => self.missed(gap, record),
                None => self.read_text(item.to_string().as_bytes(), record),
            }
        }
        let next = answer["end"]["next"].as_str().unwrap().to_owned();
        let (epoch, seq) = next.split_once('-').unwrap();
        let want = &self.wants[0];
        assert_eq!(epoch.parse(), record.epoch(want.feed), "one feed a poll");
        let after = record.count_to(want.feed, seq.parse().unwrap());
        assert!(want.may_be_next(after + 1), "{next} behind {want:?}");
        next
    }

    /// Follows a feed no more.
    pub fn unfollow(&mut self, target: &Target) {
        self.wants.iter_mut().filter(|want| want.target == *target).for_each(|want| {
            want.is_over = true;
        });
    }

    /// Understands the frame at the start of `bytes`. Answers its length; 0 while it is not whole.
    pub fn read(&mut self, bytes: &[u8], record: &Record) -> usize {
        let Some(len) = self.next_frame(bytes) else { return 0 };
        let frame = &bytes[..len];
        if self.form != Form::Events {
            assert!(self.closed.is_none(), "nothing follows a close");
            self.read_frame(frame, record);
        } else if !frame.starts_with(b"00000000\r\n") {
            assert!(self.closed.is_none(), "nothing follows a close");
            self.read_event(frame, record);
        }
        len
    }

    /// What must hold once everything has come.
    pub fn check_complete(&self, record: &Record) {
        assert_ne!(self.hello, Hello::Due, "never greeted");
        for want in self.wants.iter().filter(|want| !want.is_over) {
            let last = record.last(want.feed);
            assert_eq!(want.told, None, "a gap that was told ends where a frame stands: {want:?}");
            match &want.next {
                Next::Is(next) => assert_eq!(*next, last + 1, "the newest frame came: {want:?}"),
                Next::Within(range) => {
                    assert!(*range.end() > last, "something came of {last}: {want:?}");
                }
            }
        }
    }

    fn next_frame(&self, bytes: &[u8]) -> Option<usize> {
        let len = match self.form {
            Form::Events => chunked::chunk_len(bytes)?,
            _ => encode::frame_len(bytes)?,
        } as usize;
        (len <= bytes.len()).then_some(len)
    }

    fn read_frame(&mut self, frame: &[u8], record: &Record) {
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let payload = &frame[header..];
        match frame[0] {
            0x81 | 0x82 | 0xC1 | 0xC2 if self.form == Form::Raw => {
                let kind = if frame[0] & 0x0F == 1 { Kind::Text } else { Kind::Binary };
                let payload =
                    if frame[0] & 0x40 == 0 { payload.to_vec() } else { inflate(payload) };
                let payload = Payload::Bytes(payload);
                self.got(&Got { target: None, seq: None, topic: None, kind, payload }, record);
            }
            0x81 => self.read_text(payload, record),
            0xC1 => self.read_text(&inflate(payload), record),
            0x82 => self.read_binary(payload, record),
            0xC2 => self.read_binary(&inflate(payload), record),
            0x8A => {}
            0x89 => self.read_ping(payload, record),
            0x88 => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = payload.get(2..).unwrap_or_default();
                let reason = String::from_utf8_lossy(reason).into_owned();
                self.closed = Some(Closed { code, reason });
            }
            other => panic!("frame of first byte {other:#x}: bytes were torn or mixed"),
        }
    }

    /// Raw subscribers are told of gaps in pings, so that they need not know of it.
    fn read_ping(&mut self, payload: &[u8], record: &Record) {
        if !payload.is_empty() {
            let notice: Value = serde_json::from_slice(payload).unwrap();
            self.missed(&notice["gap"], record);
        }
        self.pings.push(payload.to_vec());
    }

    fn read_text(&mut self, text: &[u8], record: &Record) {
        let mut value: Value = serde_json::from_slice(text).expect("JSON");
        if let Some(hello) = value.get("hello") {
            return self.greeted(hello);
        }
        assert_ne!(self.hello, Hello::Due, "before the greeting: {value}");
        if value.get("beat").is_some() {
            return assert_eq!(self.hello, Hello::Told, "nobody asked for {value}");
        }
        if let Some(gap) = value.get("gap") {
            return self.missed(gap, record);
        }
        if value.get("id").or(value.get("subscribed")).is_some() {
            self.answer = Some(value);
            return;
        }
        let topic = value["topic"].as_str().map(str::to_owned);
        let topic = topic.unwrap_or_else(|| panic!("unknown: {value}"));
        let pattern = value["pattern"].as_str().map(str::to_owned);
        if let Some(number) = value["feed"].as_u64() {
            self.numbers.insert(number, [topic, pattern.expect("only patterns announce")]);
            return;
        }
        let seq = value["seq"].as_u64();
        let (kind, payload) = match (value["data64"].take(), value["data"].take()) {
            (Value::String(data64), _) => (Kind::Binary, Payload::Bytes(decode64(&data64))),
            (_, Value::String(text)) if value["text"] == true => {
                (Kind::Text, Payload::Bytes(text.into_bytes()))
            }
            (_, json) => (Kind::Text, Payload::Json(json)),
        };
        let target = pattern.or_else(|| Some(topic.clone()));
        self.got(&Got { target, seq, topic: Some(topic), kind, payload }, record);
    }

    fn greeted(&mut self, hello: &Value) {
        let before = std::mem::replace(&mut self.hello, Hello::Told);
        assert_eq!(before, Hello::Due, "{hello}");
        assert!(hello["version"].is_string() && hello["epoch"].is_string(), "{hello}");
        assert_eq!(hello["heartbeat_ms"], HEARTBEAT_MS, "{hello}");
    }

    fn read_binary(&mut self, bytes: &[u8], record: &Record) {
        assert_ne!(self.hello, Hello::Due, "before the greeting");
        let mut rest = bytes;
        let number = varint(&mut rest);
        let seq = varint(&mut rest);
        let kind = if rest[0] & 1 == 1 { Kind::Text } else { Kind::Binary };
        let own = self.wants.iter().find(|want| want.number == Some(number));
        let [topic, target] = match own.map(|want| &want.target) {
            Some(Target::Topic(topic)) => [topic.as_str(), topic.as_str()].map(str::to_owned),
            _ => self.numbers.get(&number).expect("announced before its first frame").clone(),
        };
        let (topic, target) = (Some(topic), Some(target));
        let payload = Payload::Bytes(rest[1..].to_vec());
        self.got(&Got { target, seq: Some(seq), topic, kind, payload }, record);
    }

    /// A message must be the next of a feed that is wanted, or stand behind a gap that was told.
    /// Raw frames and events with `mode=latest` may jump ahead untold.
    fn got(&mut self, got: &Got, record: &Record) {
        self.got += 1;
        let message = got.message(record);
        let may_jump = !self.form.is_multiplexed();
        // What is over may still get the rest of one frame.
        self.wants.sort_by_key(|want| want.is_over);
        let found = self.wants.iter_mut().find_map(|want| {
            let ordinal = record.ordinal(want.feed, message)?;
            let jumps = may_jump && want.mode == Mode::Latest && want.lies_ahead(ordinal);
            let is_named = got.target.as_ref().is_none_or(|target| target == want.target.as_str());
            let stands_there = |seq| record.ordinal_at(want.feed, seq) == Some(ordinal);
            let fits = got.seq.is_none_or(stands_there) && is_named;
            (fits && (want.may_be_next(ordinal) || jumps)).then_some((want, ordinal))
        });
        let Some((want, ordinal)) = found else {
            let wants = &self.wants;
            panic!("lost, repeated or out of order: message {message}, {got:?} for {wants:?}");
        };
        want.told = None;
        want.next = Next::Is(ordinal + 1);
    }

    /// A notice must begin where a feed stands, or where an earlier one ended.
    fn missed(&mut self, gap: &Value, record: &Record) {
        let [from, to] = ["from", "to"].map(|key| gap[key].as_u64().unwrap());
        assert!(from <= to, "an empty gap is not told");
        let frames = gap["frames"].as_u64();
        self.lapses += usize::from(gap["reason"] == "lagged");
        // Of two subscriptions to one name in turn, it is the later that goes on.
        self.wants.sort_by_key(|want| want.is_over);
        let stands_there = |want: &&mut Want| {
            let named = gap["topic"].as_str().is_none_or(|topic| topic == want.target.as_str());
            let from = record.count_to(want.feed, from.saturating_sub(1)) + 1;
            let to = record.count_to(want.feed, to);
            let untold = want.mode == Mode::Latest && want.lies_ahead(from);
            let is_counted = match gap["reason"].as_str() {
                Some("epoch") => frames.is_none(),
                // A node cannot count what was before it.
                Some("expired") if frames.is_none() => record.has_holes(),
                _ => frames == Some(to + 1 - from),
            };
            named && is_counted && (want.may_be_next(from) || untold)
        };
        let want = self.wants.iter_mut().find(stands_there);
        let want = want.unwrap_or_else(|| panic!("{gap} begins nowhere"));
        want.told = Some(record.count_to(want.feed, to));
    }

    fn read_event(&mut self, chunk: &[u8], record: &Record) {
        let text = String::from_utf8_lossy(chunk);
        let (_, body) = text.split_once("\r\n").unwrap();
        let field =
            |name: &str| body.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        match (field("id: "), field("event: ").as_deref()) {
            (Some(id), event) => {
                let (epoch, seq) = id.split_once('-').unwrap();
                assert_eq!(epoch.parse(), record.epoch(self.wants[0].feed), "one feed a stream");
                let data = field("data: ").unwrap();
                let (kind, bytes) = match event {
                    Some("binary") => (Kind::Binary, decode64(&data)),
                    _ => (Kind::Text, data.into_bytes()),
                };
                let (seq, payload) = (Some(seq.parse().unwrap()), Payload::Bytes(bytes));
                self.got(&Got { target: None, seq, topic: None, kind, payload }, record);
            }
            (None, Some("gap")) => {
                let gap = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                self.missed(&gap, record);
            }
            (None, Some("close")) => {
                let told: Value = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                let code = told["code"].as_u64().unwrap().try_into().unwrap();
                let reason = told["reason"].as_str().unwrap().to_owned();
                self.closed = Some(Closed { code, reason });
            }
            (None, None) => {
                let has_no_name = body.starts_with([':', 'r', '\n', '\r']);
                assert!(has_no_name, "only comments and `retry` have no name: {body}");
            }
            other => panic!("unknown event {other:?}"),
        }
    }
}

impl Got {
    /// Which message it is. It must be exactly what was sent.
    fn message(&self, record: &Record) -> usize {
        let number = match &self.payload {
            Payload::Bytes(bytes) => number_in(bytes),
            Payload::Json(json) => json[0].as_u64().map(|number| number as usize),
        };
        let message = number.unwrap_or_else(|| panic!("no message of a client: {self:?}"));
        let sent = record.sent(message);
        let is_intact = match &self.payload {
            Payload::Bytes(bytes) => *bytes == sent.payload,
            Payload::Json(json) => serde_json::from_slice::<Value>(&sent.payload).unwrap() == *json,
        };
        assert!(is_intact && self.kind == sent.kind, "{self:?} was sent as {sent:?}");
        assert!(self.topic.as_ref().is_none_or(|topic| *topic == sent.topic), "{self:?}: {sent:?}");
        message
    }
}

fn decode64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// Unsigned LEB128: seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> u64 {
    let len = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (own, rest) = bytes.split_at(len);
    *bytes = rest;
    own.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
}

/// RFC 7692 section 7.2.2: the four bytes the sender left out go behind the message.
fn inflate(deflated: &[u8]) -> Vec<u8> {
    let input = [deflated, &[0, 0, 0xFF, 0xFF]].concat();
    let mut out = Vec::with_capacity(64 << 10);
    Decompress::new(false).decompress_vec(&input, &mut out, FlushDecompress::Sync).unwrap();
    out
}
