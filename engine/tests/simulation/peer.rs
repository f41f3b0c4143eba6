//! The other end of a simulated connection: what it was promised, what it has understood, and the
//! judgement whether the two agree. Owns decoders of its own. Must not look into the engine: it
//! sees bytes, and the record of everything that was published.

use std::collections::HashMap;

use flate2::{Decompress, FlushDecompress};
use gridcast::feed::epoch::Epoch;
use gridcast::feed::kind::{Deflation, Form, LaneKind};
use gridcast::feed::log::Feed;
use gridcast::feed::options::Mode;
use gridcast::feed::topic::Target;
use gridcast::frame::{Kind, encode};
use gridcast::wire::sse;

pub const JSON: LaneKind = LaneKind::plain(Form::Json);
pub const BINARY: LaneKind = LaneKind::plain(Form::Binary);
/// Deflated where a message is long enough, so that both kinds of frame share a lane.
pub const DEFLATED: LaneKind = LaneKind {
    form: Form::Json,
    deflate: Some(Deflation { window_bits: 10, level: 1, bytes_min: 60 }),
};

/// One message that was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub topic: &'static str,
    pub kind: Kind,
    pub payload: Vec<u8>,
}

/// Everything that was published, by feed; number 1 first.
pub type Published = HashMap<Epoch, Vec<Entry>>;

/// What a subscriber was promised and what it has understood so far.
pub struct Peer {
    pub kind: LaneKind,
    pub parsed: usize,
    pub closed: Option<String>,
    wants: Vec<Want>,
    /// Topics by the numbers they were announced with.
    numbers: HashMap<u64, String>,
}

#[derive(Debug)]
struct Want {
    target: Target,
    epoch: Epoch,
    number: u64,
    next_seq: u64,
    mode: Mode,
    /// The end of the gap that was told and begins at `next_seq`.
    told: Option<u64>,
    /// Unsubscribed: what was under way may still come.
    is_over: bool,
}

/// A data message, however it was encoded.
#[derive(Debug)]
struct Got {
    /// The feed's number, where the form says it.
    number: Option<u64>,
    /// Unknown in a raw frame.
    seq: Option<u64>,
    topic: Option<String>,
    kind: Kind,
    payload: Vec<u8>,
}

impl Peer {
    pub fn new(kind: LaneKind) -> Self {
        Self { kind, parsed: 0, closed: None, wants: Vec::new(), numbers: HashMap::new() }
    }

    pub fn follow(&mut self, feed: &Feed, next_seq: u64, mode: Mode) {
        let (target, epoch, number) = (feed.target().clone(), feed.epoch(), feed.number());
        let told = None;
        self.wants.push(Want { target, epoch, number, next_seq, mode, told, is_over: false });
    }

    pub fn unfollow(&mut self, epoch: Epoch) {
        self.wants.iter_mut().filter(|want| want.epoch == epoch).for_each(|want| {
            want.is_over = true;
        });
    }

    /// Understands what has arrived in whole and checks it against what was published.
    pub fn read(&mut self, taken: &[u8], published: &Published) {
        while let Some(len) = self.next_frame(&taken[self.parsed..]) {
            let frame = &taken[self.parsed..self.parsed + len];
            self.parsed += len;
            assert!(self.closed.is_none(), "nothing follows a close");
            if self.kind == LaneKind::SSE {
                self.read_event(frame, published);
            } else {
                self.read_frame(frame, published);
            }
        }
    }

    /// Everyone who stayed has everything that was promised.
    pub fn check_complete(&self, key: usize, published: &Published) {
        for want in self.wants.iter().filter(|want| !want.is_over) {
            let last = published.get(&want.epoch).map_or(0, |log| log.len() as u64);
            assert_eq!(want.told, None, "a gap that was told is the one that is there");
            assert_eq!(want.next_seq, last + 1, "connection {key} has the newest frame");
        }
    }

    fn next_frame(&self, bytes: &[u8]) -> Option<usize> {
        let len = match self.kind.form {
            Form::Sse => sse::chunk_len(bytes)?,
            _ => encode::frame_len(bytes)?,
        } as usize;
        (len <= bytes.len()).then_some(len)
    }

    fn read_frame(&mut self, frame: &[u8], published: &Published) {
        let header = if frame[1] < 126 { 2 } else { 4 };
        let payload = &frame[header..];
        match frame[0] {
            0x81 | 0x82 if self.kind.form == Form::Raw => {
                let kind = if frame[0] == 0x81 { Kind::Text } else { Kind::Binary };
                let payload = payload.to_vec();
                self.got(Got { number: None, seq: None, topic: None, kind, payload }, published);
            }
            0x81 => self.read_text(payload, published),
            0xC1 => self.read_text(&inflate(payload), published),
            0x82 => self.read_binary(payload, published),
            0x8A => assert_eq!(payload, b"are you there"),
            0x89 => {
                let notice: serde_json::Value = serde_json::from_slice(payload).unwrap();
                self.missed(&notice["gap"]);
            }
            0x88 => self.closed = Some(String::from_utf8_lossy(&payload[2..]).into_owned()),
            other => panic!("frame of first byte {other:#x}: bytes were torn or mixed"),
        }
    }

