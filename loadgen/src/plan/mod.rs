//! The plan of a run: who does what and when, as pure functions of the scenario, the layout and the
//! seed. Must not open sockets, read clocks or ask the host anything.

pub mod audience;
pub(crate) mod budget;
pub(crate) mod check;
pub mod class;
pub mod course;
pub(crate) mod departures;
pub mod deviation;
pub mod encoder;
pub(crate) mod fleet;
pub mod follows;
pub(crate) mod implied;
pub(crate) mod laps;
pub mod layout;
pub(crate) mod overlaid;
pub mod part;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod plan;
pub mod publisher;
pub(crate) mod schedule;
