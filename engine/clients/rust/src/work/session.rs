//! One life of a connection: commands and their answers, deliveries to the feeds they are for, and
//! watching that the other side lives. Must not connect, or decide what comes after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use super::inbox::Pressure;
use super::kept::Work;
use super::outbox::{Asked, Outbox};
use super::renewal::Renewal;
use super::request::{Attempt, Request, lost};
use crate::clock::Clock;
use crate::error::Error;
use crate::items::{Position, Published};
use crate::link::{Backoff, Connection, Ending, Incoming, Liveness, PROBE, Verdict};
use crate::wire::command;
use crate::wire::envelope::Envelope;
use crate::wire::told::{Refused, Subscribed, Taken, Told};

/// Messages after which the program has a turn: one read of the socket may bring thousands, which
/// would fill a queue that its program empties in time.
const TURN_MESSAGES: u32 = 32;
/// Topics of which the server may tell the numbers: as many as one has by default.
const TOPICS_MAX: usize = 1_000_000;

/// See the file header.
pub struct Session<'a> {
    connection: Connection,
    work: &'a mut Work,
    renewal: &'a mut Renewal,
    clock: Arc<dyn Clock>,
    liveness: Liveness,
    outbox: Outbox,
    /// The feeds that stand, by what they follow.
    standing: HashMap<Arc<str>, u64>,
    /// What a number of gridcast.v1.bin stands for.
    numbers: HashMap<u64, Named>,
    /// Feeds that are asked for again, and when.
    retries: HashMap<u64, (Backoff, Option<Duration>)>,
    reconnect: (Duration, Duration),
}

/// What a number stands for.
struct Named {
    feed: u64,
    topic: Arc<str>,
    is_pattern: bool,
}

/// Why a session is over.
pub enum Stop {
    /// The connection has ended.
    Ended(Ending),
    /// The program closes the client.
    Closed(Option<oneshot::Sender<()>>),
}

enum Event {
    Came(Result<Incoming, Ending>),
    Asked(Option<Request>),
    Token(String),
    Look,
}

impl<'a> Session<'a> {
    /// A connection at work.
    pub fn new(
        connection: Connection,
        (work, renewal): (&'a mut Work, &'a mut Renewal),
        clock: Arc<dyn Clock>,
        reconnect: (Duration, Duration),
    ) -> Self {
        let heartbeat = Duration::from_millis(connection.hello.heartbeat_ms);
        Self {
            connection,
            work,
            renewal,
            liveness: Liveness::new(heartbeat, Arc::clone(&clock)),
            clock,
            outbox: Outbox::default(),
            standing: HashMap::new(),
            numbers: HashMap::new(),
            retries: HashMap::new(),
            reconnect,
        }
    }

    /// Works until the connection ends.
    pub async fn run(mut self, requests: &mut UnboundedReceiver<Request>) -> Stop {
        self.begin();
        let mut looks = interval(self.liveness.look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0;
        let stop = loop {
            let (connection, outbox) = (&mut self.connection, &mut self.outbox);
            let event = tokio::select! {
                came = connection.incoming(|| outbox.next()) => Event::Came(came),
                asked = requests.recv() => Event::Asked(asked),
                token = self.renewal.next() => Event::Token(token),
                _ = looks.tick() => Event::Look,
            };
            if let Err(stop) = self.take(event) {
                break stop;
            }
            turn = (turn + 1) % TURN_MESSAGES;
            if turn == 0 {
                tokio::task::yield_now().await;
            }
        };
        self.end(stop).await
    }

    /// All subscriptions in one burst, then what waits to be published.
    fn begin(&mut self) {
        let ids: Vec<u64> = self.work.feeds.keys().copied().collect();
        for id in ids {
            self.subscribe(id);
        }
        for attempt in std::mem::take(&mut self.work.waiting) {
            self.outbox.publish(attempt);
        }
    }

    async fn end(self, stop: Stop) -> Stop {
        let Self { connection, mut outbox, work, .. } = self;
        if matches!(stop, Stop::Closed(_)) {
            connection.close(|| outbox.next()).await;
        }
        work.feeds.values_mut().for_each(super::feed::Feed::cut);
        for attempt in outbox.attempts() {
            if attempt.was_sent() && !attempt.retry {
                attempt.answer(Err(lost()));
            } else {
                work.waiting.push_back(attempt);
            }
        }
        stop
    }

    fn take(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Came(came) => came.and_then(|came| self.hear(&came)).map_err(Stop::Ended),
            Event::Asked(Some(Request::Close(done))) => Err(Stop::Closed(Some(done))),
            Event::Asked(Some(request)) => {
                self.asked(request);
                Ok(())
            }
            Event::Asked(None) => Err(Stop::Closed(None)),
            Event::Token(token) => {
                let text = token.clone();
                self.outbox.ask(Asked::Authenticate(token), |id| command::auth(id, &text));
                Ok(())
            }
            Event::Look => self.look().map_err(Stop::Ended),
        }
    }

