//! What a server's frames mean for its client: messages and gaps are handed on, pings are answered,
//! a close ends the connection. Pure; must not know sockets, nor what a message is worth.

use crate::codec::wire;
use crate::codec::wire::{Event, Gap, MASK, Message, Opcode, Scanner};

/// What a server said that concerns the run.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerEvent<'b> {
    /// A whole message.
    Message(Message<'b>),
    /// Frames were skipped for this socket.
    Gap(Gap),
}

/// Takes bytes that were read. Pongs that are due are appended to `pongs`.
///
/// # Errors
/// Why the connection is over.
#[inline]
pub fn scan(
    scanner: &mut Scanner,
    bytes: &[u8],
    message_bytes_max: usize,
    pongs: &mut Vec<u8>,
    mut heard: impl FnMut(ServerEvent<'_>),
) -> Result<(), String> {
    let mut close = None;
    let scanned = scanner.scan(bytes, message_bytes_max, |event| match event {
        Event::Message(message) => heard(ServerEvent::Message(message)),
        Event::Ping(data) => {
            if let Some(gap) = wire::gap_of(data) {
                heard(ServerEvent::Gap(gap));
            }
            wire::encode(Opcode::Pong, data, MASK, pongs);
        }
        Event::Close(code) => close = Some(wire::close_name(code)),
    });
    scanned.map_err(|error| format!("protocol: {error}"))?;
    close.map_or(Ok(()), Err)
}
