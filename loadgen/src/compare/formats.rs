//! A comparison in machine formats: our own JSON, JUnit, Bencher's metric format, and
//! github-action-benchmark. Owns their layouts. Must not judge.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Map, Value, json};

use crate::compare::comparison::{Change, Compared, Comparison};
use crate::compare::statistics::{extremes, median};

/// The complete comparison as one JSON document.
pub fn json(comparison: &Comparison) -> Value {
    json!({
        "schema_version": 1,
        "runs": {
            "base": comparison.base_runs,
            "cand": comparison.cand_runs,
            "invalid": comparison.invalid_runs,
        },
        "faults": { "base": comparison.base_faults, "cand": comparison.cand_faults },
        "regressed": comparison.has_regressed(),
        "inconclusive": comparison.is_inconclusive(),
        "metrics": comparison.metrics.iter().map(metric_json).collect::<Vec<_>>(),
    })
}

fn metric_json(one: &Compared) -> Value {
    json!({
        "key": one.metric.key,
        "unit": one.metric.unit.name(),
        "more_is_better": one.metric.more_is_better,
        "gated": one.is_gated,
        "effect_min": one.effect_min,
        "base": one.base,
        "cand": one.cand,
        "base_at_least": one.base_is_least,
        "cand_at_least": one.cand_is_least,
        "ratio": one.ratio,
        "ratio_low": one.interval.0,
        "ratio_high": one.interval.1,
        "probability": one.probability,
        "change": one.change,
    })
}

/// JUnit XML: a test case for each gated metric, and one for whole frames. Where nothing was
/// compared they are errors: neither side is better then, and a green suite would say so.
///
/// # Errors
/// When a text contains characters that XML does not allow.
pub fn junit(comparison: &Comparison) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("gridload compare");
    let status = if comparison.proves_nothing() {
        errored("a side has no valid run")
    } else if comparison.has_new_faults() {
        let faults = comparison.cand_faults;
        failed(&format!("{faults} frames lost, undelivered, misdelivered, damaged or out of order"))
    } else {
        TestCaseStatus::success()
    };
    suite.add_test_case(test_case("whole frames", status));
    for one in comparison.metrics.iter().filter(|one| one.is_gated) {
        suite.add_test_case(test_case(one.metric.key, status_of(one)));
    }
    let is_empty = !comparison.metrics.iter().any(|one| one.is_gated);
    for metric in &comparison.missing_metrics {
        let why = "one side has no value";
        let status = if is_empty { errored(why) } else { skipped(why) };
        suite.add_test_case(test_case(metric.key, status));
    }
    let mut report = Report::new("gridload");
    report.add_test_suite(suite);
    report.to_string()
}

fn status_of(one: &Compared) -> TestCaseStatus {
    let text = || {
        let (low, high) = one.interval;
        format!("{}: x {:.3} ({low:.3}..{high:.3})", one.change.name(), one.ratio)
    };
    match one.change {
        Change::Regressed => failed(&text()),
        Change::Inconclusive => skipped(&text()),
        Change::Improved | Change::Unchanged => TestCaseStatus::success(),
    }
}

/// Consumers group test cases by the name of their class.
fn test_case(name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname("gridload.compare");
    case
}

fn failed(message: &str) -> TestCaseStatus {
    with_message(TestCaseStatus::non_success(NonSuccessKind::Failure), message)
}

fn errored(message: &str) -> TestCaseStatus {
    with_message(TestCaseStatus::non_success(NonSuccessKind::Error), message)
}

fn skipped(message: &str) -> TestCaseStatus {
    with_message(TestCaseStatus::skipped(), message)
}

fn with_message(mut status: TestCaseStatus, message: &str) -> TestCaseStatus {
    status.set_message(message);
    status
}

/// Bencher's metric format: the candidate's median, and its smallest and largest run.
pub fn bencher(comparison: &Comparison) -> Value {
    let measures = comparison.metrics.iter().map(|one| {
        let (least, greatest) = extremes(&one.cand);
        let value = json!({
            "value": median(one.cand.clone()), "lower_value": least, "upper_value": greatest,
        });
        (one.metric.key.to_owned(), value)
    });
    json!({ "gridload": measures.collect::<Map<_, _>>() })
}

/// Entries of github-action-benchmark, for `customSmallerIsBetter` or, if more is better,
/// `customBiggerIsBetter`; one file may hold only one kind.
pub fn github_action(comparison: &Comparison, more_is_better: bool) -> Value {
    let wanted = comparison.metrics.iter().filter(|o| o.metric.more_is_better == more_is_better);
    let entries = wanted.map(|one| {
        let (least, greatest) = extremes(&one.cand);
        json!({
            "name": one.metric.title,
            "unit": one.metric.unit.name(),
            "value": median(one.cand.clone()),
            "range": format!("{least}..{greatest}"),
            "extra": format!("{} runs; x {:.3} of the base", one.cand.len(), one.ratio),
        })
    });
    Value::Array(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::metric::Metric;

    #[test]
    fn where_nothing_was_compared_every_test_case_is_an_error() {
        let missing_metrics =
            vec![Metric::find("e2e_p99").unwrap(), Metric::find("deliveries").unwrap()];
        for (base_runs, cand_runs) in [(0, 8), (8, 0), (0, 0)] {
            let missing_metrics = missing_metrics.clone();
            let comparison =
                Comparison { base_runs, cand_runs, missing_metrics, ..Comparison::default() };
            let text = junit(&comparison).unwrap();
            assert_eq!(text.matches("<error message=").count(), 3, "{text}");
            assert!(text.contains("tests=\"3\"") && text.contains("errors=\"3\""), "{text}");
        }
        let empty =
            Comparison { base_runs: 8, cand_runs: 8, missing_metrics, ..Comparison::default() };
        let text = junit(&empty).unwrap();
        assert!(text.contains("errors=\"2\""), "no gated metric was told: {text}");
        assert_eq!(text.matches("classname=\"gridload.compare\"").count(), 3, "{text}");
    }
}
