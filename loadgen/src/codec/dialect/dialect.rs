//! The kind of server under test: its paths for publishing and subscribing, and its options. Must
//! not know the frames of a protocol (each has its own file), sockets or threads.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::codec::dialect::channel;
use crate::codec::dialect::events::Events;
use crate::codec::dialect::templates::Templates;
use crate::codec::form::Form;

/// A kind of server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `/v1/feed`, `/v1/publish` and `/v1/ws`.
    #[default]
    Gridcast,
    /// Any server that forwards messages unchanged.
    Raw(Templates),
    /// A forwarding server with nchan's URLs: channels are listed, and patterns do not exist.
    Nchan(Templates),
    /// The text protocol of NATS in binary messages.
    Nats,
    /// MQTT 3.1.1 over WebSocket, QoS 0.
    Mqtt,
    /// Socket.IO 4, over WebSocket alone.
    SocketIo(Events),
    /// Centrifugo's protocol in JSON.
    Centrifugo {
        /// Path of all sockets.
        path: String,
    },
    /// Pusher Channels, with client events on private channels.
    Pusher {
        /// Path of all sockets, with the key of the application.
        path: String,
    },
}

impl Dialect {
    /// All dialect names.
    pub const WORDS: [&str; 8] =
        ["gridcast", "raw", "nchan", "nats", "mqtt", "socketio", "centrifugo", "pusher"];

    /// The dialect with this name.
    ///
    /// # Errors
    /// The error lists the valid names.
    pub fn named(word: &str) -> Result<Dialect, String> {
        match word {
            "gridcast" => Ok(Dialect::Gridcast),
            "raw" => Ok(Dialect::Raw(Templates::default())),
            "nchan" => Ok(Dialect::Nchan(Templates::of_nchan())),
            "nats" => Ok(Dialect::Nats),
            "mqtt" => Ok(Dialect::Mqtt),
            "socketio" => Ok(Dialect::SocketIo(Events::default())),
            "centrifugo" => Ok(Dialect::Centrifugo { path: CENTRIFUGO_PATH.to_owned() }),
            "pusher" => Ok(Dialect::Pusher { path: PUSHER_PATH.to_owned() }),
            _ => {
                let words = Dialect::WORDS.map(|word| format!("`{word}`"));
                Err(format!("`{word}` is no dialect; they are {}", words.join(", ")))
            }
        }
    }

