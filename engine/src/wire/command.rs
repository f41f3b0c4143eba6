//! Commands of clients: JSON in, actions out. Lines of a POST publish; messages of a multiplexed
//! client also subscribe and unsubscribe. A payload is the bytes that stood in the line, never
//! serialised again, so numbers and spacing reach subscribers as written. Must not carry out a
//! command.

use crate::feed::options::{LATEST_AND_LAG, Mode, Options, Rate, RateError, UnknownWord};
use crate::feed::topic::{Target, Topic, TopicError};
use crate::frame::Kind;
use crate::settings::nearest::{clip, hint};
use crate::wire::data64;
use crate::wire::json;
use simd_json::prelude::ValueAsScalar;
use simd_json::tape::{Object, Value};
use simd_json::{Buffers, Node, Tape};
use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::ops::Range;
use std::str::FromStr;
use thiserror::Error;

/// What a multiplexed client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'l> {
    /// What the reply is called by; without it there is none.
    pub id: Option<Id>,
    /// What is asked for.
    pub action: Action<'l>,
}

/// What a multiplexed client may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'l> {
    /// To follow a topic or a pattern.
    Subscribe {
        /// What to follow.
        target: Target,
        /// How.
        options: Options,
        /// Whether the answer comes without an id as well.
        ack: bool,
    },
    /// To follow it no longer.
    Unsubscribe {
        /// What was followed.
        target: Target,
    },
    /// To publish a message.
    Publish(Publish<'l>),
    /// To be judged by this token from now on.
    Authenticate(Token),
}

/// A token as a client sent it; nobody sees it by printing this.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The client's name for a command: a JSON number or string, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
    #[error("unknown key `{key}`: {hint}")]
    UnknownKey {
        /// What was written.
        key: String,
        /// What to write instead.
        hint: String,
    },
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
    /// None of the actions, or several.
    #[error("exactly one of `subscribe`, `unsubscribe`, `publish` and `auth` is needed")]
    NotOneAction,
    /// A subscription option with a value that is none of its own.
    #[error("`{key}`: {error}")]
    Option {
        /// The option.
        key: &'static str,
        /// What is wrong.
        error: UnknownWord,
    },
    /// A rate that is none.
    #[error("`rate`: {0}")]
    Rate(#[from] RateError),
    /// Options that exclude each other.
    #[error("{LATEST_AND_LAG}")]
    LatestAndLag,
}

/// The commands of `body`, one a line, with the number of their line counted from 1. Empty lines
/// are skipped. A line that fails does not hinder the next one: what that means is the caller's.
pub fn publishes(body: &[u8]) -> impl Iterator<Item = (u64, Result<Publish<'_>, CommandError>)> {
    let mut parser = Parser::default();
    let lines = (1..).zip(body.split(|&b| b == b'\n').map(<[u8]>::trim_ascii));
    lines.filter(|(_, line)| !line.is_empty()).map(move |(at, line)| (at, parser.publish(line)))
}

