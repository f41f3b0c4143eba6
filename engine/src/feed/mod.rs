//! Feeds: the shared log and what selects from it; no sockets, no clocks.
pub mod pattern;
