//! Authentication over real sockets: where a token may stand, what who lacks one is told, and when
//! rights end. Owns statuses, bodies and close codes. Must not judge tokens in detail: that is done
//! in `tokens.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::Write;

use harness::Server;
use harness::frames::{RawSocket, TEXT, frame};
use harness::http::{Answer, Events, UPGRADE, ask, get, post, read_answer, read_answer_head};
use harness::tokens::{Issuer, Keys, claims, config_of, unix_s};
use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256};
use serde_json::json;

const WALL: &str = "token-of-the-wall";
const PMU: &str = "token-of-a-pmu-1001";
const ADMIN: &str = "token-of-an-admin";

const TOKENS: &str = r##"
[debug]
echo = true
[[auth.token]]
name = "wall"
token = "token-of-the-wall"
subscribe = ["pmu/#", "alarms"]
[[auth.token]]
name = "pmu"
token = "token-of-a-pmu-1001"
publish = ["pmu/1001", "pmu/1001/+"]
publishes_per_s = 0
[[auth.token]]
name = "admin"
token = "token-of-an-admin"
subscribe = ["#", "$sys/#"]
publish = ["#"]
admin = true
"##;

fn start(file: &str) -> Server {
    Server::try_start(config_of(file)).unwrap()
}

fn with_tokens() -> Server {
    start(TOKENS)
}

fn request(server: &Server, line: &str, headers: &str) -> Answer {
    ask(server, format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn outcome(server: &Server, word: &str) -> u64 {
    server.metric(&format!("authentications_total{{outcome=\"{word}\"}}"))
}

/// What a refusal is about: status, challenge, code and message.
fn refusal(answer: &Answer) -> (u16, String, String, String) {
    let error = answer.json()["error"].clone();
    let text = |key: &str| error[key].as_str().unwrap().to_owned();
    let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
    (answer.status, challenge, text("code"), text("message"))
}

/// What a static token is told that it lacks.
fn lacks(act: &str, key: &str, fault: &str) -> String {
    format!("the token has no right to {act}: {key} in its [[auth.token]] {fault}")
}

#[test]
fn whoever_has_no_token_is_told_to_bring_one() {
    let server = with_tokens();
    let events = "Accept: text/event-stream\r\n";
    let lines = "Content-Type: application/x-ndjson\r\nContent-Length: 2\r\n";
    for (line, headers) in [
        ("GET /v1/feed/pmu/1", UPGRADE),
        ("GET /v1/feed/pmu/1", events),
        ("GET /v1/publish/pmu/1001", UPGRADE),
        ("POST /v1/publish/pmu/1001", "Content-Length: 1\r\n"),
        ("POST /v1/publish", lines),
        ("GET /v1/echo", UPGRADE),
        ("GET /v1/feed/pmu/1", &format!("Cookie: gridcast={WALL}\r\n{UPGRADE}")),
    ] {
        let (status, challenge, code, message) = refusal(&request(&server, line, headers));
        assert_eq!((status, challenge.as_str()), (401, "Bearer"), "{line}");
        assert_eq!(code, "unauthorised", "{line}");
        assert!(message.starts_with("a token is needed"), "{line}: {message}");
    }
    assert_eq!(outcome(&server, "missing"), 7);
    assert_eq!(server.metric("requests_refused_total{status=\"401\"}"), 7);
}

#[test]
fn machines_that_ask_how_it_is_need_no_token() {
    let server = with_tokens();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&server, path).status, 200, "{path}");
    }
    assert_eq!(request(&server, "OPTIONS /v1/publish", "").status, 204);
    let closed = start(&format!("[auth]\nmetrics = true\n{TOKENS}"));
    assert_eq!(get(&closed, "/healthz").status, 200);
    assert_eq!(get(&closed, "/metrics").status, 401);
    let answer = request(&closed, "GET /metrics", &bearer(WALL));
    let (status, challenge, code, message) = refusal(&answer);
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    assert_eq!(challenge, "Bearer error=\"insufficient_scope\"");
    assert_eq!(message, lacks("administer the engine", "admin", "is missing or false"));
    assert_eq!(request(&closed, "GET /metrics", &bearer(ADMIN)).status, 200);
}

