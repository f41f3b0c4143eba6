//! Scenarios: the requested load, parsed into types that cannot hold an invalid value. Must not
//! know the host or any single socket.

pub mod builtin;
pub(crate) mod burst;
pub(crate) mod dialect_keys;
pub mod groups;
pub mod keys;
pub mod kill;
pub mod lifecycle;
pub(crate) mod limits;
pub(crate) mod overlay;
pub(crate) mod overlay_flag;
pub(crate) mod profile;
pub(crate) mod publishers;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod scenario;
pub(crate) mod section;
pub(crate) mod slo;
pub(crate) mod source;
pub mod target;
