//! The masking of RFC 6455 section 5.3: one XOR, in place.
//! It must stay safe code: the word loop is written so that the compiler vectorises it.

/// Applies `key` to `bytes`, whose first byte is the first of the payload. Applying it twice
/// gives the original back.
pub fn apply(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    // Eight is a multiple of the key's length: the rest starts at the key's first byte again.
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_byte_by_byte_definition(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            key in any::<[u8; 4]>(),
            offset in 0_usize..16,
        ) {
            let offset = offset.min(bytes.len());
            let mut masked = bytes.clone();
            apply(&mut masked[offset..], key);
            for (i, byte) in bytes[offset..].iter().enumerate() {
                prop_assert_eq!(masked[offset + i], byte ^ key[i % 4]);
            }
            prop_assert_eq!(&masked[..offset], &bytes[..offset]);
            apply(&mut masked[offset..], key);
            prop_assert_eq!(masked, bytes);
        }
    }
}
