//! The Rust client against the program as a process: the table of behaviours that all three clients
//! share. Owns what is promised: nothing that is kept is lost or comes twice, and what is lost is
//! told.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod clock;
mod fallbacks;
mod hearing;
mod line;
mod link;
mod lives;
mod publishing;
mod queues;
mod server;
mod silence;
mod tokens;
