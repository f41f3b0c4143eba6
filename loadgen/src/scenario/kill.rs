//! Sockets that are reset on purpose in the measured phase: parsed and written back. Must not know
//! single sockets.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use crate::scenario::limits::PUBLISHERS_MAX;
use crate::scenario::section::{ScenarioError, Section, quoted};
use crate::time::units;

/// Sockets that disappear without a close frame, by a reset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KillPlan {
    /// When, counted from the start of the measured phase.
    pub at: Duration,
    /// The share of subscriber sockets that are reset, 0..=1.
    pub subscriber_fraction: f64,
    /// The number of publisher sockets that are reset.
    pub publishers: u32,
}

pub(crate) const FAULT_KEYS: &[&str] = &["kind", "at", "subscriber_fraction", "publishers"];

pub(crate) fn write_kill(kill: &KillPlan, out: &mut String) -> fmt::Result {
    writeln!(out, "[[faults]]\nkind = \"kill\"")?;
    writeln!(out, "at = {}", quoted(&units::format_duration(kill.at)))?;
    writeln!(out, "subscriber_fraction = {:?}", kill.subscriber_fraction)?;
    writeln!(out, "publishers = {}\n", kill.publishers)
}

pub(crate) fn kill(root: &Section<'_>) -> Result<Option<KillPlan>, ScenarioError> {
    let faults = root.tables("faults", FAULT_KEYS)?;
    let [fault] = faults.as_slice() else {
        return match faults.len() {
            0 => Ok(None),
            _ => Err(root.bad("faults", "this version takes one fault per run")),
        };
    };
    let kind = fault.text("kind")?;
    let kind = fault.required("kind", "kind = \"kill\"", kind)?;
    if kind != "kill" {
        return Err(fault.bad("kind", format!("`{kind}` is no fault of this version; `kill` is")));
    }
    let at = fault.parsed("at", units::parse_duration)?;
    Ok(Some(KillPlan {
        at: fault.required("at", "at = \"5s\"", at)?,
        subscriber_fraction: fault.number("subscriber_fraction", 0.0..=1.0)?.unwrap_or(0.0),
        publishers: fault.integer("publishers", 0..=PUBLISHERS_MAX)?.unwrap_or(0) as u32,
    }))
}
