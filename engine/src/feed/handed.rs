//! What is handed to the process that takes over of one feed: its numbering, what it keeps or a
//! part of that, and what repeats it. Owns the form of that. Must not read or make feeds (that is
//! `log/handing`).

use crate::feed::epoch::Epoch;
use crate::feed::gap::Gap;
use crate::feed::log::FeedName;
use crate::feed::options::Rate;
use crate::feed::positions::HandedRuns;
use crate::feed::times::Times;
use crate::feed::topic::{Target, Topic};
use crate::frame::Kind;
use crate::wire::packed::{Packed, PackedError, Packer, Unpacker};

/// See the file header.
#[derive(Debug, PartialEq)]
pub struct HandedFeed {
    /// What tells it from others.
    pub name: FeedName,
    /// Its life.
    pub epoch: Epoch,
    /// Its number, which clients know.
    pub number: u64,
    /// When it was last published to, and when the last subscriber left, on the engine's clock.
    pub used_ns: (u64, u64),
    /// Whether nobody has published to it yet.
    pub is_awaited: bool,
    /// The ordinal of the first entry here; without entries, of the next.
    pub first_ordinal: u64,
    /// The ordinal of the next frame that is published: beyond the entries here, others follow.
    pub next_ordinal: u64,
    /// What it keeps from there on, in order.
    pub entries: Vec<HandedEntry>,
    /// Of a pattern, the topics that entries come from, and the number of each in this feed.
    pub origins: Vec<(Topic, u64)>,
    /// When the entries came.
    pub times: Times,
    /// Positions, where they are not the ordinals.
    pub runs: Option<HandedRuns>,
    /// What repeats it.
    pub repeats: Vec<HandedRepeat>,
}

/// One entry of a feed.
#[derive(Debug, PartialEq)]
pub enum HandedEntry {
    /// A frame; of a pattern, from which of its origins.
    Frame(Kind, Vec<u8>, Option<usize>),
    /// A notice that some are missing.
    Notice(Gap),
}

/// A feed that repeats a topic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HandedRepeat {
    /// The number of that feed.
    pub feed: u64,
    /// The number of the topic in it.
    pub origin: u64,
    /// Where it is rated: whether it is going to look at the topic at its next instant.
    pub is_noted: bool,
    /// Where it is rated: the frame that it last took.
    pub taken_ordinal: u64,
}

impl Packed for HandedFeed {
    fn pack(&self, out: &mut Packer) {
        self.name.target.pack(out);
        out.option(self.name.rate.as_ref(), Rate::pack);
        out.u64(self.epoch.0);
        out.u64(self.number);
        out.u64(self.used_ns.0);
        out.u64(self.used_ns.1);
        out.u8(self.is_awaited.into());
        out.u64(self.first_ordinal);
        out.u64(self.next_ordinal);
        out.list(&self.entries, HandedEntry::pack);
        out.list(&self.origins, |(topic, number), out| {
            topic.pack(out);
            out.u64(*number);
        });
        self.times.pack(out);
        out.option(self.runs.as_ref(), HandedRuns::pack);
        out.list(&self.repeats, HandedRepeat::pack);
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let target = Target::unpack(input)?;
        let handed = Self {
            name: FeedName { target, rate: input.option(Rate::unpack)? },
            epoch: Epoch(input.u64()?),
            number: input.u64()?,
            used_ns: (input.u64()?, input.u64()?),
            is_awaited: input.flag()?,
            first_ordinal: input.u64()?,
            next_ordinal: input.u64()?,
            entries: input.list(HandedEntry::unpack)?,
            origins: input.list(|input| Ok((Topic::unpack(input)?, input.u64()?)))?,
            times: Times::unpack(input)?,
            runs: input.option(HandedRuns::unpack)?,
            repeats: input.list(HandedRepeat::unpack)?,
        };
        handed.check()?;
        Ok(handed)
    }
}

impl HandedFeed {
    /// The ordinal behind the last entry.
    #[must_use]
    pub fn end_ordinal(&self) -> u64 {
        self.first_ordinal + self.entries.len() as u64
    }

    /// Whether nothing follows that was published by then.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.end_ordinal() == self.next_ordinal
    }

    /// About so many bytes when it is packed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_entry = |entry: &HandedEntry| match entry {
            HandedEntry::Frame(_, payload, _) => payload.len() + 32,
            HandedEntry::Notice(_) => 32,
        };
        FEED_BYTES + self.entries.iter().map(of_entry).sum::<usize>()
    }

    /// Whether its parts fit one another.
    fn check(&self) -> Result<(), PackedError> {
        let entries = self.entries.len() as u64;
        let end = self.first_ordinal.checked_add(entries);
        if self.first_ordinal == 0 || end.is_none_or(|end| end > self.next_ordinal) {
            return Err(PackedError("ordinals out of their range"));
        }
        let is_known = |entry: &HandedEntry| match entry {
            HandedEntry::Frame(_, _, Some(origin)) => *origin < self.origins.len(),
            _ => true,
        };
        if !self.entries.iter().all(is_known) {
            return Err(PackedError("an origin that is not listed"));
        }
        match &self.runs {
            Some(runs) if !runs.lead_to(self.next_ordinal) => Err(PackedError("other positions")),
            _ => Ok(()),
        }
    }
}

/// About so many bytes a feed has beside its entries.
const FEED_BYTES: usize = 512;

impl Packed for HandedEntry {
    fn pack(&self, out: &mut Packer) {
        match self {
            Self::Frame(kind, payload, origin) => {
                out.u8(0);
                kind.pack(out);
                out.bytes(payload);
                out.option(origin.as_ref(), |origin, out| out.u64(*origin as u64));
            }
            Self::Notice(gap) => {
                out.u8(1);
                gap.pack(out);
            }
        }
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        match input.u8()? {
            0 => {
                let (kind, payload) = (Kind::unpack(input)?, input.bytes()?.to_vec());
                if kind == Kind::Text && std::str::from_utf8(&payload).is_err() {
                    return Err(PackedError("a text that is none"));
                }
                Ok(Self::Frame(kind, payload, input.option(Unpacker::number)?))
            }
            1 => Gap::unpack(input).map(Self::Notice),
            _ => Err(PackedError("an entry of no kind")),
        }
    }
}

impl Packed for HandedRepeat {
    fn pack(&self, out: &mut Packer) {
        out.u64(self.feed);
        out.u64(self.origin);
        out.u8(self.is_noted.into());
        out.u64(self.taken_ordinal);
    }

    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError> {
        let (feed, origin) = (input.u64()?, input.u64()?);
        Ok(Self { feed, origin, is_noted: input.flag()?, taken_ordinal: input.u64()? })
    }
}
