//! Overlays: disturbances of a grid and its viewers that can be added to any scenario. Parsed from
//! a scenario file or a flag, and written back. Must not know what they do to publishers and
//! subscribers: `overlaid` does.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use toml::{Table, Value};

use crate::scenario::lifecycle::{CutEnd, Wait};
use crate::scenario::section::{ScenarioError, Section, nearest, quoted};
use crate::time::units;

/// A disturbance added to a scenario. Instants count from the start of the measured phase; the
/// default instant is a quarter of that phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Overlay {
    /// A grid fault: status words, a voltage dip, alarms, and additional viewers.
    FaultEvent {
        /// When.
        at: Option<Duration>,
        /// The publishers that see the fault, percent.
        region_percent: f64,
        /// Sockets that follow only the alarms.
        alarm_desks: u32,
        /// The time within which the number of dashboards triples.
        newcomers_over: Duration,
    },
    /// Dashboards are cut off all at once and reconnect.
    FlapReconnect {
        /// When.
        at: Option<Duration>,
        /// The share of each healthy group that is cut off, percent.
        share_percent: f64,
        /// How their connections end.
        end: CutEnd,
        /// How long they wait before they retry.
        wait: Wait,
    },
    /// Dashboards that read slowly, never, or with pauses.
    SlowConsumers {
        /// The share of each healthy group that reads slowly, percent.
        slow_percent: f64,
        /// Bytes per second they read; half of what they are sent by default.
        read_rate: Option<u64>,
        /// The share that stops reading after connecting, percent.
        stopped_percent: f64,
        /// The share that pauses for two seconds every thirty seconds, percent.
        pausing_percent: f64,
    },
    /// Frames that are late, missing or sent twice, and two wrong clocks.
    LateFrames {
        /// Frames sent late, percent.
        late_percent: f64,
        /// The smallest delay.
        delay_min: Duration,
        /// The largest delay.
        delay_max: Duration,
        /// Frames never sent, percent.
        withheld_percent: f64,
        /// Frames sent twice, percent.
        repeated_percent: f64,
    },
    /// Publishers that have lost UTC synchronisation.
    GpsLoss {
        /// Since when.
        at: Option<Duration>,
        /// The share of the publishers, percent.
        share_percent: f64,
        /// How far they fall behind per minute.
        drift_per_min: Duration,
    },
    /// A leap second, at the next whole second.
    LeapSecond {
        /// When.
        at: Option<Duration>,
        /// Whether a second is skipped; otherwise one is repeated.
        is_skip: bool,
    },
    /// All publishers announce a new configuration and switch to it.
    ConfigChange {
        /// When the announcement begins.
        at: Option<Duration>,
        /// How long it is announced; by default a minute, or half of the measured phase if that is
        /// shorter.
        hold: Option<Duration>,
    },
}

/// Every overlay with its defaults, in the order of the documentation.
pub const ALL: [Overlay; 7] = [
    Overlay::FaultEvent {
        at: None,
        region_percent: 50.0,
        alarm_desks: 50,
        newcomers_over: Duration::from_secs(60),
    },
    Overlay::FlapReconnect {
        at: None,
        share_percent: 30.0,
        end: CutEnd::Reset,
        wait: Wait::Fixed(Duration::from_secs(1)),
    },
    Overlay::SlowConsumers {
        slow_percent: 1.0,
        read_rate: None,
        stopped_percent: 1.0,
        pausing_percent: 1.0,
    },
    Overlay::LateFrames {
        late_percent: 2.0,
        delay_min: Duration::from_millis(200),
        delay_max: Duration::from_secs(5),
        withheld_percent: 0.5,
        repeated_percent: 0.1,
    },
    Overlay::GpsLoss { at: None, share_percent: 10.0, drift_per_min: Duration::from_millis(1) },
    Overlay::LeapSecond { at: None, is_skip: false },
    Overlay::ConfigChange { at: None, hold: None },
];

