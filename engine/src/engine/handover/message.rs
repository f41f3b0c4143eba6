//! What two processes say to one another while the one takes over from the other. Owns its form
//! and its version. Must not say it.

use std::net::SocketAddr;

use crate::core::handed::HandedConn;
use crate::feed::handed::HandedFeed;
use crate::feed::registry::handing::Counters;
use crate::http::route::Door;
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

/// Of all that is handed over: goes up whenever any of it changes. [`Message::Hello`] and
/// [`Message::Refused`] are the same in all versions.
pub const VERSION: u64 = 2;

/// On the way between the two processes.
#[derive(Debug)]
pub enum Message {
    /// The new one: I speak this version.
    Hello(u64),
    /// The old one: no, because of this; whether it drains and ends now.
    Refused(String, bool),
    /// The old one: this is what I have.
    Offer(Offer),
    /// The new one: my cores wait at these paths, one for each of yours.
    Ready(Vec<String>),
    /// The old one: parts of feeds that I still publish to.
    Ahead(Vec<HandedFeed>),
    /// The old one: some feeds, each with its last part or, where that is large, one before it.
    Some(Vec<HandedFeed>),
    /// The old one: those were all, and these are the next numbers.
    Feeds(Counters),
    /// The new one: I have everything, and serve it when you say so.
    Complete,
    /// The old one: from now on it is yours.
    Commit,
    /// The old one: what was attached to me is gone.
    Detached,
}

/// What the old process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The first epoch of its registry.
    pub epoch: u64,
    /// Its clock.
    pub now_ns: u64,
    /// Its cores.
    pub cores: u64,
    /// Where it listens.
    pub clients: SocketAddr,
    /// Where it listens for administrators.
    pub admins: Option<SocketAddr>,
    /// Whether it speaks TLS there.
    pub has_tls: bool,
}

/// On the way between a core of the one and a core of the other.
#[derive(Debug)]
pub enum CoreParcel {
    /// The entrances, a descriptor for each.
    Entrances(Vec<Door>),
    /// Some connections, a descriptor for each.
    Conns(Vec<HandedConn>),
    /// Those were all.
    End,
}

impl Packed for Message {
    fn pack(&self, out: &mut Packer) {
        match self {
            Self::Hello(version) => tagged(out, 0, |out| out.u64(*version)),
            Self::Refused(reason, ends) => tagged(out, 1, |out| {
                out.bytes(reason.as_bytes());
                out.u8((*ends).into());
            }),
            Self::Offer(offer) => tagged(out, 2, |out| offer.pack(out)),
            Self::Ready(paths) => tagged(out, 3, |out| {
                out.list(paths, |path, out| out.bytes(path.as_bytes()));
            }),
            Self::Some(feeds) => tagged(out, 4, |out| out.list(feeds, HandedFeed::pack)),
            Self::Feeds(counters) => tagged(out, 5, |out| {
                out.u64(counters.epoch);
                out.u64(counters.number);
            }),
            Self::Complete => out.u8(6),
            Self::Commit => out.u8(7),
            Self::Detached => out.u8(8),
            Self::Ahead(feeds) => tagged(out, 9, |out| out.list(feeds, HandedFeed::pack)),
        }
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        Ok(match input.u8()? {
            0 => Self::Hello(input.u64()?),
            1 => Self::Refused(input.text()?.to_owned(), input.flag()?),
            2 => Self::Offer(Offer::unpack(input)?),
            3 => Self::Ready(input.list(|input| Ok(input.text()?.to_owned()))?),
            4 => Self::Some(input.list(HandedFeed::unpack)?),
            5 => Self::Feeds(Counters { epoch: input.u64()?, number: input.u64()? }),
            6 => Self::Complete,
            7 => Self::Commit,
            8 => Self::Detached,
            9 => Self::Ahead(input.list(HandedFeed::unpack)?),
            _ => return Err(PackedError("a message of no kind")),
        })
    }
}

impl Packed for Offer {
    fn pack(&self, out: &mut Packer) {
        [self.epoch, self.now_ns, self.cores].iter().for_each(|number| out.u64(*number));
        let address = |address: &SocketAddr, out: &mut Packer| {
            out.bytes(address.to_string().as_bytes());
        };
        address(&self.clients, out);
        out.option(self.admins.as_ref(), address);
        out.u8(self.has_tls.into());
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let address = |input: &mut Unpacker<'_>| {
            input.text()?.parse().map_err(|_| PackedError("not an address"))
        };
        Ok(Self {
            epoch: input.u64()?,
            now_ns: input.u64()?,
            cores: input.u64()?,
            clients: address(input)?,
            admins: input.option(address)?,
            has_tls: input.flag()?,
        })
    }
}

impl Packed for CoreParcel {
    fn pack(&self, out: &mut Packer) {
        match self {
            Self::Entrances(doors) => tagged(out, 0, |out| out.list(doors, Door::pack)),
            Self::Conns(conns) => tagged(out, 1, |out| out.list(conns, HandedConn::pack)),
            Self::End => out.u8(2),
        }
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        match input.u8()? {
            0 => input.list(Door::unpack).map(Self::Entrances),
            1 => input.list(HandedConn::unpack).map(Self::Conns),
            2 => Ok(Self::End),
            _ => Err(PackedError("a parcel of no kind")),
        }
    }
}

fn tagged(out: &mut Packer, tag: u8, pack: impl FnOnce(&mut Packer)) {
    out.u8(tag);
    pack(out);
}
