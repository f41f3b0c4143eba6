//! Draws a plot of quantities over time, whatever the quantity is. Must not know what is measured;
//! `quantities` does.

use crate::report::html::over_time::key;
use crate::report::html::plot::{Axis, Figure, PlotArea};
use crate::report::html::scale::{Scale, byte_ticks_to, ticks_to};
use crate::report::html::svg::{Area, Svg};
use crate::report::html::timeline::Timeline;
use crate::report::html::{over_time, plot};
use crate::time::units::{format_bytes, format_count};

/// The data and the style of a plot.
#[derive(Debug)]
pub struct Series {
    /// Its name in links and tests.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// A sentence that explains the plot.
    pub note: String,
    /// The kind of its values.
    pub unit: Unit,
    /// How they are drawn.
    pub shape: Shape,
    /// The values.
    pub lines: Vec<Line>,
}

/// One quantity in each column of the time axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The name of the quantity.
    pub name: String,
    /// `None` where no sample exists.
    pub values: Vec<Option<f64>>,
}

/// The kind of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Frames or notices per column.
    Count,
    /// Frames per second.
    FramesPerS,
    /// Switches per second.
    SwitchesPerS,
    /// Bytes.
    Bytes,
    /// CPUs in use.
    Cpus,
}

/// The style of a plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One line per quantity.
    Lines,
    /// Stacked areas.
    Stack,
    /// Bars next to each other.
    Bars,
}

impl Series {
    /// The plot.
    pub fn figure(self, timeline: &Timeline) -> Figure {
        let y = self.axis();
        let x = over_time::axis(timeline, AREA);
        let svg = plot::draw(AREA, [&x, &y], &self.description(), |svg| {
            over_time::phases(svg, timeline, AREA);
            match self.shape {
                Shape::Lines => self.lines(svg, timeline, &y.scale),
                Shape::Stack => self.stack(svg, timeline, &y.scale),
                Shape::Bars => self.bars(svg, timeline, &y.scale),
            }
            over_time::hints(svg, timeline, AREA, |column| self.hint(column));
        });
        let kind = if self.shape == Shape::Lines { "line" } else { "area" };
        // A single line needs no legend, because the heading names it.
        let keys = self.lines.iter().enumerate().filter(|_| self.lines.len() > 1);
        let legend = keys.map(|(at, line)| key(format!("{kind} c{at}"), &line.name)).collect();
        Figure { id: self.id, title: self.title, note: self.note, legend, svg }
    }

    fn axis(&self) -> Axis {
        let max = match self.shape {
            Shape::Stack => self.heights().last().map_or(0.0, |top| largest(top)),
            Shape::Lines | Shape::Bars => {
                self.lines.iter().map(|line| largest(&line.values)).fold(0.0, f64::max)
            }
        };
        let ticks = self.unit.ticks_to(max);
        let top = ticks.last().copied().unwrap_or(1.0);
        Axis {
            scale: Scale::linear((0.0, top), AREA.y_range()),
            ticks: ticks.into_iter().map(|tick| (tick, self.unit.tick_name(tick, top))).collect(),
            caption: self.unit.caption(),
        }
    }

    fn description(&self) -> String {
        let largest = self.lines.iter().map(|line| {
            format!("{} at most {}", line.name, self.unit.format(largest(&line.values)))
        });
        let largest: Vec<_> = largest.collect();
        format!("{} over time: {}.", self.title, largest.join(", "))
    }

    fn lines(&self, svg: &mut Svg, timeline: &Timeline, y: &Scale) {
        let bottom = y.places().0;
        for (at, line) in self.lines.iter().enumerate() {
            let points = over_time::points(timeline, AREA, y, &line.values);
            if let (1, Some(first), Some(last)) = (self.lines.len(), points.first(), points.last())
            {
                let foot = [(last.0, bottom), (first.0, bottom)];
                svg.polygon(&format!("below c{at}"), &[&points[..], &foot[..]].concat());
            }
            svg.curve(&format!("line c{at}"), &points);
        }
    }

    fn stack(&self, svg: &mut Svg, timeline: &Timeline, y: &Scale) {
        let heights = self.heights();
        let lowest = heights.first().into_iter().flatten();
        let mut floor: Vec<_> = lowest.map(|height| height.and(Some(0.0))).collect();
        for (at, top) in heights.into_iter().enumerate() {
            let mut outline = over_time::points(timeline, AREA, y, &top);
            outline.extend(over_time::points(timeline, AREA, y, &floor).into_iter().rev());
            svg.polygon(&format!("area c{at}"), &outline);
            floor = top;
        }
    }

    /// The upper edges of stacked areas, from the lowest on. A column is left out if its lowest
    /// value is unknown.
    fn heights(&self) -> Vec<Vec<Option<f64>>> {
        let mut heights: Vec<Vec<Option<f64>>> = Vec::new();
        for line in &self.lines {
            let top = match heights.last() {
                None => line.values.clone(),
                Some(below) => {
                    let both = below.iter().zip(&line.values);
                    both.map(|(below, value)| below.map(|h| h + value.unwrap_or(0.0))).collect()
                }
            };
            heights.push(top);
        }
        heights
    }

    fn bars(&self, svg: &mut Svg, timeline: &Timeline, y: &Scale) {
        let (bottom, share) = (y.places().0, self.lines.len().max(1) as f64);
        for (at, line) in self.lines.iter().enumerate() {
            let bar = |(column, value): (usize, &Option<f64>)| {
                let (from, to) = over_time::places(timeline, AREA, column);
                let (width, top) = ((to - from) * BAR / share, y.place((*value)?));
                let x = from + (to - from) * (1.0 - BAR) / 2.0 + width * at as f64;
                Some(Area { x, y: top, width, height: bottom - top }).filter(|bar| bar.height > 0.0)
            };
            let bars: Vec<_> = line.values.iter().enumerate().filter_map(bar).collect();
            svg.areas(&format!("area c{at}"), &bars);
        }
    }

