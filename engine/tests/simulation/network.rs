//! A network without a kernel: connections that take a few bytes, stall, come back, end or break,
//! events as `epoll` reports them when they are edges, and a clock that moves when it is told to.
//! Owns what a core may see of the world, as its [`Backend`]. Must not know what the bytes mean.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gridcast::delivery::doorbell::Wake;
use gridcast::net::backend::{Backend, Readiness, Source, Stream};
use rustix::io::Errno;

/// UTC when a simulation begins, ms.
pub const UNIX_MS: u64 = 1_800_000_000_000;

/// Time, shared by all of a simulation.
#[derive(Clone, Debug)]
pub struct FakeClock {
    now_ns: Rc<Cell<u64>>,
    look_ns: u64,
}

impl FakeClock {
    /// A clock on which each look of a core takes `look_ns`: work takes time.
    pub fn new(look_ns: u64) -> Self {
        Self { now_ns: Rc::new(Cell::new(1_000)), look_ns }
    }

    /// The time, without making any pass.
    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// Lets time pass.
    pub fn advance(&self, by_ns: u64) {
        self.now_ns.set(self.now_ns.get() + by_ns);
    }
}

/// Rung when a sleeping core has to wake.
#[derive(Clone, Debug, Default)]
pub struct FakeWake(Arc<AtomicBool>);

impl FakeWake {
    /// Whether it was rung since the last call.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Whether it was rung.
    pub fn is_rung(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for FakeWake {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a core did, as its backend saw it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Calls that read.
    pub reads: usize,
    /// Bytes they brought.
    pub read_bytes: usize,
    /// Calls that wrote, or tried to.
    pub writes: usize,
    /// Bytes they took.
    pub written_bytes: usize,
    /// Connections accepted.
    pub accepts: usize,
    /// Connections dropped.
    pub drops: usize,
}

/// What the backend of one core and the simulation share.
#[derive(Clone, Debug, Default)]
pub struct Port(Rc<RefCell<PortState>>);

#[derive(Debug, Default)]
struct PortState {
    /// Who waits to be accepted.
    waiting: VecDeque<Wire>,
    has_arrivals: bool,
    /// What the next calls that accept fail with.
    accept_errors: VecDeque<Errno>,
    /// Connections with something to report, each once.
    eventful: VecDeque<Wire>,
    /// Those that are registered, by key.
    registered: HashMap<u32, Wire>,
    /// Connections that one poll reports at most; 0 sets no limit.
    events_max: usize,
    work: Work,
}

impl Port {
    /// A new connection, from a client of the network 10.0.0.0/24.
    pub fn connect(&self, host: u8) -> Wire {
        self.connect_from(IpAddr::from([10, 0, 0, host]))
    }

    /// A new connection, from a client at `source`.
    pub fn connect_from(&self, source: IpAddr) -> Wire {
        let wire = Wire(Rc::new(RefCell::new(WireState {
            port: self.clone(),
            source,
            key: None,
            event: Event::default(),
            to_engine: Vec::new(),
            read: 0,
            to_engine_ended: false,
            from_engine: Vec::new(),
            from_engine_ended: false,
            room: 0,
            wants_room: false,
            refusals: 0,
            broken: false,
            calls: 0,
            is_dropped: false,
        })));
        let mut port = self.0.borrow_mut();
        port.waiting.push_back(wire.clone());
        port.has_arrivals = true;
        wire
    }

    /// Has the next call that accepts fail. `ECONNABORTED` takes with it the connection that was
    /// next; others leave it waiting.
    pub fn fail_accept(&self, error: Errno) {
        self.0.borrow_mut().accept_errors.push_back(error);
    }

    /// Whether a core that sleeps here would wake.
    pub fn has_events(&self) -> bool {
        let port = self.0.borrow();
        port.has_arrivals || !port.eventful.is_empty()
    }

    /// The connection that its core knows as `key`.
    pub fn wire(&self, key: u32) -> Option<Wire> {
        self.0.borrow().registered.get(&key).cloned()
    }

    /// Has the next poll report `count` connections at most, and the others later; 0 sets no limit.
    pub fn set_events_max(&self, count: usize) {
        self.0.borrow_mut().events_max = count;
    }

    /// What was done since the last call.
    pub fn take_work(&self) -> Work {
        std::mem::take(&mut self.0.borrow_mut().work)
    }

    /// Lets go of everything, for wires and ports hold each other.
    pub fn clear(&self) {
        *self.0.borrow_mut() = PortState::default();
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Event {
    readable: bool,
    writable: bool,
    read_closed: bool,
}

/// A connection, as its client holds it.
#[derive(Clone)]
pub struct Wire(Rc<RefCell<WireState>>);

/// Only its key: wires and ports hold each other.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wire").field(&self.0.borrow().key).finish()
    }
}

#[derive(Debug)]
struct WireState {
    port: Port,
    source: IpAddr,
    /// The core's, once it has accepted and registered it.
    key: Option<u32>,
    /// What has happened and was not reported yet.
    event: Event,
    to_engine: Vec<u8>,
    /// Of these, how many the engine has read.
    read: usize,
    to_engine_ended: bool,
    from_engine: Vec<u8>,
    from_engine_ended: bool,
    /// Bytes it takes from the engine before it stalls.
    room: usize,
    /// The engine was refused bytes since it last had room: an edge is owed.
    wants_room: bool,
    refusals: usize,
    broken: bool,
    /// Calls of the engine, some of which are interrupted.
    calls: usize,
    /// The engine has let go of it.
    is_dropped: bool,
}

impl Wire {
    fn state(&self) -> RefMut<'_, WireState> {
        self.0.borrow_mut()
    }

    /// Sends bytes to the engine.
    pub fn send(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.state().to_engine.extend_from_slice(bytes);
            self.report(|event| event.readable = true);
        }
    }

