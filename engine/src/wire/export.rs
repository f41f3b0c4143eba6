//! The form of frames for readers in this process: length, source, kind, position, time and topic
//! before the payload. Must not leave the process: it has no version.

use crate::feed::epoch::{Epoch, Position};
use crate::feed::gap::Gap;
use crate::feed::message::{Message, Origin, Stamp};
use crate::feed::source::Source;
use crate::frame::Kind;

/// A frame's bytes before the topic: length of what follows it, source, text or binary, length of
/// the topic, epoch and number in the topic, time.
const HEAD_BYTES: usize = 4 + 2 + 1 + 1 + 8 + 8 + 8;

/// A message as a reader in this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported<'a> {
    /// Which way it came in.
    pub source: Source,
    /// Text or binary, as published.
    pub kind: Kind,
    /// Its place in its topic, and when it was published on the engine's clock.
    pub stamp: Stamp,
    /// The topic it was published to.
    pub topic: &'a str,
    /// The publisher's bytes.
    pub payload: &'a [u8],
}

impl Exported<'_> {
    /// How many messages are missing here, where it stands for those.
    #[must_use]
    pub fn missed(&self) -> Option<u64> {
        let is_notice = self.topic.is_empty();
        is_notice
            .then(|| self.payload.first_chunk().map_or(0, |frames| u64::from_le_bytes(*frames)))
    }
}

/// Appends the frame's bytes before its payload.
pub fn head(out: &mut Vec<u8>, origin: &Origin, stamp: Stamp, message: Message<'_>) {
    let topic = origin.topic.as_bytes();
    let len = HEAD_BYTES - 4 + topic.len() + message.payload.len();
    out.extend((len as u32).to_le_bytes());
    out.extend(message.source.0.to_le_bytes());
    // A topic has at most 255 bytes (`TOPIC_BYTES_MAX`).
    out.extend([u8::from(message.kind == Kind::Text), topic.len() as u8]);
    for number in [stamp.position.epoch.0, stamp.position.seq, stamp.published_ns] {
        out.extend(number.to_le_bytes());
    }
    out.extend(topic);
}

/// The frame that stands for what nobody here got: it has no topic, and says how many that is.
#[must_use]
pub fn notice(gap: Gap) -> Vec<u8> {
    let (topic, pattern, number) = ("".into(), None, 0);
    let origin = Origin { topic, pattern, number };
    let frames = gap.frames_known().to_le_bytes();
    let mut out = Vec::new();
    let position = Position { epoch: Epoch::FOREIGN, seq: gap.to };
    let stamp = Stamp { position, published_ns: 0 };
    head(&mut out, &origin, stamp, Message::of_client(Kind::Binary, &frames));
    out.extend(frames);
    out
}

/// Length of the frame that begins `bytes`, if its first four are there.
#[must_use]
pub fn frame_len(bytes: &[u8]) -> Option<u64> {
    let (len, _) = bytes.split_first_chunk()?;
    Some(4 + u64::from(u32::from_le_bytes(*len)))
}

/// The frame that begins `bytes`, and what follows it; none where it is not whole.
#[must_use]
pub fn split(bytes: &[u8]) -> Option<(Exported<'_>, &[u8])> {
    let len = usize::try_from(frame_len(bytes)?).ok()?;
    let (frame, rest) = bytes.split_at_checked(len)?;
    let (source, frame) = frame.get(4..)?.split_first_chunk()?;
    let ([kind, topic_len], frame) = frame.split_first_chunk()?;
    let (epoch, frame) = frame.split_first_chunk()?;
    let (seq, frame) = frame.split_first_chunk()?;
    let (published_ns, frame) = frame.split_first_chunk()?;
    let epoch = Epoch(u64::from_le_bytes(*epoch));
    let position = Position { epoch, seq: u64::from_le_bytes(*seq) };
    let (topic, payload) = frame.split_at_checked(usize::from(*topic_len))?;
    let exported = Exported {
        source: Source(u16::from_le_bytes(*source)),
        kind: if *kind == 1 { Kind::Text } else { Kind::Binary },
        stamp: Stamp { position, published_ns: u64::from_le_bytes(*published_ns) },
        topic: std::str::from_utf8(topic).ok()?,
        payload,
    };
    Some((exported, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            topic in "[a-zä]{1,40}(/[a-z]{1,40}){0,3}",
            source in any::<u16>(),
            numbers in any::<[u64; 3]>(),
            is_text in any::<bool>(),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            rest in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let kind = if is_text { Kind::Text } else { Kind::Binary };
            let origin = Origin { topic: topic.as_str().into(), pattern: None, number: 1 };
            let source = Source(source);
            let [epoch, seq, published_ns] = numbers;
            let position = Position { epoch: Epoch(epoch), seq };
            let stamp = Stamp { position, published_ns };
            let mut bytes = Vec::new();
            head(&mut bytes, &origin, stamp, Message { kind, payload: &payload, source });
            bytes.extend(&payload);
            prop_assert_eq!(frame_len(&bytes), Some(bytes.len() as u64));
            for len in 0..bytes.len() {
                prop_assert_eq!(split(&bytes[..len]), None);
            }
            bytes.extend(&rest);
            let expected = Exported { source, kind, stamp, topic: &topic, payload: &payload };
            prop_assert_eq!(split(&bytes), Some((expected, &rest[..])));
        }
    }
}
