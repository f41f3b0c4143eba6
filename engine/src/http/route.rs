//! Which endpoint a request is for, and every check that needs its head alone. Must not serve
//! anything: checks that need a feed, a limit or a clock are the core's.

use crate::feed::epoch::{Epoch, Position};
use crate::feed::kind::Form;
use crate::feed::options::{From, Options};
use crate::feed::topic::{Target, Topic, TopicError};
use crate::frame::Kind;
use crate::http::body::{Body, Framing};
use crate::http::handshake::{Handshake, choose_protocol};
use crate::http::history::Question;
use crate::http::options;
use crate::http::page::{File, Page};
use crate::http::poll;
use crate::http::refusal::Refusal;
use crate::http::request::{Method, Request, accepts_events};
use crate::http::status::Status;
use crate::http::topics;
use percent_encoding::percent_decode_str;

/// The subprotocol whose messages are JSON objects.
pub const PROTOCOL_JSON: &str = "gridcast.v1.json";
/// The subprotocol whose data messages are binary envelopes.
pub const PROTOCOL_BINARY: &str = "gridcast.v1.bin";

/// What a request asks for.
#[derive(Debug)]
pub enum Route {
    /// A subscription over WebSocket.
    FeedSocket {
        /// What is subscribed to.
        target: Target,
        /// How.
        options: Options,
        /// The checked handshake.
        handshake: Handshake,
    },
    /// A subscription as an event stream; a `Last-Event-ID` has become `options.from`.
    FeedEvents {
        /// What is subscribed to.
        target: Target,
        /// How.
        options: Options,
    },
    /// What was published before.
    History {
        /// What is asked for.
        target: Target,
        /// Which of it, and how it is answered.
        question: Question,
    },
    /// What comes next, once there is some.
    Poll {
        /// What is asked for.
        target: Target,
        /// From where on, and for how long.
        question: poll::Question,
    },
    /// A publisher over WebSocket.
    PublishSocket {
        /// Where its messages go.
        topic: Topic,
        /// The checked handshake.
        handshake: Handshake,
    },
    /// One message, the body.
    PublishOne {
        /// Where it goes.
        topic: Topic,
        /// How it is framed; that text is UTF-8 is checked with the body. None where the body
        /// decides.
        kind: Option<Kind>,
        /// The body's reader.
        body: Body,
    },
    /// Many messages, one a line of the body.
    PublishMany {
        /// The body's reader.
        body: Body,
    },
    /// Many subscriptions, publishes and replies over one WebSocket.
    Multiplexed {
        /// What messages look like: the subprotocol.
        form: Form,
        /// Whether it wants to be greeted.
        hello: bool,
        /// The checked handshake.
        handshake: Handshake,
    },
    /// A socket that gets its messages back.
    Echo {
        /// The checked handshake.
        handshake: Handshake,
    },
    /// Liveness; also for `HEAD`.
    Health,
    /// Readiness; also for `HEAD`.
    Ready,
    /// OpenMetrics text; also for `HEAD`.
    Metrics,
    /// How the engine is, for administrators.
    Status,
    /// Which topics there are, for administrators.
    Topics(topics::Question),
    /// A page that is built in, or a file of one; also for `HEAD`.
    File(&'static File),
    /// The engine is to drain, says an administrator.
    Drain,
    /// `OPTIONS /`: what some load balancers ask unless told otherwise, to see if it takes work.
    Probe,
    /// `OPTIONS`: the methods of the endpoint.
    Allow(&'static str),
}

/// What the settings say about routes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether `/v1/echo` exists.
    pub echo: bool,
    /// The largest body, bytes.
    pub body_bytes_max: u32,
    /// Where the request came in.
    pub door: Door,
    /// Whether `/console` exists.
    pub console: bool,
    /// Whether `/wall` exists.
    pub wall: bool,
}

/// Which endpoints a listener has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// All of them.
    #[default]
    All,
    /// Those of clients, and the two probes.
    Clients,
    /// Those of administrators, the two probes and, for the console, `/v1/ws`.
    Admins,
}

