//! Delivery: who gets what, in which order, in how few writes. Owns a subscriber's cursors and what
//! waits to be sent to it. Must not know sockets, events or clocks: it is handed a writer.

pub mod doorbell;
pub mod flush;
pub mod outbox;
pub mod subscriptions;
pub mod sweep;
