//! MQTT 3.1.1 as far as a QoS 0 client needs it (OASIS standard, sections 2 and 3). Pure; must not
//! know messages or sockets.

use crate::codec::dialect::packet::{Malformed, Packet, PacketContent};

/// CONNECT (3.1): a clean session, a client id chosen by the broker, no keep-alive.
pub fn greeting() -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = Vec::new();
    text("MQTT", &mut body);
    body.extend([LEVEL, CLEAN_SESSION, 0, 0]);
    text("", &mut body);
    framed(CONNECT, &body, &mut out);
    out
}

/// Subscribes to all topics in one packet (3.8).
pub fn subscribe(topics: &[&str]) -> Vec<u8> {
    let (mut out, mut body) = (Vec::new(), vec![0, 1]);
    for topic in topics {
        text(topic, &mut body);
        body.push(0);
    }
    framed(SUBSCRIBE, &body, &mut out);
    out
}

/// Appends a publish (3.3).
pub fn publish(topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    out.push(PUBLISH);
    remaining_length(2 + topic.len() + payload.len(), out);
    text(topic, out);
    out.extend_from_slice(payload);
}

fn framed(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    remaining_length(body.len(), out);
    out.extend_from_slice(body);
}

/// Remaining length (2.2.3): seven bits per byte, the least significant first.
fn remaining_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 0x7F {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// 1.5.3; topics are far shorter than 64 KiB.
fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Parses the first packet.
#[inline]
pub fn packet(bytes: &[u8]) -> Packet<'_> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((body_bytes, header_bytes)) = read_length(rest)? else { return Ok(None) };
    let length = 1 + header_bytes + body_bytes;
    let Some(body) = bytes.get(1 + header_bytes..length) else { return Ok(None) };
    let content = match kind & 0xF0 {
        PUBLISH => payload(*kind, body)?,
        CONNACK => connected(body)?,
        SUBACK => subscribed(body)?,
        PINGRESP => PacketContent::Nothing,
        _ => return Err(Malformed),
    };
    Ok(Some((length, content)))
}

#[inline]
fn read_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate().take(LENGTH_BYTES_MAX) {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err(Malformed) }
}

#[inline]
fn payload(kind: u8, body: &[u8]) -> Result<PacketContent<'_>, Malformed> {
    let (size, rest) = body.split_first_chunk::<2>().ok_or(Malformed)?;
    let size = usize::from(u16::from_be_bytes(*size));
    let (topic, rest) = rest.split_at_checked(size).ok_or(Malformed)?;
    // Only packets that are resent or acknowledged have an identifier.
    let skipped = if kind & QOS == 0 { 0 } else { 2 };
    rest.get(skipped..).map(|payload| PacketContent::Payload(payload, topic)).ok_or(Malformed)
}

/// CONNACK (3.2.2): flags, and a return code that is 0 on success.
fn connected(body: &[u8]) -> Result<PacketContent<'_>, Malformed> {
    match body {
        [_, 0] => Ok(PacketContent::Confirmed),
        [_, _] => Ok(PacketContent::Refused(b"the connection")),
        _ => Err(Malformed),
    }
}

/// SUBACK (3.9.3): an identifier, and one return code per topic: the granted QoS, or a failure.
fn subscribed(body: &[u8]) -> Result<PacketContent<'_>, Malformed> {
    match body.get(2..) {
        Some(codes) if codes.iter().all(|code| *code <= QOS_MAX) => Ok(PacketContent::Confirmed),
        Some(_) => Ok(PacketContent::Refused(b"a subscription")),
        None => Err(Malformed),
    }
}

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xD0;
const QOS: u8 = 0x06;
const QOS_MAX: u8 = 2;
/// 3.1.2.2: version 3.1.1.
const LEVEL: u8 = 4;
const CLEAN_SESSION: u8 = 2;
const LENGTH_BYTES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_standard() {
        let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
        assert_eq!(greeting(), connect);
        assert_eq!(subscribe(&["a/#"]), [0x82, 8, 0, 1, 0, 3, b'a', b'/', b'#', 0]);
    }

    #[test]
    fn a_long_publish_is_read_back() {
        let mut out = Vec::new();
        let long = vec![7; 300];
        publish("pmu/1", &long, &mut out);
        assert_eq!(
            packet(&out),
            Ok(Some((out.len(), PacketContent::Payload(&long[..], b"pmu/1"))))
        );
        assert_eq!(packet(&out[..out.len() - 1]), Ok(None));
        assert_eq!(packet(&out[..2]), Ok(None));
    }

    #[test]
    fn an_identifier_is_skipped() {
        assert_eq!(
            packet(&[0x32, 6, 0, 1, b'a', 0, 9, b'x']),
            Ok(Some((8, PacketContent::Payload(b"x", b"a"))))
        );
        assert_eq!(packet(&[0x30, 1, 0]), Err(Malformed));
        assert_eq!(packet(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Err(Malformed));
    }
}
