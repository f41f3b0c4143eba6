//! The operating system: socket options, waiting, signals. Must not know WebSocket or what is
//! measured.

pub(crate) mod interrupt;
pub mod output;
pub mod socket;
pub mod tls;
