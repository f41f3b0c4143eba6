//! The servers that a run starts. Must not know what is measured.

pub(crate) mod certificate;
pub mod embedded;
pub mod external;
pub(crate) mod process;
