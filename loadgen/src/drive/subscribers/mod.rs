//! Subscriber threads: `worker` opens sockets and reads them; `pace`, `leaving` and `silence`
//! handle the sockets that behave differently.

mod leaving;
mod pace;
mod paced;
mod reconnects;
mod silence;
pub mod worker;
