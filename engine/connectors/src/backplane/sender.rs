//! What a node sends to a log: one batch is out until the log has acknowledged it; what comes
//! meanwhile waits in the engine and is the next. Owns the order, and what is sent again. Must not
//! know the log, or how long publishers are held (the engine does): time and acknowledgements in,
//! batches out.

use bytes::Bytes;

use crate::backplane::batch::{self, BatchId, Builder, Frame, Head, Note};

/// A batch that is out.
#[derive(Debug)]
struct Flight<T> {
    id: BatchId,
    bytes: Bytes,
    /// None when whoever waited was refused.
    ticket: Option<T>,
    attempts: u32,
    resend_at_ns: u64,
    /// The log has it, but may have it twice: the place of the first counts, and is not known yet.
    is_stored: bool,
}

/// A node's way into a log. `T` stands for whoever waits for a batch.
#[derive(Debug)]
pub struct Sender<T> {
    boot: u64,
    number: u64,
    previous: u64,
    previous_at: u64,
    builder: Builder,
    flight: Option<Flight<T>>,
    ack_timeout_ns: u64,
    /// Whether the log drops what is sent twice, so that its answer names the first.
    dedups: bool,
    is_up: bool,
    is_in_trouble: bool,
    resends: u64,
}

/// What a batch says of the moment in which it was made.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The epoch in force.
    pub epoch: u64,
    /// UTC.
    pub made_ms: u64,
    /// The clock of the sender.
    pub now_ns: u64,
}

/// A batch to send now.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Which one.
    pub id: BatchId,
    /// All of it.
    pub bytes: Bytes,
    /// 1 when it is sent for the first time.
    pub attempt: u32,
}

impl<T> Sender<T> {
    /// The sender of a node called `node` that has just begun, and is not connected. `dedups` says
    /// whether the log drops what is sent twice.
    #[must_use]
    pub fn new(boot: u64, node: &str, ack_timeout_ns: u64, dedups: bool) -> Self {
        Self {
            boot,
            number: 0,
            previous: 0,
            previous_at: 0,
            builder: Builder::new(node),
            flight: None,
            ack_timeout_ns,
            dedups,
            is_up: false,
            is_in_trouble: true,
            resends: 0,
        }
    }

