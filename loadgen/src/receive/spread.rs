//! Fan-out spread: for a sampled frame, the time from its sending until the first, the median and
//! the last healthy subscriber received it. All samples are kept, so the number of sampled frames
//! is limited before the run instead of dropping samples later. Must not know time or sockets.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::plan::plan::Plan;
use crate::receive::outcome::spread::SpreadOutcome;
use crate::scenario::groups::ClassKind;

/// The sampling interval of a plan: the requested one, increased until all samples fit into their
/// memory limit. `frames` is the number of measured frames of each publisher.
pub fn sample_every(plan: &Plan, frames: &[u64]) -> u32 {
    let arrivals: u64 = plan
        .subscribers
        .iter()
        .filter(|subscriber| is_healthy(plan, subscriber.class))
        .flat_map(|subscriber| plan.followed(subscriber.follows))
        .map(|publisher| frames.get(publisher as usize).copied().unwrap_or(0))
        .sum();
    let fitting = u32::try_from(arrivals.div_ceil(SAMPLES_MAX)).unwrap_or(u32::MAX);
    plan.spread_every.max(fitting).max(1)
}

/// Arrivals of sampled frames, of one thread or of all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32, Vec<u32>)>", into = "Vec<(u32, u32, Vec<u32>)>")]
pub struct SpreadSamples {
    arrivals: FxHashMap<(u32, u32), Vec<u32>>,
}

impl SpreadSamples {
    /// Records one arrival of a sampled frame, as the time since it was sent.
    pub fn record(&mut self, publisher: u32, seq: u32, after_ns: i64) {
        let units = u64::try_from(after_ns).unwrap_or(0) / UNIT_NS;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.arrivals.entry((publisher, seq)).or_default().push(units);
    }

    /// Adds the arrivals of another thread.
    pub fn merge(&mut self, other: SpreadSamples) {
        for (frame, mut arrivals) in other.arrivals {
            self.arrivals.entry(frame).or_default().append(&mut arrivals);
        }
    }

    /// First, median and last arrival of every sampled frame.
    pub fn finish(self) -> SpreadOutcome {
        let mut outcome = SpreadOutcome::default();
        for mut arrivals in self.arrivals.into_values() {
            arrivals.sort_unstable();
            let middle = arrivals.len().div_ceil(2).saturating_sub(1);
            if let (Some(first), Some(median), Some(last)) =
                (arrivals.first(), arrivals.get(middle), arrivals.last())
            {
                outcome.sampled += 1;
                outcome.first.record(nanoseconds(*first));
                outcome.median.record(nanoseconds(*median));
                outcome.last.record(nanoseconds(*last));
            }
        }
        outcome
    }
}

/// The stored form: publisher, frame number, arrivals.
impl From<SpreadSamples> for Vec<(u32, u32, Vec<u32>)> {
    fn from(samples: SpreadSamples) -> Self {
        let frames = samples.arrivals.into_iter();
        frames.map(|((publisher, seq), arrivals)| (publisher, seq, arrivals)).collect()
    }
}

impl From<Vec<(u32, u32, Vec<u32>)>> for SpreadSamples {
    fn from(written: Vec<(u32, u32, Vec<u32>)>) -> SpreadSamples {
        let mut samples = SpreadSamples::default();
        for (publisher, seq, mut arrivals) in written {
            samples.arrivals.entry((publisher, seq)).or_default().append(&mut arrivals);
        }
        samples
    }
}

fn nanoseconds(units: u32) -> i64 {
    i64::from(units) * UNIT_NS as i64
}

fn is_healthy(plan: &Plan, class: u16) -> bool {
    plan.classes.get(usize::from(class)).is_some_and(|class| class.kind == ClassKind::Healthy)
}

/// The time unit of a stored arrival: 32 bits of it cover more than a minute.
const UNIT_NS: u64 = 16;
/// The most arrivals kept in a run: 32 MiB.
const SAMPLES_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_median_and_last_over_all_threads() {
        let (mut here, mut there) = (SpreadSamples::default(), SpreadSamples::default());
        [3_200, 1_600, 32_000].into_iter().for_each(|ns| here.record(0, 7, ns));
        [800, 64_000].into_iter().for_each(|ns| there.record(0, 7, ns));
        there.record(1, 7, 480);
        here.merge(there);
        let outcome = here.finish();
        assert_eq!(outcome.sampled, 2);
        assert_eq!(
            (outcome.first.max(), outcome.median.max(), outcome.last.max()),
            (800, 3_200, 64_000)
        );
        assert_eq!(outcome.last.quantile(0.0), 480);
    }

    #[test]
    fn out_of_range_arrivals_saturate() {
        let mut samples = SpreadSamples::default();
        samples.record(0, 0, -5);
        samples.record(0, 0, i64::MAX);
        let outcome = samples.finish();
        assert_eq!(outcome.first.max(), 0);
        assert_eq!(outcome.last.max(), nanoseconds(u32::MAX));
    }
}
