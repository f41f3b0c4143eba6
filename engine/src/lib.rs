//! The broadcast engine.
pub mod close;
pub mod feed;
pub mod frame;
