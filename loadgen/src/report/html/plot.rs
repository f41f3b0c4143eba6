//! What every plot has: its place on the page, axes with units and round values, a legend, words
//! for who cannot see it. Must not know what is plotted.

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
    /// A sentence on how to read it.
    pub note: String,
    /// What its colours mean.
    pub legend: Vec<Key>,
    /// The drawing, an element of a page.
    pub svg: String,
}

/// One entry of a legend.
#[derive(Debug, Serialize)]
pub struct Key {
    /// The class of what it explains.
    pub class: String,
    /// What that is.
    pub name: String,
}

/// An axis: where values lie, and which are written beside it.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Where values lie.
    pub scale: Scale,
    /// Values with their names.
    pub ticks: Vec<(f64, String)>,
    /// What it measures, and in which unit.
    pub caption: &'static str,
}

/// The room of a drawing and of what is plotted in it.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    width: f64,
    height: f64,
}

impl Room {
    /// For a plot as wide as the page.
    pub const fn wide(height: f64) -> Room {
        Room { width: WIDE, height }
    }

    /// For one of two plots side by side.
    pub const fn half(height: f64) -> Room {
        Room { width: (WIDE - GUTTER) / 2.0, height }
    }

    /// The ends of a horizontal axis.
    pub fn across(self) -> (f64, f64) {
        (LEFT, self.width - RIGHT)
    }

    /// The ends of a vertical axis, the lower one first.
    pub fn upwards(self) -> (f64, f64) {
        (self.height - BOTTOM, TOP)
    }

    /// Everything between two places of the horizontal axis.
    pub fn column(self, from: f64, to: f64) -> Area {
        let (bottom, top) = self.upwards();
        Area { x: from, y: top, width: to - from, height: bottom - top }
    }
}

/// Draws axes, what `marks` adds to them, and returns the whole in words, too.
pub fn draw(
    room: Room,
    [x, y]: [&Axis; 2],
    in_words: &str,
    marks: impl FnOnce(&mut Svg),
) -> String {
    let mut svg = Svg::default();
    grid(&mut svg, room, y);
    marks(&mut svg);
    horizontal(&mut svg, room, x);
    svg.text("caption", (0.0, TOP - 10.0), y.caption);
    svg.finish((room.width, room.height), in_words)
}

fn grid(svg: &mut Svg, room: Room, axis: &Axis) {
    let (left, right) = room.across();
    for (value, name) in &axis.ticks {
        let y = axis.scale.place(*value);
        svg.line("grid", (left, y), (right, y));
        svg.text("tick y", (left - 8.0, y + 3.5), name);
    }
}

fn horizontal(svg: &mut Svg, room: Room, axis: &Axis) {
    let ((left, right), (bottom, _)) = (room.across(), room.upwards());
    svg.line("axis", (left, bottom), (right, bottom));
    for (value, name) in &axis.ticks {
        let x = axis.scale.place(*value);
        svg.line("axis", (x, bottom), (x, bottom + 4.0));
        svg.text("tick x", (x, bottom + 16.0), name);
    }
    let below: Point = (right, bottom + 31.0);
    svg.text("caption end", below, axis.caption);
}

/// Units of a drawing: as many as a page is wide in pixels of CSS, so that letters keep their size.
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
        let room = Room::wide(200.0);
        let ticks = vec![(0.0, "0".to_owned()), (10.0, "ten".to_owned())];
        let scale = Scale::linear((0.0, 10.0), room.across());
        let x = Axis { scale, ticks: ticks.clone(), caption: "time, s" };
        let scale = Scale::linear((0.0, 10.0), room.upwards());
        let y = Axis { scale, ticks, caption: "frames" };
        let text = draw(room, [&x, &y], "in words", |svg| svg.line("mark", (0.0, 0.0), (1.0, 1.0)));
        for part in ["aria-label=\"in words\"", "time, s", "frames", "class=\"mark\""] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(text.matches(">ten<").count(), 2);
    }
}
