//! How connections get from one process into the next. Owns which can, what is read of them while
//! the core stands still, and how they go on. Must not know how descriptors get across.
//!
//! Reading changes nothing that matters: if the other process does not take over after all, the
//! core goes on. A connection that cannot be handed stays, and drains: its peer speaks TLS, or is
//! being answered or told to go.

use std::collections::BTreeMap;
use std::io;

use crate::core::Core;
use crate::core::conn::{Conn, Multiplexed, Posting, Publisher, Role};
use crate::core::flags::Flags;
use crate::core::handed::{HandedConn, HandedPosting, HandedRole, HandedSubscription};
use crate::core::wheel::{TICK_MS, Tick, tick_of_ms};
use crate::delivery::subscriptions::Subscription;
use crate::feed::epoch::Position;
use crate::feed::kind::{Form, LaneKind};
use crate::feed::log::FeedName;
use crate::feed::options::{From, Mode, Options};
use crate::feed::topic::Target;
use crate::limits::rate::TokenBucket;
use crate::metrics::CloseReason;
use crate::net::backend::{Backend, Stream};
use crate::net::transport::Transport;
use crate::settings::config::Limits;
use crate::wire::close::{Close, CloseCode};
use crate::wire::deflate::Context;

/// What else of a connection is handed.
const HANDED: [Flags; 3] = [Flags::KEPT, Flags::PINGED, Flags::ARRIVING];

/// Frames of a connection that its feed no longer keeps are handed with it, up to so many bytes;
/// what is beyond it is told as a gap.
const PASSED_BYTES_MAX: usize = 4 << 20;

impl<B: Backend> Core<B> {
    /// The connections there are, once all that moved is known.
    pub fn begin_handing(&mut self) -> Vec<u32> {
        while let Some(lane) = self.doorbell.take() {
            self.move_lane(lane);
        }
        self.conns.iter().map(|(key, _)| key as u32).collect()
    }

    /// All that the next process has to know of a connection, if it can be handed.
    pub fn hand(&mut self, key: u32) -> Option<HandedConn> {
        let conn = self.conns.get_mut(key as usize)?;
        let role = conn.hand_role()?;
        conn.delivery.mend(&self.lanes);
        let mut pending = conn.delivery.outbox().pending().to_vec();
        let is_begun = conn.delivery.outbox().is_begun();
        let own = conn.delivery.subscriptions().to_vec();
        let subscriptions =
            own.iter().map(|own| self.hand_subscription(own, &mut pending)).collect();
        let conn = &self.conns[key as usize];
        let context = conn.extras.as_ref().map(|extras| extras.context.window().to_vec());
        Some(HandedConn {
            source: (conn.source, conn.flags.contains(Flags::IS_FORWARDED)),
            door: conn.door,
            inflates: (
                conn.flags.contains(Flags::INFLATES),
                conn.flags.contains(Flags::KEEPS_CONTEXT),
            ),
            context: context.unwrap_or_default(),
            state: HANDED.map(|flag| conn.flags.contains(flag)),
            decoder: conn.decoder.clone(),
            rest: (conn.rest.bytes().to_vec(), conn.rest.need()),
            pending: (pending, is_begun),
            rights: conn.grant.as_ref().map(|grant| grant.rights().clone()),
            role,
            subscriptions,
        })
    }

    /// The socket of a connection that was [handed](Self::hand).
    pub fn socket(&self, key: u32) -> Option<&B::Stream> {
        self.conns.get(key as usize)?.transport.plain()
    }

    /// Where a subscription stands. Frames that only this core still keeps are sent along.
    fn hand_subscription(&self, own: &Subscription, pending: &mut Vec<u8>) -> HandedSubscription {
        let (feed, reader) = (self.lanes.feed(own.lane), self.lanes.reader(own.lane));
        let (mut at, kept_ordinal) = (own.cursor, feed.tail_ordinal());
        let end = reader.head();
        let is_passed = |ordinal: u64| ordinal < kept_ordinal && ordinal < end.ordinal;
        while own.mode == Mode::Lossless
            && is_passed(at.ordinal)
            && pending.len() < PASSED_BYTES_MAX
        {
            pending.extend_from_slice(reader.frame(at));
            at = reader.after(at);
        }
        let ordinal = match own.mode {
            Mode::Lossless => at.ordinal,
            // It skips, and is not told.
            Mode::Latest => at.ordinal.max(kept_ordinal),
        };
        HandedSubscription {
            target: feed.target().clone(),
            rate: feed.name().rate,
            position: Position { epoch: feed.epoch(), seq: feed.seq_before(ordinal) },
            mode: own.mode,
            lag: own.lag,
        }
    }

