//! What a core asks of the world outside: connections, events, sleep and time. Owns the traits
//! between the two. The engine runs on [`MioBackend`](crate::net::mio_backend::MioBackend), the
//! simulation on a fake network with a clock of its own. Must not know HTTP, WebSocket or feeds.
//!
//! # What a backend promises
//! * Events are edges: one is reported when bytes, an end or room *arrive*. A core therefore reads
//!   until a read was short, and writes until a write was refused, before it waits for the next.
//! * A read or write that would have to wait answers `WouldBlock`, and an event follows when it no
//!   longer would. Nothing else of a backend ever waits, except [`poll`](Backend::poll).
//! * Time never goes back.
//!
//! All calls are static: a core is compiled once for each backend, so that a write costs what it
//! would cost without this seam.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Duration;

/// The sockets, the events and the clock of one core.
pub trait Backend: Debug {
    /// A connection.
    type Stream: Stream;

    /// Sleeps until something happens, at most for `timeout` (`None` sets no limit), and replaces
    /// `events` by what happened. May end early without an event.
    ///
    /// # Errors
    /// When events can no longer be had. A signal is no error.
    fn poll(&mut self, events: &mut Vec<Readiness>, timeout: Option<Duration>) -> io::Result<()>;

    /// The next connection that waits at an entrance, and the address it comes from.
    ///
    /// # Errors
    /// As `accept(2)`; `WouldBlock` when nobody waits: an event says when somebody does.
    fn accept(&mut self, entrance: usize) -> io::Result<(Self::Stream, IpAddr)>;

    /// Has events of `stream` reported under `key` from now on. What has happened before is
    /// reported as well.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    fn register(&mut self, stream: &mut Self::Stream, key: u32) -> io::Result<()>;

    /// Has no events of `stream` reported any more: another process has it as well, so that
    /// closing it here would not end them.
    fn forget(&mut self, _stream: &mut Self::Stream) {}

    /// Has nobody wait at an entrance any more, without turning anybody away.
    fn close_entrances(&mut self) {}

    /// Nanoseconds since the engine started.
    fn now_ns(&self) -> u64;

    /// Milliseconds of UTC since 1970.
    fn unix_ms(&self) -> u64;
}

/// A connection as the kernel gives it: bytes both ways, never waiting. TLS is above it.
pub trait Stream: Read + Write + Debug {
    /// As `read`, but what was read stays to be read again.
    ///
    /// # Errors
    /// As `recv(2)`.
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Says that nothing more follows.
    ///
    /// # Errors
    /// As `shutdown(2)`.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Has the connection fail once its peer has acknowledged or taken nothing of what was sent for
    /// `patience`: reading shows it then.
    ///
    /// # Errors
    /// As `setsockopt(2)`.
    fn fail_after(&mut self, patience: Duration) -> io::Result<()>;

    /// Has unsent bytes forgotten and the connection reset when this is dropped.
    ///
    /// # Errors
    /// As `setsockopt(2)`.
    fn reset_on_drop(&mut self) -> io::Result<()>;
}

/// What has happened to one source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// To which.
    pub source: Source,
    /// There may be something to read, or somebody to accept.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// The peer has sent all it will, or the connection has failed: reading shows which.
    pub read_closed: bool,
}

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The entrance of this index.
    Entrance(usize),
    /// The connection registered under this key.
    Conn(u32),
}
