//! The protocols of gridcast and of other servers: publish and subscribe paths, and the protocols
//! inside messages. Pure; must not know sockets or threads.

pub mod broker;
mod centrifugo;
pub mod channel;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod dialect;
pub mod events;
mod json;
mod mqtt;
mod nats;
pub mod options;
pub mod packet;
mod ping_timeout;
pub mod protocol;
pub mod publish_encoder;
mod pusher;
mod socketio;
mod stream;
pub mod templates;
