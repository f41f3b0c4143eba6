//! The identity that a frame states, and why a message is not part of this run. Must not know how a
//! frame is encoded.

/// The identity that a frame with a valid checksum states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Publisher id.
    pub id: u16,
    /// Its tick.
    pub when: When,
}

/// How a frame identifies its tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// By its UTC instant: second and fraction in `TIME_BASE` units.
    Instant {
        /// Second of century.
        soc: u32,
        /// Fraction of the second.
        fracsec: u32,
        /// Time quality flags, where the form has them.
        quality: u8,
    },
    /// By number, within a run.
    Seq {
        /// The run that published it.
        run_id: u32,
        /// Number of the frame, from 0.
        seq: u32,
        /// The intended instant it was stamped with, ns since the Unix epoch.
        intended_unix_ns: u64,
    },
    /// A configuration frame; its publisher sends only one.
    Configuration,
}

/// The bytes are not a frame of any publisher of this crate, or they were changed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt frame")]
pub struct Corrupt;

/// Why a message is not a frame of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// The checksum is wrong.
    Corrupt,
    /// The message is intact, but this run has not published it.
    Foreign,
}
