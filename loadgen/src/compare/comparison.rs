//! The comparison of two sides of runs: for each metric the ratio, its confidence, and the outcome.
//! Owns the verdict on a change. Must not read files or print.

use serde::Serialize;

use crate::compare::floor::Floor;
use crate::compare::metric::{METRICS, Metric, faults};
use crate::compare::pairing::Pairing;
use crate::compare::statistics::{
    extremes, holm, mann_whitney, median, paired_interval, paired_ratio, ratio, ratio_interval,
    signed_rank,
};
use crate::result::run_file::RunFile;

/// The fewest valid runs per side: with three, no test can find a difference.
pub const RUNS_MIN: usize = 4;
/// The accepted probability of reporting any regression where there is none.
pub const ALPHA: f64 = 0.05;

/// The parameters of a comparison.
#[derive(Debug, Clone, Default)]
pub struct ComparisonOptions {
    /// Gated metrics, each with the smallest change that matters if it is not the metric's default.
    /// If empty, the metrics gated by default are used.
    pub gates: Vec<Gate>,
    /// The noise floor of this host; smaller differences cannot be detected.
    pub floor: Floor,
    /// How the runs of a pair are related.
    pub pairing: Pairing,
    /// Seed of the resampling.
    pub seed: u64,
}

impl ComparisonOptions {
    /// Whether a change of a metric for the worse fails the comparison.
    fn gates_on(&self, metric: &Metric) -> bool {
        match self.gates.is_empty() {
            true => metric.is_gated,
            false => self.gates.iter().any(|gate| gate.metric == metric),
        }
    }
}

/// A gated metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// The metric.
    pub metric: &'static Metric,
    /// The smallest relative change that matters; `None` for the metric's default.
    pub effect_min: Option<f64>,
}

/// The outcome of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Worse, with confidence, and by more than the change that matters.
    Regressed,
    /// Better, with confidence, and by more than the change that matters.
    Improved,
    /// Within the change that matters, with confidence.
    Unchanged,
    /// The runs do not decide.
    Inconclusive,
}

impl Change {
    /// The name of the outcome.
    pub fn name(self) -> &'static str {
        match self {
            Change::Regressed => "regressed",
            Change::Improved => "improved",
            Change::Unchanged => "unchanged",
            Change::Inconclusive => "inconclusive",
        }
    }
}

/// One metric of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The metric.
    pub metric: &'static Metric,
    /// Whether a regression of it fails the comparison.
    pub is_gated: bool,
    /// The smallest relative change that matters.
    pub effect_min: f64,
    /// The values of the base, one per run.
    pub base: Vec<f64>,
    /// The values of the candidate, one per run.
    pub cand: Vec<f64>,
    /// Whether the median of the base is only a lower bound.
    pub base_is_least: bool,
    /// Whether the median of the candidate is only a lower bound.
    pub cand_is_least: bool,
    /// The ratio of candidate to base; NaN if a side has no value.
    pub ratio: f64,
    /// The 95 % confidence interval of the ratio.
    pub interval: (f64, f64),
    /// The p-value of the difference; corrected by Holm's method if a gate depends on it.
    pub probability: f64,
    /// The outcome.
    pub change: Change,
}

/// The comparison of both sides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Valid runs of the base.
    pub base_runs: usize,
    /// Valid runs of the candidate.
    pub cand_runs: usize,
    /// Runs of either side that were left out because they are invalid.
    pub invalid_runs: usize,
    /// Frames lost, damaged or out of order in all valid runs of the base.
    pub base_faults: u64,
    /// The same of the candidate.
    pub cand_faults: u64,
    /// The metrics that both sides have.
    pub metrics: Vec<Compared>,
    /// Gated metrics that one side or both do not tell.
    pub missing_metrics: Vec<&'static Metric>,
}

