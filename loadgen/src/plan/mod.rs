//! The plan of a run: who does what and when, as pure functions of the scenario, the layout and the
//! seed. Must not open sockets, read clocks or ask the host anything.

pub mod audience;
pub mod budget;
pub mod check;
pub mod class;
pub mod course;
pub mod departures;
pub mod deviation;
pub mod encoder;
pub mod fleet;
pub mod follows;
pub mod implied;
pub mod laps;
pub mod layout;
pub mod overlaid;
pub mod part;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod plan;
pub mod publisher;
pub mod schedule;
