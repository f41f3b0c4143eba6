//! One subscription by plain requests: by long polling, or from where a poll ended by an event
//! stream. Owns that it comes back where it was. Must not know what others do, or hand anything to
//! the program.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::feed::Feed;
use crate::clock::Clock;
use crate::error::Error;
use crate::items::Position;
use crate::link::{Ask, Backoff, Ending, Endpoint, Http, LinkOptions, Liveness, Next, Verdict};
use crate::options::Transport;
use crate::wire::events::{Event, Events};
use crate::wire::in_path;
use crate::wire::page::Page;
use crate::wire::told::{Missing, Told};

/// How long a poll waits at the server: proxies give up after a minute, and less tells sooner that
/// one is gone. It is below what the server allows by default.
const WAIT: Duration = Duration::from_secs(20);
/// An answer that has nothing and came sooner did not wait for anything, as one of a cache on the
/// way: the next is not asked for at once.
const EMPTY_MIN: Duration = Duration::from_millis(500);
/// Messages of one answer: it is read whole.
const RECORDS_MAX: u32 = 256;
/// A message as JSON or base64, in bytes of the message.
const GROWTH: usize = 8;
/// What an answer has beside one large message: the default of the server is a quarter of that.
const ANSWER_BYTES: usize = 1 << 20;

/// How streams reach the server.
#[derive(Clone)]
pub struct Way {
    pub endpoint: Endpoint,
    pub link: LinkOptions,
    pub token: Option<String>,
    /// Which of the two; patterns and rates are polled for all the same.
    pub transport: Transport,
    pub heartbeat: Duration,
    pub reconnect: (Duration, Duration),
    pub clock: Arc<dyn Clock>,
}

/// What a stream tells of its subscription.
pub enum Heard {
    /// It stands: what follows comes behind this.
    Placed(Position),
    /// A message came.
    Message { topic: Arc<str>, seq: u64, payload: (Bytes, bool) },
    /// Messages are missing.
    Gap(Missing<'static>),
    /// Whether an event stream came through.
    Streams(bool),
    /// It will be asked for again after this time.
    Broken(Ending, Duration),
    /// It is over: another token may help, or the error stays.
    Over(Ending),
}

/// Who a stream tells that, and in which of its lives.
pub type Teller = mpsc::Sender<(u64, u64, Heard)>;

/// See the file header.
pub struct Stream {
    way: Way,
    http: Http,
    tell: Teller,
    /// The number of the feed, and that of this life of its stream.
    name: (u64, u64),
    target: Arc<str>,
    path: String,
    /// What an event stream may be asked for beside the position.
    fields: String,
    /// Whether it is by an event stream.
    pub is_streamed: bool,
    from: String,
    /// The life of the topic; none while it does not stand.
    epoch: Option<Arc<str>>,
    /// A gap that is told once the life is known that follows it.
    held: Option<Missing<'static>>,
    /// What the server asks to wait.
    retry: Option<Duration>,
}

enum End {
    Of(Ending),
    /// Nobody listens any more.
    Unheard,
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        Self::Of(ending)
    }
}

impl Stream {
    /// Of `feed`, from where it stands; `life` tells it from those before.
    #[must_use]
    pub fn new(feed: &Feed, life: u64, way: Way, tell: Teller) -> Self {
        let http = Http::new(way.endpoint.clone(), way.link.clone(), way.token.clone());
        let path = in_path(&feed.target);
        let mut fields = String::new();
        for (name, value) in feed.fields() {
            // Writing to memory cannot fail.
            let _ = write!(fields, "&{name}={value}");
        }
        let is_pattern = feed.target.contains(['+', '#']);
        let is_streamed =
            way.transport == Transport::EventStream && !is_pattern && feed.rate().is_none();
        Self {
            way,
            http,
            tell,
            name: (feed.id, life),
            target: Arc::clone(&feed.target),
            path,
            fields,
            is_streamed,
            from: feed.from().to_string(),
            epoch: None,
            held: None,
            retry: None,
        }
    }