    /// Says that nothing more follows.
    pub fn end(&self) {
        self.state().to_engine_ended = true;
        self.report(|event| (event.readable, event.read_closed) = (true, true));
    }

    /// Breaks off.
    pub fn reset(&self) {
        self.state().broken = true;
        self.report(|event| {
            *event = Event { readable: true, writable: true, read_closed: true };
        });
    }

    /// Takes `bytes` more from the engine.
    pub fn give_room(&self, bytes: usize) {
        let mut state = self.state();
        state.room = state.room.saturating_add(bytes);
        if std::mem::take(&mut state.wants_room) && bytes > 0 {
            drop(state);
            self.report(|event| event.writable = true);
        }
    }

    /// An event that says nothing new, as the kernel reports them now and then.
    pub fn report_writable(&self) {
        if self.state().room > 0 {
            self.report(|event| event.writable = true);
        }
    }

    /// What the engine has sent so far.
    pub fn received(&self) -> RefMut<'_, Vec<u8>> {
        RefMut::map(self.state(), |state| &mut state.from_engine)
    }

    /// How often the engine was refused bytes, whole or in part.
    pub fn refusals(&self) -> usize {
        self.state().refusals
    }

    /// Whether an event will come by which the engine learns that it may write.
    pub fn owes_event(&self) -> bool {
        let state = self.state();
        state.wants_room || state.event.writable
    }

    /// Whether the engine will send no more.
    pub fn is_ended(&self) -> bool {
        let state = self.state();
        state.from_engine_ended || state.is_dropped
    }

    /// Whether the engine has let go of it.
    pub fn is_dropped(&self) -> bool {
        self.state().is_dropped
    }

    /// Whether the client has broken it off.
    pub fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Whether the client has said that nothing more follows.
    pub fn has_sent_end(&self) -> bool {
        let state = self.state();
        state.to_engine_ended || state.broken
    }

    fn report(&self, what: impl FnOnce(&mut Event)) {
        let mut state = self.state();
        if state.is_dropped {
            return;
        }
        let Event { readable, writable, read_closed } = state.event;
        what(&mut state.event);
        let is_queued = readable || writable || read_closed;
        if state.key.is_some() && !is_queued {
            state.port.0.borrow_mut().eventful.push_back(self.clone());
        }
    }
}

/// What one core sees: see the file header.
#[derive(Debug)]
pub struct FakeBackend {
    port: Port,
    clock: FakeClock,
}

impl FakeBackend {
    /// The core's side of `port`.
    pub fn new(port: Port, clock: FakeClock) -> Self {
        Self { port, clock }
    }
}

impl Backend for FakeBackend {
    type Stream = FakeStream;

