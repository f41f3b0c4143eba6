//! The load generator: publishers on one UTC grid, and subscribers that verify and time every frame
//! from its *intended* instant. One file per noun; the path of a measurement is
//! `run → {ramp, publishers, subscribers} → {wire, stamp, clock}`, `subscribers → reception →
//! {verify, histograms, spread} → outcome`.

pub mod c37118;
pub mod clock;
pub mod plan;
pub mod histograms;
pub mod verify;
pub mod wire;
pub mod payload;
pub mod outcome;
pub mod spread;
pub mod stamp;
