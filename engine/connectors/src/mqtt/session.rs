//! One connection to a broker: greeting, subscription, and then messages both ways until it is
//! lost. Owns when a message is acknowledged: once it stands in its feed. Must not keep anything
//! that a later connection needs (that is `window`).

use std::time::Duration;

use bytes::Bytes;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::bridge::arrivals::Arrivals;
use crate::bridge::context::{Context, Out};
use crate::bridge::link::Link;
use crate::bridge::receipt::Receipt;
use crate::bridge::supervisor::SessionError;
use crate::mqtt::decode::{self, Connected, Outcome, Packet, Publish};
use crate::mqtt::encode::{self, Connect, Filter};
use crate::mqtt::filter;
use crate::mqtt::kept::Kept;
use crate::mqtt::octets::Malformed;
use crate::mqtt::reason;
use crate::mqtt::settings::Version;
use crate::mqtt::window::Message;

/// How long a broker may take to answer a connection or a subscription.
const ANSWER: Duration = Duration::from_secs(10);
/// The number of the subscription, above those of messages.
const SUBSCRIPTION: u16 = u16::MAX;
/// Messages that are added to the output before bytes are moved again.
const OUT_BATCH: usize = 64;
/// A broker that says nothing for so many half keep-alives is gone.
const SILENT_HALVES_MAX: u32 = 3;

/// See the file header.
pub struct Session<'a> {
    kept: &'a mut Kept,
    context: &'a mut Context,
    link: Link,
    broker: Connected,
    /// Ticks since the broker was heard.
    silent_halves: u32,
    /// The numbers of messages that came with QoS 1 and are not acknowledged.
    arrivals: Arrivals<u16>,
    /// That retention passed messages is said once.
    has_told_missed: bool,
}

impl<'a> Session<'a> {
    /// Connects as far as that messages can be moved.
    pub async fn open(
        kept: &'a mut Kept,
        context: &'a mut Context,
        mut link: Link,
    ) -> Result<Self, SessionError> {
        greet(kept, context, &mut link)?;
        let mut session = Self {
            kept,
            context,
            link,
            broker: Connected::default(),
            silent_halves: 0,
            arrivals: Arrivals::default(),
            has_told_missed: false,
        };
        timeout(ANSWER, session.await_greeting()).await.map_err(|_| silent())??;
        session.restart_window();
        session.subscribe();
        if session.kept.is_subscribed {
            session.context.is_up();
        }
        Ok(session)
    }

    /// Moves messages; ends only by an error.
    pub async fn run(mut self) -> Result<(), SessionError> {
        let mut ticks = self.ticks();
        loop {
            self.acknowledge()?;
            while self.arrivals.has_room()
                && let Some(packet) = self.packet()?
            {
                self.take(&packet, &mut ticks).await?;
            }
            self.fill();
            let (may_read, may_send) = (self.arrivals.has_room(), self.may_send());
            tokio::select! {
                moved = self.link.exchange(may_read) => if moved? { self.silent_halves = 0 },
                id = self.arrivals.next() => encode::acknowledge(&mut self.link.output, id?),
                out = self.context.next_out(), if may_send => self.send(out),
                _ = ticks.tick() => self.tick()?,
            }
        }
    }

    async fn await_greeting(&mut self) -> Result<(), SessionError> {
        let packet = loop {
            if let Some(packet) = self.packet()? {
                break packet;
            }
            self.link.exchange(true).await?;
        };
        match decode::packet(&packet, self.version()).map_err(|error| broken(&error))? {
            Packet::Connected(connected) => self.greeted(connected),
            _ => Err(SessionError::new("protocol", "the broker's first packet is no CONNACK")),
        }
    }

    /// The next packet that has come whole.
    fn packet(&mut self) -> Result<Option<Bytes>, SessionError> {
        let max = usize::try_from(self.kept.settings.packet_bytes_max).unwrap_or(usize::MAX);
        let length = decode::length(self.link.input(), max).map_err(|error| broken(&error))?;
        Ok(length.and_then(|length| self.link.take(length)))
    }

