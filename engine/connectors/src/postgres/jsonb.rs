//! Which payloads become `jsonb`, and in which form. PostgreSQL refuses a whole batch for one value
//! that it cannot keep, so a value is checked and written anew here. Must not know the table.

use serde_json::Value;

/// The JSON value of `payload`, in a form that PostgreSQL keeps; none where it is not JSON or holds
/// what `jsonb` has no room for: the character U+0000. Numbers are written anew within the range of
/// a double, because an exponent such as `1e-400000` is JSON and still refused.
#[must_use]
pub fn from_payload(payload: &[u8]) -> Option<Value> {
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !b"{[\"-0123456789tfn".contains(first) {
        return None;
    }
    let value = serde_json::from_slice(payload).ok()?;
    is_storable(&value).then_some(value)
}

fn is_storable(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Array(items) => items.iter().all(is_storable),
        Value::Object(map) => {
            map.iter().all(|(key, inner)| !key.contains('\0') && is_storable(inner))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_other_text() {
        assert_eq!(from_payload(b" {\"a\":[1,null]} ").unwrap()["a"][0], 1);
        for other in [b"".as_slice(), b"hello", b"{\"a\":", b"\xff\x00", b"\"\\ud800\"", b"1e400"] {
            assert_eq!(from_payload(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_jsonb_cannot_hold_is_left_out() {
        for refused in ["\"\\u0000\"", "{\"a\\u0000\":1}", "[[{\"a\":\"x\\u0000\"}]]"] {
            assert_eq!(from_payload(refused.as_bytes()), None, "{refused}");
        }
        assert_eq!(from_payload(b"1e-400000").unwrap().to_string(), "0.0");
    }
}
