//! What kind of server the load goes to: where it takes publishes, where it gives subscriptions,
//! and what has to be said to it. Words, paths and templates; must not know frames of a protocol
//! (those are in `nats` and `mqtt`), sockets or threads.

pub mod broker;
mod mqtt;
mod nats;

use std::fmt::{self, Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::form::Form;
use crate::section::{ScenarioError, Section, quoted};

/// A kind of server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `/v1/feed`, `/v1/publish` and `/v1/ws`.
    #[default]
    Gridcast,
    /// Any server that passes messages on as they are.
    Raw(Templates),
    /// The text protocol of NATS in binary messages.
    Nats,
    /// MQTT 3.1.1 over WebSocket, QoS 0.
    Mqtt,
}

/// How a plain server is asked, with `{topic}` for the topic (or pattern) and `{topics}` for all
/// topics of a socket, separated by commas; both percent-encoded in paths, as they are in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// Path of a publisher's socket.
    pub publish_path: String,
    /// Path of a subscriber's socket.
    pub subscribe_path: String,
    /// Text a subscriber sends once it is connected.
    pub subscribe_message: Option<String>,
}

impl Default for Templates {
    fn default() -> Templates {
        Templates {
            publish_path: "/publish/{topic}".to_owned(),
            subscribe_path: "/subscribe/{topic}".to_owned(),
            subscribe_message: None,
        }
    }
}

/// What has to be spoken inside messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// See `nats`.
    Nats,
    /// See `mqtt`.
    Mqtt,
}

impl Dialect {
    /// Reads `dialect` and its templates from `[target]`.
    ///
    /// # Errors
    /// When a word or a template is not known, or does not go with the dialect.
    pub fn of(section: &Section<'_>) -> Result<Dialect, ScenarioError> {
        let given = TEMPLATE_KEYS.iter().find(|key| section.any(key).is_some());
        let dialect = section.parsed("dialect", Dialect::named)?.unwrap_or_default();
        match (dialect, given) {
            (Dialect::Raw(templates), _) => templates.read(section).map(Dialect::Raw),
            (_, Some(key)) => {
                Err(section
                    .bad(key, "only the dialect `raw` has templates; write dialect = \"raw\""))
            }
            (dialect, None) => Ok(dialect),
        }
    }

    /// The dialect of a word.
    ///
    /// # Errors
    /// Which words there are.
    pub fn named(word: &str) -> Result<Dialect, String> {
        match word {
            "gridcast" => Ok(Dialect::Gridcast),
            "raw" => Ok(Dialect::Raw(Templates::default())),
            "nats" => Ok(Dialect::Nats),
            "mqtt" => Ok(Dialect::Mqtt),
            _ => Err(format!("`{word}` is no dialect; write `gridcast`, `raw`, `nats` or `mqtt`")),
        }
    }

    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Dialect::Gridcast => "gridcast",
            Dialect::Raw(_) => "raw",
            Dialect::Nats => "nats",
            Dialect::Mqtt => "mqtt",
        }
    }

    /// Writes what differs from the default as keys of `[target]`.
    pub fn write_toml(&self, out: &mut String) -> fmt::Result {
        if *self != Dialect::Gridcast {
            writeln!(out, "dialect = {}", quoted(self.name()))?;
        }
        let Dialect::Raw(templates) = self else { return Ok(()) };
        writeln!(out, "publish_path = {}", quoted(&templates.publish_path))?;
        writeln!(out, "subscribe_path = {}", quoted(&templates.subscribe_path))?;
        match &templates.subscribe_message {
            Some(message) => writeln!(out, "subscribe_message = {}", quoted(message)),
            None => Ok(()),
        }
    }

    /// The form in which subscribers of such a server get frames, where there is no choice.
    pub fn form(&self) -> Option<Form> {
        match self {
            Dialect::Gridcast => None,
            Dialect::Raw(_) => Some(Form::Raw),
            Dialect::Nats => Some(Form::Nats),
            Dialect::Mqtt => Some(Form::Mqtt),
        }
    }

    /// What publishers speak inside their messages.
    pub fn tongue(&self) -> Option<Tongue> {
        self.form().and_then(Form::tongue)
    }

    /// The path of a publisher's socket.
    pub fn publish_path(&self, topic: &str) -> String {
        match self {
            Dialect::Gridcast => format!("/v1/publish/{}", percent_encoded(topic)),
            Dialect::Raw(templates) => filled_path(&templates.publish_path, &[topic]),
            Dialect::Nats => NATS_PATH.to_owned(),
            Dialect::Mqtt => MQTT_PATH.to_owned(),
        }
    }

    /// The path of a subscriber's socket in a form; `topics` are all it follows and `subscription`
    /// the one topic or pattern that stands for them.
    pub fn feed_path(&self, form: Form, subscription: &str, topics: &[&str]) -> String {
        match (self, form) {
            (Dialect::Raw(templates), _) => {
                let path = templates.subscribe_path.replace(TOPIC, &percent_encoded(subscription));
                filled_path(&path, topics)
            }
            (_, Form::Nats) => NATS_PATH.to_owned(),
            (_, Form::Mqtt) => MQTT_PATH.to_owned(),
            (_, Form::Json | Form::Bin) => MULTIPLEXED_PATH.to_owned(),
            (_, Form::Raw | Form::Sse) => format!("/v1/feed/{}", percent_encoded(subscription)),
        }
    }

    /// What a subscriber has to say once it is connected, beyond its form.
    pub fn subscribe_message(&self, topics: &[&str]) -> Option<String> {
        let Dialect::Raw(templates) = self else { return None };
        let message = templates.subscribe_message.as_ref()?;
        Some(message.replace(TOPIC, topics.first()?).replace(TOPICS, &topics.join(",")))
    }
}

