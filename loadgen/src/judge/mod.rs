//! The judgement of a run: whether it is valid, whether its goals were met, and the exit code. Must
//! not measure or print anything.

pub mod exit;
pub mod health;
pub(crate) mod interrupt;
pub(crate) mod laps;
pub(crate) mod verdict;