impl Comparison {
    /// Compares the valid runs of both sides.
    pub fn of(base: &[RunFile], cand: &[RunFile], options: &ComparisonOptions) -> Comparison {
        let (base_valid, cand_valid) = (valid(base), valid(cand));
        let mut metrics: Vec<_> = METRICS
            .iter()
            .filter_map(|metric| Compared::of(metric, &base_valid, &cand_valid, options))
            .collect();
        correct(&mut metrics);
        metrics.iter_mut().for_each(|one| one.change = one.judge());
        let faults_of = |side: &[&RunFile]| side.iter().map(|file| faults(&file.run)).sum();
        Comparison {
            base_runs: base_valid.len(),
            cand_runs: cand_valid.len(),
            invalid_runs: base.len() + cand.len() - base_valid.len() - cand_valid.len(),
            base_faults: faults_of(&base_valid),
            cand_faults: faults_of(&cand_valid),
            missing_metrics: missing_metrics(&metrics, options),
            metrics,
        }
    }

    /// Whether there are enough runs to compare.
    pub fn proves_nothing(&self) -> bool {
        self.base_runs == 0 || self.cand_runs == 0
    }

    /// Whether the candidate has lost, damaged or reordered frames and the base has none; one such
    /// frame is enough.
    pub fn has_new_faults(&self) -> bool {
        self.base_faults == 0 && self.cand_faults > 0
    }

    /// Whether the candidate is worse.
    pub fn has_regressed(&self) -> bool {
        self.has_new_faults() || self.gated().any(|one| one.change == Change::Regressed)
    }

    /// Whether a gated metric is undecided.
    pub fn is_inconclusive(&self) -> bool {
        self.gated().any(|one| one.change == Change::Inconclusive)
    }

    fn gated(&self) -> impl Iterator<Item = &Compared> {
        self.metrics.iter().filter(|one| one.is_gated)
    }
}

fn missing_metrics(metrics: &[Compared], options: &ComparisonOptions) -> Vec<&'static Metric> {
    let is_present = |metric: &Metric| metrics.iter().any(|one| one.metric == metric);
    METRICS.iter().filter(|metric| options.gates_on(metric) && !is_present(metric)).collect()
}

impl Comparison {
    /// The result of comparing a server with itself.
    pub fn floor(&self, host_fingerprint: &str, pairing: Pairing) -> Floor {
        let shares = self.metrics.iter().map(|one| {
            let (low, high) = one.interval;
            (one.metric.key.to_owned(), (high - 1.0).max(1.0 / low - 1.0).max(0.0))
        });
        Floor {
            host_fingerprint: host_fingerprint.to_owned(),
            is_of_duets: pairing == Pairing::Together,
            shares: shares.collect(),
        }
    }
}

fn valid(side: &[RunFile]) -> Vec<&RunFile> {
    side.iter().filter(|file| file.is_valid()).collect()
}

/// Corrects the p-values that gates depend on. Metrics that are only displayed report no
/// regression, and settled metrics are decided without a p-value, so neither is counted.
fn correct(metrics: &mut [Compared]) {
    let tested: Vec<_> =
        metrics.iter_mut().filter(|one| one.is_gated && !one.is_settled()).collect();
    let probabilities: Vec<_> = tested.iter().map(|one| one.probability).collect();
    for (one, adjusted) in tested.into_iter().zip(holm(&probabilities)) {
        one.probability = adjusted;
    }
}

impl Compared {
    fn of(
        metric: &'static Metric,
        base: &[&RunFile],
        cand: &[&RunFile],
        options: &ComparisonOptions,
    ) -> Option<Compared> {
        let values = |side: &[&RunFile]| -> Vec<f64> {
            side.iter().filter_map(|file| metric.of(&file.run)).collect()
        };
        let is_least = |side: &[&RunFile]| has_least_median(metric, side);
        let (base_is_least, cand_is_least) = (is_least(base), is_least(cand));
        let (base, cand) = (values(base), values(cand));
        if base.is_empty() || cand.is_empty() {
            return None;
        }
        let gate = options.gates.iter().find(|gate| gate.metric == metric);
        let effect_min = gate.and_then(|gate| gate.effect_min).unwrap_or(metric.effect_min);
        let effect_min = effect_min.max(options.floor.share(metric.key));
        let are_pairs = base.len() == cand.len();
        let pairing = if are_pairs { options.pairing } else { Pairing::None };
        let pairs: Vec<_> = base.iter().copied().zip(cand.iter().copied()).collect();
        let (ratio, interval) = match pairing {
            Pairing::None => (ratio(&base, &cand), ratio_interval(&base, &cand, options.seed)),
            _ => (paired_ratio(&pairs), paired_interval(&pairs, options.seed)),
        };
        let probability = match pairing {
            Pairing::Together => signed_rank(&pairs),
            _ => mann_whitney(&base, &cand),
        };
        Some(Compared {
            metric,
            is_gated: options.gates_on(metric),
            effect_min,
            ratio,
            interval,
            probability,
            change: Change::Inconclusive,
            base,
            cand,
            base_is_least,
            cand_is_least,
        })
    }

