//! The wire formats: frames, messages, payloads and other servers' protocols, encoded and checked.
//! Pure; must not know sockets or clocks, and shares no code with the engine.

pub mod c37118;
pub(crate) mod claim;
pub mod dialect;
pub(crate) mod envelope;
pub(crate) mod events;
pub mod form;
pub mod handshake;
pub(crate) mod incoming;
pub(crate) mod inflate;
pub(crate) mod memo;
pub mod payload;
pub mod polls;
pub(crate) mod restamped;
pub mod track;
pub mod wire;
