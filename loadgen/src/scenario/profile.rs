//! How the load grows during the measured phase: in steps or evenly, by subscribers or by
//! publishers. Parsed, written back, and queried for the start time of a member. Must not know
//! sockets, and reads no clock.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// How the load grows. The full load is reached in the last lap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// The shape of the growth.
    pub shape: Shape,
    /// What grows.
    pub of: Growing,
    /// The share that is present from the start, percent. The default is the size of one step, or a
    /// tenth.
    pub from_percent: Option<f64>,
}

/// The shape of a load's growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// In this many equal laps; the same number is added at the beginning of each.
    Steps(u16),
    /// Evenly, until the last lap begins.
    Ramp,
}

/// Which part of a load grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growing {
    /// Subscriber sockets, which are opened at their start time.
    Subscribers,
    /// Publishers, which connect before the start and begin to send at their start time.
    Publishers,
}

impl Growing {
    /// The name in scenario files and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Growing::Subscribers => "subscribers",
            Growing::Publishers => "publishers",
        }
    }
}

impl Profile {
    /// The laps of a measured phase of this length.
    pub fn laps(self, measured: Duration) -> u16 {
        match self.shape {
            Shape::Steps(steps) => steps,
            Shape::Ramp => measured.as_secs().clamp(RAMP_LAPS_MIN, RAMP_LAPS) as u16,
        }
    }

    /// The shortest measured phase whose laps are at least a second long.
    pub fn measured_min(self) -> Duration {
        match self.shape {
            Shape::Steps(steps) => Duration::from_secs(u64::from(steps)),
            Shape::Ramp => Duration::from_secs(RAMP_LAPS_MIN),
        }
    }

    /// The share that is present from the start, 0 to 1.
    pub fn first_share(self) -> f64 {
        let usual = match self.shape {
            Shape::Steps(steps) => 100.0 / f64::from(steps.max(1)),
            Shape::Ramp => RAMP_FROM_PERCENT,
        };
        self.from_percent.unwrap_or(usual) / 100.0
    }

    /// The share that is present when a lap ends, 0 to 1; laps count from 0.
    pub fn share(self, lap: u16, laps: u16) -> f64 {
        let first = self.first_share();
        let grown = match self.shape {
            Shape::Steps(_) => lap,
            Shape::Ramp => lap.saturating_add(1),
        };
        let growing = laps.saturating_sub(1).max(1);
        first + (1.0 - first) * f64::from(grown.min(growing)) / f64::from(growing)
    }

    /// When the member of this rank among `count` starts, from the start of the measured phase;
    /// `None` if it is present before.
    pub fn joins_at(self, rank: usize, count: usize, measured: Duration) -> Option<Duration> {
        let first = members(self.first_share(), count);
        let later = rank.checked_sub(first)?;
        let laps = self.laps(measured);
        let lap = measured / u32::from(laps.max(1));
        match self.shape {
            Shape::Steps(_) => {
                let has_it = |step: &u16| rank < members(self.share(*step, laps), count);
                (1..laps).find(has_it).map(|step| lap * u32::from(step))
            }
            Shape::Ramp => {
                let growing = lap * u32::from(laps.saturating_sub(1));
                Some(growing.mul_f64(later as f64 / count.saturating_sub(first).max(1) as f64))
            }
        }
    }
}

/// A share of `count`, at least one.
fn members(share: f64, count: usize) -> usize {
    ((share * count as f64).round() as usize).max(1).min(count)
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Steps(steps) => write!(f, "{steps} steps of {}", self.of.name())?,
            Shape::Ramp => write!(f, "ramp of {}", self.of.name())?,
        }
        match self.from_percent {
            Some(percent) => write!(f, " from {percent}%"),
            None => Ok(()),
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parsed(text).ok_or_else(|| {
            format!(
                "`{text}` is no profile; write e.g. `5 steps of subscribers` (2 to 100) or \
                 `ramp of publishers from 20%` (1% to 99%)"
            )
        })
    }
}

fn parsed(text: &str) -> Option<Profile> {
    let (what, from_percent) = match text.split_once(" from ") {
        None => (text, None),
        Some((what, share)) => {
            let percent: f64 = share.strip_suffix('%')?.parse().ok()?;
            (what, FROM_PERCENT.contains(&percent).then_some(percent))
        }
    };
    if from_percent.is_none() && what != text {
        return None;
    }
    let (shape, of) = what.split_once(" of ")?;
    let growing = [Growing::Subscribers, Growing::Publishers];
    let of = growing.into_iter().find(|growing| growing.name() == of)?;
    let shape = match shape.strip_suffix(" steps") {
        Some(steps) => Shape::Steps(steps.parse().ok().filter(|steps| STEPS.contains(steps))?),
        None if shape == "ramp" => Shape::Ramp,
        None => return None,
    };
    Some(Profile { shape, of, from_percent })
}

