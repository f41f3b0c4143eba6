//! The time axis that all plots over time share: its length, its columns, the phases of the run,
//! and the assignment of values to columns. Must not draw, nor know what the values mean.

use crate::report::html::document::{Document, Sample};
use crate::time::units::parse_duration;

/// The time from the first frame due to the end of the run, in columns of whole seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Length, seconds.
    pub length_s: f64,
    /// Length of a column, seconds.
    pub column_s: f64,
    /// The measured phase, seconds from and to.
    pub measured_s: (f64, f64),
    start_ns: Option<u64>,
}

/// A value at an instant or over an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Its instant, or the middle of its interval, seconds since the first frame was due.
    pub at_s: f64,
    /// Its weight among the values of its column.
    pub weight: f64,
    /// The value.
    pub value: f64,
}

impl Timeline {
    /// The axis of a run.
    pub fn of(run: &Document) -> Timeline {
        let warmup = run.scenario["phases"]["warmup"].as_str().and_then(|t| parse_duration(t).ok());
        let warmup = warmup.unwrap_or_default();
        let measured_s = (warmup.as_secs_f64(), warmup.as_secs_f64() + run.totals.measured_s);
        let last_s = run.windows.last().map_or(0.0, |window| f64::from(window.t_s) + 1.0);
        let length_s = last_s.max(measured_s.1).max(1.0).ceil();
        let measure_start = run.samples.measure_start.as_ref();
        let warmup_ns = u64::try_from(warmup.as_nanos()).unwrap_or(u64::MAX);
        let start_ns = measure_start.map(|sample| sample.at_ns.saturating_sub(warmup_ns));
        Timeline { length_s, column_s: column_s(length_s), measured_s, start_ns }
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        (self.length_s / self.column_s).ceil() as usize
    }

    /// The seconds at which a column begins and ends.
    pub fn span_s(&self, column: usize) -> (f64, f64) {
        let from_s = column as f64 * self.column_s;
        (from_s, (from_s + self.column_s).min(self.length_s))
    }

    /// The column of an instant, if it is on the axis.
    pub fn column_of(&self, at_s: f64) -> Option<usize> {
        (0.0..self.length_s).contains(&at_s).then(|| (at_s / self.column_s) as usize)
    }

    /// When a sample was taken, seconds since the first frame was due; `None` if nothing was
    /// measured.
    pub fn at_s(&self, sample: &Sample) -> Option<f64> {
        let start_ns = self.start_ns? as f64;
        Some((sample.at_ns as f64 - start_ns) / 1e9)
    }

    /// The weighted mean of the readings in each column.
    pub fn means(&self, readings: &[Reading]) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0.0); self.columns()];
        for Reading { at_s, weight, value } in readings {
            if let Some(sum) = self.column_of(*at_s).and_then(|column| sums.get_mut(column)) {
                *sum = (sum.0 + weight * value, sum.1 + weight);
            }
        }
        sums.into_iter().map(|(sum, weight)| (weight > 0.0).then(|| sum / weight)).collect()
    }

    /// The label of a column: its second, or its range of seconds.
    pub fn name(&self, column: usize) -> String {
        let (from_s, to_s) = self.span_s(column);
        match self.column_s > 1.0 {
            true => format!("{from_s:.0} to {to_s:.0} s"),
            false => format!("{from_s:.0} s"),
        }
    }
}

/// The shortest round column length that does not give too many columns.
fn column_s(length_s: f64) -> f64 {
    let fits = |column_s: &f64| length_s / column_s <= COLUMNS_MAX;
    COLUMN_S.into_iter().find(fits).unwrap_or_else(|| (length_s / COLUMNS_MAX).ceil())
}

/// The most columns that can be distinguished in the width of a page.
const COLUMNS_MAX: f64 = 180.0;
const COLUMN_S: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::fixtures;

    fn reading(at_s: f64, weight: f64, value: f64) -> Reading {
        Reading { at_s, weight, value }
    }

    #[test]
    fn the_axis_begins_with_the_first_frame() {
        let run = fixtures::document();
        let timeline = Timeline::of(&run);
        assert_eq!((timeline.length_s, timeline.column_s, timeline.columns()), (13.0, 1.0, 13));
        assert_eq!(timeline.measured_s, (2.0, 12.0));
        let start = run.samples.measure_start.as_ref().unwrap();
        assert_eq!(timeline.at_s(start), Some(2.0));
    }

    #[test]
    fn long_runs_have_longer_columns() {
        for (length_s, expected_s) in [
            (1.0, 1.0),
            (180.0, 1.0),
            (181.0, 2.0),
            (900.0, 5.0),
            (604_800.0, 3_600.0),
            (1e7, 55_556.0),
        ] {
            assert_eq!(column_s(length_s), expected_s, "{length_s}");
        }
        let timeline =
            Timeline { length_s: 301.0, column_s: 2.0, measured_s: (0.0, 301.0), start_ns: None };
        assert_eq!((timeline.columns(), timeline.span_s(150)), (151, (300.0, 301.0)));
        assert_eq!((timeline.name(3), timeline.column_of(301.0)), ("6 to 8 s".into(), None));
    }

    #[test]
    fn a_column_is_the_mean_of_its_readings() {
        let timeline =
            Timeline { length_s: 6.0, column_s: 2.0, measured_s: (0.0, 6.0), start_ns: None };
        let readings = [
            reading(-0.5, 1.0, 9.0),
            reading(0.5, 1.0, 10.0),
            reading(1.5, 3.0, 20.0),
            reading(5.0, 0.0, 7.0),
            reading(6.0, 1.0, 9.0),
        ];
        assert_eq!(timeline.means(&readings), [Some(17.5), None, None]);
    }
}
