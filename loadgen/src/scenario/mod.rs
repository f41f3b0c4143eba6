//! Scenarios: the requested load, parsed into types that cannot hold an invalid value. Must not
//! know the host or any single socket.

pub mod builtin;
pub mod burst;
pub mod dialect_keys;
pub mod groups;
pub mod kill;
pub mod lifecycle;
pub mod limits;
pub mod overlay;
pub mod overlay_flag;
pub mod profile;
pub mod publishers;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod scenario;
pub mod section;
pub mod slo;
pub mod source;
pub mod target;
