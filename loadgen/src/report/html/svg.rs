//! The SVG shapes that plots are made of. Colours are classes, so that the page's style can provide
//! light, dark and print versions. Must not know what is drawn.

use std::fmt::Write as _;

/// A position in a drawing; x grows to the right, y downwards.
pub type Point = (f64, f64);

/// A drawing, built shape by shape; later shapes cover earlier ones.
#[derive(Debug, Default)]
pub struct Svg {
    shapes: String,
}

/// An upright rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Its left end.
    pub x: f64,
    /// Its upper end.
    pub y: f64,
    /// Its width, to the right of `x`.
    pub width: f64,
    /// Its height, downwards from `y`.
    pub height: f64,
}

impl Svg {
    /// A line from one point to another.
    pub fn line(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        self.add(format_args!(
            r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#
        ));
    }

    /// A line through all points; needs at least two.
    pub fn curve(&mut self, class: &str, points: &[Point]) {
        if points.len() > 1 {
            self.path(class, &through(points));
        }
    }

    /// The area enclosed by the points in their order; needs at least three.
    pub fn polygon(&mut self, class: &str, points: &[Point]) {
        if points.len() > 2 {
            self.path(class, &format!("{}z", through(points)));
        }
    }

    /// Rectangles of one class, as a single shape.
    pub fn areas(&mut self, class: &str, areas: &[Area]) {
        if !areas.is_empty() {
            let outline = |area: &Area| {
                let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(number);
                format!("M{x} {y}h{width}v{height}h-{width}z")
            };
            self.path(class, &areas.iter().map(outline).collect::<String>());
        }
    }

    /// A text; its class sets the anchor.
    pub fn text(&mut self, class: &str, (x, y): Point, text: &str) {
        let ([x, y], text) = ([x, y].map(number), escape(text));
        self.add(format_args!(r#"<text class="{class}" x="{x}" y="{y}">{text}</text>"#));
    }

    /// An invisible rectangle with the tooltip `text`.
    pub fn hint(&mut self, area: Area, text: &str) {
        let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(number);
        let text = escape(text);
        self.add(format_args!(
            "<rect class=\"hint\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">\
             <title>{text}</title></rect>"
        ));
    }

    /// The drawing as an SVG element, with a description for screen readers.
    pub fn finish(self, (width, height): Point, description: &str) -> String {
        let ([width, height], label) = ([width, height].map(number), escape(description));
        let shapes = self.shapes;
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{shapes}\
             </svg>"
        )
    }

    fn path(&mut self, class: &str, outline: &str) {
        self.add(format_args!(r#"<path class="{class}" d="{outline}"/>"#));
    }

    fn add(&mut self, shape: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.shapes, "{shape}");
    }
}

/// A text escaped for a page, valid inside and outside of quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

fn through(points: &[Point]) -> String {
    let mut outline = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let letter = if index == 0 { 'M' } else { 'L' };
        // Writing to a String cannot fail.
        let _ = write!(outline, "{letter}{} {}", number(*x), number(*y));
    }
    outline
}

/// One decimal; a smaller difference is not visible.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([12.0, 0.25, -0.01, 99.96].map(number), ["12", "0.2", "0", "100"]);
    }

    #[test]
    fn shapes_are_written_in_order() {
        let mut svg = Svg::default();
        svg.curve("a", &[(0.0, 1.0), (2.5, 3.0)]);
        svg.curve("alone", &[(0.0, 1.0)]);
        svg.polygon("b", &[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]);
        svg.areas("c", &[Area { x: 1.0, y: 2.0, width: 3.0, height: 4.0 }]);
        let text = svg.finish((10.0, 20.0), "two shapes");
        let opening = "<svg viewBox=\"0 0 10 20\" role=\"img\" aria-label=\"two shapes\">";
        assert!(text.starts_with(opening) && text.ends_with("</svg>"), "{text}");
        for part in ["d=\"M0 1L2.5 3\"", "d=\"M0 0L1 0L1 1z\"", "d=\"M1 2h3v4h-3z\""] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("alone"));
    }

    #[test]
    fn no_text_becomes_markup() {
        let mut svg = Svg::default();
        svg.text("t", (0.0, 0.0), "<script>");
        svg.hint(Area { x: 0.0, y: 0.0, width: 1.0, height: 1.0 }, "</title><b>");
        let text = svg.finish((1.0, 1.0), "\"><i onload='x'>");
        assert!(!text.contains("<script") && !text.contains("<b>") && !text.contains("<i "));
        assert!(text.contains("aria-label=\"&quot;&gt;&lt;i onload=&#39;x&#39;&gt;\""), "{text}");
    }
}
