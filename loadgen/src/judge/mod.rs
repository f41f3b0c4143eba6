//! What a run is worth: whether it is valid, whether its goals were met, which exit code follows.
//! Must not measure or print anything.

pub mod exit;
pub mod health;
pub mod interrupt;
pub mod laps;
pub mod verdict;
