//! Request heads: method, target, and the headers that the engine uses, checked and copied. Must
//! not read bodies or choose routes.

use crate::http::refusal::Refusal;
use crate::http::status::Status;
use httparse::{EMPTY_HEADER, Error, Header};

/// The most headers of a request.
pub const HEADERS_MAX: usize = 64;

/// The methods the engine has an opinion about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `OPTIONS`
    Options,
    /// Any other.
    Other,
}

/// A complete request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Whether the client speaks HTTP/1.1 and not 1.0.
    pub is_http_11: bool,
    /// The path, still percent-encoded.
    pub path: String,
    /// What follows the first `?`.
    pub query: Option<String>,
    /// The headers the engine uses.
    pub headers: Headers,
}

macro_rules! headers {
    ($($(#[$doc:meta])* $field:ident $name:literal $rule:ident,)+) => {
        /// The headers the engine uses; all others are ignored.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Headers { $($(#[$doc])* pub $field: Option<String>,)+ }

        impl Headers {
            fn slot(&mut self, name: &str) -> Option<(&mut Option<String>, Repeat)> {
                $(if name.eq_ignore_ascii_case($name) {
                    return Some((&mut self.$field, Repeat::$rule));
                })+
                None
            }
        }
    };
}
headers! {
    /// The name the client called.
    host "Host" Refused,
    /// The protocols to change to.
    upgrade "Upgrade" Joined,
    /// What concerns this connection only.
    connection "Connection" Joined,
    /// The challenge of the WebSocket handshake.
    sec_websocket_key "Sec-WebSocket-Key" Joined,
    /// The version of the WebSocket protocol.
    sec_websocket_version "Sec-WebSocket-Version" Joined,
    /// The extensions offered.
    sec_websocket_extensions "Sec-WebSocket-Extensions" Joined,
    /// The subprotocols offered.
    sec_websocket_protocol "Sec-WebSocket-Protocol" Joined,
    /// The media types the client takes.
    accept "Accept" Joined,
    /// The media type of the body.
    content_type "Content-Type" Joined,
    /// What the body was made smaller with.
    content_encoding "Content-Encoding" Joined,
    /// The length of the body.
    content_length "Content-Length" Refused,
    /// How the body is delimited.
    transfer_encoding "Transfer-Encoding" Joined,
    /// The last event an event stream's client has.
    last_event_id "Last-Event-ID" Joined,
    /// The page a browser's request comes from.
    origin "Origin" Joined,
    /// How the page that asks is related to this site: only browsers say so.
    sec_fetch_site "Sec-Fetch-Site" Joined,
    /// What the client waits for before it sends the body.
    expect "Expect" Joined,
    /// The way a request came over proxies: each adds whom it had it from.
    x_forwarded_for "X-Forwarded-For" Joined,
    /// The client's credentials.
    authorization "Authorization" Joined,
    /// The credentials a browser adds by itself.
    cookie "Cookie" Cookies,
}

/// What a second header of the same name means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// The list goes on (RFC 9110 section 5.3). Of what is no list that makes a value which whoever
    /// asks for it refuses; nobody else is bothered.
    Joined,
    /// As if it had been one (RFC 6265bis section 5.7).
    Cookies,
    /// Two readers could take different ones: that is how requests are smuggled.
    Refused,
}

impl Request {
    /// Reads the head at the start of `buf`; with its length, or `None` while it is incomplete.
    ///
    /// # Errors
    /// 400, 414, 431 or 505.
    pub fn parse(buf: &[u8], header_bytes_max: u32) -> Result<Option<(Self, usize)>, Refusal> {
        check_target_length(buf, header_bytes_max)?;
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed.parse(buf).map_err(refuse)?;
        let bytes = match status {
            httparse::Status::Complete(bytes) => bytes,
            // At least one more byte is to come.
            httparse::Status::Partial => buf.len() + 1,
        };
        if bytes > header_bytes_max as usize {
            let message = format!("request head above {header_bytes_max} bytes");
            return Err(Refusal::new(Status::HeadersTooLarge, message));
        }
        if status.is_partial() {
            return Ok(None);
        }
        let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
            return Err(Refusal::bad("malformed request line"));
        };
        let is_http_11 = parsed.version == Some(1);
        let headers = collect(parsed.headers)?;
        check_host(headers.host.as_deref(), is_http_11)?;
        let (path, query) = split_target(target);
        Ok(Some((Self { method: method.into(), is_http_11, path, query, headers }, bytes)))
    }

    /// Whether the connection may carry another request after this one (RFC 9112 section 9.3).
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        let connection = self.headers.connection.as_deref();
        match self.is_http_11 {
            true => !has_token(connection, "close"),
            false => has_token(connection, "keep-alive") && !has_token(connection, "close"),
        }
    }

    /// Whether the client wants to change to WebSocket; `Connection` is checked later.
    #[must_use]
    pub fn wants_websocket(&self) -> bool {
        has_token(self.headers.upgrade.as_deref(), "websocket")
    }

    /// Whether metrics are wanted as OpenMetrics; who does not ask for it may not understand it.
    #[must_use]
    pub fn wants_open_metrics(&self) -> bool {
        has_token(self.headers.accept.as_deref(), "application/openmetrics-text")
    }

    /// Whether the request's body is to be published.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.method == Method::Post && self.path.starts_with("/v1/publish")
    }

    /// Whether an `EventSource`, or a client that is like one, asks for a feed.
    #[must_use]
    pub fn is_of_event_source(&self) -> bool {
        let is_feed = self.method == Method::Get && self.path.starts_with("/v1/feed/");
        let accept = self.headers.accept.as_deref();
        let wants_events = has_token(accept, "text/event-stream") && !self.wants_websocket();
        is_feed && wants_events && self.is_http_11
    }

    /// Whether the client waits for `100 Continue`. HTTP/1.0 clients cannot (RFC 9110 10.1.1).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        let expect = self.headers.expect.as_deref();
        self.is_http_11 && expect.is_some_and(|e| e.eq_ignore_ascii_case("100-continue"))
    }
}

