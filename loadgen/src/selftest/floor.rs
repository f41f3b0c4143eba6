//! What this instrument finds on this host where there is nothing to be found: end to end through a
//! server that does nothing. Owns the file in which it waits for the reports of later runs. Must
//! not measure.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::receive::histograms::SignedHistogram;

/// Below this, a latency says more about the instrument and the host than about a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimingFloor {
    /// Where it was found.
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
    /// What a run against a server that does nothing found.
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

    /// That of this host, if a self-test has left one.
    pub fn of_host(host_fingerprint: &str) -> Option<TimingFloor> {
        let text = fs::read_to_string(path()?).ok()?;
        let floor: TimingFloor = serde_json::from_str(&text).ok()?;
        (floor.host_fingerprint == host_fingerprint).then_some(floor)
    }

    /// Leaves it for later runs; answers where.
    ///
    /// # Errors
    /// As the file system says, or when there is no home directory.
    pub fn leave(&self) -> io::Result<PathBuf> {
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

/// Where the XDG base directory specification keeps what outlives a call and is not precious.
fn path() -> Option<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("gridload").join("floor.json"))
}
