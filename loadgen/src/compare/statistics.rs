//! The statistics of comparisons: two exact rank tests, the ratio of two sides with its confidence
//! interval, and the correction for several metrics. A whole run is one number here; must not know
//! what it measures.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// Number of resamplings for an interval.
const RESAMPLES: usize = 2_000;
/// Share of resamplings outside the interval on each side; the interval covers 95 %.
const TAIL: f64 = 0.025;

/// The two-sided p-value of the Mann-Whitney test: the probability that two samples of one
/// distribution differ in rank at least this much. Exact, with or without ties.
pub fn mann_whitney(base: &[f64], cand: &[f64]) -> f64 {
    let pooled = [base, cand].concat();
    let ranks = doubled_ranks(&pooled);
    let seen: usize = ranks.iter().take(base.len()).sum();
    let sums = sums_of_subsets(&ranks, base.len());
    let mean = base.len() * (pooled.len() + 1);
    share_as_far(&sums, seen, mean)
}

/// Ranks from 1, in units of one half, so that ties can share their mean rank.
fn doubled_ranks(values: &[f64]) -> Vec<usize> {
    let below = |one: f64| values.iter().filter(|other| **other < one).count();
    let up_to = |one: f64| values.iter().filter(|other| **other <= one).count();
    values.iter().map(|&one| below(one) + up_to(one) + 1).collect()
}

/// The number of subsets of `size` ranks with each sum.
fn sums_of_subsets(ranks: &[usize], size: usize) -> Vec<f64> {
    let total: usize = ranks.iter().sum();
    let mut by_size = vec![vec![0.0; total + 1]; size + 1];
    by_size[0][0] = 1.0;
    for (taken, &rank) in ranks.iter().enumerate() {
        for chosen in (1..=size.min(taken + 1)).rev() {
            let (smaller, same) = by_size.split_at_mut(chosen);
            for sum in rank..=total {
                same[0][sum] += smaller[chosen - 1][sum - rank];
            }
        }
    }
    by_size.pop().unwrap_or_default()
}

/// The two-sided p-value of Wilcoxon's signed-rank test: the probability that the ranks of the pair
/// differences lean at least this much to one side, if either side of a pair is equally likely to
/// be larger. Differences are of logarithms; pairs without a difference are left out. Exact, with
/// or without ties.
pub fn signed_rank(pairs: &[(f64, f64)]) -> f64 {
    let differences = pairs.iter().map(|(base, cand)| cand.ln() - base.ln());
    let differences: Vec<_> = differences.filter(|by| *by != 0.0).collect();
    let ranks = doubled_ranks(&differences.iter().map(|by| by.abs()).collect::<Vec<_>>());
    let above = ranks.iter().zip(&differences).filter(|(_, by)| **by > 0.0);
    let seen: usize = above.map(|(rank, _)| rank).sum();
    let mean = ranks.len() * (ranks.len() + 1) / 2;
    share_as_far(&sums_of_all_subsets(&ranks), seen, mean)
}

/// The number of subsets of the ranks with each sum.
fn sums_of_all_subsets(ranks: &[usize]) -> Vec<f64> {
    let mut counts = vec![0.0; ranks.iter().sum::<usize>() + 1];
    counts[0] = 1.0;
    for &rank in ranks {
        for sum in (rank..counts.len()).rev() {
            counts[sum] += counts[sum - rank];
        }
    }
    counts
}

fn share_as_far(counts: &[f64], seen: usize, mean: usize) -> f64 {
    let distance = seen.abs_diff(mean);
    let far = counts.iter().enumerate().filter(|(sum, _)| sum.abs_diff(mean) >= distance);
    far.map(|(_, count)| count).sum::<f64>() / counts.iter().sum::<f64>()
}

/// The ratio of `cand` to `base`: the median of all ratios between a run of one and a run of the
/// other (the Hodges-Lehmann estimator of the logarithms). All values are positive.
pub fn ratio(base: &[f64], cand: &[f64]) -> f64 {
    log_ratio(&logs(base), &logs(cand)).exp()
}

fn logs(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.ln()).collect()
}

fn log_ratio(base: &[f64], cand: &[f64]) -> f64 {
    median(cand.iter().flat_map(|c| base.iter().map(move |b| c - b)).collect())
}

/// The same for runs taken in pairs, (base, cand): the median of the means of any two pairs.
pub fn paired_ratio(pairs: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = pairs.iter().map(|(base, cand)| (cand / base).ln()).collect();
    let means = (0..logs.len()).flat_map(|i| (i..logs.len()).map(move |j| (i, j)));
    median(means.map(|(i, j)| f64::midpoint(logs[i], logs[j])).collect()).exp()
}

/// The 95 % confidence interval of [`ratio`], by resampling the runs of each side.
pub fn ratio_interval(base: &[f64], cand: &[f64], seed: u64) -> (f64, f64) {
    let (base, cand) = (logs(base), logs(cand));
    interval(seed, |rng| log_ratio(&resample(&base, rng), &resample(&cand, rng)).exp())
}

/// The 95 % confidence interval of [`paired_ratio`], by resampling the pairs.
pub fn paired_interval(pairs: &[(f64, f64)], seed: u64) -> (f64, f64) {
    interval(seed, |rng| paired_ratio(&resample(pairs, rng)))
}

fn interval(seed: u64, mut draw: impl FnMut(&mut Xoshiro256PlusPlus) -> f64) -> (f64, f64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut drawn: Vec<_> = (0..RESAMPLES).map(|_| draw(&mut rng)).collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let outside = (RESAMPLES as f64 * TAIL) as usize;
    (drawn[outside], drawn[RESAMPLES - 1 - outside])
}

