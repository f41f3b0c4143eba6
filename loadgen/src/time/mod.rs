//! Instants and quantities. Must not know sockets.

pub mod clock;
pub mod draw;
pub mod grid;
pub mod rate;
pub mod units;
