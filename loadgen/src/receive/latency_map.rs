//! The distribution of latencies in each second of a run, for a heat map: counts in buckets, four
//! per power of two. Long runs use longer steps instead of more steps. Must not read clocks, nor
//! draw.

use std::collections::BTreeMap;
use std::mem;

use crate::receive::histograms::SecondHistogram;

/// Counts by bucket; see [`bucket_of`].
pub type BucketCounts = BTreeMap<u8, u64>;

/// The stored form of counts: pairs of bucket and count.
pub mod pairs {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::BucketCounts;

    /// Writes them.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn serialize<S: Serializer>(counts: &BucketCounts, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(counts)
    }

    /// Reads them.
    ///
    /// # Errors
    /// When the input is not such pairs.
    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<BucketCounts, D::Error> {
        Vec::<(u8, u64)>::deserialize(from).map(|pairs| pairs.into_iter().collect())
    }
}

/// The bucket of a latency in ns; the next one begins at most a quarter above it.
pub fn bucket_of(ns: u64) -> u8 {
    let exponent = ns.max(1).ilog2();
    match exponent {
        0 | 1 => ns as u8,
        _ => (4 * (exponent - 1) + ((ns >> (exponent - 2)) & 3) as u32) as u8,
    }
}

/// The lower end of a bucket, ns.
pub fn bucket_from_ns(bucket: u8) -> f64 {
    match bucket {
        0..4 => f64::from(bucket),
        _ => f64::from(4 + bucket % 4) * f64::from(bucket / 4 - 1).exp2(),
    }
}

/// The counts of a run, by the first second of each step.
#[derive(Debug)]
pub struct LatencyMap {
    step_s: u32,
    steps: BTreeMap<u32, BucketCounts>,
}

impl LatencyMap {
    /// Adds what was received in a second.
    pub fn add(&mut self, t_s: u32, latencies: &SecondHistogram) {
        if !latencies.is_empty() {
            self.merge(t_s, latencies.counts().map(|(ns, count)| (bucket_of(ns), count)));
        }
    }

    /// All steps, by their first second.
    pub fn finish(self) -> BTreeMap<u32, BucketCounts> {
        self.steps
    }

    fn merge(&mut self, t_s: u32, counts: impl Iterator<Item = (u8, u64)>) {
        let into = self.steps.entry(t_s - t_s % self.step_s).or_default();
        counts.for_each(|(bucket, count)| *into.entry(bucket).or_default() += count);
        if self.steps.len() > STEPS_MAX {
            self.widen();
        }
    }

    fn widen(&mut self) {
        self.step_s *= 2;
        for (t_s, counts) in mem::take(&mut self.steps) {
            self.merge(t_s, counts.into_iter());
        }
    }
}

impl Default for LatencyMap {
    fn default() -> LatencyMap {
        LatencyMap { step_s: 1, steps: BTreeMap::new() }
    }
}

/// The most steps; more cannot be shown, so steps become longer instead.
const STEPS_MAX: usize = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn second(latencies_ns: &[i64]) -> SecondHistogram {
        let mut second = SecondHistogram::new();
        latencies_ns.iter().for_each(|ns| second.record(*ns));
        second
    }

    #[test]
    fn buckets_follow_each_other() {
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 16].map(bucket_of),
            [0, 1, 2, 3, 4, 5, 7, 8, 8, 9, 12]
        );
        assert_eq!([0, 3, 4, 7, 8, 9, 12].map(bucket_from_ns), [0., 3., 4., 7., 8., 10., 16.]);
        assert_eq!(bucket_of(u64::MAX), 251);
    }

    #[test]
    fn long_runs_keep_a_bounded_number_of_steps() {
        let mut map = LatencyMap::default();
        let one = second(&[1_000]);
        (0..20_000).for_each(|t_s| map.add(t_s, &one));
        assert_eq!(map.step_s, 8);
        let steps = map.finish();
        assert!(steps.len() <= STEPS_MAX);
        assert_eq!(steps.values().flat_map(BTreeMap::values).sum::<u64>(), 20_000);
        assert!(steps.keys().all(|t_s| t_s % 8 == 0));
    }

    #[test]
    fn seconds_without_a_frame_take_no_room() {
        let mut map = LatencyMap::default();
        map.add(7, &SecondHistogram::new());
        assert!(map.finish().is_empty());
    }

    proptest! {
        #[test]
        fn a_latency_lies_in_its_bucket(ns in 0u64..1 << 50) {
            let bucket = bucket_of(ns);
            prop_assert!(bucket_from_ns(bucket) <= ns as f64);
            prop_assert!((ns as f64) < bucket_from_ns(bucket + 1));
        }

        /// The histogram of a second has finer buckets, each inside one of these.
        #[test]
        fn a_second_tells_the_bucket(ns in 0u64..1 << 36) {
            let mut map = LatencyMap::default();
            map.add(0, &second(&[ns.cast_signed()]));
            prop_assert_eq!(&map.finish()[&0], &BTreeMap::from([(bucket_of(ns), 1)]));
        }
    }
}
