//! Draws a row of values as bars of text. Must not know what the values mean.

/// One bar per value; the largest is as high as a line.
pub fn spark(values: impl Iterator<Item = f64> + Clone) -> String {
    let most = values.clone().fold(f64::MIN_POSITIVE, f64::max);
    let steps = (BARS.len() - 1) as f64;
    let bar = |value: f64| BARS[((value / most * steps).ceil() as usize).min(BARS.len() - 1)];
    values.map(bar).collect()
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_as_high_as_the_line() {
        assert_eq!(spark([0.0, 1.0, 4.0, 7.0].into_iter()), "▁▂▅█");
        assert_eq!(spark([0.0, 0.0].into_iter()), "▁▁");
        assert_eq!(spark([].into_iter()), "");
    }
}
