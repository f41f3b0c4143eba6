//! One WebSocket to a server: how it is opened, that it lives, and how it ends. For programs that
//! keep windows of their own, as a bridge does; others use [`Client`](crate::Client). Must not know
//! topics.

mod backoff;
mod connection;
mod dial;
mod ending;
mod endpoint;
mod http;
mod liveness;

pub use backoff::Backoff;
pub use connection::{Connection, Incoming, LinkOptions};
pub use dial::{Duplex, Tls};
pub use ending::{Ending, Next};
pub use endpoint::Endpoint;
pub use http::{Ask, Http, get};
pub use liveness::{Liveness, PROBE, Verdict};
pub use tokio_tungstenite::tungstenite::Utf8Bytes;
