//! Why rows were refused: each reason is logged once, however often it comes. Owns what counts as
//! the same reason. Must not count rows.

use std::collections::HashSet;

/// Reasons that are remembered. A store that finds ever new words would fill the log otherwise.
const REASONS_MAX: usize = 32;
/// How much of a reason tells it from others.
const COMPARED_CHARS: usize = 80;

/// The reasons that were logged.
#[derive(Debug, Default)]
pub struct Reasons {
    seen: HashSet<String>,
}

impl Reasons {
    /// Whether this one is to be logged: the first of its sort, and one of the first 32. Numbers
    /// are not compared, for they are what differs between two messages with one fault.
    pub fn is_new(&mut self, reason: &str) -> bool {
        if self.seen.len() >= REASONS_MAX {
            return false;
        }
        let same = |c: char| if c.is_ascii_digit() { '#' } else { c };
        self.seen.insert(reason.chars().take(COMPARED_CHARS).map(same).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_once() {
        let mut reasons = Reasons::default();
        assert!(reasons.is_new("line 17: bad field"));
        assert!(!reasons.is_new("line 18: bad field"));
        assert!(reasons.is_new("no such table"));
    }

    #[test]
    fn reasons_without_end_fill_nothing() {
        let mut reasons = Reasons::default();
        let new = (0..1_000u32).filter(|i| reasons.is_new(&"x".repeat(*i as usize % 79 + 1)));
        assert_eq!(new.count(), REASONS_MAX);
    }
}
