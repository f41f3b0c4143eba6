//! The common parts of every plot: its place on the page, axes with units and round values, a
//! legend, and a text for screen readers. Must not know what is plotted.

use serde::Serialize;

use crate::report::html::scale::Scale;
use crate::report::html::svg::{Area, Point, Svg};

/// A plot as the page shows it.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// Its name in links and tests.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// A sentence that explains the plot.
    pub note: String,
    /// The legend.
    pub legend: Vec<Key>,
    /// The drawing, an SVG element.
    pub svg: String,
}

/// One entry of a legend.
#[derive(Debug, Serialize)]
pub struct Key {
    /// The style class of the item.
    pub class: String,
    /// Its name.
    pub name: String,
}

/// An axis: its scale and its labels.
#[derive(Debug, Clone)]
pub struct Axis {
    /// The scale of the values.
    pub scale: Scale,
    /// The labelled values.
    pub ticks: Vec<(f64, String)>,
    /// The quantity and its unit.
    pub caption: &'static str,
}

/// The size of a drawing and of the plot area inside it.
#[derive(Debug, Clone, Copy)]
pub struct PlotArea {
    width: f64,
    height: f64,
}

impl PlotArea {
    /// A plot as wide as the page.
    pub const fn wide(height: f64) -> PlotArea {
        PlotArea { width: WIDE, height }
    }

    /// One of two plots side by side.
    pub const fn half(height: f64) -> PlotArea {
        PlotArea { width: (WIDE - GUTTER) / 2.0, height }
    }

    /// The ends of a horizontal axis.
    pub fn x_range(self) -> (f64, f64) {
        (LEFT, self.width - RIGHT)
    }

    /// The ends of a vertical axis, the lower one first.
    pub fn y_range(self) -> (f64, f64) {
        (self.height - BOTTOM, TOP)
    }

    /// The plot area between two horizontal positions.
    pub fn column(self, from: f64, to: f64) -> Area {
        let (bottom, top) = self.y_range();
        Area { x: from, y: top, width: to - from, height: bottom - top }
    }
}

/// Draws the axes and what `marks` adds, and returns the drawing with a text for screen readers.
pub fn draw(
    area: PlotArea,
    [x, y]: [&Axis; 2],
    description: &str,
    marks: impl FnOnce(&mut Svg),
) -> String {
    let mut svg = Svg::default();
    grid(&mut svg, area, y);
    marks(&mut svg);
    horizontal(&mut svg, area, x);
    svg.text("caption", (0.0, TOP - 10.0), y.caption);
    svg.finish((area.width, area.height), description)
}

fn grid(svg: &mut Svg, area: PlotArea, axis: &Axis) {
    let (left, right) = area.x_range();
    for (value, name) in &axis.ticks {
        let y = axis.scale.place(*value);
        svg.line("grid", (left, y), (right, y));
        svg.text("tick y", (left - 8.0, y + 3.5), name);
    }
}

fn horizontal(svg: &mut Svg, area: PlotArea, axis: &Axis) {
    let ((left, right), (bottom, _)) = (area.x_range(), area.y_range());
    svg.line("axis", (left, bottom), (right, bottom));
    for (value, name) in &axis.ticks {
        let x = axis.scale.place(*value);
        svg.line("axis", (x, bottom), (x, bottom + 4.0));
        svg.text("tick x", (x, bottom + 16.0), name);
    }
    let below: Point = (right, bottom + 31.0);
    svg.text("caption end", below, axis.caption);
}

/// Width of a drawing in units: as many as the page is wide in CSS pixels, so that text keeps its
/// size.
const WIDE: f64 = 1_040.0;
const GUTTER: f64 = 32.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 36.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_units_and_every_tick_a_name() {
        let area = PlotArea::wide(200.0);
        let ticks = vec![(0.0, "0".to_owned()), (10.0, "ten".to_owned())];
        let scale = Scale::linear((0.0, 10.0), area.x_range());
        let x = Axis { scale, ticks: ticks.clone(), caption: "time, s" };
        let scale = Scale::linear((0.0, 10.0), area.y_range());
        let y = Axis { scale, ticks, caption: "frames" };
        let text = draw(area, [&x, &y], "in words", |svg| svg.line("mark", (0.0, 0.0), (1.0, 1.0)));
        for part in ["aria-label=\"in words\"", "time, s", "frames", "class=\"mark\""] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(text.matches(">ten<").count(), 2);
    }
}
