//! Latency histograms without losses: negative values are counted with their extreme, and values
//! beyond the range are counted in the last bucket. Must not know what is measured.

use hdrhistogram::{Counter, Histogram};

/// A mergeable histogram of signed nanoseconds: three significant digits from 1 ns to 100 s.
#[derive(Debug, Clone)]
pub struct SignedHistogram {
    values: Histogram<u64>,
    negatives: u64,
    min_negative_ns: i64,
    max_ns: i64,
    saturated: u64,
}

impl SignedHistogram {
    /// An empty histogram, about 220 KiB.
    pub fn new() -> SignedHistogram {
        SignedHistogram {
            values: bounded(RANGE_NS, DIGITS),
            negatives: 0,
            min_negative_ns: 0,
            max_ns: i64::MIN,
            saturated: 0,
        }
    }

    /// Records a value; every value is accepted.
    #[inline]
    pub fn record(&mut self, ns: i64) {
        self.record_many(ns, 1);
    }

    /// Records a value so many times.
    #[inline]
    pub fn record_many(&mut self, ns: i64, times: u64) {
        if times == 0 {
            return;
        }
        self.max_ns = self.max_ns.max(ns);
        match u64::try_from(ns) {
            Ok(ns) => {
                self.saturated += if ns > RANGE_NS { times } else { 0 };
                self.values.saturating_record_n(ns, times);
            }
            Err(_) => {
                self.negatives += times;
                self.min_negative_ns = self.min_negative_ns.min(ns);
            }
        }
    }

    /// Adds everything another histogram holds; order does not matter.
    pub fn merge(&mut self, other: &SignedHistogram) {
        merge_same_bounds(&mut self.values, &other.values);
        self.negatives += other.negatives;
        self.min_negative_ns = self.min_negative_ns.min(other.min_negative_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.saturated += other.saturated;
    }

    /// Values recorded, negative ones included.
    pub fn len(&self) -> u64 {
        self.values.len() + self.negatives
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at a quantile (0 to 1) of all recorded values, ns. For a quantile among the
    /// negative values it is their extreme. 0 when empty.
    pub fn quantile(&self, quantile: f64) -> i64 {
        let rank = (quantile.clamp(0.0, 1.0) * self.len() as f64).ceil().max(1.0) as u64;
        match rank.checked_sub(self.negatives) {
            _ if self.is_empty() => 0,
            None | Some(0) => self.min_negative_ns,
            Some(rank) => self.at_rank(rank).min(self.max_ns),
        }
    }

    /// The largest value, exact, ns; 0 when empty.
    pub fn max(&self) -> i64 {
        if self.is_empty() { 0 } else { self.max_ns }
    }

    /// Mean of the values that are not negative, ns; 0 when empty.
    pub fn mean(&self) -> f64 {
        if self.values.is_empty() { 0.0 } else { self.values.mean() }
    }

    /// The number of negative values. If there are any, the clocks disagree.
    pub fn negatives(&self) -> u64 {
        self.negatives
    }

    /// The most negative value, ns; 0 if there was none.
    pub fn min_negative(&self) -> i64 {
        self.min_negative_ns
    }

    /// Values beyond the range: in the last bucket, and exact in `max`.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The values that are not negative, for writers of histogram files.
    pub fn values(&self) -> &Histogram<u64> {
        &self.values
    }

    /// The values that the counts do not contain.
    pub fn extremes(&self) -> Extremes {
        Extremes {
            negatives: self.negatives,
            min_negative_ns: self.min_negative_ns,
            max_ns: self.max(),
            saturated: self.saturated,
        }
    }

    /// The histogram with these counts.
    ///
    /// # Errors
    /// When a value is out of range, so that this program cannot have written it.
    pub fn of(
        values: &Histogram<u64>,
        extremes: Extremes,
    ) -> Result<SignedHistogram, hdrhistogram::AdditionError> {
        let mut histogram = SignedHistogram::new();
        histogram.values.add(values)?;
        let Extremes { negatives, min_negative_ns, max_ns, saturated } = extremes;
        Ok(SignedHistogram { negatives, min_negative_ns, max_ns, saturated, ..histogram })
    }

    fn at_rank(&self, rank: u64) -> i64 {
        // Half a rank less, so that rounding cannot raise the product to the next rank.
        let quantile = (rank as f64 - 0.5) / self.values.len() as f64;
        i64::try_from(self.values.value_at_quantile(quantile)).unwrap_or(i64::MAX)
    }
}

/// Adds what another histogram holds, if there is one, to one that may not be there yet.
pub fn merge_some(into: &mut Option<Box<SignedHistogram>>, from: Option<&SignedHistogram>) {
    if let Some(from) = from {
        into.get_or_insert_default().merge(from);
    }
}

/// What the counts of a histogram do not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extremes {
    /// Values below zero.
    pub negatives: u64,
    /// The most negative one, ns; 0 if there was none.
    pub min_negative_ns: i64,
    /// The largest value, exact, ns; 0 when empty.
    pub max_ns: i64,
    /// Values beyond the range.
    pub saturated: u64,
}

impl Default for SignedHistogram {
    fn default() -> SignedHistogram {
        SignedHistogram::new()
    }
}

/// A small histogram of one second: two significant digits, about 10 KiB.
#[derive(Debug, Clone)]
pub struct SecondHistogram {
    values: Histogram<u32>,
    max_ns: i64,
}

impl SecondHistogram {
    /// An empty histogram.
    pub fn new() -> SecondHistogram {
        SecondHistogram { values: bounded(RANGE_NS, 2), max_ns: i64::MIN }
    }

