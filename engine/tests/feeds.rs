//! Feeds over real sockets: what is published arrives, as it was, in order, from where one asked.
//! Owns the happy paths of delivery. Must not test lag, malformed input or the life cycle.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use harness::{Client, Server, Told, http};

#[test]
fn text_and_binary_arrive_as_they_were_published() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("a/b");
    let mut publisher = server.publisher("a/b");
    let long = "ü".repeat(70_000);
    publisher.say("grüße");
    publisher.say_bytes(&[0, 255, 10, 13]);
    publisher.say("");
    publisher.say_bytes(&[]);
    publisher.say(&long);
    for expected in [
        Told::Text("grüße".into()),
        Told::Binary(vec![0, 255, 10, 13]),
        Told::Text(String::new()),
        Told::Binary(Vec::new()),
        Told::Text(long),
    ] {
        assert!(subscriber.next() == expected);
    }
    server.wait_for("frames_received_total", 5);
    server.wait_for("publishes_total", 5);
}

#[test]
fn a_post_is_framed_by_its_content_type() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("t");
    for (content_type, is_text) in [
        ("text/plain", true),
        ("application/json", true),
        ("application/octet-stream", false),
        ("image/png", false),
    ] {
        let answer = http::post(&server, "/v1/publish/t", content_type, b"{}");
        assert_eq!(answer.status, 200);
        let expected = if is_text { Told::Text("{}".into()) } else { Told::Binary(b"{}".into()) };
        assert_eq!(subscriber.next(), expected, "{content_type}");
    }
}

#[test]
fn a_topic_may_be_percent_encoded() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("stra%C3%9Fe/a%20b");
    server.post("stra%c3%9fe/a%20b", "x");
    assert_eq!(subscriber.text(), "x");
}

#[test]
fn the_reply_to_a_post_names_epoch_seq_and_subscribers() {
    let server = Server::start(&[]);
    let first = http::post(&server, "/v1/publish/t", "text/plain", b"1").json();
    assert_eq!(first["seq"], 1);
    assert_eq!(first["subscribers"], 0);
    let _topic = server.subscribe("t");
    let _pattern = server.subscribe("%23");
    let second = http::post(&server, "/v1/publish/t", "text/plain", b"2").json();
    assert_eq!(second["seq"], 2);
    assert_eq!(second["subscribers"], 2);
    assert_eq!(second["epoch"], first["epoch"]);
    let other = http::post(&server, "/v1/publish/u", "text/plain", b"1").json();
    assert_ne!(other["epoch"], first["epoch"], "each feed has its own");
}

#[test]
fn a_plus_matches_one_segment_and_a_hash_the_rest() {
    let server = Server::start(&[]);
    let mut plus = server.subscribe("pmu/+/freq");
    let mut hash = server.subscribe("pmu/%23");
    let mut all = server.subscribe("%23");
    for topic in ["pmu/1/freq", "pmu/1/volt", "pmu/1/2/freq", "pmu", "grid/1/freq", "pmu/2/freq"] {
        server.post(topic, topic);
    }
    assert_eq!(plus.texts(2), ["pmu/1/freq", "pmu/2/freq"]);
    assert_eq!(hash.texts(5), ["pmu/1/freq", "pmu/1/volt", "pmu/1/2/freq", "pmu", "pmu/2/freq"]);
    assert_eq!(all.texts(6)[4], "grid/1/freq");
}

#[test]
fn a_topic_born_after_its_pattern_is_followed_from_its_first_frame() {
    let server = Server::start(&[]);
    let mut wall = server.subscribe("new/%23");
    for index in 0..50 {
        server.post(&format!("new/{index}"), &index.to_string());
    }
    let expected: Vec<String> = (0..50).map(|index| index.to_string()).collect();
    assert_eq!(wall.texts(50), expected);
}

