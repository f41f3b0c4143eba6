//! The servers that a run starts. Must not know what is measured.

pub mod certificate;
pub mod embedded;
pub mod external;
pub mod process;
