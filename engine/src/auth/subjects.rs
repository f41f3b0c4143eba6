//! The publish rate of each subject, shared by all its connections and kept after they close, so
//! that reconnecting gains nothing. Owns the bound on how many are kept. Must not know tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::grant::{Rate, Rights};

/// How soon after one search for forgettable subjects the next may follow: it visits all of them.
const SWEEP_NS: u64 = 1_000_000_000;

/// See the file header.
#[derive(Debug, Default)]
pub struct Subjects(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    rates: HashMap<(String, u32), Arc<Rate>>,
    max: usize,
    swept_ns: Option<u64>,
}

impl Subjects {
    /// Sets how many are kept. More than that already there stay.
    pub fn set_max(&self, max: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).max = max;
    }

    /// What is left of the rate of these rights' subject. The inner none: it has no limit. The
    /// outer one: there are too many already.
    pub fn rate(&self, rights: &Rights, now_ns: u64) -> Option<Option<Arc<Rate>>> {
        let per_s = rights.publishes_per_s;
        if per_s == 0 {
            return Some(None);
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = (rights.subject.clone(), per_s);
        if let Some(rate) = known.rates.get(&subject) {
            return Some(Some(Arc::clone(rate)));
        }
        if known.rates.len() >= known.max {
            known.sweep(now_ns);
        }
        if known.rates.len() >= known.max {
            return None;
        }
        let rate = Arc::new(Rate::new(per_s, now_ns));
        known.rates.insert(subject, Arc::clone(&rate));
        Some(Some(rate))
    }
}

impl Known {
    /// Forgets those who are as if they had just come.
    fn sweep(&mut self, now_ns: u64) {
        if self.swept_ns.is_some_and(|swept_ns| now_ns < swept_ns + SWEEP_NS) {
            return;
        }
        self.swept_ns = Some(now_ns);
        self.rates.retain(|_, rate| Arc::strong_count(rate) > 1 || !rate.is_full(now_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn rights(subject: &str, publishes_per_s: u32) -> Rights {
        Rights { subject: subject.to_owned(), publishes_per_s, ..Rights::default() }
    }

    #[test]
    fn a_subject_has_one_rate_and_keeps_it_when_it_goes() {
        let subjects = Subjects::default();
        subjects.set_max(10);
        let take = |now_ns| {
            let rate = subjects.rate(&rights("a", 2), now_ns).unwrap();
            super::super::Grant::new(rights("a", 2).into(), rate).take_publish(now_ns)
        };
        assert_eq!([take(0), take(0), take(0)], [Ok(()), Ok(()), Err(2)]);
        assert_eq!(take(S), Ok(()));
        assert!(subjects.rate(&rights("b", 0), 0).unwrap().is_none());
    }

    #[test]
    fn beyond_the_bound_only_those_who_lose_nothing_are_forgotten() {
        let subjects = Subjects::default();
        subjects.set_max(2);
        let held = subjects.rate(&rights("held", 1), 0).unwrap();
        assert!(subjects.rate(&rights("gone", 1), 0).unwrap().is_some());
        // "gone" has lost nothing and is forgotten; then "new" is held, as is "held".
        let new = subjects.rate(&rights("new", 1), 0).unwrap();
        assert!(new.is_some());
        assert!(subjects.rate(&rights("too many", 1), 2 * S).is_none());
        drop(held);
        assert!(subjects.rate(&rights("too soon", 1), 2 * S + 1).is_none());
        assert!(subjects.rate(&rights("in time", 1), 3 * S).unwrap().is_some());
    }
}
