//! What a rated feed has to repeat at the next instant of its grid: which topics got something new
//! since the last one. Owns their order. Must not keep messages: the newest is read from its topic
//! when the instant comes.
//!
//! # Why no message is missed
//! A publisher appends to its topic and then looks at the instant, both under the topic's lock. The
//! feed's release counts the instant up, takes the list, and then reads each topic under its lock.
//! So a publisher that still sees the old instant has its frame read by this release; one that
//! comes after the read sees the new instant and notes its topic again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// See the file header.
#[derive(Debug)]
pub struct Held<T> {
    instant: AtomicU64,
    fresh: Mutex<Vec<T>>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { instant: AtomicU64::new(1), fresh: Mutex::default() }
    }
}

impl<T> Held<T> {
    /// Notes that a topic has something new, once an instant: `noted` is where the topic remembers
    /// the last time, 0 at first. Takes no lock but then.
    pub fn note(&self, noted: &mut u64, topic: impl FnOnce() -> T) {
        let instant = self.instant.load(Ordering::SeqCst);
        if std::mem::replace(noted, instant) != instant {
            self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push(topic());
        }
    }

    /// Whether somebody who was last `noted` at that instant is going to be looked at at the next.
    pub fn is_noted(&self, noted: u64) -> bool {
        self.instant.load(Ordering::SeqCst) == noted
    }

    /// Begins the next instant, and takes the topics that were noted before, in the order of their
    /// first message. Of one that was forgotten and came back meanwhile, only the last is taken.
    pub fn take_newest<K: Ord>(&self, name: impl Fn(&T) -> K) -> Vec<T> {
        self.instant.fetch_add(1, Ordering::SeqCst);
        let fresh = std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut places, mut newest) = (BTreeMap::new(), Vec::<T>::with_capacity(fresh.len()));
        for topic in fresh {
            let place = *places.entry(name(&topic)).or_insert(newest.len());
            match newest.get_mut(place) {
                Some(earlier) => *earlier = topic,
                None => newest.push(topic),
            }
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_noted_once_an_instant_and_in_order() {
        let held = Held::default();
        let (mut a, mut b) = (0, 0);
        held.note(&mut b, || "b");
        held.note(&mut a, || "a");
        held.note(&mut b, || panic!("noted already"));
        let take = || held.take_newest(|topic| topic.chars().next());
        assert_eq!(take(), ["b", "a"]);
        assert!(take().is_empty());
        held.note(&mut a, || "a");
        held.note(&mut b, || "b");
        held.note(&mut 0, || "a, come back");
        assert_eq!(take(), ["a, come back", "b"]);
    }
}
