//! What can be wrong with what a device sends, by kind, so that it can be counted. Must not decide
//! what is done about it.

use thiserror::Error;

/// Why bytes, or a whole frame, were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum BadInput {
    /// Bytes between frames, or a frame type that no edition of the standard has.
    #[error("no frame begins here")]
    Sync,
    /// FRAMESIZE is less than a frame needs, or a datagram ends before its frame does.
    #[error("the frame is shorter or longer than it says")]
    Size,
    /// The checksum is wrong.
    #[error("the checksum is wrong")]
    Crc,
    /// An IDCODE that this bridge was not told to expect.
    #[error("the IDCODE is not one of `ids`")]
    UnknownId,
    /// Another connection, or another sender, is the source of this IDCODE.
    #[error("another sender has this IDCODE")]
    IdTaken,
    /// Data of which no configuration is known yet.
    #[error("there is no configuration for this data yet")]
    NoConfiguration,
    /// Data that does not have the length which its configuration says.
    #[error("the data does not fit its configuration")]
    Mismatch,
    /// A configuration that ends too early, is empty, or describes frames beyond 65,535 bytes.
    #[error("the configuration contradicts itself")]
    Configuration,
    /// A part of a configuration that came in several frames is missing.
    #[error("a part of the configuration is missing")]
    Fragment,
    /// The fraction of the second is a second or more.
    #[error("the fraction of the second is not below TIME_BASE")]
    Time,
    /// A part of the 2024 edition that is not decoded.
    #[error("this part of the 2024 edition is not decoded")]
    Unsupported,
    /// A frame type that has no business in what a device sends: a command.
    #[error("a device does not send this type of frame")]
    Unexpected,
    /// More streams, or more bytes of configurations, than a bridge keeps.
    #[error("there are more streams than a bridge keeps")]
    TooMany,
}

impl BadInput {
    /// Every kind, for listings.
    pub const ALL: [Self; 13] = [
        Self::Sync,
        Self::Size,
        Self::Crc,
        Self::UnknownId,
        Self::IdTaken,
        Self::NoConfiguration,
        Self::Mismatch,
        Self::Configuration,
        Self::Fragment,
        Self::Time,
        Self::Unsupported,
        Self::Unexpected,
        Self::TooMany,
    ];

    /// The word for labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Size => "size",
            Self::Crc => "crc",
            Self::UnknownId => "unknown_id",
            Self::IdTaken => "id_taken",
            Self::NoConfiguration => "no_configuration",
            Self::Mismatch => "mismatch",
            Self::Configuration => "configuration",
            Self::Fragment => "fragment",
            Self::Time => "time",
            Self::Unsupported => "unsupported",
            Self::Unexpected => "unexpected",
            Self::TooMany => "too_many",
        }
    }
}
