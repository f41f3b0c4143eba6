//! A token bucket: how often something may happen. Must not decide what happens when it may not.

/// Allows `per_s` events a second on average and a second's worth at once.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    per_s: u32,
    tokens: f64,
    filled_ns: u64,
}

impl TokenBucket {
    /// A full bucket; `per_s` of 0 allows everything.
    pub fn new(per_s: u32, now_ns: u64) -> Self {
        Self { per_s, tokens: f64::from(per_s), filled_ns: now_ns }
    }

    /// Goes on at another rate.
    pub fn retune(&mut self, per_s: u32, now_ns: u64) {
        if self.per_s != per_s {
            *self = Self::new(per_s, now_ns);
        }
    }

    /// Takes one token; false when there is none.
    pub fn take(&mut self, now_ns: u64) -> bool {
        if self.per_s == 0 {
            return true;
        }
        self.fill(now_ns);
        let allowed = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(allowed));
        allowed
    }

    /// Whether it is as a new one would be.
    pub fn is_full(&self, now_ns: u64) -> bool {
        self.tokens_at(now_ns) >= f64::from(self.per_s)
    }

    fn tokens_at(&self, now_ns: u64) -> f64 {
        let per_s = f64::from(self.per_s);
        let gained = now_ns.saturating_sub(self.filled_ns) as f64 / NS_PER_S * per_s;
        (self.tokens + gained).min(per_s)
    }

    fn fill(&mut self, now_ns: u64) {
        self.tokens = self.tokens_at(now_ns);
        // Cores hand in their times in any order.
        self.filled_ns = self.filled_ns.max(now_ns);
    }
}

/// Allows so many events within each second: coarser than a bucket, and 8 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerSecond {
    second: u32,
    count: u32,
}

impl PerSecond {
    /// Counts one event in `second`; false when it is one too many. A `max` of 0 allows everything.
    pub fn take(&mut self, second: u32, max: u32) -> bool {
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        max == 0 || self.count <= max
    }
}

const NS_PER_S: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worth_passes_at_once_and_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 0);
        assert_eq!((0..20).filter(|_| bucket.take(0)).count(), 10);
        assert!(!bucket.take(99_000_000));
        assert!(bucket.take(100_000_000));
        assert!(!bucket.is_full(1_000_000_000) && bucket.is_full(1_100_000_000));
    }

    #[test]
    fn time_that_goes_back_gives_nothing_away() {
        let mut bucket = TokenBucket::new(1, 0);
        assert!(bucket.take(1_000_000_000));
        assert!(!bucket.take(0) && !bucket.take(1_000_000_000));
    }

    #[test]
    fn each_second_allows_its_own() {
        let mut per_second = PerSecond::default();
        assert_eq!((0..5).filter(|_| per_second.take(7, 3)).count(), 3);
        assert!(per_second.take(8, 3));
        assert!((0..9).all(|_| per_second.take(8, 0)));
    }

    #[test]
    fn another_rate_begins_anew_and_the_same_goes_on() {
        let mut bucket = TokenBucket::new(1, 0);
        assert!(bucket.take(0));
        bucket.retune(1, 0);
        assert!(!bucket.take(0) && !bucket.is_full(999_999_999) && bucket.is_full(1_000_000_000));
        bucket.retune(2, 0);
        assert!(bucket.take(0) && bucket.take(0) && !bucket.take(0));
    }

    #[test]
    fn zero_means_no_limit() {
        let mut bucket = TokenBucket::new(0, 0);
        assert!((0..1000).all(|_| bucket.take(0)));
    }
}
