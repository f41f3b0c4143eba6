//! What a frame says it is, and why a message is none of this run. Must not know how it is encoded.

/// What a frame claims to be, its checksum having held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Publisher id.
    pub id: u16,
    /// Which tick.
    pub when: When,
}

/// How a frame names its tick.
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
    /// As the one configuration that its publisher sends.
    Configuration,
}

/// The bytes are nothing a publisher of this crate sends, or were changed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt frame")]
pub struct Corrupt;

/// Why a message is no frame of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// Its checksum does not hold.
    Corrupt,
    /// Whole, but nothing this run has published.
    Foreign,
}
