//! The rows that need no run: statistics on synthetic runs, and the merging of threads. Must not
//! read a clock: the same seed gives the same rows.

use std::path::PathBuf;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::compare::comparison::{ALPHA, Comparison, ComparisonOptions, Gate};
use crate::compare::metric::Metric;
use crate::receive::histograms::SignedHistogram;
use crate::result::run_file::RunFile;
use crate::selftest::row::{Row, RowVerdict, exact};
use crate::time::draw::mix;

/// Row 10: comparisons of a server with an equal one, and with one that is 10 % worse, on a host
/// whose runs scatter by 3 %.
pub fn comparisons() -> Row {
    let alarms = |factor: f64| (0..REPETITIONS).filter(|seed| is_alarm(*seed, factor)).count();
    let (false_alarms, found) = (alarms(1.0), alarms(1.1));
    let false_max = (ALPHA * REPETITIONS as f64) as usize;
    let found_min = REPETITIONS as usize * 9 / 10;
    Row {
        number: 10,
        what: format!(
            "{REPETITIONS} comparisons of equal servers, {REPETITIONS} with one 10 % worse"
        ),
        truth: "no alarm; an alarm in each".to_owned(),
        measured: format!("{false_alarms} false alarms; {found} alarms"),
        allowed: format!("<= {false_max}; >= {found_min}"),
        verdict: RowVerdict::of(false_alarms <= false_max && found >= found_min),
    }
}

fn is_alarm(seed: u64, factor: f64) -> bool {
    let Some(metric) = Metric::find("cpu_per_delivery") else { return false };
    let gate = Gate { metric, effect_min: Some(0.0) };
    let options = ComparisonOptions { gates: vec![gate], seed, ..ComparisonOptions::default() };
    let (base, cand) = (side(1.0, 2 * seed), side(factor, 2 * seed + 1));
    Comparison::of(&base, &cand, &options).has_regressed()
}

/// Eight runs that scatter around a value.
fn side(value: f64, seed: u64) -> Vec<RunFile> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    // The sum of twelve uniform numbers approximates a normal distribution with standard deviation
    // one.
    let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    (0..8).map(|_| run(value * (0.03 * normal()).exp())).collect()
}

fn run(cpu_ns: f64) -> RunFile {
    let run = json!({
        "health": {"valid": true}, "totals": {"classes": []},
        "efficiency": {"cpu_ns_per_delivery": cpu_ns},
    });
    RunFile { path: PathBuf::new(), run }
}

/// Row 11: the merged histograms of several threads, compared with one histogram of all values.
pub fn merged() -> Row {
    let latency_ns = |index: u64| {
        let word = mix(11, 0, index);
        // Covers all magnitudes of a latency, with some values below zero and some beyond the
        // range.
        (word >> (20 + word % 40)).cast_signed() - 1_000
    };
    let mut parts = vec![SignedHistogram::new(); WORKERS];
    let mut union = SignedHistogram::new();
    for index in 0..MERGED {
        parts[index as usize % WORKERS].record(latency_ns(index));
        union.record(latency_ns(index));
    }
    let mut merged = SignedHistogram::new();
    parts.iter().for_each(|part| merged.merge(part));
    let what = format!("{WORKERS} workers merged, against one with all {MERGED} samples");
    let differing = differing_buckets(&merged, &union);
    exact(
        11,
        &what,
        &[
            ("samples", union.len(), merged.len()),
            ("below zero", union.negatives(), merged.negatives()),
            ("beyond range", union.saturated(), merged.saturated()),
            ("differing buckets", 0, differing + u64::from(union.max() != merged.max())),
        ],
    )
}

fn differing_buckets(one: &SignedHistogram, other: &SignedHistogram) -> u64 {
    let buckets = |histogram: &SignedHistogram| -> Vec<(u64, u64)> {
        let recorded = histogram.values().iter_recorded();
        recorded.map(|v| (v.value_iterated_to(), v.count_at_value())).collect()
    };
    let (one, other) = (buckets(one), buckets(other));
    let differing = one.iter().zip(&other).filter(|(a, b)| a != b).count();
    (differing + one.len().abs_diff(other.len())) as u64
}

const REPETITIONS: u64 = 200;
const WORKERS: usize = 8;
const MERGED: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rows_hold() {
        for row in [comparisons(), merged()] {
            assert_eq!(row.verdict, RowVerdict::Ok, "{row:?}");
        }
    }

    #[test]
    fn a_lost_sample_is_seen() {
        let mut one = SignedHistogram::new();
        [5, 5_000, 5_000_000].into_iter().for_each(|ns| one.record(ns));
        let mut other = one.clone();
        assert_eq!(differing_buckets(&one, &other), 0);
        other.record(5_000);
        assert_eq!(differing_buckets(&one, &other), 1);
    }
}
