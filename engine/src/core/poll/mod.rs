//! `/v1/poll`: answers what has come since a position, or waits for the next of it. Whoever waits
//! is a member of the feed's lane like any subscriber, so that a frame costs no more for it;
//! instead of the frame's bytes it is sent an answer. Owns when that is. Must not know what is in
//! it (that is `answer`).

pub mod answer;
pub mod waiting;

use std::sync::Arc;

use crate::auth::Denied;
use crate::core::Core;
use crate::core::conn::Role;
use crate::core::history::answer::Clocks;
use crate::core::poll::answer::{Answer, Ask};
use crate::core::poll::waiting::Waiting;
use crate::core::wheel;
use crate::delivery::flush::FlushState;
use crate::delivery::subscriptions::Subscription;
use crate::delivery::sweep::Member;
use crate::feed::gap::Gap;
use crate::feed::kind::LaneKind;
use crate::feed::log::{Feed, FeedName};
use crate::feed::options::{LagPolicy, Mode};
use crate::feed::placed::Subscribed;
use crate::feed::topic::Target;
use crate::http::poll::Question;
use crate::http::refusal::Refusal;
use crate::http::response::{Exchange, sized_head};
use crate::metrics;
use crate::net::backend::Backend;

impl<B: Backend> Core<B> {
    pub(crate) fn begin_poll(
        &mut self,
        key: u32,
        target: Target,
        question: &Question,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        self.admit_work()?;
        let (limit, wait_ms) = self.bounds_of(question)?;
        let name = FeedName { target, rate: None };
        let lane = self.open_lane(key, &name, LaneKind::RAW, &question.from)?;
        let reader = self.lanes.reader(lane);
        let (feed, head_ordinal) = (Arc::clone(self.lanes.feed(lane)), reader.head().ordinal);
        let placed = feed.place(reader, &question.from);
        let ask = Ask { ordinal: placed.cursor.ordinal, limit, format: question.format };
        let is_due = placed.gap.is_some() || placed.cursor.ordinal < head_ordinal;
        if !is_due && wait_ms > 0 {
            let due = self.now + wheel::tick_of_ms(wait_ms).max(1);
            let (exchange, ahead) = (exchange.clone(), placed.ahead);
            let waiting = Waiting { exchange, due, limit, format: ask.format, ahead };
            self.await_next(key, lane, &placed, waiting);
            return Ok(());
        }
        if let Some(gap) = placed.gap {
            self.metrics.resumes_after_gap.add(1);
            self.metrics.gap_frames.add(gap.frames_known());
        }
        let answer = match placed.ahead {
            Some(position) => Answer::empty(position, ask.format),
            None => self.answer_of(&feed, ask, placed.gap, head_ordinal),
        };
        let now_ns = self.now_ns();
        self.lanes.close_if_unused(lane, now_ns);
        self.send_poll(key, &answer, exchange);
        if placed.gap.is_none() && placed.ahead.is_none() {
            self.polled.put(&feed, ask, answer);
        }
        Ok(())
    }

    /// How many messages, and how long a wait.
    fn bounds_of(&self, question: &Question) -> Result<(u64, u64), Refusal> {
        let (limits, Question { limit, wait_ms, .. }) = (&self.config.poll, question);
        let (records_max, wait_ms_max) = (limits.records_max, limits.wait_ms_max);
        if limit.is_some_and(|limit| limit > records_max) {
            let message = format!("option `limit`: {records_max} at most (poll.records_max)");
            return Err(Refusal::bad(message));
        }
        if wait_ms.is_some_and(|wait_ms| wait_ms > wait_ms_max) {
            let message = format!("option `wait`: {wait_ms_max} ms at most (poll.wait_ms_max)");
            return Err(Refusal::bad(message));
        }
        Ok((limit.unwrap_or(records_max), wait_ms.unwrap_or(wait_ms_max)))
    }

    /// Makes a connection a member of a lane that was just opened for it.
    fn await_next(&mut self, key: u32, lane: u32, placed: &Subscribed, waiting: Waiting) {
        let member = self.lanes.join(lane, Member { conn: key, subscription: 0 });
        if let Some(position) = placed.ahead {
            self.begin_behind(key, lane, position);
        }
        let (mode, lag) = (Mode::Lossless, LagPolicy::Disconnect);
        let subscription = Subscription::new((lane, member), placed.cursor, mode, lag);
        let due = waiting.due;
        self.metrics.role_began(metrics::Role::Poll);
        let conn = &mut self.conns[key as usize];
        conn.delivery.wait_at(subscription);
        conn.role = Role::Poll(Box::new(waiting));
        self.set_due(key, due);
    }

