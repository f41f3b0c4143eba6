//! The task of a client: it connects, works, waits, and connects again. Must not read or write
//! messages: a session does.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::kept::{Targets, Work};
use super::renewal::Renewal;
use super::request::Request;
use super::session::{Session, Stop};
use super::tokens::Tokens;
use crate::error::Error;
use crate::link::{Backoff, Connection, Ending, Endpoint, LinkOptions, Next};
use crate::options::{Options, State};

/// See the file header.
pub struct Driver {
    endpoint: Endpoint,
    link: LinkOptions,
    options: Options,
    tokens: Tokens,
    backoff: Backoff,
    requests: UnboundedReceiver<Request>,
    states: watch::Sender<State>,
    work: Work,
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
        Self { endpoint, link, options, tokens, backoff, requests, states, work }
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
        self.tell(State::Connecting);
        let (ending, up) = match self.connect().await {
            Ok(connection) => {
                self.tell(State::Open);
                let since = self.options.clock.monotonic();
                let ending = self.work(connection).await?;
                (ending, self.options.clock.monotonic().saturating_sub(since))
            }
            Err(Stop::Ended(ending)) => (ending, Duration::ZERO),
            Err(closed) => return Err(closed),
        };
        let ending = self.tokens.judged(ending);
        if ending.next == Next::No {
            return Err(Stop::Ended(ending));
        }
        let delay = self.backoff.delay(&ending, up, rand::random());
        self.tell(State::Waiting { reason: ending.reason, delay });
        Ok(delay)
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
        self.tell(State::Closed(error.clone()));
        self.work.end(&error, at_once);
    }

    fn tell(&self, state: State) {
        let url = &self.endpoint;
        match &state {
            State::Waiting { reason, delay } => tracing::warn!(%url, reason, ?delay, "waiting"),
            state => tracing::debug!(%url, ?state),
        }
        if let Some(told) = &self.options.on_state {
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
