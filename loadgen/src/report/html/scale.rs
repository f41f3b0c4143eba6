//! Maps values to positions in a drawing, and chooses the round values of an axis. Pure functions;
//! must not draw.

/// Maps the values of a range to positions; a value outside the range goes to the nearest end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    is_log: bool,
    values: (f64, f64),
    places: (f64, f64),
}

impl Scale {
    /// A linear scale.
    pub fn linear(values: (f64, f64), places: (f64, f64)) -> Scale {
        Scale { is_log: false, values, places }
    }

    /// A logarithmic scale, for values above zero.
    pub fn log(values: (f64, f64), places: (f64, f64)) -> Scale {
        Scale { is_log: true, values, places }
    }

    /// The position of a value.
    pub fn place(&self, value: f64) -> f64 {
        let at = |value: f64| if self.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let ((from, to), (start, end)) = (self.values, self.places);
        let share = (at(value) - at(from)) / (at(to) - at(from));
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        start + share * (end - start)
    }

    /// The values at both ends.
    pub fn values(&self) -> (f64, f64) {
        self.values
    }

    /// The positions of both ends.
    pub fn places(&self) -> (f64, f64) {
        self.places
    }
}

/// The smallest step of 1, 2 or 5 times a power of ten that divides `span` into at most `parts`.
pub fn decimal_step(span: f64, parts: u32) -> f64 {
    let least = (span / f64::from(parts.max(1))).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(least.log10().floor());
    let round = ROUND.into_iter().find(|round| round * power >= least * (1.0 - TOLERANCE));
    round.unwrap_or(10.0) * power
}

/// Round values from zero to the first that is not below `max`, at most `parts` steps: the axis
/// ends with the last of them.
pub fn ticks_to(max: f64, parts: u32) -> Vec<f64> {
    multiples(decimal_step(if max > 0.0 { max } else { 1.0 }, parts), max)
}

/// The same for sizes in bytes, round in their binary unit.
pub fn byte_ticks_to(max: f64, parts: u32) -> Vec<f64> {
    let unit = 1024f64.powf((max.max(1.0).log2() / 10.0).floor());
    ticks_to(max / unit, parts).into_iter().map(|tick| tick * unit).collect()
}

/// Whole times in seconds from zero up to `max`, in steps usual for clocks, at most `parts` steps.
pub fn second_ticks(max: f64, parts: u32) -> Vec<f64> {
    let fits = |step: &&f64| max / **step <= f64::from(parts);
    let step = SECOND_STEPS.iter().find(fits).copied();
    let step = step.unwrap_or_else(|| DAY_S * decimal_step(max / DAY_S, parts).ceil());
    let mut ticks = multiples(step, max);
    ticks.retain(|tick| *tick <= max);
    ticks
}

/// Powers of ten between two values above zero, with their double and fivefold if there are at most
/// `count` in all. If the powers alone are more, every second or third one.
pub fn log_ticks(from: f64, to: f64, count: usize) -> Vec<f64> {
    let (low, high) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let is_inside = |tick: &f64| (from * (1.0 - TOLERANCE)..=to * (1.0 + TOLERANCE)).contains(tick);
    let of = |rounds: &[f64]| -> Vec<f64> {
        let tens = (low..=high).map(|power| 10f64.powi(power));
        let all = tens.flat_map(|ten| rounds.iter().map(move |round| round * ten));
        all.filter(is_inside).collect()
    };
    let fine = of(&ROUND);
    if fine.len() <= count {
        return fine;
    }
    let powers = of(&[1.0]);
    let every = powers.len().div_ceil(count.max(1)).max(1);
    powers.into_iter().step_by(every).collect()
}

/// The largest of 1, 2 or 5 times a power of ten that is not above a value above zero.
pub fn round_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let below = ROUND.into_iter().rev().find(|round| round * power <= value * (1.0 + TOLERANCE));
    below.unwrap_or(1.0) * power
}

/// The smallest of 1, 2 or 5 times a power of ten that is not below a value above zero.
pub fn round_up(value: f64) -> f64 {
    decimal_step(value, 1)
}

