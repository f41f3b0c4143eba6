//! `/v1/history`: answers what was published before, from what feeds keep and, where a store has
//! more, from there. Owns the pace of an answer: a slice a turn, and no more unsent bytes than a
//! connection may have. Must not know how an answer is written (that is `wire::history`), nor which
//! messages belong to it (that is `answer`).

pub mod answer;
pub mod mailbox;
pub mod page;
pub mod store;

use crate::core::conn::{Closing, Role};
use crate::core::flags::Flags;
use crate::core::history::answer::{Answer, Clocks, Step};
use crate::core::history::mailbox::Ticket;
use crate::core::history::page::{Page, StoreError};
use crate::core::wheel;
use crate::core::{Core, OUTBOX_BYTES_HELD};
use crate::feed::log::FeedName;
use crate::feed::topic::Target;
use crate::http::history::Question;
use crate::http::refusal::Refusal;
use crate::http::response::{Exchange, stream_head};
use crate::http::status::Status;
use crate::net::backend::Backend;
use crate::wire::chunked;

/// Pages of stores taken in in one turn: each is read in slices afterwards.
const PAGES_PER_TURN: usize = 64;

impl<B: Backend> Core<B> {
    pub(crate) fn begin_history(
        &mut self,
        key: u32,
        target: Target,
        question: Question,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        self.admit_work()?;
        let limits = &self.config.history;
        if question.limit.is_some_and(|limit| limit > limits.records_max) {
            let max = limits.records_max;
            let message = format!("option `limit`: {max} messages at most (history.records_max)");
            return Err(Refusal::bad(message));
        }
        let name = FeedName { target, rate: None };
        let feed = self.shared.registry.find(&name);
        let topic = name.target.topic().filter(|_| feed.is_none());
        let is_stored = topic.is_some_and(|topic| self.shared.stores.keeps(topic));
        if feed.is_none() && !is_stored {
            return Err(nothing_kept(&name.target));
        }
        let answer = Answer::new((name.target, feed), question, limits, exchange.clone());
        self.conns[key as usize].role = Role::History(Box::new(answer));
        self.continue_history(key);
        Ok(())
    }

    /// Sends the next slice of an answer, or asks a store for what comes next.
    pub(crate) fn continue_history(&mut self, key: u32) {
        let role = &mut self.conns[key as usize].role;
        if !matches!(role, Role::History(_)) {
            return;
        }
        let Role::History(mut answer) = std::mem::replace(role, Role::Request(None)) else {
            return;
        };
        let clocks = Clocks { now_ns: self.now_ns(), unix_ms: self.backend.unix_ms() };
        let mut body = Vec::new();
        let step = answer.step(&mut body, clocks, |topic| self.shared.stores.keeps(topic));
        self.metrics.history_records.add(std::mem::take(&mut answer.records_uncounted));
        self.send_slice(key, &mut answer, &body, matches!(step, Step::Done));
        match step {
            Step::Done => return self.end_history(key, &answer.exchange),
            Step::More => self.keep_pace(key),
            Step::Wait => {}
            Step::Ask(question) => {
                if let Err(error) = self.ask_store(key, &mut answer, question) {
                    return self.end_early(key, answer, &error);
                }
            }
        }
        self.conns[key as usize].role = Role::History(answer);
    }

    /// Sends a part of the body, behind the head if it is the first.
    fn send_slice(&mut self, key: u32, answer: &mut Answer, body: &[u8], is_last: bool) {
        let mut bytes = Vec::new();
        if !answer.has_begun && (is_last || !body.is_empty()) {
            answer.has_begun = true;
            let media_type = answer.format().media_type();
            bytes = stream_head(media_type, &answer.exchange, self.date());
        }
        if !body.is_empty() {
            chunked::chunk(&mut bytes, |out| out.extend_from_slice(body));
        }
        if is_last {
            chunked::end(&mut bytes);
        }
        self.conns[key as usize].delivery.push_private(&bytes);
    }

    /// Goes on in the next turn, or once the socket has taken what waits.
    fn keep_pace(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        match conn.unsent_bytes() > OUTBOX_BYTES_HELD {
            true => conn.flags.insert(Flags::READ_HELD),
            false => self.defer(key),
        }
    }

