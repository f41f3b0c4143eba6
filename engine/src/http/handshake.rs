//! The opening handshake of RFC 6455 section 4.2, server side: checks and answers. Must not decide
//! which endpoints may be upgraded, or whether messages are deflated.

use crate::http::extensions;
use crate::http::extensions::Agreed;
use crate::http::refusal::Refusal;
use crate::http::request::{Method, Request, has_token};
use crate::http::status::Status;
use crate::wire::data64;
use tungstenite::handshake::derive_accept_key;

/// A checked handshake, answered by `response`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    accept_key: String,
    /// The terms on which messages are deflated; none sends them as they are.
    pub deflate: Option<Agreed>,
    protocol: Option<String>,
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
            .with_header("Upgrade", "websocket")
            .with_header("Sec-WebSocket-Version", "13"));
        }
        let key = request.headers.sec_websocket_key.as_deref().unwrap_or_default();
        if data64::read(key).is_none_or(|bytes| bytes.len() != 16) {
            return Err(Refusal::bad("Sec-WebSocket-Key is 16 bytes in base64"));
        }
        Ok(Self { accept_key: derive_accept_key(key.as_bytes()), deflate: None, protocol: None })
    }

    /// Agrees to permessage-deflate if the client offers it.
    #[must_use]
    pub fn with_deflate(self, request: &Request) -> Self {
        let offers = request.headers.sec_websocket_extensions.as_deref();
        Self { deflate: extensions::negotiate(offers, true), ..self }
    }

    /// Answers with this subprotocol.
    #[must_use]
    pub fn with_protocol(self, protocol: &str) -> Self {
        Self { protocol: Some(protocol.to_owned()), ..self }
    }

    /// Answers with the first subprotocol offered that is not the engine's own. Where payloads are
    /// passed on as they are, what they mean is between publishers and subscribers; and a client
    /// that offers some and is answered with none ends the connection.
    ///
    /// # Errors
    /// 400 when only the engine's own are offered.
    pub fn with_offered_protocol(self, request: &Request) -> Result<Self, Refusal> {
        let offered = request.headers.sec_websocket_protocol.as_deref().unwrap_or_default();
        let mut offers = offered.split(',').map(str::trim).filter(|offer| is_token(offer));
        match offers.clone().find(|offer| !offer.starts_with(OWN_PROTOCOLS)) {
            Some(protocol) => Ok(self.with_protocol(protocol)),
            None => match offers.next() {
                Some(own) => Err(Refusal::bad(format!("{own} is spoken at /v1/ws"))),
                None => Ok(self),
            },
        }
    }

    /// The bytes of `101 Switching Protocols`, with `date` as their date.
    #[must_use]
    pub fn response(&self, date: &str) -> Vec<u8> {
        let line = |name: &str, value: &str| format!("Sec-WebSocket-{name}: {value}\r\n");
        let protocol =
            self.protocol.as_ref().map_or(String::new(), |chosen| line("Protocol", chosen));
        let deflate =
            self.deflate.map_or(String::new(), |agreed| line("Extensions", &agreed.header()));
        format!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Date: {date}\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}{deflate}\r\n",
            self.accept_key
        )
        .into_bytes()
    }
}

/// How the names of the engine's own subprotocols begin.
const OWN_PROTOCOLS: &str = "gridcast.";

/// A token of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// The first of the client's subprotocols that is among `known`.
///
/// # Errors
/// 400 when it offered only others.
pub fn choose_protocol(
    offered: Option<&str>,
    known: &[&'static str],
) -> Result<Option<&'static str>, Refusal> {
    let Some(offered) = offered.filter(|offered| !offered.is_empty()) else { return Ok(None) };
    let mut offers = offered.split(',').map(str::trim);
    let chosen = offers.find_map(|offer| known.iter().find(|known| **known == offer).copied());
    match chosen {
        Some(protocol) => Ok(Some(protocol)),
        None => Err(Refusal::bad(format!("the subprotocols here are {}", known.join(", ")))),
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
        let response = String::from_utf8(check(HEAD).unwrap().response("now")).unwrap();
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(response.contains("\r\nDate: now\r\n"));
        assert!(!response.contains("Extensions"));
        assert!(response.ends_with("\r\n\r\n"));
    }

    #[test]
    fn what_is_chosen_is_answered() {
        let request = Request::parse(HEAD.as_bytes(), 4096).unwrap().unwrap().0;
        let handshake = Handshake::check(&request).unwrap();
        let response = handshake.with_protocol("a").with_deflate(&request).response("now");
        let response = String::from_utf8(response).unwrap();
        assert!(response.contains("\r\nSec-WebSocket-Protocol: a\r\n"));
        assert!(response.contains("\r\nSec-WebSocket-Extensions: permessage-deflate; "));
        assert!(response.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_key_may_have_bits_that_do_not_matter() {
        assert!(
            check(&HEAD.replace("dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC==")).is_ok()
        );
    }

    #[test]
    fn a_raw_endpoint_agrees_to_what_is_offered_first() {
        for (offered, expected) in [
            ("mqtt", Ok(Some("mqtt"))),
            ("v1.app, v2.app", Ok(Some("v1.app"))),
            ("gridcast.v1.json, app", Ok(Some("app"))),
            ("a b, c", Ok(Some("c"))),
            ("", Ok(None)),
            ("gridcast.v1.bin", Err(())),
        ] {
            let head = HEAD.replace(
                "Upgrade\r\n",
                &format!("Upgrade\r\nSec-WebSocket-Protocol: {offered}\r\n"),
            );
            let request = Request::parse(head.as_bytes(), 4096).unwrap().unwrap().0;
            let chosen = Handshake::check(&request).unwrap().with_offered_protocol(&request);
            let chosen = chosen.map(|handshake| handshake.protocol).map_err(|_| ());
            assert_eq!(chosen, expected.map(|name| name.map(str::to_owned)), "{offered}");
        }
    }

    #[test]
    fn the_clients_order_decides_among_known_protocols() {
        let known = ["a", "b"];
        assert_eq!(choose_protocol(Some("x, b,a"), &known), Ok(Some("b")));
        assert_eq!(choose_protocol(None, &known), Ok(None));
        assert_eq!(choose_protocol(Some(""), &known), Ok(None), "a header without a value");
        assert_eq!(choose_protocol(Some("A"), &known).unwrap_err().status.number(), 400);
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
        assert_eq!(refusal.headers, [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]);
    }
}
