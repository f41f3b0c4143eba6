//! One row of the self-test: the injected value, the measured value, and whether the difference is
//! within its bound. Must not run anything.

use serde::Serialize;

use crate::time::units::format_ns;

/// A row, as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its number in the documentation.
    pub number: u8,
    /// What was injected.
    pub what: String,
    /// The correct result.
    pub truth: String,
    /// The measured result.
    pub measured: String,
    /// The permitted difference.
    pub allowed: String,
    /// The verdict.
    pub verdict: RowVerdict,
}

/// The verdict of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowVerdict {
    /// Within its bound.
    Ok,
    /// The difference exceeds the bound.
    Wrong,
    /// The difference exceeds the bound, but gates reported that the host disturbed the trial:
    /// nothing is proved.
    Spoiled,
}

impl RowVerdict {
    /// The verdict of a row that does not depend on the host.
    pub fn of(is_within: bool) -> RowVerdict {
        if is_within { RowVerdict::Ok } else { RowVerdict::Wrong }
    }

    /// The word for the verdict, padded to equal width.
    pub fn name(self) -> &'static str {
        match self {
            RowVerdict::Ok => "ok     ",
            RowVerdict::Wrong => "WRONG  ",
            RowVerdict::Spoiled => "SPOILED",
        }
    }
}

impl Row {
    /// Adds a further condition to the row.
    pub fn and(self, holds: bool) -> Row {
        if holds { self } else { Row { verdict: RowVerdict::Wrong, ..self } }
    }

    /// The row of a trial that the host may have disturbed; if it did, a failure proves nothing.
    pub fn unless_disturbed(self, is_undisturbed: bool) -> Row {
        let is_spoiled = self.verdict == RowVerdict::Wrong && !is_undisturbed;
        if is_spoiled { Row { verdict: RowVerdict::Spoiled, ..self } } else { self }
    }
}

/// A measured value and the correct one.
#[derive(Debug, Clone, Copy)]
pub struct Approx {
    /// The correct value, ns.
    pub truth_ns: f64,
    /// The measured value, ns.
    pub measured_ns: f64,
    /// The permitted difference, ns.
    pub off_max_ns: f64,
}

impl Approx {
    /// Whether the difference is within the bound.
    pub fn holds(self) -> bool {
        (self.measured_ns - self.truth_ns).abs() <= self.off_max_ns
    }
}

/// Values by name, each compared within its bound.
pub fn approx(number: u8, what: &str, values: &[(&str, Approx)]) -> Row {
    let listed = |of: fn(&Approx) -> f64| {
        let each = values.iter().map(|(name, approx)| format!("{name} {}", format_ns(of(approx))));
        each.collect::<Vec<_>>().join(", ")
    };
    Row {
        number,
        what: what.to_owned(),
        truth: listed(|approx| approx.truth_ns),
        measured: listed(|approx| approx.measured_ns),
        allowed: listed(|approx| approx.off_max_ns),
        verdict: RowVerdict::of(values.iter().all(|(_, approx)| approx.holds())),
    }
}

/// Counts by name, which must be exact.
pub fn exact(number: u8, what: &str, counts: &[(&str, u64, u64)]) -> Row {
    let listed = |of: fn(&(&str, u64, u64)) -> u64| {
        let each = counts.iter().map(|count| format!("{} {}", count.0, of(count)));
        each.collect::<Vec<_>>().join(", ")
    };
    Row {
        number,
        what: what.to_owned(),
        truth: listed(|count| count.1),
        measured: listed(|count| count.2),
        allowed: "exact".to_owned(),
        verdict: RowVerdict::of(counts.iter().all(|(_, truth, measured)| truth == measured)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_off_by_more_than_its_bound_fails_the_row() {
        let value = |measured_ns| Approx { truth_ns: 5e6, measured_ns, off_max_ns: 1e5 };
        let verdict =
            |p50, p99| approx(2, "delay", &[("p50", value(p50)), ("p99", value(p99))]).verdict;
        assert_eq!(verdict(5.1e6, 4.9e6), RowVerdict::Ok);
        assert_eq!(verdict(5.0e6, 5.2e6), RowVerdict::Wrong);
        let row = approx(2, "delay", &[("p50", value(5.2e6))]);
        assert_eq!(row.allowed, "p50 100 µs");
        assert_eq!(row.clone().unless_disturbed(true).verdict, RowVerdict::Wrong);
        assert_eq!(row.unless_disturbed(false).verdict, RowVerdict::Spoiled);
    }

    #[test]
    fn one_count_off_by_one_fails_the_row() {
        let row = exact(7, "counts", &[("lost", 8, 8), ("twice", 8, 8)]);
        assert_eq!(row.clone().and(true).verdict, RowVerdict::Ok);
        assert_eq!(row.and(false).verdict, RowVerdict::Wrong);
        let row = exact(7, "counts", &[("lost", 8, 8), ("twice", 8, 9)]);
        assert_eq!((row.verdict, row.measured.as_str()), (RowVerdict::Wrong, "lost 8, twice 9"));
    }
}
