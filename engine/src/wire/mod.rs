//! What clients read and write inside WebSocket messages and event streams. Pure: bytes in, bytes
//! out. Must not know feeds' logs, sockets or clocks.

pub mod chunked;
pub mod close;
pub mod command;
pub mod data64;
pub mod deflate;
pub mod envelope;
pub mod export;
pub mod gap;
pub mod history;
pub mod json;
pub mod packed;
pub mod reply;
pub mod sse;
pub mod text;
