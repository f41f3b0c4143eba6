//! Counts of frames that were deliberately not sent at their ticks. Must not know sockets.

use serde::{Deserialize, Serialize};

use crate::plan::departures::{Departures, FrameKind};

/// Frames that were deliberately not sent at their ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deviations {
    /// Never sent.
    pub withheld: u64,
    /// Duplicates; the first copies are not counted here.
    pub repeated: u64,
    /// Sent later than their tick.
    pub delayed: u64,
    /// Configuration frames sent between ticks.
    pub configurations: u64,
}

impl Deviations {
    /// Counts the deviation of a frame that was sent.
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

    /// Adds the counts of another thread.
    pub fn merge(&mut self, other: &Deviations) {
        self.withheld += other.withheld;
        self.repeated += other.repeated;
        self.delayed += other.delayed;
        self.configurations += other.configurations;
    }
}
