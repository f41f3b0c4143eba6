//! What is handed to the process that takes over of one connection: all that makes the next byte
//! in and the next byte out what they would have been. Owns the form of that. Must not read or make
//! connections (that is `handing`).

use std::net::IpAddr;

use crate::auth::Rights;
use crate::core::conn::PostTarget;
use crate::feed::epoch::{Epoch, Position};
use crate::feed::kind::LaneKind;
use crate::feed::options::{LagPolicy, Mode, Rate};
use crate::feed::topic::{Target, Topic};
use crate::frame::Kind;
use crate::frame::decode::Decoder;
use crate::http::body::Body;
use crate::http::origin::Cors;
use crate::http::response::Exchange;
use crate::http::route::Door;
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

/// See the file header.
#[derive(Debug)]
pub struct HandedConn {
    /// Whose connection it is, and whether a proxy said so.
    pub source: (IpAddr, bool),
    /// Which endpoints it may ask for.
    pub door: Door,
    /// Whether its messages may be deflated, and may refer to earlier ones.
    pub inflates: (bool, bool),
    /// What they may refer to.
    pub context: Vec<u8>,
    /// Whether it was answered before, is asked whether it is there, has yet to send a header.
    pub state: [bool; 3],
    /// The message that is coming in.
    pub decoder: Decoder,
    /// What it has sent and nobody has looked at, and how much of it makes sense.
    pub rest: (Vec<u8>, usize),
    /// What it has still to be sent, and whether some of the first frame is out.
    pub pending: (Vec<u8>, bool),
    /// What it may do.
    pub rights: Option<Rights>,
    /// What it is for.
    pub role: HandedRole,
    /// What it follows.
    pub subscriptions: Vec<HandedSubscription>,
}

/// What a connection is for.
#[derive(Debug)]
pub enum HandedRole {
    /// Asking, with a body that is coming if there is one.
    Request(Option<HandedPosting>),
    /// Following one feed.
    Subscriber(LaneKind),
    /// Following many: whether it has published, and gets beats.
    Multiplexed(LaneKind, [bool; 2]),
    /// Publishing to a topic.
    Publisher(Topic),
    /// Having its messages sent back, in this way.
    Echo(LaneKind),
}