/// The endpoints, before methods are looked at.
enum Endpoint<'p> {
    Feed(&'p str),
    History(&'p str),
    Poll(&'p str),
    Multiplexed,
    Publish(&'p str),
    PublishMany,
    Echo,
    Health,
    Ready,
    Metrics,
    Status,
    Topics,
    File(&'static File),
    Drain,
}

impl Route {
    /// Whether operators and orchestrators ask: they are answered however full the engine is.
    #[must_use]
    pub fn is_for_operators(&self) -> bool {
        let is_probe = matches!(self, Self::Health | Self::Ready | Self::Probe);
        let is_asked = matches!(self, Self::Metrics | Self::Status | Self::Topics(_));
        is_probe || is_asked || matches!(self, Self::Drain)
    }

    /// Whether pages of browsers have business at a path. How the engine is they need not know;
    /// that there is no such endpoint they must be able to read.
    #[must_use]
    pub fn is_for_pages(path: &str) -> bool {
        use Endpoint::{File, Health, Metrics, Ready};
        !matches!(Endpoint::of(path, Settings::ALL), Ok(Health | Ready | Metrics | File(_)))
    }

    /// Finds the endpoint and checks what it requires of the head.
    ///
    /// # Errors
    /// Any 4xx or 501, with a message that says how to do better.
    pub fn of(request: &Request, settings: Settings) -> Result<Self, Refusal> {
        if request.method == Method::Options && request.path == "*" {
            return Ok(Self::Allow("GET, HEAD, POST, OPTIONS"));
        }
        if request.method == Method::Options && request.path == "/" {
            return Ok(Self::Probe);
        }
        let endpoint = Endpoint::of(&request.path, settings)?;
        endpoint.check_door(settings)?;
        if !endpoint.takes(request.method) {
            return Err(endpoint.refuse_method());
        }
        let framing = check_framing(request)?;
        match request.method {
            Method::Options => Ok(Self::Allow(endpoint.methods())),
            Method::Get => endpoint.get(request),
            Method::Head => endpoint.head(),
            Method::Post if matches!(endpoint, Endpoint::Drain) => drain(request, framing),
            Method::Post => endpoint.post(request, Body::new(framing, settings.body_bytes_max)),
            Method::Other => Err(endpoint.refuse_method()),
        }
    }
}

impl Settings {
    /// With every endpoint there may be.
    const ALL: Self =
        Self { echo: true, body_bytes_max: 0, door: Door::All, console: true, wall: true };

    fn has(self, page: Page) -> bool {
        match page {
            Page::Console => self.console,
            Page::Wall => self.wall,
        }
    }
}

impl<'p> Endpoint<'p> {
    fn of(path: &'p str, settings: Settings) -> Result<Self, Refusal> {
        if let Some(rest) = path.strip_prefix("/v1/feed/") {
            return Ok(Self::Feed(rest));
        }
        if let Some(rest) = path.strip_prefix("/v1/history/") {
            return Ok(Self::History(rest));
        }
        if let Some(rest) = path.strip_prefix("/v1/poll/") {
            return Ok(Self::Poll(rest));
        }
        if let Some(rest) = path.strip_prefix("/v1/publish/") {
            return Ok(Self::Publish(rest));
        }
        if let Some(file) = File::at(path).filter(|file| settings.has(file.page)) {
            return Ok(Self::File(file));
        }
        match path {
            "/v1/publish" => Ok(Self::PublishMany),
            "/v1/ws" => Ok(Self::Multiplexed),
            "/v1/echo" if settings.echo => Ok(Self::Echo),
            "/healthz" => Ok(Self::Health),
            "/readyz" => Ok(Self::Ready),
            "/metrics" => Ok(Self::Metrics),
            "/v1/admin/status" => Ok(Self::Status),
            "/v1/admin/topics" => Ok(Self::Topics),
            "/v1/admin/drain" => Ok(Self::Drain),
            _ => Err(Refusal::new(Status::NotFound, missing(path))),
        }
    }

    fn check_door(&self, settings: Settings) -> Result<(), Refusal> {
        let is_served = match (settings.door, self) {
            (Door::All, _) | (_, Self::Health | Self::Ready) => true,
            // The console looks into topics from where it is: a browser, or a tunnel to this
            // listener alone, need not reach the other one.
            (Door::Admins, Self::Multiplexed) => settings.console,
            (Door::Admins, Self::File(file)) => file.page == Page::Console,
            (Door::Clients, Self::File(file)) => file.page == Page::Wall,
            (door, endpoint) => endpoint.is_for_admins() == (door == Door::Admins),
        };
        if is_served {
            return Ok(());
        }
        Err(Refusal::new(Status::NotFound, "another listener has this endpoint (admin.listen)"))
    }

    const fn is_for_admins(&self) -> bool {
        matches!(self, Self::Metrics | Self::Status | Self::Topics | Self::Drain)
    }

    const fn methods(&self) -> &'static str {
        match self {
            Self::Feed(_) | Self::History(_) | Self::Poll(_) => "GET, OPTIONS",
            Self::Multiplexed | Self::Echo => "GET, OPTIONS",
            Self::Publish(_) => "GET, POST, OPTIONS",
            Self::PublishMany => "POST, OPTIONS",
            Self::Health | Self::Ready | Self::Metrics | Self::File(_) => "GET, HEAD, OPTIONS",
            Self::Status | Self::Topics => "GET, OPTIONS",
            Self::Drain => "POST, OPTIONS",
        }
    }

    fn takes(&self, method: Method) -> bool {
        let name = match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Options => "OPTIONS",
            Method::Other => return false,
        };
        self.methods().split(", ").any(|taken| taken == name)
    }

    fn refuse_method(&self) -> Refusal {
        let message = format!("the methods here are {}", self.methods());
        Refusal::new(Status::MethodNotAllowed, message).with_header("Allow", self.methods())
    }

    fn get(&self, request: &Request) -> Result<Route, Refusal> {
        match self {
            Self::Feed(rest) => feed(request, rest),
            Self::History(rest) => history(request, rest),
            Self::Poll(rest) => {
                let (target, question) = (target(rest)?, poll::Question::of(request)?);
                Ok(Route::Poll { target, question })
            }
            Self::Publish(rest) => {
                let topic = publish_topic(request, rest)?;
                let handshake = require_websocket(request)?.with_offered_protocol(request)?;
                Ok(Route::PublishSocket { topic, handshake })
            }
            Self::Multiplexed => multiplexed(request),
            Self::Echo => {
                let handshake = require_websocket(request)?.with_offered_protocol(request)?;
                Ok(Route::Echo { handshake })
            }
            Self::Status => Ok(Route::Status),
            Self::Topics => topics::Question::of(request.query.as_deref()).map(Route::Topics),
            Self::PublishMany | Self::Drain => Err(self.refuse_method()),
            Self::Health | Self::Ready | Self::Metrics | Self::File(_) => self.head(),
        }
    }

    fn head(&self) -> Result<Route, Refusal> {
        match self {
            Self::Health => Ok(Route::Health),
            Self::Ready => Ok(Route::Ready),
            Self::Metrics => Ok(Route::Metrics),
            Self::File(file) => Ok(Route::File(file)),
            _ => Err(self.refuse_method()),
        }
    }

    fn post(&self, request: &Request, body: Result<Body, Refusal>) -> Result<Route, Refusal> {
        match self {
            Self::Publish(rest) => {
                let topic = publish_topic(request, rest)?;
                check_coding(request)?;
                let kind = kind_of(request.headers.content_type.as_deref());
                Ok(Route::PublishOne { topic, kind, body: body? })
            }
            Self::PublishMany => {
                options::refuse_any(request.query.as_deref())?;
                require_ndjson(request)?;
                check_coding(request)?;
                Ok(Route::PublishMany { body: body? })
            }
            _ => Err(self.refuse_method()),
        }
    }
}

fn drain(request: &Request, framing: Framing) -> Result<Route, Refusal> {
    options::refuse_any(request.query.as_deref())?;
    if framing.is_empty() { Ok(Route::Drain) } else { Err(Refusal::bad("a drain has no body")) }
}

fn missing(path: &str) -> &'static str {
    match path {
        "/v1/echo" => "echo is off: [debug] echo = true turns it on",
        "/v1/feed" => "which topic or pattern? /v1/feed/{topic}",
        "/v1/history" => "which topic? /v1/history/{topic}",
        "/v1/poll" => "which topic or pattern? /v1/poll/{topic}",
        "/console" => "the console is off: [console] enabled = true turns it on",
        "/wall" => "the wall is off: [wall] enabled = true turns it on",
        _ => {
            "no such endpoint: there are /v1/feed/{topic or pattern}, /v1/history/{topic}, \
             /v1/poll/{topic or pattern}, /v1/ws, /v1/publish, /v1/publish/{topic}, \
             /v1/admin/status, /v1/admin/topics, /v1/admin/drain, /healthz, /readyz, /metrics, \
             /console and /wall"
        }
    }
}

/// A body where none belongs would be taken for the next request.
fn check_framing(request: &Request) -> Result<Framing, Refusal> {
    if request.headers.expect.is_some() && !request.expects_continue() && request.is_http_11 {
        return Err(Refusal::new(Status::ExpectationFailed, "the one expectation is 100-continue"));
    }
    let framing = Framing::of(request)?;
    if matches!(request.method, Method::Get | Method::Head | Method::Options) && !framing.is_empty()
    {
        return Err(Refusal::bad("this method has no body"));
    }
    Ok(framing)
}

fn target(rest: &str) -> Result<Target, Refusal> {
    decode_topic(rest)?.parse().map_err(|error| refuse_topic(error, rest))
}

fn history(request: &Request, rest: &str) -> Result<Route, Refusal> {
    let (target, question) = (target(rest)?, Question::of(request)?);
    if !request.is_http_11 {
        let message = "history is sent in chunks, which HTTP/1.0 does not know: use HTTP/1.1 (of \
                       nginx: proxy_http_version 1.1)";
        return Err(Refusal::new(Status::VersionNotSupported, message));
    }
    Ok(Route::History { target, question })
}

fn feed(request: &Request, rest: &str) -> Result<Route, Refusal> {
    let target = target(rest)?;
    if request.wants_websocket() {
        let options = options::parse(request.query.as_deref())?;
        let handshake = Handshake::check(request)?.with_offered_protocol(request)?;
        return Ok(Route::FeedSocket { target, options, handshake });
    }
    check_events(request)?;
    let (mut options, in_query) = options::parse_resumable(request.query.as_deref())?;
    let in_header = request.headers.last_event_id.clone().filter(|id| !id.is_empty());
    if let Some(id) = in_header.or(in_query) {
        // A browser reconnects to the URL it began with: the id is the newer wish.
        options.from = resume(&id);
    }
    Ok(Route::FeedEvents { target, options })
}

/// Whether a feed can be answered as an event stream.
fn check_events(request: &Request) -> Result<(), Refusal> {
    if request.headers.sec_websocket_key.is_some() {
        let message = "a WebSocket handshake without `Upgrade: websocket`; a proxy in between may \
                       have removed it";
        let refusal = Refusal::new(Status::UpgradeRequired, message);
        return Err(refusal.with_header("Upgrade", "websocket"));
    }
    if !accepts_events(request.headers.accept.as_deref()) {
        let message = "a feed is read over WebSocket (Upgrade: websocket) or as an event stream \
                       (Accept: text/event-stream)";
        return Err(Refusal::new(Status::NotAcceptable, message));
    }
    if !request.is_http_11 {
        let message = "an event stream is sent in chunks, which HTTP/1.0 does not know: use \
                       HTTP/1.1 (of nginx: proxy_http_version 1.1)";
        return Err(Refusal::new(Status::VersionNotSupported, message));
    }
    Ok(())
}

/// Without a subprotocol the client gets the one it can read without a table.
fn multiplexed(request: &Request) -> Result<Route, Refusal> {
    let hello = options::parse_hello(request.query.as_deref())?;
    let handshake = require_websocket(request)?;
    let offered = request.headers.sec_websocket_protocol.as_deref();
    let chosen = choose_protocol(offered, &[PROTOCOL_JSON, PROTOCOL_BINARY])?;
    let form = if chosen == Some(PROTOCOL_BINARY) { Form::Binary } else { Form::Json };
    let handshake = match chosen {
        Some(protocol) => handshake.with_protocol(protocol),
        None => handshake,
    };
    Ok(Route::Multiplexed { form, hello, handshake })
}

/// What is no position of this engine is one of another: the client is told that it missed frames.
fn resume(last_event_id: &str) -> From {
    match last_event_id.parse() {
        Ok(Position { epoch, seq }) => From::After { epoch, seq },
        Err(_) => From::After { epoch: Epoch::FOREIGN, seq: 0 },
    }
}

fn publish_topic(request: &Request, rest: &str) -> Result<Topic, Refusal> {
    options::refuse_any(request.query.as_deref())?;
    let topic = Topic::new(&decode_topic(rest)?).map_err(|error| refuse_topic(error, rest))?;
    if topic.is_engines() {
        let message = "topics that start with `$` are the engine's own";
        return Err(Refusal::new(Status::Forbidden, message));
    }
    Ok(topic)
}

fn require_websocket(request: &Request) -> Result<Handshake, Refusal> {
    if request.wants_websocket() {
        return Handshake::check(request);
    }
    Err(Refusal::new(Status::UpgradeRequired, "this endpoint speaks WebSocket")
        .with_header("Upgrade", "websocket"))
}

/// A body that is compressed would be passed on as bytes that nobody can read.
fn check_coding(request: &Request) -> Result<(), Refusal> {
    let codings = request.headers.content_encoding.as_deref().unwrap_or_default();
    let mut named = codings.split(',').map(str::trim).filter(|coding| !coding.is_empty());
    if named.all(|coding| coding.eq_ignore_ascii_case("identity")) {
        return Ok(());
    }
    let refusal = Refusal::new(Status::UnsupportedMediaType, "bodies are sent without a coding");
    Err(refusal.with_header("Accept-Encoding", "identity"))
}

/// The media types of lines of JSON: none is registered, so several are in use.
const NDJSON_TYPES: [&str; 6] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
];

