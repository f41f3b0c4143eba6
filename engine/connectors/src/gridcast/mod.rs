//! A bridge to another gridcast, over its `/v1/ws`. What goes out is acknowledged message by
//! message, and sent again where it was not; what comes in is taken up where it ended. Owns a
//! session. Must not know TLS or the form of messages.

pub mod following;
pub mod link;
pub mod notice;
pub mod pending;
pub mod publish;
pub mod settings;

use std::time::Duration;

use gridcast::frame::Kind;
use gridcast_client::link::{Ending, Incoming};
use gridcast_client::wire::command;
use gridcast_client::wire::envelope::Envelope;
use gridcast_client::wire::told::{Missing, Refused, Told};
use gridcast_client::{Error, Start};
use tokio::time::{MissedTickBehavior, interval};

use crate::bridge::arrivals::Arrivals;
use crate::bridge::context::{Context, Out};
use crate::bridge::receipt::Receipt;
use crate::bridge::settings::Common;
use crate::bridge::supervisor::{Bridge, Connector, SessionError, Supervised};
use crate::table::Reader;
use following::{Feed, Following};
use link::Link;
use notice::Notice;
use pending::Pending;
use publish::publish;
use settings::Settings;

/// After how many pings without any sign of life the link is taken for dead.
const PINGS: u32 = 3;
/// What a subscription is asked for beside its position: a loss is told, and does not end the link.
const FIELDS: &str = r#","lag":"skip-to-oldest""#;
/// The close code of a message that is too long.
const TOO_LONG: u16 = 1009;
/// How long messages that the far end cannot take now wait before they are sent again.
const PAUSE: Duration = Duration::from_secs(1);

/// The bridge of these settings.
///
/// # Errors
/// What is wrong with them.
pub fn read(common: Common, reader: Reader) -> Result<Box<dyn Bridge>, String> {
    let settings = Settings::of(&common, reader)?;
    Ok(Box::new(Supervised { common, connector: Gridcast::new(settings) }))
}

/// See the file header.
#[derive(Debug)]
pub struct Gridcast {
    settings: Settings,
    pending: Pending,
    following: Following,
    /// What came in and may not stand in its feed yet, over all sessions.
    arrivals: Arrivals<(Feed, u64)>,
    /// Whether a refusal was told of in this session: one says it for all.
    has_warned: bool,
}

impl Connector for Gridcast {
    async fn run(&mut self, context: &mut Context) -> Result<(), SessionError> {
        let mut link = Link::open(&self.settings.address, context.common()).await?;
        self.settle().await;
        self.begin(&mut link, context);
        let ping = Duration::from_millis(self.settings.quiet_ms) / PINGS;
        let (mut pings, mut pauses) = (interval(ping), interval(PAUSE));
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Silence::default();
        loop {
            let may_send = self.following.stands() && self.pending.has_room();
            // What is not read says nothing.
            let may_read = self.arrivals.has_room();
            tokio::select! {
                came = link.exchange(may_read) => self.hear(came, context).await?,
                came = self.arrivals.next() => self.came(came?),
                out = context.next_out(), if may_send => self.send_out(out, &mut link, context),
                _ = pings.tick(), if may_read => silence.look(&mut link, self.settings.quiet_ms)?,
                _ = pauses.tick(), if self.pending.is_stuck() => self.send_again(&mut link),
            }
        }
    }
}

