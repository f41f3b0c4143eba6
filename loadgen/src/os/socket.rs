//! Socket options, waiting, and per-thread settings of the operating system: the only file of the
//! crate with `unsafe`. Must not know WebSocket or what is measured.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::{CpuSet, UnshareFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::time::clock::mono_ns;
use crate::time::units::SECOND_NS;

/// Begins a connection without waiting for it.
///
/// `receive_bytes` limits the receive buffer, for sockets that must read slowly.
pub fn connect(
    target: SocketAddr,
    source: Option<IpAddr>,
    receive_bytes: Option<usize>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        bind_address_no_port(&socket)?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    match socket.connect(&SockAddr::from(target)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Whether a started connection is established; `Ok(false)` while it is in progress.
pub fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Drops a connection as a crashed host would: with a reset and without a close frame.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// Waits for events until a monotonic instant, with the precision of the kernel's timers. mio
/// itself rounds to milliseconds.
pub fn wait_until(poll: &mut Poll, events: &mut Events, deadline_ns: u64) -> io::Result<()> {
    let left_ns = deadline_ns.saturating_sub(mono_ns());
    if left_ns > 0 {
        let timeout = Timespec {
            tv_sec: (left_ns / SECOND_NS) as i64,
            tv_nsec: (left_ns % SECOND_NS) as i64,
        };
        let selector = poll.registry().as_fd();
        let mut ready = [PollFd::new(&selector, PollFlags::IN)];
        match rustix::event::poll(&mut ready, Some(&timeout)) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
    }
    poll_interruptible(poll, events, Duration::ZERO)
}

/// mio's poll; an interrupting signal gives an empty result.
pub fn poll_interruptible(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Duration,
) -> io::Result<()> {
    match poll.poll(events, Some(timeout)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        result => result,
    }
}

/// Gives the calling thread a descriptor table of its own, so that the limit of descriptors counts
/// per thread and the kernel need not lock a shared table. Must be called before the thread makes
/// any descriptor.
pub fn own_descriptors() -> io::Result<()> {
    // SAFETY: a descriptor made after this call is valid in this thread only. Every caller is a
    // subscriber thread that makes its selector and sockets afterwards, keeps them, and drops them
    // itself; nothing it hands out at its end holds a descriptor.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }.map_err(io::Error::from)
}

/// Pins the calling thread to CPU number `index`, modulo the number of CPUs.
pub fn pin(cpus: &[usize], index: usize) -> io::Result<()> {
    let Some(cpu) = cpus.get(index % cpus.len().max(1)) else { return Ok(()) };
    let mut set = CpuSet::new();
    if *cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such CPU"));
    }
    set.set(*cpu);
    rustix::thread::sched_setaffinity(None, &set).map_err(io::Error::from)
}

/// Makes the calling thread run as soon as it is due: no timer slack, and the lowest real-time
/// priority, so that it preempts threads which share its CPU. If real-time priority is not
/// permitted, it takes a better nice value.
pub fn make_punctual() -> io::Result<()> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let real_time = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 means the calling thread, and the parameter is a live value of the type asked for.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const real_time) } == 0 {
        return Ok(());
    }
    rustix::process::setpriority_process(None, PUNCTUAL_NICE).map_err(io::Error::from)
}

/// A short, stable name of an I/O error, used as a counter key.
pub fn failure_name(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "reset",
        io::ErrorKind::BrokenPipe => "broken pipe",
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::AddrNotAvailable => "no free port",
        io::ErrorKind::AddrInUse => "address in use",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        io::ErrorKind::PermissionDenied => "permission denied",
        _ => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => "no free descriptor",
            Some(libc::ENOBUFS | libc::ENOMEM) => "no memory",
            _ => "other error",
        },
    }
}

/// Whether a failure of that name is for want of something on this host: any other is the peer's.
pub fn is_local(name: &str) -> bool {
    LOCAL_FAILURES.contains(&name)
}

const LOCAL_FAILURES: [&str; 6] = [
    "no free port",
    "address in use",
    "permission denied",
    "no free descriptor",
    "no memory",
    "other error",
];

/// Lets the kernel choose the local port at connect time, when it knows the whole four-tuple: a
/// source address is then good for a full port range per target.
fn bind_address_no_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open for the whole call, and the value pointer and size describe a
    // live `c_int`, which is what this option reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const PUNCTUAL_NICE: i32 = -10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn sockets_connect_from_the_source_they_are_given() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let source = IpAddr::from([127, 1, 2, 3]);
        let target = listener.local_addr().unwrap();
        let stream = connect(target, Some(source), Some(4096)).unwrap();
        let (_peer, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), source);
        assert!(is_connected(&stream).unwrap());
    }

    #[test]
    fn a_wait_without_events_lasts_until_its_deadline() {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        let deadline_ns = mono_ns() + 2_000_000;
        wait_until(&mut poll, &mut events, deadline_ns).unwrap();
        assert!(mono_ns() >= deadline_ns && events.is_empty());
    }
}