    /// The name of the dialect.
    pub fn name(&self) -> &'static str {
        match self {
            Dialect::Gridcast => "gridcast",
            Dialect::Raw(_) => "raw",
            Dialect::Nchan(_) => "nchan",
            Dialect::Nats => "nats",
            Dialect::Mqtt => "mqtt",
            Dialect::SocketIo(_) => "socketio",
            Dialect::Centrifugo { .. } => "centrifugo",
            Dialect::Pusher { .. } => "pusher",
        }
    }

    /// The form in which subscribers of this server get frames, if there is only one.
    pub fn form(&self) -> Option<Form> {
        match self {
            Dialect::Gridcast => None,
            Dialect::Raw(_) | Dialect::Nchan(_) => Some(Form::Raw),
            Dialect::Nats => Some(Form::Nats),
            Dialect::Mqtt => Some(Form::Mqtt),
            Dialect::SocketIo(_) => Some(Form::SocketIo),
            Dialect::Centrifugo { .. } => Some(Form::Centrifugo),
            Dialect::Pusher { .. } => Some(Form::Pusher),
        }
    }

    /// Whether the dialect has a protocol of its own inside messages.
    pub fn has_protocol(&self) -> bool {
        self.form().is_some_and(Form::has_protocol)
    }

    /// Whether one subscription can match all topics.
    pub fn has_patterns(&self) -> bool {
        match self {
            Dialect::Gridcast | Dialect::Raw(_) | Dialect::Nats | Dialect::Mqtt => true,
            Dialect::Nchan(_)
            | Dialect::SocketIo(_)
            | Dialect::Centrifugo { .. }
            | Dialect::Pusher { .. } => false,
        }
    }

    /// Whether a wall (a dashboard that follows everything) can subscribe to this many publishers.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check_wall(&self, publishers: u64) -> Result<(), String> {
        let Dialect::Nchan(templates) = self else { return Ok(()) };
        if publishers > NCHAN_CHANNELS_MAX {
            return Err(format!(
                "nchan receive {NCHAN_CHANNELS_MAX} channels in a request at most, and has no \
                 patterns: a wall of {publishers} publishers cannot be; lower --publishers"
            ));
        }
        let lists = templates.subscribe_path.contains(TOPICS);
        lists.then_some(()).ok_or_else(|| {
            format!("nchan has no patterns: a wall needs {TOPICS} in subscribe_path")
        })
    }

    /// Whether this server accepts a token, and whether it requires one.
    ///
    /// # Errors
    /// What to do.
    pub fn check_token(&self, token: Option<&str>) -> Result<(), String> {
        match (self, token) {
            (Dialect::Mqtt, Some(_)) => {
                Err("MQTT has names and passwords, but no token: leave --token out".to_owned())
            }
            (Dialect::Pusher { .. }, None) => {
                Err("the channels of `pusher` are signed with the application's secret: give it \
                     as --token"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The part of the credentials that goes into a request header; other servers get it in a
    /// message.
    pub fn bearer<'t>(&self, token: Option<&'t str>) -> Option<&'t str> {
        token.filter(|_| !self.has_protocol())
    }

    /// The path of a publisher's socket.
    pub fn publish_path(&self, topic: &str) -> String {
        match self {
            Dialect::Gridcast => format!("/v1/publish/{}", percent_encoded(topic)),
            Dialect::Raw(templates) | Dialect::Nchan(templates) => {
                filled_path(&templates.publish_path, &[topic])
            }
            spoken => spoken.path().to_owned(),
        }
    }

    /// The path of a subscriber's socket in a form. `topics` are all topics it follows;
    /// `subscription` is the one topic or pattern that matches them.
    pub fn feed_path(&self, form: Form, subscription: &str, topics: &[&str]) -> String {
        match (self, form) {
            (Dialect::Raw(templates) | Dialect::Nchan(templates), _) => {
                let path = templates.subscribe_path.replace(TOPIC, &percent_encoded(subscription));
                filled_path(&path, topics)
            }
            (Dialect::Gridcast, Form::Json | Form::Bin) => MULTIPLEXED_PATH.to_owned(),
            (Dialect::Gridcast, Form::Poll) => {
                format!("/v1/poll/{}", percent_encoded(subscription))
            }
            (Dialect::Gridcast, _) => format!("/v1/feed/{}", percent_encoded(subscription)),
            (spoken, _) => spoken.path().to_owned(),
        }
    }

    /// The path of all sockets, if the dialect has only one path.
    fn path(&self) -> &str {
        match self {
            Dialect::Gridcast | Dialect::Raw(_) | Dialect::Nchan(_) | Dialect::Nats => NATS_PATH,
            Dialect::Mqtt => MQTT_PATH,
            Dialect::SocketIo(events) => &events.path,
            Dialect::Centrifugo { path } | Dialect::Pusher { path } => path,
        }
    }

    /// What messages of a topic name as their channel.
    pub fn channel(&self, topic: &str) -> String {
        match self {
            Dialect::Nats => channel::subject(topic),
            Dialect::Pusher { .. } => channel::private_channel(topic),
            _ => topic.to_owned(),
        }
    }

    /// Whether every message that carries a payload names its channel. Events of Socket.IO are the
    /// server's own: some are named like a topic, some carry it, some do neither.
    pub fn names_channels(&self) -> bool {
        self.has_protocol() && !matches!(self, Dialect::SocketIo(_))
    }

    /// The message a subscriber sends after connecting, beyond what its form sends.
    pub fn subscribe_message(&self, topics: &[&str]) -> Option<String> {
        let Dialect::Raw(templates) = self else { return None };
        let message = templates.subscribe_message.as_ref()?;
        Some(message.replace(TOPIC, topics.first()?).replace(TOPICS, &topics.join(",")))
    }
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

const TOPIC: &str = "{topic}";
const TOPICS: &str = "{topics}";
/// The path where one socket of gridcast carries many topics.
const MULTIPLEXED_PATH: &str = "/v1/ws";
const NATS_PATH: &str = "/";
const MQTT_PATH: &str = "/mqtt";
const NCHAN_CHANNELS_MAX: u64 = 255;

/// The default path of Centrifugo.
pub const CENTRIFUGO_PATH: &str = "/connection/websocket";

/// The default path of a Pusher server, with the application key that soketi has by default.
pub const PUSHER_PATH: &str = "/app/app-key?protocol=7";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_each_server() {
        let topics = ["pmu/1", "pmu/2"];
        let path = |dialect: &Dialect, form| dialect.feed_path(form, "pmu/#", &topics);
        assert_eq!(path(&Dialect::Gridcast, Form::Raw), "/v1/feed/pmu/%23");
        assert_eq!(path(&Dialect::Gridcast, Form::Bin), "/v1/ws");
        let named = |word| {
            let dialect = Dialect::named(word).unwrap();
            let form = dialect.form().unwrap();
            (path(&dialect, form), dialect.publish_path("pmu/1"))
        };
        let both = |path: &str| (path.to_owned(), path.to_owned());
        assert_eq!(named("nats"), both("/"));
        assert_eq!(named("mqtt"), both("/mqtt"));
        assert_eq!(named("socketio"), both("/socket.io/?EIO=4&transport=websocket"));
        assert_eq!(named("centrifugo"), both("/connection/websocket"));
        assert_eq!(named("pusher"), both("/app/app-key?protocol=7"));
        assert_eq!(named("nchan"), ("/sub?id=pmu/1,pmu/2".to_owned(), "/pub?id=pmu/1".to_owned()));
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
        let message = dialect.subscribe_message(&["a/b", "c"]);
        assert_eq!(message.as_deref(), Some(r#"{"sub":"a/b","all":"a/b,c"}"#));
        assert_eq!(Dialect::Nats.subscribe_message(&["a"]), None);
    }

    #[test]
    fn words_are_written_as_they_are_read() {
        for word in Dialect::WORDS {
            let dialect = Dialect::named(word).unwrap();
            assert_eq!(dialect.name(), word);
            let broker = crate::codec::dialect::broker::Broker::new(&dialect, &Default::default());
            assert_eq!(dialect.has_protocol(), broker.is_some(), "{word}");
        }
        assert!(Dialect::named("irc").unwrap_err().contains("`irc` is no dialect; they are `grid"));
    }

    #[test]
    fn a_token_is_shown_where_it_can_be_and_demanded_where_it_must_be() {
        let of = |word: &str, token| {
            let dialect = Dialect::named(word).unwrap();
            dialect.check_token(token).map(|()| dialect.bearer(token))
        };
        assert_eq!(of("gridcast", Some("t")), Ok(Some("t")));
        assert_eq!(of("nchan", Some("t")), Ok(Some("t")));
        for word in ["nats", "socketio", "centrifugo", "pusher"] {
            assert_eq!(of(word, Some("t")), Ok(None), "{word}: inside messages");
        }
        assert!(of("mqtt", Some("t")).unwrap_err().contains("leave --token out"));
        assert!(of("pusher", None).unwrap_err().contains("give it as --token"));
    }

    #[test]
    fn walls_of_nchan_have_to_be_listed() {
        let nchan = |subscribe_path: &str| {
            let subscribe_path = subscribe_path.to_owned();
            Dialect::Nchan(Templates { subscribe_path, ..Templates::default() })
        };
        assert_eq!(nchan("/sub?id={topics}").check_wall(255), Ok(()));
        assert!(nchan("/sub?id={topics}").check_wall(256).unwrap_err().contains("255 channels"));
        assert!(nchan("/sub/{topic}").check_wall(2).unwrap_err().contains("needs {topics}"));
        assert_eq!(Dialect::Nats.check_wall(10_000), Ok(()));
    }
}
