//! Instants and quantities. Must not know sockets.

pub mod clock;
pub mod draw;
pub(crate) mod grid;
pub mod rate;
pub mod units;
