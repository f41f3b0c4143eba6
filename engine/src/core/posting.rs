//! Publishing by POST: gathers the body, then publishes it as one message or line by line. Owns the
//! replies. Must not parse lines (that is `wire::command`) or frame bodies (that is `http::body`).

use crate::core::Core;
use crate::core::conn::{Batch, PostTarget, Posting, Role};
use crate::core::flags::Flags;
use crate::core::publishing::Outcome;
use crate::core::reading::Consumed;
use crate::core::submission::Reply;
use crate::core::wheel;
use crate::feed::epoch::Position;
use crate::feed::message::Message;
use crate::feed::published::Published;
use crate::feed::topic::Topic;
use crate::frame::Kind;
use crate::http::body::Body;
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::http::response::{CONTINUE, Exchange, Response};
use crate::http::status::Status;
use crate::limits::rate::TokenBucket;
use crate::net::backend::Backend;
use crate::wire::command::CommandError;

impl<B: Backend> Core<B> {
    pub(crate) fn begin_post(
        &mut self,
        key: u32,
        target: PostTarget,
        (body, request): (Body, &Request),
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        self.admit_work()?;
        let now = self.now;
        let due = now + wheel::tick_of_ms(self.config.limits.body_ms_max);
        let conn = &mut self.conns[key as usize];
        if request.expects_continue() {
            conn.delivery.push_private(CONTINUE);
        }
        let posting = Posting { target, body, exchange: exchange.clone(), batch: None };
        conn.role = Role::Request(Some(Box::new(posting)));
        conn.heard = now;
        self.set_due_earlier(key, due);
        // A body of no bytes is complete now: nothing more will come to say so.
        self.consume_body(key, &[]);
        Ok(())
    }

    pub(crate) fn consume_body(&mut self, key: u32, bytes: &[u8]) -> Consumed {
        let Role::Request(Some(posting)) = &mut self.conns[key as usize].role else {
            return Consumed::Rest;
        };
        let progress = match posting.body.read(bytes) {
            Ok(progress) => progress,
            Err(refusal) => {
                let exchange = self.take_exchange(key);
                self.refuse_request(key, &refusal, &exchange);
                return Consumed::Rest;
            }
        };
        if !progress.is_complete {
            if progress.consumed == 0 {
                return Consumed::Need(bytes.len() + 1);
            }
            return Consumed::Bytes(progress.consumed);
        }
        self.end_post(key);
        Consumed::Bytes(progress.consumed)
    }

    fn end_post(&mut self, key: u32) {
        let role = &mut self.conns[key as usize].role;
        let Role::Request(Some(posting)) = role else { return };
        let PostTarget::One(topic, kind) = posting.target.clone() else {
            posting.batch = Some(Batch::new(posting.body.take_bytes()));
            return self.post_lines(key);
        };
        let payload = posting.body.take_bytes();
        let posted = self.post_one(key, &topic, kind, &payload);
        if matches!(posted, Ok(None)) {
            // It is answered when the log has it.
            return self.await_log(key);
        }
        let role = &mut self.conns[key as usize].role;
        let Role::Request(Some(posting)) = std::mem::replace(role, Role::Request(None)) else {
            return;
        };
        match posted {
            Ok(Some(response)) => self.respond(key, &response, &posting.exchange),
            Ok(None) => {}
            Err(refusal) => self.refuse_request(key, &refusal, &posting.exchange),
        }
    }

    /// Publishes some of the lines of a POST, and answers it after the last one. The others wait
    /// until subscribers, and everybody else, have had their turn.
    pub(crate) fn post_lines(&mut self, key: u32) {
        let Role::Request(Some(posting)) = &mut self.conns[key as usize].role else { return };
        let Some(mut batch) = posting.batch.take() else { return };
        while self.take_command() && !self.conns[key as usize].flags.contains(Flags::AWAITS_LOG) {
            if self.publishers_wait() {
                self.pause_publisher(key);
                break;
            }
            let Some((number, line)) = batch.next_line() else {
                if batch.awaited == 0 {
                    return self.end_lines(key, batch);
                }
                batch.is_read = true;
                self.await_log(key);
                break;
            };
            match self.post_line(key, number, line) {
                Ok(Outcome::Published(_)) => batch.done += 1,
                Ok(Outcome::Submitted) => batch.awaited += 1,
                Err(refusal) => batch.fail(number, refusal),
            }
        }
        if !self.conns[key as usize].flags.contains(Flags::AWAITS_LOG) {
            self.defer(key);
        }
        if let Role::Request(Some(posting)) = &mut self.conns[key as usize].role {
            posting.batch = Some(batch);
        }
    }

