//! Publish commands: lines of JSON in, topics and payloads out.
//! It applies nothing: the caller publishes. A payload is the very bytes that stood in the line,
//! never a re-serialised value, so numbers and spacing reach subscribers as they were written.

use crate::feed::pattern::{Topic, TopicError};
use crate::frame::Kind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use simd_json::Buffers;
use simd_json::prelude::ValueAsScalar;
use simd_json::tape::{Object, Value};
use std::borrow::Cow;
use thiserror::Error;

/// One message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'l> {
    /// Where it goes.
    pub topic: Topic,
    /// How it is framed; text is UTF-8.
    pub kind: Kind,
    /// What subscribers get.
    pub payload: Cow<'l, [u8]>,
}

/// Why a command cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The line is not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The line is JSON, but no object.
    #[error("a command is a JSON object")]
    NotObject,
    /// A key that means nothing here.
    #[error("unknown key `{0}`: known are topic, data, data64 and text")]
    UnknownKey(String),
    /// A key that stands there twice.
    #[error("key `{0}` twice")]
    DoubledKey(String),
    /// A key whose value is not what it must be.
    #[error("`{key}` must be {wanted}")]
    WrongValue {
        /// The key.
        key: &'static str,
        /// What its value must be.
        wanted: &'static str,
    },
    /// No topic.
    #[error("`topic` is missing")]
    NoTopic,
    /// A topic that is none.
    #[error("`topic`: {0}")]
    Topic(#[from] TopicError),
    /// A topic that is not the client's to use.
    #[error("topics that start with `$` are the engine's own")]
    EnginesTopic,
    /// Neither `data` nor `data64`, or both.
    #[error("exactly one of `data` and `data64` is needed")]
    NotOnePayload,
}

/// The commands of `body`, one a line, with the number of their line counted from 1. Empty lines
/// are skipped. A line that fails does not hinder the next one: what that means is the caller's.
pub fn publishes(body: &[u8]) -> impl Iterator<Item = (u64, Result<Publish<'_>, CommandError>)> {
    let mut parser = Parser::default();
    let lines = (1..).zip(body.split(|&b| b == b'\n').map(<[u8]>::trim_ascii));
    lines.filter(|(_, line)| !line.is_empty()).map(move |(at, line)| (at, parser.publish(line)))
}

/// A parser whose buffers are used again for every line.
#[derive(Default)]
struct Parser {
    /// The copy of the line that simd-json works on: it unescapes strings over what it reads, so
    /// the original is kept to cut the payload from.
    scratch: Vec<u8>,
    buffers: Buffers,
}

impl Parser {
    fn publish<'l>(&mut self, line: &'l [u8]) -> Result<Publish<'l>, CommandError> {
        self.scratch.clear();
        self.scratch.extend_from_slice(line);
        let tape = simd_json::to_tape_with_buffers(&mut self.scratch, &mut self.buffers)
            .map_err(|error| CommandError::NotJson(error.to_string()))?;
        let object = tape.as_value().as_object().ok_or(CommandError::NotObject)?;
        let members = Members::read(&object)?;
        let spans = Spans { line, structurals: self.buffers.structural_indexes() };
        let (kind, payload) = members.payload(&spans)?;
        Ok(Publish { topic: members.topic()?, kind, payload })
    }
}

/// The members of a command. `data` is known by its place among them too, because its bytes are
/// cut from the line.
#[derive(Default)]
struct Members<'t, 'i> {
    topic: Option<Value<'t, 'i>>,
    data: Option<(usize, Value<'t, 'i>)>,
    data64: Option<Value<'t, 'i>>,
    text: Option<Value<'t, 'i>>,
}

impl<'t, 'i> Members<'t, 'i> {
    fn read(object: &Object<'t, 'i>) -> Result<Self, CommandError> {
        let mut members = Self::default();
        for (place, (key, value)) in object.iter().enumerate() {
            let is_doubled = match key {
                "topic" => members.topic.replace(value).is_some(),
                "data" => members.data.replace((place, value)).is_some(),
                "data64" => members.data64.replace(value).is_some(),
                "text" => members.text.replace(value).is_some(),
                _ => return Err(CommandError::UnknownKey(key.to_owned())),
            };
            if is_doubled {
                return Err(CommandError::DoubledKey(key.to_owned()));
            }
        }
        Ok(members)
    }

    fn topic(&self) -> Result<Topic, CommandError> {
        let topic = self.topic.ok_or(CommandError::NoTopic)?;
        let topic = Topic::new(topic.as_str().ok_or(wrong("topic", "a string"))?)?;
        if topic.is_engines() {
            return Err(CommandError::EnginesTopic);
        }
        Ok(topic)
    }

    fn payload<'l>(&self, spans: &Spans<'l, '_>) -> Result<(Kind, Cow<'l, [u8]>), CommandError> {
        let is_text = match self.text {
            Some(text) => text.as_bool().ok_or(wrong("text", "true or false"))?,
            None => false,
        };
        match (self.data, self.data64) {
            (Some((_, data)), None) if is_text => {
                let text = data.as_str().ok_or(wrong("data", "a string where text is true"))?;
                Ok((Kind::Text, Cow::Owned(text.as_bytes().to_vec())))
            }
            (Some((place, _)), None) => {
                let json = spans.value(place).ok_or(wrong("data", "a JSON value"))?;
                Ok((Kind::Text, Cow::Borrowed(json)))
            }
            (None, Some(_)) if is_text => Err(wrong("text", "false beside data64")),
            (None, Some(data64)) => {
                let bytes = data64.as_str().and_then(|text| STANDARD.decode(text).ok());
                let bytes = bytes.ok_or(wrong("data64", "a string of base64"))?;
                Ok((Kind::Binary, Cow::Owned(bytes)))
            }
            _ => Err(CommandError::NotOnePayload),
        }
    }
}

