//! The latency floor of this instrument on this host, measured end to end through a server that
//! does nothing. Owns the file that stores it for the reports of later runs. Must not measure.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::receive::histograms::SignedHistogram;
use crate::time::units::format_ns;

/// The latency floor: smaller latencies are caused by the instrument and the host, not by a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimingFloor {
    /// The host it was measured on.
    pub host_fingerprint: String,
    /// When, seconds since the Unix epoch.
    pub taken_unix_s: u64,
    /// Median, ns.
    pub p50_ns: i64,
    /// 99th percentile.
    pub p99_ns: i64,
    /// 99.9th percentile.
    pub p999_ns: i64,
    /// Largest.
    pub max_ns: i64,
}

impl TimingFloor {
    /// The floor from a run against a server that does nothing.
    pub fn of(e2e: &SignedHistogram, host_fingerprint: &str, taken_unix_s: u64) -> TimingFloor {
        TimingFloor {
            host_fingerprint: host_fingerprint.to_owned(),
            taken_unix_s,
            p50_ns: e2e.quantile(0.5),
            p99_ns: e2e.quantile(0.99),
            p999_ns: e2e.quantile(0.999),
            max_ns: e2e.max(),
        }
    }

    /// The floor of this host, if a self-test has stored one.
    pub fn of_host(host_fingerprint: &str) -> Option<TimingFloor> {
        let text = fs::read_to_string(path()?).ok()?;
        let floor: TimingFloor = serde_json::from_str(&text).ok()?;
        (floor.host_fingerprint == host_fingerprint).then_some(floor)
    }

    /// Stores the floor for later runs; returns the path.
    ///
    /// # Errors
    /// The error of the file system, or when there is no home directory.
    pub fn store(&self) -> io::Result<PathBuf> {
        let homeless =
            || io::Error::new(io::ErrorKind::NotFound, "neither XDG_STATE_HOME nor HOME");
        let path = path().ok_or_else(homeless)?;
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }
}

/// As a line of a report.
impl fmt::Display for TimingFloor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] =
            [self.p50_ns, self.p99_ns, self.max_ns].map(|ns| format_ns(ns as f64));
        write!(f, "latency floor of this host (selftest): p50 {p50}, p99 {p99}, max {max}")
    }
}

/// The directory that the XDG base directory specification defines for persistent but unimportant
/// state.
fn path() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("gridload").join("floor.json"))
}