#[test]
fn a_token_stands_in_a_header_or_in_the_query() {
    let server = with_tokens();
    let mut by_query = server.subscribe(&format!("pmu/%23?token={WALL}&from=oldest"));
    let events = server.connect();
    let mut by_header = Events::over(events, "pmu/1001", &bearer(WALL));
    let mut publisher = server.publisher(&format!("pmu/1001?token={PMU}"));
    publisher.say("one");
    assert_eq!(by_query.text(), "one");
    assert_eq!(by_header.next().unwrap().data, "one");
    let post_line = format!("POST /v1/publish/pmu/1001?token={PMU}");
    let headers = "Content-Type: text/plain\r\nContent-Length: 0\r\n";
    assert_eq!(request(&server, &post_line, headers).status, 200);
    assert_eq!(by_query.text(), "");
    let mut echo = server.websocket(&format!("/v1/echo?token={WALL}"));
    echo.say("back");
    assert_eq!(echo.text(), "back");
    assert_eq!(outcome(&server, "accepted"), 5);
}

#[test]
fn what_is_wrong_with_a_token_is_told_and_the_token_is_not() {
    let server = with_tokens();
    for (query, headers, message) in [
        ("?token=token-of-nobody", String::new(), "unknown token"),
        ("", bearer("a.b.c"), "unknown token"),
        ("", "Authorization: Basic d2FsbDp3YWxs\r\n".to_owned(), "Authorization is written"),
        ("?token=token-of-nobody", bearer(WALL), "not in both"),
    ] {
        let line = format!("GET /v1/feed/pmu/1{query}");
        let answer = request(&server, &line, &format!("{headers}{UPGRADE}"));
        let (status, challenge, _, told) = refusal(&answer);
        assert_eq!(status, 401);
        assert!(challenge.starts_with("Bearer error=\"invalid_"), "{challenge}");
        assert!(told.contains(message), "{told}");
        assert!(!answer.head.contains("nobody") && !answer.body.contains("nobody"));
    }
    // Other mistakes of the same request do not echo it either.
    let answer = request(&server, &format!("GET /v1/feed/a?token={WALL}&fron=last"), UPGRADE);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("fron") && !answer.body.contains(WALL));
    assert_eq!((outcome(&server, "unknown"), outcome(&server, "malformed")), (2, 2));
}

fn covers_not(key: &str, topic: &str) -> String {
    lacks(&format!("{key} to \"{topic}\""), key, "does not cover it")
}

fn has_none(key: &str, topic: &str) -> String {
    lacks(&format!("{key} to \"{topic}\""), key, "is missing or empty")
}

#[test]
fn a_right_that_is_missing_is_named() {
    let server = with_tokens();
    let events = "Accept: text/event-stream\r\n";
    for (line, token, headers, message) in [
        ("GET /v1/feed/other", WALL, UPGRADE, covers_not("subscribe", "other")),
        ("GET /v1/feed/other", WALL, events, covers_not("subscribe", "other")),
        ("GET /v1/feed/%23", WALL, UPGRADE, covers_not("subscribe", "#")),
        ("GET /v1/feed/+/1001", WALL, UPGRADE, covers_not("subscribe", "+/1001")),
        ("GET /v1/feed/alarms/%23", WALL, UPGRADE, covers_not("subscribe", "alarms/#")),
        ("GET /v1/feed/$sys/cores", WALL, UPGRADE, covers_not("subscribe", "$sys/cores")),
        ("GET /v1/feed/pmu/1001", PMU, UPGRADE, has_none("subscribe", "pmu/1001")),
        ("GET /v1/publish/pmu/1001", WALL, UPGRADE, has_none("publish", "pmu/1001")),
        ("POST /v1/publish/pmu/7", PMU, "Content-Length: 1\r\n", covers_not("publish", "pmu/7")),
    ] {
        let answer = request(&server, line, &format!("{}{headers}", bearer(token)));
        let (status, challenge, code, told) = refusal(&answer);
        assert_eq!((status, code.as_str()), (403, "forbidden"), "{line}");
        assert_eq!(challenge, "Bearer error=\"insufficient_scope\"");
        assert_eq!(told, message);
    }
    assert_eq!(outcome(&server, "forbidden"), 9);
    drop(server.subscribe(&format!("$sys/%23?token={ADMIN}")));
}

