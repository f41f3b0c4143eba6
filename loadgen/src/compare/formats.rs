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
        "ratio": one.ratio,
        "ratio_low": one.interval.0,
        "ratio_high": one.interval.1,
        "probability": one.probability,
        "change": one.change,
    })
}

/// JUnit XML: a test case for each gated metric, and one for frame integrity.
///
/// # Errors
/// When a text contains characters that XML does not allow.
pub fn junit(comparison: &Comparison) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("gridload compare");
    let status = if comparison.has_new_faults() {
        failed(&format!("{} frames lost, damaged or out of order", comparison.cand_faults))
    } else {
        TestCaseStatus::success()
    };
    suite.add_test_case(TestCase::new("whole frames", status));
    for one in comparison.metrics.iter().filter(|one| one.is_gated) {
        suite.add_test_case(TestCase::new(one.metric.key, status_of(one)));
    }
    let mut report = Report::new("gridload");
    report.add_test_suite(suite);
    report.to_string()
}

fn status_of(one: &Compared) -> TestCaseStatus {
    let told = || {
        let (low, high) = one.interval;
        format!("{}: x {:.3} ({low:.3}..{high:.3})", one.change.name(), one.ratio)
    };
    match one.change {
        Change::Regressed => failed(&told()),
        Change::Inconclusive => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(told());
            status
        }
        Change::Improved | Change::Unchanged => TestCaseStatus::success(),
    }
}

fn failed(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
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