    // ---- what the program asks for ----

    fn asked(&mut self, request: Request) {
        match request {
            Request::Subscribe(feed) => {
                let id = feed.id;
                self.work.feeds.insert(id, *feed);
                self.subscribe(id);
            }
            Request::Leave(id) => self.leave(id),
            Request::GoOn(id) => {
                self.work.go_on(id);
                self.subscribe(id);
            }
            Request::Publish(attempt) => self.outbox.publish(attempt),
            Request::Close(_) => {}
        }
    }

    /// Asks for a subscription, from where it stands.
    fn subscribe(&mut self, id: u64) {
        if let Some(feed) = self.work.feeds.get(&id).filter(|feed| !feed.is_paused) {
            self.outbox.ask(Asked::Subscribe(id), |number| feed.command(number));
        }
    }

    fn leave(&mut self, id: u64) {
        self.retries.remove(&id);
        if let Some(feed) = self.work.remove(id).filter(|feed| !feed.is_paused) {
            self.unsubscribe(id, &feed.target);
        }
    }

    fn unsubscribe(&mut self, id: u64, target: &str) {
        self.outbox.ask(Asked::Unsubscribe(id), |number| command::unsubscribe(number, target));
    }

    /// A queue is full: what the server keeps is the buffer.
    fn pressed(&mut self, id: u64, pressure: Pressure) {
        let Some(feed) = self.work.feeds.get_mut(&id) else { return };
        if pressure == Pressure::Pause {
            feed.is_paused = true;
            feed.give_up();
            let target = Arc::clone(&feed.target);
            self.unsubscribe(id, &target);
        }
    }

    // ---- whether the other side lives ----

    fn look(&mut self) -> Result<(), Ending> {
        match self.liveness.look(self.connection.heard()) {
            Verdict::Alive => {}
            Verdict::Doubtful => self.connection.ping(),
            Verdict::Dead => {
                let silence = self.liveness.silence_max.as_secs_f64();
                return Err(Ending::lost(format!("nothing came for {silence} s")));
            }
            Verdict::Unanswered => {
                let probe = PROBE.as_secs();
                let text = format!("the clock jumped, and no ping was answered within {probe} s");
                return Err(Ending::lost(text));
            }
        }
        self.retry();
        self.renewal.look();
        Ok(())
    }

    fn retry(&mut self) {
        let now = self.clock.monotonic();
        let mut due = Vec::new();
        for (id, (_, at)) in &mut self.retries {
            if at.is_some_and(|at| at <= now) {
                *at = None;
                due.push(*id);
            }
        }
        due.into_iter().for_each(|id| self.subscribe(id));
    }

    // ---- what comes ----

    fn hear(&mut self, came: &Incoming) -> Result<(), Ending> {
        match came {
            Incoming::Binary(bytes) => self.binary(bytes),
            Incoming::Text(text) => self.text(text),
            Incoming::Pong => {
                self.liveness.answered();
                Ok(())
            }
        }
    }