    /// Lets go of a connection that another process has: not a word is said to its peer.
    pub fn let_go(&mut self, key: u32) {
        if !self.conns.contains(key as usize) {
            return;
        }
        self.unsubscribe(key);
        let mut conn = self.conns.remove(key as usize);
        self.backend.forget(conn.transport.stream_mut());
        if let Some(label) = conn.role.label() {
            self.metrics.role_ended(label);
        }
        if conn.delivery.lags() {
            self.metrics.lag_ended();
        }
        self.metrics.closed(CloseReason::Draining);
        self.shared.admission.leave(conn.source, self.now_ns());
        if self.conns.is_empty() {
            self.metrics.emptied();
        }
    }

    /// Accepts nobody any more: another process does.
    pub fn close_entrances(&mut self) {
        self.entrances.clear();
        self.backend.close_entrances();
    }

    /// Takes up the time, before the first connection is taken in.
    pub fn begin_taking(&mut self) {
        self.now = (self.now_ns() / (TICK_MS * 1_000_000)) as Tick;
        self.wheel.advance(self.now, |_, _| {});
    }

    /// Goes on with a connection that another process had. It counts, whatever the limits are: it
    /// was admitted. What its feed no longer has, it is told.
    ///
    /// # Errors
    /// When no events of it can be had.
    pub fn take_in(&mut self, handed: HandedConn, mut stream: B::Stream) -> io::Result<()> {
        let (now_ns, source) = (self.now_ns(), handed.source.0);
        let entry = self.conns.vacant_entry();
        let key = entry.key() as u32;
        self.backend.register(&mut stream, key)?;
        entry.insert(Conn::new(Transport::Plain(stream), source, self.now));
        let limits = Limits {
            connections_max: usize::MAX,
            connections_per_source_max: 0,
            handshakes_per_s_per_source: 0,
            accepts_per_s_max: 0,
            ..self.config.limits.clone()
        };
        // Nothing is limited.
        let _ = self.shared.admission.enter(source, &limits, now_ns);
        self.metrics.opened();
        let HandedConn { role, subscriptions, .. } = self.take_state(key, handed);
        self.set_due(key, self.now + tick_of_ms(self.request_ms_max(key)));
        self.take_role(key, role, subscriptions);
        if self.conns.contains(key as usize) {
            // What it sent goes on, and is read: no event need come for it.
            self.answered.push_back(key);
        }
        Ok(())
    }

    /// What is the same whatever a connection is for; the rest is answered.
    fn take_state(&mut self, key: u32, mut handed: HandedConn) -> HandedConn {
        let rights = handed.rights.take();
        let grant = rights.map(|rights| self.auth.readmit(rights, self.now_ns()));
        let conn = &mut self.conns[key as usize];
        conn.grant = grant;
        conn.door = handed.door;
        conn.flags.set(Flags::IS_FORWARDED, handed.source.1);
        conn.flags.set(Flags::INFLATES, handed.inflates.0);
        conn.flags.set(Flags::KEEPS_CONTEXT, handed.inflates.1);
        if !handed.context.is_empty() {
            conn.extras().context = Context::of_window(&handed.context);
        }
        for (flag, is_so) in HANDED.into_iter().zip(handed.state) {
            conn.flags.set(flag, is_so);
        }
        conn.decoder = std::mem::take(&mut handed.decoder);
        conn.rest.keep(&handed.rest.0, handed.rest.1);
        conn.delivery.begin_with(&handed.pending.0, handed.pending.1);
        handed
    }

    fn take_role(&mut self, key: u32, role: HandedRole, subscriptions: Vec<HandedSubscription>) {
        let is_passing = matches!(role, HandedRole::Request(_));
        self.conns[key as usize].flags.set(Flags::PROVEN, !is_passing);
        match role {
            HandedRole::Request(posting) => {
                let posting = posting.map(|posting| Box::new(posting.into()));
                self.conns[key as usize].role = Role::Request(posting);
            }
            HandedRole::Subscriber(kind) => self.take_subscriber(key, kind, subscriptions),
            HandedRole::Multiplexed(kind, flags) => {
                self.take_multiplexed(key, kind, flags, subscriptions);
            }
            HandedRole::Publisher(topic) => {
                let rate = self.new_bucket();
                let publisher = Publisher { topic, held: None, rate };
                self.begin_role(key, Role::Publisher(Box::new(publisher)));
            }
            HandedRole::Echo(kind) => self.begin_role(key, Role::Echo(kind.deflate)),
        }
        self.queue_flush(key);
    }