impl From<&str> for Method {
    fn from(method: &str) -> Self {
        match method {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// Whether a comma-separated header has this element, in any case. Parameters after `;` do not
/// count.
#[must_use]
pub fn has_token(header: Option<&str>, token: &str) -> bool {
    header.unwrap_or_default().split(',').any(|element| {
        let name = element.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(token)
    })
}

/// Whether `Accept` lets an event stream be sent (RFC 9110 section 12.5.1): the most specific of
/// its ranges decides, and a client that says nothing takes anything.
#[must_use]
pub fn accepts_events(accept: Option<&str>) -> bool {
    accepts(accept, &["text/event-stream", "text/*", "*/*"])
}

/// Whether `Accept` takes one of `ranges`: the first that it names decides, and a client that says
/// nothing takes anything.
#[must_use]
pub fn accepts(accept: Option<&str>, ranges: &[&str]) -> bool {
    let Some(list) = accept.filter(|list| !list.trim().is_empty()) else { return true };
    ranges.iter().find_map(|range| is_taken(list, range)).unwrap_or(false)
}

/// Whether a list names a range, and with a weight above 0.
fn is_taken(list: &str, range: &str) -> Option<bool> {
    list.split(',').find_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(range));
        let mut weights = parts.filter_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
        is_it.then(|| weights.next().is_none_or(|weight: f32| weight > 0.0))
    })
}

/// RFC 9112 section 3.2: one that is missing or malformed is refused.
fn check_host(host: Option<&str>, is_http_11: bool) -> Result<(), Refusal> {
    match host {
        None if is_http_11 => Err(Refusal::bad("an HTTP/1.1 request has a Host header")),
        Some(host) if !is_authority(host) => {
            Err(Refusal::bad("header Host is no name or address, with or without a port"))
        }
        _ => Ok(()),
    }
}

/// `host [":" port]` of RFC 3986 section 3.2.2; both may be empty.
fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (is_ip_literal(address), port),
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (name, port) = text.split_at(end);
            (is_registered_name(name), port)
        }
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    is_host && is_port
}

fn is_ip_literal(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_hexdigit() || b":.".contains(&b);
    let is_future = text.starts_with(['v', 'V']) && is_registered_name(&text.replace(':', ""));
    !text.is_empty() && (text.bytes().all(allowed) || is_future)
}

