//! Publishing by POST: gathers the body, then publishes it as one message or line by line. Owns the
//! replies. Must not parse lines (that is `wire::command`) or frame bodies (that is `http::body`).

use crate::core::Core;
use crate::core::conn::{PostTarget, Posting, Role};
use crate::core::reading::Consumed;
use crate::core::wheel;
use crate::feed::log::Published;
use crate::feed::message::Message;
use crate::feed::topic::Topic;
use crate::frame::Kind;
use crate::http::body::Body;
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::http::response::{CONTINUE, Exchange, Response};
use crate::http::status::Status;
use crate::limits::rate::TokenBucket;
use crate::net::backend::Backend;
use crate::wire::command;

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
        let posting = Posting { target, body, exchange: exchange.clone() };
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
        let Role::Request(Some(posting)) = std::mem::replace(role, Role::Request(None)) else {
            return;
        };
        let Posting { target, body, exchange } = *posting;
        let answer = match target {
            PostTarget::One(topic, kind) => self.post_one(key, &topic, kind, &body.into_bytes()),
            PostTarget::Many => Ok(self.post_many(key, &body.into_bytes())),
        };
        match answer {
            Ok(response) => self.respond(key, &response, &exchange),
            Err(refusal) => self.refuse_request(key, &refusal, &exchange),
        }
    }

    fn post_one(
        &mut self,
        key: u32,
        topic: &Topic,
        kind: Option<Kind>,
        payload: &[u8],
    ) -> Result<Response<'static>, Refusal> {
        let is_text = std::str::from_utf8(payload).is_ok();
        let kind = kind.unwrap_or(if is_text { Kind::Text } else { Kind::Binary });
        if kind == Kind::Text && !is_text {
            return Err(Refusal::bad("the body is declared as text but is not UTF-8"));
        }
        let published = self.post(key, topic, Message { kind, payload })?;
        let reply = serde_json::json!({
            "epoch": published.epoch.to_string(),
            "seq": published.seq,
            "subscribers": published.subscribers,
            "kind": if kind == Kind::Text { "text" } else { "binary" },
        });
        Ok(Response::json(Status::Ok, reply.to_string() + "\n"))
    }

    /// Every line that can be published is; the answer counts both kinds and names the first error.
    fn post_many(&mut self, key: u32, body: &[u8]) -> Response<'static> {
        let (mut done, mut failed, mut first) = (0_u64, 0_u64, None);
        for (line, parsed) in command::publishes(body) {
            let posted = parsed.map_err(|error| Refusal::bad(error.to_string()));
            let posted = posted.and_then(|publish| {
                let message = Message { kind: publish.kind, payload: &publish.payload };
                self.post(key, &publish.topic, message)
            });
            match posted {
                Ok(_) => done += 1,
                Err(refusal) => {
                    failed += 1;
                    first.get_or_insert((line, refusal));
                }
            }
        }
        let mut reply = serde_json::json!({ "published": done, "failed": failed });
        let mut status = Status::Ok;
        if let Some((line, refusal)) = first {
            status = refusal.status;
            let (code, message) = (status.error_code(), &refusal.message);
            reply["error"] = serde_json::json!({ "code": code, "line": line, "message": message });
        }
        Response::json(status, reply.to_string() + "\n")
    }

    /// Publishes one message for a POST, within the rate of its connection.
    fn post(
        &mut self,
        key: u32,
        topic: &Topic,
        message: Message<'_>,
    ) -> Result<Published, Refusal> {
        self.may_publish(key, topic)?;
        let now_ns = self.now_ns();
        let per_s = self.config.limits.publishes_per_s_max;
        let conn = &mut self.conns[key as usize];
        let rate = conn.posts.get_or_insert_with(|| Box::new(TokenBucket::new(per_s, now_ns)));
        if !rate.take(now_ns) {
            let text = format!(
                "more than {per_s} messages a second on one connection (limits.publishes_per_s_max)"
            );
            return Err(too_many(text));
        }
        self.take_publish(key, now_ns).map_err(too_many)?;
        let published = self.shared.registry.publish(topic, &mut None, message, now_ns)?;
        self.published(&published);
        Ok(published)
    }
}

fn too_many(text: String) -> Refusal {
    Refusal::new(Status::TooManyRequests, text).with_header("Retry-After", "1")
}