#[test]
fn each_line_of_a_post_is_held_against_the_rights() {
    let server = with_tokens();
    let lines = "{\"topic\":\"pmu/1001\",\"data\":1}\n{\"topic\":\"pmu/7\",\"data\":2}\n\
                 {\"topic\":\"pmu/1001/a\",\"data\":3}\n{\"topic\":\"pmu\",\"data\":4}\n";
    let path = format!("/v1/publish?token={PMU}");
    let answer = post(&server, &path, "application/x-ndjson", lines.as_bytes());
    assert_eq!(answer.status, 403);
    let reply = answer.json();
    assert_eq!((&reply["published"], &reply["failed"]), (&2.into(), &2.into()));
    assert_eq!(
        reply["error"],
        json!({"code": "forbidden", "line": 2, "message": covers_not("publish", "pmu/7")})
    );
}

#[test]
fn each_request_of_a_connection_stands_for_itself() {
    let server = with_tokens();
    let mut stream = server.connect();
    let request = |token: &str| {
        let header = if token.is_empty() { String::new() } else { bearer(token) };
        format!(
            "POST /v1/publish/pmu/1001 HTTP/1.1\r\nHost: h\r\n{header}Content-Length: 0\r\n\r\n"
        )
    };
    stream.write_all(request(PMU).as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
    stream.write_all(request("").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).status, 401);
}

#[test]
fn without_auth_a_token_means_nothing_and_harms_nothing() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("a?token=whatever");
    server.post("a", "open");
    assert_eq!(subscriber.text(), "open");
    assert_eq!(outcome(&server, "accepted"), 0);
}

