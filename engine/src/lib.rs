//! The broadcast engine.
pub mod close;
pub mod command;
pub mod epoch;
pub mod feed;
pub mod frame;
pub mod http;
pub mod nearest;
pub mod sse;
pub mod subscription;