    /// Records a value; a negative one counts as zero here, and the run's histograms keep it.
    #[inline]
    pub fn record(&mut self, ns: i64) {
        self.max_ns = self.max_ns.max(ns);
        self.values.saturating_record(u64::try_from(ns).unwrap_or(0));
    }

    /// Adds everything another second's histogram holds.
    pub fn merge(&mut self, other: &SecondHistogram) {
        merge_same_bounds(&mut self.values, &other.values);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value at a quantile (0 to 1), ns; 0 when empty.
    pub fn quantile(&self, quantile: f64) -> i64 {
        let at = i64::try_from(self.values.value_at_quantile(quantile)).unwrap_or(i64::MAX);
        if self.is_empty() { 0 } else { at.min(self.max_ns) }
    }

    /// The largest value, exact, ns; 0 when empty.
    pub fn max(&self) -> i64 {
        if self.is_empty() { 0 } else { self.max_ns }
    }

    /// The values, for writers.
    pub fn values(&self) -> &Histogram<u32> {
        &self.values
    }

    /// The histogram with these counts.
    ///
    /// # Errors
    /// When a value is out of range, so that this program cannot have written it.
    pub fn of(
        values: &Histogram<u32>,
        max_ns: i64,
    ) -> Result<SecondHistogram, hdrhistogram::AdditionError> {
        let mut second = SecondHistogram { max_ns, ..SecondHistogram::new() };
        second.values.add(values)?;
        Ok(second)
    }

    /// The values recorded, ns, with their counts.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let steps = self.values.iter_recorded();
        steps.map(|step| (step.value_iterated_to(), u64::from(step.count_at_value())))
    }
}

impl Default for SecondHistogram {
    fn default() -> SecondHistogram {
        SecondHistogram::new()
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants, and a test makes both kinds")]
fn bounded<C: Counter>(high_ns: u64, digits: u8) -> Histogram<C> {
    Histogram::new_with_bounds(1, high_ns, digits).expect("constant bounds are valid")
}

#[expect(clippy::expect_used, reason = "only a source with wider bounds can be refused")]
fn merge_same_bounds<C: Counter>(into: &mut Histogram<C>, from: &Histogram<C>) {
    into.add(from).expect("histograms of one kind have the same bounds");
}

const RANGE_NS: u64 = 100_000_000_000;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn negatives_are_counted_with_their_extreme() {
        let mut histogram = SignedHistogram::new();
        [-5_000, -7, 10, 20].into_iter().for_each(|ns| histogram.record(ns));
        assert_eq!((histogram.len(), histogram.negatives()), (4, 2));
        assert_eq!(histogram.min_negative(), -5_000);
        assert_eq!([0.25, 0.5, 0.75, 1.0].map(|q| histogram.quantile(q)), [-5000, -5000, 10, 20]);
    }

    #[test]
    fn beyond_the_range_is_counted_and_the_maximum_stays_exact() {
        let mut histogram = SignedHistogram::new();
        histogram.record(250_000_000_123);
        histogram.record(1_000_000_007);
        assert_eq!((histogram.saturated(), histogram.max()), (1, 250_000_000_123));
        assert_eq!(histogram.len(), 2);
    }

    #[test]
    fn empty_histograms_answer_zero() {
        let histogram = SignedHistogram::new();
        assert_eq!((histogram.quantile(0.99), histogram.max()), (0, 0));
        assert_eq!((SecondHistogram::new().quantile(0.5), SecondHistogram::new().max()), (0, 0));
    }

    proptest! {
        #[test]
        fn merging_is_recording_the_union(
            left in prop::collection::vec(-1000i64..1 << 37, 0..50),
            right in prop::collection::vec(-1000i64..1 << 37, 0..50),
        ) {
            let of = |values: &[i64]| {
                let mut histogram = SignedHistogram::new();
                values.iter().for_each(|ns| histogram.record(*ns));
                histogram
            };
            let mut merged = of(&left);
            merged.merge(&of(&right));
            let union = of(&[left, right].concat());
            prop_assert_eq!(merged.values(), union.values());
            prop_assert_eq!(
                (merged.len(), merged.negatives(), merged.min_negative(), merged.max()),
                (union.len(), union.negatives(), union.min_negative(), union.max())
            );
            prop_assert_eq!(merged.saturated(), union.saturated());
        }

        #[test]
        fn quantiles_are_within_a_thousandth(
            values in prop::collection::vec(1i64..1 << 36, 1..99),
        ) {
            let mut histogram = SignedHistogram::new();
            values.iter().for_each(|ns| histogram.record(*ns));
            let mut sorted = values;
            sorted.sort_unstable();
            let exact = sorted[sorted.len().div_ceil(2) - 1];
            let error = (histogram.quantile(0.5) - exact).abs();
            prop_assert!(error <= exact / 1000 + 1, "{error} off {exact}");
        }
    }
}
