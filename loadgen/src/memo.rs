//! What was made of the bytes seen last. In a broadcast the same bytes arrive at every socket, so
//! nearly all messages cost one comparison instead of a checksum, a parse or an inflation. Must not
//! know what the bytes are.

/// Values by the bytes they were made of; of bytes that share a slot the newest stay.
#[derive(Debug)]
pub struct Memo<V> {
    slots: Vec<Slot<V>>,
}

#[derive(Debug)]
struct Slot<V> {
    bytes: Vec<u8>,
    value: Option<V>,
}

impl<V> Memo<V> {
    /// A memo for messages of this many publishers.
    pub fn new(publishers: usize) -> Memo<V> {
        let slots = (publishers * SLOTS_PER_PUBLISHER).next_power_of_two().clamp(64, SLOTS_MAX);
        let empty = || Slot { bytes: Vec::new(), value: None };
        Memo { slots: (0..slots).map(|_| empty()).collect() }
    }

    /// The value of these bytes, made now if they are not remembered. A failure is not kept.
    #[inline]
    pub fn of<E>(
        &mut self,
        bytes: &[u8],
        make: impl FnOnce(&[u8]) -> Result<V, E>,
    ) -> Result<&V, E> {
        let at = slot_of(bytes) & (self.slots.len() - 1);
        let slot = &mut self.slots[at];
        let value = match slot.value.take() {
            Some(value) if slot.bytes == bytes => value,
            _ => {
                let value = make(bytes)?;
                slot.bytes.clear();
                slot.bytes.extend_from_slice(bytes);
                value
            }
        };
        Ok(slot.value.insert(value))
    }
}

/// Every form ends in a checksum or near one, so the last bytes spread well over the slots.
#[inline]
fn slot_of(message: &[u8]) -> usize {
    let word = message.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize
}

const SLOTS_PER_PUBLISHER: usize = 32;
const SLOTS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_made_once_and_failures_are_tried_again() {
        let mut memo: Memo<usize> = Memo::new(1);
        let mut made = 0;
        for _ in 0..3 {
            let value = memo.of(b"some bytes", |bytes| {
                made += 1;
                Ok::<_, ()>(bytes.len())
            });
            assert_eq!(value, Ok(&10));
        }
        assert_eq!(made, 1);
        assert_eq!(memo.of(b"other", |_| Err("no")), Err("no"));
        assert_eq!(memo.of(b"other", |_| Ok::<_, ()>(5)), Ok(&5));
    }

    #[test]
    fn bytes_that_share_a_slot_are_told_apart() {
        let mut memo: Memo<u8> = Memo::new(1);
        for first in 0..=255 {
            // The same last eight bytes: the same slot.
            let bytes = [&[first][..], b"12345678"].concat();
            assert_eq!(memo.of(&bytes, |bytes| Ok::<_, ()>(bytes[0])), Ok(&first));
        }
    }
}
