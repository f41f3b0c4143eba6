//! How many frames per second a publisher sends. Must not know instants: those belong to the grid.

use std::fmt;
use std::str::FromStr;

/// Frames per second as an exact fraction, so that instants never drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Frames.
    pub num: u32,
    /// Seconds these frames take.
    pub den: u32,
}

impl Rate {
    /// The allowed range: one frame per minute to a thousand per second.
    const RANGE: std::ops::RangeInclusive<f64> = 1.0 / 60.0..=1000.0;

    /// Frames per second.
    pub fn per_second(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Nanoseconds from one frame to the next, rounded down.
    pub fn period_ns(self) -> u64 {
        1_000_000_000 * u64::from(self.den) / u64::from(self.num.max(1))
    }

    fn checked(num: u32, den: u32) -> Option<Self> {
        let rate = Rate { num, den };
        (num > 0 && den > 0 && Self::RANGE.contains(&rate.per_second())).then_some(rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.den {
            1 => write!(f, "{}", self.num),
            den => write!(f, "{}/{den}", self.num),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (num, den) = match (text.split_once('/'), text.split_once('.')) {
            (Some((num, den)), _) => (num.parse().ok(), den.parse().ok()),
            (None, Some((whole, part))) => {
                (format!("{whole}{part}").parse().ok(), 10u32.checked_pow(part.len() as u32))
            }
            (None, None) => (text.parse().ok(), Some(1)),
        };
        num.zip(den).and_then(|(num, den)| Rate::checked(num, den)).ok_or_else(|| {
            format!(
                "`{text}` is no frame rate; write e.g. `60`, `59.94` or `60000/1001`, up to 1000"
            )
        })
    }
}
