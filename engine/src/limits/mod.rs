//! Limits on strangers: how many connections, and how often. Pure; must not know sockets or clocks.

pub mod admission;
pub mod memory;
pub mod rate;
