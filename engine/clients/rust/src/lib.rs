//! The client of gridcast for tokio: many topics and patterns on one WebSocket, publishing with
//! replies, and a connection that comes back by itself. Owns the names that programs use.
//!
//! A [`Client`] is a handle, and a task behind it that connects, and connects again. A
//! [`Subscription`] is a stream of [`Item`]s in order: messages, and notices of what is missing.
//! Nothing is lost in silence: what the server no longer keeps, and what a full queue gave up, is
//! told by a [`Gap`].
//!
//! ```no_run
//! # async fn example() -> Result<(), gridcast_client::Error> {
//! use gridcast_client::{Client, Item, Options, Start, SubscribeOptions};
//!
//! let client = Client::start(Options::new("ws://127.0.0.1:9400"))?;
//! let from_last = SubscribeOptions::new().start(Start::Last);
//! let mut frequency = client.subscribe("pmu/+/freq", from_last)?;
//! let published = client.publish("pmu/1001/freq", "59.98").await?;
//! println!("at {}, to {} subscribers", published.position, published.subscribers);
//! if let Some(Ok(Item::Message(message))) = frequency.next().await {
//!     println!("{} says {:?}", message.topic, message.json::<f64>());
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```

mod client;
mod clock;
mod error;
mod items;
pub mod link;
mod options;
mod subscription;
pub mod wire;
mod work;

pub use client::Client;
pub use clock::{Clock, SystemClock};
pub use error::Error;
pub use items::{Gap, Item, Message, Position, Published, Reason, Restarted, Resumed};
pub use options::{
    Lag, Mode, Options, Overflow, Payload, PublishOptions, Start, State, SubscribeOptions,
    TokenError, Transport, Trust,
};
pub use subscription::Subscription;

/// The examples of README.md compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