/// A parser whose buffers are used again for every line.
pub struct Parser {
    /// The copy of the line that simd-json works on: it unescapes strings over what it reads, so
    /// the original is kept to cut the payload from.
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Parser {
    fn default() -> Self {
        Self { scratch: Vec::new(), buffers: Buffers::default(), tape: Tape(Vec::new()) }
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("scratch_bytes", &self.scratch.capacity()).finish()
    }
}

impl Parser {
    /// Reads one message of a multiplexed client.
    ///
    /// # Errors
    /// [`CommandError`], with the id if it could be read, so that the answer can name it.
    pub fn command<'l>(
        &mut self,
        line: &'l [u8],
    ) -> Result<Command<'l>, (Option<Id>, CommandError)> {
        self.parse(line, |object, spans| {
            let mut id = None;
            let action = read_command(object, spans, &mut id);
            action.map_err(|error| (id.clone(), error)).map(|action| Command { id, action })
        })
        .map_err(|error| {
            let written = json::find_scalar(line, "id");
            (written.and_then(|written| read_id(Some(written)).ok()), error)
        })?
    }

    /// Reads one line of a POST.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn publish<'l>(&mut self, line: &'l [u8]) -> Result<Publish<'l>, CommandError> {
        self.parse(line, |object, spans| Members::read(object)?.publish(spans))?
    }

    fn parse<'l, T>(
        &mut self,
        line: &'l [u8],
        read: impl FnOnce(&Object<'_, '_>, &Spans<'l, '_>) -> T,
    ) -> Result<T, CommandError> {
        self.scratch.clear();
        self.scratch.extend_from_slice(line);
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let mut parsed = simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape);
        if parsed.is_err() && json::is_valid(line) {
            // A value that this parser cannot hold: payloads are cut from the line all the same.
            (self.tape, tape) = (tape.reset(), Tape(Vec::new()));
            self.scratch.clear();
            self.scratch.extend_from_slice(line);
            json::make_portable(&mut self.scratch);
            parsed = simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape);
        }
        let parsed = parsed.map_err(|_| CommandError::NotJson(json::fault(line)));
        let answer = parsed.and_then(|()| {
            let object = tape.as_value().as_object().ok_or(CommandError::NotObject)?;
            let structurals = self.buffers.structural_indexes();
            Ok(read(&object, &Spans { line, structurals, within: 0..line.len() }))
        });
        self.tape = tape.reset();
        self.shrink();
        answer
    }

    /// One large line must not cost for ever. The buffers of simd-json, whose size it does not
    /// tell, grow in proportion to the two that are looked at.
    fn shrink(&mut self) {
        let tape_bytes = self.tape.0.capacity() * mem::size_of::<Node<'static>>();
        if self.scratch.capacity().max(tape_bytes) > BUFFER_BYTES_KEPT {
            *self = Self::default();
        }
    }
}

fn read_command<'l>(
    object: &Object<'_, '_>,
    spans: &Spans<'l, '_>,
    id: &mut Option<Id>,
) -> Result<Action<'l>, CommandError> {
    // The id first, wherever it stands, so that every error can name it.
    for (place, _) in object.iter().enumerate().filter(|(_, (key, _))| *key == "id") {
        if id.replace(read_id(spans.value(place))?).is_some() {
            return Err(CommandError::DoubledKey("id".to_owned()));
        }
    }
    let mut action = None;
    for (place, (key, value)) in object.iter().enumerate().filter(|(_, (key, _))| *key != "id") {
        let (name, object) = match ACTIONS.iter().find(|known| **known == key) {
            Some(name) => (*name, value.as_object().ok_or(wrong(name, "an object"))?),
            None => return Err(unknown_key(key, &KEYS)),
        };
        let parsed = match name {
            "subscribe" => read_subscribe(&object, id.is_some())?,
            "unsubscribe" => read_unsubscribe(&object)?,
            "auth" => read_auth(&object)?,
            _ => Action::Publish(Members::read(&object)?.publish(&spans.inner(place))?),
        };
        if action.replace(parsed).is_some() {
            return Err(CommandError::NotOneAction);
        }
    }
    action.ok_or(CommandError::NotOneAction)
}

fn read_id(written: Option<&[u8]>) -> Result<Id, CommandError> {
    let is_id = |text: &&str| {
        let starts = text.starts_with('"') || text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        starts && text.len() <= ID_BYTES_MAX
    };
    let text = written.and_then(|bytes| std::str::from_utf8(bytes).ok()).filter(is_id);
    let wanted = "an integer or a string of at most 64 bytes";
    text.map(|text| Id(text.to_owned())).ok_or(wrong("id", wanted))
}

fn read_subscribe(object: &Object<'_, '_>, has_id: bool) -> Result<Action<'static>, CommandError> {
    let (mut target, mut from, mut mode, mut rate, mut lag) = (None, None, None, None, None);
    let mut ack = None;
    for (key, value) in object.iter() {
        match key {
            "topic" => once(&mut target, key, read_target(value)?)?,
            "from" => once(&mut from, key, read_word("from", value)?)?,
            "mode" => once(&mut mode, key, read_word("mode", value)?)?,
            "lag" => once(&mut lag, key, read_word("lag", value)?)?,
            "rate" => once(&mut rate, key, read_rate(value)?)?,
            "ack" => once(&mut ack, key, value.as_bool().ok_or(wrong("ack", "true or false"))?)?,
            _ => return Err(unknown_key(key, &["topic", "from", "mode", "rate", "lag", "ack"])),
        }
    }
    if has_id && ack == Some(false) {
        return Err(wrong("ack", "true beside an id, which is always answered"));
    }
    let target = target.ok_or(CommandError::NoTopic)?;
    let mode = mode.unwrap_or_default();
    if mode == Mode::Latest && lag.is_some() {
        return Err(CommandError::LatestAndLag);
    }
    let options = Options { from: from.unwrap_or_default(), mode, rate, lag };
    Ok(Action::Subscribe { target, options, ack: ack.unwrap_or(false) })
}

