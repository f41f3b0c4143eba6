//! The processing of messages: checked, matched, counted and timed. Must not know sockets, and
//! reads no clock.

pub mod censored;
pub mod completeness;
pub mod expected;
pub mod histograms;
pub mod latency_map;
pub mod outcome;
pub mod rates;
pub mod reception;
pub mod sessions;
pub mod spread;
pub mod stamp;
pub mod tail;
pub mod verify;
pub mod windows;
