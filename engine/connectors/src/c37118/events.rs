//! What happens on sockets, as one sequence of events: connections that open and close, bytes,
//! datagrams. Owns the tasks that read. Must not know frames.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gridcast::clock::Clock;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::settings::Device;
use super::streams::Peer;
use crate::bridge::backoff::Backoff;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A connection stands.
    Opened(Opened),
    /// A connection brought bytes.
    Bytes(Peer, Bytes),
    /// A datagram came.
    Datagram(Peer, Bytes),
    /// A connection ended, or could not be made: and why.
    Closed(Peer, String),
}

/// A new connection.
#[derive(Debug)]
pub struct Opened {
    /// Who it is from here on.
    pub peer: Peer,
    /// The IDCODE that it is asked for data of.
    pub id: Option<u16>,
    /// Its writing half.
    pub writer: OwnedWriteHalf,
    /// Its reader ends when this is dropped.
    pub closer: oneshot::Sender<()>,
}

/// Where events go.
pub type Events = mpsc::Sender<Event>;

/// Events that wait to be worked on; then readers wait, and senders with them.
pub const EVENTS_MAX: usize = 256;
/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;

/// Keeps a connection to a device. One that `is_only` ends with its first connection, for then the
/// session ends; others are tried again and again.
pub async fn keep(device: Device, peer: Peer, answer: Duration, is_only: bool, events: Events) {
    let (clock, mut backoff) = (Clock::start(), Backoff::default());
    loop {
        let mut up_ns = 0;
        let ended = match timeout(answer, TcpStream::connect(&device.address)).await {
            Ok(Ok(stream)) => {
                let began_ns = clock.now_ns();
                let ended = read_stream(stream, peer, Some(device.id), &events).await;
                up_ns = clock.now_ns() - began_ns;
                ended
            }
            Ok(Err(error)) => format!("cannot connect: {error}"),
            Err(_) => "cannot connect: no answer within `answer_ms`".to_owned(),
        };
        let reason = format!("{}: {ended}", device.address);
        if events.send(Event::Closed(peer, reason)).await.is_err() || is_only {
            return;
        }
        sleep(backoff.pause(Duration::from_nanos(up_ns))).await;
    }
}

/// Takes connections. Those beyond `connections_max` are closed at once, and told.
pub async fn accept(
    listener: TcpListener,
    id: Option<u16>,
    connections_max: usize,
    events: Events,
) {
    let mut next = 1;
    let free = Arc::new(tokio::sync::Semaphore::new(connections_max));
    loop {
        let Ok((stream, address)) = listener.accept().await else {
            // Descriptors have run out: others will be closed.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (peer, events) = (Peer(next), events.clone());
        next += 1;
        let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
            let reason = format!("{address}: `connections_max` ({connections_max}) are open");
            if events.send(Event::Closed(peer, reason)).await.is_err() {
                return;
            }
            continue;
        };
        tokio::spawn(async move {
            let ended = read_stream(stream, peer, id, &events).await;
            drop(permit);
            // Where nobody listens any more, the session is over.
            let _ = events.send(Event::Closed(peer, format!("{address}: {ended}"))).await;
        });
    }
}

/// Reads a connection to its end, and says why that came.
async fn read_stream(stream: TcpStream, peer: Peer, id: Option<u16>, events: &Events) -> String {
    // It speaks as well without: what is sent are a few short commands.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (closer, closed) = oneshot::channel();
    let opened = Event::Opened(Opened { peer, id, writer, closer });
    if events.send(opened).await.is_err() {
        return String::new();
    }
    tokio::select! {
        ended = read(reader, peer, events) => match ended {
            Ok(()) => "closed by the device".to_owned(),
            Err(error) => error.to_string(),
        },
        _ = closed => "closed here".to_owned(),
    }
}

async fn read(mut reader: OwnedReadHalf, peer: Peer, events: &Events) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_BYTES);
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if events.send(Event::Bytes(peer, buffer.split().freeze())).await.is_err() {
            return Ok(());
        }
    }
}

/// Takes datagrams. Where `owner` is given, all of them count as its.
pub async fn receive(
    socket: Arc<UdpSocket>,
    owner: Option<Peer>,
    events: Events,
) -> io::Result<()> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (bytes, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // What a datagram of ours was answered with; the socket goes on.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let datagram = Bytes::copy_from_slice(buffer.get(..bytes).unwrap_or_default());
        let peer = owner.unwrap_or_else(|| sender(from));
        if events.send(Event::Datagram(peer, datagram)).await.is_err() {
            return Ok(());
        }
    }
}

/// A sender of datagrams, told from others by address and port.
fn sender(address: SocketAddr) -> Peer {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    Peer(hasher.finish())
}

/// A socket for datagrams to an address; a multicast group is joined. Others on this host may use
/// the same group.
///
/// # Errors
/// What the kernel says, with the address.
pub fn bind(
    address: SocketAddr,
    interface: Option<IpAddr>,
    receive_buffer_bytes: usize,
) -> io::Result<UdpSocket> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("udp://{address}: {error}"));
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel may allow less; what is lost then shows as missing frames.
    let _ = socket.set_recv_buffer_size(receive_buffer_bytes);
    if address.ip().is_multicast() {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into()).map_err(told)?;
    match (address.ip(), interface) {
        (IpAddr::V4(group), interface) if group.is_multicast() => {
            let interface = match interface {
                Some(IpAddr::V4(interface)) => interface,
                _ => std::net::Ipv4Addr::UNSPECIFIED,
            };
            socket.join_multicast_v4(&group, &interface).map_err(told)?;
        }
        (IpAddr::V6(group), _) if group.is_multicast() => {
            socket.join_multicast_v6(&group, 0).map_err(told)?;
        }
        _ => {}
    }
    UdpSocket::from_std(socket.into())
}
