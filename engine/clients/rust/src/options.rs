//! What a program may choose, with defaults and ranges. Must not connect.

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::items::Position;

/// Why there is no token, in words. It must not hold one.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type TokenFuture = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>;

/// Where the token comes from.
#[derive(Clone, Default)]
pub(crate) enum Token {
    #[default]
    None,
    Fixed(String),
    Asked(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
}

/// Whom `wss` trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of this host.
    #[default]
    Host,
    /// Those of a file, in PEM.
    File(PathBuf),
}

/// What carries a client where WebSockets do not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// An event stream for each topic; patterns and rates are polled for.
    EventStream,
    /// Long polling: plain requests alone.
    Poll,
}

/// What a client is doing, for whoever shows or logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It connects.
    Connecting,
    /// It is connected.
    Open,
    /// It works by plain requests, because WebSockets do not pass.
    Fallback(Transport),
    /// It will connect again after `delay`.
    Waiting {
        /// Why the connection ended, or why there was none.
        reason: String,
        /// How long.
        delay: Duration,
    },
    /// It is over.
    Closed(Error),
}

pub(crate) type OnState = Arc<dyn Fn(&State) + Send + Sync>;

/// The options of a client. Ranges are checked by [`Client::start`](crate::Client::start).
///
/// ```
/// use std::time::Duration;
/// let options = gridcast_client::Options::new("wss://grid.example")
///     .token_from(|| async { Ok(std::fs::read_to_string("/run/token")?.trim().to_owned()) })
///     .connect_timeout(Duration::from_secs(5));
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) url: String,
    pub(crate) token: Token,
    pub(crate) token_first: bool,
    pub(crate) trust: Trust,
    pub(crate) on_state: Option<OnState>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) connect_timeout: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) publishes_max: usize,
    pub(crate) message_bytes_max: usize,
    pub(crate) reconnect: (Duration, Duration),
    pub(crate) falls_back: bool,
    pub(crate) websocket_again: Duration,
    pub(crate) heartbeat: Duration,
}

impl fmt::Debug for Options {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Options {
    /// `url` is `ws://host:port` or `wss://host`, with a path where a proxy has one.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: Token::None,
            token_first: false,
            trust: Trust::Host,
            on_state: None,
            clock: Arc::new(SystemClock::default()),
            connect_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(10),
            publishes_max: 1000,
            message_bytes_max: 16 << 20,
            reconnect: (Duration::from_millis(500), Duration::from_secs(20)),
            falls_back: true,
            websocket_again: Duration::from_secs(300),
            heartbeat: Duration::from_secs(15),
        }
    }

    /// A token that does not change; sent as `Authorization: Bearer`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Fixed(token.into());
        self
    }

    /// A function that is asked for a token before each connection and when one was refused; where
    /// it gives JSON Web Tokens also at four fifths of the time of each: the next one replaces it
    /// on the open connection.
    #[must_use]
    pub fn token_from<F, A>(mut self, ask: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        self.token = Token::Asked(Arc::new(move || Box::pin(ask())));
        self
    }

    /// Sends the token as the first message of a connection instead of in its request: for where a
    /// proxy drops or logs that. The server must allow it (`auth.first_message_ms`).
    #[must_use]
    pub fn token_first(mut self) -> Self {
        self.token_first = true;
        self
    }

    /// Whom `wss` trusts; the authorities of this host by default.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Called with each [`State`], on the task of the client: it must not block.
    #[must_use]
    pub fn on_state(mut self, told: impl Fn(&State) + Send + Sync + 'static) -> Self {
        self.on_state = Some(Arc::new(told));
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// From the first packet to the greeting: 10 s; 50 ms to 10 minutes.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Waiting for a connection and the reply: 10 s; 50 ms to 1 hour.
    #[must_use]
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// Publishes under way at once, others wait for their turn: 1000; 1 to 65,536.
    #[must_use]
    pub fn publishes_max(mut self, count: usize) -> Self {
        self.publishes_max = count;
        self
    }

    /// The largest message that is taken: 16 MiB; 1 KiB to 1 GiB.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// The first and the largest ceiling of the delay before connecting again: 0.5 and 20 s; 10 ms
    /// to 1 hour.
    #[must_use]
    pub fn reconnect(mut self, first: Duration, largest: Duration) -> Self {
        self.reconnect = (first, largest);
        self
    }

    /// Whether event streams and then long polling carry it where WebSockets do not pass: yes.
    #[must_use]
    pub fn falls_back(mut self, falls_back: bool) -> Self {
        self.falls_back = falls_back;
        self
    }

    /// How often a WebSocket is tried meanwhile: every 5 minutes; 1 s to 1 day.
    #[must_use]
    pub fn websocket_again(mut self, every: Duration) -> Self {
        self.websocket_again = every;
        self
    }

    /// The server's `keepalive.heartbeat_ms`, which an event stream does not tell: 15 s; 100 ms to
    /// 1 day. One that is silent for twice that is dead.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let day = Duration::from_secs(86_400);
        let hour = Duration::from_secs(3600);
        for (name, value, least, most) in [
            ("connect_timeout", self.connect_timeout, 50, Duration::from_secs(600)),
            ("publish_timeout", self.publish_timeout, 50, hour),
            ("reconnect, first", self.reconnect.0, 10, hour),
            ("reconnect, largest", self.reconnect.1, 10, hour),
            ("websocket_again", self.websocket_again, 1000, day),
            ("heartbeat", self.heartbeat, 100, day),
        ] {
            within(name, value, Duration::from_millis(least)..=most)?;
        }
        within("publishes_max", self.publishes_max, 1..=65_536)?;
        within("message_bytes_max", self.message_bytes_max, 1024..=1 << 30)?;
        match &self.token {
            Token::Fixed(token) => check_token(token).map_err(|e| Error::Invalid(e.to_owned())),
            _ => Ok(()),
        }
    }
}