    fn read_text(&mut self, text: &[u8], published: &Published) {
        let mut value: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        if let Some(gap) = value.get("gap") {
            return self.missed(gap);
        }
        let topic = value["topic"].as_str().unwrap().to_owned();
        if let Some(number) = value["feed"].as_u64() {
            self.numbers.insert(number, topic);
            return;
        }
        let seq = value["seq"].as_u64();
        let (kind, payload) = match value["data64"].take() {
            serde_json::Value::String(data64) => {
                use base64::Engine as _;
                (Kind::Binary, base64::engine::general_purpose::STANDARD.decode(data64).unwrap())
            }
            _ => {
                assert_eq!(value["text"], true, "no payload here is JSON");
                (Kind::Text, value["data"].as_str().unwrap().as_bytes().to_vec())
            }
        };
        self.got(Got { number: None, seq, topic: Some(topic), kind, payload }, published);
    }

    fn read_binary(&mut self, bytes: &[u8], published: &Published) {
        let mut rest = bytes;
        let number = varint(&mut rest);
        let seq = varint(&mut rest);
        let kind = if rest[0] & 1 == 1 { Kind::Text } else { Kind::Binary };
        let own = self.wants.iter().find(|want| want.number == number);
        let topic = match own {
            Some(want) => want.target.as_str().to_owned(),
            None => self.numbers.get(&number).expect("announced before its first frame").clone(),
        };
        let number = own.map(|want| want.number);
        let payload = rest[1..].to_vec();
        self.got(Got { number, seq: Some(seq), topic: Some(topic), kind, payload }, published);
    }

    /// A message must be the next of a feed that is wanted, or stand behind a gap that was told.
    /// Raw frames with `mode=latest` may jump ahead untold.
    fn got(&mut self, got: Got, published: &Published) {
        let kind = self.kind;
        let fits = |want: &&mut Want| {
            let log = published.get(&want.epoch).map_or(&[][..], Vec::as_slice);
            let may_jump = want.mode == Mode::Latest && !kind.is_multiplexed();
            let first = want.told.map_or(want.next_seq, |to| to + 1);
            let is_it = |seq: u64| {
                log.get(seq as usize - 1).is_some_and(|entry| {
                    (entry.kind, &entry.payload) == (got.kind, &got.payload)
                        && got.topic.as_ref().is_none_or(|topic| topic == entry.topic)
                })
            };
            let numbered = match got.number {
                Some(number) => number == want.number,
                None => kind.form != Form::Binary || matches!(want.target, Target::Pattern(_)),
            };
            let seq = match got.seq {
                Some(seq) => (seq == first || seq > first && may_jump) && is_it(seq),
                None => is_it(first),
            };
            numbered && seq
        };
        // What is over may still get the rest of one frame.
        self.wants.sort_by_key(|want| want.is_over);
        let found = self.wants.iter_mut().find(fits);
        if let Some(want) = found {
            let first = want.told.take().map_or(want.next_seq, |to| to + 1);
            want.next_seq = got.seq.unwrap_or(first) + 1;
            return;
        }
        assert!(
            self.jumps_ahead(&got, published),
            "lost, repeated or out of order: {got:?} for {:?}",
            self.wants
        );
    }

    fn jumps_ahead(&mut self, got: &Got, published: &Published) -> bool {
        let raw = self.kind.form == Form::Raw;
        for want in self.wants.iter_mut().filter(|want| raw && want.mode == Mode::Latest) {
            let log = published.get(&want.epoch).map_or(&[][..], Vec::as_slice);
            let from = want.next_seq as usize;
            let is_it = |entry: &Entry| (entry.kind, &entry.payload) == (got.kind, &got.payload);
            if let Some(at) = log.iter().skip(from).position(is_it) {
                want.next_seq = (from + at + 2) as u64;
                return true;
            }
        }
        false
    }

    /// A notice must begin where a feed stands, or where an earlier one ended.
    fn missed(&mut self, gap: &serde_json::Value) {
        let [from, to] = ["from", "to"].map(|key| gap[key].as_u64().unwrap());
        assert!(from <= to, "an empty gap is not told");
        // Of two subscriptions to one name in turn, it is the later that goes on.
        self.wants.sort_by_key(|want| want.is_over);
        let stands_there = |want: &&mut Want| {
            let named = gap["topic"].as_str().is_none_or(|topic| topic == want.target.as_str());
            let first = want.told.map_or(want.next_seq, |to| to + 1);
            let untold = want.mode == Mode::Latest && from > first;
            named && (first == from || untold)
        };
        let want = self.wants.iter_mut().find(stands_there);
        want.expect("the gap begins where a feed stood").told = Some(to);
    }

    fn read_event(&mut self, chunk: &[u8], published: &Published) {
        let text = String::from_utf8_lossy(chunk);
        let (_, body) = text.split_once("\r\n").unwrap();
        let field =
            |name: &str| body.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        match (field("id: "), field("event: ").as_deref()) {
            (Some(id), event) => {
                let (epoch, seq) = id.split_once('-').unwrap();
                assert_eq!(epoch.parse(), Ok(self.wants[0].epoch), "one feed a stream");
                let data = field("data: ").unwrap();
                let (kind, payload) = event_payload(event, &data);
                let seq = Some(seq.parse().unwrap());
                self.got(Got { number: None, seq, topic: None, kind, payload }, published);
            }
            (None, Some("gap")) => {
                let gap: serde_json::Value =
                    serde_json::from_str(&field("data: ").unwrap()).unwrap();
                self.missed(&gap);
            }
            (None, Some("close")) => self.closed = field("data: "),
            (None, None) => assert!(body.starts_with(':'), "only comments have no name: {body}"),
            other => panic!("unknown event {other:?}"),
        }
    }
}

fn event_payload(event: Option<&str>, data: &str) -> (Kind, Vec<u8>) {
    if event == Some("binary") {
        use base64::Engine as _;
        return (Kind::Binary, base64::engine::general_purpose::STANDARD.decode(data).unwrap());
    }
    (Kind::Text, data.as_bytes().to_vec())
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