#[test]
fn a_cookie_counts_where_pages_are_limited() {
    let settings = "[auth]\ncookie = \"session\"\n[security]\norigins = [\"https://a.test\"]\n";
    let server = start(&format!("{settings}{TOKENS}"));
    let ask = |origin: &str, cookie: &str| {
        let headers = format!("Origin: {origin}\r\nCookie: {cookie}\r\n{UPGRADE}");
        let mut stream = server.connect();
        let request = format!("GET /v1/feed/alarms HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        read_answer_head(&mut stream).status
    };
    assert_eq!(ask("https://a.test", &format!("x=y; session={WALL}")), 101);
    assert_eq!(ask("https://b.test", &format!("session={WALL}")), 403);
    assert_eq!(ask("https://a.test", &format!("gridcast={WALL}")), 401);
}

// ---- many topics on one socket ----

#[test]
fn each_command_is_held_against_the_rights() {
    let server = with_tokens();
    assert_eq!(request(&server, "GET /v1/ws", UPGRADE).status, 401);
    let say = |token: &str, commands: &[(&str, &str)]| {
        let mut socket = RawSocket::open(&server, &format!("/v1/ws?token={token}"));
        for (command, expected) in commands {
            socket.send(&frame(TEXT, command.as_bytes()));
            let answer = String::from_utf8(socket.read().unwrap().payload).unwrap();
            assert!(answer.contains(expected), "{command}: {answer}");
        }
    };
    let forbidden = |message: String| format!("\"forbidden\",\"message\":{}", json!(message));
    say(
        WALL,
        &[
            (r#"{"id":1,"subscribe":{"topic":"pmu/+"}}"#, r#"{"id":1,"subscribed":"#),
            (
                r#"{"id":2,"subscribe":{"topic":"other"}}"#,
                &forbidden(covers_not("subscribe", "other")),
            ),
            (r##"{"id":3,"subscribe":{"topic":"#"}}"##, &forbidden(covers_not("subscribe", "#"))),
            (
                r#"{"id":4,"publish":{"topic":"pmu/1","data":1}}"#,
                &forbidden(has_none("publish", "pmu/1")),
            ),
            (r#"{"id":5,"unsubscribe":{"topic":"pmu/+"}}"#, r#"{"id":5,"unsubscribed":"#),
        ],
    );
    let publish = r#"{"id":1,"publish":{"topic":"pmu/1001","data":1}}"#;
    say(PMU, &[(publish, r#"{"id":1,"published":"#)]);
}

#[test]
fn administrators_have_a_token_that_says_so() {
    let server = with_tokens();
    let status = |headers: &str| request(&server, "GET /v1/admin/status", headers).status;
    assert_eq!((status(""), status(&bearer(WALL)), status(&bearer(ADMIN))), (401, 403, 200));
    // Not from this machine, but with the right token.
    let passed_on = format!("{}X-Forwarded-For: 192.0.2.1\r\n", bearer(ADMIN));
    assert_eq!(status(&passed_on), 200);
    let cross_site = format!("{}Sec-Fetch-Site: cross-site\r\n", bearer(ADMIN));
    assert_eq!(status(&cross_site), 403);
    let drain = |headers: &str| {
        request(&server, "POST /v1/admin/drain", &format!("{headers}Content-Length: 0\r\n")).status
    };
    assert_eq!((drain(""), drain(&bearer(PMU)), drain(&bearer(ADMIN))), (401, 403, 202));
}

/// The claims of a signed token are named wherever one is missing.
#[test]
fn a_claim_that_is_missing_is_named_on_every_way_in() {
    let issuer = issuer();
    let keys = Keys::new(&[&issuer]);
    let server = start(&keys.settings(false, "audience = [\"grid\"]\n"));
    let rights = json!({"subscribe": ["pmu/#"], "publishes_per_s": 5});
    let token = issuer.sign(&claims(&json!({"aud": "grid", "gridcast": rights})));
    let covers = "the token has no right to subscribe to \"alarms\": \
                  its claim gridcast.subscribe does not cover it";
    let publish = "the token has no right to publish to \"alarms\": \
                   its claim gridcast.publish is missing or empty";
    let admin = "the token has no right to administer the engine: \
                 its claim gridcast.admin is missing or false";
    let body = "Content-Length: 0\r\n";
    for (line, headers, told) in [
        ("GET /v1/feed/alarms", UPGRADE, covers),
        ("GET /v1/feed/alarms", "Accept: text/event-stream\r\n", covers),
        ("GET /v1/publish/alarms", UPGRADE, publish),
        ("POST /v1/publish/alarms", body, publish),
        ("GET /v1/admin/status", "", admin),
        ("POST /v1/admin/drain", body, admin),
    ] {
        let answer = request(&server, line, &format!("{}{headers}", bearer(&token)));
        let (status, challenge, _, message) = refusal(&answer);
        assert_eq!((status, message.as_str()), (403, told), "{line}");
        assert_eq!(challenge, "Bearer error=\"insufficient_scope\"");
    }
    let lines = b"{\"topic\":\"alarms\",\"data\":1}";
    let path = format!("/v1/publish?token={token}");
    let answer = post(&server, &path, "application/x-ndjson", lines);
    assert_eq!(answer.json()["error"]["message"], publish);
    let mut socket = RawSocket::open(&server, &format!("/v1/ws?token={token}"));
    for (command, told) in [
        (r#"{"id":1,"subscribe":{"topic":"alarms"}}"#, covers),
        (r#"{"id":1,"publish":{"topic":"alarms","data":1}}"#, publish),
    ] {
        socket.send(&frame(TEXT, command.as_bytes()));
        let answer: serde_json::Value =
            serde_json::from_slice(&socket.read().unwrap().payload).unwrap();
        assert_eq!(answer["error"], json!({"code": "forbidden", "message": told}));
    }
}

/// Connections of before tokens were needed go on with what they have, and get no more.
#[test]
fn who_came_before_tokens_were_needed_is_told_to_come_with_one() {
    let server = start("");
    let mut socket = RawSocket::open(&server, "/v1/ws");
    server.engine.reconfigure(config_of(TOKENS));
    server.engine.reload_auth().unwrap();
    socket.send(&frame(TEXT, br#"{"id":1,"subscribe":{"topic":"pmu/1"}}"#));
    let answer = String::from_utf8(socket.read().unwrap().payload).unwrap();
    assert!(
        answer.contains("\"forbidden\",\"message\":\"this connection has no token"),
        "{answer}"
    );
}

// ---- time ----

fn issuer() -> Issuer {
    Issuer::new(EdDSA, Some("k"))
}

#[test]
fn open_connections_end_with_their_token() {
    let issuer = issuer();
    let keys = Keys::new(&[&issuer]);
    let server = start(&keys.settings(false, "leeway_s = 0\n[debug]\necho = true\n"));
    let token = issuer.sign(&claims(&json!({"exp": unix_s(2)})));
    let lasting = issuer.sign(&claims(&json!({})));
    let mut stays = server.subscribe(&format!("a?token={lasting}"));
    let mut subscriber = server.subscribe(&format!("a?token={token}"));
    let mut publisher = server.publisher(&format!("a?token={token}"));
    let mut echo = server.websocket(&format!("/v1/echo?token={token}"));
    let mut events = Events::over(server.connect(), "a", &bearer(&token));
    publisher.say("before");
    assert_eq!((subscriber.text(), stays.text()), ("before".into(), "before".into()));
    for client in [&mut subscriber, &mut publisher, &mut echo] {
        assert_eq!(client.close(), (4401, "token expired (exp)".into()));
    }
    assert_eq!(events.next().unwrap().data, "before");
    let close = events.next().unwrap();
    assert_eq!((close.event.as_str(), &close.json()["code"]), ("close", &4401.into()));
    assert_eq!(server.closing("unauthorised"), 4);
    let refused = request(&server, &format!("GET /v1/feed/a?token={token}"), UPGRADE);
    assert_eq!((refused.status, refusal(&refused).3.as_str()), (401, "token expired (exp)"));
    let lines = b"{\"topic\":\"a\",\"data\":\"after\"}";
    let path = format!("/v1/publish?token={lasting}");
    assert_eq!(post(&server, &path, "application/x-ndjson", lines).status, 200);
    assert_eq!(stays.text(), "\"after\"");
}

#[test]
fn keys_change_under_open_connections() {
    let (old, new) = (Issuer::new(ES256, Some("old")), Issuer::new(EdDSA, Some("new")));
    let keys = Keys::new(&[&old]);
    let server = start(&keys.settings(false, ""));
    let status = |issuer: &Issuer| {
        let token = issuer.sign(&claims(&json!({})));
        let headers = format!("{}Content-Length: 0\r\n", bearer(&token));
        request(&server, "POST /v1/publish/a", &headers).status
    };
    let mut subscriber = server.subscribe(&format!("a?token={}", old.sign(&claims(&json!({})))));
    assert_eq!((status(&old), status(&new)), (200, 401));
    keys.write(&[&old, &new]);
    server.engine.tidy();
    assert_eq!((status(&old), status(&new)), (200, 200));
    // A broken file changes nothing.
    std::fs::write(keys.path("jwks"), "{\"keys\": [").unwrap();
    server.engine.tidy();
    assert_eq!((status(&old), status(&new)), (200, 200));
    keys.write(&[&new]);
    server.engine.tidy();
    assert_eq!((status(&old), status(&new)), (401, 200));
    assert_eq!(outcome(&server, "key"), 2);
    assert_eq!(subscriber.swallow(6), 0, "who was let in stays in");
}

// ---- rates ----

#[test]
fn connections_of_one_subject_share_its_rate() {
    let issuer = Issuer::new(HS256, None);
    let keys = Keys::new(&[&self::issuer()]);
    let server = start(&keys.settings(true, "publishes_per_s = 1\n"));
    let token = |sub: &str, rights| issuer.sign(&claims(&json!({"sub": sub, "gridcast": rights})));
    let all = json!({"subscribe": ["#"], "publish": ["#"]});
    let lines = |token: String, count: usize| {
        let body = "{\"topic\":\"a\",\"data\":1}\n".repeat(count);
        let path = format!("/v1/publish?token={token}");
        post(&server, &path, "application/x-ndjson", body.as_bytes())
    };
    // Each on a connection of its own: at one a second, many cannot all pass.
    let refused = (0..50).map(|_| lines(token("busy", all.clone()), 1));
    let refused = refused.into_iter().find(|answer| answer.status != 200).unwrap();
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (429, Some("rate_limited"))
    );
    assert_eq!(refused.header("retry-after"), Some("1"), "of a line as well");
    let message = refused.json()["error"]["message"].to_string();
    let told = "more than 1 messages a second with this token (publishes_per_s)";
    assert!(message.contains(told), "{message}");
    let mut publisher =
        RawSocket::open(&server, &format!("/v1/publish/a?token={}", token("busy", all)));
    publisher.send(&frame(TEXT, b"1").repeat(50));
    let close = publisher.read().unwrap();
    assert_eq!(close.close_code(), 4429);
    assert_eq!(&close.payload[2..], told.as_bytes());
    let free = json!({"publish": ["#"], "publishes_per_s": 0});
    assert_eq!(lines(token("free", free), 50).json()["published"], 50);
}