impl Templates {
    fn read(self, section: &Section<'_>) -> Result<Templates, ScenarioError> {
        let path = |key, otherwise: String| -> Result<String, ScenarioError> {
            let found = section.parsed(key, parse_path)?;
            Ok(found.unwrap_or(otherwise))
        };
        Ok(Templates {
            publish_path: path("publish_path", self.publish_path)?,
            subscribe_path: path("subscribe_path", self.subscribe_path)?,
            subscribe_message: section.text("subscribe_message")?.map(str::to_owned),
        })
    }
}

/// A template of a request path.
///
/// # Errors
/// What a path must look like.
pub fn parse_path(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is no path; write e.g. `/sub/{{topic}}`"))
}

fn filled_path(template: &str, topics: &[&str]) -> String {
    let encoded: Vec<_> = topics.iter().map(|topic| percent_encoded(topic)).collect();
    let first = encoded.first().map_or("", String::as_str);
    template.replace(TOPIC, first).replace(TOPICS, &encoded.join(","))
}

fn percent_encoded(topic: &str) -> String {
    const ESCAPED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(topic, ESCAPED).to_string()
}

/// The keys of `[target]` that are templates.
pub const TEMPLATE_KEYS: [&str; 3] = ["publish_path", "subscribe_path", "subscribe_message"];

const TOPIC: &str = "{topic}";
const TOPICS: &str = "{topics}";
/// Where one socket of gridcast carries many topics.
const MULTIPLEXED_PATH: &str = "/v1/ws";
const NATS_PATH: &str = "/";
const MQTT_PATH: &str = "/mqtt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_each_server() {
        let topics = ["pmu/1", "pmu/2"];
        let path = |dialect: &Dialect, form| dialect.feed_path(form, "pmu/#", &topics);
        assert_eq!(path(&Dialect::Gridcast, Form::Raw), "/v1/feed/pmu/%23");
        assert_eq!(path(&Dialect::Gridcast, Form::Bin), "/v1/ws");
        assert_eq!(path(&Dialect::Mqtt, Form::Mqtt), "/mqtt");
        let raw = |template: &str| {
            let templates = Templates { subscribe_path: template.into(), ..Templates::default() };
            path(&Dialect::Raw(templates), Form::Raw)
        };
        assert_eq!(raw("/sub?ids={topics}"), "/sub?ids=pmu/1,pmu/2");
        assert_eq!(raw("/sub/{topic}"), "/sub/pmu/%23");
        assert_eq!(Dialect::Gridcast.publish_path("a b"), "/v1/publish/a%20b");
    }

    #[test]
    fn messages_name_topics_as_they_are() {
        let subscribe_message = Some(r#"{"sub":"{topic}","all":"{topics}"}"#.to_owned());
        let dialect = Dialect::Raw(Templates { subscribe_message, ..Templates::default() });
        let said = dialect.subscribe_message(&["a/b", "c"]);
        assert_eq!(said.as_deref(), Some(r#"{"sub":"a/b","all":"a/b,c"}"#));
        assert_eq!(Dialect::Nats.subscribe_message(&["a"]), None);
    }
}
