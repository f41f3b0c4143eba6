//! The data plane: opens the sockets, sends at the instants of the grid, reads what comes. Must not
//! decide what a message is worth (`receive` does) or what a run is worth (`judge` does).

pub mod connection;
pub mod coordinator;
pub mod dashboard;
pub mod dial;
pub mod link;
pub mod publishers;
pub mod ramp;
pub mod reconnect;
pub mod run;
pub mod stage;
pub mod subscriber;
pub mod subscribers;
