//! The HTTP request that opens a socket and the check of the response: the upgrade of RFC 6455, or
//! the head of an event stream. Pure text; must not know frames or sockets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

use crate::codec::events::EventId;

/// The contents of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer<'o> {
    /// The request path with its query.
    pub path: &'o str,
    /// The `Host` header.
    pub host: &'o str,
    /// The handshake key; `None` asks for an event stream instead of a WebSocket, or polls.
    pub key: Option<&'o str>,
    /// Whether it asks for one answer after the other.
    pub polls: bool,
    /// The subprotocol.
    pub protocol: Option<&'o str>,
    /// Whether messages may be compressed.
    pub deflate: bool,
    /// The credentials of the client.
    pub token: Option<&'o str>,
    /// What an event stream goes on after.
    pub last_event_id: Option<EventId>,
}

/// An accepted response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Length of the response head; the stream begins after it.
    pub head_bytes: usize,
    /// Whether messages may be compressed.
    pub is_deflated: bool,
    /// Whether the body is chunked.
    pub is_chunked: bool,
    /// Length of the body, where it is told.
    pub body_bytes: usize,
}

/// Why a response is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The status is not the expected one.
    #[error("status {0}")]
    Status(u16),
    /// `Sec-WebSocket-Accept` does not match the key, or a required header is missing.
    #[error("bad accept")]
    Accept,
    /// Another subprotocol than the one asked for, or none.
    #[error("subprotocol not agreed")]
    Protocol,
    /// An extension was not offered, or has other parameters than offered.
    #[error("extension not offered")]
    Extension,
    /// The response is not an event stream.
    #[error("no event stream")]
    Stream,
    /// Not an HTTP/1.1 response, or the head does not end.
    #[error("malformed response")]
    Malformed,
}

impl Offer<'_> {
    /// The request.
    pub fn request(&self) -> String {
        if self.polls {
            // Where it begins is known at once; what is there already is answered by the next.
            let from = self.last_event_id.map_or("latest".to_owned(), |id| id.to_string());
            let [before, after] = self.next_poll();
            return format!("{before}{from}&wait=0{after}");
        }
        let Offer { path, host, .. } = self;
        let mut text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
        match self.key {
            Some(key) => text.push_str(&format!(
                "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            )),
            None => text.push_str("Accept: text/event-stream\r\n"),
        }
        let headers = [
            ("Sec-WebSocket-Protocol", self.protocol.map(str::to_owned)),
            ("Sec-WebSocket-Extensions", self.deflate.then(|| DEFLATE_OFFER.to_owned())),
            ("Authorization", self.token.map(|token| format!("Bearer {token}"))),
            ("Last-Event-ID", self.last_event_id.map(|id| id.to_string())),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        text + "\r\n"
    }

    /// The request that asks for what follows a position, around that.
    pub fn next_poll(&self) -> [String; 2] {
        let Offer { path, host, token, .. } = self;
        let token =
            token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let joint = if path.contains('?') { '&' } else { '?' };
        [
            format!("GET {path}{joint}format=binary&from="),
            format!(" HTTP/1.1\r\nHost: {host}\r\n{token}\r\n"),
        ]
    }

    /// Checks the response. `Ok(None)`: the head is not complete yet.
    pub fn check(&self, answer: &[u8]) -> Result<Option<Answer>, UpgradeError> {
        let Some(head_bytes) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            let too_long = answer.len() > HEAD_BYTES_MAX;
            return if too_long { Err(UpgradeError::Malformed) } else { Ok(None) };
        };
        let head = Head::parse(answer.get(..head_bytes).unwrap_or_default())?;
        if head.is_refusal() && answer.len() < head_bytes + 4 + head.body_bytes() {
            return Ok(None);
        }
        let is_deflated = match self.key {
            Some(key) => self.check_upgrade(&head, key)?,
            None => head.check_stream(if self.polls { POLL_TYPE } else { STREAM_TYPE })?,
        };
        let is_chunked = head.has_token("transfer-encoding", "chunked");
        let body_bytes = head.value("content-length").and_then(|length| length.parse().ok());
        let body_bytes = body_bytes.unwrap_or(0);
        Ok(Some(Answer { head_bytes: head_bytes + 4, is_deflated, is_chunked, body_bytes }))
    }

    /// Whether messages may be compressed.
    fn check_upgrade(&self, head: &Head<'_>, key: &str) -> Result<bool, UpgradeError> {
        if head.status != 101 {
            return Err(UpgradeError::Status(head.status));
        }
        let upgraded = head.has_token("upgrade", "websocket")
            && head.has_token("connection", "upgrade")
            && head.value("sec-websocket-accept") == Some(&accept(key));
        if !upgraded {
            return Err(UpgradeError::Accept);
        }
        if head.value("sec-websocket-protocol") != self.protocol {
            return Err(UpgradeError::Protocol);
        }
        match head.value("sec-websocket-extensions") {
            None => Ok(false),
            Some(extension) if self.deflate && is_deflate_without_context(extension) => Ok(true),
            Some(_) => Err(UpgradeError::Extension),
        }
    }
}

/// What a server says behind the head of an answer, as far as it is short and can be printed.
pub fn refusal_text(answer: &[u8]) -> Option<String> {
    let head_bytes = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let body = String::from_utf8_lossy(answer.get(head_bytes..)?);
    let printable = body.chars().map(|c| if c.is_control() { ' ' } else { c });
    let words: String = printable.take(WORDS_MAX).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

/// The handshake key of a socket: any 16 bytes that differ between sockets.
pub fn key(nonce: u128) -> String {
    BASE64.encode(nonce.to_be_bytes())
}

/// The accept value that the server must send for a key.
pub fn accept(key: &str) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize())
}

