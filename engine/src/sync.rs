//! The atomics and the queue of the log and the doorbell: std's and crossbeam's, or loom's when the
//! orderings are being checked. Must not hold logic of its own.

#[cfg(not(loom))]
pub use crossbeam::queue::SegQueue as Queue;
#[cfg(loom)]
pub use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub use model::Queue;

/// A queue whose emptiness is seen as late as the memory model allows: weaker than crossbeam's, so
/// what holds with it holds with that one too.
#[cfg(loom)]
mod model {
    use loom::sync::Mutex;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use std::collections::VecDeque;

    /// See the module.
    #[derive(Debug)]
    pub struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        len: AtomicUsize,
    }

    impl<T> Queue<T> {
        /// An empty queue.
        pub fn new() -> Self {
            Self { items: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0) }
        }

        /// Adds at the end.
        pub fn push(&self, item: T) {
            if let Ok(mut items) = self.items.lock() {
                items.push_back(item);
            }
            self.len.fetch_add(1, Ordering::Relaxed);
        }

        /// Takes from the front.
        pub fn pop(&self) -> Option<T> {
            let item = self.items.lock().ok()?.pop_front()?;
            self.len.fetch_sub(1, Ordering::Relaxed);
            Some(item)
        }

        /// True when nothing is known to be there.
        pub fn is_empty(&self) -> bool {
            self.len.load(Ordering::Relaxed) == 0
        }
    }

    impl<T> Default for Queue<T> {
        fn default() -> Self {
            Self::new()
        }
    }
}
