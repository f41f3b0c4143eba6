//! What goes over the link: commands to the far end, and what it says, as bytes and as values. It
//! speaks `gridcast.v1.bin`. Must not know sockets, or what a message is for.

use std::borrow::Cow;
use std::fmt::Write;

use gridcast::frame::Kind;
use gridcast::wire::{data64, json};
use serde::Deserialize;

/// The subprotocol of the link.
pub const PROTOCOL: &str = "gridcast.v1.bin";

/// A text message of the far end: each has some of these.
#[derive(Debug, Default, Deserialize)]
pub struct Said<'a> {
    /// Which command is answered.
    pub id: Option<u64>,
    /// A subscription stands.
    pub subscribed: Option<Subscribed<'a>>,
    /// A message was taken.
    pub published: Option<serde::de::IgnoredAny>,
    /// A command was refused.
    #[serde(borrow)]
    pub error: Option<Refused<'a>>,
    /// Messages are missing.
    #[serde(borrow)]
    pub gap: Option<Missing<'a>>,
    /// Beside `feed`: the topic that it stands for from now on.
    #[serde(borrow)]
    pub topic: Option<Cow<'a, str>>,
    /// The pattern that this is so in.
    #[serde(borrow)]
    pub pattern: Option<Cow<'a, str>>,
    /// A number that stands for a topic.
    pub feed: Option<u64>,
}

/// A subscription that stands.
#[derive(Debug, Deserialize)]
pub struct Subscribed<'a> {
    /// What is followed.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// The life of its numbers.
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    /// The position before the first message that follows.
    pub seq: u64,
    /// The number that stands for it, where it is a topic.
    pub feed: Option<u64>,
}

/// Why a command was refused.
#[derive(Debug, Deserialize)]
pub struct Refused<'a> {
    /// For programs.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
    /// For people.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

/// Messages that are missing.
#[derive(Debug, Deserialize)]
pub struct Missing<'a> {
    /// Of which subscription.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// How many, where that is known.
    pub frames: Option<u64>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

impl Refused<'_> {
    /// Whether the same command may be taken later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(&*self.code, "rate_limited" | "over_capacity" | "unavailable")
    }
}

/// A message of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The number that stands for the topic.
    pub feed: u64,
    /// Its position.
    pub seq: u64,
    /// Text or bytes.
    pub kind: Kind,
    /// What was published.
    pub payload: &'a [u8],
}

