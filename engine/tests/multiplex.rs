//! The multiplexed endpoint over real sockets: commands and their answers, envelopes of both
//! subprotocols, gaps, limits. Owns what `wire.md` promises of `/v1/ws`. Must not test what a feed
//! does in any form.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::collections::BTreeMap;

use harness::{Client, Server, Told};
use serde_json::{Value, json};

const JSON: &str = "gridcast.v1.json";
const BINARY: &str = "gridcast.v1.bin";

/// Sends a command and answers what comes next.
fn ask(client: &mut Client, command: &Value) -> Value {
    client.say(&command.to_string());
    hear(client)
}

fn hear(client: &mut Client) -> Value {
    serde_json::from_str(&client.text()).unwrap()
}

/// A binary envelope: feed, number, flags, payload.
fn envelope(client: &mut Client) -> (u64, u64, u8, Vec<u8>) {
    let Told::Binary(bytes) = client.next() else { panic!("no binary message") };
    split(&bytes)
}

fn split(bytes: &[u8]) -> (u64, u64, u8, Vec<u8>) {
    let mut rest = bytes;
    let (feed, seq) = (varint(&mut rest), varint(&mut rest));
    (feed, seq, rest[0], rest[1..].to_vec())
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let len = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (own, rest) = bytes.split_at(len);
    *bytes = rest;
    own.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
}

