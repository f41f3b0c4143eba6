//! Acts on the WebSocket frames of a connection: messages, pings, closes. Must not decide when a
//! connection is read or flushed (that is `core`).

use std::borrow::Cow;

use crate::core::Core;
use crate::core::conn::{Closing, Publisher, Role};
use crate::core::flags::Flags;
use crate::core::reading::Consumed;
use crate::core::submission::{Refused, Reply, Submission};
use crate::core::wheel::TICKS_PER_S;
use crate::feed::encoder;
use crate::feed::message::Message;
use crate::feed::published::Published;
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::frame::decode::{Decoded, Event};
use crate::frame::{Kind, Opcode, encode};
use crate::metrics::{CloseReason, Gate};
use crate::net::backend::Backend;
use crate::wire::close::{Close, CloseCode};
use crate::wire::deflate;

impl<B: Backend> Core<B> {
    /// Counts a ping, a pong or a command; false when it is one too many and the connection closes.
    pub(crate) fn take_control(&mut self, key: u32) -> bool {
        let per_s = self.config.limits.controls_per_s_max;
        let Some(conn) = self.conns.get_mut(key as usize) else { return false };
        if conn.controls.take(self.now / TICKS_PER_S, per_s) || !conn.is_websocket() {
            return true;
        }
        self.metrics.turned_away(Gate::Controls);
        let reason = format!("more than {per_s} pings and commands a second");
        self.close(key, &Close::new(CloseCode::RateLimited, reason));
        false
    }

    pub(crate) fn consume_frame(&mut self, key: u32, bytes: &mut [u8]) -> Consumed {
        let bytes_max = self.message_bytes_max(key);
        let conn = &mut self.conns[key as usize];
        let decoded = conn.decoder.next(bytes, bytes_max, conn.flags.contains(Flags::INFLATES));
        let (consumed, event) = match decoded {
            Ok(Decoded::Need(need)) => return Consumed::Need(need),
            Ok(Decoded::Part(bytes)) => return Consumed::Bytes(bytes),
            Ok(Decoded::Frame { consumed, event }) => (consumed, event),
            Err(close) => {
                self.protocol_error(key, &close);
                return Consumed::Rest;
            }
        };
        self.metrics.frames_in.add(1);
        match event {
            Event::Message { kind, payload, is_deflated: true } => {
                self.deflated_message(key, kind, &payload);
            }
            Event::Message { kind, payload, .. } => self.message(key, kind, payload),
            Event::Ping(payload) => self.pong(key, payload),
            Event::Pong(_) => {
                self.take_control(key);
            }
            Event::Absorbed => {}
            Event::Close { code, .. } => self.peer_closed(key, code),
        }
        Consumed::Bytes(consumed)
    }

    fn deflated_message(&mut self, key: u32, kind: Kind, deflated: &[u8]) {
        let bytes_max = self.message_bytes_max(key) as usize;
        let conn = &mut self.conns[key as usize];
        let inflated = match conn.flags.contains(Flags::KEEPS_CONTEXT) {
            true => self.inflater.message_in(&mut conn.extras().context, deflated, bytes_max),
            false => self.inflater.message(deflated, bytes_max),
        };
        let inflated = match kind {
            Kind::Text => inflated.and_then(deflate::text),
            Kind::Binary => inflated,
        };
        match inflated {
            Ok(payload) => {
                self.take_inflated(payload.len());
                self.message(key, kind, Cow::Owned(payload));
            }
            Err(close) => self.protocol_error(key, &close),
        }
    }

    /// After this nothing from the peer can be understood, not even its close frame.
    fn protocol_error(&mut self, key: u32, close: &Close) {
        if matches!(self.conns[key as usize].role, Role::Closing(_)) {
            return self.end(key, CloseReason::PeerGone);
        }
        self.metrics.closing(close.code.into());
        let frame = encode::close(close.code.code(), &close.reason);
        self.send_last(key, &frame, Closing::AwaitEnd);
    }

