//! The `c37118` bridge and aligned ticks, from the sockets of devices to what followers get.
//! Devices are made up here, captures are of real ones. Must not reach into the decoder.

#![cfg(feature = "c37118")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod capture;
mod device;
mod frames;
mod pages;
mod replay;
mod rig;
mod sessions;
mod ticks;
