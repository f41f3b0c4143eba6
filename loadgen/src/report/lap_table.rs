//! The table of a run's laps: the cells of each row, and the summary of all rows. Must not lay them
//! out, nor judge anything.

use crate::judge::laps::LapRow;
use crate::observe::clocks;
use crate::observe::sampler::{Sample, Samples};
use crate::receive::censored::Censored;
use crate::receive::outcome::Outcome;
use crate::receive::outcome::lap::LapOutcome;
use crate::result::record::Record;
use crate::scenario::profile::{Growing, Profile};
use crate::time::units::{format_count, format_exact, format_ns};

/// What is told of each lap, on a terminal and on a page.
pub const LAP_COLUMNS: [&str; 14] = [
    "lap",
    "load",
    "publishers",
    "sockets",
    "published",
    "delivered",
    "p50",
    "p99",
    "p99.9",
    "max",
    "lost",
    "undelivered",
    "gaps told",
    "server CPUs",
];

/// One lap. Frames are of the lap in which they were due; of all classes, but for latencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LapRow {
    /// Its number, from 1.
    pub lap: u16,
    /// Its length, without what was not run of it.
    pub measured_s: f64,
    /// The share of what grows that was there when it ended, 0 to 1; 1 if nothing grows.
    pub load: f64,
    /// Publishers that sent in it.
    pub publishers: u64,
    /// Subscriber sockets that had come by its end.
    pub sockets: u64,
    /// Frames published per second.
    pub publishes_per_s: f64,
    /// Frames received per second.
    pub deliveries_per_s: f64,
    /// Frames of those whose latency is the score; the latencies below are theirs, end to end.
    pub scored: u64,
    /// Median, ns.
    pub e2e_p50_ns: i64,
    /// 99th percentile, ns.
    pub e2e_p99_ns: i64,
    /// 99.9th percentile, ns.
    pub e2e_p999_ns: i64,
    /// Largest, ns.
    pub e2e_max_ns: i64,
    /// The least time that a frame which did not come had been under way, ns; percentiles from
    /// there on may be larger.
    pub at_least_from_ns: Option<i64>,
    /// Frames lost: jumped over and not seen since.
    pub missing: u64,
    /// Frames that had not come by the end of the drain.
    pub undelivered: u64,
    /// Gaps the server told of.
    pub gaps: u64,
    /// CPUs the server kept busy, if it was watched.
    pub server_cpus_busy: Option<f64>,
    /// Whether these latencies meet the goals, if there are any for latencies; none at all do not.
    pub meets_goals: Option<bool>,
}

/// The laps of a run as far as it got; none where the measured phase is one.
pub fn rows(record: &Record<'_>) -> Vec<LapRow> {
    let Record { plan, outcome, .. } = record;
    let laps = plan.course.told() as u16;
    let length = plan.measure / u32::from(laps.max(1));
    let begun = (0..laps).filter(|lap| outcome.measured > length * u32::from(*lap));
    begun.map(|lap| row(record, lap, length)).collect()
}

