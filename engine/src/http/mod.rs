//! HTTP/1.1: request heads and bodies in, routes out, response bytes back. Everything here turns
//! bytes into values and values into bytes. Must not know sockets, clocks or feeds.

pub mod body;
pub mod date;
pub mod extensions;
pub mod handshake;
pub mod history;
pub mod instant;
pub mod options;
pub mod origin;
pub mod page;
pub mod poll;
pub mod refusal;
pub mod request;
pub mod response;
pub mod route;
pub mod status;
pub mod topics;
