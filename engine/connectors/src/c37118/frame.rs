//! One frame of IEEE C37.118: its envelope, its size and its checksum. All three editions share
//! it: 2005, 2011 and 2024. Must not know what a body means, nor where bytes come from.

use crc::{CRC_16_IBM_3740, Crc, Table};

use super::bad_input::BadInput;
use super::stamp::Stamp;

/// The first byte of every frame.
pub const SYNC: u8 = 0xAA;
/// Bytes before the body.
pub const HEAD_BYTES: usize = 14;
/// Bytes after it.
pub const CHECKSUM_BYTES: usize = 2;
/// The shortest frame: one without a body.
pub const FRAME_BYTES_MIN: usize = HEAD_BYTES + CHECKSUM_BYTES;
/// The longest: what FRAMESIZE can say.
pub const FRAME_BYTES_MAX: usize = u16::MAX as usize;

static CHECKSUM: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_IBM_3740);

/// The types of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// Measurements.
    Data,
    /// A text for people.
    Header,
    /// CFG-1: what a device can send.
    Config1,
    /// CFG-2: what it sends.
    Config2,
    /// CFG-3: what it sends, with names of any length.
    Config3,
    /// A request to a device.
    Command,
    /// Measurements, as the edition of 2024 lays them out.
    Data2024,
    /// What a device can send, edition of 2024.
    Capability2024,
    /// What it sends, edition of 2024.
    Config2024,
    /// A request, edition of 2024.
    Command2024,
    /// The answer to a request that was refused, edition of 2024.
    Refusal2024,
}

impl FrameKind {
    /// Every type, for listings.
    pub const ALL: [Self; 11] = [
        Self::Data,
        Self::Header,
        Self::Config1,
        Self::Config2,
        Self::Config3,
        Self::Command,
        Self::Data2024,
        Self::Capability2024,
        Self::Config2024,
        Self::Command2024,
        Self::Refusal2024,
    ];

    /// The type in the second byte of a frame. Devices are loose about the version in its lower
    /// half, so for the types that all editions share it is not judged.
    fn of(sync_low: u8) -> Option<Self> {
        match (sync_low >> 4, sync_low & 0x0F) {
            (_, 0) => None,
            (0, _) => Some(Self::Data),
            (1, _) => Some(Self::Header),
            (2, _) => Some(Self::Config1),
            (3, _) => Some(Self::Config2),
            (4, _) => Some(Self::Command),
            (5, _) => Some(Self::Config3),
            (0x8, 3) => Some(Self::Data2024),
            (0xA, 3) => Some(Self::Capability2024),
            (0xB, 3) => Some(Self::Config2024),
            (0xC, 3) => Some(Self::Command2024),
            (0xF, 3) => Some(Self::Refusal2024),
            _ => None,
        }
    }

    pub(crate) fn nibble(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Header => 1,
            Self::Config1 => 2,
            Self::Config2 => 3,
            Self::Command => 4,
            Self::Config3 => 5,
            Self::Data2024 => 0x8,
            Self::Capability2024 => 0xA,
            Self::Config2024 => 0xB,
            Self::Command2024 => 0xC,
            Self::Refusal2024 => 0xF,
        }
    }

    /// The word for labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Header => "header",
            Self::Config1 => "cfg1",
            Self::Config2 => "cfg2",
            Self::Config3 => "cfg3",
            Self::Command => "command",
            Self::Data2024 => "data_2024",
            Self::Capability2024 => "capability_2024",
            Self::Config2024 => "cfg_2024",
            Self::Command2024 => "command_2024",
            Self::Refusal2024 => "refusal_2024",
        }
    }

    /// Whether it carries measurements.
    #[must_use]
    pub fn is_data(self) -> bool {
        matches!(self, Self::Data | Self::Data2024)
    }
}

/// A whole frame whose size and checksum are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: FrameKind,
    /// The version that it names: 1 for 2005, 2 for 2011, 3 for 2024.
    pub version: u8,
    /// IDCODE of the stream.
    pub id: u16,
    /// Its time and how good that is.
    pub stamp: Stamp,
    /// All its bytes.
    pub bytes: &'a [u8],
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<'a> {
    /// A frame.
    Whole(Frame<'a>),
    /// The beginning of what may be a frame.
    Partial,
    /// What says it is so many bytes long, with a wrong checksum.
    Damaged(usize),
    /// Anything else.
    Other(BadInput),
}

