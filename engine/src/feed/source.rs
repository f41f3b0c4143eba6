//! Which way a message came in. Owns the numbers that tell them apart, so that what came from
//! another system is not sent back to it. Must not know who uses a number.

/// Which way a message came in: clients share one number, each bridge has its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(pub u16);

impl Source {
    /// From a client of this engine.
    pub const CLIENTS: Self = Self(0);
    /// From a bridge of another node: no bridge of this one takes it out again.
    pub const BRIDGED_ELSEWHERE: Self = Self(u16::MAX);
}
