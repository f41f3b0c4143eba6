//! Observations of the measured process, of this process and of the host from outside. Must not
//! judge them.

pub mod allocator;
pub mod clocks;
pub mod efficiency;
pub mod host;
pub mod kernel_counters;
pub mod kernel_files;
pub mod meter;
pub mod progress;
pub mod sampler;
pub mod server_counters;