    fn binary(&mut self, bytes: &Bytes) -> Result<(), Ending> {
        let envelope = Envelope::read(bytes).ok_or_else(|| wrong("a binary message", ""))?;
        let Envelope { feed, seq, is_text, payload } = envelope;
        let unknown = || Ending::lost(format!("the server says what it may not: feed {feed}"));
        let named = self.numbers.get(&feed).ok_or_else(unknown)?;
        let id = named.feed;
        if let Some(feed) = self.work.feeds.get_mut(&id) {
            let pressure = feed.message((&named.topic, named.is_pattern), seq, (payload, is_text));
            self.pressed(id, pressure);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Ending> {
        let told: Told<'_> = serde_json::from_str(text).map_err(|_| wrong("a text", text))?;
        let is_known = match &told {
            Told { id: Some(id), .. } => self.answered(*id, &told).is_some(),
            Told { error: Some(refused @ Refused { topic: Some(topic), .. }), .. } => {
                self.ended(topic, &refused.into());
                true
            }
            Told { seq: Some(seq), .. } => self.delivered(*seq, &told, text).is_some(),
            Told { feed: Some(number), .. } => self.announced(*number, &told).is_some(),
            Told { gap: Some(gap), .. } => {
                let id = self.standing.get(&*gap.topic).copied();
                let feed = id.and_then(|id| self.work.feeds.get_mut(&id));
                let pressure = feed.map_or(Pressure::None, |feed| feed.gap(gap));
                id.map(|id| self.pressed(id, pressure)).is_some()
            }
            // A beat, or what a later version says.
            _ => true,
        };
        if is_known { Ok(()) } else { Err(wrong("a text", text)) }
    }

    /// A message in JSON; none where nobody asked for it.
    fn delivered(&mut self, seq: u64, told: &Told<'_>, text: &str) -> Option<()> {
        let topic = told.topic.as_deref()?;
        let id = *self.standing.get(told.pattern.as_deref().unwrap_or(topic))?;
        let payload = told.payload(text)?;
        if let Some(feed) = self.work.feeds.get_mut(&id) {
            let pressure = feed.message((&topic.into(), told.pattern.is_some()), seq, payload);
            self.pressed(id, pressure);
        }
        Some(())
    }

    /// Which topic a number stands for; none where nobody asked for it, or there are too many.
    fn announced(&mut self, number: u64, told: &Told<'_>) -> Option<()> {
        let topic = told.topic.as_deref()?;
        let feed = *self.standing.get(told.pattern.as_deref().unwrap_or(topic))?;
        if self.numbers.len() >= TOPICS_MAX && !self.numbers.contains_key(&number) {
            return None;
        }
        let is_pattern = told.pattern.is_some();
        self.numbers.insert(number, Named { feed, topic: topic.into(), is_pattern });
        Some(())
    }

    /// An answer; none where nothing was asked.
    fn answered(&mut self, id: u64, told: &Told<'_>) -> Option<()> {
        let asked = self.outbox.answered(id)?;
        let refused = told.error.as_ref().map(Error::from);
        match (asked, refused) {
            (Asked::Publish(attempt), Some(error)) => attempt.answer(Err(error)),
            (Asked::Publish(attempt), None) => published(attempt, told.published.as_ref()?),
            (Asked::Subscribe(feed), Some(error)) => self.refused(feed, &error),
            (Asked::Subscribe(feed), None) => self.subscribed(feed, told.subscribed.as_ref()?),
            (Asked::Unsubscribe(feed), _) => self.forget(feed),
            (Asked::Authenticate(token), Some(error)) => {
                tracing::warn!(%error, "the new token does not count");
                self.renewal.refused(token);
            }
            (Asked::Authenticate(token), None) => {
                told.authenticated.as_ref()?;
                self.renewal.accepted(token);
            }
        }
        Some(())
    }

    fn subscribed(&mut self, id: u64, answer: &Subscribed<'_>) {
        let topic: Arc<str> = answer.topic.as_ref().into();
        if let Some(number) = answer.feed {
            let named = Named { feed: id, topic: Arc::clone(&topic), is_pattern: false };
            self.numbers.insert(number, named);
        }
        self.standing.insert(topic, id);
        self.retries.remove(&id);
        if let Some(feed) = self.work.feeds.get_mut(&id).filter(|feed| !feed.is_paused) {
            let pressure = feed.subscribed(&answer.epoch, answer.seq);
            self.pressed(id, pressure);
        }
    }

    fn refused(&mut self, id: u64, error: &Error) {
        let Some(feed) = self.work.feeds.get(&id) else { return };
        if feed.is_asked_again(error) {
            let fresh = || (Backoff::new(self.reconnect), None);
            let (backoff, at) = self.retries.entry(id).or_insert_with(fresh);
            *at = Some(self.clock.monotonic() + backoff.jitter(rand::random()));
        } else if let Some(mut feed) = self.work.remove(id) {
            feed.end(error, false);
        }
    }

    /// The server has ended a subscription, because a new token does not cover it. One that is
    /// given up already may be told of as well.
    fn ended(&mut self, target: &str, error: &Error) {
        let Some(id) = self.standing.get(target).copied() else { return };
        self.forget(id);
        if let Some(mut feed) = self.work.remove(id) {
            feed.end(error, false);
        }
    }

    fn forget(&mut self, id: u64) {
        self.standing.retain(|_, standing| *standing != id);
        self.numbers.retain(|_, named| named.feed != id);
    }
}

fn published(attempt: Attempt, taken: &Taken<'_>) {
    let position = Position { epoch: taken.epoch.as_ref().into(), seq: taken.seq };
    attempt.answer(Ok(Published { position, subscribers: taken.subscribers }));
}

fn wrong(what: &str, text: &str) -> Ending {
    let shown: String = text.chars().take(200).collect();
    Ending::lost(format!("the server says what was not understood: {what} {shown}"))
}
