//! Servers that a run starts for itself. Must not know what is measured.

pub mod certificate;
pub mod embedded;
pub mod external;
pub mod process;