/// Where the values of an object stand in its line. The parser's first pass has noted every
/// bracket, colon, comma and start of a value outside strings.
struct Spans<'l, 's> {
    line: &'l [u8],
    structurals: &'s [u32],
}

impl<'l> Spans<'l, '_> {
    /// The bytes of the value of the member at `place`, without the space around it.
    fn value(&self, place: usize) -> Option<&'l [u8]> {
        let (mut depth, mut colons, mut start) = (0_u32, 0, None);
        for &at in self.structurals {
            let at = at as usize;
            match self.line.get(at)? {
                b'{' | b'[' => depth += 1,
                b':' if depth == 1 => {
                    if colons == place {
                        start = Some(at + 1);
                    }
                    colons += 1;
                }
                b',' if depth == 1 => {
                    if let Some(start) = start {
                        return self.line.get(start..at).map(<[u8]>::trim_ascii);
                    }
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    if let (0, Some(start)) = (depth, start) {
                        return self.line.get(start..at).map(<[u8]>::trim_ascii);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

const fn wrong(key: &'static str, wanted: &'static str) -> CommandError {
    CommandError::WrongValue { key, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> Result<(String, Kind, Vec<u8>), CommandError> {
        let (number, parsed) = publishes(line.as_bytes()).next().unwrap();
        assert_eq!(number, 1);
        parsed.map(|p| (p.topic.to_string(), p.kind, p.payload.into_owned()))
    }

    fn payload_of(line: &str) -> String {
        String::from_utf8(one(line).unwrap().2).unwrap()
    }

    #[test]
    fn json_is_published_as_it_was_written() {
        for data in [
            "1.0",
            "-0",
            "100e-2",
            "0.10000000000000000000001",
            "null",
            "\"a\\u00e4\\n\\\"}\"",
            "{ \"b\" : [1, {\"c\": \"}],:\"}],\"a\":{} }",
            "[]",
        ] {
            assert_eq!(payload_of(&format!("{{\"topic\":\"t\",\"data\": {data} }}")), data);
            assert_eq!(payload_of(&format!("{{\"data\":{data},\"topic\":\"t\"}}")), data);
        }
    }

    #[test]
    fn text_and_bytes_are_decoded() {
        assert_eq!(
            one(r#"{"topic":"a\/b","data":"l\u00e4\n","text":true}"#),
            Ok(("a/b".into(), Kind::Text, "lä\n".into()))
        );
        assert_eq!(
            one(r#"{"topic":"t","data64":"AP8=","text":false}"#),
            Ok(("t".into(), Kind::Binary, vec![0, 255]))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, message) in [
            (r#"{"topic":"t""#, "not JSON: "),
            ("[1]", "a command is a JSON object"),
            (r#"{"data":1}"#, "`topic` is missing"),
            (r#"{"topic":1,"data":1}"#, "`topic` must be a string"),
            (r#"{"topic":"a//b","data":1}"#, "`topic`: segment 2 is empty"),
            (r#"{"topic":"$sys/a","data":1}"#, "topics that start with `$`"),
            (r#"{"topic":"t"}"#, "exactly one of `data` and `data64`"),
            (r#"{"topic":"t","data":1,"data64":""}"#, "exactly one of `data` and `data64`"),
            (r#"{"topic":"t","data64":"?"}"#, "`data64` must be a string of base64"),
            (r#"{"topic":"t","data":1,"text":true}"#, "`data` must be a string where"),
            (r#"{"topic":"t","data":"","text":1}"#, "`text` must be true or false"),
            (r#"{"topic":"t","data":1,"x":1}"#, "unknown key `x`"),
            (r#"{"topic":"t","data":1,"data":2}"#, "key `data` twice"),
        ] {
            let error = one(line).unwrap_err().to_string();
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }

    #[test]
    fn control_characters_in_a_string_are_not_json() {
        assert!(one("{\"topic\":\"t\",\"data\":\"a\tb\"}").is_err());
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = format!("{{\"topic\":\"t\",\"data\":{}", "[".repeat(100_000));
        assert!(one(&deep).is_err());
    }

    #[test]
    fn lines_are_numbered_and_one_bad_line_does_not_spoil_the_next() {
        let body = b"{\"topic\":\"a\",\"data\":1}\r\n\n  \nnope\n{\"topic\":\"b\",\"data\":2}";
        let seen: Vec<(u64, bool)> = publishes(body).map(|(at, p)| (at, p.is_ok())).collect();
        assert_eq!(seen, [(1, true), (4, false), (5, true)]);
    }

    proptest! {
        #[test]
        fn agrees_with_another_parser(line in "[{}\\[\\]:,\"a\\\\ 0-9.-]{0,20}") {
            let line = format!("{{\"topic\":\"t\",\"data\":{line}}}");
            let other: Result<serde_json::Value, _> = serde_json::from_str(&line);
            match one(&line) {
                Ok((_, _, payload)) => {
                    let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                    prop_assert_eq!(&other.unwrap()["data"], &value);
                }
                // Where this one is stricter, it is about the command, or about numbers that
                // neither 64-bit integers nor floats hold.
                Err(CommandError::NotJson(_)) => {}
                Err(_) => {}
            }
        }

        #[test]
        fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(publishes(&body).count() <= body.len());
        }
    }
}
