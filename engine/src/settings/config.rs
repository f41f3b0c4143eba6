//! Settings with types, and the rules between them. A `Config` that exists is valid. Must not read
//! files or the environment (that is `layers`).

use crate::feed::options::LagPolicy;
use crate::feed::topic::Target;
use crate::settings::attached::Attached;
use crate::settings::choices::{BuiltIn, ClientAuth, Publishing, Versions};
use crate::settings::layers::{Settings, SettingsError};
use crate::settings::networks::Networks;
use crate::settings::origins::Origins;
use crate::settings::texts::{from_text, from_text_if_any, from_texts};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The settings of an engine. `limits` says what each one is for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how it runs.
    pub server: Server,
    /// Who may do what.
    pub auth: Authentication,
    /// How what is sent is kept secret.
    pub tls: Tls,
    /// Who speaks for clients.
    pub proxy: Proxy,
    /// What one client, or all together, may ask for.
    pub limits: Limits,
    /// Who may use it.
    pub security: Security,
    /// What feeds keep.
    pub retention: Retention,
    /// What one may ask about the past.
    pub history: History,
    /// How one may ask for what comes next.
    pub poll: Poll,
    /// What all feeds together keep.
    pub memory: Memory,
    /// How sockets are written to.
    pub flush: Flush,
    /// How messages are deflated.
    pub compression: Compression,
    /// How the dead are found.
    pub keepalive: Keepalive,
    /// How it ends.
    pub drain: Drain,
    /// Where it is looked after.
    pub admin: Admin,
    /// The page of administrators.
    pub console: BuiltIn,
    /// The page for displays.
    pub wall: BuiltIn,
    /// What only tests need.
    pub debug: Debugging,
    /// What it tells.
    pub log: Log,
    /// What is attached to it.
    #[serde(skip)]
    pub attached: Attached,
    /// How what is published becomes frames: whoever attaches a log says so before the start.
    #[serde(skip)]
    pub publishing: Publishing,
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)+ }
    };
}

section! {
    /// `[server]`
    Server {
        /// Where clients connect.
        listen: SocketAddr,
        /// Event loops; 0 is one for each CPU: see [`Config::cores`].
        cores: usize,
        /// Whether listening beyond loopback is meant.
        insecure: bool,
        /// Where the next process meets this one to take over; empty for nowhere.
        handover: PathBuf,
    }
}

section! {
    /// `[auth]`
    Authentication {
        /// A JSON Web Key Set; empty for none.
        jwks: PathBuf,
        /// The secret of HS256; empty for none.
        hs256_secret_file: PathBuf,
        /// The issuer that tokens must have; empty for any.
        issuer: String,
        /// Of which tokens must name one.
        audience: Vec<String>,
        /// How far clocks may be apart, s.
        leeway_s: u64,
        /// Whether tokens need not expire.
        unlimited: bool,
        /// The cookie that may hold a token; empty for none.
        cookie: String,
        /// Messages a second of one subject; 0 sets no limit.
        publishes_per_s: u32,
        /// Subjects whose publishing is limited at once.
        subjects_max: usize,
        /// How long the token of `/v1/ws` may come after the connection, ms; 0 is not at all.
        first_message_ms: u64,
        /// Connections that wait for it at once.
        first_message_max: usize,
        /// Whether `/metrics` needs a token of an administrator.
        metrics: bool,
        /// Tokens without a signature, and what they may.
        token: Vec<StaticToken>,
    }
}

section! {
    /// `[[auth.token]]`
    StaticToken {
        /// Who it stands for.
        name: String,
        /// The token itself, if it is here.
        token: Secret,
        /// The file that holds it, if one does.
        token_file: PathBuf,
        /// Its SHA-256 in hexadecimal, if only that is known.
        sha256: String,
        /// What it may subscribe to.
        #[serde(deserialize_with = "from_texts")]
        subscribe: Vec<Target>,
        /// What it may publish to.
        #[serde(deserialize_with = "from_texts")]
        publish: Vec<Target>,
        /// Whether it may administer the engine.
        admin: bool,
        /// Messages a second; 0 sets no limit.
        publishes_per_s: u32,
    }
}

/// A text that does not show itself.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

section! {
    /// `[tls]`
    Tls {
        /// The certificate and those that lead to its authority; empty for plain HTTP.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// The authorities of clients' certificates.
        client_ca: PathBuf,
        /// Whether clients show certificates.
        client_auth: ClientAuth,
        /// Steps of handshakes in one turn of a core.
        handshakes_per_turn: usize,
    }
}

