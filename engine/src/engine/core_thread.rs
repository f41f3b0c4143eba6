//! The thread of a core: its descriptor table, its entrances, and what the engine tells it while
//! it stands still. Owns that whatever has a descriptor of the core is opened, sent and closed on
//! this thread. Must not decide when a core stands still.

use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender};
use mio::net::{TcpListener, TcpStream};
use socket2::SockRef;

use crate::core::Core;
use crate::core::handed::HandedConn;
use crate::core::shared::Shared;
use crate::engine::handover;
use crate::engine::handover::message::CoreParcel;
use crate::http::route::Door;
use crate::net::descriptors::Room;
use crate::net::mio_backend::MioBackend;
use crate::net::passing::{DESCRIPTORS_MAX, PATIENCE, Parcel, Passage};
use crate::net::socket;
use crate::wire::packed::Packed;

/// Where an engine listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) clients: SocketAddr,
    /// Only the first core listens there.
    pub(super) admins: Option<SocketAddr>,
}

/// How a core comes by its entrances.
#[derive(Debug)]
pub(super) enum Way {
    /// It opens them.
    Listen(Addresses),
    /// It is given them, and connections, by a core of another process that connects here.
    TakeOver(PathBuf),
}

/// What a core that stands still is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Send all you have to the core that waits at this path.
    Send(PathBuf),
    /// Go on: another process has not taken over.
    GoOn,
    /// Let go of what you sent, and drain the rest.
    LetGo,
    /// Serve what you were given.
    Serve,
}

/// What a core tells.
#[derive(Debug)]
pub(super) enum Report {
    /// It listens here; or at its path, for a core of another process.
    Listening(io::Result<Addresses>),
    /// It stands still.
    Paused,
    /// It has sent so many connections.
    Sent(io::Result<usize>),
    /// It was given so many connections.
    Received(io::Result<usize>),
    /// It serves them.
    Serving(io::Result<()>),
}

/// The core's end of what the engine and it say to one another.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) orders: Receiver<Order>,
    pub(super) reports: Sender<Report>,
}

impl Line {
    fn report(&self, report: Report) {
        // The engine is gone: then the core is stopped, and will see that.
        let _ = self.reports.send(report);
    }
}

/// What a core was given.
#[derive(Debug, Default)]
struct Received {
    entrances: Vec<(Door, OwnedFd)>,
    conns: Vec<(HandedConn, OwnedFd)>,
}

/// The body of the thread of the core `index`.
///
/// # Errors
/// When the kernel no longer reports events.
pub(super) fn run(
    shared: Arc<Shared>,
    index: usize,
    mut backend: MioBackend,
    way: Way,
    line: &Line,
) -> io::Result<()> {
    let sharers = unshare(&shared, index);
    let (room, wanted, received) = match way {
        Way::Listen(wanted) => {
            let wanted = Addresses { admins: wanted.admins.filter(|_| index == 0), ..wanted };
            let send_buffer_bytes = shared.config.load().flush.send_buffer_bytes;
            let listening = listen(wanted, send_buffer_bytes, &mut backend);
            let is_listening = listening.is_ok();
            let room = Room::measure(sharers);
            measure(&shared, index, room);
            line.report(Report::Listening(listening));
            if !is_listening {
                return Ok(());
            }
            (room, Some(wanted), Received::default())
        }
        Way::TakeOver(path) => {
            let room = Room::measure(sharers);
            measure(&shared, index, room);
            let Some(received) = take_over(&path, line) else { return Ok(()) };
            (room, None, received)
        }
    };
    let has_admins = shared.config.load().admin.listen.is_some();
    let doors = match wanted {
        Some(wanted) => doors_of(wanted, has_admins),
        None => received.entrances.iter().map(|(door, _)| *door).collect(),
    };
    let mut core = Core::new(shared, index, backend, &doors);
    core.room = room;
    if wanted.is_none() {
        line.report(Report::Serving(serve(&mut core, received)));
    }
    loop {
        core.run()?;
        if core.shared.is_stopped() {
            return Ok(());
        }
        stand_still(&mut core, line);
    }
}

fn unshare(shared: &Shared, index: usize) -> usize {
    let unshared = socket::unshare_descriptors();
    if let Err(error) = &unshared {
        tracing::warn!(core = index, %error, "cores share one descriptor table and its limit");
    }
    if unshared.is_ok() { 1 } else { shared.cores() }
}

fn measure(shared: &Shared, index: usize, room: Room) {
    shared.port(index).metrics.set_room(room.connections, room.open, room.limit);
}

fn doors_of(wanted: Addresses, has_admins: bool) -> Vec<Door> {
    let first = if has_admins { Door::Clients } else { Door::All };
    iter::once(first).chain(wanted.admins.map(|_| Door::Admins)).collect()
}