#[test]
fn topics_of_the_engine_can_neither_be_published_nor_caught_by_a_wildcard() {
    let server = Server::start(&[]);
    let mut all = server.subscribe("%23");
    let mut one = server.subscribe("+/load");
    let refused = http::post(&server, "/v1/publish/$sys/load", "text/plain", b"no");
    assert_eq!(refused.status, 403);
    publish_from_within(&server, "$sys/load", b"hidden");
    server.post("cpu/load", "shown");
    assert_eq!(all.text(), "shown");
    assert_eq!(one.text(), "shown");
}

#[test]
fn a_topic_of_the_engine_is_read_by_its_name() {
    let server = Server::start(&[]);
    let mut named = server.subscribe("%24sys/load");
    let mut below = server.subscribe("$sys/%23");
    publish_from_within(&server, "$sys/load", b"7");
    assert_eq!(named.text(), "7");
    assert_eq!(below.text(), "7");
}

fn publish_from_within(server: &Server, topic: &str, payload: &[u8]) {
    let topic = gridcast::feed::topic::Topic::new(topic).unwrap();
    let kind = gridcast::frame::Kind::Text;
    let message = gridcast::feed::message::Message::of_client(kind, payload);
    server.engine.publish(&topic, &mut None, message).unwrap();
}

#[test]
fn a_subscription_begins_where_it_was_asked_to() {
    let server = Server::start(&[]);
    for (row, (from, expected)) in [
        ("", vec!["7"]),
        ("?from=latest", vec!["7"]),
        ("?from=last", vec!["6", "7"]),
        ("?from=oldest", vec!["1", "2", "3", "4", "5", "6", "7"]),
        ("?from={epoch}-0", vec!["1", "2", "3", "4", "5", "6", "7"]),
        ("?from={epoch}-4", vec!["5", "6", "7"]),
        ("?from={epoch}-6", vec!["7"]),
    ]
    .into_iter()
    .enumerate()
    {
        let topic = format!("t/{row}");
        server.post_numbers(&topic, 1, 5);
        let epoch = server.epoch(&topic, "6");
        let mut subscriber =
            server.subscribe(&format!("{topic}{}", from.replace("{epoch}", &epoch)));
        server.post(&topic, "7");
        assert_eq!(subscriber.texts(expected.len()), expected, "{from}");
    }
}

#[test]
fn what_was_published_before_the_first_event_stream_is_in_both_forms() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 300);
    let mut events = http::Events::open(&server, "t?from=oldest");
    let mut raw = server.subscribe("t?from=oldest");
    for number in 1..=300 {
        assert_eq!(events.next().unwrap().data, number.to_string());
        assert_eq!(raw.text(), number.to_string());
    }
}

const FIVE_FRAMES: harness::Overrides<'_> = &[("retention.frames_max", "5")];

#[test]
fn a_position_that_is_gone_is_closed_with_what_is_missing() {
    let server = Server::start(FIVE_FRAMES);
    server.post_numbers("t", 1, 19);
    let epoch = server.epoch("t", "20");
    let mut subscriber = server.subscribe(&format!("t?from={epoch}-3"));
    let (code, reason) = subscriber.close();
    let expected = "expired: missed 4-15 (12 frames): use from=oldest";
    assert_eq!((code, reason.as_str()), (4409, expected));
    assert_eq!(server.metric("resumes_after_gap_total"), 1);
    assert_eq!(server.metric("gap_frames_total"), 12);
}

#[test]
fn a_position_of_another_life_of_the_log_is_closed_as_unknown() {
    let server = Server::start(&[]);
    server.post_numbers("t", 1, 3);
    let (code, reason) = server.subscribe("t?from=zz-2").close();
    assert_eq!((code, reason.as_str()), (4409, "epoch: missed 0-0: use from=oldest"));
}

