//! The load generator: publishers on one UTC grid, and subscribers that verify and time every frame
//! from its *intended* instant. One file per noun; the path of a measurement is
//! `run → {ramp, publishers, subscribers} → {wire, stamp, clock}`, and that of a frame
//! `subscribers → reception → {verify, histograms, spread} → outcome`.

pub mod budget;
pub mod builtin;
pub mod c37118;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod connection;
pub mod dashboard;
pub mod dial;
pub mod efficiency;
pub mod embedded;
pub mod envelope;
pub mod events;
pub mod exit;
#[cfg(test)]
mod fixtures;
pub mod form;
pub mod handshake;
pub mod health;
pub mod histograms;
pub mod host;
pub mod implied;
pub mod inflate;
pub mod interrupt;
pub mod link;
pub mod memo;
pub mod meter;
pub mod outcome;
pub mod overrides;
pub mod payload;
pub mod plan;
pub mod progress;
pub mod progress_view;
pub mod publishers;
pub mod ramp;
pub mod rates;
pub mod reception;
pub mod record;
pub mod report;
pub mod run;
pub mod sampler;
pub mod scenario;
pub mod section;
pub mod session;
pub mod slo;
pub mod socket;
pub mod source;
pub mod spread;
pub mod stage;
pub mod stamp;
pub mod subscriber;
pub mod subscriber_group;
pub mod subscribers;
pub mod target;
pub mod tls;
pub mod units;
pub mod verdict;
pub mod verify;
pub mod windows;
pub mod wire;
