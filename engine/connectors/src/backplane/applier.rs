//! What a node reads from a log: which messages it applies, which it has had, and when the log is
//! no longer the one that was read. Owns the place reached and the chain of each node's batches.
//! Must not apply anything itself, and must not know the log.
//!
//! A log that loses what it acknowledged is seen in one of four ways: it ends before what was
//! applied; it has another message in a place that was read; a node's numbers jump; or a batch
//! names another one before it than was read. Then the epoch has to be raised, and with it is said
//! from which message on it holds: whoever had read further reads that again.

use std::collections::{HashMap, VecDeque};

use crate::backplane::batch::{BatchId, Head};

/// Nodes whose last batch is remembered. Of more the one that is silent for longest is forgotten.
const CHAINS_MAX: usize = 4096;
/// Messages whose hashes are remembered, to tell one that comes again from one in its place.
const RECENT_MAX: usize = 4096;

/// Messages that are read again when a connection begins: one alone may be the same by chance,
/// because a batch that a log has lost is sent again.
const COMPARED_MAX: usize = 8;

/// Batches of this node that are acknowledged and not read yet: one is out at a time.
const ACKNOWLEDGED_MAX: usize = 256;

/// What is known of one node's batches.
#[derive(Clone, Copy, Debug)]
struct Chain {
    number: u64,
    hash: u64,
    /// Where its last batch stands.
    sequence: u64,
    /// The epoch that the node knew then. What is missing before a batch of another one was
    /// answered by that.
    epoch: u64,
    /// Batches may have been missed since, which was told: the next one is taken as it is.
    is_loose: bool,
}

/// The reading end of a log.
#[derive(Debug)]
pub struct Applier {
    epoch: u64,
    /// The message that comes next; none when any may.
    next: Option<u64>,
    /// The first of those before it without a gap.
    began: u64,
    recent: VecDeque<(u64, u64)>,
    chains: HashMap<u64, Chain>,
    own_boot: u64,
    /// Batches of this node that the log has acknowledged, with their places, until they are read.
    acknowledged: VecDeque<(u64, BatchId)>,
}

/// Messages that a node will never see: the closed range of their sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Apply it; before it, tell what was passed.
    Apply {
        /// Messages that retention took before they were read.
        passed: Option<Passed>,
    },
    /// It was applied: the log delivered it again, or has it twice. What was passed is to be told
    /// all the same.
    Repeated {
        /// As in [`Verdict::Apply`].
        passed: Option<Passed>,
    },
    /// The log is not the one that was read: raise the epoch, then begin anew.
    Doubt(Doubt),
}

/// Why a log is not the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It ends before what was applied.
    #[error("the log ends at {last}, and had {known}")]
    Shorter {
        /// Its last message.
        last: u64,
        /// The last message that was read, or acknowledged.
        known: u64,
    },
    /// A place that was read holds another message.
    #[error("message {0} is another one than was applied, or was applied long ago")]
    Replaced(u64),
    /// Batches of a node are missing.
    #[error("message {sequence}: batch {number} of a node follows its batch {last}")]
    Jump {
        /// Where it is.
        sequence: u64,
        /// The batch that came.
        number: u64,
        /// The last one before it.
        last: u64,
    },
    /// A batch names another one before it than was read.
    #[error("message {0}: the batch follows another one than was applied")]
    Forked(u64),
}

impl Doubt {
    /// The message from which on the next epoch is to hold.
    #[must_use]
    pub fn from(self) -> u64 {
        match self {
            Self::Shorter { last, .. } => last + 1,
            Self::Replaced(sequence) | Self::Jump { sequence, .. } | Self::Forked(sequence) => {
                sequence
            }
        }
    }

    /// The word for the metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Shorter { .. } => "shorter",
            Self::Replaced(_) => "replaced",
            Self::Jump { .. } => "jump",
            Self::Forked(_) => "forked",
        }
    }
}

impl Applier {
    /// Of a node that has read nothing. `own_boot` is the life of its own sender, whose first batch
    /// is still to come.
    #[must_use]
    pub fn new(epoch: u64, own_boot: u64) -> Self {
        let own = Chain { number: 0, hash: 0, sequence: 0, epoch, is_loose: false };
        Self {
            epoch,
            next: None,
            began: 0,
            recent: VecDeque::new(),
            chains: HashMap::from([(own_boot, own)]),
            own_boot,
            acknowledged: VecDeque::new(),
        }
    }

