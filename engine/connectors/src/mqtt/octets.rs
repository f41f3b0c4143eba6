//! The primitive values of MQTT packets (section 1.5 of both versions), read and written. Owns
//! their bounds. Must not know what a packet is.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// The longest text or binary value.
pub const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// Bytes that are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The packet ends inside of a value.
    #[error("a packet ends inside of a value")]
    Short,
    /// Bytes are left over after the last value.
    #[error("a packet has bytes after its last value")]
    Trailing,
    /// A variable byte integer of more than four bytes.
    #[error("a length has more than four bytes")]
    Varint,
    /// Text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A packet above the limit that was announced to the broker.
    #[error("a packet of {0} bytes: `packet_bytes_max` allows fewer")]
    TooLong(usize),
    /// A packet that a broker does not send.
    #[error("packet type {0} is none that a broker sends to this client")]
    Type(u8),
    /// Flags that this type of packet does not have.
    #[error("flags {flags:#06b} do not belong to packet type {kind}")]
    Flags {
        /// The packet type.
        kind: u8,
        /// Its flags.
        flags: u8,
    },
    /// A packet identifier of zero.
    #[error("packet identifier 0")]
    Identifier,
    /// A property that MQTT 5 does not have.
    #[error("property {0:#04x} is unknown")]
    Property(u32),
    /// A topic alias, although none was allowed.
    #[error("a topic alias, although none was allowed")]
    Alias,
}

/// Reads values from the front of a packet.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub fn short(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn long(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.binary()?).map_err(|_| Malformed::Text)
    }

    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let (value, length) = varint(self.0)?.ok_or(Malformed::Short)?;
        self.take(length)?;
        Ok(value)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// The variable byte integer at the front, and how many bytes it takes; none while it is not whole.
pub fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Malformed::Varint) }
}

/// Appends a variable byte integer: below 2^28.
pub fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

/// How many bytes [`put_varint`] appends.
pub const fn varint_bytes(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Appends a text or binary value. What is longer than [`FIELD_BYTES_MAX`] is cut: settings and
/// topics are checked to be shorter.
pub fn put_field(out: &mut BytesMut, bytes: &[u8]) {
    let bytes = bytes.get(..FIELD_BYTES_MAX).unwrap_or(bytes);
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The largest number that a variable byte integer holds.
    const VARINT_MAX: u32 = 268_435_455;

    proptest! {
        #[test]
        fn a_varint_is_read_as_it_was_written(value in 0..=VARINT_MAX, tail in any::<[u8; 2]>()) {
            let mut bytes = BytesMut::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_bytes(value));
            for cut in 0..bytes.len() {
                prop_assert_eq!(varint(&bytes[..cut]), Ok(None));
            }
            let length = bytes.len();
            bytes.extend_from_slice(&tail);
            prop_assert_eq!(varint(&bytes), Ok(Some((value, length))));
        }

        #[test]
        fn a_text_is_read_as_it_was_written(text in ".{0,40}") {
            let mut bytes = BytesMut::new();
            put_field(&mut bytes, text.as_bytes());
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn a_length_has_four_bytes_at_most() {
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0x7f]), Ok(Some((VARINT_MAX, 4))));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff]), Err(Malformed::Varint));
    }

    #[test]
    fn a_value_that_is_cut_off_is_told() {
        assert_eq!(Reader::new(&[0, 3, b'a']).text(), Err(Malformed::Short));
        assert_eq!(Reader::new(&[0, 1, 0xff]).text(), Err(Malformed::Text));
        assert_eq!(Reader::new(&[1]).short(), Err(Malformed::Short));
        assert_eq!(Reader::new(&[1]).end(), Err(Malformed::Trailing));
    }
}
