//! Stores: what keeps messages for longer than the engine does. Owns the seam between a core that
//! answers about the past and the thread of a bridge that looks it up: questions one way, pages the
//! other, and how many may be under way. A core never waits for a store. Must not know databases.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::core::history::mailbox::{Mailbox, Ticket};
pub use crate::core::history::page::{Page, Row, StoreError};
use crate::feed::epoch::Position;
use crate::feed::topic::Topic;

/// Rows that are asked for at once.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Bytes of payload after which a page ends.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

/// Something that keeps messages for longer than the engine. All calls are made on the thread of a
/// core and must return at once: what a question needs is done elsewhere.
pub trait HistoryStore: Send + Sync {
    /// Whether messages of this topic are stored, and can be looked up now.
    fn keeps(&self, topic: &Topic) -> bool;

    /// Takes a question on, which is answered once, later and from any thread, by `reply`.
    ///
    /// # Errors
    /// The question cannot be taken on; the client is told why.
    fn ask(&self, question: Question, reply: Reply) -> Result<(), StoreError>;
}

/// A page of a topic's stored messages is wanted, in the order of their positions: by epoch, then
/// by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of which topic.
    pub topic: Topic,
    /// Only rows behind this position.
    pub after: Option<Position>,
    /// Only rows before this position: from there on the engine has them itself.
    pub before: Option<Position>,
    /// Only rows of this instant or later ones, ms of UTC since 1970.
    pub from_ms: Option<u64>,
    /// Only rows of this instant or earlier ones.
    pub to_ms: Option<u64>,
    /// Rows at most.
    pub rows_max: u32,
    /// Bytes of payload after which the page ends; it has at least one row if there is any.
    pub bytes_max: usize,
}

/// The way back to whoever asked. Dropped without an answer it says that there was none.
#[derive(Debug)]
pub struct Reply {
    mailbox: Arc<Mailbox>,
    ticket: Ticket,
    given_up: Arc<AtomicBool>,
    is_sent: bool,
    _place: Place,
}

impl Reply {
    /// Answers. Never blocks.
    pub fn send(mut self, page: Result<Page, StoreError>) {
        self.is_sent = true;
        self.mailbox.put(self.ticket, page);
    }

    /// True when nobody waits for the answer any more.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_sent {
            self.mailbox.put(self.ticket, Err(StoreError::new("the store gave no answer")));
        }
    }
}

/// A question that somebody waits for. Dropped, it is given up.
#[derive(Debug)]
pub struct Asked {
    /// Under which its answer comes.
    pub ticket: Ticket,
    given_up: Arc<AtomicBool>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// A place among the questions that may be under way.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(asked: &Arc<AtomicUsize>, places: usize) -> Option<Self> {
        let place = Self(Arc::clone(asked));
        // The count includes this one; a place that is too much is given back at once.
        (asked.fetch_add(1, Ordering::Relaxed) < places).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The stores of an engine.
#[derive(Default)]
pub struct Stores {
    all: RwLock<Vec<Arc<dyn HistoryStore>>>,
    asked: Arc<AtomicUsize>,
}

impl Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Stores {
    /// Has `store` asked for what it keeps and no earlier one does.
    pub fn add(&self, store: Box<dyn HistoryStore>) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).push(store.into());
    }

    /// Whether a store keeps this topic.
    pub(crate) fn keeps(&self, topic: &Topic) -> bool {
        self.of(topic).is_some()
    }

    /// Asks the store that keeps the topic; the answer comes to `mailbox` under `ticket`.
    pub(crate) fn ask(
        &self,
        question: Question,
        (mailbox, ticket): (&Arc<Mailbox>, Ticket),
        places: usize,
    ) -> Result<Asked, StoreError> {
        let store = self.of(&question.topic);
        let store = store.ok_or(StoreError::new("the store is not connected"))?;
        let place = Place::take(&self.asked, places).ok_or_else(|| {
            let text =
                "as many questions as may be are with the store (history.store_requests_max)";
            StoreError::new(text)
        })?;
        let given_up = Arc::new(AtomicBool::new(false));
        let reply = Reply {
            mailbox: Arc::clone(mailbox),
            ticket,
            given_up: Arc::clone(&given_up),
            is_sent: false,
            _place: place,
        };
        store.ask(question, reply)?;
        Ok(Asked { ticket, given_up })
    }

    fn of(&self, topic: &Topic) -> Option<Arc<dyn HistoryStore>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|store| store.keeps(topic)).cloned()
    }
}