    /// Follows until that makes no sense.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(self.way.reconnect);
        loop {
            let since = self.way.clock.monotonic();
            let ending = match self.follow().await {
                Ok(never) => match never {},
                Err(End::Unheard) => return,
                Err(End::Of(ending)) => ending,
            };
            if ending.next == Next::No {
                // Nobody is left to be told.
                let _ = self.tell(Heard::Over(ending)).await;
                return;
            }
            let up = self.way.clock.monotonic().saturating_sub(since);
            let delay = backoff.delay(&ending, up, rand::random());
            (self.epoch, self.held) = (None, None);
            if self.tell(Heard::Broken(ending, delay)).await.is_err() {
                return;
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn follow(&mut self) -> Result<Infallible, End> {
        // Where it begins is known at once, whenever the first message comes.
        self.poll(Duration::ZERO).await?;
        if self.is_streamed {
            return self.stream().await;
        }
        loop {
            let since = self.way.clock.monotonic();
            let has_come = self.poll(WAIT).await?;
            let waited = self.way.clock.monotonic().saturating_sub(since);
            if !has_come && waited < EMPTY_MIN {
                tokio::time::sleep(EMPTY_MIN).await;
            }
        }
    }

    async fn tell(&self, heard: Heard) -> Result<(), End> {
        let (feed, life) = self.name;
        self.tell.send((feed, life, heard)).await.map_err(|_| End::Unheard)
    }

    // ---- long polling ----

    /// Answers whether anything came.
    async fn poll(&mut self, wait: Duration) -> Result<bool, End> {
        let Self { path, from, .. } = self;
        let wait_ms = wait.as_millis();
        let path =
            format!("/v1/poll/{path}?from={from}&wait={wait_ms}&limit={RECORDS_MAX}&format=json");
        let link = &self.way.link;
        let bytes_max = link.message_bytes_max.saturating_mul(GROWTH).saturating_add(ANSWER_BYTES);
        let within = wait.saturating_add(link.connect_timeout);
        let body = self.http.answer(&Ask::get(path, "application/json"), within, bytes_max).await?;
        self.page(&body).await
    }

    async fn page(&mut self, body: &[u8]) -> Result<bool, End> {
        let text = std::str::from_utf8(body).map_err(|_| wrong("an answer that is no text"))?;
        let page: Page<'_> = serde_json::from_str(text).map_err(|_| wrong(text))?;
        let next: Position = page.end.next.parse().map_err(|_| wrong(text))?;
        // All of it is read before any of it is told: it is asked for again as a whole.
        let heard = page.records.iter().map(|record| self.record(record, text));
        let heard: Vec<Heard> = heard.collect::<Option<_>>().ok_or_else(|| wrong(text))?;
        if self.epoch.as_ref() != Some(&next.epoch) {
            self.place(Position { seq: before(&page), ..next.clone() }).await?;
        }
        let has_come = !heard.is_empty();
        for heard in heard {
            self.tell(heard).await?;
        }
        self.from = next.to_string();
        Ok(has_come)
    }

    fn record(&self, record: &Told<'_>, text: &str) -> Option<Heard> {
        if let Some(missing) = &record.gap {
            return Some(Heard::Gap(owned(missing)));
        }
        let (topic, seq) = (record.topic.as_deref()?, record.seq?);
        let payload = record.payload(text)?;
        let topic = if *topic == *self.target { Arc::clone(&self.target) } else { topic.into() };
        Some(Heard::Message { topic, seq, payload })
    }

    async fn place(&mut self, position: Position) -> Result<(), End> {
        self.epoch = Some(Arc::clone(&position.epoch));
        self.tell(Heard::Placed(position)).await
    }

    // ---- the event stream ----

    async fn stream(&mut self) -> Result<Infallible, End> {
        match self.begun().await {
            Ok((body, first)) => {
                self.tell(Heard::Streams(true)).await?;
                self.read(body, first).await
            }
            Err(ending) => {
                // What the server itself refuses has come through.
                if ending.code.is_none() {
                    self.tell(Heard::Streams(false)).await?;
                }
                Err(ending.into())
            }
        }
    }

    /// The stream and its first bytes: the server sends some at once, so that what holds them back
    /// is noticed.
    async fn begun(&mut self) -> Result<(Incoming, Bytes), Ending> {
        let Self { path, from, fields, .. } = self;
        let ask = Ask::get(format!("/v1/feed/{path}?from={from}{fields}"), "text/event-stream");
        let within = self.way.link.connect_timeout;
        let mut body = self.http.stream(&ask, within).await?;
        match timeout(within, chunk(&mut body)).await {
            Ok(first) => Ok((body, first?)),
            Err(_) => {
                let seconds = within.as_secs_f64();
                Err(Ending::lost(format!("nothing of the event stream came within {seconds} s")))
            }
        }
    }

    async fn read(&mut self, mut body: Incoming, first: Bytes) -> Result<Infallible, End> {
        let mut liveness = Liveness::new(self.way.heartbeat, Arc::clone(&self.way.clock));
        let mut looks = interval(liveness.look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut events, mut heard) = (Events::default(), 0);
        self.take(&mut events, &first).await?;
        loop {
            tokio::select! {
                bytes = chunk(&mut body) => {
                    heard += 1;
                    self.take(&mut events, &bytes?).await?;
                }
                _ = looks.tick() => judge(&mut liveness, heard)?,
            }
        }
    }

    async fn take(&mut self, events: &mut Events, bytes: &[u8]) -> Result<(), End> {
        events.push(bytes);
        while let Some(event) = events.pop() {
            match event {
                Event::Retry(ms) => self.retry = Some(Duration::from_millis(ms.into())),
                Event::Named { kind, id, data } => self.event(&kind, &id, data).await?,
            }
        }
        let bytes_max = self.way.link.message_bytes_max.saturating_mul(2);
        if events.bytes() > bytes_max {
            return Err(
                Ending::too_large(format!("an event of more than {bytes_max} bytes")).into()
            );
        }
        Ok(())
    }

    async fn event(&mut self, kind: &str, id: &str, data: Vec<u8>) -> Result<(), End> {
        match kind {
            "close" => Err(self.closed(&data).into()),
            "gap" => self.missing(&data).await,
            "message" => self.message(id, (data.into(), true)).await,
            "binary" => {
                let bytes = STANDARD.decode(&data).map_err(|_| wrong("no base64"))?;
                self.message(id, (bytes.into(), false)).await
            }
            // What a later version says.
            _ => Ok(()),
        }
    }

    async fn message(&mut self, id: &str, payload: (Bytes, bool)) -> Result<(), End> {
        let position: Position = id.parse().map_err(|_| wrong(id))?;
        if self.epoch.as_ref() != Some(&position.epoch) {
            let seq = position.seq.saturating_sub(1);
            self.place(Position { seq, ..position.clone() }).await?;
        }
        if let Some(held) = self.held.take() {
            self.tell(Heard::Gap(held)).await?;
        }
        id.clone_into(&mut self.from);
        let (topic, seq) = (Arc::clone(&self.target), position.seq);
        self.tell(Heard::Message { topic, seq, payload }).await
    }

    async fn missing(&mut self, data: &[u8]) -> Result<(), End> {
        let missing: Missing<'_> = serde_json::from_slice(data).map_err(|_| wrong("a gap"))?;
        let missing = owned(&missing);
        if missing.reason == "epoch" {
            self.held = Some(missing);
            return Ok(());
        }
        if let Some(epoch) = &self.epoch {
            self.from = format!("{epoch}-{}", missing.to);
        }
        self.tell(Heard::Gap(missing)).await
    }

    fn closed(&self, data: &[u8]) -> Ending {
        let told: Value = serde_json::from_slice(data).unwrap_or_default();
        let code = told["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or(1006);
        let ending = Ending::of_close(code, told["reason"].as_str().unwrap_or_default());
        let delay = self.retry.filter(|_| ending.next == Next::Later);
        Ending { delay: ending.delay.or(delay), ..ending }
    }
}

/// The position before the first record.
fn before(page: &Page<'_>) -> u64 {
    let first = page.records.first();
    let gap = first.and_then(|first| first.gap.as_ref()).map(|gap| gap.to);
    let message = || first.and_then(|first| first.seq).map(|seq| seq.saturating_sub(1));
    let next = || page.end.next.parse().map_or(0, |next: Position| next.seq);
    gap.or_else(message).unwrap_or_else(next)
}

fn owned(missing: &Missing<'_>) -> Missing<'static> {
    let &Missing { from, to, frames, .. } = missing;
    let topic = missing.topic.clone().into_owned().into();
    Missing { topic, from, to, frames, reason: missing.reason.clone().into_owned().into() }
}

/// The next bytes. May be cancelled.
async fn chunk(body: &mut Incoming) -> Result<Bytes, Ending> {
    loop {
        let frame = body.frame().await.ok_or_else(|| Ending::lost("the event stream ended"))?;
        let lost = |error| Ending::lost(format!("the event stream was lost: {error}"));
        if let Ok(bytes) = frame.map_err(lost)?.into_data() {
            return Ok(bytes);
        }
    }
}

/// A stream cannot be asked whether it lives.
fn judge(liveness: &mut Liveness, heard: u64) -> Result<(), Ending> {
    match liveness.look(heard) {
        Verdict::Alive => Ok(()),
        Verdict::Dead => {
            let silence = liveness.silence_max.as_secs_f64();
            Err(Ending::lost(format!("nothing came for {silence} s")))
        }
        Verdict::Doubtful | Verdict::Unanswered => {
            Err(Ending::lost("the clock jumped, and an event stream cannot be asked"))
        }
    }
}

/// What is told of a subscription that the server does not take.
#[must_use]
pub fn refusal(ending: Ending) -> Error {
    let word = match ending.status {
        Some(4400) => "bad_request",
        Some(4403) => "forbidden",
        _ => "refused",
    };
    Error::command(ending.code.as_deref().unwrap_or(word), &ending.reason)
}

fn wrong(text: &str) -> Ending {
    let shown: String = text.chars().take(200).collect();
    Ending::lost(format!("the server says what was not understood: {shown}"))
}
