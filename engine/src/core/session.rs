//! What a connection's bytes mean and what they bring about: requests, messages, subscriptions.
//! Owns the roles' behaviour. Must not decide when a connection is read or flushed (that is
//! `core`).

use std::borrow::Cow;

use crate::auth::Credentials;
use crate::core::conn::{Closing, PostTarget, Publisher, Role};
use crate::core::shedding::Level;
use crate::core::wheel::TICKS_PER_S;
use crate::core::{Core, OUTBOX_BYTES_HELD};
use crate::delivery::subscriptions::Subscription;
use crate::delivery::sweep::Member;
use crate::feed::encoder;
use crate::feed::encoder::{Deflation, Form, LaneKind, Message};
use crate::feed::lag::Gap;
use crate::feed::log::{FeedName, Published, Subscribed};
use crate::feed::options::{LagPolicy, Options};
use crate::feed::registry::FeedError;
use crate::feed::topic::Topic;
use crate::frame::decode::{Decoded, Event};
use crate::frame::{Kind, Opcode, encode};
use crate::http::handshake::Handshake;
use crate::http::origin::Cors;
use crate::http::refusal::Refusal;
use crate::http::request::{Method, Request};
use crate::http::response::{Exchange, Response, Status, event_stream_head};
use crate::http::route::{Route, Settings};
use crate::limits::admission::Full;
use crate::limits::rate::TokenBucket;
use crate::metrics::{CloseReason, Gate, TlsFailure};
use crate::wire::close::{Close, CloseCode};

/// What became of some bytes.
pub(crate) enum Consumed {
    /// So many were used; the next may be looked at.
    Bytes(usize),
    /// At least so many are needed before anything can be done.
    Need(usize),
    /// So many were used; the rest waits until the connection is read again.
    Hold(usize),
    /// The rest has no meaning any more.
    Rest,
}

impl Core {
    /// Acts on the whole requests or frames in `bytes`. Answers how many bytes were used, and how
    /// many there must be, the unused included, before another call makes sense.
    pub(crate) fn consume(&mut self, key: u32, bytes: &mut [u8]) -> (usize, usize) {
        let mut used = 0;
        while used < bytes.len() {
            let Some(conn) = self.conns.get(key as usize) else { return (bytes.len(), 0) };
            let rest = &mut bytes[used..];
            let consumed = match conn.role {
                Role::Request(None) => self.consume_head(key, rest),
                Role::Request(Some(_)) => self.consume_body(key, rest),
                Role::Closing(Closing::AwaitEnd | Closing::AfterFlush) => Consumed::Rest,
                _ => self.consume_frame(key, rest),
            };
            match consumed {
                // Many requests sent at once are answered in order, and no faster than the answers
                // are taken: one of a few bytes may bring one of many.
                Consumed::Bytes(count) if self.holds(key) => return (used + count, 0),
                Consumed::Bytes(count) => used += count,
                Consumed::Need(need) => return (used, need),
                Consumed::Hold(count) => return (used + count, 0),
                Consumed::Rest => return (bytes.len(), 0),
            }
        }
        (used, 0)
    }

    /// Whether what came is left until the answers to what came before are out.
    fn holds(&mut self, key: u32) -> bool {
        let Some(conn) = self.conns.get_mut(key as usize) else { return false };
        if matches!(conn.role, Role::Closing(_)) {
            return false;
        }
        conn.queued.read_held |= conn.delivery.outbox().pending().len() > OUTBOX_BYTES_HELD;
        conn.queued.read_held
    }

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

    // ---- WebSocket ----

