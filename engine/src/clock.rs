//! The engine's clock: the only place that reads time. Everything else is handed nanoseconds.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the engine started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// A clock that goes on from `now_ns`, where that of another process is.
    pub fn going_on_from(now_ns: u64) -> Self {
        let started = Instant::now();
        Self { started: started.checked_sub(Duration::from_nanos(now_ns)).unwrap_or(started) }
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

/// Milliseconds of UTC since 1970; zero if the machine's clock is before that.
pub fn unix_ms() -> u64 {
    unix_ns() / 1_000_000
}

/// Nanoseconds of UTC since 1970; zero if the machine's clock is before that.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}
