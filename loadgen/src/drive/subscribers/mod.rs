//! Subscriber threads: `worker` has the loop, `opening` and `reading` the life of a socket, `pace`,
//! `lifecycle` and `timers` those that behave differently, `reporting` what is shown meanwhile.

mod lifecycle;
mod opening;
mod pace;
mod paced;
mod reading;
mod reconnects;
mod reporting;
mod timers;
pub(crate) mod worker;
