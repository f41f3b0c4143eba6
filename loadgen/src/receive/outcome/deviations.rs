//! Counts of frames that were not sent as their ticks pass, on purpose. Must not know sockets.

use serde::{Deserialize, Serialize};

use crate::plan::departures::{Departures, FrameKind};

/// Frames that were not sent as their ticks pass, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deviations {
    /// Never sent.
    pub withheld: u64,
    /// Sent once more; counted beside the first time.
    pub repeated: u64,
    /// Sent later than their tick.
    pub delayed: u64,
    /// Configurations sent between them.
    pub configurations: u64,
}

impl Deviations {
    /// Counts what was special about a frame that was sent.
    #[inline]
    pub fn note(&mut self, departures: &Departures, number: u32) {
        if !departures.is_listed() {
            return;
        }
        let frame = departures.frame(number);
        self.repeated += u64::from(frame.kind == FrameKind::Copy);
        self.configurations += u64::from(frame.kind == FrameKind::Configuration);
        self.delayed += u64::from(departures.is_delayed(frame));
    }

    /// Adds what another thread did.
    pub fn merge(&mut self, other: &Deviations) {
        self.withheld += other.withheld;
        self.repeated += other.repeated;
        self.delayed += other.delayed;
        self.configurations += other.configurations;
    }
}
