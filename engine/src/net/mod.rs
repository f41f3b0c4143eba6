//! The network: sockets and their options, plain or encrypted, and who is at the other end. Must
//! not know HTTP, frames or feeds.

pub mod backend;
pub mod descriptors;
pub mod forwarded;
pub mod mio_backend;
pub mod proxy;
pub mod reading;
pub mod socket;
pub mod tls;
pub mod transport;
