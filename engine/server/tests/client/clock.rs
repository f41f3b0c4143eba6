//! A clock that tests set. Must not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gridcast_client::{Clock, SystemClock};

/// A clock that can be set forward, as a machine finds it that slept.
#[derive(Clone, Default)]
pub struct JumpingClock {
    system: SystemClock,
    jumped_s: Arc<AtomicU64>,
}

impl JumpingClock {
    /// An hour passes at once.
    pub fn jump(&self) {
        self.jumped_s.store(3600, Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn wall(&self) -> Duration {
        self.system.wall() + Duration::from_secs(self.jumped_s.load(Ordering::SeqCst))
    }
}
