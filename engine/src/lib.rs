//! The broadcast engine.
pub mod cli;
pub mod close;
pub mod command;
pub mod config;
pub mod epoch;
pub mod feed;
pub mod frame;
pub mod http;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod nearest;
pub mod settings;
pub mod sse;
pub mod subscription;
