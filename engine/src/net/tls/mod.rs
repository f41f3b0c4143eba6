//! TLS: the certificates a server shows, and the sessions it holds. Must not know what is sent.

pub mod certificates;
pub mod session;
