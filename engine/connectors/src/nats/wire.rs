//! The lines of the NATS protocol that this client reads and writes. Owns their syntax and bounds.
//! Must not act on any.

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use thiserror::Error;

/// The longest line of a server. Its INFO names every server of a cluster.
const LINE_BYTES_MAX: usize = 64 << 10;
/// The longest payload that a server can be set to pass on.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// What ends lines and payloads.
const END: &[u8] = b"\r\n";

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// What it is and takes, as JSON.
    Info(&'a str),
    /// The head of a message, whose payload of so many bytes follows, and the end of a line.
    Message {
        subject: &'a str,
        bytes: usize,
    },
    Ping,
    Pong,
    Ok,
    /// Something is refused, in words.
    Error(&'a str),
}

/// Bytes that are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("a line of more than {LINE_BYTES_MAX} bytes")]
    Long,
    #[error("a line that is not UTF-8")]
    Text,
    #[error("a line that no server sends")]
    Unknown,
    #[error("a payload of more than {PAYLOAD_BYTES_MAX} bytes")]
    Payload,
    #[error("a payload without a line end")]
    End,
}

/// What INFO says, as far as this client asks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Info {
    pub max_payload: u64,
    pub tls_required: bool,
    pub tls_available: bool,
    /// What a key has to sign.
    pub nonce: Option<String>,
}

/// Bytes of the line at the front, with its end; none while it is not whole.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let looked_at = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    match looked_at.iter().position(|byte| *byte == b'\n') {
        Some(at) => Ok(Some(at + 1)),
        None if bytes.len() >= LINE_BYTES_MAX => Err(Malformed::Long),
        None => Ok(None),
    }
}

/// Reads one whole line.
pub fn line(bytes: &[u8]) -> Result<Line<'_>, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Text)?.trim_end();
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    match word.to_ascii_uppercase().as_str() {
        "MSG" => message(rest),
        "PING" => Ok(Line::Ping),
        "PONG" => Ok(Line::Pong),
        "+OK" => Ok(Line::Ok),
        "-ERR" => Ok(Line::Error(rest.trim().trim_matches('\''))),
        "INFO" => Ok(Line::Info(rest.trim())),
        _ => Err(Malformed::Unknown),
    }
}

/// Subject, number of the subscription, maybe a subject for answers, length.
fn message(rest: &str) -> Result<Line<'_>, Malformed> {
    let mut words = rest.split_ascii_whitespace();
    let (subject, _) = (words.next(), words.next());
    let bytes = words.next_back().and_then(|bytes| bytes.parse().ok());
    match (subject, bytes) {
        (Some(_), Some(bytes)) if bytes > PAYLOAD_BYTES_MAX => Err(Malformed::Payload),
        (Some(subject), Some(bytes)) => Ok(Line::Message { subject, bytes }),
        _ => Err(Malformed::Unknown),
    }
}

/// The payload of bytes that were taken with their line end.
pub fn payload(bytes: &[u8]) -> Result<&[u8], Malformed> {
    bytes.strip_suffix(END).ok_or(Malformed::End)
}

/// Bytes of a line end.
pub const END_BYTES: usize = END.len();

/// Appends who this client is.
pub fn connect(out: &mut BytesMut, options: &serde_json::Value) {
    out.put_slice(b"CONNECT ");
    out.put_slice(options.to_string().as_bytes());
    out.put_slice(END);
}

/// Appends a subscription.
pub fn subscribe(out: &mut BytesMut, subject: &str, group: Option<&str>, number: usize) {
    let group = group.map(|group| format!(" {group}")).unwrap_or_default();
    out.put_slice(format!("SUB {subject}{group} {number}").as_bytes());
    out.put_slice(END);
}

/// Appends a message.
pub fn publish(out: &mut BytesMut, subject: &str, payload: &[u8]) {
    out.reserve(subject.len() + payload.len() + 32);
    out.put_slice(b"PUB ");
    out.put_slice(subject.as_bytes());
    out.put_slice(format!(" {}", payload.len()).as_bytes());
    out.put_slice(END);
    out.put_slice(payload);
    out.put_slice(END);
}

/// Appends the question whether all before has arrived.
pub fn ping(out: &mut BytesMut) {
    out.put_slice(b"PING\r\n");
}

/// Appends the answer to such a question.
pub fn pong(out: &mut BytesMut) {
    out.put_slice(b"PONG\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read() {
        let message = |subject, bytes| Line::Message { subject, bytes };
        for (text, expected) in [
            ("MSG a.b 1 5\r\n", message("a.b", 5)),
            ("MSG a 1 _INBOX.x 0\r\n", message("a", 0)),
            ("msg  a\t1  5 \r\n", message("a", 5)),
            ("PING\r\n", Line::Ping),
            ("PONG\r\n", Line::Pong),
            ("+OK\r\n", Line::Ok),
            ("-ERR 'Authorization Violation'\r\n", Line::Error("Authorization Violation")),
            ("INFO {\"a\":1} \r\n", Line::Info("{\"a\":1}")),
        ] {
            assert_eq!(length(text.as_bytes()), Ok(Some(text.len())), "{text}");
            assert_eq!(line(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_line_is_told() {
        for (bytes, error) in [
            (&b"HMSG a 1 2 3\r\n"[..], Malformed::Unknown),
            (b"MSG a 1\r\n", Malformed::Unknown),
            (b"MSG a 1 x\r\n", Malformed::Unknown),
            (b"MSG a 1 99999999999\r\n", Malformed::Payload),
            (b"MSG \xff 1 1\r\n", Malformed::Text),
            (b"\r\n", Malformed::Unknown),
        ] {
            assert_eq!(line(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(length(&vec![b'x'; LINE_BYTES_MAX]), Err(Malformed::Long));
        assert_eq!(length(b"PING\r"), Ok(None));
        assert_eq!((payload(b"a\r\n"), payload(b"a\r")), (Ok(&b"a"[..]), Err(Malformed::End)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            // Whatever it answers.
            let _ = (length(&bytes), line(&bytes));
        }

        #[test]
        fn a_message_is_one_line_and_its_payload(
            subject in "[a-z.]{1,9}",
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut out = BytesMut::new();
            publish(&mut out, &subject, &bytes);
            let head = format!("PUB {subject} {}\r\n", bytes.len());
            prop_assert_eq!(length(&out), Ok(Some(head.len())));
            prop_assert_eq!(&out[..head.len()], head.as_bytes());
            prop_assert_eq!(payload(&out[head.len()..]), Ok(&bytes[..]));
        }
    }
}
