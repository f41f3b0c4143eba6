//! The feeds that publish at a rate, and the grid of their instants: instant `k` of a second is `k
//! / rate` after it begins, so all rates agree on whole seconds. Must not read a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::feed::log::Feed;
use crate::feed::options::Rate;

const SECOND_NS: u64 = 1_000_000_000;
/// How long to sleep while nothing is rated.
const IDLE: Duration = Duration::from_secs(60);

/// See the file header.
#[derive(Debug, Default)]
pub struct Rated {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    classes: BTreeMap<Rate, Vec<Arc<Feed>>>,
    is_stopped: bool,
}

impl Rated {
    /// Adds a feed that was just created.
    pub fn add(&self, rate: Rate, feed: &Arc<Feed>) {
        self.lock().classes.entry(rate).or_default().push(Arc::clone(feed));
        self.changed.notify_all();
    }

    /// Takes a feed out that was just closed.
    pub fn remove(&self, rate: Rate, feed: &Arc<Feed>) {
        let classes = &mut self.lock().classes;
        if let Some(feeds) = classes.get_mut(&rate) {
            feeds.retain(|held| !Arc::ptr_eq(held, feed));
            if feeds.is_empty() {
                classes.remove(&rate);
            }
        }
    }

    /// Sleeps until the first instant after `done_ns`, or until the classes change. Answers false
    /// once there is nothing to wait for any more.
    pub fn wait(&self, done_ns: u64, now_ns: u64) -> bool {
        let state = self.lock();
        if state.is_stopped {
            return false;
        }
        let next = state.classes.keys().map(|rate| next_instant(*rate, done_ns)).min();
        let until = |next: u64| Duration::from_nanos(next.saturating_sub(now_ns));
        let sleep = next.map_or(IDLE, until);
        // Woken early, the caller finds nothing due and comes back.
        drop(self.changed.wait_timeout(state, sleep));
        true
    }

    /// Ends every [`wait`](Self::wait), now and later.
    pub fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    /// The feeds with an instant in `(from, to]`, in ns of Unix time.
    pub fn due(&self, from: u64, to: u64) -> Vec<Arc<Feed>> {
        let state = self.lock();
        let due = state.classes.iter().filter(|(rate, _)| next_instant(**rate, from) <= to);
        due.flat_map(|(_, feeds)| feeds).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first instant of the grid of `rate` after `unix_ns`.
fn next_instant(rate: Rate, unix_ns: u64) -> u64 {
    let rate = u64::from(rate.per_s());
    let (second, within_ns) = (unix_ns / SECOND_NS, unix_ns % SECOND_NS);
    // Rounded up, an instant is never before its exact place, so it is found again as passed.
    let instant = |k: u64| second * SECOND_NS + (k * SECOND_NS).div_ceil(rate);
    let k = within_ns * rate / SECOND_NS;
    let next = instant(k + 1);
    if instant(k) > unix_ns { instant(k) } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_grid_begins_anew_with_each_second() {
        let rate: Rate = "3".parse().unwrap();
        let instants: Vec<u64> =
            std::iter::successors(Some(7 * SECOND_NS), |&at| Some(next_instant(rate, at)))
                .take(5)
                .map(|at| at - 7 * SECOND_NS)
                .collect();
        assert_eq!(instants, [0, 333_333_334, 666_666_667, SECOND_NS, SECOND_NS + 333_333_334]);
    }

    proptest! {
        #[test]
        fn instants_follow_at_the_rate(per_s in 1_u32..=1000, at in 0..3 * SECOND_NS) {
            let rate: Rate = per_s.to_string().parse().unwrap();
            let next = next_instant(rate, at);
            prop_assert!(next > at);
            prop_assert!(next - at <= SECOND_NS.div_ceil(u64::from(per_s)) + 1);
            let count = std::iter::successors(Some(0), |&at| Some(next_instant(rate, at)))
                .take_while(|&at| at < SECOND_NS)
                .count();
            prop_assert_eq!(count, per_s as usize);
        }
    }
}
