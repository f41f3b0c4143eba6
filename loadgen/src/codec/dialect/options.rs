//! Server-specific options of a dialect: paths, templates, event names. Owns the flags and
//! `[target]` keys with these names, and which dialect accepts which. Must not know frames.

use clap::builder::NonEmptyStringValueParser;

use crate::codec::dialect::dialect::Dialect;

/// The options that are set; the dialect supplies defaults for the others.
#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
#[command(next_help_heading = "Target")]
pub struct DialectOptions {
    /// Path of a publisher's WebSocket, with `{topic}`; of the dialects `raw`
    /// [default: /publish/{topic}] and `nchan` [default: /pub?id={topic}].
    #[arg(long, value_name = "PATH", value_parser = parse_path, requires = "dialect")]
    pub publish_path: Option<String>,
    /// Path of a subscriber's WebSocket, with `{topic}` (or pattern) or `{topics}` (all, with
    /// commas); of `raw` [default: /subscribe/{topic}] and `nchan` [default: /sub?id={topics}].
    #[arg(long, value_name = "PATH", value_parser = parse_path, requires = "dialect")]
    pub subscribe_path: Option<String>,
    /// Text that a subscriber of a `raw` server sends first, with `{topic}` or `{topics}`.
    #[arg(long, value_name = "TEXT", requires = "dialect")]
    pub subscribe_message: Option<String>,
    /// Path of all WebSockets of `socketio` [default: /socket.io/?EIO=4&transport=websocket],
    /// `centrifugo` [default: /connection/websocket] and `pusher`, with the application's key
    /// [default: /app/app-key?protocol=7].
    #[arg(long, value_name = "PATH", value_parser = parse_path, requires = "dialect")]
    pub path: Option<String>,
    /// Namespace of `socketio` [default: /].
    #[arg(long, value_name = "NAME", value_parser = parse_namespace, requires = "dialect")]
    pub namespace: Option<String>,
    /// Event that a publisher of `socketio` emits, with the topic and the frame
    /// [default: publish].
    #[arg(long, value_name = "EVENT", value_parser = NonEmptyStringValueParser::new(),
          requires = "dialect")]
    pub publish_event: Option<String>,
    /// Event that a subscriber of `socketio` emits for each of its topics [default: subscribe].
    #[arg(long, value_name = "EVENT", value_parser = NonEmptyStringValueParser::new(),
          requires = "dialect")]
    pub subscribe_event: Option<String>,
    /// Whether a `socketio` server acknowledges that event; a subscriber is open once it has
    /// [default: true].
    #[arg(long, value_name = "BOOL", requires = "dialect")]
    pub subscribe_acks: Option<bool>,
}

/// The keys of `[target]` that this file owns.
pub const KEYS: [&str; 8] = [
    "publish_path",
    "subscribe_path",
    "subscribe_message",
    "path",
    "namespace",
    "publish_event",
    "subscribe_event",
    "subscribe_acks",
];

/// An option does not belong to this dialect, or has a bad value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub struct UnsupportedOption {
    /// The key.
    pub key: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

impl DialectOptions {
    /// Every key, and its value if it is set.
    fn given(&self) -> impl Iterator<Item = (&'static str, bool)> {
        KEYS.into_iter().zip([
            self.publish_path.is_some(),
            self.subscribe_path.is_some(),
            self.subscribe_message.is_some(),
            self.path.is_some(),
            self.namespace.is_some(),
            self.publish_event.is_some(),
            self.subscribe_event.is_some(),
            self.subscribe_acks.is_some(),
        ])
    }
}

/// The dialects that accept a key, as text for an error.
fn owners(key: &str) -> &'static str {
    match key {
        "publish_path" | "subscribe_path" => "the dialects `raw` and `nchan`",
        "subscribe_message" => "the dialect `raw`",
        "path" => "the dialects `socketio`, `centrifugo` and `pusher`",
        _ => "the dialect `socketio`",
    }
}