fn resample<T: Copy>(values: &[T], rng: &mut Xoshiro256PlusPlus) -> Vec<T> {
    (0..values.len()).map(|_| values[rng.random_range(0..values.len())]).collect()
}

/// The median; NaN if there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    let (half, is_odd) = (values.len() / 2, values.len() % 2 == 1);
    if values.is_empty() {
        return f64::NAN;
    }
    let (lower, &mut upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let below = lower.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if is_odd { upper } else { f64::midpoint(below, upper) }
}

/// The smallest and the largest value; infinite if there are none.
pub fn extremes(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// p-values corrected by Holm's method, so that testing several metrics does not raise the
/// probability of a false alarm.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let (mut adjusted, mut least) = (vec![0.0; order.len()], 0.0_f64);
    for (rank, &at) in order.iter().enumerate() {
        least = least.max(probabilities[at] * (order.len() - rank) as f64).min(1.0);
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    /// The smallest possible p-values at these sizes: 2 in (2n over n).
    #[test]
    fn sides_that_do_not_overlap_have_the_least_probability() {
        for (n, least) in [(3, 2.0 / 20.0), (4, 2.0 / 70.0), (5, 2.0 / 252.0), (8, 2.0 / 12870.0)] {
            let base: Vec<_> = (0..n).map(f64::from).collect();
            let cand: Vec<_> = (0..n).map(|i| f64::from(i) + 100.0).collect();
            assert!(close(mann_whitney(&base, &cand), least), "{n}");
            assert!(close(mann_whitney(&cand, &base), least), "{n}, the other way");
        }
    }

    /// Checked by counting all 20 ways to choose three of six.
    #[test]
    fn small_cases_agree_with_counting_by_hand() {
        assert!(close(mann_whitney(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0]), 0.2));
        assert!(close(mann_whitney(&[1.0, 1.0, 1.0], &[1.0, 1.0, 1.0]), 1.0));
    }

    /// Of all 2^n choices of signs, two have every rank on one side.
    #[test]
    fn pairs_that_all_differ_one_way_have_the_least_probability() {
        for (n, least) in [(4, 2.0 / 16.0), (6, 2.0 / 64.0), (8, 2.0 / 256.0)] {
            let pairs: Vec<_> = (1..=n).map(|i| (100.0, 100.0 + f64::from(i))).collect();
            assert!(close(signed_rank(&pairs), least), "{n}");
            let ties: Vec<_> = (0..n).map(|_| (100.0, 110.0)).collect();
            assert!(close(signed_rank(&ties), least), "{n}, by the same");
        }
        assert!(close(signed_rank(&[(1.0, 1.0); 8]), 1.0), "no difference at all");
        // The smallest of five ranks is on the other side: {}, {1} and their mirror images, of 32.
        let pairs = [(100.0, 99.9), (100.0, 102.0), (100.0, 103.0), (100.0, 104.0), (100.0, 105.0)];
        assert!(close(signed_rank(&pairs), 4.0 / 32.0));
    }

    #[test]
    fn a_ratio_is_that_of_the_middle_and_its_interval_is_around_it() {
        let base = [10.0, 11.0, 9.0, 10.0, 10.5];
        let cand: Vec<_> = base.iter().map(|one| one * 1.2).collect();
        assert!((ratio(&base, &cand) - 1.2).abs() < 0.02);
        let (low, high) = ratio_interval(&base, &cand, 1);
        assert!(low > 1.0 && low <= 1.2 && (1.2..1.5).contains(&high), "{low}..{high}");
        let pairs: Vec<_> = base.into_iter().zip(cand).collect();
        assert!(close(paired_ratio(&pairs), 1.2));
        let (low, high) = paired_interval(&pairs, 1);
        assert!(close(low, 1.2) && close(high, 1.2), "the noise of pairs cancels");
    }

    #[test]
    fn holm_multiplies_the_least_most_and_keeps_the_order() {
        let adjusted = holm(&[0.04, 0.01, 0.03]);
        assert!(adjusted.iter().zip([0.06, 0.03, 0.06]).all(|(a, b)| close(*a, b)), "{adjusted:?}");
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    /// The guarantee of the test itself: equal runs are called different at most as often as
    /// stated.
    #[test]
    fn no_difference_is_found_more_often_than_promised() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut noise = || (0..8).map(|_| rng.random::<f64>()).collect::<Vec<_>>();
        let sides = (0..2_000).filter(|_| mann_whitney(&noise(), &noise()) < 0.05).count();
        let mut pairs = || noise().into_iter().zip(noise()).collect::<Vec<_>>();
        let pairs = (0..2_000).filter(|_| signed_rank(&pairs()) < 0.05).count();
        for found in [sides, pairs] {
            assert!(found <= 2_000 * 6 / 100, "{found} of 2,000");
            assert!(found >= 2_000 * 3 / 100, "{found} of 2,000: it must be able to find some");
        }
    }

    proptest! {
        #[test]
        fn both_ways_are_the_same_probability(
            base in prop::collection::vec(0_u8..20, 1..10),
            cand in prop::collection::vec(0_u8..20, 1..10),
        ) {
            let side = |values: &[u8]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            let (base, cand) = (side(&base), side(&cand));
            let p = mann_whitney(&base, &cand);
            prop_assert!(p > 0.0 && p <= 1.0 + 1e-12);
            prop_assert!((p - mann_whitney(&cand, &base)).abs() < 1e-9);
        }
    }
}