impl Overlay {
    /// The word that scenario files and flags use.
    pub fn name(&self) -> &'static str {
        match self {
            Overlay::FaultEvent { .. } => "fault-event",
            Overlay::FlapReconnect { .. } => "flap-reconnect",
            Overlay::SlowConsumers { .. } => "slow-consumers",
            Overlay::LateFrames { .. } => "late-frames",
            Overlay::GpsLoss { .. } => "gps-loss",
            Overlay::LeapSecond { .. } => "leap-second",
            Overlay::ConfigChange { .. } => "config-change",
        }
    }

    /// Reads all of a scenario's `[[overlays]]`.
    ///
    /// # Errors
    /// When a kind or key is unknown, or a value makes no sense.
    pub fn all_of(root: &Section<'_>) -> Result<Vec<Overlay>, ScenarioError> {
        root.tables("overlays", KEYS)?.iter().map(Overlay::of).collect()
    }

    fn of(section: &Section<'_>) -> Result<Overlay, ScenarioError> {
        let kind = section.parsed("kind", Overlay::from_str)?;
        let default = section.required("kind", "kind = \"late-frames\"", kind)?;
        default.check_keys(section)?;
        default.read(section)
    }

    /// The default overlay of this kind with these values, by the keys of a scenario file.
    ///
    /// # Errors
    /// When a key does not belong to this kind, or a value makes no sense.
    pub fn of_values(&self, values: &Table) -> Result<Overlay, ScenarioError> {
        let place = format!("--overlay {}", self.name());
        self.read(&Section::new(place, values, self.keys())?)
    }

    /// Its values by their keys.
    pub fn values(&self) -> Table {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_values(&mut text);
        text.parse().unwrap_or_default()
    }

    /// Reads a section whose keys all belong to this kind.
    fn read(&self, section: &Section<'_>) -> Result<Overlay, ScenarioError> {
        let default = *self;
        match default {
            Overlay::FaultEvent { .. } => default.fault_event(section),
            Overlay::FlapReconnect { .. } => default.flap_reconnect(section),
            Overlay::SlowConsumers { .. } => default.slow_consumers(section),
            Overlay::LateFrames { .. } => default.late_frames(section),
            Overlay::GpsLoss { .. } => default.gps_loss(section),
            Overlay::LeapSecond { .. } => leap_second(section),
            Overlay::ConfigChange { .. } => {
                let hold = section.parsed("hold", units::parse_duration)?;
                Ok(Overlay::ConfigChange { at: at(section)?, hold })
            }
        }
    }

    fn check_keys(&self, section: &Section<'_>) -> Result<(), ScenarioError> {
        let known = self.keys();
        let is_strange = |key: &&&str| section.has(key) && !known.contains(*key) && **key != "kind";
        match KEYS.iter().find(is_strange) {
            None => Ok(()),
            Some(key) => {
                let known = known.join(", ");
                Err(section.bad(key, format!("an overlay `{}` has {known}", self.name())))
            }
        }
    }

    /// The keys of its kind.
    pub fn keys(&self) -> &'static [&'static str] {
        match self {
            Overlay::FaultEvent { .. } => {
                &["at", "region_percent", "alarm_desks", "newcomers_over"]
            }
            Overlay::FlapReconnect { .. } => &["at", "share_percent", "cut", "silence", "wait"],
            Overlay::SlowConsumers { .. } => {
                &["slow_percent", "read_rate", "stopped_percent", "pausing_percent"]
            }
            Overlay::LateFrames { .. } => {
                &["late_percent", "delay_min", "delay_max", "withheld_percent", "repeated_percent"]
            }
            Overlay::GpsLoss { .. } => &["at", "share_percent", "drift_per_min"],
            Overlay::LeapSecond { .. } => &["at", "second"],
            Overlay::ConfigChange { .. } => &["at", "hold"],
        }
    }

    fn fault_event(self, section: &Section<'_>) -> Result<Overlay, ScenarioError> {
        let Overlay::FaultEvent { region_percent, alarm_desks, newcomers_over, .. } = self else {
            return Ok(self);
        };
        let desks = section.integer("alarm_desks", 1..=100_000)?;
        let over = section.parsed("newcomers_over", units::parse_duration)?;
        Ok(Overlay::FaultEvent {
            at: at(section)?,
            region_percent: section.number("region_percent", PERCENT)?.unwrap_or(region_percent),
            alarm_desks: desks.map_or(alarm_desks, |desks| desks as u32),
            newcomers_over: over.unwrap_or(newcomers_over),
        })
    }

    fn flap_reconnect(self, section: &Section<'_>) -> Result<Overlay, ScenarioError> {
        let Overlay::FlapReconnect { share_percent, wait, .. } = self else { return Ok(self) };
        let silence = section.parsed("silence", units::parse_duration)?;
        let end = match (section.text("cut")?, silence) {
            (None | Some("reset"), None) => CutEnd::Reset,
            (Some("silent"), silence) => CutEnd::Silent(silence.unwrap_or(SILENCE)),
            (None | Some("reset"), Some(_)) => {
                return Err(section.bad("silence", "only with `cut = \"silent\"`"));
            }
            (Some(other), _) => {
                let reason = format!("`{other}` is no cut; write `reset` or `silent`");
                return Err(section.bad("cut", reason));
            }
        };
        Ok(Overlay::FlapReconnect {
            at: at(section)?,
            share_percent: section.number("share_percent", SHARE)?.unwrap_or(share_percent),
            end,
            wait: section.parsed("wait", Wait::from_str)?.unwrap_or(wait),
        })
    }

    fn slow_consumers(self, section: &Section<'_>) -> Result<Overlay, ScenarioError> {
        let percent =
            |key: &str| Ok::<f64, ScenarioError>(section.number(key, 0.0..=90.0)?.unwrap_or(1.0));
        let (slow_percent, stopped_percent) =
            (percent("slow_percent")?, percent("stopped_percent")?);
        let pausing_percent = percent("pausing_percent")?;
        if slow_percent + stopped_percent + pausing_percent > 90.0 {
            let reason = "with the other shares more than 90, so too few are left to be judged";
            return Err(section.bad("slow_percent", reason));
        }
        let read_rate = section.parsed("read_rate", units::parse_bytes_per_second)?;
        Ok(Overlay::SlowConsumers { slow_percent, read_rate, stopped_percent, pausing_percent })
    }

    fn late_frames(self, section: &Section<'_>) -> Result<Overlay, ScenarioError> {
        let percent = |key: &str, default: f64| {
            Ok::<f64, ScenarioError>(section.number(key, 0.0..=30.0)?.unwrap_or(default))
        };
        let delay = |key: &str| section.parsed(key, units::parse_duration);
        let Overlay::LateFrames { delay_min, delay_max, .. } = self else { return Ok(self) };
        let delay_max = delay("delay_max")?.unwrap_or(delay_max);
        let delay_min = delay("delay_min")?.unwrap_or(delay_min.min(delay_max));
        if delay_min > delay_max {
            return Err(section.bad("delay_min", "longer than `delay_max`"));
        }
        Ok(Overlay::LateFrames {
            late_percent: percent("late_percent", 2.0)?,
            delay_min,
            delay_max,
            withheld_percent: percent("withheld_percent", 0.5)?,
            repeated_percent: percent("repeated_percent", 0.1)?,
        })
    }

    fn gps_loss(self, section: &Section<'_>) -> Result<Overlay, ScenarioError> {
        let Overlay::GpsLoss { share_percent, drift_per_min, .. } = self else { return Ok(self) };
        let drift = section.parsed("drift_per_min", units::parse_duration)?;
        if drift.is_some_and(|drift| drift > DRIFT_MAX) {
            return Err(section.bad("drift_per_min", "more than 1s a minute"));
        }
        Ok(Overlay::GpsLoss {
            at: at(section)?,
            share_percent: section.number("share_percent", SHARE)?.unwrap_or(share_percent),
            drift_per_min: drift.unwrap_or(drift_per_min),
        })
    }

    /// Writes it as TOML that gives the same overlay.
    pub fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "[[overlays]]\nkind = {}", quoted(self.name()))?;
        self.write_values(out)?;
        writeln!(out)
    }

    fn write_values(&self, out: &mut String) -> fmt::Result {
        match *self {
            Overlay::FaultEvent { at, region_percent, alarm_desks, newcomers_over } => {
                write_duration(out, "at", at)?;
                writeln!(out, "region_percent = {region_percent:?}")?;
                writeln!(out, "alarm_desks = {alarm_desks}")?;
                write_duration(out, "newcomers_over", Some(newcomers_over))?;
            }
            Overlay::FlapReconnect { at, share_percent, end, wait } => {
                write_duration(out, "at", at)?;
                writeln!(out, "share_percent = {share_percent:?}")?;
                if let CutEnd::Silent(silence) = end {
                    writeln!(out, "cut = \"silent\"")?;
                    write_duration(out, "silence", Some(silence))?;
                }
                writeln!(out, "wait = {}", quoted(&wait.to_string()))?;
            }
            Overlay::SlowConsumers {
                slow_percent,
                read_rate,
                stopped_percent,
                pausing_percent,
            } => {
                writeln!(out, "slow_percent = {slow_percent:?}")?;
                if let Some(bytes_per_s) = read_rate {
                    writeln!(out, "read_rate = \"{bytes_per_s}B/s\"")?;
                }
                writeln!(out, "stopped_percent = {stopped_percent:?}")?;
                writeln!(out, "pausing_percent = {pausing_percent:?}")?;
            }
            Overlay::LateFrames {
                late_percent,
                delay_min,
                delay_max,
                withheld_percent,
                repeated_percent,
            } => {
                writeln!(out, "late_percent = {late_percent:?}")?;
                write_duration(out, "delay_min", Some(delay_min))?;
                write_duration(out, "delay_max", Some(delay_max))?;
                writeln!(out, "withheld_percent = {withheld_percent:?}")?;
                writeln!(out, "repeated_percent = {repeated_percent:?}")?;
            }
            Overlay::GpsLoss { at, share_percent, drift_per_min } => {
                write_duration(out, "at", at)?;
                writeln!(out, "share_percent = {share_percent:?}")?;
                write_duration(out, "drift_per_min", Some(drift_per_min))?;
            }
            Overlay::LeapSecond { at, is_skip } => {
                write_duration(out, "at", at)?;
                writeln!(out, "second = \"{}\"", if is_skip { "skips" } else { "repeats" })?;
            }
            Overlay::ConfigChange { at, hold } => {
                write_duration(out, "at", at)?;
                write_duration(out, "hold", hold)?;
            }
        }
        Ok(())
    }

    /// The instant of an event that happens once.
    pub fn at(&self) -> Option<Duration> {
        match *self {
            Overlay::FaultEvent { at, .. }
            | Overlay::FlapReconnect { at, .. }
            | Overlay::GpsLoss { at, .. }
            | Overlay::LeapSecond { at, .. }
            | Overlay::ConfigChange { at, .. } => at,
            Overlay::SlowConsumers { .. } | Overlay::LateFrames { .. } => None,
        }
    }
}

