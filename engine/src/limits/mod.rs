//! Limits: connections, rates, and memory for connections. Pure; must not know sockets or clocks.

pub mod admission;
pub mod memory;
pub mod places;
pub mod rate;