    fn greeted(&mut self, connected: Connected) -> Result<(), SessionError> {
        let (version, code, text) = (self.version(), connected.code, &connected.text);
        if code != 0 {
            let words = reason::connect(version, code);
            let why = if reason::is_denied(version, code) { "credentials" } else { "refused" };
            let message =
                format!("the broker refuses the connection: {words} ({code:#04x}) {text}");
            return Err(SessionError::new(why, message.trim_end()));
        }
        let settings = &self.kept.settings;
        let sends = !self.context.common().outputs.is_empty();
        if sends && connected.qos_max < settings.out_qos {
            return Err(SessionError::new("refused", "the broker takes QoS 0 only: `out_qos = 0`"));
        }
        if sends && !settings.retain.is_empty() && !connected.can_retain {
            return Err(SessionError::new("refused", "the broker does not retain: see `retain`"));
        }
        self.broker = connected;
        Ok(())
    }

    /// What an earlier connection left is sent first, as far as this broker takes it.
    fn restart_window(&mut self) {
        let (version, max) = (self.version(), self.broker.packet_bytes_max);
        let fits = |message: &Message| {
            encode::publish_bytes(version, &message.publish(Some(1), true)) as u64 <= u64::from(max)
        };
        let dropped = self.kept.window.restart(fits);
        self.context.counters().dropped("too_long", dropped as u64);
    }

    /// Asks for what comes in, unless the broker remembers that it was asked.
    fn subscribe(&mut self) {
        let filters = &self.kept.topics.filters;
        self.kept.is_subscribed &= self.broker.is_resumed;
        if self.kept.is_subscribed || filters.is_empty() {
            self.kept.is_subscribed = true;
            return;
        }
        let (qos, cut) = (self.kept.settings.qos, !self.context.common().outputs.is_empty());
        // An engine that has just begun has no last values yet: it wants what is retained.
        let wants_retained = !self.kept.has_subscribed;
        let asked = filters.iter().map(|filter| Filter {
            filter: filter.as_str(),
            qos,
            no_local: cut && filter.is_unshared(),
            wants_retained,
        });
        let asked: Vec<Filter<'_>> = asked.collect();
        let version = self.kept.settings.version;
        encode::subscribe(&mut self.link.output, version, SUBSCRIPTION, &asked);
    }