section! {
    /// `[proxy]`
    Proxy {
        /// The header that connections begin with.
        protocol: Versions,
        /// Whose word on a client is believed.
        #[serde(deserialize_with = "from_text")]
        trusted: Networks,
        /// Whether `X-Forwarded-For` says whom the limits of one address hold for.
        forwarded_for: bool,
    }
}

section! {
    /// `[limits]`
    Limits {
        /// The largest message and the largest body, bytes.
        message_bytes_max: u32,
        /// The largest request head, bytes.
        header_bytes_max: u32,
        /// How long a request may take to arrive, ms.
        handshake_ms_max: u64,
        /// How long a body may take to arrive, ms.
        body_ms_max: u64,
        /// Open connections of the engine.
        connections_max: usize,
        /// Open connections of one source; 0 sets no limit.
        connections_per_source_max: usize,
        /// Connections a second of one source; 0 sets no limit.
        handshakes_per_s_per_source: u32,
        /// Connections a second of all sources; 0 sets no limit.
        accepts_per_s_max: u32,
        /// Pings and commands of one connection in a second; 0 sets no limit.
        controls_per_s_max: u32,
        /// Topics that exist at once.
        topics_max: usize,
        /// Patterns, and topics or patterns at a rate, that are followed at once.
        patterns_max: usize,
        /// Different rates of one topic or pattern.
        rates_per_target_max: usize,
        /// Topics that exist only because of a subscription; 0 sets no limit.
        awaited_topics_max: usize,
        /// The same, of all connections of one token; 0 sets no limit.
        awaited_topics_per_token_max: usize,
        /// The same, of one multiplexed connection; 0 sets no limit.
        awaited_topics_per_connection_max: usize,
        /// Subscriptions of one multiplexed connection.
        subscriptions_per_connection_max: usize,
        /// Messages a second of one publishing connection; 0 sets no limit.
        publishes_per_s_max: u32,
    }
}

section! {
    /// `[security]`
    Security {
        /// The pages that may use the engine.
        origins: Origins,
    }
}

/// `[retention]`: what holds for all topics, and the classes that hold for some.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Retention {
    /// What holds where no class matches.
    #[serde(flatten)]
    pub default: RetentionClass,
    /// The first whose target matches a topic holds for it.
    #[serde(rename = "class")]
    pub classes: Vec<TargetClass>,
}

/// `[[retention.class]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TargetClass {
    /// The topics it holds for.
    #[serde(rename = "pattern", deserialize_with = "from_text")]
    pub target: Target,
    /// What holds for them.
    #[serde(flatten)]
    pub class: RetentionClass,
}

/// How much of a feed is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RetentionClass {
    /// Frames; 0 sets no limit.
    pub frames_max: u64,
    /// Bytes in each form the feed is sent in.
    pub bytes_max: u64,
    /// The age at which a frame is given up, ms; 0 sets no limit.
    pub age_ms_max: u64,
    /// What happens to those whom it passes.
    #[serde(deserialize_with = "from_text")]
    pub lag: LagPolicy,
}

section! {
    /// `[poll]`
    Poll {
        /// How long a poll may wait, ms.
        wait_ms_max: u64,
        /// Messages of one answer.
        records_max: u64,
        /// Bytes after which an answer ends.
        bytes_max: usize,
    }
}

section! {
    /// `[history]`
    History {
        /// Messages of one answer.
        records_max: u64,
        /// Bytes after which an answer ends.
        bytes_max: usize,
        /// Questions that are with stores at once.
        store_requests_max: usize,
        /// How long a store may take for a part of an answer, ms.
        store_ms_max: u64,
    }
}

section! {
    /// `[memory]`
    Memory {
        /// All logs together, bytes.
        log_bytes_max: u64,
        /// What belongs to all connections together, bytes.
        pending_bytes_max: u64,
        /// Kernel memory of sockets that lag, bytes; 0 sets no limit.
        socket_bytes_max: u64,
        /// Time without a publish after which a feed keeps only its last frame, s.
        compact_idle_s: u64,
        /// Time without use after which a topic is forgotten, s.
        topic_idle_s: u64,
    }
}

section! {
    /// `[flush]`
    Flush {
        /// Sockets written to before events are looked at again.
        sockets_per_slice: usize,
        /// Bytes written before events are looked at again.
        bytes_per_slice: usize,
        /// Bytes written to one socket before the next has its turn.
        bytes_per_socket: usize,
        /// How long a topic that moves again soon may rest, µs.
        rest_us_max: u64,
        /// Kernel memory of one socket's unsent bytes; 0 leaves it to the kernel.
        send_buffer_bytes: usize,
        /// How long a socket may take no bytes, ms.
        lag_age_ms_max: u64,
    }
}

