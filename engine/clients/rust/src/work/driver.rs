//! The task of a client: it connects, works, waits, and connects again; where WebSockets do not
//! pass, it goes around that. Must not read or write messages: a session does, or a fallback.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::fallback::{Fallback, Over, passes};
use super::kept::{Targets, Work};
use super::renewal::Renewal;
use super::request::Request;
use super::session::{Session, Stop};
use super::stream::Way;
use super::tokens::Tokens;
use crate::error::Error;
use crate::link::{Backoff, Connection, Ending, Endpoint, LinkOptions, Next};
use crate::options::{OnState, Options, State, Transport};

/// So many openings of a WebSocket that do not come through, one after the other, and a way around
/// is looked for: the first may be a server that is started.
const BLOCKED_MAX: u32 = 3;

/// See the file header.
pub struct Driver {
    endpoint: Endpoint,
    link: LinkOptions,
    options: Options,
    tokens: Tokens,
    backoff: Backoff,
    requests: UnboundedReceiver<Request>,
    shown: Shown,
    work: Work,
    /// Openings of a WebSocket that did not come through, since one did.
    blocked: u32,
    /// By what it works while WebSockets do not pass.
    fallback: Option<Transport>,
}

/// What the client is doing, for whoever asks or waits for it.
struct Shown {
    url: Endpoint,
    told: Option<OnState>,
    states: watch::Sender<State>,
}

impl Driver {
    /// A task that has not begun.
    pub fn new(
        (endpoint, link): (Endpoint, LinkOptions),
        options: Options,
        requests: UnboundedReceiver<Request>,
        states: watch::Sender<State>,
        targets: Arc<Targets>,
    ) -> Self {
        let work = Work::new(options.publishes_max, targets);
        let tokens = Tokens::new(options.token.clone());
        let backoff = Backoff::new(options.reconnect);
        let told = options.on_state.clone();
        let shown = Shown { url: endpoint.clone(), told, states };
        let (blocked, fallback) = (0, None);
        Self { endpoint, link, options, tokens, backoff, requests, shown, work, blocked, fallback }
    }

    /// Connects again and again, until that makes no sense or the program ends it.
    pub async fn run(mut self) {
        loop {
            let stop = match self.one_connection().await {
                Ok(delay) => offline(&mut self.requests, &mut self.work, sleep(delay)).await.err(),
                Err(stop) => Some(stop),
            };
            match stop {
                None => {}
                Some(Stop::Closed(done)) => {
                    self.finish(Error::Closed, true);
                    // Whoever closed it may not wait for that.
                    let _ = done.map(|done| done.send(()));
                    return;
                }
                Some(Stop::Ended(Ending { status, reason, .. })) => {
                    let status = status.unwrap_or(0);
                    return self.finish(Error::Refused { status, message: reason }, false);
                }
            }
        }
    }

    /// Connects and works until that ends; answers after which delay to do it again.
    async fn one_connection(&mut self) -> Result<Duration, Stop> {
        let since = self.options.clock.monotonic();
        let reached = match self.fallback {
            Some(transport) => self.go_around(transport).await,
            None => {
                self.shown.tell(State::Connecting);
                self.connect().await
            }
        };
        let (ending, since) = match reached {
            Ok(connection) => {
                let since = self.options.clock.monotonic();
                (self.work(connection).await?, Some(since))
            }
            Err(Stop::Ended(ending)) => (ending, self.fallback.map(|_| since)),
            Err(closed) => return Err(closed),
        };
        let up = since.map(|since| self.options.clock.monotonic().saturating_sub(since));
        let ending = self.detour(ending).await?;
        let ending = self.tokens.judged(ending);
        if ending.next == Next::No {
            return Err(Stop::Ended(ending));
        }
        let delay = self.backoff.delay(&ending, up.unwrap_or_default(), rand::random());
        self.shown.tell(State::Waiting { reason: ending.reason, delay });
        Ok(delay)
    }