    /// Answers whoever waits and whose feed has moved. Where all that came is what it has, it waits
    /// on.
    pub(crate) fn poll_moved(&mut self, key: u32) {
        let subscriptions = self.conns[key as usize].delivery.subscriptions();
        if subscriptions.first().is_some_and(|own| !own.is_caught_up(&self.lanes)) {
            self.end_wait_for_next(key, None);
        }
    }

    /// Answers whoever waits, however little there is: nothing and where to go on, or that a gap
    /// lies before what comes.
    pub(crate) fn end_wait_for_next(&mut self, key: u32, gap: Option<Gap>) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let Some(own) = conn.delivery.subscriptions().first().copied() else { return };
        if !matches!(conn.role, Role::Poll(_)) {
            return;
        }
        let role = std::mem::replace(&mut conn.role, Role::Request(None));
        let Role::Poll(waiting) = role else { return };
        self.metrics.role_ended(metrics::Role::Poll);
        let (feed, head) =
            (Arc::clone(self.lanes.feed(own.lane)), self.lanes.reader(own.lane).head());
        self.unsubscribe(key);
        let Waiting { exchange, limit, format, ahead, .. } = *waiting;
        let ask = Ask { ordinal: own.cursor.ordinal, limit, format };
        let has_nothing = gap.is_none() && own.cursor.ordinal == head.ordinal;
        let answer = match ahead.filter(|_| has_nothing) {
            Some(position) => Answer::empty(position, format),
            None => self.answer_of(&feed, ask, gap, head.ordinal),
        };
        self.send_poll(key, &answer, &exchange);
        if gap.is_none() && !has_nothing {
            self.polled.put(&feed, ask, answer);
        }
        self.go_on_after(key);
    }

    /// It may have sent another request meanwhile; and it has as long for one as after any answer.
    fn go_on_after(&mut self, key: u32) {
        let idle = wheel::tick_of_ms(self.config.keepalive.http_idle_timeout_ms);
        let conn = &self.conns[key as usize];
        if matches!(conn.role, Role::Closing(_)) {
            return;
        }
        let (state, has_more) = (conn.delivery.state(), !conn.rest.is_empty());
        self.set_due(key, self.now + idle);
        if has_more {
            self.defer(key);
        }
        if state != FlushState::Blocked {
            self.flush(key);
        }
    }

    fn answer_of(
        &mut self,
        feed: &Arc<Feed>,
        ask: Ask,
        gap: Option<Gap>,
        head_ordinal: u64,
    ) -> Answer {
        if gap.is_none()
            && let Some(answer) = self.polled.take(feed, ask, head_ordinal)
        {
            return answer;
        }
        let clocks = Clocks { now_ns: self.now_ns(), unix_ms: self.backend.unix_ms() };
        Answer::of(feed, ask, gap, self.config.poll.bytes_max, clocks)
    }

    fn send_poll(&mut self, key: u32, answer: &Answer, exchange: &Exchange) {
        self.metrics.polls_answered.add(1);
        self.metrics.poll_records.add(answer.records);
        let tag = format!("\"{}\"", answer.next);
        let mut bytes = sized_head(answer.format, (answer.body.len(), &tag), exchange, self.date());
        bytes.extend_from_slice(&answer.body);
        self.send_response(key, &bytes, exchange.keep_alive);
    }

    /// The rights of whoever waits are over: it is told as the next request would be.
    pub(crate) fn refuse_waiting(&mut self, key: u32) {
        let exchange = self.take_exchange(key);
        self.refuse_request(key, &Denied::Expired.into(), &exchange);
    }

    /// The engine drains: whoever waits is answered, and asks another engine next.
    pub(crate) fn drain_waiting(&mut self, key: u32) {
        if let Role::Poll(waiting) = &mut self.conns[key as usize].role {
            waiting.exchange.keep_alive = false;
            self.end_wait_for_next(key, None);
        }
    }
}
