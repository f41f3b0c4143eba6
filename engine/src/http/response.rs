//! Response bytes: status line, headers, body. Writes only complete responses or heads. Must not
//! know routes or requests.

use crate::http::origin::Cors;
use crate::http::refusal::Refusal;
use crate::http::status::Status;
use crate::wire::history::Format;
use crate::wire::text;
use std::borrow::Cow;

/// The answer to `Expect: 100-continue` before the body is read (RFC 9110 section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// `X-Accel-Buffering` and `no-transform` keep proxies from holding events back, be it to compress
/// them.
const EVENT_STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    Content-Type: text/event-stream\r\n\
    Cache-Control: no-store, no-transform\r\n\
    X-Accel-Buffering: no\r\n\
    Transfer-Encoding: chunked\r\n";

/// The content type of `/metrics`.
pub const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus' own text.
pub const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const JSON_TYPE: &str = "application/json";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// How a response is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Whether only the head is wanted.
    pub head_only: bool,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// What a browser is told about the page that asks.
    pub cors: Cors,
}

/// One complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status line.
    pub status: Status,
    /// The `Content-Type`; not sent with an empty body.
    pub content_type: &'static str,
    /// Headers beside the usual ones.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: Cow<'a, str>,
}

impl<'a> Response<'a> {
    /// A plain text response.
    #[must_use]
    pub fn text(status: Status, body: impl Into<Cow<'a, str>>) -> Self {
        Self { status, content_type: TEXT_TYPE, headers: Vec::new(), body: body.into() }
    }

    /// A JSON response; `body` is valid JSON.
    #[must_use]
    pub fn json(status: Status, body: impl Into<Cow<'a, str>>) -> Self {
        Self { content_type: JSON_TYPE, ..Self::text(status, body) }
    }

    /// The response of `/metrics`, as OpenMetrics or as Prometheus' own text.
    #[must_use]
    pub fn metrics(body: impl Into<Cow<'a, str>>, is_open_metrics: bool) -> Self {
        let content_type = if is_open_metrics { OPEN_METRICS_TYPE } else { PROMETHEUS_TYPE };
        Self { content_type, ..Self::text(Status::Ok, body) }
    }

    /// The answer to `OPTIONS`.
    #[must_use]
    pub fn allow(methods: &'static str) -> Self {
        Self { headers: vec![("Allow", methods)], ..Self::text(Status::NoContent, "") }
    }

    /// The bytes, with `date` as their date. The answer to `HEAD` has the length of the body it
    /// leaves out, and that to `OPTIONS` tells a browser what a page may ask for.
    #[must_use]
    pub fn encode(&self, exchange: &Exchange, date: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.body.len());
        self.start(&mut out, exchange.keep_alive, date);
        out.extend_from_slice(exchange.cors.headers().as_bytes());
        for (name, value) in &self.headers {
            text::text(&mut out, format_args!("{name}: {value}\r\n"));
            if self.status == Status::NoContent {
                out.extend_from_slice(exchange.cors.preflight(value).as_bytes());
            }
        }
        if !self.body.is_empty() {
            text::text(&mut out, format_args!("Content-Type: {}\r\n", self.content_type));
        }
        // RFC 9110 section 8.6: a 204 has no Content-Length.
        if self.status != Status::NoContent {
            text::text(&mut out, format_args!("Content-Length: {}\r\n", self.body.len()));
        }
        out.extend_from_slice(b"\r\n");
        if !exchange.head_only {
            out.extend_from_slice(self.body.as_bytes());
        }
        out
    }

    fn start(&self, out: &mut Vec<u8>, keep_alive: bool, date: &str) {
        let (number, phrase) = (self.status.number(), self.status.phrase());
        text::text(out, format_args!("HTTP/1.1 {number} {phrase}\r\nDate: {date}\r\n"));
        let connection = if keep_alive { "keep-alive" } else { "close" };
        // RFC 9110 section 7.8: whoever sends Upgrade names it here.
        let upgrades = self.headers.iter().any(|(name, _)| *name == "Upgrade");
        let upgrade = if upgrades { ", upgrade" } else { "" };
        text::text(out, format_args!("Connection: {connection}{upgrade}\r\n"));
    }
}

impl From<&Refusal> for Response<'static> {
    fn from(refusal: &Refusal) -> Self {
        let error = serde_json::json!({"error": {
            "code": refusal.status.error_code(),
            "message": refusal.message,
        }});
        let headers = refusal.headers.clone();
        Self { headers, ..Self::json(refusal.status, error.to_string() + "\n") }
    }
}

impl Refusal {
    /// The response bytes; they announce that the connection is closed.
    #[must_use]
    pub fn encode(&self, exchange: &Exchange, date: &str) -> Vec<u8> {
        Response::from(self).encode(&Exchange { keep_alive: false, ..exchange.clone() }, date)
    }
}

