//! Tokens that come over an open `/v1/ws`, through real sockets: one that replaces another, and one
//! that is the first message. Owns answers, close codes and what becomes of subscriptions. Must not
//! judge tokens in detail: that is done in `tokens.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use harness::frames::{BINARY, RawSocket, TEXT, frame};
use harness::http::{UPGRADE, ask};
use harness::tokens::{Issuer, Keys, claims, config_of, unix_s};
use harness::{Client, Server};
use jsonwebtoken::Algorithm::EdDSA;
use serde_json::{Value, json};

const FIRST: &str = "first_message_ms = 60000\n";

/// An engine that asks for tokens, and who signs them.
struct Site {
    issuer: Issuer,
    _keys: Keys,
    server: Server,
}

impl Site {
    fn new(auth: &str) -> Self {
        let issuer = Issuer::new(EdDSA, Some("k"));
        let keys = Keys::new(&[&issuer]);
        let file = keys.settings(false, &format!("leeway_s = 0\n{auth}"));
        let server = Server::try_start(config_of(&file)).unwrap();
        Self { issuer, _keys: keys, server }
    }

    fn token(&self, changes: Value) -> String {
        self.issuer.sign(&claims(&changes))
    }

    fn open(&self, query: &str) -> Client {
        self.server.websocket(&format!("/v1/ws{query}"))
    }

    fn outcome(&self, word: &str) -> u64 {
        self.server.metric(&format!("authentications_total{{outcome=\"{word}\"}}"))
    }
}

fn auth(id: u64, token: &str) -> String {
    json!({"id": id, "auth": {"token": token}}).to_string()
}

fn json_of(client: &mut Client) -> Value {
    serde_json::from_str(&client.text()).unwrap()
}

/// Says something and answers what comes next.
fn tell(client: &mut Client, text: &str) -> Value {
    client.say(text);
    json_of(client)
}

