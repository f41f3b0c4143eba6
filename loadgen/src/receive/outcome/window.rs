//! The results of one second of a run. Must not know sockets.

use serde::{Deserialize, Serialize};

use crate::receive::latency_map;
use crate::receive::latency_map::BucketCounts;

/// One second of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Seconds since the start.
    pub t_s: u32,
    /// Frames published in it.
    pub sent: u64,
    /// Frames received in it, all classes.
    pub received: u64,
    /// Median end-to-end latency of frames received in it, ns, all classes.
    pub e2e_p50_ns: i64,
    /// 99th percentile.
    pub e2e_p99_ns: i64,
    /// Largest.
    pub e2e_max_ns: i64,
    /// The histogram of these latencies. On long runs one entry also holds the following seconds,
    /// which then have none.
    #[serde(with = "latency_map::pairs")]
    pub e2e_counts: BucketCounts,
    /// Frames skipped in the sequence during it, by sockets that must receive all frames, all
    /// classes.
    pub missing: u64,
    /// Gaps the server reported in it, except those caused by conflation.
    pub gaps: u64,
}
