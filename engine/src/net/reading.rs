//! What one read from a connection brought, plain or through TLS. Must not know what the bytes
//! mean.

/// What a read brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// So many bytes are in the buffer. None does not mean the end: TLS has messages of its own.
    pub bytes: usize,
    /// The kernel may have more, and no event will say so.
    pub filled: bool,
    /// The peer has sent all it will.
    pub ended: bool,
    /// The first message of a TLS handshake was answered; what it waited for that was no time of
    /// the client's.
    pub answered: bool,
    /// The TLS handshake is done.
    pub opened: bool,
}
