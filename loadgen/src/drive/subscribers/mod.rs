//! Subscriber threads: `worker` opens sockets and reads them, `pace`, `leaving` and `silence` have
//! what some of them do otherwise.

mod leaving;
mod pace;
mod paced;
mod reconnects;
mod silence;
pub mod worker;
