//! Delivery: which connection is next, and which bytes it gets in one write. Owns a subscriber's
//! cursors and its private replies. Must not know sockets, events or clocks: it is handed a writer.

pub mod doorbell;
pub mod flush;
pub mod outbox;
pub mod subscriptions;
pub mod sweep;
