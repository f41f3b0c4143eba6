//! How long to wait before the next try. Owns the length of the next pause. Must not wait.

use std::time::Duration;

use rand::RngExt;

/// The first pause is at most this long.
const FIRST: Duration = Duration::from_millis(500);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);
/// A session that lasted so long was a success: the next pause is short again.
const SUCCESS: Duration = Duration::from_secs(10);

/// Pauses that double, each between half and all of its length, so that many do not come back at
/// the same moment.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Backoff {
    /// Pauses of at most `longest`.
    #[must_use]
    pub fn up_to(longest: Duration) -> Self {
        Self { next: FIRST, longest }
    }

    /// The pause after a session that was up for `up`.
    pub fn pause(&mut self, up: Duration) -> Duration {
        if up >= SUCCESS {
            self.next = FIRST;
        }
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let mut longest = FIRST;
        for _ in 0..12 {
            let pause = backoff.pause(Duration::ZERO);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
            longest = (longest * 2).min(LONGEST);
        }
        assert_eq!(longest, LONGEST);
        assert!(backoff.pause(SUCCESS) <= FIRST);
    }
}
