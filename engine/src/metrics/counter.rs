//! A counter that one thread writes and any may read. Must not be written by two.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only for the one thread that writes: a load and a store, which other threads may
    /// read between but never tear.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn subtract(&self, n: u64) {
        self.0.store(self.value().saturating_sub(n), Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}
