//! What the first packet of some bytes says, in protocols of bytes. Must not know any single
//! protocol.

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketContent<'p> {
    /// What was published.
    Payload(&'p [u8]),
    /// A subscription, or the connection, is taken.
    Confirmed,
    /// This has to be sent back.
    Answer(&'static [u8]),
    /// Something was refused: what the broker says about it.
    Refused(&'p [u8]),
    /// Nothing that matters.
    Nothing,
}

/// Bytes that are no packet of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("protocol: no packet of the broker")]
pub struct Malformed;

/// The first packet of some bytes, and its length; `None` if it is not whole.
pub type Packet<'p> = Result<Option<(usize, PacketContent<'p>)>, Malformed>;
