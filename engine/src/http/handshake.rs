//! The opening handshake of RFC 6455 section 4.2, server side.
//! It checks and answers; which endpoints may be upgraded is the route's business. No extension
//! is ever accepted, so frames carry plain payloads.

use super::refusal::Refusal;
use super::request::{Method, Request, has_token};
use super::response::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tungstenite::handshake::derive_accept_key;

/// A checked handshake, answered by `response`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    accept_key: String,
}

impl Handshake {
    /// Checks the request against section 4.2.1.
    ///
    /// # Errors
    /// 400, 405 or 426.
    pub fn check(request: &Request) -> Result<Self, Refusal> {
        if request.method != Method::Get || !request.is_http_11 {
            return Err(Refusal::new(Status::MethodNotAllowed, "a handshake is a GET of HTTP/1.1")
                .with_header("Allow", "GET"));
        }
        if !has_token(request.headers.connection.as_deref(), "upgrade") {
            return Err(Refusal::bad(
                "Upgrade without `Connection: Upgrade`; a proxy in between may have removed it",
            ));
        }
        if request.headers.sec_websocket_version.as_deref() != Some("13") {
            // Section 4.4: "an appropriate HTTP error code (such as 426) and the header".
            return Err(Refusal::new(
                Status::UpgradeRequired,
                "WebSocket version 13 is spoken here",
            )
            .with_header("Sec-WebSocket-Version", "13"));
        }
        let key = request.headers.sec_websocket_key.as_deref().unwrap_or_default();
        if !STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
            return Err(Refusal::bad("Sec-WebSocket-Key is 16 bytes in base64"));
        }
        Ok(Self { accept_key: derive_accept_key(key.as_bytes()) })
    }

    /// The bytes of `101 Switching Protocols`.
    #[must_use]
    pub fn response(&self) -> Vec<u8> {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            self.accept_key
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

    fn check(text: &str) -> Result<Handshake, Refusal> {
        Handshake::check(&Request::parse(text.as_bytes(), 4096).unwrap().unwrap().0)
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_without_extensions() {
        let response = String::from_utf8(check(HEAD).unwrap().response()).unwrap();
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!response.contains("Extensions"));
        assert!(response.ends_with("\r\n\r\n"));
    }

    #[test]
    fn every_broken_requirement_is_refused() {
        for (right, wrong, status) in [
            ("GET /", "POST /", 405),
            ("HTTP/1.1", "HTTP/1.0", 405),
            ("keep-alive, Upgrade", "keep-alive", 400),
            ("Version: 13", "Version: 8", 426),
            ("Sec-WebSocket-Version", "X-Version", 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "not base64!", 400),
            ("Sec-WebSocket-Key", "X-Key", 400),
        ] {
            let refusal = check(&HEAD.replacen(right, wrong, 1)).unwrap_err();
            assert_eq!(refusal.status.number(), status, "{wrong}");
        }
        let refusal = check(&HEAD.replace("13", "8")).unwrap_err();
        assert_eq!(refusal.header, Some(("Sec-WebSocket-Version", "13")));
    }
}
