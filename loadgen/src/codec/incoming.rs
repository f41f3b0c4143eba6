//! Handles the frames a server sends to a client: messages and gaps are passed on, pings are
//! answered, a close ends the connection. Pure; must not know sockets, and must not judge messages.

use crate::codec::wire;
use crate::codec::wire::{Event, Gap, MASK, Message, Opcode, Scanner};

/// An event from the server that concerns the run.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerEvent<'b> {
    /// A whole message.
    Message(Message<'b>),
    /// The server skipped frames for this socket.
    Gap(Gap),
}

/// Handles bytes that were read. Pongs to send are appended to `pongs`.
///
/// # Errors
/// Why the connection is over.
#[inline]
pub fn scan(
    scanner: &mut Scanner,
    bytes: &[u8],
    message_bytes_max: usize,
    pongs: &mut Vec<u8>,
    mut on_event: impl FnMut(ServerEvent<'_>),
) -> Result<(), String> {
    let mut close = None;
    let scanned = scanner.scan(bytes, message_bytes_max, |event| match event {
        Event::Message(message) => on_event(ServerEvent::Message(message)),
        Event::Ping(data) => {
            if let Some(gap) = wire::gap_of(data) {
                on_event(ServerEvent::Gap(gap));
            }
            wire::encode(Opcode::Pong, data, MASK, pongs);
        }
        Event::Close(code) => close = Some(wire::close_name(code)),
    });
    scanned.map_err(|error| format!("protocol: {error}"))?;
    close.map_or(Ok(()), Err)
}