    /// The epoch that is in force.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The message that comes next; none when any may.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    /// Another epoch is in force, from the message `from` on. It answers whatever is missing from
    /// there of what was acknowledged or read; what came before is still compared. The caller
    /// begins anew.
    pub fn enter(&mut self, epoch: u64, from: u64) {
        self.epoch = epoch;
        self.acknowledged.retain(|&(at, _)| at < from);
        if self.next.is_some_and(|next| next > from) {
            self.recent.retain(|&(at, _)| at < from);
            self.next = Some(from);
        }
        self.began = self.next.unwrap_or(0);
        self.chains.values_mut().for_each(|chain| chain.is_loose = true);
    }

    /// The log has acknowledged a batch of this node, which stands in this place.
    ///
    /// # Errors
    /// [`Doubt`] when another one was read there: raise the epoch; the batch is still to be sent.
    pub fn acknowledged(&mut self, sequence: u64, id: BatchId) -> Result<(), Doubt> {
        let is_read = self.next.is_some_and(|next| sequence < next);
        if !is_read {
            if self.acknowledged.len() == ACKNOWLEDGED_MAX {
                self.acknowledged.pop_front();
            }
            self.acknowledged.push_back((sequence, id));
            return Ok(());
        }
        let own = self.chains.get(&self.own_boot).map_or(0, |chain| chain.number);
        if own >= id.number || sequence < self.began {
            return Ok(());
        }
        Err(Doubt::Replaced(sequence))
    }

    /// Whether a log that ends at `last` can be the one that was read.
    ///
    /// # Errors
    /// [`Doubt`]: raise the epoch, then begin anew.
    pub fn check(&self, last: u64) -> Result<(), Doubt> {
        match self.known_last() {
            Some(known) if last < known => Err(Doubt::Shorter { last, known }),
            _ => Ok(()),
        }
    }

    /// The last message that this node knows the log had.
    fn known_last(&self) -> Option<u64> {
        let acknowledged = self.acknowledged.iter().map(|&(sequence, _)| sequence);
        acknowledged.max().max(self.next.map(|next| next - 1))
    }

    /// A connection to the log begins, which holds the messages from `first` to `last`, and none
    /// when `last` is less. Answers where to begin to read, and what retention took meanwhile. What
    /// was read last is read again, up to eight messages, to see that it still is there.
    ///
    /// # Errors
    /// [`Doubt`]: raise the epoch, then begin anew.
    pub fn begin(&mut self, first: u64, last: u64) -> Result<(u64, Option<Passed>), Doubt> {
        self.check(last)?;
        let Some(next) = self.next else {
            return Ok((first.max(1), None));
        };
        let passed = (first > next).then(|| Passed { from: next, to: first - 1 });
        self.pass(passed);
        Ok((first.max(next - self.comparable(next)), passed))
    }

    /// How many of the messages right before `next` can be compared with those that were read.
    fn comparable(&self, next: u64) -> u64 {
        let places = self.recent.iter().rev().zip(1..).take(COMPARED_MAX);
        places.take_while(|&(&(at, _), back)| at + back == next).count() as u64
    }

    /// Judges the message `sequence`, a batch with this head and hash.
    pub fn take(&mut self, sequence: u64, head: &Head, hash: u64) -> Verdict {
        let verdict = self.judge(sequence, head, hash);
        match verdict {
            Verdict::Doubt(_) => verdict,
            Verdict::Repeated { .. } if self.next.is_some_and(|next| sequence < next) => verdict,
            Verdict::Repeated { passed } => {
                self.pass(passed);
                self.advance(sequence, hash);
                verdict
            }
            Verdict::Apply { passed } => {
                self.pass(passed);
                self.accept(sequence, head, hash);
                verdict
            }
        }
    }

    /// The message `sequence` is no batch: nothing of it can be applied. Answers what is to be
    /// told.
    pub fn skip(&mut self, sequence: u64) -> Option<Passed> {
        let from = self.next.unwrap_or(sequence);
        if sequence < from {
            return None;
        }
        let passed = Some(Passed { from, to: sequence });
        self.pass(passed);
        passed
    }

