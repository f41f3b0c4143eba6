//! What is seen from outside of the measured process, of this one and of the host. Must not judge
//! it.

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
