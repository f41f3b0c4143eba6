//! The table of a run's laps: the cells of each row, and the summary of all rows. Must not lay them
//! out, nor judge anything.

use crate::judge::laps::LapRow;
use crate::observe::clocks;
use crate::scenario::profile::{Growing, Profile};
use crate::time::units::{format_count, format_exact, format_ns};

/// The columns of each lap, on a terminal and on a page.
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
    "gaps",
    "server CPUs",
];

/// The cells under [`LAP_COLUMNS`]. The error of the clocks applies to the latencies, ns.
pub fn cells(row: &LapRow, bound_ns: u64) -> Vec<String> {
    let per_s = |rate: f64| format!("{}/s", format_count(rate.round()));
    let mut cells = vec![
        row.lap.to_string(),
        format!("{:.0} %", row.load * 100.0),
        format_exact(row.publishers),
        format_exact(row.sockets),
        per_s(row.publishes_per_s),
        per_s(row.deliveries_per_s),
    ];
    let latencies = [row.e2e_p50_ns, row.e2e_p99_ns, row.e2e_p999_ns, row.e2e_max_ns];
    cells.extend(latencies.map(|ns| match row.scored {
        0 => "–".to_owned(),
        _ => clocks::latency(ns, row.is_least(ns), bound_ns),
    }));
    cells.extend([row.missing, row.undelivered, row.gaps].map(format_exact));
    cells.push(row.server_cpus_busy.map_or("–".to_owned(), |cpus| format!("{cpus:.2}")));
    cells
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