fn row(record: &Record<'_>, lap: u16, length: Duration) -> LapRow {
    let Record { plan, outcome, samples, scenario, .. } = record;
    let from = length * u32::from(lap);
    let measured_s = outcome.measured.saturating_sub(from).min(length).as_secs_f64();
    let sends =
        |starts: Option<Duration>| starts.is_none_or(|starts| starts < from.saturating_add(length));
    let starts = plan.publishers.iter().map(|publisher| publisher.deviation.starts);
    let published = outcome.publishers.laps.get(usize::from(lap)).copied().unwrap_or(0);
    let e2e = latencies(outcome, lap);
    let goals = latency_goals(&scenario.slo, &e2e, record.clocks.bound_ns());
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

/// Between the looks that were nearest to its beginning and its end.
fn server_cpus_busy(samples: &Samples, from: Duration, length: Duration) -> Option<f64> {
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

impl LapRow {
    /// Whether a latency may be larger, because frames had not come by the end.
    fn is_least(&self, ns: i64) -> bool {
        self.at_least_from_ns.is_some_and(|from_ns| ns >= from_ns || ns == self.e2e_max_ns)
    }

    /// What stands under [`LAP_COLUMNS`]; latencies are as uncertain as the clocks, ns.
    pub fn cells(&self, bound_ns: u64) -> Vec<String> {
        let per_s = |rate: f64| format!("{}/s", format_count(rate.round()));
        let mut cells = vec![
            self.lap.to_string(),
            format!("{:.0} %", self.load * 100.0),
            format_exact(self.publishers),
            format_exact(self.sockets),
            per_s(self.publishes_per_s),
            per_s(self.deliveries_per_s),
        ];
        let latencies = [self.e2e_p50_ns, self.e2e_p99_ns, self.e2e_p999_ns, self.e2e_max_ns];
        cells.extend(latencies.map(|ns| match self.scored {
            0 => "–".to_owned(),
            _ => clocks::latency(ns, self.is_least(ns), bound_ns),
        }));
        cells.extend([self.missing, self.undelivered, self.gaps].map(format_exact));
        cells.push(self.server_cpus_busy.map_or("–".to_owned(), |cpus| format!("{cpus:.2}")));
        cells
    }
}

/// The summary of all laps; empty if there are none.
pub fn remark(rows: &[LapRow], profile: Option<Profile>) -> Option<String> {
    let last = rows.last()?;
    match profile {
        Some(profile) => Some(match goals_met(rows, profile.of) {
            Some(met) => format!("{profile}: {met} (the goals of the run are held to all of it)"),
            None => format!("{profile}: no goal for latencies is set, see `[slo]`"),
        }),
        None => Some(format!("p99 over {} laps: {}", last.lap, varied(rows))),
    }
}

/// How far the load grew before a goal was missed, if there are goals.
fn goals_met(rows: &[LapRow], of: Growing) -> Option<String> {
    rows.first()?.meets_goals?;
    let met = rows.iter().take_while(|row| row.meets_goals == Some(true));
    Some(match met.last() {
        None => format!("latency goals met in no lap of {}", rows.len()),
        Some(row) => {
            let count = match of {
                Growing::Subscribers => row.sockets,
                Growing::Publishers => row.publishers,
            };
            let (count, what) = (format_exact(count), of.name());
            format!("latency goals met up to lap {} of {}: {count} {what}", row.lap, rows.len())
        }
    })
}

fn varied(rows: &[LapRow]) -> String {
    let mut p99_ns: Vec<i64> = rows.iter().map(|row| row.e2e_p99_ns).collect();
    p99_ns.sort_unstable();
    let at = |place: usize| p99_ns.get(place).copied().unwrap_or(0) as f64;
    let last = p99_ns.len().saturating_sub(1);
    // The two middle values if their number is even.
    let median_ns = f64::midpoint(at(last / 2), at(last - last / 2));
    let [median, least, most] = [median_ns, at(0), at(last)].map(format_ns);
    format!("{median} in the median, from {least} to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::plan::course::Course;
    use crate::receive::outcome::lap::LapOutcome;
    use crate::result::record::Record;
    use crate::scenario::slo::Slo;
    use std::time::Duration;

    /// A run of ten seconds in laps of two. The median latency of each lap is its number.
    fn with_laps<T>(profile: Option<&str>, take: impl FnOnce(&Record<'_>) -> T) -> T {
        let mut outcome = fixtures::outcome();
        outcome.publishers.laps = vec![1_200; 5];
        outcome.classes[0].laps = (1..=5u64)
            .map(|number| LapOutcome {
                sockets: 400 * number,
                e2e: fixtures::histogram(1_000, 1_000_000 * number.cast_signed()),
                waiting: None,
                missing: number - 1,
                gaps: 1,
            })
            .collect();
        fixtures::with_record(&outcome, |record| {
            let profile = profile.map(|text| text.parse().unwrap());
            let mut scenario = record.scenario.clone();
            scenario.profile = profile;
            let e2e_p99 = profile.map(|_| Duration::from_millis(4));
            scenario.slo = Slo { e2e_p99, ..Slo::default() };
            let mut plan = record.plan.clone();
            plan.course = Course { laps: 5, profile };
            take(&Record { scenario: &scenario, plan: &plan, ..*record })
        })
    }

    #[test]
    fn each_lap_has_a_row() {
        let rows = with_laps(None, |record| record.laps());
        assert_eq!(rows.len(), 5);
        let second = &rows[1];
        assert_eq!((second.lap, second.measured_s, second.load), (2, 2.0, 1.0));
        assert_eq!((second.publishers, second.sockets), (20, 800));
        assert_eq!((second.publishes_per_s, second.deliveries_per_s), (600.0, 500.0));
        assert_eq!((second.scored, second.e2e_max_ns), (1_000, 2_999_000));
        assert_eq!((second.missing, second.gaps), (1, 1));
        assert!(rows.iter().all(|row| cells(row, 0).len() == LAP_COLUMNS.len()));
        assert_eq!(cells(second, 0)[..3], ["2", "100 %", "20"].map(str::to_owned));
    }

    #[test]
    fn a_run_without_laps_has_no_rows() {
        assert!(fixtures::with_record(&fixtures::outcome(), |record| record.laps()).is_empty());
        assert_eq!(remark(&[], None), None);
    }

    #[test]
    fn repeated_laps_tell_how_far_they_differ() {
        let said = with_laps(None, |record| remark(&record.laps(), None)).unwrap();
        assert!(said.starts_with("p99 over 5 laps: 3.99 ms in the median, from 1.99 ms"), "{said}");
    }

    #[test]
    fn a_profile_tells_how_far_the_goals_were_met() {
        for (text, met) in [
            ("5 steps of subscribers", "up to lap 3 of 5: 1,200 subscribers"),
            ("5 steps of publishers", "up to lap 3 of 5: 20 publishers"),
        ] {
            let (rows, said) = with_laps(Some(text), |record| {
                let rows = record.laps();
                let said = remark(&rows, record.scenario.profile).unwrap();
                (rows, said)
            });
            assert!(said.contains(met), "{said}");
            assert_eq!(cells(&rows[0], 0)[1], "20 %");
        }
    }
}
