//! Right-censored latencies: of a frame that had not arrived by the end of the drain only a lower
//! bound is known, its age at that time. Owns the percentiles over exact and censored values. Must
//! not know frames, classes or clocks.

use crate::receive::histograms::SignedHistogram;

/// Latencies of frames that arrived, and lower bounds for frames that had not arrived.
#[derive(Debug, Clone, Default)]
pub struct Censored {
    all: SignedHistogram,
    came: u64,
    /// The smallest of the lower bounds, ns; `None` if all frames arrived.
    least_wait_ns: Option<i64>,
}

/// A latency, or a lower bound of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Nanoseconds.
    pub ns: i64,
    /// Whether the true value may be larger.
    pub is_least: bool,
}

impl Censored {
    /// The latencies of frames that arrived, and the ages of the others at the end of the drain.
    pub fn of(came: &SignedHistogram, waiting: Option<&SignedHistogram>) -> Censored {
        let mut censored = Censored::default();
        censored.add(came, waiting);
        censored
    }

    /// Adds those of other sockets.
    pub fn add(&mut self, came: &SignedHistogram, waiting: Option<&SignedHistogram>) {
        self.all.merge(came);
        self.came += came.len();
        let Some(waiting) = waiting.filter(|waiting| !waiting.is_empty()) else { return };
        self.all.merge(waiting);
        let least_ns = waiting.quantile(0.0);
        self.least_wait_ns = Some(self.least_wait_ns.map_or(least_ns, |ns| ns.min(least_ns)));
    }

    /// All values; those of frames that did not arrive are lower bounds.
    pub fn all(&self) -> &SignedHistogram {
        &self.all
    }

    /// The smallest of the lower bounds, ns; `None` if all frames arrived.
    pub fn least_wait_ns(&self) -> Option<i64> {
        self.least_wait_ns
    }

    /// Frames that arrived.
    pub fn came(&self) -> u64 {
        self.came
    }

    /// Whether there is no value, not even a lower bound.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The latency at a quantile (0 to 1). It is exact if it lies below every lower bound.
    pub fn quantile(&self, quantile: f64) -> Latency {
        let ns = if quantile < 1.0 { self.all.quantile(quantile) } else { self.all.max() };
        // The largest latency may be that of a frame that has not arrived.
        let is_least = self.least_wait_ns.is_some_and(|least_ns| ns >= least_ns || quantile >= 1.0);
        Latency { ns, is_least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[i64]) -> SignedHistogram {
        let mut histogram = SignedHistogram::new();
        values.iter().for_each(|ns| histogram.record(*ns));
        histogram
    }

    #[test]
    fn percentiles_are_exact_up_to_the_least_wait() {
        let came = histogram(&[10, 20, 30, 40, 50, 60]);
        let censored = Censored::of(&came, Some(&histogram(&[35, 100])));
        let at = |quantile| {
            let Latency { ns, is_least } = censored.quantile(quantile);
            (ns, is_least)
        };
        assert_eq!([at(0.25), at(0.375)], [(20, false), (30, false)]);
        assert_eq!([at(0.5), at(0.75), at(1.0)], [(35, true), (50, true), (100, true)]);
        assert_eq!(censored.came(), 6);
    }

    #[test]
    fn without_a_tail_nothing_is_open() {
        let censored = Censored::of(&histogram(&[10, 20]), Some(&SignedHistogram::new()));
        assert_eq!(censored.quantile(1.0), Latency { ns: 20, is_least: false });
        assert!(Censored::default().is_empty());
    }

    #[test]
    fn the_longest_latency_is_open_while_any_frame_is() {
        let censored = Censored::of(&histogram(&[10, 900]), Some(&histogram(&[30])));
        assert_eq!(censored.quantile(1.0), Latency { ns: 900, is_least: true });
    }
}
