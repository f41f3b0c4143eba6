//! The body of an answer about the past: records of messages, notices of what is missing, and the
//! end, in each of its formats. Must not know where records come from, or how much one may ask for.

use crate::feed::epoch::Position;
use crate::feed::gap::Gap;
use crate::feed::message::{Message, Origin};
use crate::frame::Kind;
use crate::wire::{envelope, gap, json, text};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    #[default]
    Ndjson,
    /// One JSON object.
    Json,
    /// Records that begin with their length.
    Binary,
}

/// A message of the past.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When it came, ms of UTC since 1970.
    pub time_ms: u64,
    /// Where it stands.
    pub position: Position,
    /// Its topic, and the pattern that was asked for.
    pub origin: &'a Origin,
    /// The message.
    pub message: Message<'a>,
}

/// What is said at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End<'a> {
    /// What to ask for `from` to go on; none when nothing was found and no position was given.
    pub next: Option<Position>,
    /// Messages in the answer.
    pub records: u64,
    /// Whether nothing that was asked for is left.
    pub complete: bool,
    /// Why it ends early, where that is no limit of the question.
    pub error: Option<&'a str>,
}

/// The first byte of a binary record that is not a message: what follows is JSON.
const NOTICE: u8 = 2;

impl Format {
    /// The words of the option `format`.
    pub const WORDS: &'static [&'static str] = &["ndjson", "json", "binary"];

    /// The format of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        let all = [Self::Ndjson, Self::Json, Self::Binary];
        Self::WORDS.iter().zip(all).find_map(|(known, format)| (*known == word).then_some(format))
    }

    /// What it is called in headers.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Binary => "application/octet-stream",
        }
    }
}

/// Writes the body of one answer, bit by bit.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    format: Format,
    is_empty: bool,
}