fn read_unsubscribe(object: &Object<'_, '_>) -> Result<Action<'static>, CommandError> {
    let mut target = None;
    for (key, value) in object.iter() {
        match key {
            "topic" => once(&mut target, key, read_target(value)?)?,
            _ => return Err(unknown_key(key, &["topic"])),
        }
    }
    target.map(|target| Action::Unsubscribe { target }).ok_or(CommandError::NoTopic)
}

fn read_auth(object: &Object<'_, '_>) -> Result<Action<'static>, CommandError> {
    let mut token = None;
    let wanted = || wrong("token", "a string");
    for (key, value) in object.iter() {
        match key {
            "token" => once(&mut token, key, value.as_str().ok_or_else(wanted)?.to_owned())?,
            _ => return Err(unknown_key(key, &["token"])),
        }
    }
    token.map(|token| Action::Authenticate(Token(token))).ok_or_else(wanted)
}

fn read_target(value: Value<'_, '_>) -> Result<Target, CommandError> {
    Ok(value.as_str().ok_or(wrong("topic", "a string"))?.parse()?)
}

fn read_word<T: FromStr<Err = UnknownWord>>(
    key: &'static str,
    value: Value<'_, '_>,
) -> Result<T, CommandError> {
    let word = value.as_str().ok_or(wrong(key, "a string"))?;
    word.parse().map_err(|error| CommandError::Option { key, error })
}

fn read_rate(value: Value<'_, '_>) -> Result<Rate, CommandError> {
    let per_s = value.as_u64().ok_or(wrong("rate", "a whole number of frames a second"))?;
    Ok(Rate::new(per_s)?)
}

fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), CommandError> {
    match slot.replace(value) {
        Some(_) => Err(CommandError::DoubledKey(key.to_owned())),
        None => Ok(()),
    }
}

fn unknown_key(key: &str, known: &[&str]) -> CommandError {
    let key = clip(key);
    CommandError::UnknownKey { hint: hint(&key, known), key }
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
            match key {
                "topic" => once(&mut members.topic, key, value)?,
                "data" => once(&mut members.data, key, (place, value))?,
                "data64" => once(&mut members.data64, key, value)?,
                "text" => once(&mut members.text, key, value)?,
                _ => return Err(unknown_key(key, &["topic", "data", "data64", "text"])),
            }
        }
        Ok(members)
    }

    fn publish<'l>(&self, spans: &Spans<'l, '_>) -> Result<Publish<'l>, CommandError> {
        let (kind, payload) = self.payload(spans)?;
        Ok(Publish { topic: self.topic()?, kind, payload })
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
                let bytes = data64.as_str().and_then(data64::read);
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
    /// Where the object itself stands.
    within: Range<usize>,
}

