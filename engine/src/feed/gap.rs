//! A gap: the frames that a subscriber did not get, and why. Must not know how it is told.

/// Frames a subscriber did not get: the closed range `from..=to` of sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First missed sequence number.
    pub from: u64,
    /// Last missed sequence number.
    pub to: u64,
    /// Why they were missed.
    pub reason: GapReason,
}

impl Gap {
    /// How many frames were missed. Within one epoch numbers are dense; where another one ended,
    /// nobody knows.
    #[must_use]
    pub fn frames(&self) -> Option<u64> {
        (self.reason != GapReason::Epoch).then(|| self.to.saturating_sub(self.from) + 1)
    }

    /// The same for a total: what nobody knows adds nothing.
    #[must_use]
    pub fn frames_known(&self) -> u64 {
        self.frames().unwrap_or(0)
    }
}

/// Why frames were missed; the word is part of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The subscriber read more slowly than retention allows.
    Lagged,
    /// The position asked for was retained no longer.
    Expired,
    /// The epoch asked for is not this feed's: what lay between is unknown.
    Epoch,
    /// The subscriber asked for the newest frame only, and was behind.
    Conflated,
}

impl GapReason {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lagged => "lagged",
            Self::Expired => "expired",
            Self::Epoch => "epoch",
            Self::Conflated => "conflated",
        }
    }
}