/// Opens the entrances of a core: the clients' and, where one is wanted, the administrators'.
fn listen(
    wanted: Addresses,
    send_buffer_bytes: usize,
    backend: &mut MioBackend,
) -> io::Result<Addresses> {
    let mut open = |address| -> io::Result<SocketAddr> {
        let listener = socket::listen(address, send_buffer_bytes)?;
        let listens = listener.local_addr()?;
        backend.add_entrance(listener)?;
        Ok(listens)
    };
    Ok(Addresses { clients: open(wanted.clients)?, admins: wanted.admins.map(open).transpose()? })
}

// ---- the old process

/// Does what it is told until it is told to go on.
fn stand_still(core: &mut Core<MioBackend>, line: &Line) {
    line.report(Report::Paused);
    let mut sent = Vec::new();
    loop {
        match line.orders.recv() {
            Ok(Order::Send(path)) => {
                sent = core.begin_handing();
                let result = send_all(core, &path, &mut sent);
                line.report(Report::Sent(result.map(|()| sent.len())));
            }
            Ok(Order::LetGo) => {
                sent.iter().for_each(|&key| core.let_go(key));
                return core.close_entrances();
            }
            Ok(Order::GoOn | Order::Serve) | Err(_) => return,
        }
    }
}

/// Sends entrances and connections; keeps of `keys` those that were sent.
fn send_all(core: &mut Core<MioBackend>, path: &Path, keys: &mut Vec<u32>) -> io::Result<()> {
    let mut passage = Passage::new(UnixStream::connect(path)?)?;
    let doors = core.entrances.iter().map(|entrance| entrance.door).collect();
    let listeners: Vec<BorrowedFd<'_>> = core.backend.entrances().iter().map(AsFd::as_fd).collect();
    passage.send(&CoreParcel::Entrances(doors).packed(), &listeners)?;
    let all = std::mem::take(keys);
    for some in all.chunks(DESCRIPTORS_MAX) {
        let mut conns = Vec::new();
        let first = keys.len();
        for &key in some {
            if let Some(conn) = core.hand(key) {
                conns.push(conn);
                keys.push(key);
            }
        }
        let sockets = keys.iter().skip(first).filter_map(|&key| core.socket(key));
        let sockets: Vec<BorrowedFd<'_>> = sockets.map(AsFd::as_fd).collect();
        passage.send(&CoreParcel::Conns(conns).packed(), &sockets)?;
    }
    passage.send(&CoreParcel::End.packed(), &[])
}

// ---- the new process

/// What a core of the other process gave, once it is to be served; none when it is not.
fn take_over(path: &Path, line: &Line) -> Option<Received> {
    let nowhere = Addresses { clients: ([0, 0, 0, 0], 0).into(), admins: None };
    let (bound, told) = match handover::bind(path) {
        Ok(listener) => (Some(listener), Ok(nowhere)),
        Err(error) => {
            (None, Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))))
        }
    };
    line.report(Report::Listening(told));
    let received = receive_all(bound?, path);
    let (received, told) = match received {
        Ok(received) => {
            let count = received.conns.len();
            (Some(received), Ok(count))
        }
        Err(error) => (None, Err(error)),
    };
    line.report(Report::Received(told));
    let received = received?;
    matches!(line.orders.recv(), Ok(Order::Serve)).then_some(received)
}

fn receive_all(listener: UnixListener, path: &Path) -> io::Result<Received> {
    // Accepting is a kind of reading.
    SockRef::from(&listener).set_read_timeout(Some(2 * PATIENCE))?;
    let (stream, _) = listener.accept()?;
    drop(listener);
    // It is of no use any more; nobody is hurt if it stays.
    let _ = std::fs::remove_file(path);
    let mut passage = Passage::new(stream)?;
    let mut received = Received::default();
    loop {
        let Parcel { bytes, descriptors } = passage.receive()?;
        let mut descriptors = descriptors.into_iter();
        match CoreParcel::unpacked(&bytes).map_err(io::Error::other)? {
            CoreParcel::Entrances(doors) if doors.len() == descriptors.len() => {
                received.entrances.extend(doors.into_iter().zip(&mut descriptors));
            }
            CoreParcel::Conns(conns) if conns.len() == descriptors.len() => {
                received.conns.extend(conns.into_iter().zip(&mut descriptors));
            }
            CoreParcel::End => return Ok(received),
            _ => return Err(io::Error::other("not a descriptor for each")),
        }
    }
}

/// Opens the entrances that a core was given, and goes on with the connections.
fn serve(core: &mut Core<MioBackend>, received: Received) -> io::Result<()> {
    for (_, listener) in received.entrances {
        core.backend.add_entrance(TcpListener::from_std(StdListener::from(listener)))?;
    }
    core.begin_taking();
    let mut served = Ok(());
    for (conn, stream) in received.conns {
        let taken = core.take_in(conn, TcpStream::from_std(StdStream::from(stream)));
        served = served.and(taken);
    }
    served
}
