//! What the tests of bridges share: an engine with bridges in this process and what it publishes,
//! servers as children, subscribers of theirs, certificates, and the configurations of the manual.
//! Owns how one waits: for a condition, with a deadline. Must not know what a test expects.

// Each test binary uses its own part of this; a failed step of a test should end it where it is.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod bell;
pub mod certificates;
pub mod following;
pub mod manual;
pub mod node;
pub mod process;
pub mod relay;
pub mod subscriber;

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far more than it ever should, with the
/// longest pauses between two tries of a bridge.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `holds`; `what` is waited for, and `state` is told where it never comes.
pub fn wait_until<S: Display>(
    what: impl Display,
    state: impl Fn() -> S,
    mut holds: impl FnMut() -> bool,
) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "never {what}: {}", state());
        thread::sleep(POLL);
    }
}