impl Gridcast {
    /// A bridge that was never connected.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let pending = Pending::new(settings.window, settings.window_bytes);
        let following = Following::new(&settings.inputs);
        let arrivals = Arrivals::default();
        Self { settings, pending, following, arrivals, has_warned: false }
    }

    /// Waits for what came in by an earlier session, so that the next goes on behind it. What a log
    /// refused comes again, and all behind it.
    async fn settle(&mut self) {
        while !self.arrivals.is_empty() {
            if let Ok(came) = self.arrivals.next().await {
                self.came(came);
            }
        }
    }

    fn came(&mut self, (feed, seq): (Feed, u64)) {
        self.following.came(&feed, seq);
    }

    /// Asks for all that is to come in, then sends what was not acknowledged.
    fn begin(&mut self, link: &mut Link, context: &mut Context) {
        self.has_warned = false;
        for (id, target, position) in self.following.begin(|| self.pending.number()) {
            let from = position.map_or_else(|| Start::Latest.to_string(), |at| at.to_string());
            link.send(command::subscribe(id, &target, &from, FIELDS));
        }
        self.send_again(link);
        if self.following.stands() {
            context.is_up();
        }
    }

    fn send_again(&mut self, link: &mut Link) {
        self.pending.again().for_each(|command| link.send(command));
    }

    /// Sends a message, and those that wait behind it.
    fn send_out(&mut self, first: Out, link: &mut Link, context: &mut Context) {
        let mut next = Some(first);
        while let Some(out) = next {
            match out {
                Out::Message { topic, kind, payload, .. } => {
                    let topic = context.map_out(&topic);
                    self.publish(link, (&topic, kind, &payload), context);
                }
                Out::Missed(messages) => self.tell_missed(messages, link, context),
            }
            next = if self.pending.has_room() { context.poll_out() } else { None };
        }
    }

    fn publish(
        &mut self,
        link: &mut Link,
        (topic, kind, payload): (&str, Kind, &[u8]),
        context: &Context,
    ) {
        let make = |id: u64| publish(id, topic, kind, payload);
        match self.pending.send(payload.len(), make) {
            Some(command) => link.send(command),
            None => self.tell_too_long(1, context),
        }
    }

    /// Retention took messages while the link was down, or too slow: the far end is told among
    /// those that it gets.
    fn tell_missed(&mut self, messages: u64, link: &mut Link, context: &Context) {
        let bridge = context.common().name.as_str();
        tracing::warn!(bridge, messages, "lost before they could be sent: retention took them");
        let Some(topic) = self.settings.notices.clone() else { return };
        let reason = "retention";
        let messages = Some(messages);
        let notice = Notice { bridge, direction: "out", topic: None, messages, reason };
        self.publish(link, (topic.as_str(), Kind::Text, notice.json().as_bytes()), context);
    }

    async fn hear(
        &mut self,
        came: Result<Incoming, Ending>,
        context: &mut Context,
    ) -> Result<(), SessionError> {
        match came {
            Ok(Incoming::Binary(bytes)) => match Envelope::read(&bytes) {
                Some(envelope) => self.take_in(envelope, context).await,
                None => context.counters().error("envelope"),
            },
            Ok(Incoming::Text(text)) => self.listen(&text, context).await?,
            Ok(Incoming::Pong) => {}
            Err(ending) => return Err(self.closed(ending, context)),
        }
        Ok(())
    }

    /// The session ends. Where that is because a message is too long, it would be so again in the
    /// next.
    fn closed(&mut self, ending: Ending, context: &Context) -> SessionError {
        if ending.status == Some(TOO_LONG) {
            let given_up = self.pending.give_up_longest();
            self.tell_too_long(given_up, context);
        }
        let text = match ending.status {
            Some(status) => format!("the far end said {status}: {}", ending.reason),
            None => ending.reason,
        };
        SessionError::new("closed", text)
    }

    fn tell_too_long(&mut self, messages: u64, context: &Context) {
        context.counters().dropped("too_long", messages);
        if !std::mem::replace(&mut self.has_warned, true) {
            let bridge = &context.common().name;
            tracing::warn!(bridge, messages, "longer than the far end takes: not sent");
        }
    }

    async fn take_in(&mut self, envelope: Envelope, context: &mut Context) {
        let Some(feed) = self.following.feed(envelope.feed) else {
            return context.counters().error("unknown_feed");
        };
        let came = (feed.clone(), envelope.seq);
        match publish_in(&feed, &envelope, context).await {
            Some(receipt) => self.arrivals.push(came, receipt),
            None => self.arrivals.push_settled(came),
        }
    }

    /// Takes in what the far end says of commands and subscriptions.
    async fn listen(&mut self, text: &str, context: &mut Context) -> Result<(), SessionError> {
        let Ok(told) = serde_json::from_str::<Told<'_>>(text) else {
            context.counters().error("envelope");
            return Ok(());
        };
        let wrong = |error| SessionError::new("protocol", format!("the far end says {error}"));
        match (told.id, &told) {
            (Some(id), Told { published: Some(_), .. }) => {
                if let Some(bytes) = self.pending.answered(id) {
                    context.counters().sent_out.add(bytes);
                }
            }
            (Some(id), Told { subscribed: Some(subscribed), .. }) => {
                self.following.subscribed(id, subscribed).map_err(wrong)?;
                if self.following.stands() {
                    context.is_up();
                }
            }
            (Some(id), Told { error: Some(refused), .. }) => self.refused(id, refused, context)?,
            (None, Told { gap: Some(missing), .. }) => self.missed(missing, context).await,
            (None, Told { error: Some(Refused { code, message, .. }), .. }) => {
                let text = format!("the far end ends what is followed: {code}: {message}");
                return Err(SessionError::new("refused", text));
            }
            (None, told) => {
                self.following.announced(told).map_err(wrong)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A command was refused: for now, for good, or the session makes no sense without it.
    fn refused(
        &mut self,
        id: u64,
        refused: &Refused<'_>,
        context: &Context,
    ) -> Result<(), SessionError> {
        let Refused { code, message, .. } = refused;
        if self.following.has_asked(id) {
            let text = format!("the far end lets nobody follow: {code}: {message}");
            return Err(SessionError::new("refused", text));
        }
        if Error::from(refused).is_passing() {
            self.pending.put_off(id);
            return Ok(());
        }
        if self.pending.answered(id).is_some() {
            context.counters().dropped("refused", 1);
            if !std::mem::replace(&mut self.has_warned, true) {
                let bridge = &context.common().name;
                tracing::warn!(bridge, %code, %message, "the far end refused a message");
            }
        }
        Ok(())
    }

    /// Messages of the far end were lost before they could be followed: whoever reads them here is
    /// told.
    async fn missed(&mut self, missing: &Missing<'_>, context: &mut Context) {
        let Missing { topic, frames, reason, .. } = missing;
        let bridge = context.common().name.clone();
        tracing::warn!(bridge, %topic, frames, %reason, "messages of the far end are missing");
        match frames {
            Some(frames) => context.counters().dropped("far_retention", *frames),
            None => context.counters().error("gap"),
        }
        let Some(notices) = self.settings.notices.clone() else { return };
        let (topic, reason) = (Some(topic.as_ref()), reason.as_ref());
        let messages = *frames;
        let notice = Notice { bridge: &bridge, direction: "in", topic, messages, reason };
        if context.publish(&notices, Kind::Text, notice.json().as_bytes()).await.is_err() {
            context.counters().dropped("refused", 1);
        }
    }
}

/// Publishes a message, or counts why it is none for this engine.
async fn publish_in(feed: &Feed, envelope: &Envelope, context: &mut Context) -> Option<Receipt> {
    let Ok(topic) = context.map_in(&feed.topic) else {
        context.counters().error("topic");
        context.counters().dropped("topic", 1);
        return None;
    };
    let kind = if envelope.is_text { Kind::Text } else { Kind::Binary };
    let published = context.submit(&topic, kind, &envelope.payload).await;
    published.inspect_err(|_| context.counters().dropped("refused", 1)).ok()
}

/// How long nothing was heard, in pings.
#[derive(Default)]
struct Silence {
    heard: u64,
    pings: u32,
}

impl Silence {
    /// Asks for a sign of life, unless there was none for too long.
    fn look(&mut self, link: &mut Link, quiet_ms: u64) -> Result<(), SessionError> {
        let is_silent = std::mem::replace(&mut self.heard, link.heard()) == self.heard;
        self.pings = if is_silent { self.pings + 1 } else { 1 };
        if self.pings > PINGS {
            return Err(SessionError::new("timeout", format!("nothing heard for {quiet_ms} ms")));
        }
        link.ping();
        Ok(())
    }
}
