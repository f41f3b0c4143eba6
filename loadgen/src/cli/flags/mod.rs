//! Flags of single commands, with defaults, units and ranges. Must not act on any of them.

pub(crate) mod agent;
pub(crate) mod capacity;
pub(crate) mod capture;
pub(crate) mod compare;
pub(crate) mod doctor;
pub mod merge;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod selftest;
