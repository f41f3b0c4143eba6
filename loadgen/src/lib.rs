//! The load generator: publishers on one UTC grid, and subscribers that verify and time every frame
//! from its *intended* instant. The path of a measurement by folders: a [`scenario`] becomes a
//! [`plan`], [`drive`] carries it out, [`receive`] and [`observe`] record what happened, [`judge`]
//! decides whether it is valid and meets its goals, `result` and `report` write it. What is `pub`
//! is what the program, the tests and the benchmarks use.

pub mod agents;
pub mod capacity;
pub mod cli;
pub mod codec;
pub mod compare;
pub mod doctor;
pub mod drive;
#[cfg(test)]
mod fixtures;
pub mod judge;
pub mod observe;
pub mod os;
pub mod plan;
pub mod receive;
pub mod replay;
pub(crate) mod report;
pub(crate) mod result;
pub mod scenario;
pub mod selftest;
pub mod server;
pub mod time;
