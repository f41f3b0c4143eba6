//! The HTTP/1.1 edge: request heads and bodies in, routes out, response bytes back.
//! Everything here is bytes to values and values to bytes: no socket, no clock, no feed.

pub mod body;
pub mod date;
pub mod extensions;
pub mod handshake;
pub mod options;
pub mod origin;
pub mod refusal;
pub mod request;
pub mod response;
pub mod route;
pub mod status;
