//! The socket of a connection, plain or with a TLS session on it. Owns what differs between the
//! two. Must not know what the bytes mean, or when to read and write.

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustls::ServerConfig;

use crate::delivery::flush::Socket;
use crate::metrics::TlsFailure;
use crate::net::backend::Stream;
use crate::net::reading::Reading;
use crate::net::tls::session::{Scratch, TlsStream};

/// See the file header.
#[derive(Debug)]
pub enum Transport<S> {
    /// Bytes as they are.
    Plain(S),
    /// Bytes in a TLS session.
    Tls(Box<TlsStream<S>>),
}

/// A transport with the scratch memory of its core, to be written to.
#[derive(Debug)]
pub struct Wire<'a, S> {
    transport: &'a mut Transport<S>,
    scratch: &'a mut Scratch,
}

impl<S: Stream> Transport<S> {
    /// A socket whose first bytes are the beginning of a TLS handshake.
    ///
    /// # Errors
    /// When the settings allow no session at all.
    pub fn secure(socket: S, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self::Tls(Box::new(TlsStream::new(socket, config)?)))
    }

    /// Reads once from the socket; what that brought, deciphered, is put into `buffer`. Nothing
    /// that could be put there stays behind: only the kernel has more.
    ///
    /// # Errors
    /// As `read(2)`, and `InvalidData` for what is no TLS.
    pub fn read(&mut self, buffer: &mut [u8], scratch: &mut Scratch) -> io::Result<Reading> {
        match self {
            Self::Plain(socket) => {
                let bytes = socket.read(buffer)?;
                let (filled, ended) = (bytes == buffer.len(), bytes == 0);
                Ok(Reading { bytes, filled, ended, ..Reading::default() })
            }
            Self::Tls(stream) => stream.read(buffer, scratch),
        }
    }

    /// To be written to.
    pub fn wire<'a>(&'a mut self, scratch: &'a mut Scratch) -> Wire<'a, S> {
        Wire { transport: self, scratch }
    }

    /// The kernel's socket, where no TLS session is on it.
    pub fn plain(&self) -> Option<&S> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    /// The kernel's socket.
    pub fn stream_mut(&mut self) -> &mut S {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }

    /// Sends bytes past a TLS session, to a peer that cannot understand one. Only as many as go
    /// at once: it is the last that such a peer is told.
    pub fn write_past(&mut self, bytes: &[u8]) {
        // A peer that does not take them is not told.
        let _ = self.stream_mut().write(bytes);
    }

    /// Ends a TLS session in good order, once what was taken is out. False while the end of it
    /// waits for the socket, to be pushed when that takes bytes again.
    pub fn take_leave(&mut self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.take_leave(),
        }
    }

    /// True until the peer can be spoken to.
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.is_handshaking())
    }

    /// True while the client's first message of a TLS handshake was not answered.
    pub fn awaits_hello(&self) -> bool {
        matches!(self, Self::Tls(stream) if !stream.has_answered())
    }

    /// What broke the TLS session, if anything did.
    pub fn failure(&self) -> Option<TlsFailure> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.failure(),
        }
    }

    /// Bytes taken from the engine, or of the session's own, that the kernel has not taken.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(stream) => stream.held_bytes(),
        }
    }

    /// Bytes of user memory held beside the slot itself; of a TLS session only what is ours.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(stream) => stream.memory_bytes(),
        }
    }
}

impl<S: Stream> Socket for Wire<'_, S> {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (&mut *self.transport, slices) {
            // `write` is measurably cheaper than `writev` of one slice, and one slice is the rule.
            (Transport::Plain(socket), [one]) => socket.write(one),
            (Transport::Plain(socket), many) => socket.write_vectored(many),
            (Transport::Tls(stream), slices) => stream.write(slices, self.scratch),
        }
    }

    fn push(&mut self) -> io::Result<bool> {
        match &mut *self.transport {
            Transport::Plain(_) => Ok(true),
            Transport::Tls(stream) => stream.push(),
        }
    }
}