impl Dialect {
    /// The dialect with these options.
    ///
    /// # Errors
    /// When an option does not belong to the dialect or has a bad value.
    pub fn with(mut self, options: &DialectOptions) -> Result<Dialect, UnsupportedOption> {
        let own = self.options();
        let strange = own.given().zip(options.given()).find(|((key, own), (_, is_set))| {
            *is_set && !own && !(*key == "subscribe_message" && self.is_raw())
        });
        if let Some(((key, _), _)) = strange {
            let reason = format!("only {} have it", owners(key));
            return Err(UnsupportedOption { key, reason });
        }
        let set = |value: &mut String, option: &Option<String>| {
            if let Some(option) = option {
                value.clone_from(option);
            }
        };
        match &mut self {
            Dialect::Gridcast | Dialect::Nats | Dialect::Mqtt => {}
            Dialect::Raw(templates) | Dialect::Nchan(templates) => {
                set(&mut templates.publish_path, &options.publish_path);
                set(&mut templates.subscribe_path, &options.subscribe_path);
                templates.subscribe_message.clone_from(&options.subscribe_message);
            }
            Dialect::SocketIo(events) => {
                set(&mut events.path, &options.path);
                set(&mut events.namespace, &options.namespace);
                set(&mut events.publish_event, &options.publish_event);
                set(&mut events.subscribe_event, &options.subscribe_event);
                events.subscribe_acks = options.subscribe_acks.unwrap_or(events.subscribe_acks);
            }
            Dialect::Centrifugo { path } => set(path, &options.path),
            Dialect::Pusher { path } => {
                set(path, &options.path);
                check_app(path)?;
            }
        }
        Ok(self)
    }

    /// The options of this dialect that differ from its defaults.
    pub fn options(&self) -> DialectOptions {
        let nothing = DialectOptions::default();
        match self {
            Dialect::Gridcast | Dialect::Nats | Dialect::Mqtt => nothing,
            Dialect::Raw(templates) | Dialect::Nchan(templates) => DialectOptions {
                publish_path: Some(templates.publish_path.clone()),
                subscribe_path: Some(templates.subscribe_path.clone()),
                subscribe_message: templates.subscribe_message.clone(),
                ..nothing
            },
            Dialect::SocketIo(events) => DialectOptions {
                path: Some(events.path.clone()),
                namespace: Some(events.namespace.clone()),
                publish_event: Some(events.publish_event.clone()),
                subscribe_event: Some(events.subscribe_event.clone()),
                subscribe_acks: Some(events.subscribe_acks),
                ..nothing
            },
            Dialect::Centrifugo { path } | Dialect::Pusher { path } => {
                DialectOptions { path: Some(path.clone()), ..nothing }
            }
        }
    }

    fn is_raw(&self) -> bool {
        matches!(self, Dialect::Raw(_))
    }
}

/// The application key in the path of its sockets.
pub fn app_key(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/app/")?;
    rest.split(['?', '/']).next().filter(|key| !key.is_empty())
}

fn check_app(path: &str) -> Result<(), UnsupportedOption> {
    let reason = || format!("`{path}` names no application; write e.g. `/app/KEY?protocol=7`");
    app_key(path).map(drop).ok_or_else(|| UnsupportedOption { key: "path", reason: reason() })
}

/// A template of a request path.
///
/// # Errors
/// The error says what the path must look like.
pub fn parse_path(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is no path; write e.g. `/sub/{{topic}}`"))
}

pub(crate) fn parse_namespace(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && c != ',');
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is no namespace; write e.g. `/` or `/grid`"))
}

pub(crate) fn parse_event(text: &str) -> Result<String, String> {
    let name = (!text.is_empty()).then(|| text.to_owned());
    name.ok_or_else(|| "an event has a name; write e.g. `publish`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dialect::dialect::PUSHER_PATH;

    #[test]
    fn every_dialect_takes_what_it_says_of_itself() {
        for word in Dialect::WORDS {
            let dialect = Dialect::named(word).unwrap();
            assert_eq!(dialect.clone().with(&dialect.options()), Ok(dialect));
        }
    }

    #[test]
    fn what_is_not_for_a_dialect_is_refused_with_those_it_is_for() {
        let given = |word: &str, options: &DialectOptions| {
            Dialect::named(word).unwrap().with(options).unwrap_err().to_string()
        };
        let some = || Some("/x".to_owned());
        let path = DialectOptions { path: some(), ..DialectOptions::default() };
        assert!(given("nats", &path).contains("only the dialects `socketio`, `centrifugo` and"));
        assert!(given("pusher", &path).contains("names no application; write e.g. `/app/KEY"));
        let message = DialectOptions { subscribe_message: some(), ..DialectOptions::default() };
        assert!(given("nchan", &message).contains("only the dialect `raw`"));
        let acks = DialectOptions { subscribe_acks: Some(false), ..DialectOptions::default() };
        assert!(given("mqtt", &acks).contains("`subscribe_acks`: only the dialect `socketio`"));
    }

    #[test]
    fn the_key_of_an_application_is_in_its_path() {
        assert_eq!(app_key(PUSHER_PATH), Some("app-key"));
        assert_eq!(app_key("/ws/app/k1/x"), Some("k1"));
        assert_eq!((app_key("/app/?protocol=7"), app_key("/k")), (None, None));
    }

    #[test]
    fn namespaces_begin_with_a_slash() {
        assert_eq!(parse_namespace("/grid"), Ok("/grid".to_owned()));
        assert!(parse_namespace("grid").is_err() && parse_namespace("/a,b").is_err());
    }
}
