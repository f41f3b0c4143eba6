//! What the server says in text: answers, notices, and messages in JSON. Must not act on it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::Error;

/// A text message of the server: each has some of these.
#[derive(Debug, Default, Deserialize)]
pub struct Told<'a> {
    /// Which command is answered.
    pub id: Option<u64>,
    /// The greeting.
    pub hello: Option<Hello>,
    /// A subscription stands.
    #[serde(borrow)]
    pub subscribed: Option<Subscribed<'a>>,
    /// A subscription is given up.
    pub unsubscribed: Option<IgnoredAny>,
    /// A message was taken.
    #[serde(borrow)]
    pub published: Option<Taken<'a>>,
    /// The connection is judged by another token from now on.
    pub authenticated: Option<IgnoredAny>,
    /// A command was refused, or a subscription has ended.
    #[serde(borrow)]
    pub error: Option<Refused<'a>>,
    /// Messages are missing.
    #[serde(borrow)]
    pub gap: Option<Missing<'a>>,
    /// Beside `feed`, the topic that it stands for from now on; else that of a message.
    #[serde(borrow)]
    pub topic: Option<Cow<'a, str>>,
    /// The pattern that this is so in.
    #[serde(borrow)]
    pub pattern: Option<Cow<'a, str>>,
    /// A number that stands for a topic.
    pub feed: Option<u64>,
    /// The position of a message.
    pub seq: Option<u64>,
    /// A message as JSON.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    /// A message as base64.
    #[serde(borrow)]
    data64: Option<Cow<'a, str>>,
    /// Whether `data` is a text, published without its quotes.
    text: Option<bool>,
}

/// The greeting.
#[derive(Clone, Debug, Deserialize)]
pub struct Hello {
    /// That of the server.
    #[serde(default)]
    pub version: String,
    /// Something comes at least so often, ms.
    pub heartbeat_ms: u64,
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

/// A message that was taken.
#[derive(Debug, Deserialize)]
pub struct Taken<'a> {
    /// The life of the topic.
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    /// Its position.
    pub seq: u64,
    /// How many follow the topic.
    #[serde(default)]
    pub subscribers: u64,
}

/// Why a command was refused, or a subscription has ended.
#[derive(Debug, Deserialize)]
pub struct Refused<'a> {
    /// Which subscription has ended; none where a command was refused.
    #[serde(borrow)]
    pub topic: Option<Cow<'a, str>>,
    /// For programs.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
    /// For people.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
}

impl From<&Refused<'_>> for Error {
    fn from(refused: &Refused<'_>) -> Self {
        Self::command(&refused.code, &refused.message)
    }
}

/// Messages that are missing.
#[derive(Debug, Deserialize)]
pub struct Missing<'a> {
    /// Of which subscription; empty where there is but one.
    #[serde(borrow, default)]
    pub topic: Cow<'a, str>,
    /// The first position.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// How many, where that is known.
    pub frames: Option<u64>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

impl<'a> Told<'a> {
    /// What was published and whether as text, from `text`, which this was read from; none where
    /// it is no message.
    #[must_use]
    pub fn payload(&self, text: &'a str) -> Option<(Bytes, bool)> {
        if let Some(data64) = &self.data64 {
            return Some((STANDARD.decode(data64.as_bytes()).ok()?.into(), false));
        }
        let raw = self.data?.get();
        if self.text == Some(true)
            && let Ok(data) = serde_json::from_str::<String>(raw)
        {
            return Some((data.into(), true));
        }
        Some((Bytes::copy_from_slice(spaced(raw, text).as_bytes()), true))
    }
}

/// A value that is there, of which `null` is one.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// A value with the space around it, which was published as well.
fn spaced<'a>(raw: &'a str, text: &'a str) -> &'a str {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = (raw.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    let (Some(before), Some(after)) = (text.get(..start), text.get(start + raw.len()..)) else {
        return raw;
    };
    let before = before.bytes().rev().take_while(is_space).count();
    let after = after.bytes().take_while(is_space).count();
    text.get(start - before..start + raw.len() + after).unwrap_or(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> Told<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_the_server_says_is_read() {
        let hello = told(r#"{"hello":{"version":"1","heartbeat_ms":5,"epoch":"k1","new":1}}"#);
        assert_eq!(hello.hello.unwrap().heartbeat_ms, 5);
        let said = r#"{"id":1,"subscribed":{"topic":"a","epoch":"k1","seq":7,"feed":3,"new":1}}"#;
        let (id, subscribed) = (told(said).id, told(said).subscribed.unwrap());
        assert_eq!((id, &*subscribed.epoch, subscribed.seq), (Some(1), "k1", 7));
        let published = told(r#"{"id":2,"published":{"epoch":"k1","seq":1,"subscribers":4}}"#);
        assert_eq!(published.published.unwrap().subscribers, 4);
        let announced = told(r#"{"topic":"a \"b\"","pattern":"+","feed":9}"#);
        assert_eq!((announced.topic.as_deref(), announced.feed), (Some("a \"b\""), Some(9)));
        let ended = r#"{"error":{"topic":"pmu/#","code":"forbidden","message":"no"}}"#;
        assert_eq!(told(ended).error.unwrap().topic.as_deref(), Some("pmu/#"));
        assert!(told(r#"{"id":1,"authenticated":{}}"#).authenticated.is_some());
        let gap = told(r#"{"gap":{"topic":"pmu/#","from":0,"to":4,"reason":"epoch"}}"#).gap;
        assert_eq!(gap.map(|gap| (gap.frames, gap.to)), Some((None, 4)));
    }

    #[test]
    fn a_message_in_json_is_what_was_published() {
        for (text, expected, is_text) in [
            (r#"{"topic":"a","seq":1,"data": {"v":1} }"#, r#" {"v":1} "#, true),
            (r#"{"topic":"a","seq":1,"data":"x\ny","text":true}"#, "x\ny", true),
            (r#"{"topic":"a","seq":1,"data":"x"}"#, r#""x""#, true),
            (r#"{"topic":"a","seq":1,"data":null}"#, "null", true),
            (r#"{"topic":"a","seq":1,"data64":"e30="}"#, "{}", false),
        ] {
            let payload = told(text).payload(text);
            assert_eq!(payload, Some((expected.as_bytes().to_vec().into(), is_text)), "{text}");
        }
        assert_eq!(told(r#"{"beat":{"t":1}}"#).payload(""), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            if let Ok(told) = serde_json::from_str::<Told<'_>>(&text) {
                let _payload = told.payload(&text);
            }
        }
    }
}
