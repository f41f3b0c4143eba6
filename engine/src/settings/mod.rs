//! Settings: one table of all of them, the layers they are read from, and the configuration made of
//! it. Must not act on any of them.

pub mod attached;
pub mod choices;
pub mod config;
pub mod current;
pub mod files;
pub mod knob;
pub mod layers;
pub mod lines;
pub mod logging;
pub mod nearest;
pub mod networks;
pub mod origins;
pub mod reload;
pub mod restart;
pub mod table;
pub mod texts;
pub mod token;
pub mod watch;
