//! A group of publishers that differ only by identifier: parsed and written back. Must not know
//! single sockets.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use toml::Value;

use crate::codec::payload::Payload;
use crate::codec::track::Track;
use crate::scenario::burst::Burst;
use crate::scenario::limits::PUBLISHERS_MAX;
use crate::scenario::section::{ScenarioError, Section, quoted};
use crate::time::rate::Rate;
use crate::time::units;

/// A group of publishers that differ only by identifier.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherGroup {
    /// A name for people; it is not on the wire.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Frames per second of each.
    pub rate: Rate,
    /// The phase of their instants on the grid.
    pub phase: Phase,
    /// The payload of their frames.
    pub payload: Payload,
    /// Topics are `{topic_prefix}/{id}`.
    pub topic_prefix: String,
    /// How their rate is uneven, if it is.
    pub burst: Option<Burst>,
    /// The recorded stream that the only publisher of the group replays under an id of its own; set
    /// by code, never by a file.
    pub recorded: Option<Arc<Track>>,
}

/// Where the instants of a group lie relative to the UTC grid of its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// On the grid, all at once, as real PMUs do: a burst per tick.
    Aligned,
    /// Spread evenly over the period.
    Staggered,
    /// On the grid plus a deterministic delay of up to `max`.
    Jitter {
        /// The longest delay.
        max: Duration,
    },
}

pub(crate) const PUBLISHER_KEYS: &[&str] =
    &["name", "count", "fps", "phase", "payload", "topic", "burst"];

impl PublisherGroup {
    /// Writes it as TOML that gives the same group.
    pub fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "[[publishers]]")?;
        writeln!(out, "name = {}", quoted(&self.name))?;
        writeln!(out, "count = {}", self.count)?;
        writeln!(out, "fps = {}", quoted(&self.rate.to_string()))?;
        writeln!(out, "phase = {}", quoted(&self.phase.to_string()))?;
        writeln!(out, "payload = {}", quoted(&self.payload.to_string()))?;
        writeln!(out, "topic = {}", quoted(&self.topic_prefix))?;
        if let Some(burst) = self.burst {
            writeln!(out, "burst = {}", quoted(&burst.to_string()))?;
        }
        writeln!(out)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Aligned => f.write_str("aligned"),
            Phase::Staggered => f.write_str("staggered"),
            Phase::Jitter { max } => write!(f, "jitter={}", units::format_duration(*max)),
        }
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no phase; write `aligned`, `staggered` or `jitter=5ms`");
        match (text, text.strip_prefix("jitter=")) {
            ("aligned", _) => Ok(Phase::Aligned),
            ("staggered", _) => Ok(Phase::Staggered),
            (_, Some(max)) => {
                let bare = max.parse().map(Duration::from_millis).ok();
                let max = bare.or_else(|| units::parse_duration(max).ok()).ok_or_else(wrong)?;
                (max <= Duration::from_secs(10)).then_some(Phase::Jitter { max }).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

pub(crate) fn publisher_group(section: &Section<'_>) -> Result<PublisherGroup, ScenarioError> {
    let name = section.name()?;
    let count = section.integer("count", 1..=PUBLISHERS_MAX)?;
    let rate = match section.any("fps") {
        Some(Value::Integer(_) | Value::Float(_)) => section
            .number("fps", 0.0..=1000.0)?
            .map(|fps| fps.to_string().parse().map_err(|e: String| section.bad("fps", e)))
            .transpose()?,
        _ => section.parsed("fps", Rate::from_str)?,
    };
    Ok(PublisherGroup {
        name: section.required("name", "name = \"pmu\"", name)?,
        count: section.required("count", "count = 20", count)? as u32,
        rate: section.required("fps", "fps = 30", rate)?,
        phase: section.parsed("phase", Phase::from_str)?.unwrap_or(Phase::Aligned),
        payload: section.parsed("payload", parse_payload)?.unwrap_or(Payload::C37118),
        topic_prefix: section
            .parsed("topic", parse_topic_prefix)?
            .unwrap_or_else(|| "pmu".to_owned()),
        burst: section.parsed("burst", Burst::from_str)?,
        recorded: None,
    })
}

/// Recorded frames come from a capture and not from a scenario; only the scenario of a replay names
/// them.
fn parse_payload(text: &str) -> Result<Payload, String> {
    match text {
        "recorded" => Err("recorded frames need a capture; use `gridload replay FILE`".to_owned()),
        _ => text.parse(),
    }
}

/// The rules of topics: segments between slashes, no wildcards, not the engine's own `$…`.
///
/// # Errors
/// The error says what a valid topic looks like.
pub fn parse_topic_prefix(text: &str) -> Result<String, String> {
    let wrong = |c: char| c.is_control() || matches!(c, '+' | '#');
    let segments_fit = text.split('/').all(|segment| !segment.is_empty());
    if segments_fit && text.len() <= 200 && !text.contains(wrong) && !text.starts_with('$') {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no topic prefix; write e.g. `pmu` or `grid/north`, without + # $"))
}