    /// The median of the base.
    pub fn base_median(&self) -> f64 {
        median(self.base.clone())
    }

    /// The median of the candidate.
    pub fn cand_median(&self) -> f64 {
        median(self.cand.clone())
    }

    /// The change that is certain even if the true value of a lower bound is much larger.
    fn judge(&self) -> Change {
        match self.measured_change() {
            Change::Regressed if self.base_is_least => Change::Inconclusive,
            Change::Improved if self.cand_is_least => Change::Inconclusive,
            Change::Unchanged if self.base_is_least || self.cand_is_least => Change::Inconclusive,
            change => change,
        }
    }

    fn measured_change(&self) -> Change {
        if self.base.len().min(self.cand.len()) < RUNS_MIN {
            return Change::Inconclusive;
        }
        let (low, high) = self.interval;
        // Inverted if more is better, so that a larger ratio is always worse.
        let (low, high) =
            if self.metric.more_is_better { (1.0 / high, 1.0 / low) } else { (low, high) };
        let much = 1.0 + self.effect_min;
        let is_sure = self.probability < ALPHA || self.is_settled();
        if is_sure && low > much {
            Change::Regressed
        } else if is_sure && high < 1.0 / much {
            Change::Improved
        } else if low >= 1.0 / much && high <= much {
            Change::Unchanged
        } else {
            Change::Inconclusive
        }
    }

    /// Whether the metric is a count whose runs on each side agree to within the change that
    /// matters. Then chance need not be ruled out by a test, however few runs there are.
    fn is_settled(&self) -> bool {
        let agree = |side: &[f64]| {
            let (least, most) = extremes(side);
            most <= least * (1.0 + self.effect_min)
        };
        self.metric.is_count && agree(&self.base) && agree(&self.cand)
    }
}

/// Whether a lower bound of one run is among the values that the median depends on.
fn has_least_median(metric: &Metric, side: &[&RunFile]) -> bool {
    let mut values: Vec<(f64, bool)> = side
        .iter()
        .filter_map(|file| Some((metric.of(&file.run)?, metric.is_least(&file.run))))
        .collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values.iter().take(values.len() / 2 + 1).any(|(_, is_least)| *is_least)
}

