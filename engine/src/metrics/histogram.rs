//! A histogram with one bucket for each power of two: constant memory, a few instructions a value.
//! Written by one thread. Must not know the unit of its values.

use crate::metrics::counter::Counter;

/// Counts values in `N` buckets. The first takes what is not above two to the power of `LOG2_MIN`,
/// each next one has twice the bound of the one before, the last takes the rest.
#[derive(Debug)]
pub struct Histogram<const LOG2_MIN: u32, const N: usize> {
    buckets: [Counter; N],
    sum: Counter,
}

/// What several histograms of one kind hold together.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// Upper bounds in the reader's unit, the last one infinite, each with its own count.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all values, in the reader's unit.
    pub sum: f64,
    /// How many values there were.
    pub count: u64,
}

impl<const LOG2_MIN: u32, const N: usize> Default for Histogram<LOG2_MIN, N> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum: Counter::default() }
    }
}

impl<const LOG2_MIN: u32, const N: usize> Histogram<LOG2_MIN, N> {
    /// Counts `value` so many times.
    #[inline]
    pub fn record(&self, value: u64, times: u64) {
        let log2_up = u64::BITS - value.saturating_sub(1).leading_zeros();
        let index = log2_up.saturating_sub(LOG2_MIN) as usize;
        if let Some(bucket) = self.buckets.get(index.min(N - 1)) {
            bucket.add(times);
        }
        self.sum.add(value.saturating_mul(times));
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::value).fold(0, u64::wrapping_add)
    }

    /// Adds up `histograms`, in units of which one has `per_unit`.
    pub fn merge<'h>(histograms: impl Iterator<Item = &'h Self>, per_unit: f64) -> Merged {
        let (mut counts, mut sum) = ([0; N], 0.0);
        for histogram in histograms {
            sum += histogram.sum.value() as f64 / per_unit;
            for (count, bucket) in counts.iter_mut().zip(&histogram.buckets) {
                *count += bucket.value();
            }
        }
        let bounds = (LOG2_MIN..).map(|log2| 2_f64.powi(log2 as i32) / per_unit);
        let bounds = bounds.take(N - 1).chain([f64::INFINITY]);
        Merged { buckets: bounds.zip(counts).collect(), sum, count: counts.iter().sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index_of(value: u64) -> usize {
        let histogram = Histogram::<2, 5>::default();
        histogram.record(value, 1);
        histogram.buckets.iter().position(|bucket| bucket.value() == 1).unwrap()
    }

    #[test]
    fn bounds_are_inclusive_powers_of_two() {
        for (value, index) in
            [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (32, 3), (33, 4), (u64::MAX, 4)]
        {
            assert_eq!(index_of(value), index, "{value}");
        }
    }

    #[test]
    fn merging_adds_up_in_the_readers_unit() {
        let (a, b) = (Histogram::<1, 3>::default(), Histogram::<1, 3>::default());
        a.record(1, 2);
        b.record(9, 1);
        let merged = Histogram::merge([&a, &b].into_iter(), 10.0);
        assert_eq!(merged.buckets, [(0.2, 2), (0.4, 0), (f64::INFINITY, 1)]);
        assert_eq!(merged.count, 3);
        assert!((merged.sum - 1.1).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn every_value_lies_at_or_below_its_bound(value in any::<u64>()) {
            let histogram = Histogram::<10, 26>::default();
            histogram.record(value, 1);
            let merged = Histogram::merge([&histogram].into_iter(), 1.0);
            let at = merged.buckets.iter().position(|(_, count)| *count == 1).unwrap();
            prop_assert!(value as f64 <= merged.buckets[at].0);
            prop_assert!(at == 0 || value as f64 >= merged.buckets[at - 1].0);
        }
    }
}
