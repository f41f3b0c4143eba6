//! The handle of a client: what the program subscribes and publishes with. Must not know
//! connections: a task does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use crate::error::Error;
use crate::items::Published;
use crate::link::{Endpoint, LinkOptions, Tls};
use crate::options::{Options, Payload, PublishOptions, State, SubscribeOptions};
use crate::subscription::Subscription;
use crate::work::driver::Driver;
use crate::work::feed::Feed;
use crate::work::kept::Targets;
use crate::work::request::{Attempt, Request, lost};

/// A connection to gridcast for many subscriptions and publishes. It is made again whenever it
/// ends. Clones are the same client; with the last of them it is closed.
///
/// ```no_run
/// # async fn example() -> Result<(), gridcast_client::Error> {
/// use gridcast_client::{Client, Item, Options, SubscribeOptions};
///
/// let client = Client::start(Options::new("ws://127.0.0.1:9400"))?;
/// let mut pmus = client.subscribe("pmu/#", SubscribeOptions::new())?;
/// client.publish("pmu/1001", r#"{"hz":59.98}"#).await?;
/// while let Some(item) = pmus.next().await {
///     match item? {
///         Item::Message(message) => println!("{}: {:?}", message.topic, message.text()),
///         Item::Gap(gap) => println!("missing: {:?}, {}", gap.frames, gap.reason),
///         Item::Resumed(_) | Item::Restarted(_) => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    requests: UnboundedSender<Request>,
    states: watch::Receiver<State>,
    targets: Arc<Targets>,
    turns: Semaphore,
    publish_timeout: Duration,
    feeds: AtomicU64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts a client on the runtime of tokio that this is called on. It connects in the
    /// background: what needs a connection waits for one.
    ///
    /// # Errors
    /// [`Error::Invalid`]: an option is wrong, or there is no runtime.
    pub fn start(options: Options) -> Result<Self, Error> {
        options.check()?;
        let endpoint = Endpoint::parse(&options.url)?;
        let tls = endpoint.is_tls.then(|| Tls::new(&options.trust)).transpose()?;
        let (connect_timeout, message_bytes_max) =
            (options.connect_timeout, options.message_bytes_max);
        let token_first = options.token_first;
        let link = LinkOptions { tls, token_first, connect_timeout, message_bytes_max };
        let runtime = Handle::try_current().map_err(|error| Error::Invalid(error.to_string()))?;
        let (requests, asked) = unbounded_channel();
        let (telling, states) = watch::channel(State::Connecting);
        let targets = Arc::new(Targets::default());
        let inner = Inner {
            requests,
            states,
            targets: Arc::clone(&targets),
            turns: Semaphore::new(options.publishes_max),
            publish_timeout: options.publish_timeout,
            feeds: AtomicU64::new(0),
        };
        runtime.spawn(Driver::new((endpoint, link), options, asked, telling, targets).run());
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.states.borrow().clone()
    }

    /// Waits until there is a connection, or a way around one.
    ///
    /// # Errors
    /// What makes it impossible: [`Error::Refused`], [`Error::Closed`].
    pub async fn connected(&self) -> Result<(), Error> {
        let mut states = self.inner.states.clone();
        let is_decided =
            |state: &State| matches!(state, State::Open | State::Fallback(_) | State::Closed(_));
        match states.wait_for(is_decided).await.as_deref() {
            Ok(State::Open | State::Fallback(_)) => Ok(()),
            Ok(State::Closed(error)) => Err(error.clone()),
            _ => Err(Error::Closed),
        }
    }

    /// Follows a topic or pattern, from now on and over lost connections. A client has one
    /// subscription of each at a time; those that overlap get a copy of each message.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Command`] with `already_subscribed`, or what ended the client.
    pub fn subscribe(&self, topic: &str, options: SubscribeOptions) -> Result<Subscription, Error> {
        options.check()?;
        self.check(topic)?;
        let id = self.inner.feeds.fetch_add(1, Ordering::Relaxed);
        let feed = Feed::new(id, topic, options);
        if !self.inner.targets.add(&feed.target, id) {
            let text = format!("`{topic}` is subscribed already by this client: drop that first");
            return Err(Error::command("already_subscribed", &text));
        }
        let targets = Arc::clone(&self.inner.targets);
        let subscription = Subscription::new(&feed, self.inner.requests.clone(), targets);
        let asked = self.inner.requests.send(Request::Subscribe(Box::new(feed)));
        asked.map_err(|_| self.end()).map(|()| subscription)
    }

    /// Publishes text (`&str`, `String`) or bytes; answers where it stands.
    ///
    /// # Errors
    /// [`Error::Command`]: the server refused it. [`Error::NotConnected`]: it was not published.
    /// [`Error::MaybePublished`]: it was sent, and the reply never came.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Payload>,
    ) -> Result<Published, Error> {
        self.publish_with(topic, payload, PublishOptions::default()).await
    }

    /// Publishes a value as JSON.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`Error::Invalid`] where JSON has no form for it.
    pub async fn publish_json(
        &self,
        topic: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Published, Error> {
        let text = serde_json::to_string(value);
        let text = text.map_err(|error| Error::Invalid(format!("no JSON: {error}")))?;
        self.publish(topic, text).await
    }

    /// Publishes with a timeout of its own, or again where the reply did not come.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_with(
        &self,
        topic: &str,
        payload: impl Into<Payload>,
        options: PublishOptions,
    ) -> Result<Published, Error> {
        self.check(topic)?;
        let within = options.timeout.unwrap_or(self.inner.publish_timeout);
        let was_sent = Arc::new(AtomicBool::new(false));
        let (reply, replied) = oneshot::channel();
        let (topic, payload) = (topic.into(), payload.into());
        let retry = options.retry;
        let attempt = Attempt { topic, payload, retry, was_sent: Arc::clone(&was_sent), reply };
        let replied = timeout(within, self.replied(attempt, replied)).await;
        replied.unwrap_or_else(|_| match was_sent.load(Ordering::Acquire) {
            true => {
                let text = format!("no reply within {} s", within.as_secs_f64());
                Err(Error::MaybePublished(text))
            }
            false => Err(Error::NotConnected(within)),
        })
    }

    async fn replied(
        &self,
        attempt: Attempt,
        replied: oneshot::Receiver<Result<Published, Error>>,
    ) -> Result<Published, Error> {
        let _turn = self.inner.turns.acquire().await.map_err(|_| self.end())?;
        let was_sent = Arc::clone(&attempt.was_sent);
        self.inner.requests.send(Request::Publish(attempt)).map_err(|_| self.end())?;
        replied.await.unwrap_or_else(|_| match was_sent.load(Ordering::Acquire) {
            true => Err(lost()),
            false => Err(self.end()),
        })
    }

    /// Ends all subscriptions and the connection, for all clones, and waits for the farewell.
    pub async fn close(self) {
        let (done, ended) = oneshot::channel();
        if self.inner.requests.send(Request::Close(done)).is_ok() {
            // An error says that the task is gone, which is what is waited for.
            let _ = ended.await;
        }
    }

    fn check(&self, topic: &str) -> Result<(), Error> {
        if topic.is_empty() || topic.len() > 255 {
            return Err(Error::Invalid("a topic has 1 to 255 bytes".to_owned()));
        }
        match &*self.inner.states.borrow() {
            State::Closed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Why it takes no more requests.
    fn end(&self) -> Error {
        match self.state() {
            State::Closed(error) => error,
            _ => Error::Closed,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Subscriptions that are left have no client any more. Without the task all is over.
        let _ = self.requests.send(Request::Close(oneshot::channel().0));
    }
}