    fn judge(&self, sequence: u64, head: &Head, hash: u64) -> Verdict {
        let id = head.id;
        let next = self.next.unwrap_or(sequence);
        if sequence < next {
            let is_known = self.recent.iter().rev().any(|&known| known == (sequence, hash));
            return if is_known { REPEATED } else { Verdict::Doubt(Doubt::Replaced(sequence)) };
        }
        if self.acknowledged.iter().any(|&(at, known)| at == sequence && known != id) {
            return Verdict::Doubt(Doubt::Replaced(sequence));
        }
        let passed = (sequence > next).then(|| Passed { from: next, to: sequence - 1 });
        let Some(chain) = self.chains.get(&id.boot) else {
            return self.judge_unknown(sequence, head, passed);
        };
        let last = chain.number;
        if id.number < last || id.number == last && chain.hash == hash {
            return Verdict::Repeated { passed };
        }
        if id.number == last && last > 0 {
            return Verdict::Doubt(Doubt::Forked(sequence));
        }
        // What was passed may hold batches of this node.
        if passed.is_none() && !chain.is_loose && chain.epoch == head.epoch {
            if id.number > last + 1 {
                return Verdict::Doubt(Doubt::Jump { sequence, number: id.number, last });
            }
            if chain.hash != head.previous {
                return Verdict::Doubt(Doubt::Forked(sequence));
            }
        }
        Verdict::Apply { passed }
    }

    /// The batch of a node of which nothing is known: what it sent before stands before the first
    /// message that was read here, or was passed.
    fn judge_unknown(&self, sequence: u64, head: &Head, passed: Option<Passed>) -> Verdict {
        let unread_from = passed.map_or(sequence, |passed| passed.from);
        let (at, number) = (head.previous_at, head.id.number);
        if number > 1 && self.next.is_some() && (self.began..unread_from).contains(&at) {
            return Verdict::Doubt(Doubt::Jump { sequence, number, last: 0 });
        }
        Verdict::Apply { passed }
    }

    fn accept(&mut self, sequence: u64, head: &Head, hash: u64) {
        self.advance(sequence, hash);
        let BatchId { boot, number } = head.id;
        let chain = Chain { number, hash, sequence, epoch: head.epoch, is_loose: false };
        self.chains.insert(boot, chain);
        if self.chains.len() > CHAINS_MAX {
            let silent = self.chains.iter().min_by_key(|(_, chain)| chain.sequence);
            if let Some((&boot, &chain)) = silent {
                self.chains.remove(&boot);
                self.began = self.began.max(chain.sequence + 1);
            }
        }
    }

    fn advance(&mut self, sequence: u64, hash: u64) {
        if self.next.is_none() {
            self.began = sequence;
        }
        self.next = Some(sequence + 1);
        self.acknowledged.retain(|&(at, _)| at > sequence);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((sequence, hash));
    }

    fn pass(&mut self, passed: Option<Passed>) {
        if let Some(Passed { to, .. }) = passed {
            self.next = Some(to + 1);
            self.began = to + 1;
            self.acknowledged.retain(|&(at, _)| at > to);
            self.chains.values_mut().for_each(|chain| chain.is_loose = true);
        }
    }
}

