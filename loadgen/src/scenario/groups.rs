//! One class of subscribers: how many, what each follows, in which form, and how it reads. Parsed
//! and written back. Must not know single sockets.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use toml::Value;

use crate::codec::form::{Form, Pace};
use crate::scenario::lifecycle::{Churn, Lifecycle};
use crate::scenario::limits::{PUBLISHERS_MAX, SOCKETS_MAX};
use crate::scenario::section::{ScenarioError, Section, quoted};
use crate::time::units;

/// Subscribers of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriberGroup {
    /// The name of the class in the results.
    pub name: String,
    /// How many dashboards.
    pub count: u32,
    /// What each of them follows.
    pub topics: TopicsEach,
    /// How these topics are drawn.
    pub popularity: Popularity,
    /// How they read.
    pub class: ClassKind,
    /// In which form they get frames.
    pub form: Form,
    /// Which frames they ask for.
    pub pace: Pace,
    /// Whether they offer compression.
    pub deflate: bool,
    /// Sockets opened per second at most.
    pub ramp_per_s: u32,
    /// When they are connected; only an overlay changes this, except for churn.
    pub lifecycle: Lifecycle,
}

/// What one dashboard follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicsEach {
    /// Everything, by a pattern; such a dashboard is called a wall.
    All,
    /// This many topics drawn by seed. If the form carries one topic per socket, each topic has its
    /// own.
    Count(u32),
    /// The alarms of an overlay; a scenario file cannot ask for this.
    Alarms,
}

/// How often each topic is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Popularity {
    /// All equally often.
    #[default]
    Uniform,
    /// The n-th publisher is chosen in proportion to 1/n to this power, from 0.1 to 5: nearly every
    /// dashboard follows the first few.
    Zipf(f64),
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let exponent = || text.strip_prefix("zipf:")?.parse().ok();
        match text {
            "uniform" => Ok(Popularity::Uniform),
            _ => exponent()
                .filter(|exponent| (0.1..=5.0).contains(exponent))
                .map(Popularity::Zipf)
                .ok_or_else(|| {
                    format!("`{text}` is no popularity; write `uniform`, or `zipf:1.1` (0.1 to 5)")
                }),
        }
    }
}

impl SubscriberGroup {
    /// Sockets of the whole group.
    pub fn sockets(&self) -> u64 {
        match self.topics {
            TopicsEach::Count(topics) if !self.form.is_multiplexed() => {
                u64::from(self.count) * u64::from(topics)
            }
            TopicsEach::All | TopicsEach::Count(_) | TopicsEach::Alarms => u64::from(self.count),
        }
    }

    /// Reads one of `[[subscribers]]`.
    pub fn of(section: &Section<'_>) -> Result<SubscriberGroup, ScenarioError> {
        let name = section.name()?;
        let count = section.integer("count", 1..=SOCKETS_MAX)?;
        let topics = match section.any("topics_each") {
            Some(Value::String(text)) if text == "all" => TopicsEach::All,
            Some(Value::String(text)) => {
                let reason = format!("`{text}` is neither a number nor \"all\"");
                return Err(section.bad("topics_each", reason));
            }
            _ => {
                let topics = section.integer("topics_each", 1..=PUBLISHERS_MAX)?;
                TopicsEach::Count(topics.unwrap_or(1) as u32)
            }
        };
        Ok(SubscriberGroup {
            name: section.required("name", "name = \"desk\"", name)?,
            count: section.required("count", "count = 2000", count)? as u32,
            topics,
            popularity: section.parsed("popularity", Popularity::from_str)?.unwrap_or_default(),
            class: class(section)?,
            form: section.parsed("form", Form::from_str)?.unwrap_or_default(),
            pace: pace(section)?,
            deflate: deflate(section)?,
            ramp_per_s: section.parsed("ramp", units::parse_per_second)?.unwrap_or(2000),
            lifecycle: lifecycle(section)?,
        })
    }