impl<'a> Data<'a> {
    /// Reads `varint feed · varint seq · flags · payload`; none where it is something else.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (feed, rest) = varint(bytes)?;
        let (seq, rest) = varint(rest)?;
        let (flags, payload) = rest.split_first()?;
        let kind = if flags & 1 == 1 { Kind::Text } else { Kind::Binary };
        Some(Self { feed, seq, kind, payload })
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * index as u32;
        // The tenth byte has one bit left.
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// Has a message published. The far end publishes these bytes, as text or binary as they were.
#[must_use]
pub fn publish(id: u64, topic: &str, kind: Kind, payload: &[u8]) -> String {
    let mut command = format!(r#"{{"id":{id},"publish":{{"topic":{},"#, quoted(topic));
    match (kind, std::str::from_utf8(payload)) {
        // Between commas nothing shows how many spaces there were.
        (Kind::Text, Ok(text)) if json::is_portable(payload) && text.trim_ascii() == text => {
            command.push_str(r#""data":"#);
            command.push_str(text);
        }
        (Kind::Text, Ok(text)) => {
            // Writing to memory cannot fail.
            let _ = write!(command, r#""data":{},"text":true"#, quoted(text));
        }
        _ => {
            let mut bytes = Vec::new();
            data64::append(&mut bytes, payload);
            command.push_str(r#""data64":""#);
            command.push_str(std::str::from_utf8(&bytes).unwrap_or_default());
            command.push('"');
        }
    }
    command.push_str("}}");
    command
}

/// Follows a topic or pattern, from behind `position` on or, where that is none, from now on.
#[must_use]
pub fn subscribe(id: u64, target: &str, position: Option<&str>) -> String {
    let from = quoted(position.unwrap_or("latest"));
    let topic = quoted(target);
    format!(r#"{{"id":{id},"subscribe":{{"topic":{topic},"from":{from},"lag":"skip-to-oldest"}}}}"#)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn what_the_far_end_says_is_read() {
        let said = r#"{"id":1,"subscribed":{"topic":"a","epoch":"k1","seq":7,"feed":3,"new":1}}"#;
        let said: Said<'_> = serde_json::from_str(said).unwrap();
        let subscribed = said.subscribed.unwrap();
        assert_eq!((said.id, &*subscribed.epoch, subscribed.seq), (Some(1), "k1", 7));
        assert_eq!(subscribed.feed, Some(3));
        let said = r#"{"id":2,"published":{"epoch":"k1","seq":1,"subscribers":1}}"#;
        assert!(serde_json::from_str::<Said<'_>>(said).unwrap().published.is_some());
        let said = r#"{"topic":"a \"b\"","pattern":"+","feed":9}"#;
        let said: Said<'_> = serde_json::from_str(said).unwrap();
        assert_eq!((said.topic.as_deref(), said.feed), (Some("a \"b\""), Some(9)));
        let said = r#"{"gap":{"topic":"pmu/#","from":0,"to":4,"reason":"epoch"}}"#;
        let gap = serde_json::from_str::<Said<'_>>(said).unwrap().gap.unwrap();
        assert_eq!((gap.frames, &*gap.reason), (None, "epoch"));
        let said = r#"{"id":3,"error":{"code":"rate_limited","message":"later"}}"#;
        assert!(serde_json::from_str::<Said<'_>>(said).unwrap().error.unwrap().is_temporary());
        assert!(serde_json::from_str::<Said<'_>>(r#"{"beat":{"t":1}}"#).is_ok());
    }

    #[test]
    fn a_message_keeps_its_kind_and_its_bytes() {
        for (kind, payload, expected) in [
            (Kind::Text, &b"{\"v\": 1}"[..], r#"{"topic":"a","data":{"v": 1}}"#),
            (Kind::Text, b" 1", r#"{"topic":"a","data":" 1","text":true}"#),
            (Kind::Text, b"50,02", r#"{"topic":"a","data":"50,02","text":true}"#),
            (Kind::Text, b"1e999", r#"{"topic":"a","data":"1e999","text":true}"#),
            (Kind::Binary, b"{}", r#"{"topic":"a","data64":"e30="}"#),
        ] {
            let expected = format!(r#"{{"id":7,"publish":{expected}}}"#);
            assert_eq!(publish(7, "a", kind, payload), expected);
        }
    }

    #[test]
    fn a_subscription_goes_on_where_it_was() {
        let command: Value = serde_json::from_str(&subscribe(1, "pmu/#", Some("k3-41"))).unwrap();
        let from = json!({"topic": "pmu/#", "from": "k3-41", "lag": "skip-to-oldest"});
        assert_eq!(command, json!({"id": 1, "subscribe": from}));
    }

    #[test]
    fn an_envelope_is_read_and_what_is_none_is_not() {
        let data = Data { feed: 300, seq: 5, kind: Kind::Text, payload: b"x" };
        assert_eq!(Data::read(&[0xAC, 0x02, 5, 1, b'x']), Some(data));
        for broken in [&[][..], &[0x80], &[1, 2], &[0xFF; 12]] {
            assert_eq!(Data::read(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            prop_assert!(Data::read(&bytes).is_none_or(|data| data.payload.len() < bytes.len()));
            prop_assert!(serde_json::from_slice::<Said<'_>>(&bytes).is_err() || bytes.len() > 1);
        }

        #[test]
        fn every_command_is_json(topic in ".{0,10}", text in ".{0,40}") {
            let command = publish(1, &topic, Kind::Text, text.as_bytes());
            let command: Value = serde_json::from_str(&command).unwrap();
            prop_assert_eq!(&command["publish"]["topic"], &topic);
        }
    }
}
