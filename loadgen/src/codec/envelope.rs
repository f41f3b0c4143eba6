//! Parses the envelopes of multiplexed messages: JSON texts and binary headers. This parser is
//! independent of the engine's. Pure; must not know sockets, publishers or payloads.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::codec::wire::Gap;

/// The meaning of a text message on a multiplexed socket.
#[derive(Debug, PartialEq)]
pub enum Notice<'m> {
    /// A subscription was accepted; binary envelopes refer to it by `feed`.
    Subscribed {
        /// The topic or pattern.
        topic: Cow<'m, str>,
        /// Its number.
        feed: Option<u64>,
    },
    /// The number of a topic of a pattern.
    Announced {
        /// The topic.
        topic: Cow<'m, str>,
        /// The pattern, if it is named.
        pattern: Option<Cow<'m, str>>,
        /// Its number.
        feed: u64,
    },
    /// A frame.
    Data {
        /// Its topic.
        topic: Cow<'m, str>,
        /// The pattern that was subscribed to, if it was not the topic.
        pattern: Option<Cow<'m, str>>,
        /// Its sequence number in the feed.
        seq: u64,
        /// The payload.
        payload: Cow<'m, [u8]>,
    },
    /// Frames were skipped.
    Gap(Gap),
    /// The server refused something.
    Refused(Cow<'m, str>),
    /// Any other message.
    Other,
}

/// The text is not a message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed envelope")]
pub struct Malformed;

/// Parses a text message.
pub fn read_text(message: &[u8]) -> Result<Notice<'_>, Malformed> {
    let fields: Fields<'_> = serde_json::from_slice(message).map_err(|_| Malformed)?;
    let Fields { topic, pattern, seq, data, data64, text, feed, subscribed, gap, error } = fields;
    let pattern = pattern.map(|Word(pattern)| pattern);
    if let (Some(Word(topic)), Some(seq)) = (&topic, seq) {
        let payload = payload(data, data64, text)?;
        return Ok(Notice::Data { topic: topic.clone(), pattern, seq, payload });
    }
    Ok(match (subscribed, topic, feed, gap, error) {
        (Some(Subscribed { topic: Word(topic), feed: inner }), _, feed, _, _) => {
            Notice::Subscribed { topic, feed: inner.or(feed) }
        }
        (None, Some(Word(topic)), Some(feed), _, _) => Notice::Announced { topic, pattern, feed },
        (None, _, _, Some(gap), _) if gap.is_sound() => Notice::Gap(gap),
        (None, _, _, None, Some(Refused { code: Word(code) })) => Notice::Refused(code),
        _ => Notice::Other,
    })
}

fn payload<'m>(
    data: Option<&'m RawValue>,
    data64: Option<Word<'m>>,
    is_text: bool,
) -> Result<Cow<'m, [u8]>, Malformed> {
    match (data, data64) {
        (Some(data), None) if is_text => {
            let text: String = serde_json::from_str(data.get()).map_err(|_| Malformed)?;
            Ok(Cow::Owned(text.into_bytes()))
        }
        (Some(data), None) => Ok(Cow::Borrowed(data.get().as_bytes())),
        (None, Some(Word(base64))) => from_base64(base64.as_bytes()).map(Cow::Owned),
        _ => Err(Malformed),
    }
}

/// Binary data carried as text.
pub fn from_base64(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    BASE64.decode(text).map_err(|_| Malformed)
}

/// The header of a binary message: feed and sequence number; the payload follows.
#[inline]
pub fn read_binary(message: &[u8]) -> Result<(u64, u64, &[u8]), Malformed> {
    let (feed, rest) = varint(message)?;
    let (seq, rest) = varint(rest)?;
    let (flags, payload) = rest.split_first().ok_or(Malformed)?;
    if flags & !FLAG_TEXT != 0 { Err(Malformed) } else { Ok((feed, seq, payload)) }
}

/// An unsigned LEB128 number and what follows it.
#[inline]
fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    Err(Malformed)
}

#[derive(Deserialize)]
struct Fields<'m> {
    #[serde(borrow)]
    topic: Option<Word<'m>>,
    #[serde(borrow)]
    pattern: Option<Word<'m>>,
    seq: Option<u64>,
    #[serde(borrow)]
    data: Option<&'m RawValue>,
    #[serde(borrow)]
    data64: Option<Word<'m>>,
    #[serde(default)]
    text: bool,
    feed: Option<u64>,
    #[serde(borrow)]
    subscribed: Option<Subscribed<'m>>,
    gap: Option<Gap>,
    #[serde(borrow)]
    error: Option<Refused<'m>>,
}

