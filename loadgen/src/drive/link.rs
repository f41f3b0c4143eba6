//! The byte stream of a connection, plain or encrypted: non-blocking reads and writes, and the
//! number of bytes on the wire. Must not know frames.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use rustls::ClientConnection;

use crate::os::tls::TlsClient;

/// A socket, or a socket with a TLS session on top.
#[derive(Debug)]
pub enum Link {
    /// Plain bytes.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsLink>),
}

/// An encrypted link.
#[derive(Debug)]
pub struct TlsLink {
    socket: TcpStream,
    session: ClientConnection,
    /// Bytes taken from the socket that were not reported yet.
    wire_bytes: usize,
}

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Decrypted bytes; 0 means the end of the stream.
    pub bytes: usize,
    /// Bytes taken from the socket since the last read that returned data.
    pub wire_bytes: usize,
}

impl Link {
    /// An encrypted link. Its handshake starts with the first write and continues with every read
    /// and write; a request may be written before the handshake is complete and is sent after it.
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

    /// The socket, for registration with the poller.
    pub fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Link::Plain(socket) => socket,
            Link::Tls(link) => &mut link.socket,
        }
    }

    /// The socket, after ending the session.
    pub fn into_socket(self) -> TcpStream {
        match self {
            Link::Plain(socket) => socket,
            Link::Tls(link) => link.socket,
        }
    }

    /// Whether a read may return less than requested although more is available.
    pub fn is_buffering(&self) -> bool {
        matches!(self, Link::Tls(_))
    }

    /// Reads the available bytes, up to the length of `out`.
    #[inline]
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<Taken> {
        match self {
            Link::Plain(socket) => socket.read(out).map(|bytes| Taken { bytes, wire_bytes: bytes }),
            Link::Tls(link) => link.read(out),
        }
    }

    /// Writes what the link accepts. An encrypted link buffers a little more than its socket
    /// accepts, but nothing more while that buffer waits: see `push`.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Plain(socket) => socket.write(bytes),
            Link::Tls(link) => link.write(bytes),
        }
    }

    /// Writes the bytes that the link itself holds; returns whether none is left.
    pub fn push(&mut self) -> io::Result<bool> {
        match self {
            Link::Plain(_) => Ok(true),
            Link::Tls(link) => link.push(),
        }
    }

    /// Announces that nothing more will be written.
    pub fn close(&mut self) {
        if let Link::Tls(link) = self {
            link.session.send_close_notify();
            // The run is over, so it does not matter if the server cannot accept it.
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
            // Each iteration takes bytes from the socket or ends the loop.
            self.wire_bytes += self.session.read_tls(&mut self.socket)?;
            let processed = self.session.process_new_packets();
            // Sends the next handshake message, or the alert that says why the handshake failed.
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

/// Why a link failed, as a counter key. A TLS error gives more detail than the socket's error.
pub fn failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(refused) => format!("tls: {refused}"),
        None => crate::os::socket::failure_name(error).to_string(),
    }
}