/// As a flag for `--overlay`, with every value: `leap-second:at=5s:second=skips`.
impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.values().iter().try_for_each(|(key, value)| match value {
            Value::String(text) => write!(f, ":{key}={text}"),
            value => write!(f, ":{key}={value}"),
        })
    }
}

/// By its name, with its defaults.
impl FromStr for Overlay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || ALL.iter().map(Overlay::name);
        let found = ALL.iter().find(|overlay| overlay.name() == text);
        found.copied().ok_or_else(|| match nearest(text, names()) {
            Some(name) => format!("`{text}` is no overlay; did you mean `{name}`?"),
            None => {
                format!(
                    "`{text}` is no overlay; there are {}",
                    names().collect::<Vec<_>>().join(", ")
                )
            }
        })
    }
}

fn at(section: &Section<'_>) -> Result<Option<Duration>, ScenarioError> {
    section.parsed("at", units::parse_duration)
}

fn leap_second(section: &Section<'_>) -> Result<Overlay, ScenarioError> {
    let is_skip = match section.text("second")? {
        None | Some("repeats") => false,
        Some("skips") => true,
        Some(other) => {
            let reason = format!("`{other}` is no leap; write `repeats` or `skips`");
            return Err(section.bad("second", reason));
        }
    };
    Ok(Overlay::LeapSecond { at: at(section)?, is_skip })
}

