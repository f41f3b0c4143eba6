//! The protocols of gridcast and of other servers: publish and subscribe paths, and the protocols
//! inside messages. Pure; must not know sockets or threads.

pub(crate) mod broker;
mod centrifugo;
pub(crate) mod channel;
#[allow(clippy::module_inception, reason = "the rest of the folder serves this noun")]
pub mod dialect;
pub(crate) mod events;
mod json;
mod mqtt;
mod nats;
pub(crate) mod options;
pub(crate) mod packet;
mod ping_timeout;
pub(crate) mod protocol;
pub(crate) mod publish_encoder;
mod pusher;
mod socketio;
mod stream;
pub(crate) mod templates;