#[cfg(test)]
mod tests {
    use crate::compare::pairing::Pairing;
    use std::path::PathBuf;

    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};
    use serde_json::json;

    use super::*;

    fn run(cpu_ns: f64, deliveries: f64, lost: u64) -> RunFile {
        let class = json!({"kind": "healthy", "lost": lost, "e2e": {"count": deliveries}});
        let run = json!({
            "health": {"valid": true}, "totals": {"measured_s": 1.0, "classes": [class]},
            "efficiency": {"cpu_ns_per_delivery": cpu_ns},
        });
        RunFile { path: PathBuf::new(), run }
    }

    /// Eight runs whose CPU time is within 1 % of this value.
    fn side(cpu_ns: f64, seed: u64) -> Vec<RunFile> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut near = || cpu_ns * (0.99 + 0.02 * rng.random::<f64>());
        (0..8).map(|_| run(near(), 1000.0, 0)).collect()
    }

    fn change(base: &[RunFile], cand: &[RunFile], key: &str) -> Change {
        let comparison = Comparison::of(base, cand, &ComparisonOptions::default());
        comparison.metrics.iter().find(|one| one.metric.key == key).unwrap().change
    }

    #[test]
    fn a_tenth_more_is_found_a_hundredth_is_not_and_less_is_better() {
        let base = side(500.0, 1);
        assert_eq!(change(&base, &side(550.0, 2), "cpu_per_delivery"), Change::Regressed);
        assert_eq!(change(&base, &side(505.0, 3), "cpu_per_delivery"), Change::Unchanged);
        assert_eq!(change(&base, &side(400.0, 4), "cpu_per_delivery"), Change::Improved);
        assert_eq!(change(&base, &side(525.0, 5), "cpu_per_delivery"), Change::Inconclusive);
    }

    /// Eight runs with about this p99, exact or a lower bound.
    fn latencies(p99_ns: f64, is_least: bool) -> Vec<RunFile> {
        let open = if is_least { json!(["p99_ns"]) } else { json!([]) };
        let of = |at: u32| {
            let e2e = json!({"p99_ns": p99_ns + f64::from(at), "at_least": open});
            let classes = json!([{"kind": "healthy", "e2e": e2e}]);
            let run = json!({"health": {"valid": true}, "totals": {"classes": classes}});
            RunFile { path: PathBuf::new(), run }
        };
        (0..8).map(of).collect()
    }

    #[test]
    fn a_lower_bound_decides_only_what_a_larger_value_would_decide_as_well() {
        let of = |(base_ns, base_is_least): (f64, bool), (cand_ns, cand_is_least): (f64, bool)| {
            let (base, cand) =
                (latencies(base_ns, base_is_least), latencies(cand_ns, cand_is_least));
            change(&base, &cand, "e2e_p99")
        };
        let (exact, least) = (|ns: f64| (ns, false), |ns: f64| (ns, true));
        assert_eq!(of(exact(1e7), exact(2e7)), Change::Regressed);
        assert_eq!(of(exact(1e7), least(2e7)), Change::Regressed, "at least twice as much");
        assert_eq!(of(least(2e7), exact(1e7)), Change::Improved, "at most half as much");
        assert_eq!(of(exact(1e7), exact(1e7)), Change::Unchanged);
        for (base, cand) in [
            (least(1e7), exact(2e7)),
            (least(1e7), least(2e7)),
            (least(2e7), least(1e7)),
            (exact(2e7), least(1e7)),
            (least(1e7), least(1e7)),
            (exact(1e7), least(1e7)),
        ] {
            assert_eq!(of(base, cand), Change::Inconclusive, "{base:?} {cand:?}");
        }
    }

    #[test]
    fn a_lower_bound_above_the_median_leaves_it_exact() {
        let metric = Metric::find("e2e_p99").unwrap();
        let is_least = |bounds: usize| {
            let runs = [latencies(1e7, false), latencies(9e7, true)].concat();
            let side: Vec<&RunFile> = runs.iter().skip(bounds).take(8).collect();
            has_least_median(metric, &side)
        };
        assert_eq!([0, 3, 4, 8].map(is_least), [false, false, true, true]);
    }

    #[test]
    fn fewer_deliveries_are_worse_and_more_are_better() {
        let runs = |deliveries| (0..5).map(|_| run(1.0, deliveries, 0)).collect::<Vec<_>>();
        let base = runs(1000.0);
        assert_eq!(change(&base, &runs(900.0), "deliveries"), Change::Regressed);
        assert_eq!(change(&base, &runs(1100.0), "deliveries"), Change::Improved);
        assert_eq!(change(&base, &runs(1000.0), "deliveries"), Change::Unchanged);
    }

    /// The sum of twelve uniform numbers approximates a normal distribution with standard deviation
    /// one.
    fn normal(rng: &mut Xoshiro256PlusPlus) -> f64 {
        (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    /// Runs with equal CPU time but these numbers of system calls.
    fn counted(counts: &[f64]) -> Vec<RunFile> {
        let of = |count: &f64| {
            let mut run = run(500.0, 1000.0, 0);
            run.run["efficiency"]["syscalls_per_delivery"] = json!(count);
            run
        };
        counts.iter().map(of).collect()
    }

    #[test]
    fn counts_that_are_alike_in_all_runs_of_a_side_are_judged_by_four() {
        let base = counted(&[1.5; 4]);
        let of = |counts: &[f64]| change(&base, &counted(counts), "syscalls_per_delivery");
        assert_eq!(of(&[1.545; 4]), Change::Regressed, "three percent more in every run");
        assert_eq!(of(&[1.55, 1.545, 1.56, 1.54]), Change::Regressed);
        assert_eq!(of(&[1.455; 4]), Change::Improved);
        assert_eq!(of(&[1.5; 4]), Change::Unchanged);
        assert_eq!(of(&[1.515; 4]), Change::Unchanged, "one percent");
        assert_eq!(of(&[1.545; 3]), Change::Inconclusive, "three runs");
        let times = |cpu_ns| (0..4).map(|_| run(cpu_ns, 1000.0, 0)).collect::<Vec<_>>();
        let slower = change(&times(500.0), &times(600.0), "cpu_per_delivery");
        assert_eq!(slower, Change::Inconclusive, "times that agree do so by chance");
    }

    #[test]
    fn counts_that_scatter_have_to_stand_the_test() {
        let (base, cand) = (counted(&[1.5, 1.53, 1.56, 1.59]), counted(&[1.65, 1.68, 1.72, 1.75]));
        assert_eq!(change(&base, &cand, "syscalls_per_delivery"), Change::Inconclusive);
        let metric = Metric::find("syscalls_per_delivery").unwrap();
        let gates = vec![Gate { metric, effect_min: None }];
        let alone = ComparisonOptions { gates, ..ComparisonOptions::default() };
        assert!(Comparison::of(&base, &cand, &alone).has_regressed(), "one test needs no more");
    }

    /// Four runs per side, for several scatters of counts: settled, tested, or neither.
    #[test]
    fn counts_are_hardly_ever_called_worse_than_themselves() {
        for deviation in [0.002, 0.005, 0.01, 0.02] {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
            let mut side = || {
                let mut near = || 1.5 * (deviation * normal(&mut rng)).exp();
                counted(&[near(), near(), near(), near()])
            };
            let alarms = (0..200).filter(|_| {
                Comparison::of(&side(), &side(), &ComparisonOptions::default()).has_regressed()
            });
            let alarms = alarms.count();
            assert!(alarms <= 4, "{alarms} of 200 where counts scatter by {deviation}");
        }
    }

    /// Metrics that are not tested must not make the correction of the others stricter.
    #[test]
    fn counts_that_agree_leave_the_others_their_probability() {
        let with_counts = |cpu_ns: f64, seed| {
            let mut side = side(cpu_ns, seed);
            for file in &mut side {
                file.run["efficiency"]["syscalls_per_delivery"] = json!(1.5);
                file.run["efficiency"]["instructions_per_delivery"] = json!(3000.0);
            }
            side
        };
        let of = |base: &[RunFile], cand: &[RunFile]| {
            let compared = Comparison::of(base, cand, &ComparisonOptions::default()).metrics;
            compared.into_iter().find(|o| o.metric.key == "cpu_per_delivery").unwrap().probability
        };
        let plain = of(&side(500.0, 1), &side(550.0, 2));
        assert_eq!(of(&with_counts(500.0, 1), &with_counts(550.0, 2)), plain);
    }

    #[test]
    fn three_runs_show_nothing_however_different() {
        let (base, cand) = (side(500.0, 1), side(5000.0, 2));
        assert_eq!(change(&base[..3], &cand, "cpu_per_delivery"), Change::Inconclusive);
        let comparison = Comparison::of(&base[..3], &cand, &ComparisonOptions::default());
        assert!(comparison.is_inconclusive() && !comparison.has_regressed());
    }

    #[test]
    fn invalid_runs_are_left_out_and_counted() {
        let (base, mut cand) = (side(500.0, 1), side(501.0, 2));
        let mut spoiled = run(9e9, 1.0, 7);
        spoiled.run["health"]["valid"] = json!(false);
        cand.push(spoiled);
        let comparison = Comparison::of(&base, &cand, &ComparisonOptions::default());
        assert_eq!((comparison.cand_runs, comparison.invalid_runs), (8, 1));
        assert!(!comparison.has_regressed());
        assert!(Comparison::of(&base, &cand[8..], &ComparisonOptions::default()).proves_nothing());
    }

    #[test]
    fn one_lost_frame_is_a_regression_where_there_was_none() {
        let (base, mut cand) = (side(500.0, 1), side(500.0, 2));
        cand.push(run(500.0, 1000.0, 1));
        assert!(Comparison::of(&base, &cand, &ComparisonOptions::default()).has_regressed());
        assert!(!Comparison::of(&cand, &cand, &ComparisonOptions::default()).has_regressed());
    }

    #[test]
    fn what_is_below_the_noise_of_the_host_is_no_regression() {
        let shares = [("cpu_per_delivery".to_owned(), 0.15)].into();
        let floor = Floor { shares, ..Floor::default() };
        let options = ComparisonOptions { floor, ..ComparisonOptions::default() };
        let of = |cpu_ns| Comparison::of(&side(500.0, 1), &side(cpu_ns, 2), &options);
        assert!(!of(550.0).has_regressed(), "a tenth, where equals are that far apart");
        assert!(of(650.0).has_regressed());
    }

    #[test]
    fn only_what_is_gated_fails_a_comparison() {
        let (base, cand) = (side(500.0, 1), side(600.0, 2));
        let gate = |key, effect_min| ComparisonOptions {
            gates: vec![Gate { metric: Metric::find(key).unwrap(), effect_min }],
            ..ComparisonOptions::default()
        };
        let of =
            |options: &ComparisonOptions| Comparison::of(&base, &cand, options).has_regressed();
        assert!(of(&gate("cpu_per_delivery", None)));
        assert!(!of(&gate("cpu_per_delivery", Some(0.5))), "half as much again is allowed");
        assert!(!of(&gate("deliveries", None)));
    }

    /// A host that is 20 % slower in every other pair hides a 10 % change from the unpaired test,
    /// but not from the paired one.
    #[test]
    fn what_a_host_does_to_both_of_a_pair_cancels_out() {
        let taken = |factor: f64| -> Vec<_> {
            let speed = |i: u32| if i.is_multiple_of(2) { 500.0 } else { 600.0 };
            (0..8).map(|i| run(factor * (speed(i) + f64::from(i)), 1000.0, 0)).collect()
        };
        let of = |pairing| {
            let options = ComparisonOptions { pairing, ..ComparisonOptions::default() };
            let comparison = Comparison::of(&taken(1.0), &taken(1.1), &options);
            comparison.metrics.into_iter().find(|o| o.metric.key == "cpu_per_delivery").unwrap()
        };
        let width = |one: &Compared| one.interval.1 - one.interval.0;
        for paired in [of(Pairing::ByTurns), of(Pairing::Together)] {
            assert!(width(&paired) < 0.01 && (paired.ratio - 1.1).abs() < 1e-9);
        }
        assert!(width(&of(Pairing::None)) > 0.05);
    }

    /// The scatter of runs of one server, as standard deviations.
    struct Noise {
        /// The part that both runs of a pair share.
        hour: f64,
        /// The part of each single run.
        own: f64,
    }

    /// Eight pairs of runs with every metric gated by default; the candidate uses `factor` times
    /// the CPU. Latencies scatter most, counts hardly.
    fn pairs(seed: u64, noise: &Noise, factor: f64) -> [Vec<RunFile>; 2] {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut near = |middle: f64, by: f64| middle * (by * normal(&mut rng)).exp();
        let mut sides = [Vec::new(), Vec::new()];
        for _ in 0..8 {
            let hour = near(1.0, noise.hour);
            for (side, factor) in sides.iter_mut().zip([1.0, factor]) {
                let mut slow = |middle: f64, own: f64| hour * near(middle, own);
                let e2e = json!({
                    "count": 100_000, "p50_ns": slow(5e5, noise.own), "p99_ns": slow(2e6, 0.10),
                });
                let class = json!({"kind": "healthy", "lost": 0, "e2e": e2e});
                let cpu_ns = slow(500.0 * factor, noise.own);
                let counters = json!({
                    "writes": near(9e4, 0.002), "frames_sent": 1e5, "sent_bytes": 9.4e6,
                    "encodes": 5e3, "publishes": 1e4,
                });
                let run = json!({
                    "health": {"valid": true}, "server": {"counters": counters},
                    "totals": {"measured_s": 10.0, "classes": [class]},
                    "efficiency": {
                        "cpu_ns_per_delivery": cpu_ns, "syscalls_per_delivery": near(1.2, 0.003),
                    },
                });
                side.push(RunFile { path: PathBuf::new(), run });
            }
        }
        sides
    }

    /// The number of simulated `ab` sessions, of a hundred, with the given outcome.
    fn sessions(
        noise: &Noise,
        factor: f64,
        options: &ComparisonOptions,
        is_there: fn(&Comparison) -> bool,
    ) -> usize {
        let seen = |seed: &u64| {
            let [base, cand] = pairs(*seed, noise, factor);
            is_there(&Comparison::of(
                &base,
                &cand,
                &ComparisonOptions { seed: *seed, ..options.clone() },
            ))
        };
        (0..100).filter(seen).count()
    }

    fn finds_cpu(comparison: &Comparison) -> bool {
        let mut regressed = comparison.gated().filter(|one| one.change == Change::Regressed);
        regressed.any(|one| one.metric.key == "cpu_per_delivery")
    }

    /// The power of `ab` by default: eight pairs, all gates, runs with a scatter of 4 %, of which 2
    /// % are within a pair.
    #[test]
    fn ab_finds_a_tenth_more_cpu_nine_times_in_ten_and_nothing_between_equals() {
        let noise = Noise { hour: 0.035, own: 0.02 };
        let options =
            ComparisonOptions { pairing: Pairing::ByTurns, ..ComparisonOptions::default() };
        let found = sessions(&noise, 1.1, &options, finds_cpu);
        assert!(found >= 90, "{found} of 100 found");
        let false_alarms = sessions(&noise, 1.0, &options, Comparison::has_regressed);
        assert!(false_alarms <= 5, "{false_alarms} of 100 called worse than itself");
    }

    /// The power on a host whose speed changes by 10 %, if both runs of a pair take place at the
    /// same time.
    #[test]
    fn ab_of_both_at_once_finds_a_tenth_where_moments_are_as_far_apart() {
        let noise = Noise { hour: 0.10, own: 0.02 };
        let [at_once, by_turns] = [Pairing::Together, Pairing::ByTurns]
            .map(|pairing| ComparisonOptions { pairing, ..ComparisonOptions::default() });
        let found = sessions(&noise, 1.1, &at_once, finds_cpu);
        assert!(found >= 90, "{found} of 100 found");
        let hidden = sessions(&noise, 1.1, &by_turns, finds_cpu);
        assert!(hidden <= 50, "{hidden} of 100 found by testing sides");
        let false_alarms = sessions(&noise, 1.0, &at_once, Comparison::has_regressed);
        assert!(false_alarms <= 5, "{false_alarms} of 100 called worse than itself");
    }

    /// The power on a busy host with a scatter of 5 % within a pair, for a single gate and any
    /// change.
    #[test]
    fn ab_with_one_narrow_gate_finds_a_tenth_on_a_noisy_host() {
        let noise = Noise { hour: 0.0, own: 0.05 };
        let metric = Metric::find("cpu_per_delivery").unwrap();
        let gates = vec![Gate { metric, effect_min: Some(0.001) }];
        let options =
            ComparisonOptions { gates, pairing: Pairing::ByTurns, ..ComparisonOptions::default() };
        let found = sessions(&noise, 1.1, &options, finds_cpu);
        assert!(found >= 90, "{found} of 100 found");
        let false_alarms = sessions(&noise, 1.0, &options, Comparison::has_regressed);
        assert!(false_alarms <= 5, "{false_alarms} of 100 called worse than itself");
    }

    /// The complete judgement over comparisons of equal servers: the share of false alarms is at
    /// most the promised one, and the smallest change that matters reduces it further.
    #[test]
    fn runs_that_do_not_differ_are_hardly_ever_called_worse() {
        let alarms = (0..60).filter(|seed| {
            let (base, cand) = (side(500.0, 2 * seed), side(500.0, 2 * seed + 1));
            let gate = Gate { metric: &METRICS[4], effect_min: Some(0.0) };
            Comparison::of(
                &base,
                &cand,
                &ComparisonOptions { gates: vec![gate], ..ComparisonOptions::default() },
            )
            .has_regressed()
        });
        assert!(alarms.count() <= 6, "of 60");
    }
}