impl<'a> Frame<'a> {
    /// Looks at what bytes begin with.
    #[must_use]
    pub fn first(bytes: &'a [u8]) -> First<'a> {
        let kind = match bytes {
            [] | [SYNC] => return First::Partial,
            [SYNC, low, ..] => FrameKind::of(*low),
            _ => None,
        };
        let Some(kind) = kind else { return First::Other(BadInput::Sync) };
        let Some(&[_, _, high, low]) = bytes.first_chunk() else { return First::Partial };
        let size = usize::from(u16::from_be_bytes([high, low]));
        if size < FRAME_BYTES_MIN {
            return First::Other(BadInput::Size);
        }
        match bytes.get(..size).map(|bytes| Self::checked(kind, bytes)) {
            None => First::Partial,
            Some(None) => First::Damaged(size),
            Some(Some(frame)) => First::Whole(frame),
        }
    }

    /// The frame, if its checksum is right.
    fn checked(kind: FrameKind, bytes: &'a [u8]) -> Option<Self> {
        let (covered, sum) = bytes.split_last_chunk()?;
        if CHECKSUM.checksum(covered) != u16::from_be_bytes(*sum) {
            return None;
        }
        let (&[_, low, _, _, id1, id0, s3, s2, s1, s0, quality, f2, f1, f0], _) =
            covered.split_first_chunk::<HEAD_BYTES>()?;
        let stamp = Stamp {
            soc: u32::from_be_bytes([s3, s2, s1, s0]),
            quality,
            fracsec: u32::from_be_bytes([0, f2, f1, f0]),
        };
        let id = u16::from_be_bytes([id1, id0]);
        Some(Self { kind, version: low & 0x0F, id, stamp, bytes })
    }

    /// What is between the envelope and the checksum.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        let end = self.bytes.len() - CHECKSUM_BYTES;
        self.bytes.get(HEAD_BYTES..end).unwrap_or_default()
    }
}

/// A frame of `kind` around a body. A body that is too long for a frame makes none.
#[must_use]
pub fn encode(kind: FrameKind, version: u8, id: u16, stamp: Stamp, body: &[u8]) -> Option<Vec<u8>> {
    let size = u16::try_from(FRAME_BYTES_MIN + body.len()).ok()?;
    let mut frame = Vec::with_capacity(usize::from(size));
    frame.extend([SYNC, kind.nibble() << 4 | version & 0x0F]);
    frame.extend(size.to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend(stamp.soc.to_be_bytes());
    let [_, f2, f1, f0] = stamp.fracsec.to_be_bytes();
    frame.extend([stamp.quality, f2, f1, f0]);
    frame.extend(body);
    frame.extend(CHECKSUM.checksum(&frame).to_be_bytes());
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::samples;

    #[test]
    fn a_published_example_is_read() {
        let First::Whole(frame) = Frame::first(&samples::ANNEX_D) else { panic!("not whole") };
        assert_eq!((frame.kind, frame.version, frame.id), (FrameKind::Data, 1, 7734));
        assert_eq!(frame.stamp, Stamp { soc: 1_149_580_800, quality: 0, fracsec: 16_817 });
        assert_eq!(frame.body().len(), 36);
    }

    #[test]
    fn what_is_no_frame_is_told_apart() {
        let whole = &samples::ANNEX_D[..];
        assert_eq!(Frame::first(&whole[..51]), First::Partial);
        assert_eq!(Frame::first(&[]), First::Partial);
        assert_eq!(Frame::first(b"GET /"), First::Other(BadInput::Sync));
        assert_eq!(Frame::first(&[SYNC, 0x71, 0, 16]), First::Other(BadInput::Sync));
        assert_eq!(Frame::first(&[SYNC, 0x01, 0, 15]), First::Other(BadInput::Size));
        let mut damaged = whole.to_vec();
        damaged[20] ^= 1;
        assert_eq!(Frame::first(&damaged), First::Damaged(52));
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        let stamp = Stamp { soc: 9, quality: 0xF, fracsec: 0x00AB_CDEF };
        for kind in FrameKind::ALL {
            let bytes = encode(kind, 3, 77, stamp, b"body").unwrap();
            let First::Whole(frame) = Frame::first(&bytes) else { panic!("{kind:?}") };
            assert_eq!((frame.kind, frame.id, frame.stamp), (kind, 77, stamp));
            assert_eq!(frame.body(), b"body");
        }
        assert_eq!(encode(FrameKind::Data, 1, 1, stamp, &[0; 65_536]), None);
    }
}