fn is_registered_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_right = match byte {
            b'%' => bytes.by_ref().take(2).filter(u8::is_ascii_hexdigit).count() == 2,
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte),
        };
        if !is_right {
            return false;
        }
    }
    true
}

/// How many bytes of `buf` are empty lines before a request line (RFC 9112 section 2.2).
#[must_use]
pub fn empty_lines(buf: &[u8]) -> usize {
    let mut rest = buf;
    while let [b'\r', b'\n', tail @ ..] | [b'\n', tail @ ..] = rest {
        rest = tail;
    }
    buf.len() - rest.len()
}

/// True when nothing in `buf` begins a request: empty lines, the last maybe half there.
#[must_use]
pub fn is_empty_lines(buf: &[u8]) -> bool {
    matches!(buf.get(empty_lines(buf)..), None | Some([] | [b'\r']))
}

/// A request line that alone is longer than a head may be has a status of its own.
fn check_target_length(buf: &[u8], header_bytes_max: u32) -> Result<(), Refusal> {
    let bytes_max = header_bytes_max as usize;
    let is_ended = buf.iter().take(bytes_max).any(|&b| b == b'\n');
    if !is_ended && buf.len() > bytes_max {
        let message = format!("request line above {bytes_max} bytes (limits.header_bytes_max)");
        return Err(Refusal::new(Status::UriTooLong, message));
    }
    Ok(())
}

fn refuse(error: Error) -> Refusal {
    match error {
        Error::TooManyHeaders => {
            Refusal::new(Status::HeadersTooLarge, format!("more than {HEADERS_MAX} headers"))
        }
        Error::Version => {
            Refusal::new(Status::VersionNotSupported, "this port speaks HTTP/1.1 (and 1.0)")
        }
        other => Refusal::bad(format!("malformed request: {other}")),
    }
}

