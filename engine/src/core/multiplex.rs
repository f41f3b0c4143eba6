//! The multiplexed endpoint: many subscriptions, publishes and replies on one socket. Owns how each
//! command is carried out. Must not parse commands (that is `wire::command`) or write replies (that
//! is `wire::reply`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::Forbidden;
use crate::core::Core;
use crate::core::conn::{Guest, Multiplexed, Role};
use crate::core::publishing::Outcome;
use crate::core::submission::{Completed, Reply};
use crate::delivery::subscriptions::Subscription;
use crate::delivery::sweep::Member;
use crate::feed::encoder::{announcement, text_frame};
use crate::feed::epoch::Position;
use crate::feed::kind::{Form, LaneKind};
use crate::feed::log::{Feed, FeedName};
use crate::feed::message::Message;
use crate::feed::options::Options;
use crate::feed::placed::Subscribed;
use crate::feed::published::Published;
use crate::feed::registry::FeedError;
use crate::feed::topic::Target;
use crate::frame::Kind;
use crate::http::handshake::Handshake;
use crate::limits::rate::TokenBucket;
use crate::net::backend::Backend;
use crate::wire::command::{Action, Command, CommandError, Id, Publish};
use crate::wire::reply;
use crate::wire::reply::ErrorCode;

/// Bytes of announcements that a new subscriber of a pattern is sent at once.
const ANNOUNCEMENT_BYTES_MAX: usize = 1 << 20;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the client.
    pub code: ErrorCode,
    /// For a person: what is wrong and how to do better.
    pub message: Cow<'static, str>,
}

/// Whether a client wants to hear that its subscription stands.
#[derive(Clone, Copy)]
struct Ack<'l> {
    /// What its command was called by.
    id: Option<&'l Id>,
    /// It wants to even where that is nothing.
    is_asked_for: bool,
}