/// The position of a quantile on the axis of percentiles, in nines, so that 90 %, 99 % and 99.9 %
/// are equally spaced.
pub fn nines_of(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The quantile at this number of nines.
pub fn quantile_of(nines: f64) -> f64 {
    1.0 - 10f64.powf(-nines)
}

/// The labelled percentiles of an axis up to this number of nines.
pub fn nines_ticks(max: f64) -> Vec<(f64, String)> {
    let mut ticks = vec![(0.0, "0".to_owned()), (nines_of(0.5), "50".to_owned())];
    let whole = (1..).map(f64::from).take_while(|nines| *nines <= max + TOLERANCE);
    ticks.extend(whole.map(|nines| {
        let decimals = (nines as usize).saturating_sub(2);
        (nines, format!("{:.decimals$}", quantile_of(nines) * 100.0))
    }));
    ticks
}

fn multiples(step: f64, max: f64) -> Vec<f64> {
    let steps = (max / step * (1.0 - TOLERANCE)).ceil().max(1.0) as u32;
    (0..=steps).map(|count| f64::from(count) * step).collect()
}

/// Leading digits of round numbers.
const ROUND: [f64; 3] = [1.0, 2.0, 5.0];
/// Tolerance for the rounding of a value that should be round.
const TOLERANCE: f64 = 1e-9;
const DAY_S: f64 = 86_400.0;
const SECOND_STEPS: [f64; 18] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0,
    10_800.0, 21_600.0, 43_200.0, DAY_S,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_ends() {
        let linear = Scale::linear((0.0, 10.0), (100.0, 200.0));
        assert_eq!(
            [0.0, 5.0, 10.0, 12.0, -1.0].map(|v| linear.place(v)),
            [100.0, 150.0, 200.0, 200.0, 100.0]
        );
        let log = Scale::log((1.0, 1_000.0), (300.0, 0.0));
        for (value, place) in [(1.0, 300.0), (10.0, 200.0), (1_000.0, 0.0), (0.0, 300.0)] {
            assert!((log.place(value) - place).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn an_axis_without_extent_has_a_place_all_the_same() {
        assert_eq!(Scale::linear((3.0, 3.0), (10.0, 20.0)).place(3.0), 10.0);
        assert_eq!(ticks_to(0.0, 2), [0.0, 0.5]);
    }

    #[test]
    fn steps_are_one_two_or_five() {
        for (span, parts, step) in
            [(10.0, 5, 2.0), (9.0, 5, 2.0), (60_000.0, 4, 20_000.0), (0.7, 4, 0.2), (30.0, 3, 10.0)]
        {
            assert!((decimal_step(span, parts) - step).abs() < 1e-9, "{span} in {parts}");
        }
    }

    #[test]
    fn the_last_tick_is_not_below_the_largest_value() {
        assert_eq!(ticks_to(60_000.0, 4), [0.0, 20_000.0, 40_000.0, 60_000.0]);
        assert_eq!(ticks_to(61_000.0, 4), [0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0]);
        assert_eq!(ticks_to(1.0, 2), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn bytes_are_round_in_their_unit() {
        let mib = f64::from(1 << 20);
        assert_eq!(
            byte_ticks_to(17.0 * mib, 4),
            [0.0, 5.0 * mib, 10.0 * mib, 15.0 * mib, 20.0 * mib]
        );
        assert_eq!(byte_ticks_to(0.0, 4).first(), Some(&0.0));
    }

    #[test]
    fn time_is_round_as_on_a_clock() {
        assert_eq!(second_ticks(10.5, 12), (0..=10).map(f64::from).collect::<Vec<_>>());
        assert_eq!(second_ticks(70.0, 8), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
        assert_eq!(second_ticks(900.0, 8), [0.0, 120.0, 240.0, 360.0, 480.0, 600.0, 720.0, 840.0]);
        assert!(second_ticks(30.0 * DAY_S, 8).len() <= 9);
    }

    #[test]
    fn decades_get_finer_where_there_is_room() {
        let close = |found: Vec<f64>, wanted: &[f64]| {
            assert_eq!(found.len(), wanted.len(), "{found:?}");
            found.iter().zip(wanted).for_each(|(f, w)| assert!((f / w - 1.0).abs() < 1e-9));
        };
        close(log_ticks(1e4, 1e6, 8), &[1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6]);
        close(log_ticks(1e4, 1e6, 6), &[1e4, 1e5, 1e6]);
        close(log_ticks(1.0, 1e9, 5), &[1.0, 1e2, 1e4, 1e6, 1e8]);
        close(log_ticks(2e4, 5e5, 9), &[2e4, 5e4, 1e5, 2e5, 5e5]);
    }

    #[test]
    fn values_are_rounded_away_from_the_data() {
        let close =
            |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 1e-9, "{found}");
        close(round_down(4.9e3), 2e3);
        close(round_down(5e3), 5e3);
        close(round_up(5.1e3), 1e4);
        close(round_up(2e3), 2e3);
    }

    #[test]
    fn nines_are_equally_far_apart() {
        assert!((nines_of(0.999) - 3.0).abs() < 1e-9 && (quantile_of(2.0) - 0.99).abs() < 1e-9);
        let names: Vec<_> = nines_ticks(4.2).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["0", "50", "90", "99", "99.9", "99.99"]);
        assert_eq!(nines_ticks(0.2).len(), 2);
    }
}