impl Writer {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, is_empty: true }
    }

    /// In which format it writes.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends a message.
    pub fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        match self.format {
            Format::Binary => framed(out, |out| binary(out, record)),
            _ => self.item(out, |out| object(out, record)),
        }
    }

    /// Appends that frames are missing.
    pub fn gap(&mut self, out: &mut Vec<u8>, missed: Gap) {
        self.item(out, |out| out.extend_from_slice(&gap::notice(None, missed)));
    }

    /// Appends the end, after which nothing may follow.
    pub fn end(&mut self, out: &mut Vec<u8>, end: &End<'_>) {
        if self.format != Format::Json {
            return self.item(out, |out| {
                out.push(b'{');
                end_member(out, end);
                out.push(b'}');
            });
        }
        if self.is_empty {
            out.extend_from_slice(br#"{"records":["#);
        }
        out.extend_from_slice(b"],");
        end_member(out, end);
        out.extend_from_slice(b"}\n");
    }

    fn item(&mut self, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
        let is_first = std::mem::take(&mut self.is_empty);
        match self.format {
            Format::Ndjson => {
                body(out);
                out.push(b'\n');
            }
            Format::Json => {
                let before: &[u8] = if is_first { br#"{"records":["# } else { b"," };
                out.extend_from_slice(before);
                body(out);
            }
            Format::Binary => framed(out, |out| {
                out.push(NOTICE);
                body(out);
            }),
        }
    }
}

fn end_member(out: &mut Vec<u8>, end: &End<'_>) {
    out.extend_from_slice(br#""end":{"#);
    if let Some(next) = end.next {
        text::text(out, format_args!(r#""next":"{next}","#));
    }
    let End { records, complete, .. } = end;
    text::text(out, format_args!(r#""records":{records},"complete":{complete}"#));
    if let Some(error) = end.error {
        out.extend_from_slice(br#","error":"#);
        text::json_string(out, error);
    }
    out.push(b'}');
}

fn object(out: &mut Vec<u8>, record: &Record<'_>) {
    let Record { time_ms, position, origin, message } = *record;
    out.push(b'{');
    envelope::names(out, origin);
    let Position { epoch, seq } = position;
    text::text(out, format_args!(r#","epoch":"{epoch}","seq":{seq},"time_ms":{time_ms},"#));
    let start = out.len();
    let is_json = message.kind == Kind::Text && json::is_portable(message.payload);
    envelope::data(out, message, is_json);
    if is_json {
        // Between the parts of a JSON text a line break is a space; within strings there is none.
        let written = out.get_mut(start..).unwrap_or_default();
        written.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|b| *b = b' ');
    }
    out.push(b'}');
}

/// `kind · varint time_ms · varint epoch · varint seq · varint topic length · topic · payload`;
/// the kind is 1 for text and 0 for bytes.
fn binary(out: &mut Vec<u8>, record: &Record<'_>) {
    let Record { time_ms, position, origin, message } = *record;
    out.push(u8::from(message.kind == Kind::Text));
    for number in [time_ms, position.epoch.0, position.seq, origin.topic.len() as u64] {
        envelope::varint(out, number);
    }
    out.extend_from_slice(origin.topic.as_bytes());
    out.extend_from_slice(message.payload);
}

/// A length of four bytes, the highest first, and what it counts.
fn framed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let len = (out.len() - start - 4) as u32;
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::epoch::Epoch;
    use crate::feed::gap::GapReason;
    use crate::feed::topic::Pattern;
    use proptest::prelude::*;
    use serde_json::Value;

    fn origin(pattern: Option<&str>) -> Origin {
        let pattern = pattern.map(|pattern| Pattern::new(pattern).unwrap());
        Origin { topic: "pmu/1".into(), pattern, number: 7 }
    }

    fn written(format: Format, messages: &[(Kind, &[u8])], end: &End<'_>) -> Vec<u8> {
        let (mut out, mut writer) = (Vec::new(), Writer::new(format));
        let origin = origin(None);
        for (seq, (kind, payload)) in (1..).zip(messages) {
            let position = Position { epoch: Epoch(723), seq };
            let message = Message::of_client(*kind, payload);
            let record = Record { time_ms: 1_000, position, origin: &origin, message };
            writer.record(&mut out, &record);
        }
        writer.end(&mut out, end);
        out
    }

    fn text(format: Format, messages: &[(Kind, &[u8])], end: &End<'_>) -> String {
        String::from_utf8(written(format, messages, end)).unwrap()
    }

    const MESSAGES: [(Kind, &[u8]); 3] =
        [(Kind::Text, b"{\"f\":\n 50.02}"), (Kind::Text, b"50,02"), (Kind::Binary, &[0, 255])];

    #[test]
    fn the_formats_are_the_documented_ones() {
        let next = Some(Position { epoch: Epoch(723), seq: 3 });
        let end = End { next, records: 3, complete: true, error: None };
        assert_eq!(
            text(Format::Ndjson, &MESSAGES, &end),
            "{\"topic\":\"pmu/1\",\"epoch\":\"k3\",\"seq\":1,\"time_ms\":1000,\
             \"data\":{\"f\":  50.02}}\n\
             {\"topic\":\"pmu/1\",\"epoch\":\"k3\",\"seq\":2,\"time_ms\":1000,\
             \"data\":\"50,02\",\"text\":true}\n\
             {\"topic\":\"pmu/1\",\"epoch\":\"k3\",\"seq\":3,\"time_ms\":1000,\
             \"data64\":\"AP8=\"}\n\
             {\"end\":{\"next\":\"k3-3\",\"records\":3,\"complete\":true}}\n"
        );
        let whole: Value = serde_json::from_str(&text(Format::Json, &MESSAGES, &end)).unwrap();
        assert_eq!(whole["records"].as_array().unwrap().len(), 3);
        assert_eq!(whole["records"][0]["data"]["f"], 50.02);
        assert_eq!(whole["end"]["next"], "k3-3");
        let none = End { error: Some("no \"answer\""), ..End::default() };
        assert_eq!(
            text(Format::Json, &[], &none),
            "{\"records\":[],\"end\":{\"records\":0,\"complete\":false,\
             \"error\":\"no \\\"answer\\\"\"}}\n"
        );
        let bytes = written(Format::Binary, &MESSAGES[2..], &End::default());
        let (record, rest) = bytes[4..].split_at(usize::from(bytes[3]));
        assert_eq!(record, b"\x00\xe8\x07\xd3\x05\x01\x05pmu/1\x00\xff");
        assert_eq!(&rest[4..], b"\x02{\"end\":{\"records\":0,\"complete\":false}}");
        assert_eq!(usize::from(rest[3]), rest.len() - 4);
    }

    #[test]
    fn a_gap_is_told_where_it_is() {
        let missed = Gap { from: 4, to: 5, frames: Some(2), reason: GapReason::Expired };
        let told = "{\"gap\":{\"from\":4,\"to\":5,\"frames\":2,\"reason\":\"expired\"}}";
        for (format, expected) in [
            (Format::Ndjson, format!("{told}\n")),
            (Format::Json, format!("{{\"records\":[{told}")),
            (Format::Binary, format!("\0\0\0\x38\x02{told}")),
        ] {
            let mut out = Vec::new();
            Writer::new(format).gap(&mut out, missed);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_pattern_is_named_beside_the_topic() {
        let (origin, mut out) = (origin(Some("pmu/+")), Vec::new());
        let position = Position { epoch: Epoch(1), seq: 1 };
        let message = Message::of_client(Kind::Text, b"1");
        let record = Record { time_ms: 1, position, origin: &origin, message };
        Writer::new(Format::Ndjson).record(&mut out, &record);
        assert!(out.starts_with(br#"{"topic":"pmu/1","pattern":"pmu/+","epoch":"1","seq":1,"#));
    }

    proptest! {
        #[test]
        fn every_line_is_one_json_object(text in "[ -~\n\r\\[\\]{}0-9\"]{0,40}") {
            let messages = [(Kind::Text, text.as_bytes())];
            let lines = String::from_utf8(written(Format::Ndjson, &messages, &End::default()));
            let lines = lines.unwrap();
            prop_assert_eq!(lines.lines().count(), 2);
            let value: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
            match value["text"].as_bool() {
                Some(true) => prop_assert_eq!(value["data"].as_str().unwrap(), text),
                _ => {
                    let data: Value = serde_json::from_str(&text).unwrap();
                    prop_assert_eq!(&value["data"], &data);
                }
            }
        }
    }
}
