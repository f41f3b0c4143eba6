//! A client at work where WebSockets do not pass: a stream for each subscription, publishes one
//! after the other, and now and then a look whether a WebSocket passes again. Must not read a
//! stream, or decide what comes after its own end.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep};

use super::inbox::Pressure;
use super::kept::Work;
use super::posting::{Posted, Posting, post};
use super::request::{Attempt, Request, lost};
use super::session::Stop;
use super::stream::{Heard, Stream, Teller, Way, refusal};
use crate::link::{Ask, Backoff, Connection, Ending, Http};
use crate::options::{State, Transport};

/// What streams may be ahead of the program: beyond that they wait, and so does the server.
const AHEAD_MAX: usize = 64;
/// So many event streams that do not come through, one after the other, and all are polled for.
const STREAMS_FAILED_MAX: u32 = 3;

/// See the file header.
pub struct Fallback<'a> {
    way: Way,
    work: &'a mut Work,
    show: &'a (dyn Fn(State) + Send + Sync),
    streams: JoinSet<()>,
    /// The stream of each feed.
    lives: HashMap<u64, Life>,
    life: u64,
    tell: Teller,
    heard: Receiver<(u64, u64, Heard)>,
    streams_failed: u32,
    is_waiting: bool,
    posting: Option<(Attempt, Posting)>,
    http: Option<Http>,
    posts: Backoff,
    back: Back,
}

/// A stream at work.
struct Life {
    number: u64,
    is_streamed: bool,
    stream: AbortHandle,
}

/// How it is over.
pub enum Over {
    /// A WebSocket passes again.
    Back(Box<Connection>),
    /// Another token is needed, or the program closes the client.
    Stop(Stop),
}

enum Event {
    Heard(Option<(u64, u64, Heard)>),
    Asked(Option<Request>),
    Posted(Http, Posted),
    Back(Box<Connection>),
}

impl<'a> Fallback<'a> {
    /// Work by `way`; a WebSocket is tried every `again`.
    pub fn new(
        way: Way,
        work: &'a mut Work,
        again: Duration,
        show: &'a (dyn Fn(State) + Send + Sync),
    ) -> Self {
        let (tell, heard) = mpsc::channel(AHEAD_MAX);
        let http = Http::new(way.endpoint.clone(), way.link.clone(), way.token.clone());
        Self {
            work,
            show,
            streams: JoinSet::new(),
            lives: HashMap::new(),
            life: 0,
            tell,
            heard,
            streams_failed: 0,
            is_waiting: false,
            posting: None,
            http: Some(http),
            posts: Backoff::new(way.reconnect),
            back: Back::new(&way, again),
            way,
        }
    }

    /// Works until that ends. Answers by which transport it did as well.
    pub async fn run(mut self, requests: &mut UnboundedReceiver<Request>) -> (Over, Transport) {
        (self.show)(State::Fallback(self.way.transport));
        self.follow_all();
        let over = loop {
            self.post();
            let event = tokio::select! {
                heard = self.heard.recv() => Event::Heard(heard),
                asked = requests.recv() => Event::Asked(asked),
                (http, posted) = posted(&mut self.posting) => Event::Posted(http, posted),
                connection = self.back.next() => Event::Back(connection),
            };
            if let Err(over) = self.take(event) {
                break over;
            }
            // Streams that are over leave nothing to be read.
            while self.streams.try_join_next().is_some() {}
        };
        self.end();
        (over, self.way.transport)
    }

    fn end(&mut self) {
        self.streams.abort_all();
        self.work.feeds.values_mut().for_each(super::feed::Feed::cut);
        let Some((attempt, _)) = self.posting.take() else { return };
        if attempt.was_sent() && !attempt.retry {
            attempt.answer(Err(lost()));
        } else {
            self.work.waiting.push_front(attempt);
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Heard(Some((feed, life, heard))) => {
                let is_of_now = self.lives.get(&feed).is_some_and(|own| own.number == life);
                if is_of_now { self.hear(feed, heard) } else { Ok(()) }
            }
            Event::Asked(Some(Request::Close(done))) => Err(Over::Stop(Stop::Closed(Some(done)))),
            Event::Asked(Some(request)) => {
                self.asked(request);
                Ok(())
            }
            Event::Heard(None) | Event::Asked(None) => Err(Over::Stop(Stop::Closed(None))),
            Event::Posted(http, posted) => self.posted(http, posted),
            Event::Back(connection) => Err(Over::Back(connection)),
        }
    }

