//! Recordings: reads frames from captures and replays them as publishers, and writes frames to
//! captures. Must not measure.

pub mod capture;
pub(crate) mod capture_file;
pub(crate) mod dissection;
pub(crate) mod framing;
pub(crate) mod packets;
pub(crate) mod reassembly;
pub mod recorder;
pub mod recording;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod replay;
pub(crate) mod skipped;