    /// Whoever calls has made sure that there is something to wake up for.
    fn poll(&mut self, events: &mut Vec<Readiness>, _: Option<Duration>) -> io::Result<()> {
        let mut port = self.port.0.borrow_mut();
        events.clear();
        if std::mem::take(&mut port.has_arrivals) {
            events.push(Readiness {
                source: Source::Entrance(0),
                readable: true,
                writable: false,
                read_closed: false,
            });
        }
        let count = match port.events_max {
            0 => port.eventful.len(),
            count => count.min(port.eventful.len()),
        };
        for wire in port.eventful.drain(..count) {
            let mut state = wire.state();
            let Event { readable, writable, read_closed } = std::mem::take(&mut state.event);
            if let (Some(key), false) = (state.key, state.is_dropped) {
                events.push(Readiness {
                    source: Source::Conn(key),
                    readable,
                    writable,
                    read_closed,
                });
            }
        }
        Ok(())
    }

    fn accept(&mut self, _: usize) -> io::Result<(FakeStream, IpAddr)> {
        let mut port = self.port.0.borrow_mut();
        if let Some(error) = port.accept_errors.pop_front() {
            let gone = (error == Errno::CONNABORTED).then(|| port.waiting.pop_front()).flatten();
            if let Some(wire) = gone {
                let mut state = wire.state();
                (state.broken, state.is_dropped) = (true, true);
            }
            return Err(error.into());
        }
        let wire = port.waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        port.work.accepts += 1;
        let source = wire.state().source;
        Ok((FakeStream(wire), source))
    }

    fn register(&mut self, stream: &mut FakeStream, key: u32) -> io::Result<()> {
        let mut state = stream.0.state();
        state.key = Some(key);
        // As `epoll_ctl` does: what holds already is reported as well.
        state.event.writable = true;
        drop(state);
        let mut port = self.port.0.borrow_mut();
        port.eventful.push_back(stream.0.clone());
        port.registered.insert(key, stream.0.clone());
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.clock.advance(self.clock.look_ns);
        self.clock.now_ns()
    }

    fn unix_ms(&self) -> u64 {
        UNIX_MS + self.clock.now_ns() / 1_000_000
    }
}

/// A connection, as the engine holds it.
#[derive(Debug)]
pub struct FakeStream(Wire);

impl FakeStream {
    fn work(&self, note: impl FnOnce(&mut Work)) {
        let port = self.0.state().port.clone();
        note(&mut port.0.borrow_mut().work);
    }

    /// As signals do now and then.
    fn interrupt(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.calls += 1;
        if state.calls.is_multiple_of(29) { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    fn copy_unread(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.0.state();
        if state.broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let unread = &state.to_engine[state.read..];
        if unread.is_empty() && !state.to_engine_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = unread.len().min(buffer.len());
        buffer[..count].copy_from_slice(&unread[..count]);
        Ok(count)
    }
}

impl Stream for FakeStream {
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.copy_unread(buffer)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut state = self.0.state();
        if state.broken {
            return Err(ErrorKind::NotConnected.into());
        }
        state.from_engine_ended = true;
        Ok(())
    }

    /// Nobody is gone here without a word.
    fn fail_after(&mut self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_drop(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for FakeStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt()?;
        let count = self.copy_unread(buffer);
        let bytes = count.as_ref().map_or(0, |count| *count);
        self.work(|work| {
            work.reads += 1;
            work.read_bytes += bytes;
        });
        let mut state = self.0.state();
        state.read += bytes;
        if state.read == state.to_engine.len() {
            state.to_engine.clear();
            state.read = 0;
        }
        count
    }
}

impl Write for FakeStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.interrupt()?;
        let mut state = self.0.state();
        if state.broken || state.from_engine_ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = state.room;
        for slice in slices {
            let part = slice.len().min(state.room);
            state.from_engine.extend_from_slice(&slice[..part]);
            state.room -= part;
        }
        let taken = room - state.room;
        if taken < slices.iter().map(|slice| slice.len()).sum() {
            state.wants_room = true;
            state.refusals += 1;
        }
        drop(state);
        self.work(|work| {
            work.writes += 1;
            work.written_bytes += taken;
        });
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.work(|work| work.drops += 1);
        self.0.state().is_dropped = true;
    }
}
