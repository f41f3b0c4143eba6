//! What threads that are not cores count, and what they add to a scrape. Owns the list of their
//! cells and the numbers by which sources of messages are told apart. Must not know what they do.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::registry::Registry;

use crate::feed::source::Source;
use crate::metrics::CoreMetrics;

/// Puts families into a registry.
pub type Families = Box<dyn Fn(&mut Registry) + Send + Sync>;

/// See the file header.
#[derive(Default)]
pub struct Outside {
    cells: Mutex<Vec<Arc<CoreMetrics>>>,
    families: Mutex<Vec<Families>>,
    sources: AtomicU16,
}

impl Outside {
    /// A number that was never given before; none when there are no more.
    pub fn new_source(&self) -> Option<Source> {
        let next = |given: u16| given.checked_add(1);
        let given = self.sources.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        given.ok().and_then(next).map(Source)
    }

    /// A cell for one thread that publishes.
    pub fn new_cell(&self) -> Arc<CoreMetrics> {
        let cell = Arc::<CoreMetrics>::default();
        lock(&self.cells).push(Arc::clone(&cell));
        cell
    }

    /// All cells.
    pub fn cells(&self) -> Vec<Arc<CoreMetrics>> {
        lock(&self.cells).clone()
    }

    /// Adds families to every scrape from now on.
    pub fn add_metrics(&self, families: Families) {
        lock(&self.families).push(families);
    }

    /// Has all families put into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        lock(&self.families).iter().for_each(|families| families(registry));
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}
