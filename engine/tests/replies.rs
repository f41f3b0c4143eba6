//! The table of HTTP requests and their exact replies, byte by byte: keep-alive, requests sent at
//! once, bodies, HEAD, OPTIONS, pages of other origins. Owns the bytes an HTTP client reads. Must
//! not test limits.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::Shutdown;

use harness::Server;

/// A request, `\n` written for CRLF, and the reply up to the end of the connection. `{epoch}` in a
/// reply stands for whatever the engine's epoch is.
struct Row {
    request: &'static str,
    reply: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        request: "GET /healthz HTTP/1.1\nHost: h\nConnection: close\n\n",
        reply: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: text/plain; charset=utf-8\n\
                Content-Length: 3\n\nok\u{a}",
    },
    Row {
        request: "HEAD /readyz HTTP/1.1\nHost: h\nConnection: close\n\n",
        reply: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: text/plain; charset=utf-8\n\
                Content-Length: 6\n\n",
    },
    Row {
        request: "GET /healthz HTTP/1.0\n\n",
        reply: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: text/plain; charset=utf-8\n\
                Content-Length: 3\n\nok\u{a}",
    },
    // Several requests at once are answered in order; what follows a refusal is not.
    Row {
        request: "GET /healthz HTTP/1.1\nHost: h\n\nOPTIONS * HTTP/1.1\nHost: h\n\n\
                  GET /nowhere HTTP/1.1\nHost: h\n\nGET /healthz HTTP/1.1\nHost: h\n\n",
        reply: "HTTP/1.1 200 OK\nConnection: keep-alive\nContent-Type: text/plain; charset=utf-8\n\
                Content-Length: 3\n\nok\u{a}HTTP/1.1 204 No Content\nConnection: keep-alive\n\
                Allow: GET, HEAD, POST, OPTIONS\n\nHTTP/1.1 404 Not Found\nConnection: close\n\
                Content-Type: application/json\nContent-Length: {length}\n\n\
                {\"error\":{\"code\":\"not_found\",\"message\":{any}}}\u{a}",
    },
    Row {
        request: "POST /v1/publish/t HTTP/1.1\nHost: h\nContent-Length: 2\nConnection: close\n\nab",
        reply: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: application/json\n\
                Content-Length: {length}\n\n\
                {\"epoch\":\"{epoch}\",\"kind\":\"binary\",\"seq\":1,\"subscribers\":0}\u{a}",
    },
    Row {
        request: "POST /v1/publish/t HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\
                  Expect: 100-continue\nConnection: close\n\n2;x=y\nab\n0\nTrailer: 1\n\n",
        reply: "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nConnection: close\n\
                Content-Type: application/json\nContent-Length: {length}\n\n\
                {\"epoch\":\"{epoch}\",\"kind\":\"binary\",\"seq\":2,\"subscribers\":0}\u{a}",
    },
    Row {
        request: "POST /v1/publish HTTP/1.1\nHost: h\nContent-Type: application/x-ndjson\n\
                  Content-Length: 24\nConnection: close\n\n{\"topic\":\"u\",\"data\":1}\u{a}x\u{a}",
        reply: "HTTP/1.1 400 Bad Request\nConnection: close\nContent-Type: application/json\n\
                Content-Length: {length}\n\n\
                {\"error\":{\"code\":\"bad_request\",\"line\":2,\"message\":{any}},\
                \"failed\":1,\"published\":1}\u{a}",
    },
    Row {
        request: "POST /v1/publish HTTP/1.1\nHost: h\nContent-Type: application/x-ndjson\n\
                  Content-Length: 28\nConnection: close\n\n{\"topic\":\"$sys/x\",\"data\":1}\u{a}",
        reply: "HTTP/1.1 403 Forbidden\nConnection: close\nContent-Type: application/json\n\
                Content-Length: {length}\n\n\
                {\"error\":{\"code\":\"forbidden\",\"line\":1,\"message\":{any}},\
                \"failed\":1,\"published\":0}\u{a}",
    },
    // A method that an endpoint has not is told first, whatever else is wrong.
    Row {
        request: "GET /v1/publish HTTP/1.1\nHost: h\nContent-Length: 1\n\nx",
        reply: "HTTP/1.1 405 Method Not Allowed\nConnection: close\nAllow: POST, OPTIONS\n\
                Content-Type: application/json\nContent-Length: {length}\n\n\
                {\"error\":{\"code\":\"method_not_allowed\",\
                \"message\":\"the methods here are POST, OPTIONS\"}}\u{a}",
    },
    Row {
        request: "GET /v1/poll/t?from=oldest&limit=1 HTTP/1.1\nHost: h\nConnection: close\n\n",
        reply: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: application/json\n\
                Cache-Control: no-store\nETag: \"{epoch}-1\"\nContent-Length: {length}\n\n\
                {\"records\":[{\"topic\":\"t\",\"epoch\":\"{epoch}\",\"seq\":1,\"time_ms\":{time},\
                \"data64\":\"YWI=\"}],\
                \"end\":{\"next\":\"{epoch}-1\",\"records\":1,\"complete\":false}}\u{a}",
    },
    // Two lengths for one body are how requests are smuggled.
    Row {
        request: "POST /v1/publish/t HTTP/1.1\nHost: h\nContent-Length: 2\n\
                  Transfer-Encoding: chunked\n\n0\n\n",
        reply: "HTTP/1.1 400 Bad Request\nConnection: close\nContent-Type: application/json\n\
                Content-Length: {length}\n\n{\"error\":{\"code\":\"bad_request\",\
                \"message\":\"both Content-Length and Transfer-Encoding\"}}\u{a}",
    },
    Row {
        request: "PUT /v1/publish/t HTTP/1.1\nHost: h\nContent-Length: 1\n\nx",
        reply: "HTTP/1.1 405 Method Not Allowed\nConnection: close\nAllow: GET, POST, OPTIONS\n\
                Content-Type: application/json\nContent-Length: {length}\n\n\
                {\"error\":{\"code\":\"method_not_allowed\",\
                \"message\":\"the methods here are GET, POST, OPTIONS\"}}\u{a}",
    },
    // A page of another origin: what its browser asks first, and what it may read.
    Row {
        request: "OPTIONS /v1/publish/t HTTP/1.1\nHost: h\nOrigin: https://a.example\n\
                  Access-Control-Request-Method: POST\nConnection: close\n\n",
        reply: "HTTP/1.1 204 No Content\nConnection: close\nAccess-Control-Allow-Origin: *\n\
                Access-Control-Expose-Headers: Retry-After\nVary: Origin\n\
                Allow: GET, POST, OPTIONS\nAccess-Control-Allow-Methods: GET, POST, OPTIONS\n\
                Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\n\
                Access-Control-Max-Age: 7200\n\n",
    },
    Row {
        request: "POST /v1/publish/t HTTP/1.1\nHost: h\nOrigin: https://a.example\n\n",
        reply: "HTTP/1.1 411 Length Required\nConnection: close\n\
                Access-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: Retry-After\n\
                Vary: Origin\nContent-Type: application/json\nContent-Length: {length}\n\n\
                {\"error\":{\"code\":\"length_required\",\"message\":{any}}}\u{a}",
    },
    Row {
        request: "POST /v1/publish/t HTTP/1.1\nHost: h\nOrigin: https://a.example\n\
                  Transfer-Encoding: chunked\n\nzz\n",
        reply: "HTTP/1.1 400 Bad Request\nConnection: close\n\
                Access-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: Retry-After\n\
                Vary: Origin\nContent-Type: application/json\nContent-Length: {length}\n\n\
                {\"error\":{\"code\":\"bad_request\",\"message\":\"malformed chunk size\"}}\u{a}",
    },
];