#[test]
fn a_later_end_is_obeyed_and_so_is_an_earlier_one() {
    let site = Site::new("");
    let (short, ends_s) = (site.token(json!({"exp": unix_s(3)})), unix_s(600));
    let mut renewed = site.open(&format!("?token={short}"));
    let answer = tell(&mut renewed, &auth(1, &site.token(json!({"exp": ends_s}))));
    assert_eq!(answer["id"], 1);
    let told_ms = answer["authenticated"]["expires_ms"].as_i64().unwrap();
    assert!((told_ms - 1000 * ends_s).abs() < 50, "{answer}");
    let mut left = site.open(&format!("?token={short}"));
    assert_eq!(left.close(), (4401, "token expired (exp)".into()));
    // The tick in which the old token ends is over: the other one goes on.
    assert_eq!(
        tell(&mut renewed, r#"{"id":2,"unsubscribe":{"topic":"a"}}"#)["error"]["code"],
        "not_subscribed"
    );
    renewed.say(&json!({"auth": {"token": site.token(json!({"exp": unix_s(3)}))}}).to_string());
    assert_eq!(renewed.close(), (4401, "token expired (exp)".into()));
}

#[test]
fn what_the_new_token_does_not_allow_is_ended_and_told() {
    let site = Site::new("");
    let rights = |subscribe: &[&str], publish: &[&str]| {
        let rights = json!({"subscribe": subscribe, "publish": publish});
        json!({"gridcast": rights})
    };
    for protocol in ["gridcast.v1.json", "gridcast.v1.bin"] {
        let path = format!("/v1/ws?token={}", site.token(rights(&["#"], &["#"])));
        let mut client =
            Client::with_header(site.server.connect(), &path, "Sec-WebSocket-Protocol", protocol);
        for topic in ["a/1", "b/#", "c"] {
            let command = json!({"subscribe": {"topic": topic, "ack": true}}).to_string();
            assert_eq!(tell(&mut client, &command)["subscribed"]["topic"], topic);
        }
        let narrow = site.token(rights(&["a/#", "b/1"], &["c"]));
        assert_eq!(tell(&mut client, &auth(7, &narrow))["id"], 7);
        for (topic, act) in [("c", "subscribe to \"c\""), ("b/#", "subscribe to \"b/#\"")] {
            let error = json_of(&mut client)["error"].clone();
            let message = format!(
                "the token has no right to {act}: its claim gridcast.subscribe does not cover it"
            );
            assert_eq!(error, json!({"topic": topic, "code": "forbidden", "message": message}));
        }
        let answer = tell(&mut client, r#"{"id":8,"unsubscribe":{"topic":"c"}}"#);
        assert_eq!(answer["error"]["code"], "not_subscribed");
        let answer = tell(&mut client, r#"{"id":9,"publish":{"topic":"a/1","data":1}}"#);
        assert_eq!(answer["error"]["code"], "forbidden");
        // What is left goes on, and only that.
        let wide = site.token(rights(&["a/#"], &["#"]));
        assert_eq!(tell(&mut client, &auth(10, &wide))["id"], 10);
        client.say(r#"{"publish":{"topic":"c","data":1}}"#);
        assert!(
            tell(&mut client, r#"{"id":11,"publish":{"topic":"a/1","data":1}}"#)["published"]
                .is_object()
        );
        client.swallow(1);
    }
}

#[test]
fn a_token_that_is_refused_changes_nothing() {
    let site = Site::new("");
    let (mine, expired) = (site.token(json!({})), site.token(json!({"exp": unix_s(-5)})));
    let other = site.token(json!({"sub": "somebody else"}));
    let stolen = Issuer::new(EdDSA, Some("unknown")).sign(&claims(&json!({})));
    let mut client = site.open(&format!("?token={mine}"));
    for (token, code, words) in [
        ("token-of-nobody", "unauthorised", "unknown token"),
        (expired.as_str(), "unauthorised", "token expired"),
        (stolen.as_str(), "unauthorised", "unknown key"),
        (other.as_str(), "forbidden", "another subject"),
    ] {
        let error = tell(&mut client, &auth(1, token))["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words) && !message.contains("nobody"), "{message}");
    }
    for (command, words) in [
        (r#"{"id":1,"auth":{}}"#, "`token` must be a string"),
        (r#"{"id":1,"auth":{"token":7}}"#, "`token` must be a string"),
        (r#"{"id":1,"auth":{"tokn":"x"}}"#, "did you mean `token`"),
        (r#"{"id":1,"auth":"x"}"#, "`auth` must be an object"),
        (r#"{"id":1,"auth":{"token":"x"},"unsubscribe":{"topic":"a"}}"#, "exactly one of"),
    ] {
        let error = tell(&mut client, command)["error"].clone();
        assert_eq!(error["code"], "bad_request", "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    let subscribed = tell(&mut client, r#"{"id":2,"subscribe":{"topic":"a"}}"#);
    assert!(subscribed["subscribed"].is_object(), "{subscribed}");
    assert_eq!((site.outcome("expired"), site.outcome("forbidden")), (1, 1));
}

#[test]
fn the_rate_is_that_of_the_new_token() {
    let site = Site::new("");
    let with_rate = |per_s: u32| {
        let rights = json!({"publish": ["#"], "publishes_per_s": per_s});
        site.token(json!({"gridcast": rights}))
    };
    let mut client = site.open(&format!("?token={}", with_rate(1)));
    let publish = r#"{"id":1,"publish":{"topic":"a","data":1}}"#;
    let refused = (0..50).map(|_| tell(&mut client, publish));
    let refused = refused.into_iter().find(|answer| answer["error"].is_object()).unwrap();
    assert_eq!(refused["error"]["code"], "rate_limited");
    assert!(tell(&mut client, &auth(2, &with_rate(0)))["authenticated"].is_object());
    for _ in 0..50 {
        assert!(tell(&mut client, publish)["published"].is_object());
    }
}

#[test]
fn where_nobody_is_asked_a_token_means_nothing() {
    let server = Server::start(&[]);
    let mut client = server.websocket("/v1/ws");
    assert_eq!(tell(&mut client, &auth(1, "whatever")), json!({"id": 1, "authenticated": {}}));
}

/// Connections of before tokens were needed get a token, and then more.
#[test]
fn who_came_before_tokens_were_needed_may_send_one() {
    let server = Server::start(&[]);
    let mut client = server.websocket("/v1/ws");
    let file = "[[auth.token]]\nname = \"wall\"\ntoken = \"token-of-the-wall\"\n\
                subscribe = [\"pmu/1\"]\n";
    server.engine.reconfigure(config_of(file));
    server.engine.reload_auth().unwrap();
    let subscribe = r#"{"id":1,"subscribe":{"topic":"pmu/1"}}"#;
    assert_eq!(tell(&mut client, subscribe)["error"]["code"], "forbidden");
    let answer = tell(&mut client, &auth(2, "token-of-the-wall"));
    assert_eq!(answer, json!({"id": 2, "authenticated": {}}));
    assert!(tell(&mut client, subscribe)["subscribed"].is_object());
}

// ---- the first message ----

#[test]
fn the_token_may_be_the_first_message_where_that_is_allowed() {
    let closed = Site::new("");
    let request = format!("GET /v1/ws HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n");
    assert_eq!(ask(&closed.server, request.as_bytes()).status, 401);
    let site = Site::new(FIRST);
    let mut client = site.open("?hello=1");
    assert!(json_of(&mut client)["hello"].is_object());
    let answer = tell(&mut client, &auth(1, &site.token(json!({}))));
    assert!(answer["authenticated"]["expires_ms"].is_number(), "{answer}");
    let subscribed = tell(&mut client, r#"{"id":2,"subscribe":{"topic":"a"}}"#);
    assert!(subscribed["subscribed"].is_object(), "{subscribed}");
    // A token in the request is still one.
    let mut early = site.open(&format!("?token={}", site.token(json!({}))));
    assert!(tell(&mut early, r#"{"id":2,"subscribe":{"topic":"a"}}"#)["subscribed"].is_object());
    // And no other endpoint goes without.
    for path in ["/v1/feed/a", "/v1/publish/a"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n");
        assert_eq!(ask(&site.server, request.as_bytes()).status, 401, "{path}");
    }
    let request = format!("GET /v1/ws?token=nonsense HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n");
    assert_eq!(ask(&site.server, request.as_bytes()).status, 401);
}

#[test]
fn before_the_token_nothing_else_is_obeyed() {
    let site = Site::new(FIRST);
    let expected = "the first message here is the token: {\"auth\":{\"token\":\"…\"}}";
    for (first, text) in [
        (TEXT, r#"{"id":1,"subscribe":{"topic":"a"}}"#),
        (TEXT, r#"{"id":1,"publish":{"topic":"a","data":1}}"#),
        (TEXT, "nonsense"),
        (BINARY, "{}"),
    ] {
        let mut socket = RawSocket::open(&site.server, "/v1/ws");
        socket.send(&frame(first, text.as_bytes()));
        let close = socket.read().unwrap();
        assert_eq!(close.close_code(), 4401, "{text}");
        assert_eq!(String::from_utf8_lossy(&close.payload[2..]), expected, "{text}");
    }
    let mut client = site.open("");
    client.say(&auth(1, "token-of-nobody"));
    let (code, reason) = client.close();
    assert!(code == 4401 && reason.starts_with("unknown token"), "{code} {reason}");
    assert_eq!((site.outcome("missing"), site.outcome("unknown")), (4, 1));
    assert_eq!(site.server.metric("publishes_total"), 0);
}

#[test]
fn a_stranger_has_little_time_little_room_and_little_company() {
    let site = Site::new("first_message_ms = 300\nfirst_message_max = 2\n");
    let mut waiting = [site.open(""), site.open("")];
    let request = format!("GET /v1/ws HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n");
    let refused = ask(&site.server, request.as_bytes());
    // On a slow machine the first may be gone by now: then there is room.
    if refused.status != 101 {
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        assert!(refused.body.contains("auth.first_message_max"), "{}", refused.body);
        assert_eq!(site.server.metric("turned_away_total{gate=\"guests\"}"), 1);
    }
    for client in &mut waiting {
        let told = "no token came within 300 ms (auth.first_message_ms)";
        assert_eq!(client.close(), (4401, told.into()));
    }
    drop(waiting);
    // Their places are free again, also for one whose message is too long for a token.
    let mut socket = RawSocket::open(&site.server, "/v1/ws");
    socket.send(&frame(TEXT, &vec![b' '; 17 << 10])[..100]);
    assert_eq!(socket.read().unwrap().close_code(), 1009);
}