    /// The whole answer is on its way.
    fn end_history(&mut self, key: u32, exchange: &Exchange) {
        if !exchange.keep_alive {
            return self.send_last(key, b"", Closing::AwaitEnd);
        }
        let now = self.now;
        let conn = &mut self.conns[key as usize];
        conn.heard = now;
        conn.flags.insert(Flags::KEPT);
    }

    /// An answer cannot be finished: its client gets an error, or what there is and why it ends.
    fn end_early(&mut self, key: u32, mut answer: Box<Answer>, error: &StoreError) {
        if !answer.has_begun {
            let refusal = Refusal::new(Status::Unavailable, error.to_string());
            return self.refuse_request(
                key,
                &refusal.with_header("Retry-After", "1"),
                &answer.exchange,
            );
        }
        let mut body = Vec::new();
        answer.give_up(&mut body, &error.to_string());
        self.send_slice(key, &mut answer, &body, true);
        self.end_history(key, &answer.exchange);
        if answer.exchange.keep_alive {
            // It may have sent another request meanwhile.
            self.defer(key);
        }
    }

    fn ask_store(
        &mut self,
        key: u32,
        answer: &mut Answer,
        question: store::Question,
    ) -> Result<(), StoreError> {
        self.tickets += 1;
        let ticket = Ticket { conn: key, number: self.tickets };
        let mailbox = &self.shared.port(self.index).mailbox;
        let limits = &self.config.history;
        let asked =
            self.shared.stores.ask(question, (mailbox, ticket), limits.store_requests_max)?;
        answer.await_page(asked);
        let due = self.now + wheel::tick_of_ms(limits.store_ms_max).max(1);
        self.conns[key as usize].heard = self.now;
        self.set_due(key, due);
        Ok(())
    }

    /// Hands pages of stores to the answers that wait for them.
    pub(crate) fn take_pages(&mut self) {
        for _ in 0..PAGES_PER_TURN {
            let Some((ticket, page)) = self.shared.port(self.index).mailbox.take() else { return };
            self.take_page(ticket, page);
        }
    }

    /// Whether pages are left for the next turn.
    pub(crate) fn has_pages(&self) -> bool {
        !self.shared.port(self.index).mailbox.is_empty()
    }

    fn take_page(&mut self, ticket: Ticket, page: Result<Page, StoreError>) {
        let Some(conn) = self.conns.get_mut(ticket.conn as usize) else { return };
        let Role::History(answer) = &mut conn.role else { return };
        if !answer.awaits(ticket) {
            return;
        }
        match page {
            Ok(page) => {
                answer.take_page(page);
                self.defer(ticket.conn);
            }
            Err(error) => self.abandon_history(ticket.conn, &error),
        }
    }

    /// A store has taken too long.
    pub(crate) fn history_due(&mut self, key: u32) {
        let store_ms_max = self.config.history.store_ms_max;
        let due = self.now + wheel::tick_of_ms(store_ms_max).max(1);
        let conn = &self.conns[key as usize];
        let waited = self.now.saturating_sub(conn.heard) >= wheel::tick_of_ms(store_ms_max);
        match &conn.role {
            Role::History(answer) if answer.is_waiting() && waited => {
                let text = format!(
                    "the store has not answered within {store_ms_max} ms (history.store_ms_max)"
                );
                self.abandon_history(key, &StoreError::new(text));
            }
            _ => self.set_due(key, due),
        }
    }

    fn abandon_history(&mut self, key: u32, error: &StoreError) {
        let role = &mut self.conns[key as usize].role;
        if let Role::History(answer) = std::mem::replace(role, Role::Request(None)) {
            self.end_early(key, answer, error);
            self.queue_flush(key);
        }
    }
}

/// Why there is nothing to answer with.
fn nothing_kept(target: &Target) -> Refusal {
    let message = match target {
        Target::Topic(_) => "nothing is kept of this topic: nobody published to it lately",
        Target::Pattern(_) => {
            "nothing is kept of this pattern: it has a log only while somebody follows it. Ask for \
             its topics, one by one"
        }
    };
    Refusal::new(Status::NotFound, message)
}
