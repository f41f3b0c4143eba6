//! A gap: the frames that a subscriber did not get, and why. Must not know how it is told.

/// Frames of one feed that a subscriber did not get, as cursors count them: the closed range
/// `from..=to` of ordinals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Ordinal of the first.
    pub from: u64,
    /// Ordinal of the last.
    pub to: u64,
    /// Why they were missed.
    pub reason: GapReason,
}

impl Missed {
    /// How many they are.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.to.saturating_sub(self.from) + 1
    }
}

/// The same as a client is told it: the closed range `from..=to` of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Position of the first missed frame, or one behind the last that came.
    pub from: u64,
    /// The last position that is missed.
    pub to: u64,
    /// How many frames were missed, where anybody knows.
    pub frames: Option<u64>,
    /// Why they were missed.
    pub reason: GapReason,
}

impl Gap {
    /// How many frames were missed, for a total: what nobody knows adds nothing.
    #[must_use]
    pub fn frames_known(&self) -> u64 {
        self.frames.unwrap_or(0)
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
    /// They were lost on the way from another node.
    Relay,
}

impl GapReason {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lagged => "lagged",
            Self::Expired => "expired",
            Self::Epoch => "epoch",
            Self::Conflated => "conflated",
            Self::Relay => "relay",
        }
    }
}
