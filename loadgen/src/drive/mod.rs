//! The data plane: opens the sockets, sends at the instants of the grid, and reads what arrives.
//! Must not judge a message (`receive` does) or a run (`judge` does).

pub mod channels;
pub mod connection;
pub mod coordinator;
pub mod dashboard;
pub mod dial;
pub mod link;
pub mod publishers;
pub mod ramp;
pub mod reconnect;
pub mod run;
pub mod run_state;
pub mod subscriber;
pub mod subscribers;
