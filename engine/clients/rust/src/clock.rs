//! Time, as a client sees it: the only place that reads it. Must not wait.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Two clocks, which tests can set: the first only grows and may stand still while a machine
/// sleeps, the second is the time of day.
pub trait Clock: Send + Sync {
    /// Time since some fixed instant.
    fn monotonic(&self) -> Duration;

    /// Time since 1970, UTC.
    fn wall(&self) -> Duration;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
    }
}