section! {
    /// `[compression]`
    Compression {
        /// Whether permessage-deflate is agreed to.
        enabled: bool,
        /// Effort, 1 to 9.
        level: u8,
        /// Messages below this many bytes are sent as they are.
        bytes_min: u32,
    }
}

section! {
    /// `[keepalive]`
    Keepalive {
        /// Silence after which a client is pinged, ms.
        ping_interval_ms: u64,
        /// Silence after which a client is taken for gone, ms.
        idle_timeout_ms: u64,
        /// Silence of the engine after which it shows that it lives, ms.
        heartbeat_ms: u64,
        /// How long an HTTP connection is kept between two requests, ms.
        http_idle_timeout_ms: u64,
        /// How long the closing handshake may take, ms.
        close_timeout_ms: u64,
    }
}

section! {
    /// `[drain]`
    Drain {
        /// The time over which connections are closed, ms.
        window_ms: u64,
        /// The time after which what is left is cut, ms.
        deadline_ms: u64,
        /// The shortest delay clients are asked to reconnect after, ms.
        reconnect_ms_min: u64,
        /// The longest such delay, ms.
        reconnect_ms_max: u64,
    }
}

section! {
    /// `[admin]`
    Admin {
        /// Where administrators connect; none for the clients' listener.
        #[serde(deserialize_with = "from_text_if_any")]
        listen: Option<SocketAddr>,
    }
}

section! {
    /// `[debug]`
    Debugging {
        /// Whether `/v1/echo` exists.
        echo: bool,
    }
}

section! {
    /// `[log]`
    Log {
        /// The form of a line.
        format: LogFormat,
        /// How much is told.
        level: LogLevel,
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a collector.
    Json,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody now.
    Error,
    /// What should be looked at.
    Warn,
    /// The course of things.
    Info,
    /// Single connections.
    Debug,
    /// Everything.
    Trace,
}

impl Default for Config {
    fn default() -> Self {
        match Self::new(&Settings::default()) {
            Ok(config) => config,
            Err(error) => unreachable!("the defaults are valid, as a test shows: {error}"),
        }
    }
}

impl Config {
    /// Gives settings their types and checks what must hold between them.
    ///
    /// # Errors
    /// Everything that is wrong, in words.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let table = settings.table()?;
        let mut config: Self =
            table.try_into().map_err(|error| SettingsError(vec![error.to_string()]))?;
        config.attached = settings.attached().clone();
        let broken = config.broken_rules();
        if broken.is_empty() { Ok(config) } else { Err(SettingsError(broken)) }
    }

    /// The event loops to run.
    #[must_use]
    pub fn cores(&self) -> usize {
        match self.server.cores {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            cores => cores,
        }
    }

    /// The smallest read buffer that holds a whole request head.
    #[must_use]
    pub fn read_bytes_min(&self) -> usize {
        self.limits.header_bytes_max as usize
    }

    fn broken_rules(&self) -> Vec<String> {
        let address = self.server.listen;
        let (keepalive, drain) = (&self.keepalive, &self.drain);
        let rules = [
            (
                address.ip().to_canonical().is_loopback()
                    || self.auth.is_on()
                    || self.server.insecure,
                format!(
                    "server.listen = \"{address}\" is reachable from other machines, and nobody \
                     is asked who they are: set up [auth], or server.insecure = true if that is \
                     meant"
                ),
            ),
            (
                keepalive.idle_timeout_ms > keepalive.ping_interval_ms,
                format!(
                    "keepalive.idle_timeout_ms = {} must be above keepalive.ping_interval_ms = \
                     {}: else nobody has time to answer a ping",
                    keepalive.idle_timeout_ms, keepalive.ping_interval_ms
                ),
            ),
            (
                drain.deadline_ms >= drain.window_ms,
                format!(
                    "drain.deadline_ms = {} must not be below drain.window_ms = {}",
                    drain.deadline_ms, drain.window_ms
                ),
            ),
            (
                drain.reconnect_ms_max >= drain.reconnect_ms_min,
                format!(
                    "drain.reconnect_ms_max = {} must not be below drain.reconnect_ms_min = {}",
                    drain.reconnect_ms_max, drain.reconnect_ms_min
                ),
            ),
            (
                self.flush.bytes_per_slice >= self.flush.bytes_per_socket,
                format!(
                    "flush.bytes_per_slice = {} must not be below flush.bytes_per_socket = {}",
                    self.flush.bytes_per_slice, self.flush.bytes_per_socket
                ),
            ),
        ];
        let mut broken: Vec<String> =
            rules.into_iter().filter(|(holds, _)| !holds).map(|(_, message)| message).collect();
        broken.extend(self.broken_trust());
        broken.extend(self.tls.broken_rules());
        broken.extend(self.classes_above_the_budget());
        broken
    }

    /// Rules about who is believed and who may look.
    fn broken_trust(&self) -> impl Iterator<Item = String> {
        let (address, admin) = (self.server.listen, self.admin.listen);
        let is_private = |admin: SocketAddr| admin.ip().to_canonical().is_loopback();
        let rules = [
            (
                admin.is_none_or(is_private) || self.server.insecure,
                "admin.listen is reachable from other machines, which could read the metrics \
                 and, without [auth], drain the engine: set server.insecure = true if that is \
                 meant",
            ),
            (
                admin.is_none_or(|admin| admin != address || admin.port() == 0),
                "admin.listen must not be the address of server.listen",
            ),
            (
                !self.proxy.forwarded_for || !self.proxy.trusted.is_empty(),
                "proxy.forwarded_for needs proxy.trusted: anybody may send X-Forwarded-For",
            ),
            (
                self.proxy.protocol == Versions::Off || !self.proxy.trusted.is_empty(),
                "proxy.protocol needs proxy.trusted: the balancers' addresses",
            ),
            (
                self.auth.cookie.is_empty() || !self.security.origins.is_any(),
                "auth.cookie needs security.origins: browsers send cookies for any page that asks",
            ),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, message)| message.to_owned())
    }

    /// A feed that may keep more than all feeds together would starve the rest.
    fn classes_above_the_budget(&self) -> impl Iterator<Item = String> {
        let budget = self.memory.log_bytes_max;
        let classes = self.retention.classes.iter();
        let classes = classes.map(|class| (class.target.as_str(), class.class));
        let all = [("all topics", self.retention.default)].into_iter().chain(classes);
        all.filter(move |(_, class)| class.bytes_max > budget).map(move |(name, class)| {
            format!(
                "retention.bytes_max = {} for {name} must not be above memory.log_bytes_max = \
                 {budget}",
                class.bytes_max
            )
        })
    }
}

