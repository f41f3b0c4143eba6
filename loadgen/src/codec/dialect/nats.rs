//! The client protocol of NATS (docs.nats.io, "NATS Protocol"): lines of text, some of them
//! followed by a payload. Pure; must not know messages or sockets.

use crate::codec::dialect::channel::subject;
use crate::codec::dialect::json::quoted;
use crate::codec::dialect::packet::{Malformed, Packet, PacketContent};

/// Opens a connection; single commands are not acknowledged.
pub fn greeting(token: Option<&str>) -> Vec<u8> {
    let token = token.map(|token| format!(",\"auth_token\":{}", quoted(token)));
    let token = token.unwrap_or_default();
    let options = r#""verbose":false,"pedantic":false,"lang":"rust","version":"1""#;
    format!("CONNECT {{{options}{token}}}\r\n").into_bytes()
}

/// Subscribes, and adds a PING so that the server's PONG confirms it.
pub fn subscribe(topics: &[&str]) -> Vec<u8> {
    let subscriptions =
        topics.iter().zip(1..).map(|(t, id)| format!("SUB {} {id}\r\n", subject(t)));
    let mut text: String = subscriptions.collect();
    text.push_str("PING\r\n");
    text.into_bytes()
}

/// Appends a publish.
pub fn publish(topic: &str, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("PUB {} {}\r\n", subject(topic), payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(END);
}

/// Parses the first packet.
#[inline]
pub fn packet(bytes: &[u8]) -> Packet<'_> {
    let head = bytes.get(..bytes.len().min(LINE_BYTES_MAX)).unwrap_or_default();
    let Some(end) = head.windows(2).position(|pair| pair == END) else {
        return if bytes.len() > LINE_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let (line, length) = (bytes.get(..end).unwrap_or_default(), end + END.len());
    if let Some(fields) = line.strip_prefix(b"MSG ") {
        return message(bytes, fields, length);
    }
    let content = match line {
        b"PING" => PacketContent::Answer(b"PONG\r\n"),
        b"PONG" => PacketContent::Confirmed,
        b"+OK" => PacketContent::Nothing,
        line if line.starts_with(b"INFO ") => PacketContent::Nothing,
        line => PacketContent::Refused(line.strip_prefix(b"-ERR ").ok_or(Malformed)?),
    };
    Ok(Some((length, content)))
}

/// `subject sid [reply-to] bytes`, and that many bytes after the line.
#[inline]
fn message<'b>(bytes: &'b [u8], fields: &'b [u8], from: usize) -> Packet<'b> {
    let subject = fields.split(|byte| *byte == b' ').next().unwrap_or_default();
    let digits = fields.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let size = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<usize>().ok());
    let size = size.filter(|size| *size <= PAYLOAD_BYTES_MAX).ok_or(Malformed)?;
    let length = from + size + END.len();
    let Some(payload) = bytes.get(from..from + size) else { return Ok(None) };
    match bytes.get(from + size..length) {
        None => Ok(None),
        Some(end) if end == END => Ok(Some((length, PacketContent::Payload(payload, subject)))),
        Some(_) => Err(Malformed),
    }
}

const END: &[u8] = b"\r\n";
/// The longest line is the INFO of a large cluster.
const LINE_BYTES_MAX: usize = 64 << 10;
const PAYLOAD_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_become_subjects() {
        for (topic, expected) in [("pmu/1001", "pmu.1001"), ("pmu/#", "pmu.>"), ("a/+/c", "a.*.c")]
        {
            assert_eq!(subject(topic), expected);
        }
    }

    #[test]
    fn a_publish_is_a_line_and_its_payload() {
        let mut out = Vec::new();
        publish("pmu/1", b"abc", &mut out);
        assert_eq!(out, b"PUB pmu.1 3\r\nabc\r\n");
    }

    #[test]
    fn messages_with_and_without_a_reply_are_read() {
        assert_eq!(
            packet(b"MSG a 1 2\r\nhi\r\nX"),
            Ok(Some((15, PacketContent::Payload(b"hi", b"a"))))
        );
        assert_eq!(
            packet(b"MSG a 1 r 2\r\nhi\r\n"),
            Ok(Some((17, PacketContent::Payload(b"hi", b"a"))))
        );
        for partial in [&b"MSG a 1 2\r\nhi\r"[..], b"MSG a 1 2\r\nh", b"MSG a 1"] {
            assert_eq!(packet(partial), Ok(None));
        }
        for wrong in [&b"MSG a 1 x\r\n"[..], b"MSG a 1 2\r\nhiXX", b"MSG a 1 999999999\r\n"] {
            assert_eq!(packet(wrong), Err(Malformed));
        }
    }
}
