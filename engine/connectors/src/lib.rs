//! What an engine can be connected to: bridges to other systems, and whatever else reads and
//! publishes on threads of its own. A core never waits for any of it.
//!
//! Each kind is a folder and a feature. [`bridge`] has what all of them share.

#[cfg(feature = "aggregate")]
pub mod aggregate;
#[cfg(feature = "c37118")]
pub mod align;
#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "backplane")]
pub mod backplane;
pub mod bridge;
#[cfg(feature = "c37118")]
pub mod c37118;
#[cfg(feature = "gridcast")]
pub mod gridcast;
#[cfg(feature = "influx")]
mod influx;
#[cfg(feature = "kafka")]
mod kafka;
pub mod kinds;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "amqp", feature = "kafka"))]
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
pub mod started;
#[cfg(any(feature = "influx", feature = "postgres"))]
mod store;
pub mod table;

pub use kinds::{check, publishing};
pub use started::start;
