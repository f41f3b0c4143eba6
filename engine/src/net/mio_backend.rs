//! The backend of a running engine: mio's poll, its sockets, and the machine's clock. Owns the
//! tokens. Must not know what a connection is for.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::clock::{self, Clock};
use crate::delivery::doorbell::Wake;
use crate::net::alarm::Alarm;
use crate::net::backend::{Backend, Readiness, Source, Stream};
use crate::net::socket;

/// Events taken from the kernel at once. A turn goes by before the next are seen: a publisher whose
/// event stands behind those of twenty thousand clients that are cut off must not wait for twenty.
const EVENTS_MAX: usize = 16 << 10;
/// The waker's token.
const WAKER: Token = Token(usize::MAX);
/// The alarm's token.
const ALARM: Token = Token(usize::MAX - 1);
/// Tokens from here on are entrances', in order; those below are connections' keys.
const ENTRANCES: usize = usize::MAX - 17;

/// See the file header.
#[derive(Debug)]
pub struct MioBackend {
    poll: Poll,
    events: Events,
    listeners: Vec<TcpListener>,
    alarm: Alarm,
    clock: Clock,
}

impl MioBackend {
    /// One without entrances, and what wakes it. Made before its core's thread has a descriptor
    /// table of its own, because other threads use the waker.
    ///
    /// # Errors
    /// As `epoll_create(2)`, `eventfd(2)` and `timerfd_create(2)`.
    pub fn new(clock: Clock) -> io::Result<(Self, impl Wake + 'static)> {
        let poll = Poll::new()?;
        let wake = EventfdWake(Waker::new(poll.registry(), WAKER)?);
        let mut alarm = Alarm::new()?;
        poll.registry().register(&mut alarm, ALARM, Interest::READABLE)?;
        let events = Events::with_capacity(EVENTS_MAX);
        Ok((Self { poll, events, listeners: Vec::new(), alarm, clock }, wake))
    }

    /// Adds an entrance, after those there are.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn add_entrance(&mut self, mut listener: TcpListener) -> io::Result<()> {
        let token = Token(ENTRANCES + self.listeners.len());
        self.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        self.listeners.push(listener);
        Ok(())
    }

    /// The listeners of its entrances.
    pub fn entrances(&self) -> &[TcpListener] {
        &self.listeners
    }
}

impl Backend for MioBackend {
    type Stream = TcpStream;

    fn poll(&mut self, events: &mut Vec<Readiness>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        // A poll counts whole milliseconds, rounded up.
        if let Some(timeout) = timeout.filter(|timeout| timeout.subsec_nanos() % 1_000_000 != 0) {
            self.alarm.set(timeout)?;
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                events.extend(self.events.iter().filter_map(readiness));
                Ok(())
            }
        }
    }

    fn accept(&mut self, entrance: usize) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = self.listeners[entrance].accept()?;
        Ok((stream, peer.ip()))
    }

    fn register(&mut self, stream: &mut TcpStream, key: u32) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, Token(key as usize), interest)
    }

    fn forget(&mut self, stream: &mut TcpStream) {
        // One that was not registered brings no events either.
        let _ = self.poll.registry().deregister(stream);
    }

    fn close_entrances(&mut self) {
        for mut listener in self.listeners.drain(..) {
            // As above.
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn unix_ms(&self) -> u64 {
        clock::unix_ms()
    }
}

/// None where it only ended the sleep.
fn readiness(event: &Event) -> Option<Readiness> {
    let source = match event.token() {
        WAKER | ALARM => return None,
        Token(entrance) if entrance >= ENTRANCES => Source::Entrance(entrance - ENTRANCES),
        Token(key) => Source::Conn(key as u32),
    };
    Some(Readiness {
        source,
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed() || event.is_error(),
    })
}

impl Stream for TcpStream {
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, buffer)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn fail_after(&mut self, patience: Duration) -> io::Result<()> {
        socket::fail_after(self, patience)
    }

    fn reset_on_drop(&mut self) -> io::Result<()> {
        socket::reset_on_close(self)
    }
}

struct EventfdWake(Waker);

impl Wake for EventfdWake {
    fn wake(&self) {
        // A full eventfd already wakes the core; nothing else can fail while it is open.
        let _ = self.0.wake();
    }
}
