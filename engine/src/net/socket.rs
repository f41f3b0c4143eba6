//! Sockets as the kernel gives them: listeners with the options mio does not set, and a private
//! descriptor table per core. Must not know HTTP, WebSocket or feeds.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use rustix::process::{Resource, Rlimit};
use rustix::thread::UnshareFlags;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};

/// Connections the kernel may hold completed but not yet accepted; it caps this at `somaxconn`.
const BACKLOG: i32 = 65_535;

/// Opens a listener that shares its address with those of the other cores. Accepted sockets inherit
/// no-delay and, if above zero, `send_buffer_bytes`.
///
/// # Errors
/// As `socket(2)`, `bind(2)` and `listen(2)`.
pub fn listen(address: SocketAddr, send_buffer_bytes: usize) -> io::Result<TcpListener> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    if send_buffer_bytes > 0 {
        socket.set_send_buffer_size(send_buffer_bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Fails when another process listens on `address`. Listeners that share a port would otherwise
/// share it with a second engine as well, and clients would be split between the two unseen.
///
/// # Errors
/// As `bind(2)`: `AddrInUse` when the address is taken.
pub fn claim(address: SocketAddr) -> io::Result<()> {
    open(address)?.bind(&address.into())
}

fn open(address: SocketAddr) -> io::Result<RawSocket> {
    let domain = Domain::for_address(address);
    let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Has the kernel end the connection once its peer has acknowledged or taken nothing of what was
/// sent for `patience`: left to itself, it goes on trying for a quarter of an hour, or for ever.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn fail_after(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(patience))
}

/// Has the kernel forget unsent bytes and reset the connection when `stream` is dropped.
///
/// # Errors
/// As `setsockopt(2)`.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Raises the limit of descriptors to what the process may have. Per core, where each has a table
/// of its own.
///
/// # Errors
/// As `setrlimit(2)`.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

/// Gives the calling thread a descriptor table of its own: a copy of what is open now, into which
/// only it opens more. The per-process descriptor limit then holds per thread, and the kernel need
/// not count references on a shared table.
///
/// # Errors
/// As `unshare(2)`; the thread goes on sharing its table then.
pub fn unshare_descriptors() -> io::Result<()> {
    // SAFETY: descriptors are owned by values that stay on one thread from here on. Those that
    // other threads use (wakers) were opened before and so are in every table; each table's copy is
    // closed by its own thread's end, never by another's.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }?;
    Ok(())
}