const STREAM_TYPE: &str = "text/event-stream";
const POLL_TYPE: &str = "application/octet-stream";

struct Head<'h> {
    status: u16,
    headers: Vec<(&'h str, &'h str)>,
}

impl<'h> Head<'h> {
    fn parse(head: &'h [u8]) -> Result<Head<'h>, UpgradeError> {
        let head = std::str::from_utf8(head).map_err(|_| UpgradeError::Malformed)?;
        let mut lines = head.split("\r\n");
        let status = status(lines.next().unwrap_or_default()).ok_or(UpgradeError::Malformed)?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        Ok(Head { status, headers: headers.map(|(name, value)| (name, value.trim())).collect() })
    }

    fn value(&self, name: &str) -> Option<&'h str> {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.value(name).into_iter().flat_map(|value| value.split(','));
        tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
    }

    fn is_refusal(&self) -> bool {
        !matches!(self.status, 101 | 200)
    }

    /// Length of the body that is worth waiting for; one that is long is not.
    fn body_bytes(&self) -> usize {
        let length = self.value("content-length").and_then(|length| length.parse().ok());
        length.filter(|bytes| *bytes <= REFUSAL_BYTES_MAX).unwrap_or(0)
    }

    fn check_stream(&self, media_type: &str) -> Result<bool, UpgradeError> {
        let is_stream = |kind: &str| kind.starts_with(media_type);
        match (self.status, self.value("content-type")) {
            (200, Some(kind)) if is_stream(kind) => Ok(false),
            (200, _) => Err(UpgradeError::Stream),
            (status, _) => Err(UpgradeError::Status(status)),
        }
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    rest.get(..3)?.parse().ok()
}

/// The server must compress every message without context: only then do all sockets get the same
/// bytes.
fn is_deflate_without_context(extension: &str) -> bool {
    let mut parameters = extension.split(';').map(str::trim);
    parameters.next() == Some("permessage-deflate")
        && parameters.any(|parameter| parameter == "server_no_context_takeover")
}

const DEFLATE_OFFER: &str =
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const HEAD_BYTES_MAX: usize = 8192;
/// A longer body of a refusal is not waited for.
const REFUSAL_BYTES_MAX: usize = 4096;
/// Characters of a refusal that are told.
const WORDS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and accept value RFC 6455 itself uses as its example.
    const RFC_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const RFC_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn offer() -> Offer<'static> {
        Offer { path: "/v1/ws", host: "h:1", key: Some(RFC_KEY), ..Offer::default() }
    }

    fn answer(accept: &str, more: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\n\
             Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        )
    }

    #[test]
    fn accept_is_the_one_of_the_rfc() {
        assert_eq!(accept(RFC_KEY), RFC_ACCEPT);
    }

    #[test]
    fn a_right_answer_is_taken_and_the_stream_starts_after_it() {
        let mut bytes = answer(RFC_ACCEPT, "").into_bytes();
        let head_bytes = bytes.len();
        for cut in 0..head_bytes {
            assert_eq!(offer().check(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        bytes.extend_from_slice(b"\x81\x01a");
        let right = Answer { head_bytes, is_deflated: false, is_chunked: false, body_bytes: 0 };
        assert_eq!(offer().check(&bytes), Ok(Some(right)));
    }

    #[test]
    fn what_is_asked_for_is_in_the_request() {
        let offer = Offer {
            protocol: Some("gridcast.v1.bin"),
            deflate: true,
            token: Some("t0"),
            ..offer()
        };
        let text = offer.request();
        for line in [
            "GET /v1/ws HTTP/1.1\r\nHost: h:1\r\n",
            "\r\nSec-WebSocket-Protocol: gridcast.v1.bin\r\n",
            "\r\nAuthorization: Bearer t0\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; \
             server_no_context_takeover\r\n",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert!(text.ends_with("\r\n\r\n"));
        let stream = Offer { key: None, ..offer }.request();
        assert!(stream.contains("Accept: text/event-stream") && !stream.contains("Upgrade"));
    }

    #[test]
    fn subprotocol_and_compression_must_be_as_offered() {
        let offered = Offer { protocol: Some("gridcast.v1.json"), deflate: true, ..offer() };
        let checked = |more: &str| {
            let answer = offered.check(answer(RFC_ACCEPT, more).as_bytes());
            answer.map(|answer| answer.map(|answer| answer.is_deflated))
        };
        let json = "Sec-WebSocket-Protocol: gridcast.v1.json\r\n";
        let deflate = |parameters: &str| {
            format!("{json}Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n")
        };
        assert_eq!(checked(json), Ok(Some(false)));
        assert_eq!(checked(&deflate("; server_no_context_takeover")), Ok(Some(true)));
        assert_eq!(checked(&deflate("")), Err(UpgradeError::Extension));
        assert_eq!(checked(""), Err(UpgradeError::Protocol));
        let unasked = answer(RFC_ACCEPT, &deflate("; server_no_context_takeover"));
        assert_eq!(offer().check(unasked.as_bytes()), Err(UpgradeError::Protocol));
    }

    #[test]
    fn event_streams_are_told_from_other_answers() {
        let offer = Offer { key: None, ..offer() };
        let stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                       Transfer-Encoding: chunked\r\n\r\n";
        assert!(offer.check(stream).unwrap().is_some_and(|answer| answer.is_chunked));
        let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
        assert_eq!(offer.check(page), Err(UpgradeError::Stream));
        let refused = b"HTTP/1.1 429 Too Many Requests\r\n\r\n";
        assert_eq!(offer.check(refused), Err(UpgradeError::Status(429)));
    }

    #[test]
    fn wrong_answers_are_named() {
        let wrong = answer("AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "");
        assert_eq!(offer().check(wrong.as_bytes()), Err(UpgradeError::Accept));
        let refused = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(offer().check(refused), Err(UpgradeError::Status(503)));
        let noise = [b'x'; HEAD_BYTES_MAX + 1];
        assert_eq!(offer().check(&noise), Err(UpgradeError::Malformed));
        assert_eq!(offer().check(b"SSH-2.0\r\n\r\n"), Err(UpgradeError::Malformed));
    }

    #[test]
    fn a_refusal_is_waited_for_and_its_words_are_told() {
        let offer = Offer { path: "/", host: "h", key: Some("k"), ..Offer::default() };
        let answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 12\r\n\r\nno\nroom\x07left";
        assert_eq!(offer.check(&answer[..answer.len() - 1]), Ok(None));
        assert_eq!(offer.check(answer), Err(UpgradeError::Status(503)));
        assert_eq!(refusal_text(answer).as_deref(), Some("no room left"));
        assert_eq!(refusal_text(b"HTTP/1.1 401 No\r\n\r\n"), None);
        let endless = b"HTTP/1.1 500 No\r\nContent-Length: 99999\r\n\r\n";
        assert_eq!(offer.check(endless), Err(UpgradeError::Status(500)));
    }
}