#[test]
fn who_chose_to_skip_is_told_by_a_ping_and_goes_on() {
    let server = Server::start(FIVE_FRAMES);
    server.post_numbers("t", 1, 19);
    let epoch = server.epoch("t", "20");
    for lag in ["skip-to-oldest", "skip-to-latest"] {
        let mut subscriber = server.subscribe(&format!("t?from={epoch}-3&lag={lag}"));
        let gap = r#"{"gap":{"from":4,"to":15,"frames":12,"reason":"expired"}}"#;
        assert_eq!(subscriber.next(), Told::Ping(gap.into()), "{lag}");
        assert_eq!(subscriber.texts(5), ["16", "17", "18", "19", "20"], "{lag}");
    }
}

#[test]
fn lines_are_published_in_order_each_to_its_topic() {
    let server = Server::start(&[]);
    let mut wall = server.subscribe("%23");
    let answer = http::post_many(
        &server,
        "{\"topic\":\"a\",\"data\":{\"x\": 1.50}}\n\
         {\"topic\":\"b\",\"data\":\"two\"}\r\n\n\
         {\"topic\":\"c\",\"data\":\"three\",\"text\":true}\n\
         {\"topic\":\"d\",\"data64\":\"AP8=\"}",
    );
    assert_eq!((answer.status, &answer.json()), (200, &published(4, 0)));
    assert_eq!(wall.texts(3), ["{\"x\": 1.50}", "\"two\"", "three"]);
    assert_eq!(wall.next(), Told::Binary(vec![0, 255]));
}

#[test]
fn the_lines_around_a_wrong_one_are_published_and_it_is_named() {
    let server = Server::start(&[]);
    let mut wall = server.subscribe("%23");
    let answer = http::post_many(
        &server,
        "{\"topic\":\"a\",\"data\":1}\nno json\n{\"topic\":\"$sys/a\",\"data\":2}\n\
         {\"topic\":\"a\",\"data\":3}\n",
    );
    assert_eq!(answer.status, 400);
    let mut reply = answer.json();
    let error = reply.as_object_mut().unwrap().remove("error").unwrap();
    assert_eq!(reply, published(2, 2));
    assert_eq!((&error["line"], &error["code"]), (&2.into(), &"bad_request".into()));
    let told = "not JSON: expected true, false or null at character 2";
    assert_eq!(error["message"], told);
    assert_eq!(wall.texts(2), ["1", "3"]);
}

/// Some editors and shells put one before all they write.
#[test]
fn a_byte_order_mark_is_named_wherever_json_is_read() {
    let server = Server::start(&[]);
    let told = "not JSON: it begins with a byte order mark (U+FEFF) at character 1: leave that out";
    let lines = "\u{feff}{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"data\":2}\n";
    let reply = http::post_many(&server, lines).json();
    let error = serde_json::json!({"code": "bad_request", "line": 1, "message": told});
    assert_eq!((&reply["published"], &reply["error"]), (&1.into(), &error));
    let mut client = server.multiplexed("gridcast.v1.json");
    client.say("\u{feff}{\"id\":7,\"subscribe\":{\"topic\":\"a\"}}");
    let reply: serde_json::Value = serde_json::from_str(&client.text()).unwrap();
    let error = serde_json::json!({"code": "bad_request", "message": told});
    assert_eq!((&reply["id"], &reply["error"]), (&7.into(), &error));
}

fn published(done: u64, failed: u64) -> serde_json::Value {
    serde_json::json!({ "published": done, "failed": failed })
}

