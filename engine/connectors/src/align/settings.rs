//! The settings of an `[[align]]`. Owns their defaults and bounds. Must not follow anything.

use gridcast::feed::topic::{Target, Topic};
use serde::Deserialize;
use toml::Table;

use super::aligner::{Rules, Wait};
use super::message::Form;
use crate::table::Reader;

/// What a group was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the group.
    pub name: String,
    /// Where its ticks are published.
    pub topic: Topic,
    /// The topics whose messages are aligned.
    pub topics: Target,
    /// The topics of their configurations; none where the pattern cannot be extended.
    pub configurations: Option<Target>,
    /// When ticks are due, and who is in them.
    pub rules: Rules,
    /// How ticks are written.
    pub form: Form,
    /// Units of FRACSEC in a second, of topics without a configuration.
    pub time_base: u32,
}

/// The keys, as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    topics: String,
    rate: u32,
    #[serde(default = "default_wait_ms")]
    wait_ms: u64,
    #[serde(default)]
    wait: From,
    #[serde(default = "default_lead_ms")]
    lead_ms: u64,
    #[serde(default = "default_forget_ms")]
    forget_ms: u64,
    #[serde(default = "default_members_max")]
    members_max: usize,
    #[serde(default)]
    form: Form,
    #[serde(default = "default_time_base")]
    time_base: u32,
}

/// What the wait counts from.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    /// The instant.
    #[default]
    Absolute,
    /// The first arrival.
    Relative,
}

/// A cycle of 50 Hz is 20 ms, and most networks deliver within two or three of them.
fn default_wait_ms() -> u64 {
    100
}

/// More than clocks that are kept by NTP differ.
fn default_lead_ms() -> u64 {
    100
}

fn default_forget_ms() -> u64 {
    10_000
}

fn default_members_max() -> usize {
    1_000
}

fn default_time_base() -> u32 {
    1_000_000
}

const NS_PER_MS: u64 = 1_000_000;
/// Bytes that a group holds at most: seconds of thousands of PMUs.
const HELD_BYTES_MAX: usize = 64 << 20;
/// While a member joined less than this ago, nothing counts as complete.
const SETTLE_NS: u64 = 1_000 * NS_PER_MS;

impl Settings {
    /// Reads all tables.
    ///
    /// # Errors
    /// Everything that is wrong, one line each.
    pub fn read_all(tables: &[Table]) -> Result<Vec<Self>, Vec<String>> {
        let (mut groups, mut errors): (Vec<Self>, _) = (Vec::new(), Vec::new());
        for (index, table) in tables.iter().enumerate() {
            match Self::read(index, table) {
                Ok(group) if groups.iter().any(|other| other.name == group.name) => {
                    errors.push(format!("align \"{}\": another has that name", group.name));
                }
                Ok(group) => groups.push(group),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(groups) } else { Err(errors) }
    }

    /// Reads table number `index` of its sort.
    ///
    /// # Errors
    /// What is wrong with it, with the key and what to do.
    pub fn read(index: usize, table: &Table) -> Result<Self, String> {
        let reader = Reader::new("align", index, table);
        let title = reader.name.clone();
        let wrong = |key: &str, error: &str| format!("{title}: {key}: {error}");
        let written: Written = reader.rest()?;
        check_bounds(&written).map_err(|(key, error)| wrong(key, &error))?;
        let topic = Topic::new(&format!("align/{}", written.name));
        let topic = topic.map_err(|error| wrong("name", &error.to_string()))?;
        let topics = &written.topics;
        let target = topics.parse().map_err(|error| wrong("topics", &format!("{error}")))?;
        let configurations = if topics.ends_with('#') { None } else { Some(topics) };
        let configurations = configurations.and_then(|topics| format!("{topics}/cfg").parse().ok());
        let (form, time_base) = (written.form, written.time_base);
        let rules = rules(&written);
        let name = written.name;
        Ok(Self { name, topic, topics: target, configurations, rules, form, time_base })
    }
}

fn rules(written: &Written) -> Rules {
    let wait_ns = written.wait_ms * NS_PER_MS;
    let open_ms = written.wait_ms + written.lead_ms + 1_000;
    Rules {
        wait: match written.wait {
            From::Absolute => Wait::Absolute(wait_ns),
            From::Relative => Wait::Relative(wait_ns),
        },
        rate: written.rate,
        lead_ns: written.lead_ms * NS_PER_MS,
        member_ns: written.forget_ms * NS_PER_MS,
        settle_ns: SETTLE_NS.max(2 * wait_ns),
        members_max: written.members_max,
        open_max: (open_ms * u64::from(written.rate) / 1_000) as usize + 1,
        held_bytes_max: HELD_BYTES_MAX,
    }
}

fn check_bounds(written: &Written) -> Result<(), (&'static str, String)> {
    let bounds = [
        ("rate", u64::from(written.rate), 1, 1_000),
        ("wait_ms", written.wait_ms, 1, 60_000),
        ("lead_ms", written.lead_ms, 0, 86_400_000),
        ("forget_ms", written.forget_ms, 1_000, 86_400_000),
        ("members_max", written.members_max as u64, 1, 10_000),
        ("time_base", u64::from(written.time_base), 1, 0x00FF_FFFF),
    ];
    for (key, value, min, max) in bounds {
        if !(min..=max).contains(&value) {
            return Err((key, format!("{value} is not within {min} and {max}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        Settings::read(0, &text.parse().unwrap())
    }

    #[test]
    fn defaults_are_filled_in() {
        let settings = read("name = \"n\"\ntopics = \"pmu/north/+/json\"\nrate = 50").unwrap();
        assert_eq!(settings.topic.as_str(), "align/n");
        assert_eq!(settings.rules.wait, Wait::Absolute(100 * NS_PER_MS));
        assert_eq!((settings.form, settings.time_base), (Form::Json, 1_000_000));
        let text = "name = \"n\"\ntopics = \"pmu/+\"\nrate = 60\nwait = \"relative\"\nwait_ms = 20";
        let settings = read(text).unwrap();
        assert_eq!(settings.rules.wait, Wait::Relative(20 * NS_PER_MS));
        assert_eq!(settings.configurations.unwrap().as_str(), "pmu/+/cfg");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("name = \"n\"\ntopics = \"a\"", "align \"n\": missing field `rate`"),
            ("topics = \"a\"\nrate = 1", "align 1: missing field `name`"),
            ("name = \"n\"\ntopics = \"a\"\nrate = 0", "rate: 0 is not within 1 and 1000"),
            ("name = \"n\"\ntopics = \"a//b\"\nrate = 1", "topics: segment 2 is empty"),
            ("name = \"+\"\ntopics = \"a\"\nrate = 1", "name: `+` is a wildcard"),
            ("name = \"n\"\ntopics = \"a\"\nrate = 1\nspeed = 1", "unknown field `speed`"),
            ("name = \"n\"\ntopics = \"a\"\nrate = 1\nwait = \"some\"", "unknown variant `some`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