/// The head of an event stream; chunks of `sse` follow.
#[must_use]
pub fn event_stream_head(cors: &Cors, date: &str) -> Vec<u8> {
    format!("{EVENT_STREAM_HEAD}Date: {date}\r\n{}\r\n", cors.headers()).into_bytes()
}

/// The head of a body that is sent in chunks while it is made.
#[must_use]
pub fn stream_head(media_type: &str, exchange: &Exchange, date: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Response::text(Status::Ok, "").start(&mut out, exchange.keep_alive, date);
    out.extend_from_slice(exchange.cors.headers().as_bytes());
    text::text(
        &mut out,
        format_args!(
            "Content-Type: {media_type}\r\nCache-Control: no-store\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        ),
    );
    out
}

/// The head of a body of so many bytes, whose tag is what to ask for next.
#[must_use]
pub fn sized_head(
    format: Format,
    (bytes, tag): (usize, &str),
    exchange: &Exchange,
    date: &str,
) -> Vec<u8> {
    let (mut out, media_type) = (Vec::with_capacity(512 + bytes), format.media_type());
    Response::text(Status::Ok, "").start(&mut out, exchange.keep_alive, date);
    out.extend_from_slice(exchange.cors.headers().as_bytes());
    text::text(
        &mut out,
        format_args!(
            "Content-Type: {media_type}\r\nCache-Control: no-store\r\nETag: {tag}\r\n\
             Content-Length: {bytes}\r\n\r\n"
        ),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Exchange = Exchange { head_only: false, keep_alive: true, cors: Cors::None };

    const DATE: &str = "now";

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_response_is_complete() {
        let bytes = Response::json(Status::Ok, r#"{"seq":1}"#).encode(&KEPT, DATE);
        assert_eq!(
            text(&bytes),
            "HTTP/1.1 200 OK\r\nDate: now\r\nConnection: keep-alive\r\n\
             Content-Type: application/json\r\n\
             Content-Length: 9\r\n\r\n{\"seq\":1}"
        );
    }

    #[test]
    fn head_keeps_the_length_and_leaves_out_the_body() {
        let asked = Exchange { head_only: true, ..KEPT };
        let bytes = Response::text(Status::Ok, "ok\n").encode(&asked, DATE);
        assert!(text(&bytes).ends_with("Content-Length: 3\r\n\r\n"));
    }

    #[test]
    fn options_has_neither_body_nor_length() {
        let bytes = Response::allow("GET, OPTIONS").encode(&KEPT, DATE);
        assert_eq!(
            text(&bytes),
            "HTTP/1.1 204 No Content\r\nDate: now\r\nConnection: keep-alive\r\n\
             Allow: GET, OPTIONS\r\n\r\n"
        );
    }

    #[test]
    fn a_refusal_is_json_whatever_its_message() {
        let refusal = Refusal::bad("a \"quoted\"\nline").with_header("Allow", "GET");
        let bytes = refusal.encode(&KEPT, DATE);
        let (head, body) = text(&bytes).split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nConnection: close\r\nAllow: GET\r\n"));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], "bad_request");
        assert_eq!(body["error"]["message"], "a \"quoted\"\nline");
    }

    #[test]
    fn a_page_may_read_refusals_and_is_told_what_it_may_ask_for() {
        let page = Exchange { cors: Cors::Page("https://a.example".into()), ..KEPT };
        let bytes = Refusal::bad("no").encode(&page, DATE);
        assert!(text(&bytes).starts_with(
            "HTTP/1.1 400 Bad Request\r\nDate: now\r\nConnection: close\r\n\
             Access-Control-Allow-Origin: https://a.example\r\n\
             Access-Control-Allow-Credentials: true\r\n\
             Access-Control-Expose-Headers: Retry-After\r\nVary: Origin\r\n"
        ));
        let bytes = Response::allow("GET").encode(&Exchange { cors: Cors::Any, ..KEPT }, DATE);
        assert!(text(&bytes).ends_with(
            "Allow: GET\r\nAccess-Control-Allow-Methods: GET\r\n\
             Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\r\n\
             Access-Control-Max-Age: 7200\r\n\r\n"
        ));
    }

    #[test]
    fn an_upgrade_is_named_in_connection() {
        let refusal = Refusal::bad("no").with_header("Upgrade", "websocket").with_header("A", "b");
        let bytes = refusal.encode(&KEPT, DATE);
        assert!(
            text(&bytes)
                .contains("\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\nA: b\r\n")
        );
    }

    #[test]
    fn the_event_stream_head_is_a_head() {
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut headers);
        let head = event_stream_head(&Cors::Any, DATE);
        let parsed = response.parse(&head).unwrap();
        assert_eq!(parsed, httparse::Status::Complete(head.len()));
        assert_eq!((response.code, response.headers.len()), (Some(200), 8));
    }
}
