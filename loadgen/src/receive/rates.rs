//! Whether feeds that were requested at a rate arrived at that rate: a tally over sockets and
//! topics. Pure; must not know sockets or time.

use serde::{Deserialize, Serialize};

/// The frames per second and topic of many sockets, compared with the requested rate.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// The number of checked feeds: one per topic and socket.
    pub topics: u64,
    /// Those whose rate was outside 0.9 to 1.05 of the requested one.
    pub outside: u64,
    /// The slowest, frames per second.
    pub slowest_per_s: f64,
    /// The fastest, frames per second.
    pub fastest_per_s: f64,
}

impl Rates {
    /// Checks one topic of one socket: frames received of those published at `fps`, with `rate`
    /// requested. A feed cannot be faster than its publisher, and the first and last interval of
    /// the run may be incomplete.
    pub fn note(&mut self, received: u32, published: u32, fps: f64, rate: u32) {
        let seconds = f64::from(published) / fps;
        if seconds <= 0.0 {
            return;
        }
        let wanted = fps.min(f64::from(rate)) * seconds;
        let allowed = wanted * SHARE_MIN - CUT..=wanted * SHARE_MAX + CUT;
        let per_s = f64::from(received) / seconds;
        let whole = Rates {
            topics: 1,
            outside: u64::from(!allowed.contains(&f64::from(received))),
            slowest_per_s: per_s,
            fastest_per_s: per_s,
        };
        self.merge(&whole);
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Rates) {
        if other.topics == 0 {
            return;
        }
        if self.topics == 0 {
            *self = *other;
            return;
        }
        self.topics += other.topics;
        self.outside += other.outside;
        self.slowest_per_s = self.slowest_per_s.min(other.slowest_per_s);
        self.fastest_per_s = self.fastest_per_s.max(other.fastest_per_s);
    }
}

const SHARE_MIN: f64 = 0.9;
const SHARE_MAX: f64 = 1.05;
/// The number of frames that an incomplete interval may add or remove.
const CUT: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_outside_of_what_was_asked_for_are_counted() {
        let mut rates = Rates::default();
        // 20 s of 50/s; 4/s are asked for, so 71 to 85 frames.
        for received in [80, 71, 85, 70, 86, 1000, 0] {
            rates.note(received, 1000, 50.0, 4);
        }
        assert_eq!((rates.topics, rates.outside), (7, 4));
        assert_eq!((rates.slowest_per_s, rates.fastest_per_s), (0.0, 50.0));
    }

    #[test]
    fn a_publisher_slower_than_the_rate_sets_it() {
        let mut rates = Rates::default();
        rates.note(100, 100, 10.0, 30);
        rates.note(0, 0, 10.0, 30);
        assert_eq!((rates.topics, rates.outside), (1, 0));
    }
}
