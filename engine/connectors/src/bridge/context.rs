//! What a bridge has of the engine: publishing that waits for slow cores, the messages that are to
//! go out, counters, and the word that it is to end. Must not know other systems.

use std::sync::Arc;

use bytes::Bytes;
use gridcast::clock::unix_ns;
use gridcast::delivery::doorbell::Wake;
use gridcast::engine::follower::Follower;
use gridcast::engine::handle::Handle;
use gridcast::engine::publisher::Publisher;
use gridcast::feed::message::Stamp;
use gridcast::feed::registry::FeedError;
use gridcast::feed::source::Source;
use gridcast::feed::topic::{Target, Topic, TopicError};
use gridcast::frame::Kind;
use tokio::sync::{Notify, oneshot, watch};

use crate::bridge::metrics::Counters;
use crate::bridge::publishing::retry;
use crate::bridge::receipt::{Outcome, Receipt};
use crate::bridge::settings::Common;

/// See the file header.
#[derive(Debug)]
pub struct Context {
    common: Common,
    counters: Arc<Counters>,
    handle: Handle,
    publisher: Publisher,
    followers: Vec<Follower>,
    /// The follower that is asked first.
    next: usize,
    wake: Arc<Notify>,
    stopping: watch::Receiver<bool>,
    is_up: bool,
}

/// Something that is to go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// A message.
    Message {
        /// The topic it was published to.
        topic: String,
        /// Text or binary, as published.
        kind: Kind,
        /// Where it stands in its topic, and when it was published: see [`Context::utc_ns`].
        stamp: Stamp,
        /// The publisher's bytes.
        payload: Bytes,
    },
    /// So many messages were no longer retained when their turn came. They are counted already.
    Missed(u64),
}

/// Wakes who waits for a [`Notify`]. Not for the threads of cores: see [`Handle::relay`].
pub(crate) struct Waker(pub(crate) Arc<Notify>);

impl Wake for Waker {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl Context {
    /// What the bridge of these settings has of an engine; it follows what is to go out from now
    /// on.
    ///
    /// # Errors
    /// When the engine takes no more feeds or sources.
    pub fn new(
        common: Common,
        counters: Counters,
        handle: &Handle,
        stopping: watch::Receiver<bool>,
    ) -> std::io::Result<Self> {
        let source = handle.new_source().map_err(std::io::Error::other)?;
        let wake = Arc::new(Notify::new());
        let follow = |target: &Target| {
            let waker = Waker(Arc::clone(&wake));
            handle.follow(target, None, Box::new(waker)).map_err(std::io::Error::other)
        };
        let followers = common.outputs.iter().map(follow).collect::<Result<_, _>>()?;
        let publisher = handle.publisher(source);
        Ok(Self {
            common,
            counters: Arc::new(counters),
            handle: handle.clone(),
            publisher,
            followers,
            next: 0,
            wake,
            stopping,
            is_up: false,
        })
    }

