//! Envelopes of multiplexed data messages, as JSON or binary: feed, sequence number and payload.
//! Must not know frames, lanes or sockets.

use crate::feed::message::{Message, Origin};
use crate::frame::Kind;
use crate::wire::data64;
use crate::wire::text;

/// Appends `{"topic":…,"seq":…,"data":…}`, in a pattern `{"topic":…,"pattern":…,"seq":…,"data":…}`.
/// Text that is JSON stands there as it is, other text as a string beside `"text":true`, bytes as
/// base64 in `data64`. `is_json` says whether it is text that every client reads as JSON.
pub fn json(out: &mut Vec<u8>, origin: &Origin, seq: u64, message: Message<'_>, is_json: bool) {
    out.push(b'{');
    names(out, origin);
    text::text(out, format_args!(r#","seq":{seq},"#));
    data(out, message, is_json);
    out.push(b'}');
}

/// Appends `"data":…`, `"data":"…","text":true` or `"data64":"…"`, as [`json`] says.
pub fn data(out: &mut Vec<u8>, message: Message<'_>, is_json: bool) {
    match (message.kind, std::str::from_utf8(message.payload)) {
        (Kind::Text, Ok(text)) if is_json => {
            out.extend_from_slice(br#""data":"#);
            out.extend_from_slice(text.as_bytes());
        }
        (Kind::Text, Ok(text)) => {
            out.extend_from_slice(br#""data":"#);
            text::json_string(out, text);
            out.extend_from_slice(br#","text":true"#);
        }
        _ => {
            out.extend_from_slice(br#""data64":""#);
            data64::append(out, message.payload);
            out.push(b'"');
        }
    }
}

/// Appends `varint feed · varint seq · flags · payload`. Varints are unsigned LEB128; bit 0 of the
/// flags says that the payload is text.
pub fn binary(out: &mut Vec<u8>, feed: u64, seq: u64, message: Message<'_>) {
    varint(out, feed);
    varint(out, seq);
    out.push(u8::from(message.kind == Kind::Text));
    out.extend_from_slice(message.payload);
}

/// The message that tells which number stands for a topic of a pattern.
pub fn announcement(origin: &Origin) -> Vec<u8> {
    let mut out = b"{".to_vec();
    names(&mut out, origin);
    text::text(&mut out, format_args!(r#","feed":{}}}"#, origin.number));
    out
}

/// Appends `"topic":…` and, in a pattern, `"pattern":…`: where a message comes from, and by which
/// subscription.
pub fn names(out: &mut Vec<u8>, origin: &Origin) {
    out.extend_from_slice(br#""topic":"#);
    text::json_string(out, &origin.topic);
    if let Some(pattern) = &origin.pattern {
        out.extend_from_slice(br#","pattern":"#);
        text::json_string(out, pattern.as_str());
    }
}

/// Appends unsigned LEB128: seven bits a byte, the lowest first.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::topic::Pattern;
    use crate::wire::json::is_portable;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn origin(topic: &str, pattern: Option<&str>) -> Origin {
        let pattern = pattern.map(|pattern| Pattern::new(pattern).unwrap());
        Origin { topic: topic.into(), pattern, number: 7 }
    }

    fn json_of(topic: &str, seq: u64, kind: Kind, payload: &[u8]) -> String {
        let mut out = Vec::new();
        let is_json = is_portable(payload);
        json(&mut out, &origin(topic, None), seq, Message::of_client(kind, payload), is_json);
        String::from_utf8(out).unwrap()
    }

    /// LEB128 by its definition: seven bits a byte, the lowest first.
    fn read_varint(bytes: &mut &[u8]) -> u64 {
        let len = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (own, rest) = bytes.split_at(len);
        *bytes = rest;
        own.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
    }

    #[test]
    fn the_forms_are_the_documented_ones() {
        assert_eq!(
            json_of("pmu/1001", 42, Kind::Text, br#"{"f": 50.02}"#),
            r#"{"topic":"pmu/1001","seq":42,"data":{"f": 50.02}}"#
        );
        assert_eq!(
            json_of("pmu/1001", 43, Kind::Text, b"50,02"),
            r#"{"topic":"pmu/1001","seq":43,"data":"50,02","text":true}"#
        );
        assert_eq!(
            json_of("pmu/\"1\"", 43, Kind::Binary, &[0, 255]),
            r#"{"topic":"pmu/\"1\"","seq":43,"data64":"AP8="}"#
        );
        let of_pattern = origin("pmu/1002", Some("pmu/#"));
        let announced = r#"{"topic":"pmu/1002","pattern":"pmu/#","feed":7}"#;
        assert_eq!(announcement(&of_pattern), announced.as_bytes());
        let mut out = Vec::new();
        json(&mut out, &of_pattern, 2, Message::of_client(Kind::Text, b"1"), true);
        assert_eq!(out, br#"{"topic":"pmu/1002","pattern":"pmu/#","seq":2,"data":1}"#);
        out.clear();
        binary(&mut out, 300, 5, Message::of_client(Kind::Text, b"x"));
        assert_eq!(out, [0xAC, 0x02, 5, 1, b'x']);
    }

    #[test]
    fn what_not_every_client_can_read_is_text() {
        for data in ["1e999", "18446744073709551616", "[-1e400]", "\"\\ud800\"", "NaN", "\u{feff}1"]
        {
            let envelope = json_of("t", 1, Kind::Text, data.as_bytes());
            let value: serde_json::Value = serde_json::from_str(&envelope).unwrap();
            assert_eq!((&value["data"], &value["text"]), (&data.into(), &true.into()), "{data}");
        }
    }

    #[test]
    fn deep_nesting_is_text() {
        let nested = |depth: usize| "[".repeat(depth) + "\"]\\\"[\"" + &"]".repeat(depth);
        for depth in [1, 63, 64, 100_000] {
            let envelope = json_of("t", 1, Kind::Text, nested(depth).as_bytes());
            let value: serde_json::Value = serde_json::from_str(&envelope).unwrap();
            assert_eq!(value["text"].as_bool().is_some(), depth > 63, "{depth}");
        }
        let wide = format!("[{}\"{}\"]", "[{}],".repeat(99), "[".repeat(99));
        assert!(json_of("t", 1, Kind::Text, wide.as_bytes()).contains(&wide));
    }

    proptest! {
        #[test]
        fn any_text_survives(topic in "[a-z\"\\\\/é]{1,20}", seq: u64, text in ".{0,60}") {
            let envelope = json_of(&topic, seq, Kind::Text, text.as_bytes());
            let value: serde_json::Value = serde_json::from_str(&envelope).unwrap();
            prop_assert_eq!(&value["topic"], &topic);
            prop_assert_eq!(&value["seq"], seq);
            match value["text"].as_bool() {
                Some(true) => prop_assert_eq!(&value["data"], &text),
                _ => {
                    let data: serde_json::Value = serde_json::from_str(&text).unwrap();
                    prop_assert_eq!(&value["data"], &data);
                }
            }
        }

        #[test]
        fn any_bytes_survive(
            feed: u64,
            seq: u64,
            payload in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let message = Message::of_client(Kind::Binary, &payload);
            let mut out = Vec::new();
            binary(&mut out, feed, seq, message);
            let mut rest = out.as_slice();
            prop_assert_eq!((read_varint(&mut rest), read_varint(&mut rest)), (feed, seq));
            prop_assert_eq!(rest, [&[0][..], &payload].concat());
            let envelope = json_of("t", seq, Kind::Binary, &payload);
            let value: serde_json::Value = serde_json::from_str(&envelope).unwrap();
            prop_assert_eq!(STANDARD.decode(value["data64"].as_str().unwrap()).unwrap(), payload);
        }
    }
}
