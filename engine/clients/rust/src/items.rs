//! What a subscription brings, and what a publish answers. Must not know how it came.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// A place in a topic: what is needed to go on behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the numbers.
    pub epoch: Arc<str>,
    /// Grows from message to message; not dense on every server.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.rsplit_once('-').filter(|(epoch, _)| {
            !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        let seq = parts.and_then(|(_, seq)| seq.parse().ok());
        match (parts, seq) {
            (Some((epoch, _)), Some(seq)) => Ok(Self { epoch: epoch.into(), seq }),
            _ => Err(Error::Invalid(format!("`{text}` is no position: {{epoch}}-{{seq}}"))),
        }
    }
}

/// What a subscription brings, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Something was published.
    Message(Message),
    /// Messages are missing.
    Gap(Gap),
    /// A lost connection is back, and this subscription goes on. A [`Gap`] follows if something is
    /// missing.
    Resumed(Resumed),
    /// The topic has begun another life: old positions hold no more. A [`Gap`] with the reason
    /// `epoch` follows.
    Restarted(Restarted),
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic it was published to.
    pub topic: Arc<str>,
    /// The pattern of the subscription; none where that is the topic.
    pub pattern: Option<Arc<str>>,
    /// Where it stands in what is followed: the topic or the pattern.
    pub position: Position,
    /// Exactly the bytes that were published.
    pub payload: Bytes,
    /// Whether it was published as text.
    pub is_text: bool,
}

impl Message {
    /// The payload as text; none where it was published as bytes.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.is_text.then(|| std::str::from_utf8(&self.payload).ok()).flatten()
    }

    /// The payload as a value that was written in JSON.
    ///
    /// # Errors
    /// Where it is another one, or no JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }
}

/// Messages that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topic or pattern of the subscription.
    pub topic: Arc<str>,
    /// The life that the positions are of.
    pub epoch: Arc<str>,
    /// The first position that is missing.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// How many; none where nobody knows.
    pub frames: Option<u64>,
    /// Why.
    pub reason: Reason,
}

/// Why messages are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// This client was too slow for what the server keeps.
    Lagged,
    /// The position it came back with is no longer kept.
    Expired,
    /// The position is of another life of the topic.
    Epoch,
    /// Jumped over, as `Mode::Latest` asks.
    Conflated,
    /// Lost between two nodes.
    Relay,
    /// The queue of this subscription was full: given up here.
    Queue,
    /// A reason that this version does not know.
    Other(String),
}

impl Reason {
    /// The word of docs/protocol.md.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Lagged => "lagged",
            Self::Expired => "expired",
            Self::Epoch => "epoch",
            Self::Conflated => "conflated",
            Self::Relay => "relay",
            Self::Queue => "queue",
            Self::Other(word) => word,
        }
    }

    pub(crate) fn of(word: &str) -> Self {
        let known = [Self::Lagged, Self::Expired, Self::Epoch, Self::Conflated, Self::Relay];
        let found = known.into_iter().find(|reason| reason.as_str() == word);
        found.unwrap_or_else(|| Self::Other(word.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// See [`Item::Resumed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The topic or pattern of the subscription.
    pub topic: Arc<str>,
    /// It goes on behind this.
    pub position: Position,
}

/// See [`Item::Restarted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// The topic or pattern of the subscription.
    pub topic: Arc<str>,
    /// The life that is over.
    pub epoch_before: Arc<str>,
    /// The one that has begun.
    pub epoch: Arc<str>,
}

/// What a publish answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where the message stands.
    pub position: Position,
    /// How many followed the topic at the node that answered.
    pub subscribers: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_shown() {
        let position: Position = "eb2j-7".parse().unwrap();
        assert_eq!((&*position.epoch, position.seq, &*position.to_string()), ("eb2j", 7, "eb2j-7"));
        for wrong in ["", "7", "-7", "a-", "a-b", "a b-1", "a-99999999999999999999"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn reasons_are_the_words_of_the_protocol() {
        for word in ["lagged", "expired", "epoch", "conflated", "relay", "new"] {
            assert_eq!(Reason::of(word).to_string(), word);
        }
        assert_eq!(Reason::of("new"), Reason::Other("new".to_owned()));
    }
}
