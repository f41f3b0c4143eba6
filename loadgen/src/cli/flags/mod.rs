//! Flags of single commands, with defaults, units and ranges. Must not act on any of them.

pub mod agent;
pub mod capacity;
pub mod capture;
pub mod compare;
pub mod doctor;
pub mod merge;
pub mod record;
pub mod replay;
pub mod report;
pub mod selftest;
