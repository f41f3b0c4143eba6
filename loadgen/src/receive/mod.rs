//! The processing of messages: checked, matched, counted and timed. Must not know sockets, and
//! reads no clock.

pub(crate) mod censored;
pub(crate) mod completeness;
pub(crate) mod expected;
pub(crate) mod histograms;
pub(crate) mod latency_map;
pub mod outcome;
pub(crate) mod rates;
pub mod reception;
pub(crate) mod sessions;
pub(crate) mod spread;
pub mod stamp;
pub(crate) mod tail;
pub(crate) mod verify;
pub(crate) mod windows;
