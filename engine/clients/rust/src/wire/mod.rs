//! The words and bytes of gridcast.v1.bin and gridcast.v1.json, as docs/protocol.md has them. Must
//! not know connections or subscriptions.

pub mod command;
pub mod envelope;
pub mod told;

/// Messages in a binary envelope: asked for first.
pub const BIN: &str = "gridcast.v1.bin";
/// Everything in JSON.
pub const JSON: &str = "gridcast.v1.json";