    fn hint(&self, column: usize) -> Option<String> {
        let known = self.lines.iter().filter_map(|line| {
            let value = (*line.values.get(column)?)?;
            Some(format!("{} {}", line.name, self.unit.format(value)))
        });
        Some(known.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    }
}

impl Unit {
    fn caption(self) -> &'static str {
        match self {
            Unit::Count => "number",
            Unit::FramesPerS => "frames/s",
            Unit::SwitchesPerS => "switches/s",
            Unit::Bytes => "bytes",
            Unit::Cpus => "CPUs",
        }
    }

    fn ticks_to(self, max: f64) -> Vec<f64> {
        match self {
            Unit::Bytes => byte_ticks_to(max, PARTS),
            Unit::Count => ticks_to(max.max(f64::from(PARTS)), PARTS),
            _ => ticks_to(max, PARTS),
        }
    }

    /// A value in the unit that suits the top of the axis, without needless digits: `0.5 M` below
    /// `1 M`.
    fn tick_name(self, value: f64, top: f64) -> String {
        let units: &[(f64, &str)] = match self {
            Unit::Bytes => &[(GIB, " GiB"), (MIB, " MiB"), (KIB, " KiB"), (1.0, " B")],
            Unit::Count | Unit::FramesPerS | Unit::SwitchesPerS => {
                &[(1e9, " G"), (1e6, " M"), (1e3, " k")]
            }
            Unit::Cpus => &[],
        };
        let fitting = units.iter().find(|(scale, _)| top >= *scale).copied();
        let (scale, unit) = fitting.filter(|_| value != 0.0).unwrap_or((1.0, ""));
        format!("{}{unit}", (value / scale * 1e6).round() / 1e6)
    }

    fn format(self, value: f64) -> String {
        match self {
            Unit::Count => format!("{value:.0}"),
            Unit::FramesPerS | Unit::SwitchesPerS => format!("{}/s", format_count(value.round())),
            Unit::Bytes => format_bytes(value),
            Unit::Cpus => format!("{value:.2}"),
        }
    }
}

fn largest(values: &[Option<f64>]) -> f64 {
    values.iter().flatten().copied().fold(0.0, f64::max)
}

const AREA: PlotArea = PlotArea::wide(170.0);
const KIB: f64 = 1_024.0;
const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;
/// The most steps of the vertical axis.
const PARTS: u32 = 4;
/// The width of bars as a share of a column.
const BAR: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::fixtures;

    fn series(shape: Shape, lines: &[(&str, [Option<f64>; 3])]) -> Series {
        let line = |(name, values): &(&str, [Option<f64>; 3])| Line {
            name: (*name).to_owned(),
            values: values.to_vec(),
        };
        let lines = lines.iter().map(line).collect();
        Series { id: "x", title: "X", note: String::new(), unit: Unit::FramesPerS, shape, lines }
    }

    fn drawn(series: Series) -> String {
        series.figure(&Timeline::of(&fixtures::document())).svg
    }

    #[test]
    fn the_axis_ends_above_the_largest_value() {
        let one = [("one", [Some(10.0), None, Some(61_000.0)])];
        let text = drawn(series(Shape::Lines, &one));
        assert!(text.contains(">80 k<") && text.contains("one at most 61.0 k/s"), "{text}");
        assert_eq!(text.matches("class=\"hint\"").count(), 2);
        assert!(text.contains("class=\"below c0\"") && text.contains("class=\"line c0\""));
    }

    #[test]
    fn what_is_stacked_stands_on_what_is_below() {
        let two = [("a", [Some(1.0), None, Some(2.0)]), ("b", [Some(3.0), None, Some(0.0)])];
        let stack = series(Shape::Stack, &two);
        assert_eq!(stack.heights()[1], [Some(4.0), None, Some(2.0)]);
        assert_eq!(stack.axis().scale.values(), (0.0, 4.0));
        assert!(drawn(stack).contains("class=\"area c1\""));
    }

    #[test]
    fn nothing_is_a_flat_line_with_an_axis() {
        let zero = [("lost", [Some(0.0); 3])];
        let bars = Series { unit: Unit::Count, ..series(Shape::Bars, &zero) };
        let text = drawn(bars);
        assert!(text.contains(">4<") && !text.contains("class=\"area c0\""), "{text}");
        let text = drawn(series(Shape::Stack, &[]));
        assert!(text.contains("class=\"axis\"") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn ticks_are_named_shortly() {
        let names = |unit: Unit, top: f64| {
            let ticks = [0.0, 0.5, 1.0].map(|share| share * top);
            ticks.map(|tick| unit.tick_name(tick, top))
        };
        assert_eq!(names(Unit::Bytes, 5.0 * MIB), ["0", "2.5 MiB", "5 MiB"]);
        assert_eq!(names(Unit::Bytes, GIB), ["0", "0.5 GiB", "1 GiB"]);
        assert_eq!(names(Unit::SwitchesPerS, 1_000.0), ["0", "0.5 k", "1 k"]);
        assert_eq!(names(Unit::FramesPerS, 500.0), ["0", "250", "500"]);
        assert_eq!(names(Unit::Cpus, 0.2), ["0", "0.1", "0.2"]);
    }
}
