//! How far each partition was taken in and committed. Owns which records of a partition that is
//! read again were published already, and where it goes on. Must not talk to a broker.
//!
//! After a lost connection the group begins anew at what was committed, which is less than what was
//! published. Within one run of the engine those records are known, and left out.

use std::collections::HashMap;

/// A topic of Kafka and a partition.
pub type Partition = (String, i32);

/// The progress of the partitions that were assigned at any time since the start.
#[derive(Debug, Default)]
pub struct Progress {
    partitions: HashMap<Partition, Marks>,
}

#[derive(Clone, Copy, Debug)]
struct Marks {
    /// What the group has committed; none while it has not committed anything here.
    committed: Option<i64>,
    /// The first offset that was not taken.
    next: i64,
    /// The time of the youngest record that was taken, ms.
    newest_ms: i64,
}

impl Progress {
    /// Whether anything is known of a partition.
    #[must_use]
    pub fn knows(&self, partition: &Partition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// Takes note of where a partition begins.
    pub fn begin(&mut self, partition: Partition, offset: i64) {
        self.partitions.entry(partition).or_insert(Marks {
            committed: None,
            next: offset,
            newest_ms: i64::MIN,
        });
    }

    /// Whether a record was taken before: its offset was reached, and it is no younger than what
    /// was taken. One that is younger was written to a topic of the same name that was made anew.
    pub fn is_known(&mut self, partition: &Partition, offset: i64, time_ms: i64) -> bool {
        let Some(marks) = self.partitions.get(partition) else { return false };
        if offset >= marks.next {
            return false;
        }
        let is_known = time_ms <= marks.newest_ms;
        if !is_known {
            self.partitions.remove(partition);
        }
        is_known
    }

    /// Takes note that a record was published, or is not for us.
    pub fn taken(&mut self, partition: &Partition, offset: i64, time_ms: i64) {
        let begun = Marks { committed: None, next: offset, newest_ms: time_ms };
        let marks = match self.partitions.get_mut(partition) {
            Some(marks) => marks,
            None => self.partitions.entry(partition.clone()).or_insert(begun),
        };
        marks.next = marks.next.max(offset.saturating_add(1));
        marks.newest_ms = marks.newest_ms.max(time_ms);
    }

    /// Nothing was assigned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// What of the partitions that are assigned is not committed: for each the offset of its next
    /// record. Those of other members are theirs to commit.
    #[must_use]
    pub fn uncommitted(&self, assigned: &[Partition]) -> Vec<(Partition, i64)> {
        let marks = assigned.iter().filter_map(|key| Some((key, self.partitions.get(key)?)));
        let behind = marks.filter(|(_, marks)| marks.committed != Some(marks.next));
        behind.map(|(partition, marks)| (partition.clone(), marks.next)).collect()
    }

    /// Takes note of what was committed.
    pub fn committed(&mut self, offsets: &[(Partition, i64)]) {
        for (partition, offset) in offsets {
            if let Some(marks) = self.partitions.get_mut(partition) {
                marks.committed = Some(*offset);
            }
        }
    }

    /// Where each partition goes on if the group has committed nothing there.
    pub fn beginnings(&self) -> impl Iterator<Item = (&Partition, i64)> {
        self.partitions.iter().map(|(partition, marks)| (partition, marks.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        ("t".to_owned(), 3)
    }

    fn uncommitted(progress: &Progress) -> Vec<i64> {
        progress.uncommitted(&[partition()]).iter().map(|(_, offset)| *offset).collect()
    }

    #[test]
    fn what_was_published_is_left_out_when_it_comes_again() {
        let mut progress = Progress::default();
        (5..9).for_each(|offset| progress.taken(&partition(), offset, 100 + offset));
        assert_eq!(uncommitted(&progress), [9]);
        let known = (5..11).map(|offset| progress.is_known(&partition(), offset, 100 + offset));
        assert_eq!(known.collect::<Vec<_>>(), [true, true, true, true, false, false]);
        assert!(progress.is_known(&partition(), 0, 100), "older than where it began");
    }

    #[test]
    fn only_what_was_taken_is_committed_and_only_once() {
        let mut progress = Progress::default();
        progress.taken(&partition(), 0, 0);
        let offsets = progress.uncommitted(&[partition()]);
        progress.taken(&partition(), 1, 0);
        progress.committed(&offsets);
        assert_eq!(uncommitted(&progress), [2]);
        progress.committed(&[(partition(), 2)]);
        assert!(uncommitted(&progress).is_empty());
        assert!(progress.uncommitted(&[]).is_empty(), "partitions of others are theirs");
    }

    #[test]
    fn a_beginning_is_committed_before_anything_came() {
        let mut progress = Progress::default();
        progress.begin(partition(), 7);
        assert_eq!(uncommitted(&progress), [7]);
        assert!(progress.beginnings().eq([(&partition(), 7)]));
        assert!(!progress.is_known(&partition(), 7, 0));
    }

    #[test]
    fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
        let mut progress = Progress::default();
        (0..10).for_each(|offset| progress.taken(&partition(), offset, offset));
        assert!(!progress.is_known(&partition(), 0, 50));
        progress.taken(&partition(), 0, 50);
        assert!(!progress.is_known(&partition(), 1, 51), "what follows is new as well");
    }

    #[test]
    fn other_partitions_are_not_touched() {
        let mut progress = Progress::default();
        progress.taken(&partition(), 7, 0);
        assert!(!progress.is_known(&("t".to_owned(), 4), 0, 0));
        assert!(!progress.is_known(&("u".to_owned(), 3), 0, 0));
    }
}