fn require_ndjson(request: &Request) -> Result<(), Refusal> {
    let media_type = media_type(request.headers.content_type.as_deref());
    if NDJSON_TYPES.contains(&media_type.as_str()) {
        return Ok(());
    }
    let message = "many messages are sent as application/x-ndjson; one is posted to \
                   /v1/publish/{topic}";
    Err(Refusal::new(Status::UnsupportedMediaType, message))
}

/// None for the type that curl sends when it is told none: it says nothing of what is in it.
fn kind_of(content_type: Option<&str>) -> Option<Kind> {
    match media_type(content_type).as_str() {
        "application/x-www-form-urlencoded" => None,
        "application/json" => Some(Kind::Text),
        media_type if media_type.starts_with("text/") => Some(Kind::Text),
        _ => Some(Kind::Binary),
    }
}

/// Lower case, without parameters.
fn media_type(content_type: Option<&str>) -> String {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

fn decode_topic(rest: &str) -> Result<String, Refusal> {
    let mut escapes = rest.split('%').skip(1);
    if !escapes.all(|e| e.len() >= 2 && e.bytes().take(2).all(|b| b.is_ascii_hexdigit())) {
        return Err(Refusal::bad("malformed percent-encoding in the topic"));
    }
    match percent_decode_str(rest).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Refusal::bad("the topic is not UTF-8")),
    }
}

