//! The byte stream of a connection, plain or encrypted: non-blocking reads and writes, and how much
//! of it was on the wire. Must not know frames.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use rustls::ClientConnection;

use crate::os::tls::TlsClient;

/// A socket, or a socket with a session over it.
#[derive(Debug)]
pub enum Link {
    /// Bytes as they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsLink>),
}

/// An encrypted link.
#[derive(Debug)]
pub struct TlsLink {
    socket: TcpStream,
    session: ClientConnection,
    /// Bytes taken from the socket that nobody has asked about.
    wire_bytes: usize,
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Bytes for the reader; 0 is the end.
    pub bytes: usize,
    /// Bytes taken from the socket for them, and since the last read that brought any.
    pub wire_bytes: usize,
}

impl Link {
    /// An encrypted link. Its handshake begins with the first write, which may be a request that
    /// waits for the handshake, and goes on with every read and write.
    pub fn encrypted(socket: TcpStream, client: &TlsClient) -> io::Result<Link> {
        let session = client.session().map_err(io::Error::other)?;
        Ok(Link::Tls(Box::new(TlsLink { socket, session, wire_bytes: 0 })))
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Link::Plain(socket) => socket,
            Link::Tls(link) => &link.socket,
        }
    }

    /// The socket, to be registered.
    pub fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Link::Plain(socket) => socket,
            Link::Tls(link) => &mut link.socket,
        }
    }

    /// The socket, and an end to the session.
    pub fn into_socket(self) -> TcpStream {
        match self {
            Link::Plain(socket) => socket,
            Link::Tls(link) => link.socket,
        }
    }

    /// Whether a read may bring less than was asked for although there is more.
    pub fn is_buffering(&self) -> bool {
        matches!(self, Link::Tls(_))
    }

    /// Reads what there is, up to the length of `out`.
    #[inline]
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<Taken> {
        match self {
            Link::Plain(socket) => socket.read(out).map(|bytes| Taken { bytes, wire_bytes: bytes }),
            Link::Tls(link) => link.read(out),
        }
    }

    /// Writes what the link takes. An encrypted one takes a little more than its socket, but no
    /// more while that waits: see `push`.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Plain(socket) => socket.write(bytes),
            Link::Tls(link) => link.write(bytes),
        }
    }

    /// Writes what the link itself still holds; whether that was all.
    pub fn push(&mut self) -> io::Result<bool> {
        match self {
            Link::Plain(_) => Ok(true),
            Link::Tls(link) => link.push(),
        }
    }

    /// Says that nothing more will be written.
    pub fn close(&mut self) {
        if let Link::Tls(link) = self {
            link.session.send_close_notify();
            // The run is over: a server that cannot take it loses nothing.
            let _ = link.push();
        }
    }
}

impl TlsLink {
    fn read(&mut self, out: &mut [u8]) -> io::Result<Taken> {
        loop {
            match self.session.reader().read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    let wire_bytes = std::mem::take(&mut self.wire_bytes);
                    return read.map(|bytes| Taken { bytes, wire_bytes });
                }
            }
            // Each turn takes bytes from the socket, or ends the loop.
            self.wire_bytes += self.session.read_tls(&mut self.socket)?;
            let processed = self.session.process_new_packets();
            // What the handshake has to say next, or why it failed.
            let pushed = self.push();
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            pushed?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.push()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.session.writer().write(bytes)?;
        self.push()?;
        Ok(written)
    }

    fn push(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Why a link failed, to count by: an encrypted one may have more to say than its socket.
pub fn failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(refused) => format!("tls: {refused}"),
        None => crate::os::socket::failure_name(error).to_string(),
    }
}