    /// The common settings.
    #[must_use]
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// The engine.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// An instant of the engine's clock as UTC, ns since 1970.
    #[must_use]
    pub fn utc_ns(&self, engine_ns: u64) -> u64 {
        let age_ns = self.handle.now_ns().saturating_sub(engine_ns);
        unix_ns().saturating_sub(age_ns)
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Says that the session is connected and has asked for all that is to come in.
    pub fn is_up(&mut self) {
        if !std::mem::replace(&mut self.is_up, true) {
            self.counters.up.set(1);
            self.counters.sessions.inc();
            tracing::info!(bridge = self.common.name, kind = self.common.kind, "connected");
        }
    }

    /// Says that the session is over. Answers whether it was up.
    pub(crate) fn is_down(&mut self) -> bool {
        self.counters.up.set(0);
        std::mem::take(&mut self.is_up)
    }

    /// The topic of a name of the other side, which was turned into segments with `/`.
    ///
    /// # Errors
    /// When what the rules make of it is no topic, or one of the engine's own.
    pub fn map_in(&self, name: &str) -> Result<Topic, TopicError> {
        let topic = Topic::new(&self.common.map_in.map(name))?;
        if topic.is_engines() { Err(TopicError::Engines) } else { Ok(topic) }
    }

    /// The name of a topic on the other side, in segments with `/`.
    #[must_use]
    pub fn map_out(&self, topic: &str) -> String {
        self.common.map_out.map(topic)
    }

    /// Publishes a message that came in over a way that has no acknowledgements. Waits while cores
    /// are behind, and while the engine takes nothing: the other side keeps what it has meanwhile.
    /// What a log refuses afterwards is counted as dropped.
    ///
    /// # Errors
    /// [`FeedError`] that waiting does not help against; it is counted.
    pub async fn publish(
        &mut self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), FeedError> {
        let (counters, bytes) = (Arc::clone(&self.counters), payload.len());
        let count = || {
            let counters = Arc::clone(&counters);
            move |outcome: Outcome| match outcome {
                Ok(()) => counters.taken_in.add(bytes),
                Err(refused) => counters.dropped(refused.word(), 1),
            }
        };
        self.publish_then(topic, kind, payload, count).await
    }

    /// The same, for a side that keeps the message until it is acknowledged: the receipt says when
    /// that is to be. What a log refuses is not lost, so it is not counted.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn submit(
        &mut self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Receipt, FeedError> {
        let (counters, bytes) = (Arc::clone(&self.counters), payload.len());
        let mut receipt = Receipt::Settled(Ok(()));
        let tell = || {
            let counters = Arc::clone(&counters);
            let (told, awaited) = oneshot::channel();
            receipt = Receipt::Awaited(awaited);
            move |outcome: Outcome| {
                if outcome.is_ok() {
                    counters.taken_in.add(bytes);
                }
                // Nobody is left to be told where the session has ended meanwhile.
                let _ = told.send(outcome);
            }
        };
        self.publish_then(topic, kind, payload, tell).await?;
        Ok(receipt)
    }

    /// Publishes a message as soon as the engine takes it. `done` makes what is called once it
    /// stands in its feed or was refused by a log; it is made anew for each try.
    async fn publish_then<D>(
        &mut self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
        mut done: impl FnMut() -> D,
    ) -> Result<(), FeedError>
    where
        D: FnOnce(Outcome) + Send + 'static,
    {
        // Neither lasts for ever, and the other side keeps what it has.
        let is_passing =
            |error: &FeedError| matches!(error, FeedError::OverBudget | FeedError::Unavailable);
        let publish = |publisher: &mut Publisher| {
            let done = done();
            publisher.publish_then(topic, kind, payload, |outcome| done(outcome.map(drop)))
        };
        let published = retry(&mut self.publisher, is_passing, publish).await;
        published.inspect_err(|_| self.counters.error("refused"))
    }

    /// The next of what is to go out. Messages that came in by this bridge are passed over. May be
    /// cancelled: nothing is taken before it is answered.
    pub async fn next_out(&mut self) -> Out {
        loop {
            if let Some(out) = self.poll_out() {
                return out;
            }
            self.wake.notified().await;
        }
    }

    /// What is to go out and is there now. What came in by this bridge, or by one of another node,
    /// does not.
    pub fn poll_out(&mut self) -> Option<Out> {
        let count = self.followers.len();
        let own = self.publisher.source();
        for offset in 0..count {
            let at = (self.next + offset) % count;
            let follower = &mut self.followers[at];
            // What the last look found missing is told before anything else.
            let missed = follower.take_missed();
            if missed > 0 {
                self.counters.dropped("retention", missed);
                return Some(Out::Missed(missed));
            }
            while let Some(message) = follower.next() {
                let is_own = [own, Source::BRIDGED_ELSEWHERE].contains(&message.source);
                let out = (!is_own).then(|| Out::Message {
                    topic: message.topic.to_owned(),
                    kind: message.kind,
                    stamp: message.stamp,
                    payload: Bytes::copy_from_slice(message.payload),
                });
                if out.is_some() {
                    self.next = at + 1;
                    return out;
                }
            }
        }
        None
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }
}

/// Resolves when `stopping` says so, or nobody is left to say it.
pub(crate) async fn stopped(mut stopping: watch::Receiver<bool>) {
    // Whoever would say it is gone: that is the end as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}
