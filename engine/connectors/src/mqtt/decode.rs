//! Packets as a broker sends them. Owns where a packet ends and what is in it. Must not act on any.

use crate::mqtt::octets::{Malformed, Reader, varint};
use crate::mqtt::properties::{
    self, PACKET_BYTES_MAX, PAYLOAD_IS_TEXT, QOS_MAX, REASON, RECEIVE_MAX, RETAIN_AVAILABLE,
    SERVER_KEEP_ALIVE, TOPIC_ALIAS,
};
use crate::mqtt::settings::Version;

/// A packet of a broker.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Connected(Connected),
    Publish(Publish<'a>),
    /// A publish of ours was taken, or refused.
    Acknowledged(Outcome<'a>),
    /// One code for each filter of the subscription.
    Subscribed {
        id: u16,
        codes: &'a [u8],
    },
    Pong,
    /// Why the broker ends the connection (MQTT 5).
    Disconnect {
        code: u8,
        text: &'a str,
    },
}

/// The answer to a connection attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The broker remembers the subscriptions of an earlier connection.
    pub is_resumed: bool,
    /// 0 is success.
    pub code: u8,
    /// What the broker says of it, or nothing.
    pub text: String,
    /// Publishes with QoS 1 that it takes before it acknowledges the first.
    pub receive_max: u16,
    /// The highest QoS that it takes.
    pub qos_max: u8,
    pub can_retain: bool,
    /// The longest packet that it takes.
    pub packet_bytes_max: u32,
    /// In place of what was asked for, s.
    pub keep_alive_s: Option<u16>,
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub topic: &'a str,
    /// To be acknowledged by this number; none at QoS 0.
    pub id: Option<u16>,
    /// The publisher says that it is text (MQTT 5).
    pub is_text: bool,
    pub payload: &'a [u8],
}

/// How a publish of ours ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    pub id: u16,
    /// Below 0x80 it was taken.
    pub code: u8,
    pub text: &'a str,
}