#[test]
fn every_core_hears_every_publisher_and_topics_keep_their_order() {
    const TOPICS: usize = 3;
    const SUBSCRIBERS: usize = 8;
    const MESSAGES: usize = 2_000;
    let server = Server::start(&[("server.cores", "3")]);
    let followers = |topic: usize| (0..SUBSCRIBERS).map(move |_| topic).collect::<Vec<usize>>();
    let mut subscribers: Vec<(usize, Client)> = (0..TOPICS)
        .flat_map(followers)
        .map(|topic| (topic, server.subscribe(&format!("t/{topic}"))))
        .collect();
    let mut walls: Vec<Client> = (0..SUBSCRIBERS).map(|_| server.subscribe("t/%23")).collect();
    std::thread::scope(|scope| {
        for topic in 0..TOPICS {
            let mut publisher = server.publisher(&format!("t/{topic}"));
            scope.spawn(move || {
                (0..MESSAGES).for_each(|number| publisher.say(&format!("{topic} {number}")));
            });
        }
        for (topic, subscriber) in &mut subscribers {
            for number in 0..MESSAGES {
                assert_eq!(subscriber.text(), format!("{topic} {number}"));
            }
        }
        for wall in &mut walls {
            let mut next = [0; TOPICS];
            for text in wall.texts(TOPICS * MESSAGES) {
                let (topic, number) = text.split_once(' ').unwrap();
                let expected = &mut next[topic.parse::<usize>().unwrap()];
                assert_eq!(number, expected.to_string());
                *expected += 1;
            }
        }
    });
    server.wait_for("publishes_total", (TOPICS * MESSAGES) as u64);
}

#[test]
fn many_topics_do_not_mix() {
    const TOPICS: usize = 500;
    let server = Server::start(&[]);
    let mut wall = server.subscribe("m/%23");
    let mut some: Vec<(usize, Client)> = (0..TOPICS)
        .step_by(25)
        .map(|topic| (topic, server.subscribe(&format!("m/{topic}"))))
        .collect();
    let line = |n: usize| format!("{{\"topic\":\"m/{}\",\"data\":{n}}}\n", n % TOPICS);
    let body: String = (0..4 * TOPICS).map(line).collect();
    assert_eq!(http::post_many(&server, &body).status, 200);
    for (topic, subscriber) in &mut some {
        for round in 0..4 {
            assert_eq!(subscriber.text(), (*topic + round * TOPICS).to_string());
        }
    }
    let expected: Vec<String> = (0..4 * TOPICS).map(|n| n.to_string()).collect();
    assert_eq!(wall.texts(4 * TOPICS), expected);
    assert_eq!(server.metric("topics"), TOPICS as u64);
}

/// A flush that stops for its budget gets no event: the core must come back by itself.
#[test]
fn the_smallest_budgets_still_bring_everything_to_everybody() {
    const SUBSCRIBERS: usize = 40;
    let server = Server::start(&[
        ("flush.sockets_per_slice", "1"),
        ("flush.bytes_per_slice", "65536"),
        ("flush.bytes_per_socket", "4096"),
        ("flush.send_buffer_bytes", "8192"),
        ("retention.bytes_max", "16777216"),
    ]);
    let mut subscribers: Vec<Client> = (0..SUBSCRIBERS).map(|_| server.subscribe("t")).collect();
    let mut publisher = server.publisher("t");
    let message = |number: usize| format!("{number} {}", "x".repeat(3000));
    (0..200).for_each(|number| publisher.say(&message(number)));
    for subscriber in &mut subscribers {
        for number in 0..200 {
            assert!(subscriber.text() == message(number), "{number} in its place");
        }
    }
}

#[test]
fn a_message_of_the_greatest_size_arrives_and_is_retained() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("t");
    let payload: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 253) as u8).collect();
    let answer = http::post(&server, "/v1/publish/t", "image/png", &payload);
    assert_eq!(answer.status, 200);
    assert!(subscriber.next() == Told::Binary(payload.clone()));
    assert!(server.subscribe("t?from=last").next() == Told::Binary(payload));
}

#[test]
fn what_is_too_old_is_given_up_but_for_the_last_frame() {
    let server = Server::start(&[("retention.age_ms_max", "200")]);
    server.post_numbers("t", 1, 3);
    assert_eq!(server.subscribe("t?from=oldest").text(), "1");
    server.wait_until("given up", |server| {
        server.engine.tidy();
        server.subscribe("t?from=oldest").text() == "3"
    });
}
