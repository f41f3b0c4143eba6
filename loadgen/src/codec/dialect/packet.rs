//! The parsed form of a packet, common to all byte protocols. Must not know any single protocol.

/// The meaning of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketContent<'p> {
    /// A published payload, and its subject or topic.
    Payload(&'p [u8], &'p [u8]),
    /// The server confirmed the connection or a subscription.
    Confirmed,
    /// Bytes to send back.
    Answer(&'static [u8]),
    /// The server refused something; the text is the server's reason.
    Refused(&'p [u8]),
    /// A packet that the client ignores.
    Nothing,
}

/// The bytes are not a packet of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("protocol: no packet of the broker")]
pub struct Malformed;

/// The first packet in the bytes, and its length; `None` if it is incomplete.
pub type Packet<'p> = Result<Option<(usize, PacketContent<'p>)>, Malformed>;
