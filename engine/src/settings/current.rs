//! A value that may be replaced while others use it: settings, certificates, rights. Owns how a
//! replacement reaches the cores without a lock in their turns. Must not know what the value means.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The value in force, shared by all threads.
#[derive(Debug)]
pub struct Current<T> {
    value: Mutex<Arc<T>>,
    version: AtomicU64,
}

/// One thread's copy: it reads without a lock and asks once a turn whether there is a newer one.
#[derive(Debug)]
pub struct View<T> {
    value: Arc<T>,
    version: u64,
}

impl<T> Current<T> {
    /// The first value.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(Arc::new(value)), version: AtomicU64::new(0) }
    }

    /// Puts another value in force. Those who hold the old one keep it until they look again.
    pub fn replace(&self, value: T) {
        let mut held = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(value);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The value in force now.
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy for one thread.
    pub fn view(&self) -> View<T> {
        // Read before the value: a replacement in between is only taken once more.
        let version = self.version.load(Ordering::Acquire);
        View { value: self.load(), version }
    }
}

impl<T> View<T> {
    /// Takes over a newer value; answers whether there was one. One atomic read if there is none.
    pub fn refresh(&mut self, current: &Current<T>) -> bool {
        if current.version.load(Ordering::Acquire) == self.version {
            return false;
        }
        *self = current.view();
        true
    }

    /// The value itself, to be kept beyond this thread's next look.
    pub fn share(&self) -> Arc<T> {
        Arc::clone(&self.value)
    }
}

impl<T> std::ops::Deref for View<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_changes_only_when_it_looks() {
        let current = Current::new(1);
        let mut view = current.view();
        assert!(!view.refresh(&current));
        current.replace(2);
        assert_eq!((*view, *current.load()), (1, 2));
        assert!(view.refresh(&current));
        assert_eq!(*view, 2);
        assert!(!view.refresh(&current));
    }
}