    fn ticks(&self) -> Interval {
        let keep_alive_s = self.broker.keep_alive_s.unwrap_or(self.kept.settings.keep_alive_s);
        let half = Duration::from_millis(500 * u64::from(keep_alive_s.max(2)));
        let mut ticks = interval(half);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// A ping in each half of the keep-alive: the broker hears it and answers.
    fn tick(&mut self) -> Result<(), SessionError> {
        // What is not read says nothing.
        self.silent_halves += u32::from(self.arrivals.has_room());
        if self.silent_halves > SILENT_HALVES_MAX {
            return Err(silent());
        }
        encode::ping(&mut self.link.output);
        Ok(())
    }

    /// Acts on a packet.
    async fn take(&mut self, packet: &Bytes, ticks: &mut Interval) -> Result<(), SessionError> {
        match decode::packet(packet, self.version()).map_err(|error| broken(&error))? {
            Packet::Publish(publish) => self.take_message(publish, ticks).await,
            Packet::Acknowledged(outcome) => {
                self.acknowledged(&outcome);
                Ok(())
            }
            Packet::Subscribed { id: SUBSCRIPTION, codes } => self.subscribed(codes),
            Packet::Pong => Ok(()),
            Packet::Disconnect { code, text } => Err(ended(code, text)),
            Packet::Subscribed { .. } | Packet::Connected(_) => {
                Err(SessionError::new("protocol", "the broker answers what was not asked"))
            }
        }
    }

    fn subscribed(&mut self, codes: &[u8]) -> Result<(), SessionError> {
        let filters = &self.kept.topics.filters;
        if codes.len() != filters.len() {
            return Err(SessionError::new("protocol", "a SUBACK with a wrong number of codes"));
        }
        let mut refused = filters.iter().zip(codes).filter(|(_, code)| **code >= reason::REFUSED);
        if let Some((filter, code)) = refused.next() {
            let (filter, words) = (filter.as_str(), reason::general(*code));
            let message = format!("the broker refuses the subscription to `{filter}`: {words}");
            return Err(SessionError::new("refused", message));
        }
        (self.kept.is_subscribed, self.kept.has_subscribed) = (true, true);
        self.context.is_up();
        Ok(())
    }

    /// Publishes a message. One of QoS 1 is acknowledged in its turn, also where it is none for
    /// this engine: a broker sends again what is not.
    async fn take_message(
        &mut self,
        publish: Publish<'_>,
        ticks: &mut Interval,
    ) -> Result<(), SessionError> {
        let receipt = match self.topic(publish.topic) {
            Some(topic) => self.publish(&topic, &publish, ticks).await?,
            None => None,
        };
        match (publish.id, receipt) {
            (Some(id), Some(receipt)) => self.arrivals.push(id, receipt),
            (Some(id), None) => self.arrivals.push_settled(id),
            (None, _) => {}
        }
        Ok(())
    }

    /// Acknowledges what stands in its feed.
    fn acknowledge(&mut self) -> Result<(), SessionError> {
        while let Some(id) = self.arrivals.now() {
            encode::acknowledge(&mut self.link.output, id?);
        }
        Ok(())
    }

    /// The topic of a message; none where it is not to be published, which is counted.
    fn topic(&self, name: &str) -> Option<Topic> {
        let counters = self.context.counters();
        if !self.kept.topics.filters.iter().any(|filter| filter.matches(name)) {
            // The broker remembers a filter that the settings no longer have.
            counters.dropped("unasked", 1);
            return None;
        }
        let topic = self.context.map_in(name);
        topic.inspect_err(|_| counters.dropped("topic", 1)).ok()
    }

    /// Publishes while the connection is kept alive: the engine may brake for long. The receipt
    /// says when it is to be acknowledged, if it ever is.
    async fn publish(
        &mut self,
        topic: &Topic,
        publish: &Publish<'_>,
        ticks: &mut Interval,
    ) -> Result<Option<Receipt>, SessionError> {
        let rule = self.kept.settings.payload;
        let kind = if publish.is_text { Kind::Text } else { rule.kind(publish.payload) };
        let Self { context, link, silent_halves, .. } = self;
        let published = {
            let publishing = async {
                match publish.id {
                    Some(_) => context.submit(topic, kind, publish.payload).await.map(Some),
                    None => context.publish(topic, kind, publish.payload).await.map(|()| None),
                }
            };
            tokio::pin!(publishing);
            loop {
                tokio::select! {
                    biased;
                    published = &mut publishing => break published,
                    written = link.write() => written?,
                    // What the broker says meanwhile is not read, so its silence means nothing.
                    _ = ticks.tick() => {
                        *silent_halves = 0;
                        encode::ping(&mut link.output);
                    }
                }
            }
        };
        Ok(published.unwrap_or_else(|_| {
            // The engine refuses it for good; it has counted why.
            self.context.counters().dropped("refused", 1);
            None
        }))
    }

    fn may_send(&self) -> bool {
        self.link.has_room() && self.kept.window.has_room(self.kept.settings.window.into())
    }

    /// Takes what is to go out, and what is there besides.
    fn send(&mut self, first: Out) {
        let (mut next, mut left) = (Some(first), OUT_BATCH);
        while let Some(out) = next {
            match out {
                Out::Message { topic, kind, payload, .. } => {
                    self.send_message(&topic, kind, payload);
                }
                Out::Missed(messages) => self.tell_missed(messages),
            }
            left -= 1;
            // What is taken is sent: nothing may be taken that there is no room for.
            next = if left > 0 && self.may_send() { self.context.poll_out() } else { None };
        }
    }

    fn send_message(&mut self, topic: &str, kind: Kind, payload: Bytes) {
        let name = self.context.map_out(topic);
        if let Some(reason) = self.refusal(&name) {
            return self.context.counters().dropped(reason, 1);
        }
        let retain = self.kept.retains(topic);
        let message = Message { topic: name, retain, is_text: kind == Kind::Text, payload };
        let (version, max) = (self.version(), u64::from(self.broker.packet_bytes_max));
        let publish = message.publish((self.kept.settings.out_qos > 0).then_some(1), false);
        if encode::publish_bytes(version, &publish) as u64 > max {
            return self.context.counters().dropped("too_long", 1);
        }
        if publish.id.is_some() {
            self.kept.window.add(message);
        } else {
            encode::publish(&mut self.link.output, version, &publish);
            self.context.counters().sent_out.add(message.payload.len());
        }
    }

    /// Why nothing is sent to a name.
    fn refusal(&self, name: &str) -> Option<&'static str> {
        let filters = &self.kept.topics.filters;
        let comes_back = |filter: &filter::Filter| {
            (self.version() == Version::V311 || !filter.is_unshared()) && filter.matches(name)
        };
        if !filter::is_name(name) {
            Some("name")
        } else if filters.iter().any(comes_back) {
            Some("loop")
        } else {
            None
        }
    }

