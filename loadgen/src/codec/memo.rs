//! A cache of results by message bytes. In a broadcast the same bytes arrive at every socket, so
//! nearly all messages cost one comparison instead of a checksum, a parse or an inflation. Must not
//! know what the bytes mean.

/// Cached values by the bytes they were computed from; if two share a slot, the newer one stays.
#[derive(Debug)]
pub struct Memo<V> {
    slots: Vec<Slot>,
    /// Values are stored apart from the slots, so that a cached value is never moved.
    values: Vec<V>,
    /// Whether different messages may end with the same bytes.
    is_wide: bool,
}

#[derive(Debug)]
struct Slot {
    bytes: Vec<u8>,
    /// Index of the value; none in a slot that was never used.
    value: Option<u32>,
}

impl<V> Memo<V> {
    /// A cache with this many slots, at least 64 and at most 8,192.
    pub fn new(messages: usize) -> Memo<V> {
        let slots = messages.clamp(SLOTS_MIN, SLOTS_MAX).next_power_of_two();
        let empty = || Slot { bytes: Vec::new(), value: None };
        let slots = (0..slots).map(|_| empty()).collect();
        Memo { slots, values: Vec::new(), is_wide: false }
    }

    /// A cache for texts of other protocols, where the bytes after the frame may be the same in
    /// many messages.
    pub fn of_texts(messages: usize) -> Memo<V> {
        Memo { is_wide: true, ..Memo::new(messages) }
    }

    /// The value of these bytes, computed now if it is not cached. A failure is not cached.
    #[inline]
    pub fn of<E>(
        &mut self,
        bytes: &[u8],
        make: impl FnOnce(&[u8]) -> Result<V, E>,
    ) -> Result<&V, E> {
        let hash = if self.is_wide { wide_slot_of(bytes) } else { slot_of(bytes) };
        let at = hash & (self.slots.len() - 1);
        let slot = &mut self.slots[at];
        let place = match slot.value {
            Some(place) if slot.bytes == bytes => place as usize,
            _ => slot.keep(bytes, make(bytes)?, &mut self.values),
        };
        Ok(&self.values[place])
    }
}

impl Slot {
    /// Replaces the cached value of a slot; returns the index of the new one.
    fn keep<V>(&mut self, bytes: &[u8], value: V, values: &mut Vec<V>) -> usize {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        let place = *self.value.get_or_insert(values.len() as u32) as usize;
        match values.get_mut(place) {
            Some(kept) => *kept = value,
            None => values.push(value),
        }
        place
    }
}

/// Every form ends with a checksum or close to one, so the last bytes are a good hash.
#[inline]
fn slot_of(message: &[u8]) -> usize {
    let word = message.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as usize
}

/// More bytes than any of those protocols puts after a frame.
#[inline]
fn wide_slot_of(message: &[u8]) -> usize {
    let tail = message.get(message.len().saturating_sub(WIDE_BYTES)..).unwrap_or_default();
    let (_, words) = tail.as_rchunks::<8>();
    let sum = words.iter().fold(0u64, |sum, word| {
        (sum.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    (sum >> 48) as usize
}

const WIDE_BYTES: usize = 64;
const SLOTS_MIN: usize = 64;
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
    fn texts_that_end_alike_do_not_share_a_slot() {
        let text = |sum: u32| format!(r#"{{"data":{{"ck":"{sum:08x}"}},"offset":1234567}}}}}}"#);
        let slots = (0..64).map(|sum| wide_slot_of(text(sum * 77).as_bytes()) % 1024);
        let slots: std::collections::HashSet<usize> = slots.collect();
        assert!(slots.len() > 48, "{}", slots.len());
        let mut memo: Memo<usize> = Memo::of_texts(1);
        for sum in (0..200).chain(0..200) {
            let text = text(sum);
            let value = memo.of(text.as_bytes(), |bytes| Ok::<_, ()>(bytes.len()));
            assert_eq!(value, Ok(&text.len()));
        }
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
