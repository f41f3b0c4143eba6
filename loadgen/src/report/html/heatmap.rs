//! The heat map of latencies: seconds on the horizontal axis, latencies on the vertical one; a
//! darker cell holds a larger share of the second's frames. Must not know where latencies come
//! from.

use std::collections::BTreeMap;

use crate::receive::latency_map::{BucketCounts, bucket_from_ns};
use crate::receive::outcome::window::Window;
use crate::report::html::document::Document;
use crate::report::html::over_time::key;
use crate::report::html::plot::{Axis, Figure, Key, PlotArea};
use crate::report::html::scale::{Scale, log_ticks, round_down, round_up};
use crate::report::html::svg::{Area, Svg};
use crate::report::html::timeline::{Reading, Timeline};
use crate::report::html::{over_time, plot};
use crate::time::units::{format_exact, format_ns};

/// The heat map of a run.
pub fn figure(run: &Document, timeline: &Timeline) -> Figure {
    let columns = columns(run, timeline);
    let (p50, p99) = (line(run, timeline, |w| w.e2e_p50_ns), line(run, timeline, |w| w.e2e_p99_ns));
    let axis = axis(run, &columns);
    let x = over_time::axis(timeline, AREA);
    let svg = plot::draw(AREA, [&x, &axis], &description(run), |svg| {
        over_time::phases(svg, timeline, AREA);
        cells(svg, timeline, &axis.scale, &columns);
        for (class, values) in [("median", &p50), ("p99", &p99)] {
            svg.curve(class, &over_time::points(timeline, AREA, &axis.scale, values));
        }
        over_time::hints(svg, timeline, AREA, |column| hint(run, timeline, column));
    });
    let (id, title) = ("heatmap", "Latency over time");
    Figure { id, title, note: note(&columns, timeline), legend: legend(&columns), svg }
}

fn note(columns: &[BucketCounts], timeline: &Timeline) -> String {
    let lines = "Lines: median and 99th percentile.";
    if columns.iter().all(BTreeMap::is_empty) {
        let missing = "This result does not hold how latencies were spread within each second.";
        return format!("{missing} {lines}");
    }
    let unit = match timeline.column_s > 1.0 {
        true => format!("{:.0} seconds", timeline.column_s),
        false => "a second".to_owned(),
    };
    format!(
        "End to end, all classes. Each column is {unit}; the colour is the share of its frames \
         that took that long. {lines}"
    )
}

fn legend(columns: &[BucketCounts]) -> Vec<Key> {
    let mut legend = vec![key("line median", "median"), key("line p99", "p99")];
    if columns.iter().any(|counts| !counts.is_empty()) {
        let last = LEVELS.len() - 1;
        legend.extend((0..LEVELS.len()).map(|level| match level {
            0 => key("ramp h0 first", "under 0.01 %"),
            _ if level == last => key(format!("ramp h{level} last"), "over 30 % of the frames"),
            _ => key(format!("ramp h{level}"), ""),
        }));
    }
    legend
}

fn description(run: &Document) -> String {
    let of = |value: fn(&Window) -> i64| run.windows.iter().map(value).max().unwrap_or(0) as f64;
    format!(
        "Heat map of end-to-end latency over {} seconds; the largest median of a second is {}, the \
         largest 99th percentile {}, the maximum {}.",
        run.windows.len(),
        format_ns(of(|window| window.e2e_p50_ns)),
        format_ns(of(|window| window.e2e_p99_ns)),
        format_ns(of(|window| window.e2e_max_ns)),
    )
}

fn columns(run: &Document, timeline: &Timeline) -> Vec<BucketCounts> {
    let mut columns = vec![BucketCounts::new(); timeline.columns()];
    for window in &run.windows {
        let column = timeline.column_of(f64::from(window.t_s));
        if let Some(counts) = column.and_then(|column| columns.get_mut(column)) {
            for (bucket, count) in &window.e2e_counts {
                *counts.entry(*bucket).or_default() += count;
            }
        }
    }
    columns
}

/// Weighted by frames, because a column may hold several seconds.
fn line(run: &Document, timeline: &Timeline, value: impl Fn(&Window) -> i64) -> Vec<Option<f64>> {
    let reading = |window: &Window| Reading {
        at_s: f64::from(window.t_s),
        weight: window.received as f64,
        value: value(window) as f64,
    };
    timeline.means(&run.windows.iter().map(reading).collect::<Vec<_>>())
}

fn axis(run: &Document, columns: &[BucketCounts]) -> Axis {
    let buckets = || columns.iter().flat_map(BTreeMap::keys).copied();
    let medians = run.windows.iter().map(|window| window.e2e_p50_ns as f64);
    let lowest = match buckets().min() {
        Some(bucket) => bucket_from_ns(bucket),
        None => medians.filter(|ns| *ns > 0.0).fold(f64::INFINITY, f64::min),
    };
    let highest = match buckets().max() {
        Some(bucket) => bucket_from_ns(bucket.saturating_add(1)),
        None => run.windows.iter().map(|window| window.e2e_p99_ns as f64).fold(0.0, f64::max),
    };
    latency_axis((lowest, highest), AREA)
}

