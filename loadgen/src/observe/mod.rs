//! Observations of the measured process, of this process and of the host from outside. Must not
//! judge them.

pub(crate) mod allocator;
pub(crate) mod clocks;
pub(crate) mod efficiency;
pub(crate) mod host;
pub mod kernel_counters;
pub mod kernel_files;
pub(crate) mod meter;
pub mod progress;
pub mod sampler;
pub mod server_counters;