#[test]
fn a_conversation_goes_as_documented() {
    let server = Server::start(&[]);
    let mut client = server.multiplexed(JSON);
    let epoch = server.epoch("pmu/1001", r#"{"f":49.98}"#);
    let subscribe = json!({"id": 1, "subscribe": {"topic": "pmu/1001", "from": "last"}});
    let expected = json!({"id": 1, "subscribed": {"topic": "pmu/1001", "epoch": epoch, "seq": 0}});
    assert_eq!(ask(&mut client, &subscribe), expected);
    let first = client.text();
    assert_eq!(first, r#"{"topic":"pmu/1001","seq":1,"data":{"f":49.98}}"#);
    let publish = json!({"id": "p", "publish": {"topic": "pmu/1001", "data64": "AP8="}});
    let (answer, data) = (ask(&mut client, &publish), client.text());
    let published = json!({"epoch": epoch, "seq": 2, "subscribers": 1});
    assert_eq!(answer, json!({"id": "p", "published": published}));
    assert_eq!(data, r#"{"topic":"pmu/1001","seq":2,"data64":"AP8="}"#);
    server.post("pmu/1001", "no json");
    assert_eq!(client.text(), r#"{"topic":"pmu/1001","seq":3,"data":"no json","text":true}"#);
    let unsubscribe = json!({"id": 2, "unsubscribe": {"topic": "pmu/1001"}});
    let expected = json!({"id": 2, "unsubscribed": {"topic": "pmu/1001"}});
    assert_eq!(ask(&mut client, &unsubscribe), expected);
    server.post("pmu/1001", "4");
    let publish = json!({"id": 3, "publish": {"topic": "pmu/1001", "data": 5}});
    assert_eq!(ask(&mut client, &publish)["published"]["subscribers"], 0);
}

#[test]
fn without_an_id_there_is_no_reply_but_errors_are_told() {
    let server = Server::start(&[]);
    let mut client = server.multiplexed(JSON);
    client.say(r#"{"subscribe":{"topic":"t"}}"#);
    client.say(r#"{"publish":{"topic":"t","data":"a"}}"#);
    assert_eq!(client.text(), r#"{"topic":"t","seq":1,"data":"a"}"#);
    client.say(r#"{"publish":{"topic":"t"}}"#);
    assert_eq!(hear(&mut client)["error"]["code"], "bad_request");
}

#[test]
fn who_asks_is_told_without_an_id_that_it_is_subscribed() {
    let server = Server::start(&[]);
    let epoch = server.epoch("t", "1");
    for protocol in [JSON, BINARY] {
        let mut client = server.multiplexed(protocol);
        let mut answer = ask(&mut client, &json!({"subscribe": {"topic": "t", "ack": true}}));
        let feed = answer["subscribed"].as_object_mut().unwrap().remove("feed");
        assert_eq!(feed.is_some(), protocol == BINARY);
        assert_eq!(answer, json!({"subscribed": {"topic": "t", "epoch": epoch, "seq": 1}}));
        let named = json!({"id": 1, "subscribe": {"topic": "u", "ack": true}});
        assert_eq!(ask(&mut client, &named)["id"], 1);
        let again = json!({"subscribe": {"topic": "t", "ack": true}});
        assert_eq!(ask(&mut client, &again)["error"]["code"], "already_subscribed");
        let unclear = json!({"id": 2, "subscribe": {"topic": "v", "ack": false}});
        assert_eq!(ask(&mut client, &unclear)["error"]["code"], "bad_request");
    }
}

// ---- greeting and heartbeat ----

/// A multiplexed client that asked to be greeted.
fn greeted(server: &Server, protocol: &str) -> Client {
    Client::with_header(server.connect(), "/v1/ws?hello=1", "Sec-WebSocket-Protocol", protocol)
}

#[test]
fn who_asks_is_greeted_and_hears_that_the_engine_lives() {
    let server = Server::start(&[("keepalive.heartbeat_ms", "100")]);
    let mut epochs = Vec::new();
    for protocol in [JSON, BINARY] {
        let mut client = greeted(&server, protocol);
        let mut hello = hear(&mut client);
        epochs.push(hello["hello"]["epoch"].take());
        let version = env!("CARGO_PKG_VERSION");
        let expected = json!({
            "version": version, "heartbeat_ms": 100, "epoch": null, "message_bytes_max": 1 << 20,
        });
        assert_eq!(hello, json!({"hello": expected}));
        let beats = [hear(&mut client), hear(&mut client)];
        let [first, second] = beats.map(|beat| beat["beat"]["t"].as_u64().unwrap());
        assert!(second > first, "{first} {second}");
        assert!(first > 1_700_000_000_000, "milliseconds of UTC");
    }
    assert!(epochs[0].is_string() && epochs[0] == epochs[1], "one life: {epochs:?}");
    let other = Server::start(&[]);
    assert_ne!(hear(&mut greeted(&other, JSON))["hello"]["epoch"], epochs[0]);
}

#[test]
fn a_greeting_is_asked_for_in_one_way() {
    let server = Server::start(&[]);
    for (query, status) in
        [("hello=1", 101), ("hello=0", 400), ("hello", 400), ("hello=1&hello=1", 400), ("x=1", 400)]
    {
        let mut stream = server.connect();
        let upgrade = harness::http::UPGRADE;
        let request = format!("GET /v1/ws?{query} HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        assert_eq!(harness::http::read_answer_head(&mut stream).status, status, "{query}");
    }
}

#[test]
fn errors_name_the_command_and_close_nothing() {
    let server = Server::start(&[("limits.subscriptions_per_connection_max", "2")]);
    let mut client = server.multiplexed(JSON);
    let subscribe = |topic: &str| json!({"id": 7, "subscribe": {"topic": topic}});
    ask(&mut client, &subscribe("a"));
    for (command, code) in [
        (subscribe("a"), "already_subscribed"),
        (subscribe("a//b"), "bad_request"),
        (json!({"id": 7, "unsubscribe": {"topic": "b"}}), "not_subscribed"),
        (json!({"id": 7, "subscribe": {"topic": "b", "rate": 5000}}), "bad_request"),
        (json!({"id": 7, "publish": {"topic": "$sys/a", "data": 1}}), "forbidden"),
        (json!({"id": 7, "publish": {"topic": "a", "data": 1, "qos": 2}}), "bad_request"),
        (json!({"id": 7}), "bad_request"),
    ] {
        let answer = ask(&mut client, &command);
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(code)));
    }
    ask(&mut client, &subscribe("b"));
    let answer = ask(&mut client, &subscribe("c"));
    assert_eq!(answer["error"]["code"], "too_many_subscriptions");
    client.say("no json");
    assert_eq!(hear(&mut client)["error"]["code"], "bad_request");
    client.say_bytes(b"binary");
    assert_eq!(hear(&mut client)["error"]["code"], "bad_request");
    server.wait_for("commands_refused_total", 10);
    server.post("a", "1");
    assert_eq!(hear(&mut client)["seq"], 1);
}

#[test]
fn binary_envelopes_carry_the_number_that_was_told() {
    let server = Server::start(&[]);
    let mut client = server.multiplexed(BINARY);
    let answer = ask(&mut client, &json!({"id": 1, "subscribe": {"topic": "a"}}));
    let feed = answer["subscribed"]["feed"].as_u64().unwrap();
    server.post("a", "text");
    server.publisher("a").say_bytes(&[1, 2]);
    assert_eq!(envelope(&mut client), (feed, 1, 1, b"text".to_vec()));
    assert_eq!(envelope(&mut client), (feed, 2, 0, vec![1, 2]));
}

#[test]
fn a_pattern_announces_its_topics_to_whoever_comes_whenever() {
    let server = Server::start(&[]);
    let mut early = server.multiplexed(BINARY);
    ask(&mut early, &json!({"id": 1, "subscribe": {"topic": "pmu/+"}}));
    server.post("pmu/1", "a");
    server.post("pmu/2", "b");
    server.post("pmu/1", "c");
    let mut numbers = Vec::new();
    for (topic, payload) in [("pmu/1", "a"), ("pmu/2", "b")] {
        let announcement = hear(&mut early);
        assert_eq!(announcement["topic"], topic);
        let (feed, seq, _, got) = envelope(&mut early);
        numbers.push(feed);
        assert_eq!((announcement["feed"].as_u64(), got), (Some(feed), payload.into()));
        assert_eq!(seq, numbers.len() as u64);
    }
    assert_eq!(envelope(&mut early), (numbers[0], 3, 1, b"c".to_vec()));
    let mut late = server.multiplexed(BINARY);
    ask(&mut late, &json!({"id": 1, "subscribe": {"topic": "pmu/+"}}));
    let told: Vec<Value> = (0..2).map(|_| hear(&mut late)).collect();
    server.post("pmu/2", "d");
    assert_eq!(envelope(&mut late), (numbers[1], 4, 1, b"d".to_vec()));
    assert_eq!(told[1], json!({"topic": "pmu/2", "pattern": "pmu/+", "feed": numbers[1]}));
}

/// One connection, one message, and three subscriptions that it is for.
#[test]
fn envelopes_say_which_of_overlapping_subscriptions_they_are_for() {
    let server = Server::start(&[]);
    let mut client = server.multiplexed(JSON);
    for target in ["pmu/#", "pmu/1", "+/1"] {
        ask(&mut client, &json!({"id": 1, "subscribe": {"topic": target}}));
    }
    server.post("pmu/2", "0");
    server.post("pmu/1", "1");
    let mut told: Vec<String> = (0..4).map(|_| client.text()).collect();
    told.sort();
    let expected = [
        r#"{"topic":"pmu/1","pattern":"+/1","seq":1,"data":1}"#,
        r##"{"topic":"pmu/1","pattern":"pmu/#","seq":2,"data":1}"##,
        r#"{"topic":"pmu/1","seq":1,"data":1}"#,
        r##"{"topic":"pmu/2","pattern":"pmu/#","seq":1,"data":0}"##,
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_topic_has_a_number_of_its_own_in_each_subscription() {
    let server = Server::start(&[]);
    let mut client = server.multiplexed(BINARY);
    let answer = ask(&mut client, &json!({"id": 1, "subscribe": {"topic": "pmu/1"}}));
    let own = answer["subscribed"]["feed"].as_u64().unwrap();
    for (id, target) in [(2, "pmu/#"), (3, "+/1")] {
        ask(&mut client, &json!({"id": id, "subscribe": {"topic": target}}));
    }
    server.post("pmu/2", "0");
    server.post("pmu/1", "1");
    let (mut announced, mut got) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..7 {
        match client.next() {
            Told::Text(text) => {
                let told: Value = serde_json::from_str(&text).unwrap();
                let name = |key: &str| told[key].as_str().unwrap().to_owned();
                let feed = told["feed"].as_u64().unwrap();
                announced.insert(feed, (name("topic"), name("pattern")));
            }
            Told::Binary(bytes) => {
                let (feed, seq, _, payload) = split(&bytes);
                got.insert(feed, (seq, payload));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got.remove(&own), Some((1, b"1".to_vec())));
    let named = |topic: &str, pattern: &str| (topic.to_owned(), pattern.to_owned());
    let expected = BTreeMap::from([
        (named("pmu/1", "+/1"), (1, b"1".to_vec())),
        (named("pmu/1", "pmu/#"), (2, b"1".to_vec())),
        (named("pmu/2", "pmu/#"), (1, b"0".to_vec())),
    ]);
    let got = got.into_iter().map(|(feed, message)| (announced[&feed].clone(), message));
    assert_eq!(got.collect::<BTreeMap<_, _>>(), expected);
}

/// At a rate a topic is a topic, and a pattern a pattern.
#[test]
fn a_rate_makes_no_pattern_of_a_topic() {
    let server = Server::start(&[]);
    let mut client = server.multiplexed(JSON);
    for target in ["pmu/1", "pmu/#"] {
        ask(&mut client, &json!({"id": 1, "subscribe": {"topic": target, "rate": 100}}));
    }
    server.post("pmu/1", "1");
    let mut told = [client.text(), client.text()];
    told.sort();
    let expected = [
        r##"{"topic":"pmu/1","pattern":"pmu/#","seq":1,"data":1}"##,
        r#"{"topic":"pmu/1","seq":1,"data":1}"#,
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_position_is_resumed_and_one_that_is_gone_is_told() {
    let server = Server::start(&[("retention.frames_max", "3")]);
    let epoch = server.epoch("t", "1");
    server.post_numbers("t", 2, 9);
    let mut client = server.multiplexed(JSON);
    let from = |position: String| json!({"id": 1, "subscribe": {"topic": "t", "from": position}});
    ask(&mut client, &from(format!("{epoch}-7")));
    assert_eq!(
        (hear(&mut client)["seq"].clone(), hear(&mut client)["seq"].clone()),
        (8.into(), 9.into())
    );
    let expired = json!({"topic": "t", "from": 3, "to": 6, "frames": 4, "reason": "expired"});
    let epoch_over = json!({"topic": "t", "from": 0, "to": 6, "reason": "epoch"});
    for (position, gap) in [(format!("{epoch}-2"), expired), ("zz-5".to_owned(), epoch_over)] {
        ask(&mut client, &json!({"id": 2, "unsubscribe": {"topic": "t"}}));
        assert_eq!(ask(&mut client, &from(position))["subscribed"]["seq"], 6);
        assert_eq!(hear(&mut client), json!({"gap": gap}));
        for seq in 7..=9 {
            assert_eq!(hear(&mut client)["seq"], seq);
        }
    }
}

/// As in the command and its answer: the pattern, not one of its topics.
#[test]
fn a_gap_names_the_subscription_that_misses_frames() {
    let server = Server::start(&[("retention.frames_max", "3")]);
    let mut client = server.multiplexed(JSON);
    let subscribe = |from: &str| json!({"id": 1, "subscribe": {"topic": "t/#", "from": from}});
    let answer = ask(&mut client, &subscribe("latest"));
    let epoch = answer["subscribed"]["epoch"].as_str().unwrap().to_owned();
    for topic in ["t/1", "t/2", "t/1", "t/2", "t/1"] {
        server.post(topic, "0");
        hear(&mut client);
    }
    ask(&mut client, &json!({"id": 2, "unsubscribe": {"topic": "t/#"}}));
    ask(&mut client, &subscribe(&format!("{epoch}-1")));
    let gap = json!({"topic": "t/#", "from": 2, "to": 2, "frames": 1, "reason": "expired"});
    assert_eq!(hear(&mut client), json!({"gap": gap}));
    let next = json!({"topic": "t/1", "pattern": "t/#", "seq": 3, "data": 0});
    assert_eq!(hear(&mut client), next);
}

#[test]
fn a_conflated_subscriber_is_told_how_much_it_skipped() {
    let server = Server::start(&[("flush.send_buffer_bytes", "4096")]);
    let stream = server.connect_narrow();
    let mut client = Client::with_header(stream, "/v1/ws", "Sec-WebSocket-Protocol", JSON);
    let subscribe = json!({"id": 1, "subscribe": {"topic": "t", "mode": "latest"}});
    ask(&mut client, &subscribe);
    let mut publisher = server.publisher("t");
    let payload = "x".repeat(4000);
    for _ in 0..200 {
        publisher.say(&payload);
    }
    server.wait_for("publishes_total", 200);
    let (mut next, mut skipped) = (1, 0);
    while next <= 200 {
        let message = hear(&mut client);
        if let Some(gap) = message.get("gap") {
            assert_eq!((&gap["from"], &gap["reason"]), (&json!(next), &json!("conflated")));
            let frames = gap["frames"].as_u64().unwrap();
            skipped += frames;
            next += frames;
            assert_eq!(gap["to"], next - 1);
        } else {
            assert_eq!(message["seq"], next);
            next += 1;
        }
    }
    assert!(skipped > 0, "a full socket was conflated");
    server.wait_for("frames_conflated_total", skipped);
}

#[test]
fn thousands_of_subscriptions_share_a_socket_and_end_with_it() {
    const TOPICS: u64 = 3000;
    let server = Server::start(&[]);
    let mut client = server.multiplexed(BINARY);
    for n in 0..TOPICS {
        client.say(&format!(r#"{{"subscribe":{{"topic":"t/{n}"}}}}"#));
    }
    ask(&mut client, &json!({"id": 1, "unsubscribe": {"topic": "t/7"}}));
    let line = |n: u64| format!("{{\"topic\":\"t/{n}\",\"data\":{n}}}\n");
    let body: String = (0..TOPICS).map(line).collect();
    assert_eq!(harness::http::post_many(&server, &body).status, 200);
    let mut seen: Vec<u64> = (1..TOPICS)
        .map(|_| String::from_utf8(envelope(&mut client).3).unwrap().parse().unwrap())
        .collect();
    seen.sort_unstable();
    let expected: Vec<u64> = (0..TOPICS).filter(|n| *n != 7).collect();
    assert_eq!(seen, expected);
    drop(client);
    server.wait_until("all left", |server| server.connections() == 0);
    let subscribers = harness::http::post(&server, "/v1/publish/t/1", "text/plain", b"x");
    assert_eq!(subscribers.json()["subscribers"], 0);
}

#[test]
fn a_flood_of_commands_waits_for_its_answers() {
    let server = Server::start(&[("limits.controls_per_s_max", "0")]);
    let client = server.multiplexed(JSON);
    let mut writer = client.socket.get_ref().try_clone().unwrap();
    let count = 50_000;
    let commands: Vec<u8> = (0..count)
        .flat_map(|id| {
            let command = json!({"id": id, "unsubscribe": {"topic": "nothing"}}).to_string();
            harness::frames::frame(harness::frames::TEXT, command.as_bytes())
        })
        .collect();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &commands));
    let mut client = client;
    for id in 0..count {
        assert_eq!(hear(&mut client)["id"], id);
    }
    writing.join().unwrap().unwrap();
}

#[test]
fn without_a_subprotocol_the_client_gets_json() {
    let server = Server::start(&[]);
    let mut client = server.websocket("/v1/ws");
    let answer = ask(&mut client, &json!({"id": 1, "subscribe": {"topic": "a"}}));
    assert_eq!(answer["subscribed"]["topic"], "a");
    server.wait_for("connections{role=\"multiplexed\"}", 1);
}

#[test]
fn a_replay_does_not_hold_up_what_is_live() {
    let server = Server::start(&[("flush.send_buffer_bytes", "4096")]);
    let mut publisher = server.publisher("history");
    let payload = "x".repeat(1000);
    for _ in 0..900 {
        publisher.say(&payload);
    }
    server.wait_for("publishes_total", 900);
    let stream = server.connect_narrow();
    let mut client = Client::with_header(stream, "/v1/ws", "Sec-WebSocket-Protocol", JSON);
    ask(&mut client, &json!({"id": 1, "subscribe": {"topic": "live"}}));
    ask(&mut client, &json!({"id": 2, "subscribe": {"topic": "history", "from": "oldest"}}));
    server.wait_until("a full socket", |server| server.metric("writes_partial_total") > 0);
    server.post("live", "1");
    let replayed = (0..900).take_while(|_| hear(&mut client)["topic"] == "history").count();
    // What the kernel held already, and a share of what waits.
    assert!(replayed < 450, "{replayed} frames of history came first");
}

#[test]
fn coming_and_going_does_not_have_the_log_encoded_again() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 500);
    let mut client = server.multiplexed(JSON);
    let mut cycle = || {
        ask(&mut client, &json!({"id": 1, "subscribe": {"topic": "t"}}));
        ask(&mut client, &json!({"id": 2, "unsubscribe": {"topic": "t"}}));
    };
    cycle();
    let before = server.metric("encodes_total");
    (0..20).for_each(|_| cycle());
    assert_eq!(server.metric("encodes_total"), before);
    let mut again = server.multiplexed(JSON);
    ask(&mut again, &json!({"id": 1, "subscribe": {"topic": "t", "from": "last"}}));
    assert_eq!(hear(&mut again)["seq"], 500);
}

/// JSON that the grammar allows and parsers differ on is published as it was written, and never
/// makes an envelope that a strict client cannot read.
#[test]
fn any_json_is_published_as_it_was_written_and_read_by_strict_clients() {
    let server = Server::start(&[]);
    let mut raw = server.subscribe("t");
    let mut envelopes = server.multiplexed("gridcast.v1.json");
    envelopes.say(r#"{"id":0,"subscribe":{"topic":"t"}}"#);
    envelopes.text();
    let mut client = server.multiplexed("gridcast.v1.json");
    for data in ["18446744073709551616", "1e999", "\"\\ud800\"", "[-1E+400]"] {
        client.say(&format!(r#"{{"id":1,"publish":{{"topic":"t","data":{data}}}}}"#));
        assert!(client.text().starts_with(r#"{"id":1,"published":"#), "{data}");
        let line = format!("{{\"topic\":\"t\",\"data\":{data}}}\n");
        assert_eq!(harness::http::post_many(&server, &line).json()["published"], 1, "{data}");
        server.post("t", data);
        for _ in 0..3 {
            assert_eq!(raw.text(), data);
            let envelope: serde_json::Value = serde_json::from_str(&envelopes.text()).unwrap();
            assert_eq!((&envelope["data"], &envelope["text"]), (&data.into(), &true.into()));
        }
    }
    client.say(r#"{"id":"mine","publish":{"topic":"t","data":nope}}"#);
    assert!(client.text().starts_with(r#"{"id":"mine","error":{"code":"bad_request""#));
}