/// An axis of latencies that begins and ends with round values. If there are no latencies, the
/// minimum is infinite and the axis is the smallest possible.
pub fn latency_axis((lowest_ns, highest_ns): (f64, f64), area: PlotArea) -> Axis {
    let is_known = lowest_ns.is_finite();
    let from = if is_known { round_down(lowest_ns.max(LEAST_NS)) } else { LEAST_NS };
    let to = round_up(highest_ns.max(2.0 * from));
    let ticks = log_ticks(from, to, LATENCY_TICKS).into_iter();
    let ticks = ticks.map(|ns| (ns, tick_name(ns))).collect();
    Axis { scale: Scale::log((from, to), area.y_range()), ticks, caption: "latency" }
}

/// A round latency without needless digits: `20 µs`, not `20.0 µs`.
fn tick_name(ns: f64) -> String {
    let (value, unit) = match ns {
        ..999.5 => (ns, "ns"),
        ..999.5e3 => (ns / 1e3, "µs"),
        ..999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{value:.0} {unit}")
}

fn cells(svg: &mut Svg, timeline: &Timeline, y: &Scale, columns: &[BucketCounts]) {
    let mut levels = vec![Vec::new(); LEVELS.len()];
    for (column, counts) in columns.iter().enumerate() {
        let total: u64 = counts.values().sum();
        let (from, to) = over_time::places(timeline, AREA, column);
        // Whole units, so that no background line shows between neighbouring cells.
        let (from, to) = (from.round(), to.round());
        for (bucket, count) in counts {
            let bottom = y.place(bucket_from_ns(*bucket)).round();
            let top = y.place(bucket_from_ns(bucket.saturating_add(1))).round();
            let cell = Area { x: from, y: top, width: to - from, height: bottom - top };
            if cell.height > 0.0 {
                levels[level(*count as f64 / total as f64)].push(cell);
            }
        }
    }
    for (level, cells) in levels.iter().enumerate() {
        svg.areas(&format!("cell h{level}"), cells);
    }
}

/// The colour class of a share.
fn level(share: f64) -> usize {
    LEVELS.iter().rposition(|least| share >= *least).unwrap_or(0)
}

fn hint(run: &Document, timeline: &Timeline, column: usize) -> Option<String> {
    let is_inside = |window: &&Window| timeline.column_of(f64::from(window.t_s)) == Some(column);
    let windows: Vec<_> = run.windows.iter().filter(is_inside).collect();
    let largest = |value: fn(&Window) -> i64| {
        let largest = windows.iter().map(|window| value(window)).max();
        format_ns(largest.unwrap_or(0) as f64)
    };
    let received = windows.iter().map(|window| window.received).sum();
    (!windows.is_empty()).then(|| {
        let frames = format_exact(received);
        let (p50, p99) = (largest(|window| window.e2e_p50_ns), largest(|window| window.e2e_p99_ns));
        let max = largest(|window| window.e2e_max_ns);
        format!("{frames} frames, median {p50}, p99 {p99}, max {max}")
    })
}

const AREA: PlotArea = PlotArea::wide(380.0);
/// The lower bound of each colour, as a share of a column's frames.
const LEVELS: [f64; 8] = [0.0, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3];
/// Lower latencies do not matter, and on a logarithmic axis they would take as much room as higher
/// ones.
const LEAST_NS: f64 = 1_000.0;
const LATENCY_TICKS: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::fixtures;

    #[test]
    fn the_darkness_is_the_share() {
        assert_eq!([0.0, 0.00005, 0.0005, 0.02, 0.29, 0.3, 1.0].map(level), [0, 0, 1, 4, 6, 7, 7]);
    }

    #[test]
    fn every_column_has_its_cells_and_a_hint() {
        let run = fixtures::document();
        let figure = figure(&run, &Timeline::of(&run));
        assert!(
            figure.svg.contains("class=\"cell h7\"") && figure.svg.contains("class=\"cell h4\"")
        );
        assert_eq!(figure.svg.matches("class=\"hint\"").count(), 13);
        assert!(figure.svg.contains("3 s: 60,000 frames, median 100 µs, p99 200 µs, max 300 µs"));
        assert!(figure.svg.contains(">100 µs<"), "{}", figure.svg);
        assert_eq!(figure.legend.len(), 2 + LEVELS.len());
    }

    #[test]
    fn a_result_without_distributions_has_lines() {
        let mut run = fixtures::document();
        run.windows.iter_mut().for_each(|window| window.e2e_counts.clear());
        let old = figure(&run, &Timeline::of(&run));
        assert!(old.note.contains("does not hold") && old.svg.contains("class=\"median\""));
        run.windows.clear();
        assert!(figure(&run, &Timeline::of(&run)).svg.contains("class=\"axis\""));
    }

    #[test]
    fn round_latencies_are_short() {
        assert_eq!([1_000.0, 5e5, 1e6, 2e9].map(tick_name), ["1 µs", "500 µs", "1 ms", "2 s"]);
    }
}
