//! Instants and quantities. Must not know sockets.

pub mod clock;
pub mod units;