const LISTED: &[Row] = &[
    Row {
        request: "OPTIONS /v1/feed/t HTTP/1.1\nHost: h\nOrigin: https://a.example\n\
                  Connection: close\n\n",
        reply: "HTTP/1.1 204 No Content\nConnection: close\n\
                Access-Control-Allow-Origin: https://a.example\n\
                Access-Control-Allow-Credentials: true\n\
                Access-Control-Expose-Headers: Retry-After\nVary: Origin\nAllow: GET, OPTIONS\n\
                Access-Control-Allow-Methods: GET, OPTIONS\n\
                Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\n\
                Access-Control-Max-Age: 7200\n\n",
    },
    Row {
        request: "GET /v1/feed/t HTTP/1.1\nHost: h\nOrigin: https://b.example\n\
                  Accept: text/event-stream\n\n",
        reply: "HTTP/1.1 403 Forbidden\nConnection: close\nContent-Type: application/json\n\
                Content-Length: {length}\n\n{\"error\":{\"code\":\"forbidden\",\"message\":\
                \"pages of this origin may not use the engine (security.origins)\"}}\u{a}",
    },
];

/// The reply, `\r\n` in heads written `\n`; the line break that ends a body is `\u{a}` too, so only
/// heads are compared line by line.
fn reply(server: &Server, request: &str) -> String {
    let mut stream = server.connect();
    stream.write_all(crlf(request).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    without_dates(&String::from_utf8(bytes).unwrap())
}

/// Every final response has one date, in the form of RFC 9110 section 5.6.7.
fn without_dates(replies: &str) -> String {
    let (mut text, mut dates) = (String::new(), 0);
    for line in replies.split_inclusive('\n') {
        match line.strip_prefix("Date: ") {
            Some(date) => {
                assert!(date.len() == 31 && date.ends_with(" GMT\r\n"), "{date}");
                dates += 1;
            }
            None => text.push_str(line),
        }
    }
    let heads = text.matches("HTTP/1.1 ").count() - text.matches("HTTP/1.1 100 ").count();
    assert_eq!(dates, heads, "{replies}");
    text
}

/// NDJSON bodies keep their own line breaks: nobody minds a CR before them.
fn crlf(text: &str) -> String {
    match text.split_once("x-ndjson") {
        Some(_) => {
            let (head, body) = text.split_once("\n\n").unwrap();
            format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n"))
        }
        None => text.replace('\n', "\r\n"),
    }
}

/// Puts what only the engine knows into an expected reply, as far as the real one shows it.
fn expected(row: &Row, real: &str) -> String {
    let mut text = row.reply.to_owned();
    let quoted = |name: &str| {
        let at = real.find(&format!("\"{name}\":\"")).map(|at| at + name.len() + 3)?;
        let len = real[at + 1..].find("\"}").or_else(|| real[at + 1..].find("\","))?;
        Some(real[at..at + len + 2].to_owned())
    };
    if let Some(message) = quoted("message") {
        text = text.replace("{any}", &message);
    }
    let epoch = real.split("\"epoch\":\"").nth(1).and_then(|rest| rest.split('"').next());
    text = text.replace("{epoch}", epoch.unwrap_or_default());
    let time = real.split("\"time_ms\":").nth(1).and_then(|rest| rest.split(',').next());
    text = text.replace("{time}", time.unwrap_or_default());
    let body = text.rsplit("\n\n").next().unwrap_or_default().len();
    let text = text.replace("{length}", &body.to_string());
    let body_at = text.len() - body;
    let (heads, body) = text.split_at(body_at);
    // Only a body in the middle ends in a bare line break: that of /healthz.
    heads.replace('\n', "\r\n").replace("ok\r\n", "ok\n") + body
}

fn check(server: &Server, rows: &[Row]) {
    for row in rows {
        let real = reply(server, row.request);
        assert_eq!(real, expected(row, &real), "to {}", row.request);
    }
}

#[test]
fn every_request_of_the_table_has_its_exact_reply() {
    check(&Server::start(&[]), ROWS);
}

#[test]
fn pages_that_are_listed_are_named_and_others_refused() {
    let server = Server::start(&[("security.origins", "https://a.example,*.b.example")]);
    check(&server, LISTED);
    assert_eq!(server.metric("turned_away_total{gate=\"origin\"}"), 1);
}
