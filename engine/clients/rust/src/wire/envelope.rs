//! The binary envelope: `varint feed · varint seq · flags · payload`. Must not copy the payload.

use bytes::Bytes;

/// A message of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The number that stands for the topic.
    pub feed: u64,
    /// Its position.
    pub seq: u64,
    /// Whether the payload is text.
    pub is_text: bool,
    /// What was published.
    pub payload: Bytes,
}

impl Envelope {
    /// Reads an envelope; none where it is something else.
    #[must_use]
    pub fn read(bytes: &Bytes) -> Option<Self> {
        let (feed, rest) = varint(bytes)?;
        let (seq, rest) = varint(rest)?;
        let (flags, payload) = rest.split_first()?;
        let payload = bytes.slice(bytes.len() - payload.len()..);
        Some(Self { feed, seq, is_text: flags & 1 == 1, payload })
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * index as u32;
        // The tenth byte has one bit left.
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_envelope_is_read_and_what_is_none_is_not() {
        let bytes = Bytes::from_static(&[0xAC, 0x02, 5, 1, b'x']);
        let payload = Bytes::from_static(b"x");
        let expected = Envelope { feed: 300, seq: 5, is_text: true, payload };
        assert_eq!(Envelope::read(&bytes), Some(expected));
        for broken in [&[][..], &[0x80], &[1, 2], &[0xFF; 12]] {
            assert_eq!(Envelope::read(&Bytes::copy_from_slice(broken)), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30)) {
            let bytes = Bytes::from(bytes);
            let read = Envelope::read(&bytes);
            prop_assert!(read.is_none_or(|read| read.payload.len() < bytes.len()));
        }
    }
}
