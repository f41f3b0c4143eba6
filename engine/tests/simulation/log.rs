//! A log without a network: it acknowledges late, says again what it said, refuses, does not answer
//! for a while, and is read by a second node as well. Owns what it has taken, in order. Must not
//! look at clients.

use std::collections::VecDeque;
use std::sync::Arc;

use gridcast::core::shared::Shared;
use gridcast::core::submission::{Batch, LogState, Refused, SUBMITTED_FRAMES_MAX, Submitting};
use gridcast::feed::domain::{ApplyError, LogBatch};
use gridcast::feed::epoch::Epoch;
use gridcast::feed::kind::LaneKind;
use gridcast::feed::log::FeedName;
use gridcast::feed::registry::Registry;
use gridcast::frame::encode;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::harness::feeds::doorbell;
use crate::record::{Record, number_in};

/// The epoch of the domain.
const EPOCH: Epoch = Epoch(777);
/// How long the log does not answer at most: some wait longer than they may.
const SILENCE_NS_MAX: u64 = 7_000_000_000;

/// See the file header.
pub struct Log {
    /// Taken out of the engine, and neither stored nor refused.
    pending: VecDeque<Batch>,
    stored: Vec<LogBatch>,
    /// How many of those the engine has applied.
    applied: usize,
    /// Until when it does not answer.
    silent_until_ns: u64,
    /// Whether it has ever kept somebody waiting.
    pub has_been_silent: bool,
    /// Another node, which applies everything as well.
    other: Registry,
    other_applied: usize,
}

impl Log {
    /// The log of an engine that has not begun; `other` is another node of its domain.
    pub fn attach(shared: &Shared, other: Shared) -> Self {
        let other = other.through_log().registry;
        for registry in [&shared.registry, &other] {
            registry.begin_epoch(EPOCH, 0);
        }
        shared.submission.log().unwrap().set_state(LogState::Up, 0);
        Self {
            pending: VecDeque::new(),
            stored: Vec::new(),
            applied: 0,
            silent_until_ns: 0,
            has_been_silent: false,
            other,
            other_applied: 0,
        }
    }

    fn submitting(shared: &Shared) -> &Submitting {
        shared.submission.log().unwrap()
    }

    /// Something happens to it.
    pub fn step(&mut self, shared: &Shared, now_ns: u64, rng: &mut StdRng) {
        if now_ns < self.silent_until_ns {
            return;
        }
        Self::submitting(shared).set_state(LogState::Up, now_ns);
        match rng.random_range(0..20) {
            0..8 => self.take(shared, rng.random_range(1..50)),
            8..14 => self.store(shared),
            14..17 => self.apply(shared, now_ns),
            17 => self.repeat(shared, now_ns),
            18 => self.refuse(shared, rng),
            _ => {
                self.silent_until_ns = now_ns + rng.random_range(0..SILENCE_NS_MAX);
                self.has_been_silent = true;
                Self::submitting(shared).set_state(LogState::Held, now_ns);
            }
        }
        if rng.random_ratio(1, 30) {
            self.apply_other(now_ns);
        }
        assert!(Self::submitting(shared).in_flight().0 <= SUBMITTED_FRAMES_MAX + 1);
    }

    /// It does whatever is left to do.
    pub fn settle(&mut self, shared: &Shared, now_ns: u64) {
        self.silent_until_ns = 0;
        Self::submitting(shared).set_state(LogState::Up, now_ns);
        self.take(shared, 4096);
        while !self.pending.is_empty() {
            self.store(shared);
        }
        while self.applied < self.stored.len() {
            self.apply(shared, now_ns);
        }
        self.apply_other(now_ns);
    }

    fn take(&mut self, shared: &Shared, frames_max: usize) {
        self.pending.extend(Self::submitting(shared).take(frames_max, 256 << 10));
    }

    /// The oldest is acknowledged.
    fn store(&mut self, shared: &Shared) {
        let Some(batch) = self.pending.pop_front() else { return };
        // Some numbers are never seen here: they are another node's.
        let sequence = self.stored.last().map_or(1, |last| last.sequence + 1 + batch.number % 3);
        self.stored.push(LogBatch { sequence, frames: batch.frames.into() });
        shared.complete(batch.number, EPOCH, sequence);
    }

    fn apply(&mut self, shared: &Shared, now_ns: u64) {
        let Some(batch) = self.stored.get(self.applied) else { return };
        match shared.apply(batch, now_ns, |_| ()) {
            Ok(_) => self.applied += 1,
            Err(error) => assert_eq!(error, ApplyError::OverBudget),
        }
    }

    /// It says again what it has said.
    fn repeat(&self, shared: &Shared, now_ns: u64) {
        for batch in self.stored[..self.applied].iter().rev().take(3).rev() {
            let applied = shared.apply(batch, now_ns, |_| ()).unwrap();
            assert_eq!((applied.frames, applied.repeated), (0, batch.frames.len() as u64));
        }
    }

    /// The newest that was taken is refused. Of those before it the order stays.
    fn refuse(&mut self, shared: &Shared, rng: &mut StdRng) {
        if let Some(batch) = self.pending.pop_back() {
            self.has_been_silent = true;
            let reason = [Refused::Unavailable, Refused::Unacknowledged];
            shared.refuse(batch.number, reason[rng.random_range(0..2)]);
        }
    }

    fn apply_other(&mut self, now_ns: u64) {
        for batch in &self.stored[self.other_applied..] {
            self.other.apply(batch, now_ns, |_| ()).unwrap();
        }
        self.other_applied = self.stored.len();
    }

    /// Whoever goes on at the other node, which makes the feed only now, finds what it retains
    /// where it was.
    pub fn check_other(&self, name: &FeedName, record: &Record, now_ns: u64) {
        let feed = self.other.follow(name, &Default::default(), now_ns).unwrap();
        let reader = feed.open(LaneKind::RAW, &doorbell(), 0).unwrap().reader;
        let own = record.key(name);
        let mut cursor = reader.oldest();
        let mut next = None;
        while cursor != reader.latest() {
            let (_, payload) = encode::message(reader.frame(cursor)).unwrap();
            let ordinal = record.ordinal(own, number_in(payload).unwrap()).unwrap();
            let position = record.position(name, ordinal);
            assert_eq!((feed.epoch(), feed.seq_of(cursor.ordinal)), (EPOCH, position.seq));
            assert!(next.is_none_or(|next| next == ordinal), "{name:?}: {ordinal} is not {next:?}");
            next = Some(ordinal + 1);
            cursor = reader.after(cursor);
        }
        let is_empty = record.last(own) == 0;
        assert_eq!(next, (!is_empty).then_some(record.last(own) + 1), "{name:?}");
    }

    /// Whether nobody waits for it any more.
    pub fn is_done(&self, shared: &Shared) -> bool {
        Self::submitting(shared).in_flight() == (0, 0)
    }
}

/// What a log needs of the engine is shared.
pub fn through(shared: Shared, is_wanted: bool) -> Arc<Shared> {
    Arc::new(if is_wanted { shared.through_log() } else { shared })
}
