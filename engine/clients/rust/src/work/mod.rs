//! The task behind a client: one connection after the other, and the subscriptions that outlive
//! them. Must not be seen by the program, which has handles.

pub mod driver;
pub mod fallback;
pub mod feed;
pub mod inbox;
pub mod kept;
pub mod outbox;
pub mod posting;
pub mod renewal;
pub mod request;
pub mod session;
pub mod stream;
pub mod tokens;