    /// Writes it as TOML that gives the same group.
    pub fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "[[subscribers]]")?;
        writeln!(out, "name = {}", quoted(&self.name))?;
        writeln!(out, "count = {}", self.count)?;
        match self.topics {
            TopicsEach::All => writeln!(out, "topics_each = \"all\"")?,
            TopicsEach::Count(topics) => writeln!(out, "topics_each = {topics}")?,
            TopicsEach::Alarms => {}
        }
        if let Popularity::Zipf(exponent) = self.popularity {
            writeln!(out, "popularity = \"zipf:{exponent}\"")?;
        }
        writeln!(out, "class = {}", quoted(self.class.name()))?;
        if let ClassKind::Slow { bytes_per_s } = self.class {
            writeln!(out, "read_rate = \"{bytes_per_s}B/s\"")?;
        }
        self.write_form(out)?;
        if self.lifecycle.churn != Churn::default() {
            writeln!(out, "churn = {}", quoted(&self.lifecycle.churn.to_string()))?;
        }
        if self.lifecycle.resumes {
            writeln!(out, "resume = true")?;
        }
        writeln!(out, "ramp = \"{}/s\"\n", self.ramp_per_s)
    }

    /// The values that differ from a raw subscription of everything.
    fn write_form(&self, out: &mut String) -> fmt::Result {
        if self.form != Form::default() {
            writeln!(out, "form = {}", quoted(&self.form.to_string()))?;
        }
        if let Some(rate) = self.pace.rate {
            writeln!(out, "rate = {rate}")?;
        }
        if self.pace.latest {
            writeln!(out, "mode = \"latest\"")?;
        }
        if self.deflate { writeln!(out, "deflate = true") } else { Ok(()) }
    }
}

fn class(section: &Section<'_>) -> Result<ClassKind, ScenarioError> {
    let read_rate = section.parsed("read_rate", units::parse_bytes_per_second)?;
    match (section.text("class")?, read_rate) {
        (None | Some("slow"), Some(bytes_per_s)) => Ok(ClassKind::Slow { bytes_per_s }),
        (Some("slow"), None) => section.required("read_rate", "read_rate = \"64KiB/s\"", None),
        (None | Some("healthy"), None) => Ok(ClassKind::Healthy),
        (Some("stalled"), None) => Ok(ClassKind::Stalled),
        (Some("healthy" | "stalled"), Some(_)) => {
            Err(section.bad("read_rate", "only a subscriber of class `slow` has one"))
        }
        (Some(other), _) => {
            let reason = format!("`{other}` is no class; write `healthy`, `slow` or `stalled`");
            Err(section.bad("class", reason))
        }
    }
}

fn pace(section: &Section<'_>) -> Result<Pace, ScenarioError> {
    let rate = section.integer("rate", 1..=u64::from(Pace::RATE_MAX))?.map(|rate| rate as u32);
    let latest = match section.text("mode")? {
        None | Some("lossless") => false,
        Some("latest") => true,
        Some(other) => {
            let reason = format!("`{other}` is no mode; write `lossless` or `latest`");
            return Err(section.bad("mode", reason));
        }
    };
    Ok(Pace { rate, latest })
}

fn lifecycle(section: &Section<'_>) -> Result<Lifecycle, ScenarioError> {
    let churn = section.parsed("churn", Churn::from_str)?;
    if churn.is_some() && !matches!(section.text("class")?, None | Some("healthy")) {
        return Err(section.bad("churn", "only a subscriber of class `healthy` has one"));
    }
    let resumes = section.flag("resume")?;
    if resumes && !matches!(section.text("form")?, Some("sse" | "poll")) {
        let reason = "only `form = \"sse\"` and `\"poll\"` have it: their frames have positions";
        return Err(section.bad("resume", reason));
    }
    Ok(Lifecycle { churn: churn.unwrap_or_default(), resumes, ..Lifecycle::default() })
}

fn deflate(section: &Section<'_>) -> Result<bool, ScenarioError> {
    let deflate = section.flag("deflate")?;
    if deflate && matches!(section.text("form")?, Some("sse" | "poll")) {
        return Err(section.bad("deflate", "only WebSockets have compression; leave it out"));
    }
    Ok(deflate)
}

/// The keys of one of `[[subscribers]]`.
pub const KEYS: &[&str] = &[
    "name",
    "count",
    "topics_each",
    "popularity",
    "class",
    "read_rate",
    "form",
    "rate",
    "mode",
    "deflate",
    "ramp",
    "churn",
    "resume",
];

/// How a subscriber reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassKind {
    /// As soon as something has arrived.
    Healthy,
    /// At most this fast.
    Slow {
        /// Bytes taken from the socket per second.
        bytes_per_s: u64,
    },
    /// Never, once connected.
    Stalled,
    /// As soon as something has arrived, but with pauses.
    Pausing {
        /// How long a pause is.
        pause: Duration,
        /// The time from the start of one pause to the start of the next.
        every: Duration,
    },
}

impl ClassKind {
    /// The word a scenario file uses.
    pub fn name(self) -> &'static str {
        match self {
            ClassKind::Healthy => "healthy",
            ClassKind::Slow { .. } => "slow",
            ClassKind::Stalled => "stalled",
            ClassKind::Pausing { .. } => "pausing",
        }
    }
}