    fn consume_frame(&mut self, key: u32, bytes: &mut [u8]) -> Consumed {
        let bytes_max = self.config.limits.message_bytes_max;
        let conn = &mut self.conns[key as usize];
        let decoded = conn.decoder.next(bytes, bytes_max, conn.inflates);
        let (consumed, event) = match decoded {
            Ok(Decoded::Need(need)) => return Consumed::Need(need),
            Ok(Decoded::Part(bytes)) => return Consumed::Bytes(bytes),
            Ok(Decoded::Frame { consumed, event }) => (consumed, event),
            Err(close) => {
                self.broke_protocol(key, &close);
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
        let Some(conn) = self.conns.get_mut(key as usize) else { return Consumed::Rest };
        if conn.queued.paced {
            return Consumed::Hold(consumed);
        }
        Consumed::Bytes(consumed)
    }

    fn deflated_message(&mut self, key: u32, kind: Kind, deflated: &[u8]) {
        let bytes_max = self.config.limits.message_bytes_max as usize;
        let inflated = match kind {
            Kind::Text => self.inflater.text(deflated, bytes_max),
            Kind::Binary => self.inflater.message(deflated, bytes_max),
        };
        match inflated {
            Ok(payload) => self.message(key, kind, Cow::Owned(payload)),
            Err(close) => self.broke_protocol(key, &close),
        }
    }

    /// After this nothing from the peer can be understood, not even its close frame.
    fn broke_protocol(&mut self, key: u32, close: &Close) {
        if matches!(self.conns[key as usize].role, Role::Closing(_)) {
            return self.end(key, CloseReason::PeerGone);
        }
        self.metrics.closing(close.code.into());
        let frame = encode::close(close.code.code(), &close.reason);
        self.say_last(key, &frame, Closing::AwaitEnd);
    }

    fn message(&mut self, key: u32, kind: Kind, mut payload: Cow<'_, [u8]>) {
        match self.conns[key as usize].role {
            Role::Publisher(_) => self.publish_from(key, Message { kind, payload: &payload }),
            Role::Echo(deflate) => {
                let delivery = &mut self.conns[key as usize].delivery;
                delivery.push_private(&encoder::message_frame(deflate, kind, &payload));
            }
            Role::Multiplexed(_) => self.obey(key, kind, payload.to_mut()),
            Role::Subscriber(_) => {
                let reason = "this socket only receives: publish on /v1/publish/{topic}";
                self.close(key, &Close::new(CloseCode::Unsupported, reason));
            }
            // Sent before our close frame arrived.
            Role::Closing(_) | Role::Request(_) => {}
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
        match self.shared.registry.publish(topic, held, message, now_ns) {
            Ok(published) => self.published(key, published),
            Err(error) => self.close(key, &Close::new(CloseCode::OverCapacity, error.to_string())),
        }
    }

    /// Counts a publish, and has a publisher that is ahead of the subscribers wait.
    pub(crate) fn published(&mut self, key: u32, published: Published) {
        self.metrics.published(published.encodes, published.deflates);
        let conn = &mut self.conns[key as usize];
        if published.behind && !std::mem::replace(&mut conn.queued.paced, true) {
            self.metrics.paced();
            self.paced.push(key);
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
        self.say_last(key, &answer, Closing::AfterFlush);
    }

    // ---- HTTP ----

    fn consume_head(&mut self, key: u32, bytes: &[u8]) -> Consumed {
        match Request::parse(bytes, self.config.limits.header_bytes_max) {
            Ok(None) => Consumed::Need(bytes.len() + 1),
            Ok(Some((mut request, head_bytes))) => {
                self.serve(key, &mut request);
                Consumed::Bytes(head_bytes)
            }
            Err(refusal) => {
                self.refuse_request(key, &refusal, &Exchange::default());
                Consumed::Rest
            }
        }
    }

    fn serve(&mut self, key: u32, request: &mut Request) {
        let presented = Credentials::take(request, &self.config.auth.cookie);
        let request = &*request;
        let settings = Settings {
            echo: self.config.debug.echo,
            body_bytes_max: self.config.limits.message_bytes_max,
            door: self.conns[key as usize].door,
        };
        let mut exchange = Exchange {
            head_only: request.method == Method::Head,
            // A connection that ends with its answer need not be closed by the drain.
            keep_alive: request.keeps_alive() && self.shared.is_ready(),
            cors: Cors::None,
        };
        let served = self
            .admit_forwarded(key, request)
            .and_then(|()| self.admit_page(request))
            .and_then(|cors| {
                exchange.cors = cors;
                Route::of(request, settings)
            })
            .and_then(|route| {
                self.authorise(key, &route, &presented)?;
                self.serve_route(key, route, request, &exchange)
            });
        if let Err(refusal) = served {
            self.refuse_request(key, &refusal, &exchange);
        }
    }

    fn admit_forwarded(&mut self, key: u32, request: &Request) -> Result<(), Refusal> {
        let Some(header) = request.headers.x_forwarded_for.as_deref() else { return Ok(()) };
        self.take_forwarded(key, header).map_err(|full| {
            self.metrics.turned_away(full.gate());
            full.into()
        })
    }

    /// Whether the page a request comes from may use the engine, and what its browser is told.
    fn admit_page(&self, request: &Request) -> Result<Cors, Refusal> {
        if !request.path.starts_with("/v1/") {
            return Ok(Cors::None);
        }
        let admitted = self.config.security.origins.admit(request.headers.origin.as_deref());
        admitted.inspect_err(|_| self.metrics.turned_away(Gate::Origin))
    }

    fn serve_route(
        &mut self,
        key: u32,
        route: Route,
        request: &Request,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        match route {
            Route::Health => self.respond(key, &Response::text(Status::Ok, "ok\n"), exchange),
            Route::Ready => {
                self.admit_work()?;
                self.respond(key, &Response::text(Status::Ok, "ready\n"), exchange);
            }
            Route::Metrics => {
                let text = self.shared.render_metrics();
                self.respond(key, &Response::metrics(text), exchange);
            }
            Route::Status => self.tell_status(key, request, exchange)?,
            Route::Drain => self.begin_drain(key, request, exchange)?,
            Route::Allow(methods) => self.respond(key, &Response::allow(methods), exchange),
            Route::PublishOne { topic, kind, body } => {
                self.begin_post(key, PostTarget::One(topic, kind), (body, request), exchange)?;
            }
            Route::PublishMany { body } => {
                self.begin_post(key, PostTarget::Many, (body, request), exchange)?;
            }
            Route::FeedSocket { target, options, handshake } => {
                self.admit_work()?;
                let name = FeedName { target, rate: options.rate };
                let handshake = self.with_deflate(handshake, request);
                let kind = self.lane_kind(Form::Raw, &handshake);
                let lane = self.open_lane(&name, kind)?;
                self.accept_upgrade(key, &handshake);
                self.subscribe(key, lane, options);
            }
            Route::FeedEvents { target, options } => {
                self.admit_work()?;
                let name = FeedName { target, rate: options.rate };
                let lane = self.open_lane(&name, LaneKind::SSE)?;
                self.conns[key as usize].delivery.push_private(&event_stream_head(&exchange.cors));
                self.subscribe(key, lane, options);
            }
            Route::Multiplexed { form, handshake } => {
                self.admit_work()?;
                let handshake = self.with_deflate(handshake, request);
                let kind = self.lane_kind(form, &handshake);
                self.begin_multiplexed(key, kind, &handshake);
            }
            Route::PublishSocket { topic, handshake } => {
                self.admit_work()?;
                let handshake = self.with_deflate(handshake, request);
                self.begin_publisher(key, topic, &handshake);
            }
            Route::Echo { handshake } => {
                self.admit_work()?;
                let handshake = self.with_deflate(handshake, request);
                let deflate = self.lane_kind(Form::Raw, &handshake).deflate;
                self.upgrade(key, Role::Echo(deflate), &handshake);
            }
        }
        Ok(())
    }

    /// Nothing new is taken on while the engine drains, or has no memory for it.
    pub(crate) fn admit_work(&self) -> Result<(), Refusal> {
        if self.shedding.level == Level::Disconnect {
            self.metrics.turned_away(Gate::Memory);
            return Err(Refusal::memory_is_short());
        }
        if self.shared.is_ready() {
            return Ok(());
        }
        self.metrics.turned_away(Gate::Draining);
        Err(Refusal::new(Status::Unavailable, "not ready: starting or draining")
            .with_header("Retry-After", "1"))
    }

    pub(crate) fn respond(&mut self, key: u32, response: &Response<'_>, exchange: &Exchange) {
        let bytes = response.encode(exchange);
        if !exchange.keep_alive {
            return self.say_last(key, &bytes, Closing::AwaitEnd);
        }
        let heard = self.now;
        let conn = &mut self.conns[key as usize];
        conn.heard = heard;
        conn.delivery.push_private(&bytes);
    }

    pub(crate) fn refuse_request(&mut self, key: u32, refusal: &Refusal, exchange: &Exchange) {
        self.metrics.refused(refusal.status);
        self.say_last(key, &refusal.encode(exchange), Closing::AwaitEnd);
    }

    /// Answers a connection that is one too many.
    pub(crate) fn refuse(&mut self, key: u32, full: Full) {
        self.metrics.turned_away(full.gate());
        self.refuse_request(key, &full.into(), &Exchange::default());
    }

    /// Whoever speaks HTTP to a port that speaks TLS is told so, in words he understands.
    pub(crate) fn tell_not_tls(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.transport.failure() == Some(TlsFailure::NotTls) {
            let message = "this port speaks TLS: use https:// or wss://";
            let refusal = Refusal::new(Status::BadRequest, message);
            self.metrics.refused(refusal.status);
            conn.transport.write_past(&refusal.encode(&Exchange::default()));
        }
    }

    /// A request that did not arrive in time. A connection that never began one just ends.
    pub(crate) fn request_timed_out(&mut self, key: u32, ms_max: u64) {
        let conn = &mut self.conns[key as usize];
        let exchange = match &mut conn.role {
            Role::Request(None) if conn.rest.is_empty() => {
                return self.end(key, CloseReason::Timeout);
            }
            Role::Request(Some(posting)) => std::mem::take(&mut posting.exchange),
            _ => Exchange::default(),
        };
        let message = format!("the request was not complete within {ms_max} ms");
        let refusal = Refusal::new(Status::RequestTimeout, message);
        self.refuse_request(key, &refusal, &exchange);
    }

    // ---- roles ----

    fn begin_publisher(&mut self, key: u32, topic: Topic, handshake: &Handshake) {
        let per_s = self.config.limits.publishes_per_s_max;
        let rate = TokenBucket::new(per_s, self.now_ns());
        let publisher = Publisher { topic, held: None, rate };
        self.upgrade(key, Role::Publisher(Box::new(publisher)), handshake);
    }

    pub(crate) fn upgrade(&mut self, key: u32, role: Role, handshake: &Handshake) {
        self.accept_upgrade(key, handshake);
        self.begin_role(key, role);
    }

    fn accept_upgrade(&mut self, key: u32, handshake: &Handshake) {
        let conn = &mut self.conns[key as usize];
        conn.inflates = handshake.deflate.is_some();
        conn.delivery.push_private(&handshake.response());
    }

    fn with_deflate(&self, handshake: Handshake, request: &Request) -> Handshake {
        match self.config.compression.enabled {
            true => handshake.with_deflate(request),
            false => handshake,
        }
    }

    fn begin_role(&mut self, key: u32, role: Role) {
        let now = self.now;
        if let Some(label) = role.label() {
            self.metrics.role_began(label);
        }
        let conn = &mut self.conns[key as usize];
        conn.heard = now;
        conn.role = role;
        self.come_by_for_ping(key);
    }

    /// Makes a connection, whose answer is queued, a subscriber of a lane that was just opened for
    /// it: places its cursor and lets the first flush carry both.
    fn subscribe(&mut self, key: u32, lane: u32, options: Options) {
        let (feed, kind) = (self.lanes.feed(lane), self.lanes.reader(lane).kind());
        let lag = options.lag.unwrap_or(feed.retention().lag);
        let Subscribed { cursor, gap } = feed.place(self.lanes.reader(lane), &options.from);
        let member = self.lanes.join(lane, Member { conn: key, subscription: 0 });
        let subscription = Subscription::new((lane, member), cursor, options.mode, lag);
        self.conns[key as usize].delivery.subscribe(subscription);
        self.begin_role(key, Role::Subscriber(kind));
        match gap {
            Some(gap) => self.begin_after_gap(key, lane, lag, gap),
            None => self.flush(key),
        }
    }

    /// A position that is gone is answered honestly: with a notice where the form shows one or the
    /// subscriber chose to skip, else with a close that names what is missing.
    fn begin_after_gap(&mut self, key: u32, lane: u32, lag: LagPolicy, gap: Gap) {
        self.metrics.resumes_after_gap.add(1);
        self.metrics.gap_frames.add(gap.frames());
        if self.lanes.reader(lane).kind().shows_notices() || lag != LagPolicy::Disconnect {
            self.conns[key as usize].delivery.tell(&self.lanes, lane, gap);
            return self.flush(key);
        }
        let word = gap.reason.word();
        let reason = format!("{word}: missed {}-{}: use from=oldest", gap.from, gap.to);
        self.close(key, &Close::new(CloseCode::Lagged, reason));
    }

    /// What a client's lane holds: the form it asked for, deflated if that was agreed.
    fn lane_kind(&self, form: Form, handshake: &Handshake) -> LaneKind {
        let compression = &self.config.compression;
        let deflate = handshake.deflate.map(|agreed| Deflation {
            window_bits: agreed.server_window_bits(),
            level: compression.level,
            bytes_min: compression.bytes_min,
        });
        LaneKind { form, deflate }
    }

    pub(crate) fn open_lane(&mut self, name: &FeedName, kind: LaneKind) -> Result<u32, FeedError> {
        loop {
            let now_ns = self.now_ns();
            let feed = self.shared.registry.feed(name, now_ns)?;
            if let Some(lane) = self.lanes.find(&feed, kind) {
                self.lane_moved(lane);
            }
            // A feed retired between look-up and opening is gone from the registry: look again.
            if let Some(lane) = self.lanes.open(&feed, kind) {
                self.metrics.encoded(self.lanes.take_encodes(), 0);
                return Ok(lane);
            }
        }
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let status = match full {
            Full::SourceRate(_) => Status::TooManyRequests,
            Full::Engine(_) | Full::Source(_) | Full::Rate(_) => Status::Unavailable,
        };
        Self::new(status, full.to_string()).with_header("Retry-After", full.retry_after_s())
    }
}

impl From<FeedError> for Refusal {
    fn from(error: FeedError) -> Self {
        Self::new(Status::Unavailable, error.to_string()).with_header("Retry-After", "5")
    }
}
