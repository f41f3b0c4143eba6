//! Recordings: reads frames from captures and replays them as publishers, and writes frames to
//! captures. Must not measure.

pub mod capture;
pub mod capture_file;
pub mod dissection;
pub mod framing;
pub mod packets;
pub mod reassembly;
pub mod recorder;
pub mod recording;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod replay;
pub mod skipped;
