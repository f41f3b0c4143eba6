//! The connection lifecycle of a class: whether its sockets churn, are all cut off at once,
//! or join during the run; and how long each waits before it retries. Must not know sockets, and
//! reads no clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::units;
use crate::time::units::SECOND_NS;

/// When the sockets of a class are connected; by default from the ramp to the end.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Lifecycle {
    /// A share of them disconnects in order and reconnects at once.
    pub churn: Churn,
    /// All of them are cut off at once.
    pub cut: Option<Cut>,
    /// They are absent at the start and join one after another.
    pub joins: Option<Joins>,
    /// Some of them join during the run, as the plan's load profile says. They are part of the
    /// normal load and are judged like the sockets that were there from the start.
    #[serde(default)]
    pub grows: bool,
    /// When the server ends their connection, they reconnect and ask for what follows the last
    /// frame they have received: nothing may be lost.
    #[serde(default)]
    pub resumes: bool,
}

impl Lifecycle {
    /// Whether an overlay makes them disconnect or join. Such a class is left out of the latency
    /// score.
    pub fn is_disrupted(&self) -> bool {
        self.cut.is_some() || self.joins.is_some()
    }

    /// Whether no socket disconnects, and none joins except for the load profile.
    pub fn is_calm(&self) -> bool {
        Lifecycle { grows: false, ..*self }.is_steady()
    }

    /// Whether every socket stays connected from the ramp to the end.
    pub fn is_steady(&self) -> bool {
        Lifecycle { resumes: false, ..*self } == Lifecycle::default()
    }
}

/// Sockets that disconnect in order and reconnect at once, in percent of the class per minute.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Churn {
    /// Percent per minute; 0 for none.
    pub percent_per_min: f64,
}

impl Churn {
    /// Nanoseconds between two disconnects in a class with this many sockets; `None` without churn.
    pub fn interval_ns(self, sockets: usize) -> Option<u64> {
        let per_min = self.percent_per_min / 100.0 * sockets as f64;
        (per_min > 0.0).then(|| ((60.0 * SECOND_NS as f64 / per_min) as u64).max(1))
    }
}

impl fmt::Display for Churn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%/min", self.percent_per_min)
    }
}

impl FromStr for Churn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix("%/min").and_then(|number| number.trim().parse().ok());
        percent
            .filter(|percent| CHURN_PERCENT.contains(percent))
            .map(|percent_per_min| Churn { percent_per_min })
            .ok_or_else(|| format!("`{text}` is no churn; write e.g. `1%/min` (0.01 to 6000)"))
    }
}

/// All sockets of a class are cut off at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// When, from the start of the measured phase.
    pub at: Duration,
    /// How the connections end.
    pub end: CutEnd,
    /// How long their clients wait before they retry.
    pub wait: Wait,
}

/// How connections that are cut off end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum CutEnd {
    /// With a reset, as when a host crashes.
    Reset,
    /// Silently: for this long nobody reads and nobody reports it, as when a link is dead.
    Silent(Duration),
}

/// How long a client waits before it retries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Wait {
    /// Always the same time, so that all reconnect together.
    Fixed(Duration),
    /// 1, 2, 4 … 64 s by the number of failed attempts, with 30 % jitter both ways.
    Backoff,
}

impl Wait {
    /// The delay after this many failed attempts; `word` is random.
    pub fn delay_ns(self, failed: u32, word: u64) -> u64 {
        match self {
            Wait::Fixed(wait) => u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX / 4),
            Wait::Backoff => {
                // The jitter is added after the cap: added before it, all clients at the cap would
                // retry together.
                let whole_ns = SECOND_NS << failed.min(BACKOFF_DOUBLINGS_MAX);
                let spread_ns = whole_ns / 10 * 6;
                whole_ns - spread_ns / 2 + word % (spread_ns + 1)
            }
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Fixed(wait) => f.write_str(&units::format_duration(*wait)),
            Wait::Backoff => f.write_str("backoff"),
        }
    }
}

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "backoff" {
            return Ok(Wait::Backoff);
        }
        let wait = units::parse_duration(text).ok().filter(|wait| *wait <= WAIT_MAX);
        wait.map(Wait::Fixed)
            .ok_or_else(|| format!("`{text}` is no wait; write `backoff`, or `1s` (up to 1 h)"))
    }
}

/// Sockets that join during the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Joins {
    /// When the first one joins, from the start of the measured phase.
    pub at: Duration,
    /// All join within this time, evenly spaced.
    pub over: Duration,
}

impl Joins {
    /// When the socket with this index among `count` joins, ns from the start of the measured
    /// phase.
    pub fn joins_at_ns(&self, place: usize, count: usize) -> u64 {
        let share = self.over.as_nanos() * place as u128 / count.max(1) as u128;
        u64::try_from(self.at.as_nanos() + share).unwrap_or(u64::MAX / 4)
    }
}

const CHURN_PERCENT: std::ops::RangeInclusive<f64> = 0.01..=6000.0;
const WAIT_MAX: Duration = Duration::from_secs(3600);
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn churn_is_a_share_of_the_class_per_minute() {
        let churn: Churn = "1%/min".parse().unwrap();
        assert_eq!(churn.interval_ns(1_000), Some(6 * SECOND_NS));
        assert_eq!(Churn::default().interval_ns(1_000), None);
        assert_eq!(churn.to_string().parse(), Ok(churn));
        for wrong in ["1%", "0%/min", "x%/min", "9000%/min"] {
            assert!(wrong.parse::<Churn>().unwrap_err().contains("write e.g. `1%/min`"), "{wrong}");
        }
    }

    #[test]
    fn waits_are_written_as_they_are_read() {
        for text in ["backoff", "1s", "250ms"] {
            assert_eq!(text.parse::<Wait>().unwrap().to_string(), text);
        }
        assert!("soon".parse::<Wait>().is_err() && "2h".parse::<Wait>().is_err());
    }

    #[test]
    fn newcomers_come_evenly() {
        let joins = Joins { at: Duration::from_secs(2), over: Duration::from_secs(10) };
        let joins_at: Vec<u64> = (0..5).map(|n| joins.joins_at_ns(n, 5) / SECOND_NS).collect();
        assert_eq!(joins_at, [2, 4, 6, 8, 10]);
    }

    proptest! {
        #[test]
        fn a_backoff_doubles_and_varies_by_three_tenths(failed in 0u32..20, word: u64) {
            let delay_s = Wait::Backoff.delay_ns(failed, word) as f64 / SECOND_NS as f64;
            let whole_s = f64::from(1u32 << failed.min(6));
            prop_assert!((0.699 * whole_s..=1.301 * whole_s).contains(&delay_s), "{delay_s}");
        }
    }
}
