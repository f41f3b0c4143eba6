//! Where stores put their answers for one core. Owns the way from any thread to the core's turn: a
//! queue that never blocks, and a knock on its doorbell. What is in it is bounded by the questions
//! that may be under way. Must not know who waits for an answer.

use std::sync::Arc;

use crossbeam::queue::SegQueue;

use crate::core::history::page::{Page, StoreError};
use crate::delivery::doorbell::Doorbell;

/// Which question of a core is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The connection that asked.
    pub conn: u32,
    /// Tells the question from any other of this core.
    pub number: u64,
}

/// See the file header.
#[derive(Debug)]
pub struct Mailbox {
    answers: SegQueue<(Ticket, Result<Page, StoreError>)>,
    doorbell: Arc<Doorbell>,
}

impl Mailbox {
    /// The mailbox of the core behind `doorbell`.
    pub fn new(doorbell: &Arc<Doorbell>) -> Self {
        Self { answers: SegQueue::new(), doorbell: Arc::clone(doorbell) }
    }

    /// Puts an answer in and wakes the core.
    pub fn put(&self, ticket: Ticket, answer: Result<Page, StoreError>) {
        self.answers.push((ticket, answer));
        self.doorbell.wake();
    }

    /// True when no answer is there.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The next answer. Only the core calls it.
    pub fn take(&self) -> Option<(Ticket, Result<Page, StoreError>)> {
        self.answers.pop()
    }
}