const REPEATED: Verdict = Verdict::Repeated { passed: None };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::batch::Note;

    const OWN: u64 = 99;
    const APPLY: Verdict = Verdict::Apply { passed: None };

    /// The hash of batch `number` of `boot` in these tests.
    fn hash_of(boot: u64, number: u64) -> u64 {
        if number == 0 { 0 } else { boot * 1000 + number }
    }

    fn head(boot: u64, number: u64, previous: u64) -> Head {
        let (id, note) = (BatchId { boot, number }, Note::Frames);
        let (previous_at, missed, epoch, made_ms, shards) = (0, 0, 1, 0, 1);
        Head { id, previous, previous_at, missed, epoch, made_ms, shards, note }
    }

    fn take(applier: &mut Applier, sequence: u64, boot: u64, number: u64) -> Verdict {
        let head = head(boot, number, hash_of(boot, number - 1));
        applier.take(sequence, &head, hash_of(boot, number))
    }

    fn read(batches: &[(u64, u64, u64)]) -> Applier {
        let mut applier = Applier::new(1, OWN);
        for &(sequence, boot, number) in batches {
            assert_eq!(take(&mut applier, sequence, boot, number), APPLY);
        }
        applier
    }

    #[test]
    fn a_node_begins_in_the_middle_of_a_log() {
        let mut applier = Applier::new(1, OWN);
        assert_eq!(applier.begin(40, 90), Ok((40, None)));
        assert_eq!(take(&mut applier, 40, 1, 7), APPLY);
        assert_eq!(take(&mut applier, 41, 1, 8), APPLY);
        assert_eq!(take(&mut applier, 42, 2, 3), APPLY);
        assert_eq!(applier.next(), Some(43));
    }

    #[test]
    fn what_comes_again_or_stands_there_twice_is_dropped() {
        let mut applier = read(&[(5, 1, 1), (6, 1, 2)]);
        assert_eq!(take(&mut applier, 5, 1, 1), REPEATED);
        assert_eq!(take(&mut applier, 7, 1, 1), REPEATED);
        assert_eq!(take(&mut applier, 8, 1, 2), REPEATED);
        assert_eq!(take(&mut applier, 9, 1, 3), APPLY);
    }

    #[test]
    fn what_retention_took_is_told_and_breaks_no_chain() {
        let mut applier = read(&[(5, 1, 1)]);
        let passed = Some(Passed { from: 6, to: 8 });
        assert_eq!(take(&mut applier, 9, 1, 4), Verdict::Apply { passed });
        assert_eq!(applier.begin(20, 30), Ok((20, Some(Passed { from: 10, to: 19 }))));
        assert_eq!(take(&mut applier, 20, 1, 9), APPLY);
        assert_eq!(applier.skip(21), Some(Passed { from: 21, to: 21 }));
        assert_eq!(applier.skip(21), None);
        assert_eq!(take(&mut applier, 22, 1, 11), APPLY);
        // Once is enough.
        assert!(matches!(take(&mut applier, 23, 1, 13), Verdict::Doubt(Doubt::Jump { .. })));
    }

    #[test]
    fn a_log_that_is_not_the_one_that_was_read_is_doubted() {
        let shorter = Doubt::Shorter { last: 4, known: 6 };
        assert_eq!(read(&[(5, 1, 1), (6, 1, 2)]).begin(1, 4), Err(shorter));
        let doubt = |sequence, boot, number| {
            take(&mut read(&[(5, 1, 1), (6, 1, 2)]), sequence, boot, number)
        };
        assert_eq!(doubt(6, 1, 3), Verdict::Doubt(Doubt::Replaced(6)));
        assert_eq!(doubt(7, 1, 4), Verdict::Doubt(Doubt::Jump { sequence: 7, number: 4, last: 2 }));
        assert_eq!(
            doubt(7, OWN, 2),
            Verdict::Doubt(Doubt::Jump { sequence: 7, number: 2, last: 0 })
        );
        let mut applier = read(&[(5, 1, 1)]);
        let forked = applier.take(6, &head(1, 2, 12345), 6);
        assert_eq!(forked, Verdict::Doubt(Doubt::Forked(6)));
        let forked = applier.take(6, &head(1, 1, 0), 6);
        assert_eq!(forked, Verdict::Doubt(Doubt::Forked(6)));
    }

    #[test]
    fn a_node_that_was_not_met_names_what_should_have_been_read() {
        let applier = || read(&[(5, 1, 1), (6, 1, 2)]);
        let at = |previous_at| Head { previous_at, ..head(2, 3, 77) };
        assert_eq!(applier().take(7, &at(4), 8), APPLY, "before this node began to read");
        let jump = |sequence| Verdict::Doubt(Doubt::Jump { sequence, number: 3, last: 0 });
        assert_eq!(applier().take(7, &at(6), 8), jump(7));
        let passed = Some(Passed { from: 7, to: 8 });
        assert_eq!(applier().take(9, &at(8), 8), Verdict::Apply { passed });
        assert_eq!(applier().take(9, &at(6), 8), jump(9));
        // The log was shorter once: that is over.
        assert_eq!(applier().take(7, &at(70), 8), APPLY);
    }

    #[test]
    fn what_was_acknowledged_is_known_to_be_there() {
        let own = BatchId { boot: OWN, number: 1 };
        let mut applier = read(&[(5, 1, 1)]);
        assert_eq!(applier.acknowledged(8, own), Ok(()));
        assert_eq!(applier.check(8), Ok(()));
        assert_eq!(applier.check(7), Err(Doubt::Shorter { last: 7, known: 8 }));
        assert_eq!(take(&mut applier, 6, 1, 2), APPLY);
        assert_eq!(take(&mut applier, 7, 1, 3), APPLY);
        assert_eq!(take(&mut applier, 8, 1, 4), Verdict::Doubt(Doubt::Replaced(8)));
        assert_eq!(take(&mut applier, 8, OWN, 1), APPLY);
        assert_eq!(take(&mut applier, 9, 1, 4), APPLY);
        assert_eq!(applier.acknowledged(8, own), Ok(()), "late");
        let second = BatchId { number: 2, ..own };
        assert_eq!(applier.acknowledged(9, second), Err(Doubt::Replaced(9)));
    }

    #[test]
    fn a_raised_epoch_answers_a_doubt_once() {
        let mut applier = read(&[(5, 1, 1), (6, 1, 2)]);
        let Verdict::Doubt(doubt) = take(&mut applier, 6, 1, 3) else { panic!("no doubt") };
        assert_eq!(doubt.from(), 6);
        applier.enter(2, doubt.from());
        assert_eq!(applier.begin(1, 6), Ok((5, None)));
        assert_eq!(take(&mut applier, 5, 1, 1), REPEATED);
        assert_eq!(take(&mut applier, 6, 1, 3), APPLY);
        assert_eq!(take(&mut applier, 7, 1, 4), APPLY);
        assert!(matches!(take(&mut applier, 7, 1, 5), Verdict::Doubt(_)), "this is another one");
    }

    #[test]
    fn what_was_acknowledged_before_an_epoch_is_still_known_to_be_there() {
        let own = |number| BatchId { boot: OWN, number };
        let mut applier = read(&[(5, 1, 1)]);
        assert_eq!(applier.acknowledged(7, own(1)), Ok(()));
        assert_eq!(applier.acknowledged(8, own(2)), Ok(()));
        applier.enter(2, 8);
        assert_eq!(applier.check(7), Ok(()), "the epoch answers what came behind that");
        assert_eq!(applier.check(6), Err(Doubt::Shorter { last: 6, known: 7 }));
    }

    #[test]
    fn what_was_read_before_an_epoch_is_still_compared() {
        let mut applier = read(&[(5, 1, 1), (6, 1, 2), (7, 1, 3)]);
        applier.enter(2, 7);
        assert_eq!(applier.begin(1, 9), Ok((5, None)));
        assert_eq!(take(&mut applier, 5, 1, 1), REPEATED);
        assert_eq!(take(&mut applier, 6, 2, 1), Verdict::Doubt(Doubt::Replaced(6)));
    }

    #[test]
    fn whoever_had_no_doubt_goes_on_where_it_was() {
        let mut applier = read(&[(5, 1, 1)]);
        applier.enter(2, 6);
        assert_eq!(applier.begin(1, 9), Ok((5, None)));
        assert_eq!(take(&mut applier, 5, 1, 1), REPEATED, "it still is there");
        // What the node before lost was answered by the epoch.
        assert_eq!(take(&mut applier, 6, 1, 3), APPLY);
        assert!(matches!(take(&mut applier, 7, 1, 5), Verdict::Doubt(_)));
    }

    #[test]
    fn what_was_read_last_is_compared_as_far_as_it_is_in_a_row() {
        let mut applier = read(&[(3, 1, 1)]);
        assert_eq!(applier.skip(4), Some(Passed { from: 4, to: 4 }));
        assert_eq!(take(&mut applier, 5, 1, 3), APPLY);
        assert_eq!(take(&mut applier, 6, 1, 4), APPLY);
        assert_eq!(applier.begin(1, 6), Ok((5, None)));
        assert_eq!(applier.begin(6, 6), Ok((6, None)));
        for number in 5..20 {
            assert_eq!(take(&mut applier, number + 2, 1, number), APPLY);
        }
        assert_eq!(applier.begin(1, 30), Ok((14, None)));
        // The last is the same, and the one before it another.
        assert_eq!(take(&mut applier, 21, 1, 19), REPEATED);
        assert_eq!(take(&mut applier, 20, 2, 1), Verdict::Doubt(Doubt::Replaced(20)));
    }

    #[test]
    fn a_log_that_was_removed_begins_anew() {
        let mut applier = read(&[(5, 1, 1), (6, 1, 2)]);
        let doubt = applier.begin(1, 0).unwrap_err();
        assert_eq!(doubt.from(), 1);
        applier.enter(2, 1);
        assert_eq!(applier.begin(1, 0), Ok((1, None)));
        assert_eq!(take(&mut applier, 1, 1, 3), APPLY);
    }

    #[test]
    fn of_very_many_nodes_the_silent_ones_are_forgotten() {
        let mut applier = Applier::new(1, OWN);
        for sequence in 1..=2 * CHAINS_MAX as u64 {
            assert_eq!(take(&mut applier, sequence, sequence, 1), APPLY);
        }
        assert_eq!(applier.chains.len(), CHAINS_MAX);
    }
}
