//! A comparison as text: a table for a terminal, or Markdown for a job summary. Must not judge.

use crate::compare::comparison::{Change, Compared, Comparison};
use crate::report::table::table;

/// The comparison for a terminal.
pub fn terminal(comparison: &Comparison) -> String {
    let rows = comparison.metrics.iter().map(row).collect();
    format!("\n{}\n\n{}\n\n{}\n", headline(comparison), table(&HEADER, rows), notes(comparison))
}

/// The comparison for a job summary, in Markdown.
pub fn markdown(comparison: &Comparison) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("### {}\n\n", headline(comparison));
    text += &line(&HEADER.map(str::to_owned));
    text += &format!("|---|{}\n", "---:|".repeat(HEADER.len() - 1));
    for one in &comparison.metrics {
        text += &line(&row(one));
    }
    text + "\n" + &notes(comparison) + "\n"
}

const HEADER: [&str; 7] = ["metric", "base", "candidate", "ratio", "95 % interval", "p", "change"];

fn headline(comparison: &Comparison) -> String {
    let regressed: Vec<_> = comparison
        .metrics
        .iter()
        .filter(|one| one.is_gated && one.change == Change::Regressed)
        .map(|one| format!("{} x {}", one.metric.title, ratio(one)))
        .collect();
    if comparison.proves_nothing() {
        "NOTHING TO COMPARE: a side has no valid run".to_owned()
    } else if comparison.has_new_faults() {
        format!(
            "REGRESSION: {} frames lost, undelivered, misdelivered, damaged or out of order",
            comparison.cand_faults
        )
    } else if !regressed.is_empty() {
        format!("REGRESSION: {}", regressed.join(", "))
    } else if comparison.is_inconclusive() {
        "no regression found, but not every gated metric could be decided".to_owned()
    } else {
        "no regression".to_owned()
    }
}

fn row(one: &Compared) -> Vec<String> {
    let unit = one.metric.unit;
    let (low, high) = one.interval;
    let change = match one.is_gated {
        true => one.change.name().to_owned(),
        false => format!("({})", one.change.name()),
    };
    vec![
        one.metric.title.to_owned(),
        with_bound(one.base_is_least, unit.format(one.base_median())),
        with_bound(one.cand_is_least, unit.format(one.cand_median())),
        ratio(one),
        format!("{low:.3}..{high:.3}"),
        format!("{:.4}", one.probability),
        change,
    ]
}

fn with_bound(is_least: bool, value: String) -> String {
    if is_least { format!(">= {value}") } else { value }
}

/// The ratio of candidate to base, as far as lower bounds leave it known.
fn ratio(one: &Compared) -> String {
    match (one.base_is_least, one.cand_is_least) {
        (false, is_least) => with_bound(is_least, format!("{:.3}", one.ratio)),
        (true, false) => format!("<= {:.3}", one.ratio),
        (true, true) => "unknown".to_owned(),
    }
}

fn notes(comparison: &Comparison) -> String {
    let Comparison { base_runs, cand_runs, invalid_runs, .. } = comparison;
    let mut text = format!(
        "{base_runs} valid runs of the base, {cand_runs} of the candidate, {invalid_runs} invalid \
         ones left out. Medians; what is in brackets is not gated."
    );
    let few = (*base_runs).min(*cand_runs) < crate::compare::comparison::RUNS_MIN;
    if few && !comparison.proves_nothing() {
        text += " Fewer than four valid runs a side show nothing: run more.";
    }
    if comparison.metrics.iter().any(|one| one.base_is_least || one.cand_is_least) {
        text += " With `>=` the true latency may be larger: frames were undelivered.";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::metric::METRICS;

    fn comparison(change: Change) -> Comparison {
        let one = Compared {
            metric: &METRICS[4],
            is_gated: true,
            effect_min: 0.05,
            base: vec![500.0; 5],
            cand: vec![600.0; 5],
            base_is_least: false,
            cand_is_least: false,
            ratio: 1.2,
            interval: (1.15, 1.25),
            probability: 0.0079,
            change,
        };
        Comparison {
            missing_metrics: Vec::new(),
            base_runs: 5,
            cand_runs: 5,
            invalid_runs: 1,
            base_faults: 0,
            cand_faults: 0,
            metrics: vec![one],
        }
    }

    #[test]
    fn the_verdict_comes_first_and_every_number_has_its_unit() {
        let text = markdown(&comparison(Change::Regressed));
        assert!(text.starts_with("### REGRESSION: server CPU per delivery x 1.200\n"), "{text}");
        let row = "| server CPU per delivery | 500 ns | 600 ns | 1.200 | 1.150..1.250 | 0.0079 | \
                   regressed |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("5 valid runs of the base, 5 of the candidate, 1 invalid"), "{text}");
        assert!(terminal(&comparison(Change::Unchanged)).contains("no regression"));
    }

    #[test]
    fn a_lower_bound_is_shown_as_one() {
        let shown = |base_is_least, cand_is_least| {
            let mut comparison = comparison(Change::Inconclusive);
            let one = &mut comparison.metrics[0];
            (one.base_is_least, one.cand_is_least) = (base_is_least, cand_is_least);
            markdown(&comparison)
        };
        let text = shown(false, true);
        assert!(text.contains("| 500 ns | >= 600 ns | >= 1.200 |"), "{text}");
        assert!(text.contains("the true latency may be larger"), "{text}");
        assert!(shown(true, false).contains("| >= 500 ns | 600 ns | <= 1.200 |"));
        assert!(shown(true, true).contains("| >= 500 ns | >= 600 ns | unknown |"));
        assert!(!shown(false, false).contains(">= "));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let text = terminal(&comparison(Change::Inconclusive));
        assert!(text.contains("not every gated metric could be decided"), "{text}");
        let nothing = Comparison { base_runs: 0, ..comparison(Change::Unchanged) };
        assert!(terminal(&nothing).contains("NOTHING TO COMPARE"));
        let few = Comparison { base_runs: 3, ..comparison(Change::Inconclusive) };
        assert!(terminal(&few).contains("run more"));
        let broken = Comparison { cand_faults: 2, ..comparison(Change::Unchanged) };
        assert!(terminal(&broken).contains("REGRESSION: 2 frames lost"));
    }
}
