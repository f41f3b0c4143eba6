//! How long to wait before connecting again. Must not wait, or read a clock.

use std::time::Duration;

use super::ending::{Ending, Next};

/// A connection that stood so long was a good one: what comes after it begins anew. Shorter, and a
/// server that takes connections only to drop them would be asked without end.
const STEADY: Duration = Duration::from_secs(10);
/// Beyond so many doublings the ceiling is above all that can be set.
const DOUBLINGS_MAX: u32 = 24;

/// Full jitter: any delay up to a ceiling that doubles with each attempt.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    largest: Duration,
    attempts: u32,
}

impl Backoff {
    /// Delays up to `first`, and later up to `largest`.
    #[must_use]
    pub fn new((first, largest): (Duration, Duration)) -> Self {
        Self { first, largest, attempts: 0 }
    }

    /// How long to wait after a connection that stood for `up`; `chance` is of 0 to 1.
    pub fn delay(&mut self, ending: &Ending, up: Duration, chance: f64) -> Duration {
        if up >= STEADY {
            self.attempts = 0;
        }
        let is_first = self.attempts == 0;
        let jitter = self.jitter(chance);
        match (ending.delay, ending.next) {
            (Some(asked), _) => asked,
            (None, Next::Now) if is_first => Duration::ZERO,
            _ => ending.delay_min.saturating_add(jitter),
        }
    }

    /// The next delay.
    pub fn jitter(&mut self, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempts.min(DOUBLINGS_MAX));
        self.attempts = self.attempts.saturating_add(1);
        doubled.min(self.largest).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new((Duration::from_millis(500), Duration::from_secs(20)))
    }

    #[test]
    fn the_ceiling_doubles_to_the_largest_and_a_good_connection_begins_anew() {
        let mut backoff = backoff();
        let lost = Ending::lost("");
        let mut next = |up: u64| backoff.delay(&lost, Duration::from_secs(up), 1.0).as_millis();
        assert_eq!([next(0), next(9), next(0)], [500, 1000, 2000]);
        assert_eq!((0..40).map(|_| next(0)).last(), Some(20_000));
        assert_eq!(next(10), 500);
    }

    #[test]
    fn what_the_server_asks_for_is_obeyed() {
        let mut backoff = backoff();
        let mut delay = |ending: &Ending| backoff.delay(ending, Duration::ZERO, 0.5).as_millis();
        let drained = Ending::of_close(1001, "draining: reconnect after 70 ms");
        assert_eq!(delay(&drained), 70);
        assert_eq!(delay(&Ending::of_close(4409, "lagged")), 500, "at once only the first time");
        let full = Ending::of_status(503, "full", Some("3"));
        assert_eq!(delay(&full), 4000);
        let mut fresh = super::tests::backoff();
        assert_eq!(fresh.delay(&Ending::of_close(4409, ""), Duration::ZERO, 0.5), Duration::ZERO);
    }
}