/// Bytes of the packet at the front; none while its length is not known yet. A packet is refused
/// by its announced length: nothing is allocated for it.
pub fn length(bytes: &[u8], max: usize) -> Result<Option<usize>, Malformed> {
    let Some((_, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((rest_bytes, varint_bytes)) = varint(rest)? else { return Ok(None) };
    let length = usize::try_from(rest_bytes).unwrap_or(usize::MAX).saturating_add(1 + varint_bytes);
    if length > max { Err(Malformed::TooLong(length)) } else { Ok(Some(length)) }
}

/// Reads one whole packet.
pub fn packet(bytes: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    let first = reader.byte()?;
    reader.varint()?;
    let (kind, flags) = (first >> 4, first & 0x0f);
    if kind != 3 && flags != 0 {
        return Err(Malformed::Flags { kind, flags });
    }
    match kind {
        2 => connected(reader, version).map(Packet::Connected),
        3 => publish(reader, flags, version).map(Packet::Publish),
        4 => outcome(reader, version).map(Packet::Acknowledged),
        9 => subscribed(reader, version),
        13 => reader.end().map(|()| Packet::Pong),
        14 => disconnect(reader, version),
        _ => Err(Malformed::Type(kind)),
    }
}

fn connected(mut reader: Reader<'_>, version: Version) -> Result<Connected, Malformed> {
    let is_resumed = reader.byte()? & 1 == 1;
    let code = reader.byte()?;
    let mut connected = Connected { is_resumed, code, ..Connected::default() };
    if version == Version::V5 {
        properties::read(&mut reader, |id, value| {
            connected.take(id, value);
            Ok(())
        })?;
    }
    reader.end()?;
    Ok(connected)
}

impl Default for Connected {
    /// What holds where a broker says nothing else.
    fn default() -> Self {
        Self {
            is_resumed: false,
            code: 0,
            text: String::new(),
            receive_max: u16::MAX,
            qos_max: 2,
            can_retain: true,
            packet_bytes_max: u32::MAX,
            keep_alive_s: None,
        }
    }
}

impl Connected {
    fn take(&mut self, id: u8, value: properties::Value<'_>) {
        let number = value.number().unwrap_or_default();
        let short = u16::try_from(number).unwrap_or(u16::MAX);
        match id {
            REASON => self.text = value.text().unwrap_or_default().to_owned(),
            RECEIVE_MAX => self.receive_max = short.max(1),
            QOS_MAX => self.qos_max = u8::try_from(number).unwrap_or(2),
            RETAIN_AVAILABLE => self.can_retain = number != 0,
            PACKET_BYTES_MAX => self.packet_bytes_max = number,
            SERVER_KEEP_ALIVE => self.keep_alive_s = Some(short),
            _ => {}
        }
    }
}

fn publish(mut reader: Reader<'_>, flags: u8, version: Version) -> Result<Publish<'_>, Malformed> {
    let topic = reader.text()?;
    let id = match (flags >> 1) & 3 {
        0 => None,
        1 => Some(identifier(&mut reader)?),
        // Subscriptions ask for QoS 1 at most, so a broker never sends more.
        _ => return Err(Malformed::Flags { kind: 3, flags }),
    };
    let mut is_text = false;
    if version == Version::V5 {
        properties::read(&mut reader, |id, value| match id {
            TOPIC_ALIAS => Err(Malformed::Alias),
            PAYLOAD_IS_TEXT => {
                is_text = value.number() == Some(1);
                Ok(())
            }
            _ => Ok(()),
        })?;
    }
    Ok(Publish { topic, id, is_text, payload: reader.rest() })
}

fn outcome(mut reader: Reader<'_>, version: Version) -> Result<Outcome<'_>, Malformed> {
    let id = identifier(&mut reader)?;
    let (code, text) = reason(&mut reader, version)?;
    Ok(Outcome { id, code, text })
}

fn subscribed(mut reader: Reader<'_>, version: Version) -> Result<Packet<'_>, Malformed> {
    let id = identifier(&mut reader)?;
    if version == Version::V5 {
        properties::read(&mut reader, |_, _| Ok(()))?;
    }
    Ok(Packet::Subscribed { id, codes: reader.rest() })
}

fn disconnect(mut reader: Reader<'_>, version: Version) -> Result<Packet<'_>, Malformed> {
    let (code, text) = reason(&mut reader, version)?;
    Ok(Packet::Disconnect { code, text })
}

/// A reason code and what is said of it; both may be left out.
fn reason<'a>(reader: &mut Reader<'a>, version: Version) -> Result<(u8, &'a str), Malformed> {
    let mut text = "";
    if version != Version::V5 || reader.is_empty() {
        return reader.end().map(|()| (0, text));
    }
    let code = reader.byte()?;
    if !reader.is_empty() {
        properties::read(reader, |id, value| {
            if id == REASON {
                text = value.text().unwrap_or_default();
            }
            Ok(())
        })?;
    }
    reader.end()?;
    Ok((code, text))
}

fn identifier(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    match reader.short()? {
        0 => Err(Malformed::Identifier),
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_length_of_a_packet_is_known_before_it_is_whole() {
        assert_eq!(length(&[], 10), Ok(None));
        assert_eq!(length(&[0x30], 10), Ok(None));
        assert_eq!(length(&[0x30, 0x80], 10), Ok(None));
        assert_eq!(length(&[0x30, 8], 10), Ok(Some(10)));
        assert_eq!(length(&[0x30, 9], 10), Err(Malformed::TooLong(11)));
    }

    #[test]
    fn a_connection_is_accepted_with_the_limits_of_the_broker() {
        assert_eq!(
            packet(&[0x20, 2, 1, 0], Version::V311),
            Ok(Packet::Connected(Connected { is_resumed: true, ..Connected::default() }))
        );
        let bytes = [0x20, 14, 0, 0x87, 11, 0x1f, 0, 2, b'n', b'o', 0x21, 0, 5, 0x25, 0, 0x24];
        assert_eq!(packet(&bytes, Version::V5), Err(Malformed::Short));
        let bytes = [0x20, 13, 0, 0x87, 10, 0x1f, 0, 2, b'n', b'o', 0x21, 0, 5, 0x25, 0];
        let expected = Connected {
            code: 0x87,
            text: "no".to_owned(),
            receive_max: 5,
            can_retain: false,
            ..Connected::default()
        };
        assert_eq!(packet(&bytes, Version::V5), Ok(Packet::Connected(expected)));
    }

    #[test]
    fn a_message_is_read_in_both_versions() {
        let old = [0x32, 7, 0, 1, b'a', 0, 9, b'h', b'i'];
        let new = [0x32, 10, 0, 1, b'a', 0, 9, 2, 1, 1, b'h', b'i'];
        let publish = |is_text| Publish { topic: "a", id: Some(9), is_text, payload: b"hi" };
        assert_eq!(packet(&old, Version::V311), Ok(Packet::Publish(publish(false))));
        assert_eq!(packet(&new, Version::V5), Ok(Packet::Publish(publish(true))));
    }

    #[test]
    fn an_acknowledgement_may_leave_its_reason_out() {
        let taken = |code, text| Ok(Packet::Acknowledged(Outcome { id: 9, code, text }));
        assert_eq!(packet(&[0x40, 2, 0, 9], Version::V5), taken(0, ""));
        assert_eq!(packet(&[0x40, 3, 0, 9, 0x97], Version::V5), taken(0x97, ""));
        assert_eq!(packet(&[0x40, 4, 0, 9, 0x97, 0], Version::V5), taken(0x97, ""));
        let full = [0x40, 8, 0, 9, 0x97, 4, 0x1f, 0, 1, b'q'];
        assert_eq!(packet(&full, Version::V5), taken(0x97, "q"));
        assert_eq!(packet(&[0x40, 3, 0, 9, 0], Version::V311), Err(Malformed::Trailing));
    }

    #[test]
    fn what_a_broker_must_not_send_is_refused() {
        for (bytes, error) in [
            (&[0x34, 5, 0, 1, b'a', 0, 9][..], Malformed::Flags { kind: 3, flags: 4 }),
            (&[0x32, 5, 0, 1, b'a', 0, 0], Malformed::Identifier),
            (&[0x30, 7, 0, 0, 3, 0x23, 0, 1, b'x'], Malformed::Alias),
            (&[0x41, 2, 0, 9], Malformed::Flags { kind: 4, flags: 1 }),
            (&[0xc0, 0], Malformed::Type(12)),
            (&[0xd0, 1, 0], Malformed::Trailing),
        ] {
            assert_eq!(packet(bytes, Version::V5), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            first in prop::sample::select(vec![0x20, 0x30, 0x32, 0x40, 0x90, 0xd0, 0xe0_u8]),
        ) {
            let whole = [&[first, u8::try_from(bytes.len()).unwrap()][..], &bytes].concat();
            for version in [Version::V311, Version::V5] {
                // Whatever it says: a broker's bytes never end the thread.
                let _ = packet(&bytes, version);
                let _ = packet(&whole, version);
            }
        }
    }
}
