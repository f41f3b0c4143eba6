//! A tick as a message: one JSON text, or one binary message. Must not decide what is in it.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use gridcast::frame::Kind;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::aligner::{Held, Tick};
use crate::c37118::stamp::rfc3339;

/// What a tick holds of a topic: the message as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// JSON, or bytes.
    pub kind: Kind,
    /// The message.
    pub payload: Box<[u8]>,
}

impl Held for Value {
    fn bytes(&self) -> usize {
        self.payload.len()
    }
}

/// How ticks are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A JSON object.
    #[default]
    Json,
    /// Lengths and bytes.
    Binary,
}

/// The first byte of a binary tick: which layout follows.
const BINARY_VERSION: u8 = 1;

impl Form {
    /// What kind of message it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Json => Kind::Text,
            Self::Binary => Kind::Binary,
        }
    }

    /// Writes a tick into `out`, which is emptied first.
    ///
    /// # Errors
    /// Where a text is no JSON, which was looked at when it arrived.
    pub fn write(
        self,
        out: &mut Vec<u8>,
        group: &str,
        tick: &Tick<Value>,
    ) -> Result<(), serde_json::Error> {
        out.clear();
        match self {
            Self::Json => serde_json::to_writer(out, &Message::new(group, tick)),
            Self::Binary => {
                binary(out, tick);
                Ok(())
            }
        }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    group: &'a str,
    time: String,
    /// How many arrived, and of how many.
    arrived: usize,
    members: usize,
    missing: Vec<&'a str>,
    values: Values<'a>,
}

impl<'a> Message<'a> {
    fn new(group: &'a str, tick: &'a Tick<Value>) -> Self {
        let arrived = tick.values.len();
        Self {
            group,
            time: rfc3339(tick.instant_ns).to_string(),
            arrived,
            members: arrived + tick.missing.len(),
            missing: tick.missing.iter().map(|topic| &**topic).collect(),
            values: Values(tick),
        }
    }
}

/// JSON as it is, and bytes in base64, by topic.
struct Values<'a>(&'a Tick<Value>);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.values.iter().map(|(topic, value)| (&**topic, value)))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.kind {
            Kind::Text => {
                let raw: &RawValue =
                    serde_json::from_slice(&self.payload).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Kind::Binary => serializer.collect_str(&Base64Display::new(&self.payload, &STANDARD)),
        }
    }
}

/// Version, instant, how many arrived, how many are missing; then each that arrived as topic, kind
/// and payload, and each that is missing as topic. Lengths stand before what they are lengths of;
/// all numbers are big-endian.
fn binary(out: &mut Vec<u8>, tick: &Tick<Value>) {
    out.push(BINARY_VERSION);
    out.extend(tick.instant_ns.to_be_bytes());
    out.extend(length16(tick.values.len()));
    out.extend(length16(tick.missing.len()));
    for (topic, value) in &tick.values {
        put_topic(out, topic);
        out.push(u8::from(value.kind == Kind::Binary));
        out.extend(u32::try_from(value.payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(&value.payload[..]);
    }
    tick.missing.iter().for_each(|topic| put_topic(out, topic));
}

/// A topic has at most 255 bytes.
fn put_topic(out: &mut Vec<u8>, topic: &str) {
    out.push(u8::try_from(topic.len()).unwrap_or(u8::MAX));
    out.extend(topic.bytes());
}

/// A group has at most 10,000 members.
fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick() -> Tick<Value> {
        let value = |kind, payload: &str| Value { kind, payload: payload.as_bytes().into() };
        let values = [
            ("pmu/1".into(), value(Kind::Text, r#"{"f": 50.0}"#)),
            ("pmu/2".into(), value(Kind::Binary, "\u{1}\u{2}")),
        ];
        let missing = vec!["pmu/\"3".into()];
        Tick { instant_ns: 1_500_000_000, first_ns: 0, values: values.into(), missing }
    }

    #[test]
    fn json_repeats_json_and_writes_bytes_in_base64() {
        let mut out = b"before".to_vec();
        Form::Json.write(&mut out, "north", &tick()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"group":"north","time":"1970-01-01T00:00:01.500000000Z","#,
                r#""arrived":2,"members":3,"missing":["pmu/\"3"],"#,
                r#""values":{"pmu/1":{"f": 50.0},"pmu/2":"AQI="}}"#
            )
        );
    }

    #[test]
    fn a_binary_tick_is_lengths_and_bytes() {
        let mut out = Vec::new();
        Form::Binary.write(&mut out, "north", &tick()).unwrap();
        let expected: &[&[u8]] = &[
            &[1],
            &1_500_000_000u64.to_be_bytes(),
            &[0, 2, 0, 1, 5],
            b"pmu/1",
            &[0, 0, 0, 0, 11],
            br#"{"f": 50.0}"#,
            b"\x05pmu/2",
            &[1, 0, 0, 0, 2, 1, 2],
            b"\x06pmu/\"3",
        ];
        assert_eq!(out, expected.concat());
    }
}
