//! The settings of bridges to Kafka. Must not connect.

use serde::Deserialize;

use crate::bridge::payload::Payload;
use crate::bridge::settings::Common;

/// What `kind = "kafka"` has beside the common settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The consumer group. Engines of one group share the partitions; an engine that is to get
    /// everything has a group of its own.
    pub group: Option<String>,
    /// Where a group begins that has committed nothing yet.
    #[serde(default)]
    pub start: Start,
    /// What of a record is its name, which `map_in` turns into a topic.
    #[serde(default)]
    pub record_name: Named,
    /// Whether what comes in is published as text or binary.
    #[serde(default)]
    pub payload: Payload,
    /// The topic of Kafka that messages go out to. Their key is their topic, after `map_out`.
    pub out_topic: Option<String>,
    /// How the group shares its partitions.
    #[serde(default)]
    pub protocol: Protocol,
    /// How `user` and `password_file` are shown to the broker.
    #[serde(default)]
    pub sasl: Sasl,
    /// Bytes that are fetched ahead of what is published.
    #[serde(default = "default_fetch_bytes_max")]
    pub fetch_bytes_max: i32,
    /// Messages that went out and wait for the cluster.
    #[serde(default = "default_out_messages_max")]
    pub out_messages_max: usize,
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest record that is kept.
    Earliest,
    /// With what is written from now on.
    #[default]
    Latest,
}

/// What of a record is its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Named {
    /// Its key; the topic of Kafka where it has none.
    #[default]
    #[serde(rename = "key")]
    Key,
    /// The topic of Kafka.
    #[serde(rename = "topic")]
    Topic,
    /// The topic of Kafka, then the key.
    #[serde(rename = "topic/key")]
    TopicAndKey,
}

/// How a group shares its partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// As the cluster decides: Kafka 4 and later.
    #[default]
    Consumer,
    /// As the members agree: any Kafka.
    Classic,
}

/// How a password is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Sasl {
    /// As it is: whoever reads the connection has it, unless that is encrypted.
    #[serde(rename = "plain")]
    Plain,
    /// By a proof that it is known.
    #[default]
    #[serde(rename = "scram-sha-256")]
    Scram256,
    /// The same with a longer sum.
    #[serde(rename = "scram-sha-512")]
    Scram512,
}

impl Settings {
    /// Checks them together with the common ones.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, common: &Common) -> Result<(), String> {
        if common.inputs.is_empty() && common.outputs.is_empty() {
            return Err("set `in`, `out` or both: nothing would be moved".to_owned());
        }
        if !common.inputs.is_empty() && self.group.as_ref().is_none_or(String::is_empty) {
            return Err("`in` needs a `group`: under its name Kafka keeps what was read".to_owned());
        }
        if !common.outputs.is_empty() && self.out_topic.as_ref().is_none_or(String::is_empty) {
            return Err("`out` needs an `out_topic`".to_owned());
        }
        check_credentials(common)?;
        if !(64 << 10..=256 << 20).contains(&self.fetch_bytes_max) {
            let value = self.fetch_bytes_max;
            return Err(format!(
                "fetch_bytes_max = {value} is not within 65536 to 268435456 bytes"
            ));
        }
        if !(1..=10_000).contains(&self.out_messages_max) {
            let value = self.out_messages_max;
            return Err(format!("out_messages_max = {value} is not within 1 to 10000"));
        }
        Ok(())
    }
}

/// A user without a password would be nobody for the cluster.
fn check_credentials(common: &Common) -> Result<(), String> {
    let credentials = &common.credentials;
    if credentials.token_file.is_some() {
        return Err("token_file: not for Kafka: use `user` and `password_file`".to_owned());
    }
    if credentials.user.is_some() != credentials.password_file.is_some() {
        return Err("user: Kafka takes it with a `password_file` only, and that with it".to_owned());
    }
    Ok(())
}

impl Named {
    /// The name of a record. Keys that are no text have no name.
    #[must_use]
    pub fn of(self, topic: &str, key: Option<&[u8]>) -> Option<String> {
        let key = key.filter(|key| !key.is_empty());
        match (self, key) {
            (Self::Topic, _) | (Self::Key | Self::TopicAndKey, None) => Some(topic.to_owned()),
            (Self::Key, Some(key)) => std::str::from_utf8(key).ok().map(str::to_owned),
            (Self::TopicAndKey, Some(key)) => {
                std::str::from_utf8(key).ok().map(|key| format!("{topic}/{key}"))
            }
        }
    }
}

/// Four partitions of 1 MiB at a time keep a bridge busy; memory is a small multiple of it.
const fn default_fetch_bytes_max() -> i32 {
    4 << 20
}

const fn default_out_messages_max() -> usize {
    1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_named_as_asked() {
        for (named, key, expected) in [
            (Named::Key, Some("pmu/1"), Some("pmu/1")),
            (Named::Key, None, Some("t")),
            (Named::Key, Some(""), Some("t")),
            (Named::Topic, Some("pmu/1"), Some("t")),
            (Named::TopicAndKey, Some("pmu/1"), Some("t/pmu/1")),
            (Named::TopicAndKey, None, Some("t")),
        ] {
            let name = named.of("t", key.map(str::as_bytes));
            assert_eq!(name.as_deref(), expected, "{named:?} {key:?}");
        }
        assert_eq!(Named::Key.of("t", Some(b"\xff")), None);
    }
}