/// What a token must be. The answer does not show it: whoever reads that may not be meant to.
pub(crate) fn check_token(token: &str) -> Result<(), &'static str> {
    let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(()) } else { Err("token: visible ASCII characters are needed, without spaces") }
}

fn within<T>(name: &str, value: T, range: RangeInclusive<T>) -> Result<(), Error>
where
    T: PartialOrd + fmt::Debug,
{
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(Error::Invalid(format!("{name}: {value:?} is not within {least:?} to {most:?}")))
}

/// Where a subscription begins the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    Latest,
    /// With the newest message, then what comes.
    Last,
    /// With everything that is kept.
    Oldest,
    /// Behind a position.
    After(Position),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Last => f.write_str("last"),
            Self::Oldest => f.write_str("oldest"),
            Self::After(position) => position.fmt(f),
        }
    }
}

impl std::str::FromStr for Start {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "latest" => Self::Latest,
            "last" => Self::Last,
            "oldest" => Self::Oldest,
            position => Self::After(position.parse().map_err(|_| {
                let text = format!("`{position}` is not latest, last, oldest or {{epoch}}-{{seq}}");
                Error::Invalid(text)
            })?),
        })
    }
}

/// What is followed of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every message, in order.
    #[default]
    Lossless,
    /// The newest: the server jumps where the socket is full, the queue keeps the newest of each
    /// topic.
    Latest,
}

/// What the server does when this client falls behind what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// Closes the connection, which comes back and is told what is missing.
    Disconnect,
    /// Goes on with the oldest message that is kept.
    SkipToOldest,
    /// Goes on with the newest.
    SkipToLatest,
}

impl Lag {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::SkipToOldest => "skip-to-oldest",
            Self::SkipToLatest => "skip-to-latest",
        }
    }
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Drops its oldest items, and tells a [`Gap`](crate::Gap) with the reason `queue`.
    #[default]
    Drop,
    /// Gives the subscription up at the server until half of the queue is free, and goes on from
    /// there: what the server keeps is the buffer.
    Pause,
}

/// The options of a subscription.
///
/// ```
/// use gridcast_client::{Overflow, Start, SubscribeOptions};
/// let options = SubscribeOptions::new().start(Start::Last).rate(10).overflow(Overflow::Pause);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub(crate) start: Start,
    pub(crate) mode: Mode,
    pub(crate) rate: Option<u32>,
    pub(crate) lag: Option<Lag>,
    pub(crate) queue_max: usize,
    pub(crate) overflow: Overflow,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            start: Start::Latest,
            mode: Mode::Lossless,
            rate: None,
            lag: None,
            queue_max: 1024,
            overflow: Overflow::Drop,
        }
    }
}

impl SubscribeOptions {
    /// The defaults: every message from now on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to begin the first time.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Every message, or the newest.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Messages a second of each topic at most, thinned out by the server: 1 to 1,000.
    #[must_use]
    pub fn rate(mut self, per_second: u32) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// What the server does when this client falls behind; its own setting by default.
    #[must_use]
    pub fn lag(mut self, lag: Lag) -> Self {
        self.lag = Some(lag);
        self
    }

    /// Items that may wait for the program: 1,024; 1 to 1,000,000.
    #[must_use]
    pub fn queue_max(mut self, items: usize) -> Self {
        self.queue_max = items;
        self
    }

    /// What a full queue does.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        within("rate", self.rate.unwrap_or(1), 1..=1000)?;
        within("queue_max", self.queue_max, 1..=1_000_000)
    }
}

/// What is published: text as text, bytes as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub(crate) bytes: Bytes,
    pub(crate) is_text: bool,
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self { bytes: text.into(), is_text: true }
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, is_text: false }
    }
}

/// The options of one publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// Send again what got no reply: subscribers may get it twice.
    pub retry: bool,
    /// Another timeout than the client's.
    pub timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        let options = || Options::new("ws://h");
        assert_eq!(options().check(), Ok(()));
        for (options, part) in [
            (options().publishes_max(0), "publishes_max: 0 is not within 1 to 65536"),
            (options().connect_timeout(Duration::ZERO), "connect_timeout: 0ns"),
            (options().websocket_again(Duration::ZERO), "websocket_again: 0ns"),
            (options().token("a b"), "token: visible ASCII"),
        ] {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("a b"), "{error}");
        }
        assert!(SubscribeOptions::new().rate(0).check().is_err());
        assert!(SubscribeOptions::new().queue_max(0).check().is_err());
    }

    #[test]
    fn a_start_is_read_as_the_protocol_writes_it() {
        for text in ["latest", "last", "oldest", "k1-7"] {
            assert_eq!(text.parse::<Start>().unwrap().to_string(), text);
        }
        assert!("first".parse::<Start>().unwrap_err().to_string().contains("oldest"));
    }
}
