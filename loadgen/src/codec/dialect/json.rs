//! Converts payloads and topics to JSON values and back. Pure; must not know any protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;

use crate::codec::envelope;

/// A text as JSON writes it.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A payload as a JSON string: text unchanged, anything else in base64. A server that parses and
/// rewrites JSON may change numbers and spaces, but never a string.
pub fn string_of(payload: &[u8], is_text: bool) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) if is_text => quoted(text),
        _ => format!("\"{}\"", BASE64.encode(payload)),
    }
}

/// A payload as a JSON value: text is JSON already and stays unchanged; anything else becomes a
/// string.
pub fn value_of(payload: &[u8], is_text: bool) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) if is_text => text.to_owned(),
        _ => string_of(payload, false),
    }
}

/// The payload in a JSON value. A string gives its text, or the decoded bytes if it is base64; any
/// other value gives its source text. This is unambiguous: text frames are JSON objects, which are
/// never valid base64.
pub fn payload_of(value: &RawValue) -> Option<Vec<u8>> {
    let text = value.get();
    if !text.starts_with('"') {
        return Some(text.as_bytes().to_vec());
    }
    let text: String = serde_json::from_str(text).ok()?;
    let bytes = envelope::from_base64(text.as_bytes());
    Some(bytes.unwrap_or_else(|_| text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Vec<u8>> {
        payload_of(serde_json::from_str::<&RawValue>(text).unwrap())
    }

    proptest! {
        #[test]
        fn bytes_come_back(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read(&string_of(&payload, false)), Some(payload.clone()));
            prop_assert_eq!(read(&value_of(&payload, false)), Some(payload));
        }

        #[test]
        fn objects_come_back_to_the_byte(text in r#"\{"[a-z]{1,5}":-?[0-9]\.[0-9]{2}0\}"#) {
            prop_assert_eq!(read(&string_of(text.as_bytes(), true)), Some(text.clone().into()));
            prop_assert_eq!(read(&value_of(text.as_bytes(), true)), Some(text.into()));
        }
    }

    #[test]
    fn text_that_is_no_base64_stays_text() {
        assert_eq!(read(r#""{\"a\":1}""#), Some(br#"{"a":1}"#.to_vec()));
        assert_eq!(read(r#""AQI=""#), Some(vec![1, 2]));
        assert_eq!(read(r#"[1, 2]"#), Some(b"[1, 2]".to_vec()));
        assert_eq!(read(r#""\ud800""#), None, "half a character");
    }
}