    fn message(&mut self, key: u32, kind: Kind, mut payload: Cow<'_, [u8]>) {
        match self.conns[key as usize].role {
            Role::Publisher(_) => self.publish_from(key, Message::of_client(kind, &payload)),
            Role::Echo(deflate) => {
                let delivery = &mut self.conns[key as usize].delivery;
                delivery.push_private(&encoder::message_frame(deflate, kind, &payload));
            }
            Role::Multiplexed(_) => self.handle_command(key, kind, payload.to_mut()),
            Role::Subscriber(_) => {
                let reason = "this socket only receives: publish on /v1/publish/{topic}";
                self.close(key, &Close::new(CloseCode::Unsupported, reason));
            }
            // Sent before our close frame arrived.
            Role::Closing(_) | Role::Request(_) | Role::History(_) | Role::Poll(_) => {}
        }
    }

    fn publish_from(&mut self, key: u32, message: Message<'_>) {
        let now_ns = self.now_ns();
        let Role::Publisher(publisher) = &mut self.conns[key as usize].role else { return };
        if !publisher.rate.take(now_ns) {
            let per_s = self.config.limits.publishes_per_s_max;
            let reason = format!("more than {per_s} messages a second");
            return self.close(key, &Close::new(CloseCode::RateLimited, reason));
        }
        if let Err(reason) = self.take_publish(key, now_ns) {
            return self.close(key, &Close::new(CloseCode::RateLimited, reason));
        }
        let Role::Publisher(publisher) = &mut self.conns[key as usize].role else { return };
        let Publisher { topic, held, .. } = &mut **publisher;
        let published = match self.shared.submission {
            Submission::Local => self
                .shared
                .registry
                .publish(topic, held, message, now_ns)
                .map(|published| self.published(&published)),
            Submission::Log(_) => {
                let topic = topic.clone();
                self.submit(key, (&topic, message), Reply::Silence, now_ns).map(drop)
            }
        };
        if let Err(error) = published {
            // That it ends is all that this publisher is told.
            if let (Some(log), FeedError::Unavailable) = (self.shared.submission.log(), &error) {
                log.count_refused(Refused::Unavailable);
            }
            self.close(key, &Close::new(CloseCode::OverCapacity, error.to_string()));
        }
    }

    /// Publishes to a topic for a client that publishes to many.
    ///
    /// # Errors
    /// [`FeedError`]; nothing was published then.
    pub(crate) fn publish_to(
        &mut self,
        topic: &Topic,
        message: Message<'_>,
        now_ns: u64,
    ) -> Result<Published, FeedError> {
        let published = self.recent.publish(&self.shared.registry, topic, message, now_ns)?;
        self.published(&published);
        Ok(published)
    }

    /// Counts a publish, and has publishers wait if a core is too far behind with it.
    pub(crate) fn published(&mut self, published: &Published) {
        self.metrics.published(published.encodes, published.deflates);
        if let Some(behind) = &published.behind {
            self.brake.pull(behind.clone());
        }
    }

    fn pong(&mut self, key: u32, payload: &[u8]) {
        if !self.take_control(key) {
            return;
        }
        let conn = &mut self.conns[key as usize];
        if !matches!(conn.role, Role::Closing(_)) {
            conn.delivery.push_private(&encode::control(Opcode::Pong, payload));
        }
    }

    /// RFC 6455 section 5.5.1: a close is answered with a close, and the server ends the
    /// connection.
    fn peer_closed(&mut self, key: u32, code: Option<u16>) {
        let conn = &mut self.conns[key as usize];
        if let Role::Closing(closing) = &mut conn.role {
            *closing = Closing::AfterFlush;
            if !conn.has_unsent() {
                self.end(key, CloseReason::Done);
            }
            return;
        }
        let answer = match code {
            Some(code) => encode::close(code, ""),
            None => encode::control(Opcode::Close, b""),
        };
        self.send_last(key, &answer, Closing::AfterFlush);
    }
}