impl<'l, 's> Spans<'l, 's> {
    /// The bytes of the value of the member at `place`, without the space around it.
    fn value(&self, place: usize) -> Option<&'l [u8]> {
        self.line.get(self.range(place)?).map(<[u8]>::trim_ascii)
    }

    /// The spans of the object that is the value of the member at `place`.
    fn inner(&self, place: usize) -> Spans<'l, 's> {
        let within = self.range(place).unwrap_or(0..0);
        Spans { line: self.line, structurals: self.structurals, within }
    }

    fn range(&self, place: usize) -> Option<Range<usize>> {
        let (mut depth, mut colons, mut start) = (0_u32, 0, None);
        let first = self.structurals.partition_point(|at| (*at as usize) < self.within.start);
        for at in self.structurals.iter().skip(first).map(|at| *at as usize) {
            match self.line.get(..self.within.end)?.get(at)? {
                b'{' | b'[' => depth += 1,
                b':' if depth == 1 => {
                    if colons == place {
                        start = Some(at + 1);
                    }
                    colons += 1;
                }
                b',' if depth == 1 => {
                    if let Some(start) = start {
                        return Some(start..at);
                    }
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    if let (0, Some(start)) = (depth, start) {
                        return Some(start..at);
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

const ACTIONS: [&str; 4] = ["subscribe", "unsubscribe", "publish", "auth"];

/// What may stand in a command.
const KEYS: [&str; 5] = ["id", "subscribe", "unsubscribe", "publish", "auth"];

/// The longest id, bytes as written.
const ID_BYTES_MAX: usize = 64;

/// The largest buffer kept between lines: what is larger is rare enough to pay for its own memory.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

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
            "18446744073709551616",
            "-123456789012345678901234567890",
            "1e999",
            "[1, {\"a\": 1e-999}, -1E+400, \"\\ud800\"]",
            "\"\\ude00 \\ud83d\"",
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
            (r#"{"topic":"t""#, "not JSON: it ends within an object after character 12"),
            ("\u{feff}{\"topic\":\"t\",\"data\":1}", "not JSON: it begins with a byte order mark"),
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

    fn command(line: &str) -> Result<Command<'_>, (Option<String>, String)> {
        let error =
            |(id, error): (Option<Id>, CommandError)| (id.map(|id| id.0), error.to_string());
        Parser::default().command(line.as_bytes()).map_err(error)
    }

    #[test]
    fn the_documented_commands_are_read() {
        let Command { id, action } =
            command(r#"{"id":1,"subscribe":{"topic":"pmu/1001","from":"last"}}"#).unwrap();
        assert_eq!(id, Some(Id("1".into())));
        let options = Options { from: "last".parse().unwrap(), ..Options::default() };
        let target = "pmu/1001".parse().unwrap();
        assert_eq!(action, Action::Subscribe { target, options, ack: false });
        let Command { action, .. } = command(
            r#"{"subscribe":{"rate":10,"topic":"pmu/#","mode":"latest","from":"k3-41"},"id":"a"}"#,
        )
        .unwrap();
        let options = Options {
            from: "k3-41".parse().unwrap(),
            mode: Mode::Latest,
            rate: Some(Rate::new(10).unwrap()),
            lag: None,
        };
        let target = "pmu/#".parse().unwrap();
        assert_eq!(action, Action::Subscribe { target, options, ack: false });
        for line in [
            r#"{"subscribe":{"topic":"a","ack":true}}"#,
            r#"{"id":1,"subscribe":{"ack":true,"topic":"a"}}"#,
        ] {
            let Command { action, .. } = command(line).unwrap();
            let (target, options) = ("a".parse().unwrap(), Options::default());
            assert_eq!(action, Action::Subscribe { target, options, ack: true });
        }
        let Command { id, action } = command(r#"{"unsubscribe":{"topic":"a"},"id":"x"}"#).unwrap();
        assert_eq!(id, Some(Id("\"x\"".into())));
        assert_eq!(action, Action::Unsubscribe { target: "a".parse().unwrap() });
        let line = r#" { "publish" : {"topic":"alarms", "data": {"a": 1} } , "id" : -3 } "#;
        let Command { id, action } = command(line).unwrap();
        let Action::Publish(publish) = action else { panic!("no publish") };
        assert_eq!((id, &*publish.payload), (Some(Id("-3".into())), &br#"{"a": 1}"#[..]));
    }

    #[test]
    fn what_is_wrong_with_a_command_is_named_with_its_id() {
        for (line, id, message) in [
            ("[]", None, "a command is a JSON object"),
            ("{}", None, "exactly one of `subscribe`"),
            (r#"{"id":7}"#, Some("7"), "exactly one of `subscribe`"),
            (r#"{"id":{},"publish":{}}"#, None, "`id` must be an integer or a string"),
            (
                r#"{"id":7,"publish":{"topic":"a","data":nope}}"#,
                Some("7"),
                "not JSON: expected true",
            ),
            (r#"{"publish":{"topic":"a","data":01},"id":"x"}"#, Some("\"x\""), "not JSON: "),
            (r#"{"id":7,"subscribe":{"topic":"a","rate":1e999}}"#, Some("7"), "`rate`: "),
            (r#"{"id":7,"subscribe":"#, Some("7"), "not JSON: "),
            (r#"["id",7]"#, None, "a command is a JSON object"),
            (r#"{"id":1,"id":2}"#, Some("2"), "key `id` twice"),
            (r#"{"subscribe":1,"id":7}"#, Some("7"), "`subscribe` must be an object"),
            (r#"{"subscrib":{},"id":7}"#, Some("7"), "unknown key `subscrib`: did you mean"),
            (
                r#"{"id":7,"subscribe":{"topic":"a"},"publish":{"topic":"a","data":1}}"#,
                Some("7"),
                "exactly one of `subscribe`",
            ),
            (r#"{"id":7,"subscribe":{}}"#, Some("7"), "`topic` is missing"),
            (r#"{"id":7,"subscribe":{"topic":"a","form":1}}"#, Some("7"), "unknown key `form`"),
            (r#"{"id":7,"subscribe":{"topic":"a","from":"lst"}}"#, Some("7"), "`from`: unknown"),
            (r#"{"id":7,"subscribe":{"topic":"a","rate":0}}"#, Some("7"), "`rate`: "),
            (r#"{"id":7,"subscribe":{"topic":"a","rate":1.5}}"#, Some("7"), "`rate` must be"),
            (r#"{"subscribe":{"topic":"a","ack":1}}"#, None, "`ack` must be true or false"),
            (r#"{"subscribe":{"topic":"a","ack":false},"id":7}"#, Some("7"), "`ack` must be true"),
            (r#"{"id":7,"unsubscribe":{"topic":"a","ack":true}}"#, Some("7"), "unknown key `ack`"),
            (r#"{"ack":true,"subscribe":{"topic":"a"}}"#, None, "unknown key `ack`"),
            (
                r#"{"id":7,"subscribe":{"topic":"a","mode":"latest","lag":"disconnect"}}"#,
                Some("7"),
                "`lag` belongs to",
            ),
            (r#"{"id":7,"unsubscribe":{"topic":"a","x":1}}"#, Some("7"), "unknown key `x`"),
            (r#"{"id":7,"publish":{"topic":"$sys/a","data":1}}"#, Some("7"), "topics that start"),
        ] {
            let (named, error) = command(line).unwrap_err();
            assert_eq!(named.as_deref(), id, "{line}");
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }

    #[test]
    fn messages_repeat_only_the_start_of_what_was_wrong() {
        let long = "k".repeat(1 << 20);
        for text in [
            format!(r#"{{"{long}":1}}"#),
            format!(r#"{{"subscribe":{{"topic":"a","{long}":1}}}}"#),
            format!(r#"{{"subscribe":{{"topic":"a","from":"{long}"}}}}"#),
        ] {
            let (_, error) = command(&text).unwrap_err();
            assert!(error.len() < 300, "{} bytes", error.len());
        }
    }

    #[test]
    fn a_large_command_leaves_no_memory_behind_and_small_ones_their_buffers() {
        let mut parser = Parser::default();
        let large = format!(r#"{{"publish":{{"topic":"a","data":[{}1]}}}}"#, "1,".repeat(60_000));
        assert!(large.len() < BUFFER_BYTES_KEPT && parser.command(large.as_bytes()).is_ok());
        assert_eq!((parser.scratch.capacity(), parser.tape.0.capacity()), (0, 0));
        assert!(parser.command(br#"{"publish":{"topic":"a","data":1}}"#).is_ok());
        let kept = |parser: &Parser| (parser.scratch.as_ptr(), parser.tape.0.as_ptr() as usize);
        let before = kept(&parser);
        assert!(parser.command(br#"{"publish":"#).is_err());
        assert!(parser.command(br#"{"publish":{"topic":"b","data":2}}"#).is_ok());
        assert_eq!(kept(&parser), before);
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
            prop_assert!(Parser::default().command(&body).is_err());
            prop_assert!(publishes(&body).count() <= body.len());
        }
    }
}
