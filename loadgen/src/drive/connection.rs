//! One client connection: reads after the kept bytes of an incomplete frame, separates messages
//! from pings and closes, and writes without splitting a frame by another one. Shared by publishers
//! and subscribers. Must not judge messages, and reads no clock.

use std::io;

use mio::net::TcpStream;

use crate::codec::incoming::ServerEvent;
use crate::codec::wire::{MASK, Opcode, Scanner};
use crate::codec::{incoming, wire};
use crate::drive::link;
use crate::drive::link::Link;
use crate::os::tls::TlsClient;

/// An open socket and its state between events. It takes no heap memory, except for incomplete
/// frames and full sockets.
#[derive(Debug)]
pub struct Connection {
    /// The byte stream.
    pub link: Link,
    scanner: Scanner,
    /// Boxed, because hardly any of 100,000 sockets is ever full.
    outbox: Option<Box<Outbox>>,
}

/// Bytes that a full socket did not accept.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
}

/// Bytes read, after the bytes that were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Bytes of the buffer to scan.
    pub total: usize,
    /// How many of them are new.
    pub read: usize,
    /// Bytes taken from the socket to get them.
    pub wire: usize,
    /// Whether there may be more to read.
    pub is_full: bool,
}

impl Connection {
    /// A connection on which nothing was sent yet; its socket may still be connecting.
    pub fn new(stream: TcpStream) -> Connection {
        Connection::over(Link::Plain(stream))
    }

    /// The same, encrypted if `client` is given.
    pub fn encrypted(stream: TcpStream, client: Option<&TlsClient>) -> io::Result<Connection> {
        match client {
            Some(client) => Link::encrypted(stream, client).map(Connection::over),
            None => Ok(Connection::new(stream)),
        }
    }

    fn over(link: Link) -> Connection {
        Connection { link, scanner: Scanner::default(), outbox: None }
    }

    /// Reads once, at most `limit` bytes, after the kept bytes. `Ok(None)`: would block. `Err`: why
    /// the connection is over.
    pub fn fill(&mut self, buffer: &mut [u8], limit: usize) -> Result<Option<Filled>, String> {
        let rest = self.scanner.rest();
        let (kept, free) = buffer.split_at_mut(rest.len());
        kept.copy_from_slice(rest);
        let space_bytes = free.len().min(limit);
        let space = free.get_mut(..space_bytes).unwrap_or_default();
        loop {
            return match self.link.read(space) {
                Ok(taken) if taken.bytes == 0 => Err("eof".to_string()),
                Ok(taken) => {
                    let (read, wire) = (taken.bytes, taken.wire_bytes);
                    let is_full = read == space_bytes || self.link.is_buffering();
                    Ok(Some(Filled { total: kept.len() + read, read, wire, is_full }))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(link::failure(&error)),
            };
        }
    }

    /// Allows compressed messages from now on.
    pub fn take_deflated(&mut self) {
        self.scanner.take_deflated();
    }

    /// Whether messages may be compressed.
    pub fn takes_deflated(&self) -> bool {
        self.scanner.takes_deflated()
    }

    /// The bytes kept for the next read.
    pub fn kept(&self) -> &[u8] {
        self.scanner.rest()
    }

    /// Replaces the bytes kept for the next read.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.scanner.keep(bytes);
    }

    /// Handles what `fill` read. Pongs to send are appended to `pongs`. `Err`: why the connection
    /// is over.
    #[inline]
    pub fn scan(
        &mut self,
        bytes: &[u8],
        message_bytes_max: usize,
        pongs: &mut Vec<u8>,
        on_event: impl FnMut(ServerEvent<'_>),
    ) -> Result<(), String> {
        incoming::scan(&mut self.scanner, bytes, message_bytes_max, pongs, on_event)
    }

    /// The state of the frame parser.
    pub fn scanner(&mut self) -> &mut Scanner {
        &mut self.scanner
    }

    /// Writes bytes; `flush` writes later what a full socket does not accept.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // New bytes follow the waiting ones; otherwise a frame would be split.
        let waiting_bytes = self.waiting_bytes();
        let written = if waiting_bytes == 0 { self.write_some(bytes)? } else { 0 };
        let left = bytes.get(written..).unwrap_or_default();
        // Only the newest ping needs an answer, so a peer that does not read costs no more memory.
        if !left.is_empty() && (written > 0 || waiting_bytes < OUTBOX_BYTES_MAX) {
            self.outbox.get_or_insert_default().bytes.extend_from_slice(left);
        }
        Ok(())
    }

    /// Writes the waiting bytes of `send` and of the link, as far as the socket accepts them.
    pub fn flush(&mut self) {
        // After an error nothing can be written any more; the read side reports the reason.
        let is_clear = self.link.push().unwrap_or(false);
        let Some(outbox) = self.outbox.take_if(|_| is_clear) else { return };
        let written = self.write_some(&outbox.bytes).unwrap_or(outbox.bytes.len());
        let left = outbox.bytes.get(written..).unwrap_or_default();
        self.outbox = (!left.is_empty()).then(|| Box::new(Outbox { bytes: left.to_vec() }));
    }

    /// Sends a normal close without waiting for the answer.
    pub fn send_close(&mut self) {
        let mut goodbye = Vec::new();
        wire::encode(Opcode::Close, &wire::NORMAL_CLOSURE.to_be_bytes(), MASK, &mut goodbye);
        if self.outbox.is_none() {
            // The run is over, so it does not matter if the server cannot accept it.
            let _ = self.write_some(&goodbye);
            self.link.close();
        }
    }

    fn waiting_bytes(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.bytes.len())
    }

    /// The number of bytes the link accepted; 0 if it would block.
    pub fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            return match self.link.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result,
            };
        }
    }
}

const OUTBOX_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::wire::Gap;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn pair() -> (Connection, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        (Connection::new(TcpStream::from_std(stream)), listener.accept().unwrap().0)
    }

    #[test]
    fn a_full_socket_keeps_its_frames_whole_and_bounded() {
        let (mut connection, mut server) = pair();
        let block = vec![b'x'; 1 << 20];
        while connection.outbox.is_none() {
            connection.send(&block).unwrap();
        }
        let waiting_bytes = connection.waiting_bytes();
        (0..100_000).for_each(|_| connection.send(b"pong").unwrap());
        assert!(connection.waiting_bytes() <= waiting_bytes.max(OUTBOX_BYTES_MAX + 4));
        let mut taken = 0;
        let mut piece = vec![0; 1 << 20];
        while connection.outbox.is_some() {
            taken += server.read(&mut piece).unwrap();
            connection.flush();
        }
        assert!(taken > 0);
    }

    #[test]
    fn pings_are_answered_and_gaps_told() {
        let (mut connection, mut server) = pair();
        let data = br#"{"gap":{"from":2,"to":3}}"#;
        let ping = [&[0x89, data.len() as u8][..], data].concat();
        server.write_all(&ping).unwrap();
        let mut buffer = [0; 256];
        let filled = loop {
            if let Some(filled) = connection.fill(&mut buffer, 256).unwrap() {
                break filled;
            }
        };
        assert_eq!((filled.total, filled.is_full), (ping.len(), false));
        let (mut pongs, mut gaps) = (vec![], vec![]);
        let result = connection.scan(&buffer[..filled.total], 256, &mut pongs, |event| {
            let gap = Gap { from: 2, to: 3, frames: None, reason: wire::GapReason::Lost };
            gaps.push(event == ServerEvent::Gap(gap));
        });
        assert_eq!((result, gaps), (Ok(()), vec![true]));
        assert_eq!(pongs.len(), ping.len() + 4);
    }
}
