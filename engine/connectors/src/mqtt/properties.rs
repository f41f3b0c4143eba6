//! The properties of MQTT 5 (section 2.2.2): which there are, of which type, and those that this
//! client acts on. Must not know packets.

use bytes::{BufMut, BytesMut};

use crate::mqtt::octets::{Malformed, Reader, put_varint};

pub const PAYLOAD_IS_TEXT: u8 = 0x01;
pub const SESSION_EXPIRY: u8 = 0x11;
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
pub const REASON: u8 = 0x1f;
pub const RECEIVE_MAX: u8 = 0x21;
pub const TOPIC_ALIAS: u8 = 0x23;
pub const QOS_MAX: u8 = 0x24;
pub const RETAIN_AVAILABLE: u8 = 0x25;
pub const PACKET_BYTES_MAX: u8 = 0x27;

/// What a property holds, as far as this client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u32),
    Text(&'a str),
    /// Of a type that is only passed over.
    Other,
}

impl<'a> Value<'a> {
    pub fn number(self) -> Option<u32> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    pub fn text(self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Reads the properties that stand next, and hands each to `take`.
pub fn read<'a>(
    packet: &mut Reader<'a>,
    mut take: impl FnMut(u8, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let length = packet.varint()?;
    let mut reader = Reader::new(packet.take(usize::try_from(length).unwrap_or(usize::MAX))?);
    while !reader.is_empty() {
        let id = reader.varint()?;
        let id = u8::try_from(id).map_err(|_| Malformed::Property(id))?;
        take(id, value(id, &mut reader)?)?;
    }
    Ok(())
}

fn value<'a>(id: u8, reader: &mut Reader<'a>) -> Result<Value<'a>, Malformed> {
    Ok(match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => Value::Number(reader.byte()?.into()),
        0x13 | 0x21..=0x23 => Value::Number(reader.short()?.into()),
        0x02 | 0x11 | 0x18 | 0x27 => Value::Number(reader.long()?),
        0x0b => Value::Number(reader.varint()?),
        0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => Value::Text(reader.text()?),
        0x09 | 0x16 => reader.binary().map(|_| Value::Other)?,
        0x26 => {
            reader.text()?;
            reader.text().map(|_| Value::Other)?
        }
        _ => return Err(Malformed::Property(id.into())),
    })
}

/// Appends properties with their length in front. `fill` appends each as identifier and value.
pub fn put(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let mut properties = BytesMut::new();
    fill(&mut properties);
    put_varint(out, u32::try_from(properties.len()).unwrap_or(u32::MAX));
    out.put_slice(&properties);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &[u8]) -> Result<Vec<(u8, Option<u32>)>, Malformed> {
        let mut found = Vec::new();
        read(&mut Reader::new(bytes), |id, value| {
            found.push((id, value.number()));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn what_is_not_asked_for_is_passed_over() {
        let user = [0x26, 0, 1, b'k', 0, 1, b'v'];
        let correlation = [0x09, 0, 2, 1, 2];
        let all = [&[15][..], &user, &correlation, &[RECEIVE_MAX, 0, 20]].concat();
        assert_eq!(seen(&all), Ok(vec![(0x26, None), (0x09, None), (RECEIVE_MAX, Some(20))]));
    }

    #[test]
    fn a_property_that_is_cut_off_or_unknown_is_told() {
        assert_eq!(seen(&[2, RECEIVE_MAX, 0]), Err(Malformed::Short));
        assert_eq!(seen(&[9, RECEIVE_MAX, 0]), Err(Malformed::Short));
        assert_eq!(seen(&[1, 0x7e]), Err(Malformed::Property(0x7e)));
    }

    #[test]
    fn properties_are_read_as_they_were_written() {
        let mut out = BytesMut::new();
        put(&mut out, |out| {
            out.put_u8(SESSION_EXPIRY);
            out.put_u32(3600);
        });
        assert_eq!(seen(&out), Ok(vec![(SESSION_EXPIRY, Some(3600))]));
        out.clear();
        put(&mut out, |_| {});
        assert_eq!(seen(&out), Ok(Vec::new()));
    }
}
