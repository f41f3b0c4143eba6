//! The network: sockets and their options, plain or TLS, and the addresses of peers. Must not know
//! HTTP, frames or feeds.

pub mod alarm;
pub mod backend;
pub mod descriptors;
pub mod forwarded;
pub mod mio_backend;
pub mod passing;
pub mod proxy;
pub mod reading;
pub mod socket;
pub mod tls;
pub mod transport;