const STEPS: RangeInclusive<u16> = 2..=100;
const FROM_PERCENT: RangeInclusive<f64> = 1.0..=99.0;
const RAMP_FROM_PERCENT: f64 = 10.0;
/// The number of laps into which the results of a ramp are divided; a short phase has fewer.
const RAMP_LAPS: u64 = 10;
const RAMP_LAPS_MIN: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::plan::publisher::delay;
    use proptest::prelude::*;

    const MEASURED: Duration = Duration::from_secs(20);

    fn profile(text: &str) -> Profile {
        text.parse().unwrap()
    }

    /// How many of `count` start in each whole second of the measured phase; the first entry counts
    /// those present before it.
    fn arrivals(text: &str, count: usize) -> Vec<(Option<u64>, usize)> {
        let mut found: Vec<(Option<u64>, usize)> = Vec::new();
        for rank in 0..count {
            let at_s = profile(text).joins_at(rank, count, MEASURED).map(|at| at.as_secs());
            match found.last_mut().filter(|(last, _)| *last == at_s) {
                Some((_, number)) => *number += 1,
                None => found.push((at_s, 1)),
            }
        }
        found
    }

    #[test]
    fn profiles_are_written_as_they_are_read() {
        for text in [
            "5 steps of subscribers",
            "2 steps of publishers from 12.5%",
            "ramp of subscribers",
            "ramp of publishers from 20%",
        ] {
            assert_eq!(profile(text).to_string(), text);
        }
        for wrong in [
            "steps of subscribers",
            "1 steps of subscribers",
            "101 steps of subscribers",
            "5 steps of topics",
            "5 steps",
            "ramp of publishers from 20",
            "ramp of publishers from 0%",
            "ramp of publishers from 100%",
            "ramp of publishers from NaN%",
            "",
        ] {
            let error = wrong.parse::<Profile>().unwrap_err();
            assert!(error.contains("write e.g. `5 steps of subscribers`"), "{wrong}: {error}");
        }
    }

    #[test]
    fn steps_add_the_same_number_each() {
        let steps = profile("5 steps of subscribers");
        let shares = [0, 1, 2, 3, 4].map(|lap| (steps.share(lap, 5) * 100.0).round());
        assert_eq!(shares, [20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!((steps.laps(MEASURED), steps.measured_min().as_secs()), (5, 5));
        let expected = [(None, 20), (Some(4), 20), (Some(8), 20), (Some(12), 20), (Some(16), 20)];
        assert_eq!(arrivals("5 steps of subscribers", 100), expected);
        let half = [(None, 50), (Some(10), 50)];
        assert_eq!(arrivals("2 steps of publishers", 100), half);
        assert_eq!(arrivals("2 steps of publishers from 90%", 100), [(None, 90), (Some(10), 10)]);
    }

    #[test]
    fn a_ramp_is_whole_when_its_last_lap_begins() {
        let ramp = profile("ramp of subscribers");
        assert_eq!(ramp.laps(MEASURED), 10);
        assert_eq!([1, 2, 7].map(|s| ramp.laps(Duration::from_secs(s))), [2, 2, 7]);
        let found = arrivals("ramp of subscribers", 190);
        assert_eq!((found[0], found[1]), ((None, 19), (Some(0), 10)));
        assert_eq!(found.last().map(|(at_s, _)| *at_s), Some(Some(17)), "of 20 s the last two");
        let shares = [0, 8, 9].map(|lap| (ramp.share(lap, 10) * 100.0).round());
        assert_eq!(shares, [20.0, 100.0, 100.0]);
    }

    #[test]
    fn publishers_begin_one_here_and_one_there() {
        let mut publishers: Vec<_> =
            (0..40).map(|number| fixtures::publisher(1001 + number, 50)).collect();
        delay(&mut publishers, profile("4 steps of publishers"), MEASURED);
        for group in publishers.chunks(10) {
            let from_start = group.iter().filter(|p| p.deviation.starts.is_none()).count();
            assert!((2..=3).contains(&from_start), "{from_start} of 10");
        }
        let starts = publishers.iter().filter_map(|p| p.deviation.starts);
        assert_eq!(starts.map(|starts| starts.as_secs()).max(), Some(15));
        let mut others = [fixtures::publisher(1, 50), fixtures::publisher(2, 50)];
        delay(&mut others, profile("2 steps of subscribers"), MEASURED);
        assert!(others.iter().all(|publisher| publisher.deviation.starts.is_none()));
    }

    proptest! {
        #[test]
        fn everybody_comes_before_the_last_lap_or_with_it(
            text in prop::sample::select(vec![
                "3 steps of subscribers",
                "7 steps of subscribers from 33%",
                "ramp of subscribers",
                "ramp of subscribers from 99%",
            ]),
            count in 1usize..400,
        ) {
            let profile = profile(text);
            let joins_at: Vec<_> =
                (0..count).map(|rank| profile.joins_at(rank, count, MEASURED)).collect();
            prop_assert!(joins_at[0].is_none() && joins_at.is_sorted());
            let laps = profile.laps(MEASURED);
            let last_from = MEASURED / u32::from(laps) * u32::from(laps - 1);
            prop_assert!(joins_at.iter().flatten().all(|at| *at <= last_from));
        }
    }
}
