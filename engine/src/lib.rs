//! The broadcast engine: many publishers, very many subscribers, every frame encoded once.
//!
//! The path of a frame by folders: a publisher's bytes come in through [`net`], [`core`] and
//! [`frame`]; [`feed`] numbers, encodes and keeps them; [`delivery`] wakes the cores, says who is
//! next and sends.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod core;
pub mod delivery;
pub mod engine;
pub mod feed;
pub mod frame;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod net;
pub mod settings;
pub mod status;
pub mod sync;
pub mod wire;