    // ---- what the program asks for ----

    fn asked(&mut self, request: Request) {
        let (id, is_begun) = match &request {
            Request::Subscribe(feed) => (feed.id, true),
            Request::GoOn(id) => (*id, true),
            Request::Leave(id) => (*id, false),
            Request::Publish(_) | Request::Close(_) => (u64::MAX, false),
        };
        // To close is no request that comes here.
        drop(self.work.take(request));
        if is_begun {
            self.follow(id);
        } else {
            self.leave(id);
        }
    }

    fn follow_all(&mut self) {
        let ids: Vec<u64> = self.work.feeds.keys().copied().collect();
        ids.into_iter().for_each(|id| self.follow(id));
    }

    fn follow(&mut self, id: u64) {
        self.leave(id);
        let Some(feed) = self.work.feeds.get(&id).filter(|feed| !feed.is_paused) else { return };
        self.life += 1;
        let stream = Stream::new(feed, self.life, self.way.clone(), self.tell.clone());
        let (number, is_streamed) = (self.life, stream.is_streamed);
        let stream = self.streams.spawn(stream.run());
        self.lives.insert(id, Life { number, is_streamed, stream });
    }

    fn leave(&mut self, id: u64) {
        if let Some(life) = self.lives.remove(&id) {
            life.stream.abort();
        }
    }

    // ---- what comes ----

    fn hear(&mut self, id: u64, heard: Heard) -> Result<(), Over> {
        match heard {
            Heard::Streams(passes) => self.judge_streams(passes),
            Heard::Over(ending) if ending.is_about_token() => {
                return Err(Over::Stop(Stop::Ended(ending)));
            }
            Heard::Over(ending) => self.refused(id, ending),
            Heard::Broken(ending, delay) => self.broken(id, ending, delay),
            heard => self.deliver(id, heard),
        }
        Ok(())
    }

    fn deliver(&mut self, id: u64, heard: Heard) {
        let Some(feed) = self.work.feeds.get_mut(&id) else { return };
        let pressure = match heard {
            Heard::Placed(position) => feed.subscribed(&position.epoch, position.seq),
            Heard::Message { topic, seq, payload } => {
                let is_pattern = feed.target.contains(['+', '#']);
                feed.message((&topic, is_pattern), seq, payload)
            }
            Heard::Gap(missing) => feed.gap(&missing),
            _ => Pressure::None,
        };
        if pressure == Pressure::Pause {
            feed.is_paused = true;
            feed.give_up();
            self.leave(id);
        }
        if std::mem::take(&mut self.is_waiting) {
            (self.show)(State::Fallback(self.way.transport));
        }
    }

    fn broken(&mut self, id: u64, ending: Ending, delay: Duration) {
        if let Some(feed) = self.work.feeds.get_mut(&id) {
            feed.cut();
        }
        self.is_waiting = true;
        (self.show)(State::Waiting { reason: ending.reason, delay });
    }

    fn refused(&mut self, id: u64, ending: Ending) {
        self.leave(id);
        if let Some(mut feed) = self.work.remove(id) {
            feed.end(&refusal(ending), false);
        }
    }