    /// Where WebSockets do not pass again and again, but plain requests do, these are next.
    async fn detour(&mut self, ending: Ending) -> Result<Ending, Stop> {
        if !(ending.is_blocked && self.options.falls_back) {
            return Ok(ending);
        }
        self.blocked += 1;
        if self.blocked < BLOCKED_MAX {
            return Ok(Ending { next: Next::Later, ..ending });
        }
        let way = self.way(None, Transport::EventStream);
        if !offline(&mut self.requests, &mut self.work, passes(&way)).await? {
            return Ok(ending);
        }
        self.change_to(Some(Transport::EventStream));
        let reason = format!("WebSockets do not pass: {}", ending.reason);
        Ok(Ending { reason, next: Next::Later, delay: Some(Duration::ZERO), ..ending })
    }

    /// Works by plain requests, until a WebSocket passes again.
    async fn go_around(&mut self, transport: Transport) -> Result<Connection, Stop> {
        let Self { tokens, requests, work, .. } = self;
        let token = offline(requests, work, tokens.next()).await?.map_err(Stop::Ended)?;
        let way = self.way(token, transport);
        let Self { requests, work, options, shown, .. } = self;
        let tell = |state| shown.tell(state);
        let fallback = Fallback::new(way, work, options.websocket_again, &tell);
        let (over, transport) = fallback.run(requests).await;
        match over {
            Over::Back(connection) => Ok(*connection),
            Over::Stop(stop) => {
                self.fallback = Some(transport);
                Err(stop)
            }
        }
    }

    fn way(&self, token: Option<String>, transport: Transport) -> Way {
        let Options { heartbeat, reconnect, .. } = self.options;
        let (endpoint, link) = (self.endpoint.clone(), self.link.clone());
        let clock = Arc::clone(&self.options.clock);
        Way { endpoint, link, token, transport, heartbeat, reconnect, clock }
    }

    fn change_to(&mut self, fallback: Option<Transport>) {
        self.fallback = fallback;
        self.work.feeds.values_mut().for_each(super::feed::Feed::change_transport);
    }

    async fn connect(&mut self) -> Result<Connection, Stop> {
        let Self { tokens, requests, work, endpoint, link, .. } = self;
        let connecting = async {
            let token = tokens.next().await?;
            Connection::open(endpoint, token.as_deref(), link).await
        };
        offline(requests, work, connecting).await?.map_err(Stop::Ended)
    }

    async fn work(&mut self, connection: Connection) -> Result<Ending, Stop> {
        self.blocked = 0;
        if self.fallback.is_some() {
            self.change_to(None);
        }
        self.shown.tell(State::Open);
        let Self { work, options, requests, tokens, .. } = self;
        let clock = Arc::clone(&options.clock);
        let (source, token) = tokens.standing();
        let mut renewal = Renewal::new(source, token, Arc::clone(&clock));
        let session = Session::new(connection, (work, &mut renewal), clock, options.reconnect);
        let stop = session.run(requests).await;
        tokens.stood(renewal.into_token());
        match stop {
            Stop::Ended(ending) => Ok(ending),
            closed => Err(closed),
        }
    }

    fn finish(&mut self, error: Error, at_once: bool) {
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            // All is closed already.
            drop(self.work.take(request));
        }
        self.shown.tell(State::Closed(error.clone()));
        self.work.end(&error, at_once);
    }
}

impl Shown {
    fn tell(&self, state: State) {
        let url = &self.url;
        match &state {
            State::Waiting { reason, delay } => tracing::warn!(%url, reason, ?delay, "waiting"),
            state => tracing::debug!(%url, ?state),
        }
        if let Some(told) = &self.told {
            told(&state);
        }
        self.states.send_replace(state);
    }
}

/// Takes requests until something is done that needs no connection.
async fn offline<T>(
    requests: &mut UnboundedReceiver<Request>,
    work: &mut Work,
    until: impl Future<Output = T>,
) -> Result<T, Stop> {
    let mut until = pin!(until);
    loop {
        tokio::select! {
            done = &mut until => return Ok(done),
            request = requests.recv() => match request.map(|request| work.take(request)) {
                Some(None) => {}
                Some(done) => return Err(Stop::Closed(done)),
                None => return Err(Stop::Closed(None)),
            },
        }
    }
}

async fn sleep(delay: Duration) {
    tokio::time::sleep(delay).await;
}
