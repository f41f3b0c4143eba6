//! Acts on the HTTP requests of a connection and answers them. Must not decide when a connection is
//! read or flushed (that is `core`), nor parse requests (that is `http`).

use std::time::Duration;

use crate::auth::Credentials;
use crate::core::Core;
use crate::core::conn::{Closing, PostTarget, Role};
use crate::core::flags::Flags;
use crate::core::reading::Consumed;
use crate::feed::kind::{Form, LaneKind};
use crate::feed::log::FeedName;
use crate::feed::options::Options;
use crate::feed::registry::FeedError;
use crate::feed::topic::Target;
use crate::http::origin::Cors;
use crate::http::refusal::Refusal;
use crate::http::request::{Method, Request, empty_lines};
use crate::http::response::{Exchange, Response, event_stream_head};
use crate::http::route::{Route, Settings};
use crate::http::status::Status;
use crate::limits::admission::Full;
use crate::limits::memory::Level;
use crate::metrics::render::prometheus;
use crate::metrics::{CloseReason, Gate, TlsFailure};
use crate::net::backend::{Backend, Stream};
use crate::settings::config::Config;
use crate::wire::close::CloseCode;
use crate::wire::sse;

impl<B: Backend> Core<B> {
    pub(crate) fn consume_head(&mut self, key: u32, bytes: &[u8]) -> Consumed {
        let empty_bytes = empty_lines(bytes);
        if empty_bytes > 0 {
            return Consumed::Bytes(empty_bytes);
        }
        match Request::parse(bytes, self.config.limits.header_bytes_max) {
            Ok(None) => Consumed::Need(bytes.len() + 1),
            Ok(Some((request, _))) if request.publishes() && self.publishers_wait() => {
                self.pause_publisher(key);
                Consumed::Hold(0)
            }
            Ok(Some((mut request, head_bytes))) => {
                self.serve(key, &mut request);
                Consumed::Bytes(head_bytes)
            }
            Err(refusal) => {
                let cors = Cors::admit_unread(&self.config.security.origins, bytes);
                self.refuse_request(key, &refusal, &Exchange { cors, ..Exchange::default() });
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
            console: self.config.console.enabled,
            wall: self.config.wall.enabled,
        };
        let mut exchange = Exchange {
            head_only: request.method == Method::Head,
            // A connection that ends with its answer need not be closed by the drain.
            keep_alive: request.keeps_alive() && self.shared.is_ready() && !self.is_crowded(key),
            cors: Cors::None,
        };
        let excess = self.conns[key as usize].take_excess();
        let served = self
            .admit_page(request)
            .and_then(|cors| {
                exchange.cors = cors;
                excess.map_or(Ok(()), |full| Err(Refusal::from(full)))?;
                self.admit_forwarded(key, request)?;
                Route::of(request, settings)
            })
            .and_then(|route| {
                self.admit_crowded(key, &route)?;
                self.authorise(key, &route, &presented)?;
                self.serve_route(key, route, request, &exchange)
            });
        match served {
            Ok(()) => {}
            Err(refusal) if refusal.is_temporary() && request.is_of_event_source() => {
                self.end_with_retry(key, &refusal, &exchange);
            }
            Err(refusal) => self.refuse_request(key, &refusal, &exchange),
        }
    }

    /// An `EventSource` reconnects after a stream that ends, but gives up for good at any status
    /// but 200: so it gets a stream that ends at once and says how long to wait.
    fn end_with_retry(&mut self, key: u32, refusal: &Refusal, exchange: &Exchange) {
        self.metrics.refused(refusal.status);
        let drain_ms = if self.shared.is_draining() { self.config.drain.deadline_ms } else { 0 };
        let delay_ms = drain_ms + self.shared.reconnect_ms(key);
        let code = if drain_ms > 0 { CloseCode::Draining } else { CloseCode::OverCapacity };
        let mut bytes = event_stream_head(&exchange.cors, self.date());
        sse::retry(&mut bytes, delay_ms);
        sse::close(&mut bytes, code.code(), &refusal.message);
        sse::end(&mut bytes);
        self.send_last(key, &bytes, Closing::AwaitEnd);
    }

    fn admit_forwarded(&mut self, key: u32, request: &Request) -> Result<(), Refusal> {
        let Some(header) = request.headers.x_forwarded_for.as_deref() else { return Ok(()) };
        self.take_forwarded(key, header).map_err(|full| {
            self.metrics.turned_away(full.gate());
            full.into()
        })
    }

    /// In the reserve of descriptors only probes are served: a healthy engine that is full must
    /// not be taken for a dead one.
    fn admit_crowded(&self, key: u32, route: &Route) -> Result<(), Refusal> {
        if route.is_for_operators() || !self.is_crowded(key) {
            return Ok(());
        }
        let full = Full::Descriptors(self.room.connections);
        self.metrics.turned_away(full.gate());
        Err(full.into())
    }

    /// Whether the page a request comes from may use the engine, and what its browser is told.
    fn admit_page(&self, request: &Request) -> Result<Cors, Refusal> {
        if !Route::is_for_pages(&request.path) {
            return Ok(Cors::None);
        }
        let admitted =
            Cors::admit(&self.config.security.origins, request.headers.origin.as_deref());
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
                self.admit_publishers()?;
                self.respond(key, &Response::text(Status::Ok, "ready\n"), exchange);
            }
            Route::Probe => {
                self.admit_work()?;
                self.respond(key, &Response::text(Status::Ok, ""), exchange);
            }
            Route::Metrics => self.send_metrics(key, request, exchange),
            Route::Status | Route::Topics(_) | Route::File(_) | Route::Drain => {
                self.serve_admin(key, &route, request, exchange)?;
            }
            Route::Allow(methods) => self.respond(key, &Response::allow(methods), exchange),
            Route::PublishOne { topic, kind, body } => {
                self.begin_post(key, PostTarget::One(topic, kind), (body, request), exchange)?;
            }
            Route::PublishMany { body } => {
                self.begin_post(key, PostTarget::Many, (body, request), exchange)?;
            }
            Route::History { target, question } => {
                self.begin_history(key, target, question, exchange)?;
            }
            Route::Poll { target, question } => {
                self.begin_poll(key, target, &question, exchange)?;
            }
            Route::FeedSocket { target, options, handshake } => {
                self.admit_work()?;
                let name = FeedName { target, rate: options.rate };
                let handshake = self.with_deflate(handshake, request);
                let kind = self.lane_kind(Form::Raw, &handshake);
                let lane = self.open_lane(key, &name, kind, &options.from)?;
                self.accept_upgrade(key, &handshake);
                self.subscribe(key, lane, options);
            }
            Route::FeedEvents { target, options } => {
                self.begin_events(key, target, options, exchange)?;
            }
            Route::Multiplexed { form, hello, handshake } => {
                self.admit_work()?;
                let handshake = self.with_deflate(handshake, request);
                let kind = self.lane_kind(form, &handshake);
                let guest = self.admit_guest(key)?;
                self.begin_multiplexed(key, (kind, guest), &handshake, hello);
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

    fn begin_events(
        &mut self,
        key: u32,
        target: Target,
        options: Options,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        self.admit_work()?;
        let name = FeedName { target, rate: options.rate };
        let lane = self.open_lane(key, &name, LaneKind::SSE, &options.from)?;
        let mut head = event_stream_head(&exchange.cors, self.date());
        sse::begin(&mut head, self.shared.retry_ms(key));
        self.conns[key as usize].delivery.push_private(&head);
        self.watch_for_loss(key);
        self.subscribe(key, lane, options);
        Ok(())
    }

    /// Has the kernel notice when the client of an event stream is gone without a word: it answers
    /// no pings, but all it is sent has to be acknowledged, heartbeats at least. How long a socket
    /// may stall is for another limit to say.
    fn watch_for_loss(&mut self, key: u32) {
        let Config { keepalive, flush, .. } = &*self.config;
        let patience_ms = keepalive.idle_timeout_ms.max(flush.lag_age_ms_max);
        let stream = self.conns[key as usize].transport.stream_mut();
        if let Err(error) = stream.fail_after(Duration::from_millis(patience_ms)) {
            tracing::debug!(%error, "a lost client of an event stream will be noticed late");
        }
    }

    fn send_metrics(&mut self, key: u32, request: &Request, exchange: &Exchange) {
        let text = self.shared.render_metrics();
        let response = match request.wants_open_metrics() {
            true => Response::metrics(text, true),
            false => Response::metrics(prometheus(&text), false),
        };
        self.respond(key, &response, exchange);
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
        Err(Refusal::not_ready())
    }

    /// Nor is the engine ready while what is published has nowhere to go.
    fn admit_publishers(&self) -> Result<(), Refusal> {
        self.admit_work()?;
        match self.shared.submission.is_ready(self.now_ns()) {
            true => Ok(()),
            false => Err(FeedError::Unavailable.into()),
        }
    }

    /// The date that a response of this moment carries.
    pub(crate) fn date(&mut self) -> &str {
        self.date.at(self.backend.unix_ms() / 1000)
    }

    pub(crate) fn respond(&mut self, key: u32, response: &Response<'_>, exchange: &Exchange) {
        let bytes = response.encode(exchange, self.date());
        self.send_response(key, &bytes, exchange.keep_alive);
    }

    /// Sends the bytes of a response; `keep_alive` says whether another may follow.
    pub(crate) fn send_response(&mut self, key: u32, bytes: &[u8], keep_alive: bool) {
        if !keep_alive {
            return self.send_last(key, bytes, Closing::AwaitEnd);
        }
        let heard = self.now;
        let conn = &mut self.conns[key as usize];
        conn.heard = heard;
        conn.flags.insert(Flags::KEPT);
        conn.delivery.push_private(bytes);
    }

    pub(crate) fn refuse_request(&mut self, key: u32, refusal: &Refusal, exchange: &Exchange) {
        self.metrics.refused(refusal.status);
        let bytes = refusal.encode(exchange, self.date());
        self.send_last(key, &bytes, Closing::AwaitEnd);
    }

    /// Has a connection that is one too many told so: once it has asked for something, because how
    /// depends on what that is.
    pub(crate) fn refuse(&mut self, key: u32, full: Full) {
        self.metrics.turned_away(full.gate());
        self.conns[key as usize].extras().excess = Some(full);
        self.queue_read(key);
    }

    /// Answers a client that speaks plain HTTP to a TLS port in plain HTTP.
    pub(crate) fn refuse_plain_http(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.transport.failure() == Some(TlsFailure::NotTls) {
            let message = "this port speaks TLS: use https:// or wss://";
            let refusal = Refusal::new(Status::BadRequest, message);
            self.metrics.refused(refusal.status);
            let date = self.date.at(self.backend.unix_ms() / 1000);
            conn.transport.write_past(&refusal.encode(&Exchange::default(), date));
        }
    }

    /// How a request that did not become whole is answered.
    pub(crate) fn take_exchange(&mut self, key: u32) -> Exchange {
        match &mut self.conns[key as usize].role {
            Role::Request(Some(posting)) => std::mem::take(&mut posting.exchange),
            Role::Poll(waiting) => std::mem::take(&mut waiting.exchange),
            _ => {
                let head = self.conns[key as usize].rest.bytes();
                let cors = Cors::admit_unread(&self.config.security.origins, head);
                Exchange { cors, ..Exchange::default() }
            }
        }
    }

    /// A request that did not arrive in time. A connection that never began one just ends.
    pub(crate) fn request_timed_out(&mut self, key: u32, ms_max: u64) {
        if let Some(full) = self.conns[key as usize].take_excess() {
            // It asked for nothing: then the status is as good as any.
            return self.refuse_request(key, &full.into(), &Exchange::default());
        }
        if !self.conns[key as usize].has_begun_request() {
            return self.end(key, CloseReason::Timeout);
        }
        let exchange = self.take_exchange(key);
        let message = format!("the request was not complete within {ms_max} ms");
        let refusal = Refusal::new(Status::RequestTimeout, message);
        self.refuse_request(key, &refusal, &exchange);
    }
}

impl Refusal {
    /// 503, while nothing new is taken on.
    #[must_use]
    pub fn not_ready() -> Self {
        let message = "not ready: starting or draining";
        Self::new(Status::Unavailable, message).with_header("Retry-After", "1")
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let status = match full {
            Full::SourceRate(_) => Status::TooManyRequests,
            Full::Engine(_) | Full::Descriptors(_) | Full::Source(_) | Full::Rate(_) => {
                Status::Unavailable
            }
        };
        Self::new(status, full.to_string()).with_header("Retry-After", full.retry_after_s())
    }
}

impl From<FeedError> for Refusal {
    fn from(error: FeedError) -> Self {
        Self::new(Status::Unavailable, error.to_string()).with_header("Retry-After", "5")
    }
}