    fn post_line(&mut self, key: u32, number: u64, line: &[u8]) -> Result<Outcome, Refusal> {
        let mut parser = std::mem::take(&mut self.commands);
        let parsed = parser.publish(line).map_err(refuse_line);
        let posted = parsed.and_then(|publish| {
            let message = Message::of_client(publish.kind, &publish.payload);
            self.post(key, &publish.topic, message, Reply::Line(number))
        });
        self.commands = parser;
        posted
    }

    /// Every line that could be published was; the answer counts both kinds and names the first
    /// error.
    fn end_lines(&mut self, key: u32, batch: Batch) {
        let role = &mut self.conns[key as usize].role;
        let Role::Request(Some(posting)) = std::mem::replace(role, Role::Request(None)) else {
            return;
        };
        let Batch { done, failed, first, .. } = batch;
        let mut reply = serde_json::json!({ "published": done, "failed": failed });
        let (mut status, mut headers) = (Status::Ok, Vec::new());
        if let Some((line, refusal)) = first {
            status = refusal.status;
            // The rest of its headers is about connections that are refused.
            headers.extend(refusal.headers.iter().filter(|(name, _)| *name == "Retry-After"));
            let (code, message) = (status.error_code(), &refusal.message);
            reply["error"] = serde_json::json!({ "code": code, "line": line, "message": message });
        }
        let response = Response { headers, ..Response::json(status, reply.to_string() + "\n") };
        self.respond(key, &response, &posting.exchange);
    }

    fn post_one(
        &mut self,
        key: u32,
        topic: &Topic,
        kind: Option<Kind>,
        payload: &[u8],
    ) -> Result<Option<Response<'static>>, Refusal> {
        let is_text = std::str::from_utf8(payload).is_ok();
        let kind = kind.unwrap_or(if is_text { Kind::Text } else { Kind::Binary });
        if kind == Kind::Text && !is_text {
            return Err(Refusal::bad("the body is declared as text but is not UTF-8"));
        }
        let posted = self.post(key, topic, Message::of_client(kind, payload), Reply::Post(kind))?;
        let Outcome::Published(Published { epoch, seq, subscribers, .. }) = posted else {
            return Ok(None);
        };
        Ok(Some(Posting::answer(Position { epoch, seq }, subscribers, kind)))
    }

    /// Publishes one message for a POST, within the rate of its connection.
    fn post(
        &mut self,
        key: u32,
        topic: &Topic,
        message: Message<'_>,
        reply: Reply,
    ) -> Result<Outcome, Refusal> {
        self.may_publish(key, topic)?;
        let now_ns = self.now_ns();
        let per_s = self.config.limits.publishes_per_s_max;
        let conn = &mut self.conns[key as usize];
        let rate = conn.extras().posts.get_or_insert_with(|| TokenBucket::new(per_s, now_ns));
        if !rate.take(now_ns) {
            let text = format!(
                "more than {per_s} messages a second on one connection (limits.publishes_per_s_max)"
            );
            return Err(too_many(text));
        }
        self.take_publish(key, now_ns).map_err(too_many)?;
        Ok(self.publish(key, (topic, message), || reply, now_ns)?)
    }
}

impl Posting {
    /// The answer to a POST of one message.
    pub(crate) fn answer(position: Position, subscribers: u64, kind: Kind) -> Response<'static> {
        let reply = serde_json::json!({
            "epoch": position.epoch.to_string(),
            "seq": position.seq,
            "subscribers": subscribers,
            "kind": if kind == Kind::Text { "text" } else { "binary" },
        });
        Response::json(Status::Ok, reply.to_string() + "\n")
    }
}

fn refuse_line(error: CommandError) -> Refusal {
    let status = match error {
        CommandError::EnginesTopic => Status::Forbidden,
        _ => Status::BadRequest,
    };
    Refusal::new(status, error.to_string())
}

fn too_many(text: String) -> Refusal {
    Refusal::new(Status::TooManyRequests, text).with_header("Retry-After", "1")
}