/// A POST whose body is coming.
#[derive(Debug)]
pub struct HandedPosting {
    /// Where it goes.
    pub target: PostTarget,
    /// What has come.
    pub body: Body,
    /// How it is answered.
    pub exchange: Exchange,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedSubscription {
    /// To what.
    pub target: Target,
    /// How often.
    pub rate: Option<Rate>,
    /// The last position that it has.
    pub position: Position,
    /// What lagging means to it.
    pub mode: Mode,
    /// What happens when retention passes it.
    pub lag: LagPolicy,
}

impl Packed for HandedConn {
    fn pack(&self, out: &mut Packer) {
        self.source.0.pack(out);
        out.u8(self.source.1.into());
        self.door.pack(out);
        out.u8(self.inflates.0.into());
        out.u8(self.inflates.1.into());
        out.bytes(&self.context);
        self.state.iter().for_each(|flag| out.u8((*flag).into()));
        self.decoder.pack(out);
        out.bytes(&self.rest.0);
        out.u64(self.rest.1 as u64);
        out.bytes(&self.pending.0);
        out.u8(self.pending.1.into());
        out.option(self.rights.as_ref(), Rights::pack);
        self.role.pack(out);
        out.list(&self.subscriptions, HandedSubscription::pack);
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let handed = Self {
            source: (IpAddr::unpack(input)?, input.flag()?),
            door: Door::unpack(input)?,
            inflates: (input.flag()?, input.flag()?),
            context: input.bytes()?.to_vec(),
            state: [input.flag()?, input.flag()?, input.flag()?],
            decoder: Decoder::unpack(input)?,
            rest: (input.bytes()?.to_vec(), input.number()?),
            pending: (input.bytes()?.to_vec(), input.flag()?),
            rights: input.option(Rights::unpack)?,
            role: HandedRole::unpack(input)?,
            subscriptions: input.list(HandedSubscription::unpack)?,
        };
        let count = handed.subscriptions.len();
        match &handed.role {
            HandedRole::Multiplexed(..) => Ok(handed),
            HandedRole::Subscriber(_) if count == 1 => Ok(handed),
            _ if count == 0 => Ok(handed),
            _ => Err(PackedError("subscriptions that its role has not")),
        }
    }
}

const DOORS: [Door; 3] = [Door::All, Door::Clients, Door::Admins];

impl Packed for Door {
    fn pack(&self, out: &mut Packer) {
        out.u8(DOORS.iter().position(|door| door == self).unwrap_or_default() as u8);
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let door = DOORS.get(usize::from(input.u8()?)).copied();
        door.ok_or(PackedError("a door that there is not"))
    }
}

impl Packed for IpAddr {
    fn pack(&self, out: &mut Packer) {
        match self {
            Self::V4(v4) => out.bytes(&v4.octets()),
            Self::V6(v6) => out.bytes(&v6.octets()),
        }
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let octets = input.bytes()?;
        let v4 = <[u8; 4]>::try_from(octets).map(Self::from);
        let v6 = || <[u8; 16]>::try_from(octets).map(Self::from);
        v4.or_else(|_| v6()).map_err(|_| PackedError("not an address"))
    }
}

impl Packed for HandedRole {
    fn pack(&self, out: &mut Packer) {
        match self {
            Self::Request(posting) => {
                out.u8(0);
                out.option(posting.as_ref(), HandedPosting::pack);
            }
            Self::Subscriber(kind) => {
                out.u8(1);
                kind.pack(out);
            }
            Self::Multiplexed(kind, flags) => {
                out.u8(2);
                kind.pack(out);
                flags.iter().for_each(|flag| out.u8((*flag).into()));
            }
            Self::Publisher(topic) => {
                out.u8(3);
                topic.pack(out);
            }
            Self::Echo(kind) => {
                out.u8(4);
                kind.pack(out);
            }
        }
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        match input.u8()? {
            0 => input.option(HandedPosting::unpack).map(Self::Request),
            1 => LaneKind::unpack(input).map(Self::Subscriber),
            2 => {
                let kind = LaneKind::unpack(input)?;
                Ok(Self::Multiplexed(kind, [input.flag()?, input.flag()?]))
            }
            3 => Topic::unpack(input).map(Self::Publisher),
            4 => LaneKind::unpack(input).map(Self::Echo),
            _ => Err(PackedError("a role that there is not")),
        }
    }
}

impl Packed for HandedPosting {
    fn pack(&self, out: &mut Packer) {
        let target = match &self.target {
            PostTarget::One(topic, kind) => Some((topic, kind)),
            PostTarget::Many => None,
        };
        out.option(target.as_ref(), |(topic, kind), out| {
            topic.pack(out);
            out.option(kind.as_ref(), Kind::pack);
        });
        self.body.pack(out);
        let Exchange { head_only, keep_alive, cors } = &self.exchange;
        out.u8((*head_only).into());
        out.u8((*keep_alive).into());
        let (word, page) = match cors {
            Cors::None => (0, ""),
            Cors::Any => (1, ""),
            Cors::Page(page) => (2, &**page),
        };
        out.u8(word);
        out.bytes(page.as_bytes());
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let one = input.option(|input| {
            Ok(PostTarget::One(Topic::unpack(input)?, input.option(Kind::unpack)?))
        })?;
        let body = Body::unpack(input)?;
        let (head_only, keep_alive) = (input.flag()?, input.flag()?);
        let cors = match (input.u8()?, input.text()?) {
            (0, _) => Cors::None,
            (1, _) => Cors::Any,
            // It goes into a header.
            (2, page) if page.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Cors::Page(page.into())
            }
            _ => return Err(PackedError("a page that there is not")),
        };
        let exchange = Exchange { head_only, keep_alive, cors };
        Ok(Self { target: one.unwrap_or(PostTarget::Many), body, exchange })
    }
}