    /// The life of the node, in its batches.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Whether the next batch may be loaded.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.is_up && self.flight.is_none()
    }

    /// Takes the frames of the next batch, and whoever waits for them. The caller has asked
    /// [`is_free`](Self::is_free), and takes no more frames than a batch holds. Answers which batch
    /// it is.
    pub fn load<'a>(
        &mut self,
        frames: impl Iterator<Item = Frame<'a>>,
        ticket: T,
        stamp: Stamp,
    ) -> BatchId {
        debug_assert!(self.is_free());
        frames.for_each(|frame| self.builder.push(&frame));
        self.number += 1;
        let id = BatchId { boot: self.boot, number: self.number };
        let (previous, previous_at) = (self.previous, self.previous_at);
        let Stamp { epoch, made_ms, now_ns } = stamp;
        let (missed, shards, note) = (0, 1, Note::Frames);
        let head = Head { id, previous, previous_at, missed, epoch, made_ms, shards, note };
        let bytes = self.builder.seal(&head);
        self.previous = batch::hash(&bytes);
        let ticket = Some(ticket);
        let flight =
            Flight { id, bytes, ticket, attempts: 0, resend_at_ns: now_ns, is_stored: false };
        self.flight = Some(flight);
        id
    }

    /// The batch that is to be sent now, if any.
    pub fn poll(&mut self, now_ns: u64) -> Option<Outgoing> {
        let flight = self.flight.as_mut().filter(|_| self.is_up)?;
        if flight.is_stored || flight.resend_at_ns > now_ns {
            return None;
        }
        if flight.attempts > 0 {
            self.resends += 1;
            self.is_in_trouble = true;
        }
        flight.attempts += 1;
        flight.resend_at_ns = now_ns + self.ack_timeout_ns;
        Some(Outgoing { id: flight.id, bytes: flight.bytes.clone(), attempt: flight.attempts })
    }

    /// When [`poll`](Self::poll) has something again, if nothing else happens.
    #[must_use]
    pub fn wake_at_ns(&self) -> Option<u64> {
        let flight = self.flight.as_ref().filter(|flight| self.is_up && !flight.is_stored)?;
        Some(flight.resend_at_ns)
    }

    /// The log has acknowledged a batch, which is in this place. Answers who waits for it, where
    /// that is certain.
    pub fn acknowledged(&mut self, id: BatchId, sequence: u64) -> Option<T> {
        let flight = self.flight.as_mut().filter(|flight| flight.id == id)?;
        self.is_in_trouble = false;
        if flight.attempts > 1 && !self.dedups {
            // It may stand there twice, and the answer named the second.
            flight.is_stored = true;
            return None;
        }
        self.previous_at = sequence;
        self.flight.take()?.ticket
    }

    /// A batch was read from this place of the log, which is as good as an acknowledgement of it.
    pub fn seen(&mut self, id: BatchId, sequence: u64) -> Option<T> {
        self.flight.as_ref().filter(|flight| flight.id == id)?;
        self.previous_at = sequence;
        self.is_in_trouble = false;
        self.flight.take()?.ticket
    }

    /// Whoever waits for the batch that is out: they are to be refused. It stays out, because it
    /// may be in the log, and the order rests on it.
    pub fn take_ticket(&mut self) -> Option<T> {
        self.flight.as_mut()?.ticket.take()
    }

    /// The connection is gone.
    pub fn went_down(&mut self) {
        self.is_up = false;
        self.is_in_trouble = true;
    }

    /// There is a connection: what is out is sent again.
    pub fn came_up(&mut self, now_ns: u64) {
        self.is_up = true;
        match &mut self.flight {
            // The trouble ends when this is acknowledged.
            Some(flight) => {
                flight.is_stored = false;
                flight.resend_at_ns = now_ns;
            }
            None => self.is_in_trouble = false,
        }
    }

    /// Whether the log does not answer: publishers are held then.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        self.is_in_trouble
    }

    /// How often a batch was sent again.
    #[must_use]
    pub fn resends(&self) -> u64 {
        self.resends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::batch::Batch;
    use gridcast::frame::Kind;
    use std::iter::once;

    const ACK_NS: u64 = 1_000_000_000;

    fn frame() -> Frame<'static> {
        Frame { topic: "a", kind: Kind::Text, is_bridged: false, counter: 0, payload: b"x" }
    }

    fn stamp(now_ns: u64) -> Stamp {
        Stamp { epoch: 5, made_ms: 6, now_ns }
    }

    fn up(dedups: bool) -> Sender<u64> {
        let mut sender = Sender::new(7, "n", ACK_NS, dedups);
        assert!(sender.is_in_trouble() && !sender.is_free());
        sender.came_up(0);
        sender
    }

    #[test]
    fn one_batch_is_out_and_names_the_one_before() {
        let mut sender = up(true);
        sender.load(once(frame()), 1, stamp(0));
        let first = sender.poll(0).unwrap();
        assert_eq!((first.id.number, first.attempt), (1, 1));
        assert!(sender.poll(1).is_none() && !sender.is_free());
        assert_eq!(sender.acknowledged(BatchId { boot: 7, number: 2 }, 5), None);
        assert_eq!(sender.acknowledged(first.id, 5), Some(1));
        assert!(sender.is_free());
        sender.load([frame(), frame()].into_iter(), 2, stamp(1));
        let second = sender.poll(1).unwrap();
        let (first, second) = (Batch::decode(first.bytes), Batch::decode(second.bytes));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.head().previous, second.head().previous), (0, first.hash()));
        assert_eq!((first.head().previous_at, second.head().previous_at), (0, 5));
        assert_eq!((second.head().id.number, second.len()), (2, 2));
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_as_it_was() {
        let mut sender = up(true);
        sender.load(once(frame()), 1, stamp(0));
        let first = sender.poll(0).unwrap();
        assert_eq!(sender.wake_at_ns(), Some(ACK_NS));
        assert!(sender.poll(ACK_NS - 1).is_none() && !sender.is_in_trouble());
        let again = sender.poll(ACK_NS).unwrap();
        assert_eq!((again.id, &again.bytes, again.attempt), (first.id, &first.bytes, 2));
        assert!(sender.is_in_trouble());
        sender.went_down();
        assert!(sender.poll(9 * ACK_NS).is_none() && sender.wake_at_ns().is_none());
        sender.came_up(9 * ACK_NS);
        assert!(sender.is_in_trouble(), "not over before the log has answered");
        assert_eq!(sender.poll(9 * ACK_NS).unwrap().attempt, 3);
        assert_eq!(sender.resends(), 2);
        assert_eq!(sender.acknowledged(first.id, 5), Some(1));
        assert!(!sender.is_in_trouble());
    }

    #[test]
    fn where_the_log_keeps_both_the_first_counts_and_is_waited_for() {
        let mut sender = up(false);
        sender.load(once(frame()), 1, stamp(0));
        let id = sender.poll(0).unwrap().id;
        sender.poll(ACK_NS).unwrap();
        assert_eq!(sender.acknowledged(id, 5), None);
        assert!(sender.poll(9 * ACK_NS).is_none(), "it is there already");
        assert_eq!(sender.seen(BatchId { boot: 8, ..id }, 5), None);
        assert_eq!(sender.seen(id, 5), Some(1));
        assert_eq!(sender.seen(id, 5), None);
    }

    #[test]
    fn who_was_refused_is_not_told_again_but_the_batch_stays_out() {
        let mut sender = up(true);
        sender.load(once(frame()), 1, stamp(0));
        let id = sender.poll(0).unwrap().id;
        assert_eq!(sender.take_ticket(), Some(1));
        assert_eq!(sender.take_ticket(), None);
        assert_eq!(sender.poll(ACK_NS).unwrap().id, id);
        assert_eq!(sender.acknowledged(id, 5), None);
        assert!(sender.is_free());
    }
}
