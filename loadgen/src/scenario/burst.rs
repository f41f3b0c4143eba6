//! Publishers with an uneven rate: a surge at the start and the end, or outages whose frames are
//! sent all at once afterwards. Parsed, written back, and queried by instant. Must not know frames
//! or sockets.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::grid::Span;
use crate::time::rate::Rate;
use crate::time::units;
use crate::time::units::nanoseconds;

/// How a publisher's rate is uneven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Burst {
    /// This multiple of its rate, in the first and the last part of the measured phase.
    Surge {
        /// How many times, 2 to 100.
        factor: u32,
        /// How long each part is.
        length: Duration,
    },
    /// Nothing is sent for a while, and then everything at once.
    Outage {
        /// How long nothing is sent.
        length: Duration,
        /// The period of outages, from the start of the run; each period ends with an outage.
        every: Duration,
    },
}

impl Burst {
    /// The rate of the grid on which all frames lie.
    pub fn grid_rate(self, rate: Rate) -> Rate {
        match self {
            Burst::Surge { factor, .. } => Rate { num: rate.num.saturating_mul(factor), ..rate },
            Burst::Outage { .. } => rate,
        }
    }

    /// Whether a tick of that grid has a frame.
    pub fn has_frame(self, tick: u64, unix_ns: u64, measured: Span) -> bool {
        let Burst::Surge { factor, length } = self else { return true };
        let length_ns = nanoseconds(length);
        let is_open = (measured.from_ns..measured.from_ns + length_ns).contains(&unix_ns);
        let closing_from_ns = measured.to_ns.saturating_sub(length_ns);
        let is_closing = (closing_from_ns..measured.to_ns).contains(&unix_ns);
        is_open || is_closing || tick.is_multiple_of(u64::from(factor.max(1)))
    }

    /// The instant until which a frame is held back. If an outage would hold it back beyond the end
    /// of the run, it is sent on time.
    pub fn held_until(self, unix_ns: u64, run: Span) -> u64 {
        let Burst::Outage { length, every } = self else { return unix_ns };
        let (length_ns, every_ns) = (nanoseconds(length), nanoseconds(every).max(1));
        let within_ns = unix_ns.saturating_sub(run.from_ns) % every_ns;
        let end_ns = unix_ns - within_ns + every_ns;
        let is_out = within_ns >= every_ns.saturating_sub(length_ns);
        if is_out && end_ns < run.to_ns { end_ns } else { unix_ns }
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Burst::Surge { factor, length } => {
                write!(f, "x{factor} for {}", units::format_duration(*length))
            }
            Burst::Outage { length, every } => {
                let [length, every] = [length, every].map(|d| units::format_duration(*d));
                write!(f, "outage {length} every {every}")
            }
        }
    }
}

impl FromStr for Burst {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let surge = || {
            let (factor, length) = text.strip_prefix('x')?.split_once(" for ")?;
            let factor = factor.parse().ok().filter(|factor| (2..=100).contains(factor))?;
            Some(Burst::Surge { factor, length: units::parse_duration(length).ok()? })
        };
        let outage = || {
            let (length, every) = text.strip_prefix("outage ")?.split_once(" every ")?;
            let [length, every] = [length, every].map(|text| units::parse_duration(text).ok());
            let (length, every) = (length?, every?);
            (length < every).then_some(Burst::Outage { length, every })
        };
        surge().or_else(outage).filter(|burst| burst.length() > Duration::ZERO).ok_or_else(|| {
            format!(
                "`{text}` is no burst; write e.g. `x20 for 2s` (x2 to x100) or \
                 `outage 1s every 10s`"
            )
        })
    }
}

impl Burst {
    fn length(self) -> Duration {
        match self {
            Burst::Surge { length, .. } | Burst::Outage { length, .. } => length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::units::SECOND_NS;

    const RUN: Span = Span { from_ns: 1_000 * SECOND_NS, to_ns: 1_030 * SECOND_NS };

    #[test]
    fn bursts_are_written_as_they_are_read() {
        for text in ["x20 for 2s", "outage 1s every 10s"] {
            assert_eq!(text.parse::<Burst>().unwrap().to_string(), text);
        }
        for wrong in ["x1 for 2s", "x20", "outage 2s every 1s", "x20 for 0s", "often"] {
            let error = wrong.parse::<Burst>().unwrap_err();
            assert!(error.contains("write e.g. `x20 for 2s`"), "{error}");
        }
    }

    #[test]
    fn a_surge_fills_the_ticks_between_at_opening_and_close() {
        let surge: Burst = "x20 for 2s".parse().unwrap();
        let frames = |from_s: u64, to_s: u64| {
            (from_s * 200..to_s * 200)
                .filter(|tick| surge.has_frame(*tick, tick * SECOND_NS / 200, RUN))
                .count()
        };
        assert_eq!((frames(998, 1_000), frames(1_000, 1_002)), (20, 400));
        assert_eq!((frames(1_002, 1_028), frames(1_028, 1_030)), (260, 400));
        assert_eq!(surge.grid_rate(Rate { num: 10, den: 1 }), Rate { num: 200, den: 1 });
    }

    #[test]
    fn an_outage_ends_with_all_its_frames() {
        let outage: Burst = "outage 1s every 10s".parse().unwrap();
        let held = |ms: u64| {
            let until_ns = outage.held_until(RUN.from_ns + ms * 1_000_000, RUN);
            (until_ns - RUN.from_ns) / 1_000_000
        };
        assert_eq!((held(0), held(8_999)), (0, 8_999));
        assert_eq!((held(9_000), held(9_999), held(10_000)), (10_000, 10_000, 10_000));
        assert_eq!(held(29_500), 29_500, "nobody would send it after the end");
    }
}
