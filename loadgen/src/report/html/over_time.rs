//! The common parts of all plots over time: the axis, the shaded phases of the run, and a tooltip
//! for each column. Must not know what is plotted.

use crate::report::html::plot::{Axis, Key, PlotArea};
use crate::report::html::scale::{Scale, second_ticks};
use crate::report::html::svg::{Point, Svg};
use crate::report::html::timeline::Timeline;

/// The time axis of a drawing, in a unit that suits its length.
pub fn axis(timeline: &Timeline, area: PlotArea) -> Axis {
    let (unit_s, caption) = match timeline.length_s {
        ..=300.0 => (1.0, "seconds since the first frame was due"),
        ..=14_400.0 => (60.0, "minutes since the first frame was due"),
        _ => (3_600.0, "hours since the first frame was due"),
    };
    let ticks = second_ticks(timeline.length_s, TICKS).into_iter();
    let ticks = ticks.map(|at_s| (at_s, format!("{}", at_s / unit_s))).collect();
    Axis { scale: Scale::linear((0.0, timeline.length_s), area.x_range()), ticks, caption }
}

/// Shades the phases that were not measured.
pub fn phases(svg: &mut Svg, timeline: &Timeline, area: PlotArea) {
    let scale = axis(timeline, area).scale;
    let (start, end) = area.x_range();
    let (from, to) = timeline.measured_s;
    for (name, from, to) in [("warm-up", start, scale.place(from)), ("drain", scale.place(to), end)]
    {
        let area = area.column(from, to);
        if area.width >= 1.0 {
            svg.areas("phase", &[area]);
        }
        if area.width >= NAMED_FROM {
            svg.text("phase-name", ((from + to) / 2.0, area.y + 12.0), name);
        }
    }
}

/// Adds a tooltip with the values of a column.
pub fn hints(
    svg: &mut Svg,
    timeline: &Timeline,
    area: PlotArea,
    text: impl Fn(usize) -> Option<String>,
) {
    for column in 0..timeline.columns() {
        let (from, to) = places(timeline, area, column);
        if let Some(text) = text(column) {
            svg.hint(area.column(from, to), &format!("{}: {text}", timeline.name(column)));
        }
    }
}

/// The horizontal ends of a column in the drawing.
pub fn places(timeline: &Timeline, area: PlotArea, column: usize) -> (f64, f64) {
    let scale = Scale::linear((0.0, timeline.length_s), area.x_range());
    let (from_s, to_s) = timeline.span_s(column);
    (scale.place(from_s), scale.place(to_s))
}

/// The middles of the columns that have a value, at the height of the value.
pub fn points(
    timeline: &Timeline,
    area: PlotArea,
    y: &Scale,
    values: &[Option<f64>],
) -> Vec<Point> {
    let middle = |column| {
        let (from, to) = places(timeline, area, column);
        (from + to) / 2.0
    };
    let known = values.iter().enumerate().filter_map(|(column, value)| Some((column, (*value)?)));
    known.map(|(column, value)| (middle(column), y.place(value))).collect()
}

/// An entry of a legend.
pub fn key(class: impl Into<String>, name: impl Into<String>) -> Key {
    Key { class: class.into(), name: name.into() }
}

/// The most steps of the axis.
const TICKS: u32 = 14;
/// A phase narrower than this gets no label.
const NAMED_FROM: f64 = 52.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::fixtures;

    #[test]
    fn long_runs_are_told_in_minutes() {
        let area = PlotArea::wide(200.0);
        let mut timeline = Timeline::of(&fixtures::document());
        let mut axis_of = |length_s| {
            timeline.length_s = length_s;
            axis(&timeline, area)
        };
        assert_eq!(axis_of(13.0).ticks[13], (13.0, "13".to_owned()));
        let minutes = axis_of(1_200.0);
        assert_eq!(minutes.ticks[1], (120.0, "2".to_owned()));
        assert!(minutes.caption.starts_with("minutes"));
        assert!(axis_of(86_400.0).caption.starts_with("hours"));
    }

    #[test]
    fn what_was_not_measured_is_shaded_and_named() {
        let timeline = Timeline::of(&fixtures::document());
        let mut svg = Svg::default();
        phases(&mut svg, &timeline, PlotArea::wide(200.0));
        let text = svg.finish((1.0, 1.0), "");
        assert_eq!(text.matches("class=\"phase\"").count(), 2);
        assert!(text.contains(">warm-up<") && text.contains(">drain<"), "{text}");
    }

    #[test]
    fn columns_without_a_value_are_passed_over() {
        let timeline = Timeline::of(&fixtures::document());
        let area = PlotArea::wide(200.0);
        let y = Scale::linear((0.0, 1.0), area.y_range());
        assert_eq!(points(&timeline, area, &y, &[Some(0.0), None, Some(1.0)]).len(), 2);
    }
}
