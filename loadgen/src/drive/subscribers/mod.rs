//! Subscriber threads: `worker` opens sockets and reads them; `pace`, `lifecycle` and `timers`
//! handle the sockets that behave differently.

mod lifecycle;
mod pace;
mod paced;
mod reconnects;
mod timers;
pub mod worker;
