//! The load generator: publishers on one UTC grid, and subscribers that verify and time every frame
//! from its *intended* instant. One file per noun; the path of a measurement is
//! `run → {ramp, publishers, subscribers} → {wire, stamp, clock}`, and that of a frame
//! `subscribers → reception → {verify, histograms, spread} → outcome`.

pub mod c37118;
pub mod clock;
pub mod connection;
pub mod dial;
pub mod histograms;
pub mod meter;
pub mod outcome;
pub mod payload;
pub mod plan;
pub mod progress;
pub mod publishers;
pub mod ramp;
pub mod reception;
pub mod run;
pub mod socket;
pub mod spread;
pub mod stage;
pub mod stamp;
pub mod subscribers;
pub mod verify;
pub mod windows;
pub mod wire;
