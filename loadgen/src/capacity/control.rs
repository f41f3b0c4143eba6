//! The quantity that a search varies: one number of a scenario, read from it and set by flags of
//! `run`. Must not choose values.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::cli::options::RunOptions;
use crate::codec::payload::Payload;
use crate::scenario::groups::{ClassKind, TopicsEach};
use crate::scenario::limits::{PUBLISHERS_MAX, SOCKETS_MAX};
use crate::scenario::scenario::Scenario;

/// One number of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Healthy dashboards.
    Subscribers,
    /// Frames per second of every publisher.
    Rate,
    /// Publishers, each with a topic of its own.
    Topics,
    /// Bytes of a frame.
    Payload,
}

const ALL: [(&str, Control); 4] = [
    ("subscribers", Control::Subscribers),
    ("rate", Control::Rate),
    ("topics", Control::Topics),
    ("payload", Control::Payload),
];

impl Control {
    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        match self {
            Control::Subscribers => "subscribers",
            Control::Rate => "frames/s of a publisher",
            Control::Topics => "topics",
            Control::Payload => "bytes a frame",
        }
    }

    /// Its value in a scenario.
    pub fn of(self, scenario: &Scenario) -> u64 {
        let healthy = scenario.subscribers.iter().filter(|g| g.class == ClassKind::Healthy);
        let publishers = scenario.publishers.iter();
        match self {
            Control::Subscribers => healthy.map(|group| u64::from(group.count)).sum(),
            Control::Rate => {
                let fastest = publishers.map(|group| group.rate.per_second()).fold(1.0, f64::max);
                fastest.round() as u64
            }
            Control::Topics => scenario.publisher_count(),
            Control::Payload => publishers.map(|group| group.payload.bytes()).max().unwrap_or(0),
        }
    }

    /// The range that a scenario allows.
    pub fn range(self, scenario: &Scenario) -> RangeInclusive<u64> {
        match self {
            Control::Subscribers => 1..=SOCKETS_MAX,
            Control::Rate => 1..=1000,
            Control::Topics => topics_needed(scenario)..=PUBLISHERS_MAX,
            Control::Payload => u64::from(Payload::FIXED_BYTES_MIN)..=1 << 20,
        }
    }

    /// Makes a run use this value, which must be in its range.
    pub fn set(self, options: &mut RunOptions, value: u64) {
        let whole = u32::try_from(value).unwrap_or(u32::MAX);
        match self {
            Control::Subscribers => options.subscribers = Some(whole),
            Control::Topics => options.publishers = Some(whole),
            Control::Rate => options.rate = value.to_string().parse().ok(),
            Control::Payload => options.payload = Some(Payload::Fixed { bytes: whole }),
        }
    }
}

/// There must be at least as many publishers as topics that a dashboard follows.
fn topics_needed(scenario: &Scenario) -> u64 {
    let needed = scenario.subscribers.iter().map(|group| match group.topics {
        TopicsEach::Count(topics) => u64::from(topics),
        TopicsEach::All | TopicsEach::Alarms => 1,
    });
    needed.max().unwrap_or(1)
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = ALL.iter().find(|(_, control)| control == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl FromStr for Control {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, control)| *control).ok_or_else(|| {
            let names = ALL.map(|(name, _)| name).join(", ");
            format!("`{text}` is no control; they are: {names}")
        })
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::overrides;

    #[test]
    fn what_is_set_is_found_in_the_scenario() {
        for (control, value) in [
            (Control::Subscribers, 123),
            (Control::Rate, 25),
            (Control::Topics, 40),
            (Control::Payload, 512),
        ] {
            let mut options = RunOptions::default();
            let before = overrides::resolve("dashboards", &options).unwrap();
            assert_ne!(control.of(&before), value);
            assert!(control.range(&before).contains(&value));
            control.set(&mut options, value);
            assert_eq!(control.of(&overrides::resolve("dashboards", &options).unwrap()), value);
            assert_eq!(control.to_string().parse(), Ok(control));
        }
    }

    #[test]
    fn dashboards_keep_the_topics_they_follow() {
        let scenario = overrides::resolve("dashboards", &RunOptions::default()).unwrap();
        assert_eq!(*Control::Topics.range(&scenario).start(), 20);
        let scenario = overrides::resolve("control-room", &RunOptions::default()).unwrap();
        assert_eq!(*Control::Topics.range(&scenario).start(), 1);
    }
}
