//! How much later the last receiver gets a frame than the first. Must not know sockets.

use serde::{Deserialize, Serialize};

use crate::receive::histograms::SignedHistogram;

/// Time from the sending of a sampled frame until the first, the median and the last healthy
/// subscriber had it, ns.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SpreadOutcome {
    /// Frames sampled.
    pub sampled: u64,
    /// First receiver.
    pub first: SignedHistogram,
    /// Median receiver.
    pub median: SignedHistogram,
    /// Last receiver.
    pub last: SignedHistogram,
}

impl SpreadOutcome {
    /// Adds the samples of another run.
    pub fn merge(&mut self, other: &SpreadOutcome) {
        self.sampled += other.sampled;
        self.first.merge(&other.first);
        self.median.merge(&other.median);
        self.last.merge(&other.last);
    }
}