    /// Where plain requests pass and event streams do not, all subscriptions are polled for.
    fn judge_streams(&mut self, passes: bool) {
        self.streams_failed = if passes { 0 } else { self.streams_failed + 1 };
        if self.streams_failed < STREAMS_FAILED_MAX || self.way.transport == Transport::Poll {
            return;
        }
        self.way.transport = Transport::Poll;
        let streamed = self.lives.iter().filter(|(_, life)| life.is_streamed);
        let streamed: Vec<u64> = streamed.map(|(id, _)| *id).collect();
        for id in streamed {
            if let Some(feed) = self.work.feeds.get_mut(&id) {
                feed.cut();
            }
            self.follow(id);
        }
        (self.show)(State::Fallback(Transport::Poll));
    }

    // ---- publishing ----

    /// Begins the next publish. They go one after the other, so that they keep their order.
    fn post(&mut self) {
        self.post_after(Duration::ZERO);
    }

    fn post_after(&mut self, delay: Duration) {
        if self.posting.is_some() {
            return;
        }
        while let Some(attempt) = self.work.waiting.pop_front() {
            // Nothing is sent that nobody waits for any more.
            if attempt.reply.is_closed() {
                continue;
            }
            let Some(http) = self.http.take() else { return };
            let posting = post(http, &attempt, delay);
            self.posting = Some((attempt, posting));
            return;
        }
    }

    fn posted(&mut self, http: Http, posted: Posted) -> Result<(), Over> {
        self.http = Some(http);
        let Some((attempt, _)) = self.posting.take() else { return Ok(()) };
        match posted {
            Posted::Answered(reply) => {
                self.posts = Backoff::new(self.way.reconnect);
                attempt.answer(reply);
            }
            Posted::Unanswered if !attempt.retry => attempt.answer(Err(lost())),
            Posted::Unanswered => self.post_again(attempt),
            Posted::Unsent(ending) if ending.is_about_token() => {
                self.work.waiting.push_front(attempt);
                return Err(Over::Stop(Stop::Ended(ending)));
            }
            Posted::Unsent(_) => self.post_again(attempt),
        }
        Ok(())
    }

    fn post_again(&mut self, attempt: Attempt) {
        self.work.waiting.push_front(attempt);
        let delay = self.posts.jitter(rand::random());
        self.post_after(delay);
    }
}

/// The end of what is posted; none comes while nothing is. May be cancelled.
async fn posted(posting: &mut Option<(Attempt, Posting)>) -> (Http, Posted) {
    match posting {
        Some((_, posting)) => posting.await,
        None => pending().await,
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Connection, Ending>> + Send>>;

/// The way back: a WebSocket that is tried now and then, beside the work.
struct Back {
    way: Way,
    again: Duration,
    due: Pin<Box<Sleep>>,
    opening: Option<Opening>,
}

impl Back {
    fn new(way: &Way, again: Duration) -> Self {
        Self { way: way.clone(), again, due: Box::pin(sleep(again)), opening: None }
    }

    /// A connection, once there is one. May be cancelled.
    async fn next(&mut self) -> Box<Connection> {
        loop {
            let Some(opening) = &mut self.opening else {
                self.due.as_mut().await;
                self.due = Box::pin(sleep(self.again));
                self.opening = Some(Box::pin(open(self.way.clone())));
                continue;
            };
            let opened = opening.await;
            self.opening = None;
            match opened {
                Ok(connection) => return Box::new(connection),
                Err(ending) => tracing::debug!(reason = ending.reason, "no WebSocket yet"),
            }
        }
    }
}

async fn open(way: Way) -> Result<Connection, Ending> {
    Connection::open(&way.endpoint, way.token.as_deref(), &way.link).await
}

/// Whether plain requests reach a server, where WebSockets do not: it says itself that it wants
/// one, or a token.
pub async fn passes(way: &Way) -> bool {
    let mut http = Http::new(way.endpoint.clone(), way.link.clone(), way.token.clone());
    let ask = Ask::get("/v1/ws".to_owned(), "application/json");
    let answered = http.answer(&ask, way.link.connect_timeout, PROBE_BYTES_MAX).await;
    answered.is_err_and(|ending| ending.code.is_some())
}

/// What is read of an answer that only has to be one.
const PROBE_BYTES_MAX: usize = 64 << 10;
