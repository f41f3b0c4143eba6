//! The goals of a scenario: what a good run must meet. Must not judge a run: `verdict` does.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::scenario::section::{ScenarioError, Section};
use crate::time::units;

/// What a good run must meet; counts and latencies are those of healthy subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slo {
    /// Median latency from the intended instant to the subscriber.
    pub e2e_p50: Option<Duration>,
    /// The same, 99th percentile.
    pub e2e_p99: Option<Duration>,
    /// The same, 99.9th percentile.
    pub e2e_p999: Option<Duration>,
    /// The same, maximum.
    pub e2e_max: Option<Duration>,
    /// Frames that may be lost: later ones of the same publisher came, these did not.
    pub loss: u64,
    /// Frames that may not have come by the end of the drain, with none after them.
    pub undelivered: u64,
    /// Frames that may reach a subscriber who never asked for them.
    pub misdelivered: u64,
    /// Frames that may arrive out of order.
    pub reorder: u64,
    /// Frames that may arrive twice.
    pub duplicate: u64,
    /// Frames that may arrive damaged.
    pub corrupt: u64,
}

impl Slo {
    /// Reads `[slo]` of a scenario. A missing latency goal is not checked; the limits of lost,
    /// undelivered, misdelivered, duplicated, reordered or damaged frames are zero by default.
    pub fn of(root: &Section<'_>) -> Result<Slo, ScenarioError> {
        let Some(section) = root.table("slo", SLO_KEYS)? else { return Ok(Slo::default()) };
        let limit = |key: &str| section.parsed(key, units::parse_duration);
        let count = |key: &str| Ok(section.integer(key, 0..=i64::MAX as u64)?.unwrap_or(0));
        Ok(Slo {
            e2e_p50: limit("e2e_p50")?,
            e2e_p99: limit("e2e_p99")?,
            e2e_p999: limit("e2e_p999")?,
            e2e_max: limit("e2e_max")?,
            loss: count("loss")?,
            undelivered: count("undelivered")?,
            misdelivered: count("misdelivered")?,
            reorder: count("reorder")?,
            duplicate: count("duplicate")?,
            corrupt: count("corrupt")?,
        })
    }

    /// The latency goals that are set, each with its key and quantile.
    pub fn latencies(&self) -> impl Iterator<Item = (&'static str, f64, Duration)> + use<> {
        let rows = [
            ("e2e_p50", 0.5, self.e2e_p50),
            ("e2e_p99", 0.99, self.e2e_p99),
            ("e2e_p999", 0.999, self.e2e_p999),
            ("e2e_max", 1.0, self.e2e_max),
        ];
        rows.into_iter().filter_map(|(key, quantile, limit)| Some((key, quantile, limit?)))
    }

    /// Writes it as TOML that gives the same goals.
    pub fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "[slo]")?;
        for (key, _, limit) in self.latencies() {
            writeln!(out, "{key} = \"{}\"", units::format_duration(limit))?;
        }
        writeln!(out, "loss = {}", self.loss)?;
        // Older results do not name these, and are of the same scenario for all that.
        let newer = [("undelivered", self.undelivered), ("misdelivered", self.misdelivered)];
        for (key, count) in newer.into_iter().filter(|(_, count)| *count > 0) {
            writeln!(out, "{key} = {count}")?;
        }
        writeln!(out, "reorder = {}", self.reorder)?;
        writeln!(out, "duplicate = {}\ncorrupt = {}", self.duplicate, self.corrupt)
    }
}

pub(crate) const SLO_KEYS: &[&str] = &[
    "e2e_p50",
    "e2e_p99",
    "e2e_p999",
    "e2e_max",
    "loss",
    "undelivered",
    "misdelivered",
    "reorder",
    "duplicate",
    "corrupt",
];
