//! Waiting for a condition. Must not wait for time to pass.

use std::time::{Duration, Instant};

/// Longer than anything here takes on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(40);

/// Waits until `condition` holds; the test fails when it does not.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
