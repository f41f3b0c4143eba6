//! Which messages of a log are older, or more, than it is to keep, for engines that do not know the
//! time of a message. Owns when which was read. Must not remove anything.

use std::collections::VecDeque;

/// So many groups of messages are told apart within what is kept.
const GROUPS: u64 = 256;

/// See the file header.
#[derive(Debug)]
pub struct Retention {
    kept_ns: u64,
    kept_bytes: u64,
    groups: VecDeque<Group>,
    bytes: u64,
}

/// Messages that were read at about the same time.
#[derive(Clone, Copy, Debug)]
struct Group {
    began_ns: u64,
    last: u64,
    bytes: u64,
}

impl Retention {
    /// Keeps what was read within so many seconds, and no more than so many bytes.
    #[must_use]
    pub fn new(kept_s: u64, kept_bytes: u64) -> Self {
        Self { kept_ns: kept_s * 1_000_000_000, kept_bytes, groups: VecDeque::new(), bytes: 0 }
    }

    /// A message was read.
    pub fn read(&mut self, sequence: u64, bytes: u64, now_ns: u64) {
        self.bytes += bytes;
        let (span_ns, span_bytes) = (self.kept_ns / GROUPS, self.kept_bytes / GROUPS);
        match self.groups.back_mut() {
            Some(group) if now_ns < group.began_ns + span_ns && group.bytes < span_bytes => {
                group.last = sequence;
                group.bytes += bytes;
            }
            _ => self.groups.push_back(Group { began_ns: now_ns, last: sequence, bytes }),
        }
    }

    /// The last message that need not be kept, if there is one since this was last asked.
    pub fn passed(&mut self, now_ns: u64) -> Option<u64> {
        let mut passed = None;
        while let Some(group) = self.groups.front() {
            let ended_ns = group.began_ns + self.kept_ns / GROUPS;
            if self.bytes <= self.kept_bytes && now_ns <= ended_ns + self.kept_ns {
                break;
            }
            self.bytes -= group.bytes;
            passed = Some(group.last);
            self.groups.pop_front();
        }
        passed
    }

    /// Another log begins.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn what_is_old_passes_and_what_is_young_stays() {
        let mut retention = Retention::new(15, 1 << 30);
        for second in 0..20 {
            retention.read(second + 1, 100, second * S);
        }
        assert_eq!(retention.passed(14 * S), None);
        assert_eq!(retention.passed(20 * S), Some(5));
        assert_eq!(retention.passed(20 * S), None);
        assert_eq!(retention.passed(100 * S), Some(20));
    }

    #[test]
    fn what_is_too_much_passes_whatever_its_age() {
        let mut retention = Retention::new(15, 1000);
        for sequence in 1..=20 {
            retention.read(sequence, 100, 0);
        }
        let passed = retention.passed(0).unwrap();
        assert!((10..=11).contains(&passed), "{passed}");
    }

    #[test]
    fn memory_is_bounded_whatever_is_kept() {
        let mut retention = Retention::new(86_400, 1 << 40);
        for sequence in 0..200_000 {
            retention.read(sequence, 1000, sequence * S);
            retention.passed(sequence * S);
        }
        assert!(retention.groups.len() < 3 * GROUPS as usize, "{}", retention.groups.len());
    }
}
