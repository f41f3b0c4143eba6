//! The laps of a run as rows for `run.json`. The goals are checked for each lap; the verdict is
//! about the whole run. Must not format tables.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::judge::verdict::{latency_goals, scored};
use crate::observe::sampler::{Sample, Samples};
use crate::plan::plan::Plan;
use crate::receive::censored::Censored;
use crate::receive::outcome::Outcome;
use crate::receive::outcome::lap::LapOutcome;
use crate::scenario::slo::Slo;
use crate::time::units::nanoseconds;

/// One lap. A frame belongs to the lap in which it was due. Counts are of all classes, latencies of
/// the scored ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LapRow {
    /// Its number, from 1.
    pub lap: u16,
    /// Its length, without the part that was not run.
    pub measured_s: f64,
    /// The share of the growing part that was present at its end, 0 to 1; 1 if nothing grows.
    pub load: f64,
    /// Publishers that sent in it.
    pub publishers: u64,
    /// Subscriber sockets that had connected by its end.
    pub sockets: u64,
    /// Frames published per second.
    pub publishes_per_s: f64,
    /// Frames received per second.
    pub deliveries_per_s: f64,
    /// Frames of the scored classes, whose end-to-end latencies follow.
    pub scored: u64,
    /// Median, ns.
    pub e2e_p50_ns: i64,
    /// 99th percentile, ns.
    pub e2e_p99_ns: i64,
    /// 99.9th percentile, ns.
    pub e2e_p999_ns: i64,
    /// Largest, ns.
    pub e2e_max_ns: i64,
    /// The smallest age of an undelivered frame, ns; percentiles from there on are lower bounds.
    pub at_least_from_ns: Option<i64>,
    /// Frames lost: skipped in the sequence and not received since.
    pub missing: u64,
    /// Frames that had not arrived by the end of the drain.
    pub undelivered: u64,
    /// Gaps that the server reported.
    pub gaps: u64,
    /// CPUs the server used, if it was sampled.
    pub server_cpus_busy: Option<f64>,
    /// Whether these latencies meet the latency goals, if there are any; without a measured frame
    /// they do not.
    pub meets_goals: Option<bool>,
}

impl LapRow {
    /// Whether a latency is only a lower bound, because frames had not arrived by the end.
    pub fn is_least(&self, ns: i64) -> bool {
        self.at_least_from_ns.is_some_and(|from_ns| ns >= from_ns || ns == self.e2e_max_ns)
    }
}

/// The run that the rows are made from.
#[derive(Clone, Copy)]
pub struct LappedRun<'r> {
    /// The plan.
    pub plan: &'r Plan,
    /// The goals.
    pub slo: &'r Slo,
    /// The outcome.
    pub outcome: &'r Outcome,
    /// The samples.
    pub samples: &'r Samples,
    /// The largest error of the clocks, ns.
    pub bound_ns: u64,
}

/// The laps that were measured; none if there is only one.
pub fn rows(run: &LappedRun<'_>) -> Vec<LapRow> {
    let LappedRun { plan, outcome, .. } = run;
    let laps = plan.course.reported_laps() as u16;
    let length = plan.measure / u32::from(laps.max(1));
    let begun = (0..laps).filter(|lap| outcome.measured > length * u32::from(*lap));
    begun.map(|lap| row(run, lap, length)).collect()
}

fn row(run: &LappedRun<'_>, lap: u16, length: Duration) -> LapRow {
    let LappedRun { plan, outcome, samples, slo, bound_ns } = run;
    let from = length * u32::from(lap);
    let measured_s = outcome.measured.saturating_sub(from).min(length).as_secs_f64();
    let sends =
        |starts: Option<Duration>| starts.is_none_or(|starts| starts < from.saturating_add(length));
    let starts = plan.publishers.iter().map(|publisher| publisher.deviation.starts);
    let published = outcome.publishers.laps.get(usize::from(lap)).copied().unwrap_or(0);
    let e2e = latencies(outcome, lap);
    let goals = latency_goals(slo, &e2e, *bound_ns);
    let sum = |count: fn(&LapOutcome) -> u64| of_classes(outcome, lap).map(count).sum::<u64>();
    LapRow {
        lap: lap + 1,
        measured_s,
        load: plan.course.profile.map_or(1.0, |profile| profile.share(lap, plan.course.laps)),
        publishers: starts.filter(|starts| sends(*starts)).count() as u64,
        sockets: sum(|lap| lap.sockets),
        publishes_per_s: published as f64 / measured_s,
        deliveries_per_s: sum(|lap| lap.e2e.len()) as f64 / measured_s,
        scored: e2e.came(),
        e2e_p50_ns: e2e.quantile(0.5).ns,
        e2e_p99_ns: e2e.quantile(0.99).ns,
        e2e_p999_ns: e2e.quantile(0.999).ns,
        e2e_max_ns: e2e.quantile(1.0).ns,
        at_least_from_ns: e2e.least_wait_ns(),
        missing: sum(|lap| lap.missing),
        undelivered: sum(|lap| lap.waiting.as_ref().map_or(0, |waiting| waiting.len())),
        gaps: sum(|lap| lap.gaps),
        server_cpus_busy: server_cpus_busy(samples, from, length),
        meets_goals: (!goals.is_empty())
            .then(|| !e2e.is_empty() && goals.iter().all(|goal| goal.pass)),
    }
}

fn of_classes(outcome: &Outcome, lap: u16) -> impl Iterator<Item = &LapOutcome> {
    outcome.classes.iter().filter_map(move |class| class.laps.get(usize::from(lap)))
}

fn latencies(outcome: &Outcome, lap: u16) -> Censored {
    let mut e2e = Censored::default();
    let scored = scored(outcome).into_iter().filter_map(|class| class.laps.get(usize::from(lap)));
    scored.for_each(|lap| e2e.add(&lap.e2e, lap.waiting.as_deref()));
    e2e
}

/// Measured between the samples nearest to the start and the end of the lap.
pub(crate) fn server_cpus_busy(samples: &Samples, from: Duration, length: Duration) -> Option<f64> {
    let (start, end) = samples.measured()?;
    let looks = || samples.points.iter().chain([start, end]);
    let nearest = |after: Duration| {
        let at_ns = start.at_ns.saturating_add(nanoseconds(after));
        looks().min_by_key(|sample: &&Sample| sample.at_ns.abs_diff(at_ns))
    };
    let (from, to) = (nearest(from)?, nearest(from.saturating_add(length))?);
    let busy_ns = to.server?.cpu_ns.checked_sub(from.server?.cpu_ns)?;
    let passed_ns = to.at_ns.checked_sub(from.at_ns).filter(|passed_ns| *passed_ns > 0)?;
    Some(busy_ns as f64 / passed_ns as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn the_server_is_watched_lap_by_lap() {
        let samples = fixtures::samples();
        let second = Duration::from_secs(1);
        // From 500 ms of CPU at the start to 700 ms a second later.
        let busy = server_cpus_busy(&samples, Duration::ZERO, second).unwrap();
        assert!((busy - 0.2).abs() < 1e-9, "{busy}");
        assert_eq!(server_cpus_busy(&samples, 20 * second, second), None, "after the end");
        assert_eq!(server_cpus_busy(&Samples::default(), Duration::ZERO, second), None);
    }
}
