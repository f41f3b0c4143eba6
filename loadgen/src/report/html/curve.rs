//! Plots of latencies by percentile, on an axis where 90 %, 99 % and 99.9 % are equally spaced.
//! Must not know what the latencies belong to.

use hdrhistogram::Histogram;

use crate::report::html::heatmap::latency_axis;
use crate::report::html::over_time::key;
use crate::report::html::plot;
use crate::report::html::plot::{Axis, Figure, PlotArea};
use crate::report::html::scale::{Scale, nines_of, nines_ticks, quantile_of};
use crate::report::html::svg::{Point, Svg};
use crate::time::units::format_ns;

/// Latencies of one kind, ns.
#[derive(Debug)]
pub struct Curve {
    /// The name of the curve.
    pub name: &'static str,
    /// The histogram.
    pub latencies: Histogram<u64>,
}

/// The texts above and below a plot.
#[derive(Debug)]
pub struct Labels {
    /// Its name in links and tests.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// A sentence that explains the plot.
    pub note: &'static str,
}

/// One plot with all curves.
pub fn figure(labels: Labels, area: PlotArea, curves: &[Curve]) -> Figure {
    let nines_max = curves.iter().map(Curve::nines_max).fold(1.0, f64::max);
    let x = Axis {
        scale: Scale::linear((0.0, nines_max), area.x_range()),
        ticks: nines_ticks(nines_max),
        caption: "percentile, %",
    };
    let lowest = curves.iter().map(Curve::lowest_ns).fold(f64::INFINITY, f64::min);
    let highest = curves.iter().map(|curve| curve.latencies.max() as f64).fold(0.0, f64::max);
    let y = latency_axis((lowest, highest), area);
    let svg = plot::draw(area, [&x, &y], &description(labels.title, curves), |svg| {
        for (value, _) in &x.ticks {
            let (at, (bottom, top)) = (x.scale.place(*value), area.y_range());
            svg.line("grid", (at, bottom), (at, top));
        }
        for (at, curve) in curves.iter().enumerate() {
            svg.curve(&format!("line c{at}"), &curve.points(&x.scale, &y.scale));
        }
        hints(svg, area, &x.scale, curves);
    });
    let keys = curves.iter().enumerate();
    let legend = keys.map(|(at, curve)| key(format!("line c{at}"), curve.name)).collect();
    Figure { id: labels.id, title: labels.title, note: labels.note.to_owned(), legend, svg }
}

impl Curve {
    /// The axis position of the largest of this many values.
    fn nines_max(&self) -> f64 {
        (self.latencies.len().max(1) as f64).log10()
    }

    fn lowest_ns(&self) -> f64 {
        self.latencies.min() as f64
    }

    /// The value at this number of nines, ns; `None` beyond the largest value.
    fn at(&self, nines: f64) -> Option<f64> {
        let is_known = nines <= self.nines_max() + ROUNDING;
        is_known.then(|| self.latencies.value_at_quantile(quantile_of(nines)) as f64)
    }

    fn points(&self, x: &Scale, y: &Scale) -> Vec<Point> {
        let steps = (self.nines_max() * STEPS_PER_NINE).ceil() as u32;
        let nines = (0..=steps).map(|step| f64::from(step) / STEPS_PER_NINE);
        let points = nines.map_while(|nines| Some((x.place(nines), y.place(self.at(nines)?))));
        let last = (x.place(self.nines_max()), y.place(self.latencies.max() as f64));
        points.chain([last]).collect()
    }
}

fn hints(svg: &mut Svg, area: PlotArea, x: &Scale, curves: &[Curve]) {
    let (_, max) = x.values();
    let steps = (max * HINTS_PER_NINE).floor() as u32;
    for step in 0..=steps {
        let nines = f64::from(step) / HINTS_PER_NINE;
        let half = 0.5 / HINTS_PER_NINE;
        let area = area.column(x.place(nines - half), x.place(nines + half));
        let known = curves
            .iter()
            .filter_map(|curve| Some(format!("{} {}", curve.name, format_ns(curve.at(nines)?))));
        let known: Vec<_> = known.collect();
        svg.hint(area, &format!("{} %: {}", percentile_name(nines), known.join(", ")));
    }
}

/// A number with enough digits to distinguish it from its neighbours.
fn percentile_name(nines: f64) -> String {
    let decimals = nines.floor() as usize;
    format!("{:.decimals$}", quantile_of(nines) * 100.0)
}

fn description(title: &str, curves: &[Curve]) -> String {
    let parts = curves.iter().map(|curve| {
        let at = |quantile| curve.at(nines_of(quantile)).map_or("unknown".to_owned(), format_ns);
        let max = format_ns(curve.latencies.max() as f64);
        format!("{}: median {}, 99 % {}, largest {max}", curve.name, at(0.5), at(0.99))
    });
    format!("{title}, a curve each for {}.", parts.collect::<Vec<_>>().join("; "))
}

const STEPS_PER_NINE: f64 = 50.0;
const HINTS_PER_NINE: f64 = 10.0;
/// Tolerance for the rounding of a logarithm.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &'static str, values: impl IntoIterator<Item = u64>) -> Curve {
        let mut latencies = Histogram::new(3).unwrap();
        values.into_iter().for_each(|ns| latencies.record(ns).unwrap());
        Curve { name, latencies }
    }

    fn drawn(curves: &[Curve]) -> Figure {
        let labels = Labels { id: "x", title: "X", note: "" };
        figure(labels, PlotArea::half(300.0), curves)
    }

    #[test]
    fn a_curve_ends_with_its_largest_value() {
        let one = curve("one", (1..=1_000).map(|us| us * 1_000));
        let (x, y) =
            (Scale::linear((0.0, 3.0), (0.0, 300.0)), Scale::log((1e3, 1e6), (300.0, 0.0)));
        let points = one.points(&x, &y);
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1));
        let (right, top) = points.last().unwrap();
        assert!((right - 300.0).abs() < 1e-6 && top.abs() < 0.1, "{right} {top}");
    }

    #[test]
    fn every_percentile_with_a_name_is_on_the_axis() {
        let figure = drawn(&[curve("one", 1_000..11_000), curve("two", [5_000])]);
        for part in [">50<", ">90<", ">99.9<", ">99.99<", "class=\"line c1\"", "90.0 %: one "] {
            assert!(figure.svg.contains(part), "{part} is missing in {}", figure.svg);
        }
        assert!(!figure.svg.contains(">99.999<"));
        assert_eq!(figure.legend[1].name, "two");
    }

    #[test]
    fn nothing_has_axes_and_no_curve() {
        let svg = drawn(&[]).svg;
        assert!(svg.contains("class=\"axis\"") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn percentiles_are_told_apart() {
        let names = [0.0, 0.5, 1.0, 2.0, 3.1].map(percentile_name);
        assert_eq!(names, ["0", "68", "90.0", "99.00", "99.921"]);
    }
}
