//! Letters: what a core is told of messages that its connections put into a log. Owns how each
//! publisher is answered, and that it is read again. Must not submit anything.

use std::sync::Arc;

use crate::core::Core;
use crate::core::conn::{Conn, Posting, Role};
use crate::core::flags::Flags;
use crate::core::submission::{About, Completed, Letter, Refused, Reply};
use crate::feed::registry::FeedError;
use crate::frame::Kind;
use crate::http::refusal::Refusal;
use crate::net::backend::Backend;
use crate::wire::close::{Close, CloseCode};
use crate::wire::command::Id;

/// Letters that are read in one turn, and for how long.
const LETTERS_PER_TURN: usize = 512;
const READING_NS: u64 = 1_000_000;

impl<B: Backend> Core<B> {
    /// Takes what is in the letterbox.
    pub(crate) fn take_letters(&mut self) {
        self.shared.port(self.index).letterbox.take_into(&mut self.letters);
    }

    /// Reads some of the letters; the others have their turn in the next ones.
    pub(crate) fn read_letters(&mut self) {
        if self.letters.is_empty() {
            return;
        }
        let end_ns = self.now_ns() + READING_NS;
        for _ in 0..LETTERS_PER_TURN {
            let Some(letter) = self.letters.pop_front() else { return };
            self.read_letter(letter);
            if self.now_ns() >= end_ns {
                return;
            }
        }
    }

    fn read_letter(&mut self, letter: Letter) {
        let Letter { conn: key, window, about } = letter;
        let is_its = |conn: &&mut Conn<B::Stream>| {
            let own = conn.extras.as_ref().and_then(|extras| extras.window.as_ref());
            own.is_some_and(|own| Arc::ptr_eq(own, &window))
        };
        // Another one may have the key by now.
        let Some(conn) = self.conns.get_mut(key as usize).filter(is_its) else { return };
        match about {
            About::Room => {}
            About::Refused(refused) => {
                window.has_been_refused();
                self.refuse_publisher(key, refused);
            }
            About::Answer { reply, bytes, outcome } => {
                window.give_back(bytes);
                if matches!(reply, Reply::Command(Some(_))) {
                    conn.extras().awaited -= 1;
                }
                self.answer_publisher(key, reply, outcome);
            }
        }
        self.go_on(key);
    }

    /// A publisher that hears of nothing but this.
    fn refuse_publisher(&mut self, key: u32, refused: Refused) {
        if matches!(self.conns[key as usize].role, Role::Publisher(_)) {
            let reason = FeedError::from(refused).to_string();
            self.close(key, &Close::new(CloseCode::OverCapacity, reason));
        }
    }

    fn answer_publisher(&mut self, key: u32, reply: Reply, outcome: Result<Completed, Refused>) {
        match reply {
            Reply::Post(kind) => self.answer_post(key, kind, outcome),
            Reply::Line(line) => self.note_line(key, line, outcome),
            Reply::Command(id) => self.answer_command(key, id.as_ref(), outcome),
            Reply::Silence | Reply::Call(_) => {}
        }
    }

    fn answer_post(&mut self, key: u32, kind: Kind, outcome: Result<Completed, Refused>) {
        let conn = &mut self.conns[key as usize];
        let Role::Request(Some(posting)) = &mut conn.role else { return };
        let exchange = std::mem::take(&mut posting.exchange);
        conn.role = Role::Request(None);
        match outcome {
            Ok(Completed { position, subscribers }) => {
                let response = Posting::answer(position, subscribers, kind);
                self.respond(key, &response, &exchange);
                self.queue_flush(key);
            }
            Err(refused) => self.refuse_request(key, &refused.into(), &exchange),
        }
    }

    fn note_line(&mut self, key: u32, line: u64, outcome: Result<Completed, Refused>) {
        let Role::Request(Some(posting)) = &mut self.conns[key as usize].role else { return };
        let Some(batch) = &mut posting.batch else { return };
        batch.awaited -= 1;
        match outcome {
            Ok(_) => batch.done += 1,
            Err(refused) => batch.fail(line, refused.into()),
        }
    }

    fn answer_command(&mut self, key: u32, id: Option<&Id>, outcome: Result<Completed, Refused>) {
        if !matches!(self.conns[key as usize].role, Role::Multiplexed(_)) {
            return;
        }
        match (id, outcome) {
            (_, Err(refused)) => self.send_error(key, id, &FeedError::from(refused).into()),
            (Some(id), Ok(completed)) => self.send_published(key, id, completed),
            (None, Ok(_)) => {}
        }
        self.queue_flush(key);
    }

    /// Has a connection read again that waited for the log, unless it has to wait on.
    fn go_on(&mut self, key: u32) {
        let has_answers_due = self.conns.contains(key as usize) && self.has_answers_due(key);
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if !conn.flags.contains(Flags::AWAITS_LOG) {
            return;
        }
        let is_full = conn.window().is_full();
        let waits_on = match &conn.role {
            Role::Request(Some(posting)) => match &posting.batch {
                Some(batch) if batch.is_read => batch.awaited > 0,
                Some(_) => is_full,
                None => true,
            },
            _ => is_full || conn.flags.contains(Flags::ENDED) && has_answers_due,
        };
        if waits_on {
            return;
        }
        conn.flags.remove(Flags::AWAITS_LOG);
        conn.heard = self.now;
        match conn.has_batch() {
            // Nothing else of it may be read before its lines are through.
            true => self.defer(key),
            false => self.answered.push_back(key),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        FeedError::from(refused).into()
    }
}