impl Packed for HandedSubscription {
    fn pack(&self, out: &mut Packer) {
        self.target.pack(out);
        out.option(self.rate.as_ref(), Rate::pack);
        out.u64(self.position.epoch.0);
        out.u64(self.position.seq);
        self.mode.pack(out);
        self.lag.pack(out);
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        Ok(Self {
            target: Target::unpack(input)?,
            rate: input.option(Rate::unpack)?,
            position: Position { epoch: Epoch(input.u64()?), seq: input.u64()? },
            mode: Mode::unpack(input)?,
            lag: LagPolicy::unpack(input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::kind::Form;
    use crate::http::body::Framing;
    use proptest::prelude::*;

    fn conn(role: HandedRole, subscriptions: Vec<HandedSubscription>) -> HandedConn {
        HandedConn {
            source: ("2001:db8::7".parse().unwrap(), true),
            door: Door::Clients,
            inflates: (true, false),
            context: b"earlier".to_vec(),
            state: [true, false, true],
            decoder: Decoder::default(),
            rest: (vec![0x81, 0x85], 11),
            pending: (b"rest of a frame".to_vec(), true),
            rights: Some(Rights { subject: "edge-7".to_owned(), ..Rights::default() }),
            role,
            subscriptions,
        }
    }

    fn subscription(target: &str) -> HandedSubscription {
        HandedSubscription {
            target: target.parse().unwrap(),
            rate: Rate::new(30).ok(),
            position: Position { epoch: Epoch(1 << 60), seq: 41 },
            mode: Mode::Latest,
            lag: LagPolicy::SkipToOldest,
        }
    }

    /// One of each role.
    fn conns() -> Vec<HandedConn> {
        let topic = || Topic::new("pmu/1001").unwrap();
        let body = || Body::new(Framing::Length(9), 100).unwrap();
        let posting = |target, cors| {
            let exchange = Exchange { head_only: false, keep_alive: true, cors };
            Some(HandedPosting { target, body: body(), exchange })
        };
        let page = Cors::Page("https://example.org".into());
        let one = posting(PostTarget::One(topic(), Some(Kind::Binary)), page);
        vec![
            conn(HandedRole::Request(None), vec![]),
            conn(HandedRole::Request(one), vec![]),
            conn(HandedRole::Request(posting(PostTarget::Many, Cors::Any)), vec![]),
            conn(HandedRole::Subscriber(LaneKind::SSE), vec![subscription("pmu/#")]),
            conn(
                HandedRole::Multiplexed(LaneKind::plain(Form::Binary), [true, false]),
                vec![subscription("a"), subscription("+/b")],
            ),
            conn(HandedRole::Publisher(topic()), vec![]),
            conn(HandedRole::Echo(LaneKind::RAW), vec![]),
        ]
    }

    #[test]
    fn every_role_comes_out_as_it_was_and_only_whole() {
        for conn in conns() {
            let packed = conn.packed();
            let again = HandedConn::unpacked(&packed).unwrap();
            assert_eq!(format!("{again:?}"), format!("{conn:?}"));
            for end in 0..packed.len() {
                assert!(HandedConn::unpacked(&packed[..end]).is_err(), "{end} bytes of {conn:?}");
            }
        }
    }

    #[test]
    fn a_role_has_the_subscriptions_that_it_may_have() {
        for role in [HandedRole::Request(None), HandedRole::Echo(LaneKind::RAW)] {
            let packed = conn(role, vec![subscription("a")]).packed();
            assert!(HandedConn::unpacked(&packed).is_err());
        }
        let two = vec![subscription("a"), subscription("b")];
        let packed = conn(HandedRole::Subscriber(LaneKind::RAW), two).packed();
        assert!(HandedConn::unpacked(&packed).is_err());
    }

    proptest! {
        #[test]
        fn what_was_damaged_never_panics(
            which in 0..7_usize,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut packed = conns().swap_remove(which).packed();
            for (at, byte) in flips {
                let at = at.index(packed.len());
                packed[at] = byte;
            }
            // An error, or another connection.
            let _ = HandedConn::unpacked(&packed);
        }
    }
}