fn refuse_topic(error: TopicError, rest: &str) -> Refusal {
    // Most clients cut a URL at its `#` and ask for what stands before it.
    let hint = if rest.ends_with('/') { " (in a URL, `#` is written %23)" } else { "" };
    Refusal::bad(format!("{error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::options::Mode;

    const WEBSOCKET: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    const EVENTS: &str = "Accept: text/html, text/event-stream;q=0.9\r\n";
    const NDJSON: &str = "Content-Type: application/x-ndjson; charset=utf-8\r\n";

    fn route_with(echo: bool, line: &str, headers: &str) -> Result<Route, Refusal> {
        let text = format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (request, _) = Request::parse(text.as_bytes(), 4096).unwrap().unwrap();
        Route::of(&request, Settings { echo, body_bytes_max: 100, ..Settings::ALL })
    }

    fn route(line: &str, headers: &str) -> Result<Route, Refusal> {
        route_with(false, line, headers)
    }

    fn status_of(line: &str, headers: &str) -> u16 {
        route(line, headers).unwrap_err().status.number()
    }

    #[test]
    fn a_feed_is_read_both_ways() {
        let Ok(Route::FeedSocket { target, options, .. }) =
            route("GET /v1/feed/pmu/%23?mode=latest", WEBSOCKET)
        else {
            panic!("no socket")
        };
        assert_eq!((target.as_str(), options.mode), ("pmu/#", Mode::Latest));
        let Ok(Route::FeedEvents { target, options }) = route("GET /v1/feed/%24sys/+", EVENTS)
        else {
            panic!("no events")
        };
        assert_eq!((target.as_str(), options), ("$sys/+", Options::default()));
    }

    #[test]
    fn last_event_id_wins_over_the_url() {
        let headers = format!("{EVENTS}Last-Event-ID: k3-41\r\n");
        let Ok(Route::FeedEvents { options, .. }) = route("GET /v1/feed/a?from=oldest", &headers)
        else {
            panic!("no events")
        };
        assert_eq!(options.from, "k3-41".parse().unwrap());
        let spellings = ["lastEventId", "lastEventID", "last-event-id", "last_event_id"];
        for key in spellings {
            let line = format!("GET /v1/feed/a?from=oldest&{key}=k3-41");
            let Ok(Route::FeedEvents { options, .. }) = route(&line, EVENTS) else {
                panic!("{key}")
            };
            assert_eq!(options.from, "k3-41".parse().unwrap());
        }
        assert!(route("GET /v1/feed/a?lastEventId=", EVENTS).is_ok());
        assert_eq!(status_of("GET /v1/feed/a?lastEventId=a-1&last_event_id=a-1", EVENTS), 400);
        let empty = format!("{EVENTS}Last-Event-ID:\r\n");
        assert!(route("GET /v1/feed/a", &empty).is_ok());
    }

    #[test]
    fn a_position_of_another_server_is_one_of_another_epoch() {
        for id in ["123", "k3", "-1", "k3-x", "\u{e9}", "a b", "0195f7a2-7c3e-7000-8000-1"] {
            let headers = format!("{EVENTS}Last-Event-ID: {id}\r\n");
            let Ok(Route::FeedEvents { options, .. }) = route("GET /v1/feed/a", &headers) else {
                panic!("{id}")
            };
            assert_eq!(options.from, From::After { epoch: Epoch::FOREIGN, seq: 0 }, "{id}");
        }
    }

    #[test]
    fn publishing_has_three_forms() {
        assert!(matches!(
            route("GET /v1/publish/a/b", WEBSOCKET),
            Ok(Route::PublishSocket { topic, .. }) if topic.as_str() == "a/b"
        ));
        for (content_type, expected) in [
            ("Content-Type: text/csv\r\n", Some(Kind::Text)),
            ("Content-Type: Application/JSON; charset=utf-8\r\n", Some(Kind::Text)),
            ("Content-Type: application/octet-stream\r\n", Some(Kind::Binary)),
            ("Content-Type: application/X-www-form-urlencoded; x=y\r\n", None),
            ("", Some(Kind::Binary)),
        ] {
            let headers = format!("{content_type}Content-Length: 3\r\n");
            let Ok(Route::PublishOne { kind, .. }) = route("POST /v1/publish/a", &headers) else {
                panic!("{content_type}")
            };
            assert_eq!(kind, expected, "{content_type}");
        }
        let headers = format!("{NDJSON}Transfer-Encoding: chunked\r\n");
        assert!(matches!(route("POST /v1/publish", &headers), Ok(Route::PublishMany { .. })));
    }

    #[test]
    fn a_body_with_a_coding_is_refused() {
        for (coding, is_taken) in [
            ("gzip", false),
            ("identity, br", false),
            ("x-gzip", false),
            ("\u{e9}", false),
            ("identity", true),
            ("Identity,", true),
            ("", true),
        ] {
            let headers = format!("{NDJSON}Content-Encoding: {coding}\r\nContent-Length: 1\r\n");
            for line in ["POST /v1/publish/a", "POST /v1/publish"] {
                match route(line, &headers) {
                    Ok(_) => assert!(is_taken, "{coding}"),
                    Err(refusal) => {
                        assert!(!is_taken, "{coding}: {refusal}");
                        assert_eq!(refusal.status, Status::UnsupportedMediaType);
                        assert_eq!(refusal.headers, [("Accept-Encoding", "identity")]);
                    }
                }
            }
        }
    }

    #[test]
    fn lines_of_json_have_many_names() {
        for name in ["x-ndjson", "ndjson", "jsonl", "JSONL; charset=utf-8", "x-jsonlines"] {
            let headers = format!("Content-Type: application/{name}\r\nContent-Length: 1\r\n");
            assert!(route("POST /v1/publish", &headers).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_subprotocol_chooses_the_form() {
        for (offer, expected) in [
            ("", Form::Json),
            ("Sec-WebSocket-Protocol: gridcast.v1.json\r\n", Form::Json),
            ("Sec-WebSocket-Protocol: x, gridcast.v1.bin, gridcast.v1.json\r\n", Form::Binary),
        ] {
            let headers = format!("{WEBSOCKET}{offer}");
            let Ok(Route::Multiplexed { form, hello, handshake }) = route("GET /v1/ws", &headers)
            else {
                panic!("{offer}")
            };
            assert_eq!((form, hello), (expected, false));
            let answer = String::from_utf8(handshake.response("now")).unwrap();
            assert_eq!(answer.contains("Sec-WebSocket-Protocol: gridcast"), !offer.is_empty());
        }
        let unknown = format!("{WEBSOCKET}Sec-WebSocket-Protocol: mqtt\r\n");
        let refusal = route("GET /v1/ws", &unknown).unwrap_err();
        assert_eq!(refusal.message, "the subprotocols here are gridcast.v1.json, gridcast.v1.bin");
    }

    #[test]
    fn operations_answer_get_head_and_options() {
        assert!(matches!(route("GET /healthz", ""), Ok(Route::Health)));
        assert!(matches!(route("HEAD /readyz?x=1", ""), Ok(Route::Ready)));
        assert!(matches!(route("GET /metrics", ""), Ok(Route::Metrics)));
        assert!(matches!(route("OPTIONS /v1/publish", ""), Ok(Route::Allow("POST, OPTIONS"))));
        assert!(matches!(route("OPTIONS *", ""), Ok(Route::Allow(_))));
        assert!(matches!(route("OPTIONS /", ""), Ok(Route::Probe)));
    }

    #[test]
    fn each_door_has_its_endpoints_and_both_have_the_probes() {
        let served = |door: Door, line: &str, headers: &str| {
            let text = format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            let (request, _) = Request::parse(text.as_bytes(), 4096).unwrap().unwrap();
            Route::of(&request, Settings { body_bytes_max: 9, door, ..Settings::ALL }).is_ok()
        };
        for (line, headers, clients, admins) in [
            ("GET /healthz", "", true, true),
            ("GET /readyz", "", true, true),
            ("GET /metrics", "", false, true),
            ("GET /v1/admin/status", "", false, true),
            ("GET /v1/admin/topics", "", false, true),
            ("POST /v1/admin/drain", "", false, true),
            ("GET /console", "", false, true),
            ("HEAD /pages/console.js", "", false, true),
            ("GET /wall", "", true, false),
            ("GET /v1/feed/a", EVENTS, true, false),
            ("GET /v1/history/a", "", true, false),
            ("GET /v1/ws", WEBSOCKET, true, true),
            ("GET /v1/echo", WEBSOCKET, true, false),
            ("POST /v1/publish/a", "Content-Length: 1\r\n", true, false),
        ] {
            assert!(served(Door::All, line, headers), "{line}");
            assert_eq!(served(Door::Clients, line, headers), clients, "{line}");
            assert_eq!(served(Door::Admins, line, headers), admins, "{line}");
        }
    }

    #[test]
    fn refusals_have_their_status() {
        for (line, headers, status) in [
            ("GET /", "", 404),
            ("GET /v1/ws", "", 426),
            ("GET /v1/echo", WEBSOCKET, 404),
            ("GET /v1/feed/a", "Accept: text/html\r\n", 406),
            ("GET /v1/feed/a", "Accept: */*, text/event-stream;q=0\r\n", 406),
            ("GET /v1/feed/a", &WEBSOCKET.replace("Upgrade: websocket\r\n", ""), 426),
            ("GET /v1/feed/", EVENTS, 400),
            ("GET /v1/feed/a//b", EVENTS, 400),
            ("GET /v1/feed/a%2", EVENTS, 400),
            ("GET /v1/feed/%FF", EVENTS, 400),
            ("GET /v1/feed/a?nope=1", EVENTS, 400),
            ("GET /v1/feed/a", &WEBSOCKET.replace("13", "8"), 426),
            ("POST /v1/feed/a", "Content-Length: 1\r\n", 405),
            ("HEAD /v1/feed/a", "", 405),
            ("HEAD /v1/history/a", "", 405),
            ("GET /v1/history", "", 404),
            ("GET /v1/history/a//b", "", 400),
            ("GET /v1/history/a?form=1", "", 400),
            ("GET /v1/history/a", "Accept: text/html\r\n", 406),
            ("POST /v1/history/a", "Content-Length: 0\r\n", 405),
            ("GET /v1/publish/a", "", 426),
            ("GET /v1/publish/a/+", WEBSOCKET, 400),
            ("GET /v1/publish/$sys/a", WEBSOCKET, 403),
            ("POST /v1/publish/%24sys/a", "Content-Length: 1\r\n", 403),
            ("POST /v1/publish/a?x=1", "Content-Length: 1\r\n", 400),
            ("POST /v1/publish/a", "", 411),
            ("POST /v1/publish/a", "Content-Length: 101\r\n", 413),
            ("POST /v1/publish", "Content-Length: 1\r\n", 415),
            ("GET /v1/admin/drain", "", 405),
            ("POST /v1/admin/status", "Content-Length: 0\r\n", 405),
            ("POST /v1/admin/drain", "Content-Length: 1\r\n", 400),
            ("POST /v1/admin/drain?now=1", "", 400),
            ("PUT /v1/publish/a", "Content-Length: 1\r\n", 405),
            ("GET /v1/publish", "", 405),
            ("POST /metrics", "Content-Length: 0\r\n", 405),
            ("GET /metrics", "Content-Length: 1\r\n", 400),
            ("GET /v1/feed/a", "Transfer-Encoding: chunked\r\n", 400),
            ("POST /v1/publish/a", "Expect: gold\r\nContent-Length: 1\r\n", 417),
        ] {
            assert_eq!(status_of(line, headers), status, "{line} {headers}");
        }
    }

    #[test]
    fn refusals_say_how_to_do_better() {
        let refusal = route("DELETE /v1/publish/a", "").unwrap_err();
        assert_eq!(refusal.headers, [("Allow", "GET, POST, OPTIONS")]);
        let cut_at_the_hash = route("GET /v1/feed/pmu/", EVENTS).unwrap_err();
        assert!(cut_at_the_hash.message.contains("%23"), "{}", cut_at_the_hash.message);
        assert!(route("GET /v1/echo", "").unwrap_err().message.contains("[debug]"));
    }

    #[test]
    fn echo_exists_only_where_it_is_turned_on() {
        assert!(matches!(route_with(true, "GET /v1/echo", WEBSOCKET), Ok(Route::Echo { .. })));
        assert_eq!(route_with(true, "GET /v1/echo", "").unwrap_err().status.number(), 426);
    }
}
