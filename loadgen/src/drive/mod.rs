//! The data plane: opens the sockets, sends at the instants of the grid, and reads what arrives.
//! Must not judge a message (`receive` does) or a run (`judge` does).

pub(crate) mod channels;
pub(crate) mod connection;
pub(crate) mod coordinator;
pub(crate) mod dashboard;
pub(crate) mod dial;
pub(crate) mod link;
pub(crate) mod publishers;
pub(crate) mod ramp;
pub(crate) mod reconnect;
pub mod run;
pub(crate) mod run_state;
pub(crate) mod subscriber;
pub(crate) mod subscribers;
