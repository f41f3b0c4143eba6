//! Encodes a publisher's payloads for a server with a protocol of its own inside messages. Must not
//! know when they are due, or sockets.

use crate::codec::dialect::dialect::Dialect;
use crate::codec::dialect::protocol::push_text;
use crate::codec::dialect::stream::StreamProtocol;
use crate::codec::dialect::{centrifugo, json, pusher};
use crate::codec::wire;
use crate::codec::wire::Opcode;

/// The encoder of one publisher.
#[derive(Debug)]
pub struct PublishEncoder {
    topic: String,
    encoding: Encoding,
}

#[derive(Debug)]
enum Encoding {
    Stream { protocol: StreamProtocol, packet: Vec<u8> },
    SocketIo { head: String, announcement: String },
    Centrifugo { newest_id: u32 },
    Pusher,
}

/// A payload.
#[derive(Debug, Clone, Copy)]
pub struct EncodedFrame<'p> {
    /// Its bytes.
    pub payload: &'p [u8],
    /// Whether they are text.
    pub is_text: bool,
}

impl PublishEncoder {
    /// The encoder for a topic; `None` if payloads are sent as plain messages.
    pub fn new(dialect: &Dialect, topic: &str) -> Option<PublishEncoder> {
        let stream = |protocol| Encoding::Stream { protocol, packet: Vec::new() };
        let encoding = match dialect {
            Dialect::Gridcast | Dialect::Raw(_) | Dialect::Nchan(_) => return None,
            Dialect::Nats => stream(StreamProtocol::Nats),
            Dialect::Mqtt => stream(StreamProtocol::Mqtt),
            Dialect::SocketIo(events) => {
                let announcement = events.publish_announcement(topic);
                Encoding::SocketIo { head: events.publish_head(topic), announcement }
            }
            Dialect::Centrifugo { .. } => {
                Encoding::Centrifugo { newest_id: centrifugo::CONNECT_ID }
            }
            Dialect::Pusher { .. } => Encoding::Pusher,
        };
        Some(PublishEncoder { topic: topic.to_owned(), encoding })
    }

    /// Appends the frames of a payload, masked with this key.
    pub fn put(&mut self, encoded: EncodedFrame<'_>, mask: [u8; 4], out: &mut Vec<u8>) {
        let EncodedFrame { payload, is_text } = encoded;
        let text = match &mut self.encoding {
            Encoding::Stream { protocol, packet } => {
                packet.clear();
                protocol.publish(&self.topic, payload, packet);
                return wire::encode(Opcode::Binary, packet, mask, out);
            }
            Encoding::SocketIo { announcement, .. } if !is_text => {
                push_text(announcement, out);
                return wire::encode(Opcode::Binary, payload, mask, out);
            }
            Encoding::SocketIo { head, .. } => {
                format!("{head}{}]", json::string_of(payload, is_text))
            }
            Encoding::Centrifugo { newest_id } => {
                *newest_id += 1;
                centrifugo::publish(*newest_id, &self.topic, payload, is_text)
            }
            Encoding::Pusher => pusher::publish(&self.topic, payload, is_text),
        };
        wire::encode(Opcode::Text, text.as_bytes(), mask, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::broker::fixtures::texts_of;
    use super::*;

    fn put(word: &str, payload: &[u8], is_text: bool) -> Vec<u8> {
        let mut publish_encoder =
            PublishEncoder::new(&Dialect::named(word).unwrap(), "pmu/1").unwrap();
        let mut out = Vec::new();
        publish_encoder.put(EncodedFrame { payload, is_text }, [1, 2, 3, 4], &mut out);
        out
    }

    #[test]
    fn text_is_put_in_one_text_message() {
        let json = br#"{"x":1.50}"#;
        for (word, expected) in [
            ("socketio", r#"42["publish","pmu/1","{\"x\":1.50}"]"#),
            ("centrifugo", r#"{"id":2,"publish":{"channel":"pmu/1","data":{"x":1.50}}}"#),
            (
                "pusher",
                r#"{"event":"client-frame","channel":"private-pmu.1","data":"{\"x\":1.50}"}"#,
            ),
        ] {
            assert_eq!(texts_of(&put(word, json, true)), [expected], "{word}");
        }
    }

    #[test]
    fn socketio_announces_bytes_and_sends_them_behind() {
        let out = put("socketio", &[0xAA, 0], false);
        let (announcement, binary) = out.split_at(out.len() - 8);
        let expected = r#"451-["publish","pmu/1",{"_placeholder":true,"num":0}]"#;
        assert_eq!(texts_of(announcement), [expected]);
        assert_eq!(binary, [0x82, 0x82, 1, 2, 3, 4, 0xAA ^ 1, 2]);
    }

    #[test]
    fn what_is_passed_on_as_it_is_has_no_speech() {
        for word in ["gridcast", "raw", "nchan"] {
            assert!(PublishEncoder::new(&Dialect::named(word).unwrap(), "a").is_none(), "{word}");
        }
    }
}
