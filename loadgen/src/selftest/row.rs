//! One row of the self-test: what was put in, what came out, and whether that is within its bound.
//! Must not run anything.

use serde::Serialize;

use crate::time::units::format_ns;

/// A row, as it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its number in the documentation.
    pub number: u8,
    /// What was done.
    pub what: String,
    /// What must come out.
    pub truth: String,
    /// What did.
    pub measured: String,
    /// How far it may be off.
    pub allowed: String,
    /// What that means.
    pub verdict: RowVerdict,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowVerdict {
    /// Within its bound.
    Ok,
    /// Off by more than it may be.
    Wrong,
    /// The same, while the gates said that the host was in the way: nothing is proved.
    Spoiled,
}

impl RowVerdict {
    /// The verdict of a row that is not about a host.
    pub fn of(is_within: bool) -> RowVerdict {
        if is_within { RowVerdict::Ok } else { RowVerdict::Wrong }
    }

    /// Its word, as wide as all of them.
    pub fn name(self) -> &'static str {
        match self {
            RowVerdict::Ok => "ok     ",
            RowVerdict::Wrong => "WRONG  ",
            RowVerdict::Spoiled => "SPOILED",
        }
    }
}

impl Row {
    /// The row, under a further condition.
    pub fn also(self, holds: bool) -> Row {
        if holds { self } else { Row { verdict: RowVerdict::Wrong, ..self } }
    }

    /// The row of a trial in which the host was in the way or not: then a failure proves nothing.
    pub fn on(self, is_calm: bool) -> Row {
        let is_spoiled = self.verdict == RowVerdict::Wrong && !is_calm;
        if is_spoiled { Row { verdict: RowVerdict::Spoiled, ..self } } else { self }
    }
}

/// A value next to its truth.
#[derive(Debug, Clone, Copy)]
pub struct Near {
    /// What must come out, ns.
    pub truth_ns: f64,
    /// What did.
    pub measured_ns: f64,
    /// How far it may be off.
    pub off_max_ns: f64,
}

impl Near {
    /// Whether it is within its bound.
    pub fn holds(self) -> bool {
        (self.measured_ns - self.truth_ns).abs() <= self.off_max_ns
    }
}

/// Values by name, each near its truth.
pub fn near(number: u8, what: &str, values: &[(&str, Near)]) -> Row {
    let listed = |of: fn(&Near) -> f64| {
        let each = values.iter().map(|(name, near)| format!("{name} {}", format_ns(of(near))));
        each.collect::<Vec<_>>().join(", ")
    };
    Row {
        number,
        what: what.to_owned(),
        truth: listed(|near| near.truth_ns),
        measured: listed(|near| near.measured_ns),
        allowed: listed(|near| near.off_max_ns),
        verdict: RowVerdict::of(values.iter().all(|(_, near)| near.holds())),
    }
}

/// Counts by name, exact.
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
        let value = |measured_ns| Near { truth_ns: 5e6, measured_ns, off_max_ns: 1e5 };
        let verdict =
            |p50, p99| near(2, "delay", &[("p50", value(p50)), ("p99", value(p99))]).verdict;
        assert_eq!(verdict(5.1e6, 4.9e6), RowVerdict::Ok);
        assert_eq!(verdict(5.0e6, 5.2e6), RowVerdict::Wrong);
        let row = near(2, "delay", &[("p50", value(5.2e6))]);
        assert_eq!(row.allowed, "p50 100 µs");
        assert_eq!(row.clone().on(true).verdict, RowVerdict::Wrong);
        assert_eq!(row.on(false).verdict, RowVerdict::Spoiled);
    }

    #[test]
    fn one_count_off_by_one_fails_the_row() {
        let row = exact(7, "counts", &[("lost", 8, 8), ("twice", 8, 8)]);
        assert_eq!(row.clone().also(true).verdict, RowVerdict::Ok);
        assert_eq!(row.also(false).verdict, RowVerdict::Wrong);
        let row = exact(7, "counts", &[("lost", 8, 8), ("twice", 8, 9)]);
        assert_eq!((row.verdict, row.measured.as_str()), (RowVerdict::Wrong, "lost 8, twice 9"));
    }
}