    /// Encodes what the window has for the broker.
    fn fill(&mut self) {
        let version = self.version();
        while self.link.has_room() {
            let Some(publish) = self.kept.window.next(self.broker.receive_max.into()) else {
                return;
            };
            encode::publish(&mut self.link.output, version, &publish);
        }
    }

    fn acknowledged(&mut self, outcome: &Outcome<'_>) {
        let Some(message) = self.kept.window.remove(outcome.id) else { return };
        let counters = self.context.counters();
        if outcome.code < reason::REFUSED {
            return counters.sent_out.add(message.payload.len());
        }
        counters.dropped("refused", 1);
        let (bridge, topic) = (&self.context.common().name, &message.topic);
        let (why, text) = (reason::general(outcome.code), outcome.text);
        tracing::debug!(bridge, topic, why, text, "the broker refuses a message");
    }

    fn tell_missed(&mut self, messages: u64) {
        if !std::mem::replace(&mut self.has_told_missed, true) {
            let bridge = &self.context.common().name;
            tracing::warn!(bridge, messages, "not sent: retention had passed them");
        }
    }

    fn version(&self) -> Version {
        self.kept.settings.version
    }
}

/// Asks for the connection.
fn greet(kept: &Kept, context: &Context, link: &mut Link) -> Result<(), SessionError> {
    let common = context.common();
    let password = common.credentials.password();
    let password = password.map_err(|error| SessionError::new("credentials", error))?;
    let settings = &kept.settings;
    encode::connect(
        &mut link.output,
        &Connect {
            version: settings.version,
            client_id: &settings.client_id(&common.name),
            user: common.credentials.user.as_deref(),
            password: password.as_deref().map(str::as_bytes),
            keep_alive_s: settings.keep_alive_s,
            session_expiry_s: settings.session_expiry_s,
            receive_max: settings.receive_max,
            packet_bytes_max: settings.packet_bytes_max,
        },
    );
    Ok(())
}

fn broken(error: &Malformed) -> SessionError {
    SessionError::new("protocol", format!("the broker's bytes are not MQTT: {error}"))
}

fn silent() -> SessionError {
    SessionError::new("silent", "the broker says nothing any more")
}

fn ended(code: u8, text: &str) -> SessionError {
    let message = format!("the broker ends the connection: {} {text}", reason::general(code));
    let why = if code == reason::TAKEN_OVER { "taken_over" } else { "closed" };
    SessionError::new(why, message.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_says_why() {
        let error = ended(reason::TAKEN_OVER, "");
        assert_eq!(error.reason, "taken_over");
        assert!(error.message.ends_with("the same `client_id`: each needs its own"), "{error}");
        let error = ended(0x8b, "soon back");
        assert_eq!((error.reason, error.message.ends_with("soon back")), ("closed", true));
    }
}