impl Authentication {
    /// Whether clients are asked who they are.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        !self.token.is_empty() || is_set(&self.jwks) || is_set(&self.hs256_secret_file)
    }
}

impl Tls {
    fn broken_rules(&self) -> impl Iterator<Item = String> {
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        let (certificate, key) = (is_set(&self.certificate), is_set(&self.key));
        let (client_ca, client_auth) =
            (is_set(&self.client_ca), self.client_auth != ClientAuth::None);
        let rules = [
            (certificate == key, "tls.certificate and tls.key must be set together, or neither"),
            (
                client_ca == client_auth,
                "tls.client_ca must be set when tls.client_auth is optional or required, and only \
                 then",
            ),
            (certificate || !client_ca, "tls.client_ca needs tls.certificate and tls.key as well"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, message)| message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::table::{KNOBS, Kind};

    fn config(text: &str) -> Result<Config, String> {
        let mut settings = Settings::default();
        settings.add_file("f.toml", text);
        Config::new(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::new(&Settings::default()), Ok(Config::default()));
        assert!(Config::default().cores() >= 1);
    }

    /// The defaults with one other value, and no rule between settings asked.
    fn typed(name: &str, value: &str) -> Config {
        let mut settings = Settings::default();
        settings.add_flag("--set", name, value);
        let typed: Result<Config, _> = settings.table().unwrap().try_into();
        typed.unwrap_or_else(|error| panic!("{name} = {value}: {error}"))
    }

    /// Together with the unknown fields that are denied, this ties table and types to each other.
    #[test]
    fn every_knob_moves_its_field() {
        for knob in KNOBS {
            let value = match knob.kind {
                Kind::Integer { default, max, min, .. } => {
                    if default == max {
                        min.to_string()
                    } else {
                        (default + 1).to_string()
                    }
                }
                Kind::Switch => "true".to_owned(),
                Kind::SwitchedOn => "false".to_owned(),
                Kind::Word(words) => words[1].to_owned(),
                Kind::Address { .. } => "127.0.0.1:1".to_owned(),
                Kind::List if knob.section == "security" => "https://a.example".to_owned(),
                Kind::Path | Kind::Text { .. } | Kind::List => "a".to_owned(),
                Kind::Networks => "127.0.0.1".to_owned(),
            };
            assert_ne!(typed(&knob.name(), &value), Config::default(), "{}", knob.name());
        }
    }

    #[test]
    fn every_bound_fits_its_type() {
        for knob in KNOBS {
            let Kind::Integer { min, max, .. } = knob.kind else { continue };
            for value in [min, max] {
                let mut settings = Settings::default();
                settings.add_flag("--set", &knob.name(), &value.to_string());
                let typed: Result<Config, _> = settings.table().unwrap().try_into();
                assert!(typed.is_ok(), "{} = {value}: {typed:?}", knob.name());
            }
        }
    }

    #[test]
    fn every_word_has_its_variant() {
        for knob in KNOBS {
            let Kind::Word(words) = knob.kind else { continue };
            for word in words {
                typed(&knob.name(), word);
            }
        }
    }

    #[test]
    fn listening_beyond_loopback_must_be_meant() {
        for address in ["0.0.0.0:1", "192.168.0.1:1", "[::]:1", "[::ffff:10.0.0.1]:1"] {
            let listen = format!("[server]\nlisten = \"{address}\"\n");
            assert!(config(&listen).unwrap_err().contains("server.insecure = true"), "{address}");
            assert!(config(&format!("{listen}insecure = true\n")).is_ok());
            assert!(config(&format!("{listen}[auth]\njwks = \"keys.json\"\n")).is_ok());
        }
        for address in ["127.0.0.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(config(&format!("[server]\nlisten = \"{address}\"\n")).is_ok(), "{address}");
        }
    }

    #[test]
    fn rules_between_settings_hold() {
        for (text, part) in [
            ("[keepalive]\nidle_timeout_ms = 30000\n", "must be above keepalive.ping_interval_ms"),
            ("[proxy]\nforwarded_for = true\n", "needs proxy.trusted"),
            ("[drain]\ndeadline_ms = 1\n", "must not be below drain.window_ms"),
            ("[drain]\nreconnect_ms_min = 20000\n", "must not be below drain.reconnect_ms_min"),
            ("[flush]\nbytes_per_socket = 8388608\n", "must not be below flush.bytes_per_socket"),
            ("[tls]\ncertificate = \"a\"\n", "tls.certificate and tls.key must be set together"),
            ("[proxy]\nprotocol = \"v2\"\n", "proxy.protocol needs proxy.trusted"),
            ("[tls]\nclient_auth = \"required\"\n", "tls.client_ca must be set"),
            ("[tls]\nclient_ca = \"a\"\nclient_auth = \"optional\"\n", "needs tls.certificate"),
            ("[memory]\nlog_bytes_max = 1048576\n[retention]\nbytes_max = 1048577\n", "all topics"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn classes_are_typed_and_ordered() {
        let config = config(
            "[[retention.class]]\npattern = \"pmu/#\"\nage_ms_max = 5\n\
             [[retention.class]]\npattern = \"alarms\"\nlag = \"skip-to-latest\"\n",
        )
        .unwrap();
        let targets: Vec<&str> =
            config.retention.classes.iter().map(|class| class.target.as_str()).collect();
        assert_eq!(targets, ["pmu/#", "alarms"]);
        assert_eq!(config.retention.classes[0].class.age_ms_max, 5);
        assert_eq!(config.retention.classes[1].class.lag, LagPolicy::SkipToLatest);
        assert_eq!(config.retention.default.lag, LagPolicy::Disconnect);
    }

    #[test]
    fn tokens_are_typed_and_do_not_show_themselves() {
        let config = config(
            "[auth]\npublishes_per_s = 7\n[[auth.token]]\nname = \"a\"\ntoken = \"hush\"\n\
             subscribe = [\"pmu/#\", \"alarms\"]\n",
        )
        .unwrap();
        let token = &config.auth.token[0];
        assert_eq!((token.token.reveal(), token.publishes_per_s), ("hush", 7));
        assert_eq!(token.subscribe[0].as_str(), "pmu/#");
        assert!(config.auth.is_on() && !Config::default().auth.is_on());
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn a_cookie_needs_origins() {
        let error = config("[auth]\ncookie = \"gridcast\"\n").unwrap_err();
        assert!(error.contains("auth.cookie needs security.origins"), "{error}");
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        let error = config("[[auth.token]]\nname = \"a\"\npublish = [\"a+\"]\n").unwrap_err();
        assert!(error.contains("`a+`: `+` stands alone in its segment"), "{error}");
        let error = config("[[retention.class]]\npattern = \"a/#/b\"\n").unwrap_err();
        assert!(error.contains("`#` stands in the last segment only"), "{error}");
    }
}