impl Ack<'_> {
    fn is_due(self) -> bool {
        self.is_asked_for || self.id.is_some()
    }
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let code = match error {
            CommandError::EnginesTopic => ErrorCode::Forbidden,
            _ => ErrorCode::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Forbidden> for Failure {
    fn from(forbidden: Forbidden) -> Self {
        Self::new(ErrorCode::Forbidden, forbidden.to_string())
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        let code = match error {
            FeedError::Unavailable | FeedError::Unacknowledged => ErrorCode::Unavailable,
            _ => ErrorCode::OverCapacity,
        };
        Self::new(code, error.to_string())
    }
}

impl<B: Backend> Core<B> {
    /// Makes a connection a multiplexed one; `hello` says whether it wants to be greeted.
    pub(crate) fn begin_multiplexed(
        &mut self,
        key: u32,
        (kind, guest): (LaneKind, Option<Guest>),
        handshake: &Handshake,
        hello: bool,
    ) {
        let rate = TokenBucket::new(self.config.limits.publishes_per_s_max, self.now_ns());
        let multiplexed = Multiplexed {
            kind,
            number: self.shared.registry.number(),
            topics: BTreeMap::new(),
            publishes: false,
            has_heartbeat: hello,
            rate,
            guest,
        };
        self.conns[key as usize].delivery.multiplex();
        self.upgrade(key, Role::Multiplexed(Box::new(multiplexed)), handshake);
        if hello {
            let heartbeat_ms = self.config.keepalive.heartbeat_ms;
            let bytes_max = self.config.limits.message_bytes_max;
            self.answer(key, &reply::hello(heartbeat_ms, self.shared.registry.epoch(), bytes_max));
        }
    }

    /// Carries out one message of a multiplexed client. What fails is told, with or without an id.
    pub(crate) fn handle_command(&mut self, key: u32, kind: Kind, payload: &mut [u8]) {
        if self.conns[key as usize].guest().is_some() {
            return self.take_first_message(key, kind, payload);
        }
        if kind == Kind::Binary {
            let message = "commands are text messages: binary ones only come from the engine";
            return self.send_error(key, None, &Failure::new(ErrorCode::BadRequest, message));
        }
        self.take_command();
        let mut parser = std::mem::take(&mut self.commands);
        match parser.command(payload) {
            Ok(Command { action, .. })
                if !matches!(action, Action::Publish(_)) && !self.take_control(key) => {}
            Ok(Command { id, action }) => {
                if let Err(failure) = self.carry_out(key, id.as_ref(), action) {
                    self.send_error(key, id.as_ref(), &failure);
                }
            }
            Err(_) if !self.take_control(key) => {}
            Err((id, error)) => self.send_error(key, id.as_ref(), &error.into()),
        }
        self.commands = parser;
    }

    fn carry_out(&mut self, key: u32, id: Option<&Id>, action: Action<'_>) -> Result<(), Failure> {
        match action {
            Action::Subscribe { target, options, ack } => {
                self.follow(key, Ack { id, is_asked_for: ack }, target, options)
            }
            Action::Unsubscribe { target } => self.unfollow(key, id, &target),
            Action::Publish(publish) => self.publish_multiplexed(key, id, &publish),
            Action::Authenticate(token) => self.renew(key, id, &token),
        }
    }

    pub(crate) fn send_error(&mut self, key: u32, id: Option<&Id>, failure: &Failure) {
        self.metrics.commands_refused.add(1);
        self.answer(key, &reply::error(id, failure.code, &failure.message));
    }

    pub(crate) fn answer(&mut self, key: u32, text: &[u8]) {
        self.conns[key as usize].delivery.push_private(&text_frame(text));
    }

    pub(crate) fn multiplexed(&mut self, key: u32) -> Option<&mut Multiplexed> {
        match &mut self.conns[key as usize].role {
            Role::Multiplexed(multiplexed) => Some(multiplexed),
            _ => None,
        }
    }

    // ---- subscribing ----

    fn follow(
        &mut self,
        key: u32,
        ack: Ack<'_>,
        target: Target,
        options: Options,
    ) -> Result<(), Failure> {
        let subscriptions_max = self.config.limits.subscriptions_per_connection_max;
        let Some(multiplexed) = self.multiplexed(key) else { return Ok(()) };
        let (kind, count) = (multiplexed.kind, multiplexed.topics.len());
        if multiplexed.topics.contains_key(&target) {
            let message = format!("`{}` is subscribed already: unsubscribe first", target.as_str());
            return Err(Failure::new(ErrorCode::AlreadySubscribed, message));
        }
        self.may_subscribe(key, &target)?;
        if count >= subscriptions_max {
            let message = format!(
                "this connection has {count} subscriptions and may have no more \
                 (limits.subscriptions_per_connection_max)"
            );
            return Err(Failure::new(ErrorCode::TooManySubscriptions, message));
        }
        let name = FeedName { target, rate: options.rate };
        let lane = self.open_lane(key, &name, kind, &options.from).map_err(Failure::from)?;
        self.join(key, ack, lane, options)
    }

    /// Goes on with a subscription that another process had, without a word.
    ///
    /// # Errors
    /// As for a new one.
    pub(crate) fn follow_on(
        &mut self,
        key: u32,
        kind: LaneKind,
        (target, options): (Target, Options),
    ) -> Result<(), Failure> {
        let name = FeedName { target, rate: options.rate };
        let lane = self.open_lane(key, &name, kind, &options.from).map_err(Failure::from)?;
        self.join(key, Ack { id: None, is_asked_for: false }, lane, options)
    }

    /// Makes a connection a member of a lane that was just opened for it.
    fn join(&mut self, key: u32, ack: Ack<'_>, lane: u32, options: Options) -> Result<(), Failure> {
        let feed = Arc::clone(self.lanes.feed(lane));
        let kind = self.lanes.reader(lane).kind();
        let placed = feed.place(self.lanes.reader(lane), &options.from);
        let Subscribed { cursor, gap, ahead } = placed;
        let announcements = match announcements(&feed, kind, cursor.ordinal) {
            Ok(announcements) => announcements,
            Err(failure) => {
                let now_ns = self.now_ns();
                self.lanes.close_if_unused(lane, now_ns);
                return Err(failure);
            }
        };
        let lag = options.lag.unwrap_or(feed.retention().lag);
        let index = self.conns[key as usize].delivery.subscriptions().len() as u32;
        let member = self.lanes.join(lane, Member { conn: key, subscription: index });
        if let Some(position) = ahead {
            self.begin_behind(key, lane, position);
        }
        let delivery = &mut self.conns[key as usize].delivery;
        if ack.is_due() {
            let number = (kind.form == Form::Binary).then(|| feed.number());
            let last_seq = ahead.map_or_else(|| feed.seq_before(cursor.ordinal), |at| at.seq);
            let text = reply::subscribed(ack.id, feed.target(), feed.epoch(), last_seq, number);
            delivery.push_private(&text_frame(&text));
        }
        delivery.push_private(&announcements);
        delivery.subscribe(Subscription::new((lane, member), cursor, options.mode, lag));
        if let Some(gap) = gap {
            self.tell_gap(key, lane, lag, gap);
        }
        if let Some(multiplexed) = self.multiplexed(key) {
            multiplexed.topics.insert(feed.target().clone(), index);
        }
        self.queue_flush(key);
        Ok(())
    }

    pub(crate) fn unfollow(
        &mut self,
        key: u32,
        id: Option<&Id>,
        target: &Target,
    ) -> Result<(), Failure> {
        let index = self.multiplexed(key).and_then(|multiplexed| multiplexed.topics.remove(target));
        let Some(index) = index else {
            let message = format!("`{}` is not subscribed here", target.as_str());
            return Err(Failure::new(ErrorCode::NotSubscribed, message));
        };
        if let Some(gone) = self.conns[key as usize].delivery.unsubscribe(index, &self.lanes) {
            self.leave_lane(gone);
        }
        self.renumber(key, index);
        if let Some(id) = id {
            self.answer(key, &reply::unsubscribed(id, target));
        }
        Ok(())
    }

    /// The subscription that took the index of one that is gone is told of in the lane and in the
    /// connection's own list.
    fn renumber(&mut self, key: u32, index: u32) {
        let moved = self.conns[key as usize].delivery.subscriptions().get(index as usize).copied();
        let Some(Subscription { lane, member, .. }) = moved else { return };
        self.lanes.renumber(lane, member, index);
        let target = self.lanes.feed(lane).target().clone();
        if let Some(multiplexed) = self.multiplexed(key) {
            multiplexed.topics.insert(target, index);
        }
    }

    // ---- publishing ----

    fn publish_multiplexed(
        &mut self,
        key: u32,
        id: Option<&Id>,
        publish: &Publish<'_>,
    ) -> Result<(), Failure> {
        let (now_ns, per_s) = (self.now_ns(), self.config.limits.publishes_per_s_max);
        self.may_publish(key, &publish.topic)?;
        self.take_publish(key, now_ns)
            .map_err(|message| Failure::new(ErrorCode::RateLimited, message))?;
        let Role::Multiplexed(multiplexed) = &mut self.conns[key as usize].role else {
            return Ok(());
        };
        if !multiplexed.rate.take(now_ns) {
            let message = format!("more than {per_s} messages a second");
            return Err(Failure::new(ErrorCode::RateLimited, message));
        }
        multiplexed.publishes = true;
        let message = Message::of_client(publish.kind, &publish.payload);
        let reply = || Reply::Command(id.cloned());
        let outcome = self.publish(key, (&publish.topic, message), reply, now_ns)?;
        if let (Some(id), Outcome::Published(published)) = (id, outcome) {
            let Published { epoch, seq, subscribers, .. } = published;
            self.answer(key, &reply::published(id, epoch, seq, subscribers));
        }
        Ok(())
    }

    /// Answers a command whose message a log has taken.
    pub(crate) fn send_published(&mut self, key: u32, id: &Id, completed: Completed) {
        let Completed { position: Position { epoch, seq }, subscribers } = completed;
        self.answer(key, &reply::published(id, epoch, seq, subscribers));
    }
}

/// What a new subscriber of a pattern has to know before its first binary envelope.
fn announcements(feed: &Feed, kind: LaneKind, first_ordinal: u64) -> Result<Vec<u8>, Failure> {
    let mut frames = Vec::new();
    for origin in feed.announced(kind, 0..first_ordinal) {
        frames.extend(announcement(&origin));
        if frames.len() > ANNOUNCEMENT_BYTES_MAX {
            let message = "this pattern has too many topics for binary envelopes: use \
                           gridcast.v1.json, or a narrower pattern";
            return Err(Failure::new(ErrorCode::OverCapacity, Cow::Borrowed(message)));
        }
    }
    Ok(frames)
}
