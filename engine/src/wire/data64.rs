//! Base64, for binary payloads in text formats (RFC 4648 section 4, padded).

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine, alphabet};

/// Takes what other encoders leave in the unused bits of the last digit: RFC 6455 section 4.1 has
/// an example of it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Appends `bytes` in base64.
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    let slot = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(bytes, slot);
    debug_assert!(written.is_ok(), "the room was made for it");
}

/// The bytes that `text` stands for; `None` where it is not base64.
#[must_use]
pub fn read(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_alphabet_is_the_standard_one_with_padding() {
        let mut out = b"x".to_vec();
        append(&mut out, &[0xFB, 0xFF, 0xFE, 0]);
        assert_eq!(out, b"x+//+AA==");
        assert_eq!((read("-__-AA=="), read("AA"), read(" AA==")), (None, None, None));
    }

    #[test]
    fn unused_bits_do_not_matter() {
        assert_eq!(read("AQIDBAUGBwgJCgsMDQ4PEC=="), Some((1..=16).collect()));
        assert_eq!((read("AB=="), read("AAB=")), (Some(vec![0]), Some(vec![0, 0])));
    }

    proptest! {
        #[test]
        fn bytes_are_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let mut out = Vec::new();
            append(&mut out, &bytes);
            prop_assert_eq!(read(&String::from_utf8(out).unwrap()), Some(bytes));
        }
    }
}