fn collect(parsed: &[Header<'_>]) -> Result<Headers, Refusal> {
    let mut headers = Headers::default();
    for header in parsed {
        let Some((slot, repeat)) = headers.slot(header.name) else {
            continue;
        };
        // Bytes that are not UTF-8 become a sign that stands in no value anybody looks for.
        let text = String::from_utf8_lossy(header.value);
        let value = text.trim();
        let Some(list) = slot else {
            *slot = Some(value.to_owned());
            continue;
        };
        let separator = match repeat {
            Repeat::Joined => ", ",
            Repeat::Cookies => "; ",
            Repeat::Refused => {
                return Err(Refusal::bad(format!("header {} twice", header.name)));
            }
        };
        list.push_str(separator);
        list.push_str(value);
    }
    Ok(headers)
}

/// Origin form, absolute form (RFC 9112 section 3.2.2), or `*`.
fn split_target(target: &str) -> (String, Option<String>) {
    let origin_form = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            rest.find(['/', '?']).map_or("/", |start| &rest[start..])
        }
        _ => target,
    };
    match origin_form.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (origin_form.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Option<(Request, usize)>, Refusal> {
        Request::parse(text.as_bytes(), 4096)
    }

    fn status_of(text: &str) -> u16 {
        parse(text).unwrap_err().status.number()
    }

    #[test]
    fn a_head_is_read_with_its_length() {
        let text = "POST /v1/publish/a%2Fb?x=1&y HTTP/1.1\r\nhost: h\r\nAccept: a\r\nX-Other: \
                    \u{fc}\r\nACCEPT: b\r\nContent-Length:  7 \r\n\r\n{\"a\":1}";
        let (request, bytes) = parse(text).unwrap().unwrap();
        assert_eq!(&text[bytes..], "{\"a\":1}");
        assert_eq!(request.method, Method::Post);
        assert_eq!(request.path, "/v1/publish/a%2Fb");
        assert_eq!(request.query.as_deref(), Some("x=1&y"));
        assert_eq!(request.headers.accept.as_deref(), Some("a, b"));
        assert_eq!(request.headers.content_length.as_deref(), Some("7"));
        assert!(request.keeps_alive());
    }

    #[test]
    fn empty_lines_begin_no_request() {
        for (text, bytes, is_all) in [
            ("", 0, true),
            ("\r\n", 2, true),
            ("\n\r\n\n", 4, true),
            ("\r", 0, true),
            ("\r\n\r", 2, true),
            ("\r\r", 0, false),
            ("\r\nG", 2, false),
            (" \r\n", 0, false),
        ] {
            let buf = text.as_bytes();
            assert_eq!((empty_lines(buf), is_empty_lines(buf)), (bytes, is_all), "{text:?}");
        }
    }

    #[test]
    fn an_incomplete_head_is_waited_for_at_every_cut() {
        let text = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn broken_heads_are_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("G\0T / HTTP/1.1\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\n", 505),
            ("\u{16}\u{3}\u{1}\0", 400),
        ] {
            assert_eq!(status_of(text), status, "{text}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        let judge = |host: &str| parse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        for right in ["", "h", "h:", "h:80", "a_b.example", "a%20b", "[::1]", "[::1]:80", "1.2.3.4"]
        {
            assert!(judge(right).is_ok(), "{right}");
        }
        for wrong in [
            "a b", "a/b", "u@h", "h:x", "h:80:80", "[::1", "[]", "[::1]x", "[g]", "a%2", "a%xy",
            "<h>", "h, h", "http://h", "a\\b", "h#", "h?",
        ] {
            assert_eq!(judge(wrong).unwrap_err().status.number(), 400, "{wrong}");
        }
        assert_eq!(status_of("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), 400);
    }

    #[test]
    fn headers_that_nobody_asks_for_are_not_judged() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=\xFC\r\nCookie: b=1\r\n\
            Authorization: \xFF\r\nAuthorization: x\r\nContent-Type: a\r\nContent-Type: b\r\n\
            Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\nX-Any: \xFE\r\nAccept: \xFD\r\n\
            Last-Event-ID: 1\r\nLast-Event-ID: 2\r\nExpect: a\r\nExpect: b\r\n\r\n";
        let (request, _) = Request::parse(head, 4096).unwrap().unwrap();
        assert_eq!(request.headers.cookie.as_deref(), Some("a=\u{FFFD}; b=1"));
    }

    #[test]
    fn the_most_specific_range_decides() {
        for (accept, expected) in [
            (None, true),
            (Some(""), true),
            (Some("*/*"), true),
            (Some("text/html, text/*;q=0.1"), true),
            (Some("Text/Event-Stream"), true),
            (Some("text/html,*/*;q=0.8"), true),
            (Some("text/html"), false),
            (Some("application/*"), false),
            (Some("*/*, text/event-stream;q=0"), false),
            (Some("text/*; q=0.000, */*"), false),
        ] {
            assert_eq!(accepts_events(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        assert_eq!(status_of(&format!("GET /{}", "a".repeat(4100))), 414);
        assert_eq!(parse(&format!("GET /{}", "a".repeat(4000))), Ok(None));
        assert_eq!(status_of(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(4077))), 431);
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        assert_eq!(status_of(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
    }

    #[test]
    fn targets_have_three_forms() {
        for (target, path, query) in [
            ("/a?b?c", "/a", Some("b?c")),
            ("http://h:1/a?b", "/a", Some("b")),
            ("http://h", "/", None),
            ("*", "*", None),
            ("/a?u=x://y", "/a", Some("u=x://y")),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (request, _) = parse(&text).unwrap().unwrap();
            assert_eq!((request.path.as_str(), request.query.as_deref()), (path, query));
        }
    }

    #[test]
    fn keeping_alive_depends_on_version_and_connection() {
        for (version, connection, expected) in [
            ("1.1", "x", true),
            ("1.1", "upgrade, Close", false),
            ("1.0", "x", false),
            ("1.0", "Keep-Alive", true),
        ] {
            let text =
                format!("GET / HTTP/{version}\r\nHost: h\r\nConnection: {connection}\r\n\r\n");
            assert_eq!(parse(&text).unwrap().unwrap().0.keeps_alive(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_is_never_larger_than_itself(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let bytes = [b"GET /".as_slice(), &bytes].concat();
            if let Ok(Some((_, head_bytes))) = Request::parse(&bytes, 4096) {
                prop_assert!(head_bytes <= bytes.len());
            }
        }
    }
}