    fn new_bucket(&self) -> TokenBucket {
        TokenBucket::new(self.config.limits.publishes_per_s_max, self.now_ns())
    }

    fn take_subscriber(&mut self, key: u32, kind: LaneKind, handed: Vec<HandedSubscription>) {
        for handed in handed {
            let (target, options) = handed.options();
            let name = FeedName { target, rate: options.rate };
            match self.open_lane(key, &name, kind, &options.from) {
                Ok(lane) => self.subscribe(key, lane, options),
                Err(error) => self.drain_handed(key, &error.to_string()),
            }
        }
    }

    fn take_multiplexed(
        &mut self,
        key: u32,
        kind: LaneKind,
        [publishes, has_heartbeat]: [bool; 2],
        subscriptions: Vec<HandedSubscription>,
    ) {
        let number = self.shared.registry.number();
        let (topics, rate) = (BTreeMap::new(), self.new_bucket());
        let multiplexed =
            Multiplexed { kind, number, topics, publishes, has_heartbeat, guest: None, rate };
        self.conns[key as usize].delivery.multiplex();
        self.begin_role(key, Role::Multiplexed(Box::new(multiplexed)));
        for handed in subscriptions {
            let role = self.conns.get(key as usize).map(|conn| &conn.role);
            if !matches!(role, Some(Role::Multiplexed(_))) {
                return;
            }
            if let Err(failure) = self.follow_on(key, kind, handed.options()) {
                return self.drain_handed(key, &failure.message);
            }
        }
    }

    /// What cannot go on is drained.
    fn drain_handed(&mut self, key: u32, reason: &str) {
        let delay_ms = self.shared.reconnect_ms(key);
        tracing::warn!(core = self.index, reason, "a connection that was handed over is drained");
        let reason = format!("draining: reconnect in {delay_ms} ms");
        self.close(key, &Close::new(CloseCode::Draining, reason));
    }
}

impl<S: Stream> Conn<S> {
    /// What it is for, if it can be handed.
    fn hand_role(&self) -> Option<HandedRole> {
        let is_known = self.extras.as_ref().is_none_or(|extras| {
            extras.excess.is_none() && extras.window.is_none() && extras.awaited == 0
        });
        let stays = self.flags.intersects(Flags::AWAITS_LOG | Flags::CROWDED) || !is_known;
        if stays || self.transport.plain().is_none() {
            return None;
        }
        match &self.role {
            Role::Request(None) => Some(HandedRole::Request(None)),
            Role::Request(Some(posting)) => {
                posting.hand().map(|posting| HandedRole::Request(Some(posting)))
            }
            Role::Subscriber(kind) => Some(HandedRole::Subscriber(*kind)),
            Role::Multiplexed(own) if own.guest.is_none() => {
                let flags = [own.publishes, own.has_heartbeat];
                Some(HandedRole::Multiplexed(own.kind, flags))
            }
            Role::Publisher(publisher) => Some(HandedRole::Publisher(publisher.topic.clone())),
            Role::Echo(deflate) => {
                Some(HandedRole::Echo(LaneKind { form: Form::Raw, deflate: *deflate }))
            }
            // Whoever has still to show its token shows it to the next process.
            Role::Multiplexed(_) | Role::History(_) | Role::Poll(_) | Role::Closing(_) => None,
        }
    }
}

impl Posting {
    /// Lines that are being published stay: their client is told which were.
    fn hand(&self) -> Option<HandedPosting> {
        let Self { target, body, exchange, batch } = self;
        let (target, body, exchange) = (target.clone(), body.clone(), exchange.clone());
        batch.is_none().then_some(HandedPosting { target, body, exchange })
    }
}

impl std::convert::From<HandedPosting> for Posting {
    fn from(handed: HandedPosting) -> Self {
        let HandedPosting { target, body, exchange } = handed;
        Self { target, body, exchange, batch: None }
    }
}

impl HandedSubscription {
    /// As its client could have asked for it.
    fn options(self) -> (Target, Options) {
        let Position { epoch, seq } = self.position;
        let from = From::After { epoch, seq };
        let options = Options { from, mode: self.mode, rate: self.rate, lag: Some(self.lag) };
        (self.target, options)
    }
}
