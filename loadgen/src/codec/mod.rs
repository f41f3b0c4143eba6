//! The wire formats: frames, messages, payloads and other servers' protocols, encoded and checked.
//! Pure; must not know sockets or clocks, and shares no code with the engine.

pub mod c37118;
pub mod claim;
pub mod dialect;
pub mod envelope;
pub mod events;
pub mod form;
pub mod handshake;
pub mod incoming;
pub mod inflate;
pub mod memo;
pub mod payload;
pub mod restamped;
pub mod track;
pub mod wire;