/// A string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Word<'m>(#[serde(borrow)] Cow<'m, str>);

#[derive(Deserialize)]
struct Subscribed<'m> {
    #[serde(borrow)]
    topic: Word<'m>,
    feed: Option<u64>,
}

#[derive(Deserialize)]
struct Refused<'m> {
    #[serde(borrow)]
    code: Word<'m>,
}

const FLAG_TEXT: u8 = 1;
/// Nine bytes hold 63 bits, more than any server needs.
const VARINT_BYTES_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::wire::GapReason;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Notice<'_>, Malformed> {
        read_text(text.as_bytes())
    }

    fn data<'m>(topic: &'m str, seq: u64, payload: &'m [u8]) -> Notice<'m> {
        Notice::Data { topic: topic.into(), pattern: None, seq, payload: payload.into() }
    }

    #[test]
    fn payloads_of_every_kind_are_taken_out_as_they_were_published() {
        let json = r#"{"topic":"a","seq":3,"data":{"f": 50.10, "x":[1, 2]}}"#;
        assert_eq!(read(json), Ok(data("a", 3, br#"{"f": 50.10, "x":[1, 2]}"#)));
        let text = r#"{"topic":"a\/\"b\"","seq":4,"data":"50,02\n","text":true}"#;
        assert_eq!(read(text), Ok(data("a/\"b\"", 4, b"50,02\n")));
        assert_eq!(read(r#"{"topic":"a","seq":5,"data64":"AP8="}"#), Ok(data("a", 5, &[0, 255])));
        let of_pattern = r##"{"topic":"a","pattern":"+/\"#","seq":6,"data":1}"##;
        let pattern = Some("+/\"#".into());
        let (topic, payload) = ("a".into(), b"1"[..].into());
        assert_eq!(read(of_pattern), Ok(Notice::Data { topic, pattern, seq: 6, payload }));
        for wrong in ["{", r#"{"topic":"a","seq":5}"#, r#"{"topic":"a","seq":5,"data64":"?"}"#] {
            assert_eq!(read(wrong), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn replies_announcements_and_gaps_are_told_apart() {
        let subscribed = r#"{"id":1,"subscribed":{"topic":"a","epoch":"k","seq":4,"feed":7}}"#;
        let taken = |feed| Ok(Notice::Subscribed { topic: "a".into(), feed });
        assert_eq!(read(subscribed), taken(Some(7)));
        assert_eq!(read(r#"{"subscribed":{"topic":"a"},"feed":8}"#), taken(Some(8)));
        let announced = r##"{"topic":"a","pattern":"#","feed":9}"##;
        let pattern = Some("#".into());
        assert_eq!(read(announced), Ok(Notice::Announced { topic: "a".into(), pattern, feed: 9 }));
        let gap = |reason| Ok(Notice::Gap(Gap { from: 4, to: 9, frames: Some(6), reason }));
        let text = r#"{"gap":{"topic":"a","from":4,"to":9,"frames":6,"reason":"conflated"}}"#;
        assert_eq!(read(text), gap(GapReason::Conflated));
        assert_eq!(read(&text.replace("conflated", "lagged")), gap(GapReason::Lost));
        let refused = r#"{"id":2,"error":{"code":"forbidden","message":"no"}}"#;
        assert_eq!(read(refused), Ok(Notice::Refused("forbidden".into())));
        assert_eq!(read(r#"{"id":2,"unsubscribed":{"topic":"a"}}"#), Ok(Notice::Other));
    }

    #[test]
    fn binary_headers_are_read() {
        assert_eq!(read_binary(&[5, 0xAC, 0x02, 0, b'x']), Ok((5, 300, &b"x"[..])));
        assert_eq!(read_binary(&[5, 1, 1]), Ok((5, 1, &b""[..])));
        for wrong in [&[][..], &[0x80], &[1, 2], &[1, 2, 2], &[0xFF; 12]] {
            assert_eq!(read_binary(wrong), Err(Malformed), "{wrong:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_back(feed in 0u64..1 << 63, seq in 0u64..1 << 63, text: bool) {
            let mut bytes = vec![];
            for mut value in [feed, seq] {
                while value >= 0x80 {
                    bytes.push(value as u8 | 0x80);
                    value >>= 7;
                }
                bytes.push(value as u8);
            }
            bytes.extend([u8::from(text), 0xAA]);
            prop_assert_eq!(read_binary(&bytes), Ok((feed, seq, &[0xAAu8][..])));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (read_text(&bytes).is_ok(), read_binary(&bytes).is_ok()); // any answer will do
        }
    }
}