fn write_duration(out: &mut String, key: &str, value: Option<Duration>) -> fmt::Result {
    value
        .map_or(Ok(()), |value| writeln!(out, "{key} = {}", quoted(&units::format_duration(value))))
}

/// The keys of any overlay.
const KEYS: &[&str] = &[
    "kind",
    "at",
    "region_percent",
    "alarm_desks",
    "newcomers_over",
    "share_percent",
    "cut",
    "silence",
    "wait",
    "slow_percent",
    "read_rate",
    "stopped_percent",
    "pausing_percent",
    "late_percent",
    "delay_min",
    "delay_max",
    "withheld_percent",
    "repeated_percent",
    "drift_per_min",
    "second",
    "hold",
];
const PERCENT: std::ops::RangeInclusive<f64> = 0.0..=100.0;
const SHARE: std::ops::RangeInclusive<f64> = 0.1..=100.0;
const SILENCE: Duration = Duration::from_secs(20);
const DRIFT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Overlay>, String> {
        let table: Table = text.parse().unwrap();
        let root = Section::new("the scenario", &table, &["overlays"]).unwrap();
        Overlay::all_of(&root).map_err(|error| error.to_string())
    }

    fn written(overlay: &Overlay) -> String {
        let mut text = String::new();
        overlay.write_toml(&mut text).unwrap();
        text
    }

    #[test]
    fn each_is_known_by_its_name_and_written_as_it_is_read() {
        for overlay in ALL {
            assert_eq!(overlay.name().parse(), Ok(overlay));
            assert_eq!(parsed(&written(&overlay)), Ok(vec![overlay]));
            let bare = format!("overlays = [{{ kind = \"{}\" }}]", overlay.name());
            assert_eq!(parsed(&bare), Ok(vec![overlay]), "the defaults");
        }
    }

    #[test]
    fn every_key_is_understood_and_written_back() {
        for text in [
            "kind='fault-event', at='2s', region_percent=10, alarm_desks=3, newcomers_over='9s'",
            "kind='flap-reconnect', at='2s', share_percent=60, cut='silent', silence='3s', \
             wait='backoff'",
            "kind='slow-consumers', slow_percent=5, read_rate='1KiB/s', stopped_percent=0, \
             pausing_percent=2.5",
            "kind='late-frames', late_percent=1, delay_min='10ms', delay_max='1s', \
             withheld_percent=0, repeated_percent=1",
            "kind='gps-loss', at='1s', share_percent=50, drift_per_min='100ms'",
            "kind='leap-second', at='3s', second='skips'",
            "kind='config-change', at='1s', hold='60s'",
        ] {
            let [overlay] = parsed(&format!("overlays = [{{ {text} }}]")).unwrap()[..] else {
                panic!("{text}")
            };
            assert_ne!(overlay.name().parse(), Ok(overlay), "nothing is a default: {text}");
            assert_eq!(parsed(&written(&overlay)), Ok(vec![overlay]), "{text}");
        }
    }

    #[test]
    fn wrong_words_and_values_say_what_would_be_right() {
        for (text, message) in [
            ("kind='late-frame'", "`late-frame` is no overlay; did you mean `late-frames`?"),
            ("kind='zzz'", "`zzz` is no overlay; there are fault-event, flap-reconnect"),
            ("at='1s'", "`kind` is missing in overlays[0]; write e.g. `kind = \"late-frames\"`"),
            ("kind='leap-second', hold='1s'", "an overlay `leap-second` has at, second"),
            ("kind='leap-second', second='stops'", "write `repeats` or `skips`"),
            ("kind='late-frames', delay_min='9s'", "longer than `delay_max`"),
            ("kind='late-frames', late_percent=31", "31 is outside 0..=30"),
            ("kind='flap-reconnect', silence='1s'", "only with `cut = \"silent\"`"),
            ("kind='flap-reconnect', cut='soft'", "`soft` is no cut; write `reset` or `silent`"),
            ("kind='flap-reconnect', wait='soon'", "`soon` is no wait; write `backoff`"),
            ("kind='slow-consumers', slow_percent=89, stopped_percent=2", "more than 90"),
            ("kind='gps-loss', drift_per_min='2s'", "more than 1s a minute"),
            ("kind='gps-loss', lateness=1", "unknown key `lateness` in overlays[0]"),
        ] {
            let found = parsed(&format!("overlays = [{{ {text} }}]")).unwrap_err();
            assert!(found.contains(message), "{text}: {found}");
        }
    }
}
