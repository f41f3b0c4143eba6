//! `/v1/history` over real sockets: which messages are answered, in which form, to whom, and at
//! what pace. Owns what comes from the engine's own memory. Must not test stores.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridcast::feed::gap::GapReason;
use gridcast::feed::topic::Topic;
use harness::http::{Answer, get, read_answer, read_answer_head, read_chunks};
use harness::tokens::config_of;
use harness::{Server, Told, http};
use serde_json::{Value, json};

/// Asks and answers the lines, the end apart.
fn history(server: &Server, question: &str) -> (Vec<Value>, Value) {
    let answer = get(server, &format!("/v1/history/{question}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    lines(&answer)
}

fn lines(answer: &Answer) -> (Vec<Value>, Value) {
    let lines = answer.body.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut lines: Vec<Value> = lines.collect();
    let end = lines.pop().unwrap()["end"].take();
    assert!(end.is_object(), "the last line is the end: {answer:?}");
    (lines, end)
}

fn data(lines: &[Value]) -> Vec<i64> {
    lines.iter().map(|line| line["data"].as_i64().unwrap()).collect()
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Lets time pass: what is published afterwards came later than what was, by any resolution.
fn let_time_pass() -> u64 {
    let begun = unix_ms();
    while unix_ms() < begun + 40 {
        thread::sleep(Duration::from_millis(5));
    }
    begun + 20
}

#[test]
fn what_is_kept_is_answered_in_order_and_page_by_page() {
    let server = Server::start(&[]);
    let begun_ms = unix_ms();
    server.post_numbers("pmu/1", 1, 1_000);
    let (all, end) = history(&server, "pmu/1?limit=5000");
    assert_eq!(data(&all), (1..=1_000).collect::<Vec<_>>());
    let first = &all[0];
    assert_eq!((&first["topic"], &first["seq"]), (&json!("pmu/1"), &json!(1)));
    let came_ms = first["time_ms"].as_u64().unwrap();
    assert!((begun_ms - 1..=unix_ms() + 1).contains(&came_ms), "{came_ms}");
    let epoch = first["epoch"].as_str().unwrap();
    let next = format!("{epoch}-1000");
    assert_eq!(end, json!({"next": next, "records": 1000, "complete": true}));

    let (mut seen, mut next) = (Vec::new(), format!("{epoch}-0"));
    loop {
        let (page, end) = history(&server, &format!("pmu/1?from={next}&limit=300"));
        assert!(page.len() <= 300);
        seen.extend(data(&page));
        next = end["next"].as_str().unwrap().to_owned();
        if end["complete"] == true {
            break;
        }
    }
    assert_eq!(seen, (1..=1_000).collect::<Vec<_>>());
    // Nothing newer: the position stays what to ask from.
    let (none, end) = history(&server, &format!("pmu/1?from={next}"));
    assert_eq!((none.len(), end["next"].as_str()), (0, Some(&*next)));
    let (some, _) = history(&server, &format!("pmu/1?from={epoch}-10&to={epoch}-12"));
    assert_eq!(data(&some), [11, 12]);
    server.wait_for("history_records_total", 2_002);
}

#[test]
fn an_answer_that_would_be_too_long_ends_with_a_whole_message() {
    let server = Server::start(&[("history.bytes_max", "65536")]);
    for n in 0..3 {
        server.post("a", &format!("{n}{}", "x".repeat(40_000)));
    }
    let (page, end) = history(&server, "a");
    assert_eq!((page.len(), &end["complete"]), (2, &json!(false)));
    let (rest, end) = history(&server, &format!("a?from={}", end["next"].as_str().unwrap()));
    assert_eq!((rest.len(), &end["complete"]), (1, &json!(true)));
    assert_eq!(rest[0]["data"].as_str().unwrap().len(), 40_001);
}

#[test]
fn times_bound_an_answer() {
    let server = Server::start(&[]);
    server.post_numbers("a", 1, 3);
    let first_ms = let_time_pass();
    server.post_numbers("a", 4, 6);
    let second_ms = let_time_pass();
    server.post_numbers("a", 7, 9);
    assert_eq!(data(&history(&server, &format!("a?from={second_ms}")).0), [7, 8, 9]);
    assert_eq!(data(&history(&server, &format!("a?to={first_ms}")).0), [1, 2, 3]);
    let between = format!("a?from={first_ms}&to={second_ms}");
    assert_eq!(data(&history(&server, &between).0), [4, 5, 6]);
    let (none, end) = history(&server, "a?to=2000-01-01T00:00:00Z");
    assert_eq!((none.len(), &end["complete"]), (0, &json!(true)));
    assert_eq!(history(&server, "a?from=2100-01-01T00:00:00%2B01:00").0.len(), 0);
}

#[test]
fn what_retention_took_is_told() {
    let server = Server::start(&[("retention.frames_max", "5")]);
    let epoch = server.epoch("a", "0");
    server.post_numbers("a", 1, 9);
    let gap = |from: u64, to: u64, reason: &str| {
        let mut gap = json!({"from": from, "to": to, "reason": reason});
        if reason != "epoch" {
            gap["frames"] = json!(to - from + 1);
        }
        json!({ "gap": gap })
    };
    let (mut lines, _) = history(&server, &format!("a?from={epoch}-2"));
    assert_eq!(lines.remove(0), gap(3, 5, "expired"));
    assert_eq!(data(&lines), [5, 6, 7, 8, 9]);
    let (mut lines, _) = history(&server, "a?from=zz-7");
    assert_eq!(lines.remove(0), gap(0, 5, "epoch"));
    assert_eq!(data(&lines), [5, 6, 7, 8, 9]);
    // Of an instant before what is kept, something may be missing.
    let (mut lines, _) = history(&server, "a?from=0");
    assert_eq!(lines.remove(0), gap(1, 5, "expired"));
    assert_eq!(data(&lines), [5, 6, 7, 8, 9]);
    // Who asks for what there is misses nothing of it.
    assert_eq!(data(&history(&server, "a").0), [5, 6, 7, 8, 9]);
}

/// Has a topic tell that so many frames were lost on the way from another node.
fn lose(server: &Server, frames: u64) {
    let topic = Topic::new("a").unwrap();
    server.engine.handle().tell_gap(&topic, frames, GapReason::Relay);
}

fn lost(from: u64, to: u64) -> Value {
    json!({"gap": {"from": from, "to": to, "frames": to - from + 1, "reason": "relay"}})
}

/// Frames 1 to 3, ten that were lost, and 14 and 15.
fn server_that_lost_ten() -> Server {
    let server = Server::start(&[]);
    server.post_numbers("a", 1, 3);
    lose(&server, 10);
    server.post_numbers("a", 14, 15);
    server
}

#[test]
fn what_was_lost_on_the_way_is_told_in_its_place_in_every_format() {
    let server = server_that_lost_ten();
    let (mut all, end) = history(&server, "a");
    assert_eq!(all.remove(3), lost(4, 13));
    assert_eq!(data(&all), [1, 2, 3, 14, 15]);
    assert_eq!((&end["records"], &end["complete"]), (&json!(5), &json!(true)));

    let whole = get(&server, "/v1/history/a?format=json").json();
    assert_eq!(whole["records"][3], lost(4, 13));
    assert_eq!(whole["records"].as_array().unwrap().len(), 6);

    let mut stream = server.connect();
    stream.write_all(b"GET /v1/history/a?format=binary HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_answer_head(&mut stream);
    let body = read_chunks(&mut stream);
    let records = records(&body);
    assert_eq!((records.len(), records[3][0]), (7, 2));
    assert_eq!(serde_json::from_slice::<Value>(&records[3][1..]).unwrap(), lost(4, 13));
}

#[test]
fn what_was_lost_is_told_once_to_whoever_goes_on_behind_it() {
    let server = server_that_lost_ten();
    let epoch = server.epoch("a", "16");
    lose(&server, 1);
    let (page, end) = history(&server, "a?limit=3");
    assert_eq!((data(&page), &end["next"]), (vec![1, 2, 3], &json!(format!("{epoch}-3"))));
    assert_eq!(end["complete"], false, "what follows is not all there is");
    let (mut page, end) = history(&server, &format!("a?from={epoch}-3"));
    assert_eq!((page.remove(0), page.pop().unwrap()), (lost(4, 13), lost(17, 17)));
    assert_eq!(data(&page), [14, 15, 16]);
    assert_eq!(end["next"], format!("{epoch}-17"), "the last notice is behind as well");
    let (none, end) = history(&server, &format!("a?from={epoch}-17"));
    assert_eq!((none.len(), &end["complete"]), (0, &json!(true)));
}

#[test]
fn who_asks_for_a_part_is_told_what_of_it_was_lost() {
    let server = server_that_lost_ten();
    let epoch = server.epoch("a", "16");
    for (question, expected) in [
        (format!("to={epoch}-3"), vec![1, 2, 3]),
        (format!("to={epoch}-4"), vec![1, 2, 3, -1]),
        (format!("to={epoch}-13"), vec![1, 2, 3, -1]),
        (format!("from={epoch}-3&to={epoch}-14"), vec![-1, 14]),
        (format!("from={epoch}-4"), vec![-1, 14, 15, 16]),
        (format!("from={epoch}-13"), vec![14, 15, 16]),
    ] {
        let (told, _) = history(&server, &format!("a?{question}"));
        let told = told.iter().map(|line| line["data"].as_i64().unwrap_or(-1));
        assert_eq!(told.collect::<Vec<_>>(), expected, "{question}");
    }
}

/// A notice has no time of its own: what it tells of came before what follows it.
#[test]
fn times_leave_no_loss_between_them_out() {
    let server = Server::start(&[]);
    server.post_numbers("a", 1, 1);
    let first_ms = let_time_pass();
    lose(&server, 1);
    let second_ms = let_time_pass();
    assert_eq!(history(&server, &format!("a?from={second_ms}")).0, [lost(2, 2)]);
    server.post_numbers("a", 3, 3);
    for question in [format!("from={second_ms}"), format!("from={first_ms}")] {
        let (told, _) = history(&server, &format!("a?{question}"));
        assert_eq!(told[0], lost(2, 2), "{question}");
        assert_eq!(data(&told[1..]), [3]);
    }
    let (told, _) = history(&server, &format!("a?to={second_ms}"));
    assert_eq!((data(&told[..1]), &told[1]), (vec![1], &lost(2, 2)));
}

#[test]
fn a_pattern_tells_what_was_lost_of_its_topics() {
    let server = Server::start(&[]);
    let mut wall = server.subscribe("%23");
    server.post("a", "1");
    lose(&server, 2);
    server.post("a", "2");
    assert_eq!(wall.text(), "1");
    assert!(matches!(wall.next(), Told::Ping(gap) if gap.contains("relay")));
    assert_eq!(wall.text(), "2");
    let (mut all, _) = history(&server, "%23");
    assert_eq!(all.remove(1), lost(2, 3));
    assert_eq!(data(&all), [1, 2]);
}

#[test]
fn losses_without_number_are_told_page_by_page() {
    let server = Server::start(&[("history.bytes_max", "65536")]);
    server.post_numbers("a", 1, 1);
    (0..2_000).for_each(|_| lose(&server, 1));
    let (mut seen, mut pages) = (Vec::new(), 0);
    let mut from = "oldest".to_owned();
    loop {
        let answer = get(&server, &format!("/v1/history/a?from={from}"));
        let (page, end) = lines(&answer);
        assert!(answer.body.len() < 66_000, "{}", answer.body.len());
        seen.extend(page);
        (from, pages) = (end["next"].as_str().unwrap().to_owned(), pages + 1);
        if end["complete"] == true {
            break;
        }
    }
    let expected: Vec<Value> = (2..=2_001).map(|at| lost(at, at)).collect();
    assert!(seen[1..] == expected, "{} told in {pages} pages", seen.len());
    assert!(pages > 1);
}

/// Somebody who asks for what follows a position of another life must not take its frames for
/// nothing.
#[test]
fn a_position_beyond_all_there_is_is_told_as_one_of_another_life() {
    let server = Server::start(&[]);
    server.post_numbers("a", 1, 3);
    let epoch = server.epoch("a", "4");
    let (newest, end) = history(&server, &format!("a?from={epoch}-4"));
    assert_eq!((newest.len(), &end["complete"]), (0, &json!(true)));
    let (all, end) = history(&server, &format!("a?from={epoch}-5"));
    assert_eq!(all[0], json!({"gap": {"from": 0, "to": 0, "reason": "epoch"}}));
    assert_eq!(data(&all[1..]), [1, 2, 3, 4]);
    assert_eq!(end["next"], format!("{epoch}-4"));
}

#[test]
fn the_other_formats_hold_the_same() {
    let server = Server::start(&[]);
    server.post("a", "{\"v\":\n1}");
    http::post(&server, "/v1/publish/a", "application/octet-stream", &[0, 255]);
    let whole = get(&server, "/v1/history/a?format=json");
    assert_eq!(whole.header("content-type"), Some("application/json"));
    let whole = whole.json();
    assert_eq!(whole["records"][0]["data"], json!({"v": 1}));
    assert_eq!(whole["records"][1]["data64"], "AP8=");
    assert_eq!(whole["end"]["complete"], true);
    let epoch = whole["records"][0]["epoch"].as_str().unwrap();

    let mut stream = server.connect();
    let request = "GET /v1/history/a HTTP/1.1\r\nHost: h\r\nAccept: application/octet-stream\r\n";
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let head = read_answer_head(&mut stream);
    assert_eq!(head.header("content-type"), Some("application/octet-stream"));
    let body = read_chunks(&mut stream);
    let records = records(&body);
    assert_eq!(records.len(), 3);
    assert_eq!((records[0][0], records[1][0], records[2][0]), (1, 0, 2));
    assert!(records[0].ends_with(b"\x01\x01a{\"v\":\n1}"));
    assert!(records[1].ends_with(b"\x02\x01a\x00\xff"));
    let end: Value = serde_json::from_slice(&records[2][1..]).unwrap();
    assert_eq!(end["end"]["next"], format!("{epoch}-2"));
}

fn records(mut body: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        let (record, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        records.push(record);
        body = rest;
    }
    records
}

#[test]
fn a_pattern_has_a_past_while_somebody_follows_it() {
    let server = Server::start(&[]);
    server.post("pmu/1", "1");
    for unknown in ["pmu/%23", "pmu/2"] {
        let refused = get(&server, &format!("/v1/history/{unknown}"));
        assert_eq!(refused.status, 404, "{refused:?}");
        assert_eq!(refused.json()["error"]["code"], "not_found");
    }
    let mut wall = server.subscribe("pmu/%23?from=oldest");
    server.post("pmu/1", "2");
    server.post("pmu/2", "3");
    assert_eq!(wall.texts(2), ["2", "3"]);
    let (lines, end) = history(&server, "pmu/%23");
    assert_eq!(data(&lines), [2, 3]);
    assert_eq!((&lines[1]["topic"], &lines[1]["pattern"]), (&json!("pmu/2"), &json!("pmu/#")));
    assert_eq!(end["records"], 2);
}

#[test]
fn a_question_that_cannot_be_answered_is_refused() {
    let server = Server::start(&[("history.records_max", "100")]);
    server.post("a", "1");
    for (line, status, part) in [
        ("GET /v1/history/a?limit=101 HTTP/1.1", 400, "100 messages at most"),
        ("GET /v1/history/a?since=1 HTTP/1.1", 400, "unknown option `since`"),
        ("GET /v1/history/a?from=yesterday HTTP/1.1", 400, "RFC 3339"),
        ("GET /v1/history/a HTTP/1.0", 505, "HTTP/1.1"),
        ("POST /v1/history/a HTTP/1.1", 405, "GET, OPTIONS"),
    ] {
        let request = format!("{line}\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        let refused = http::ask(&server, request.as_bytes());
        assert_eq!(refused.status, status, "{line}");
        assert!(refused.body.contains(part), "{line}: {refused:?}");
    }
}

#[test]
fn the_past_needs_the_right_to_subscribe() {
    let tokens = "[[auth.token]]\nname = \"wall\"\ntoken = \"token-of-the-wall\"\n\
                  subscribe = [\"pmu/#\"]\npublish = [\"pmu/#\", \"bay/#\"]\n";
    let server = Server::try_start(config_of(tokens)).unwrap();
    let bearer = "Authorization: Bearer token-of-the-wall\r\n";
    let ask = |method: &str, path: &str, token: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\n{token}Content-Length: {length}\r\n\r\n{body}"
        );
        http::ask(&server, request.as_bytes())
    };
    for topic in ["pmu/1", "bay/1"] {
        assert_eq!(ask("POST", &format!("/v1/publish/{topic}"), bearer, "1").status, 200);
    }
    assert_eq!(ask("GET", "/v1/history/pmu/1", bearer, "").status, 200);
    assert_eq!(ask("GET", "/v1/history/bay/1", bearer, "").status, 403);
    assert_eq!(ask("GET", "/v1/history/%23", bearer, "").status, 403);
    assert_eq!(ask("GET", "/v1/history/pmu/1", "", "").status, 401);
}

#[test]
fn a_page_may_read_it() {
    let server = Server::start(&[("security.origins", "https://app.example")]);
    server.post("a", "1");
    let asked = |origin: &str| {
        let text = format!("GET /v1/history/a HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\r\n");
        http::ask(&server, text.as_bytes())
    };
    let allowed = asked("https://app.example");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(asked("https://other.example").status, 403);
}

#[test]
fn a_connection_is_kept_and_answers_stay_in_order() {
    let server = Server::start(&[]);
    server.post_numbers("a", 1, 2_000);
    let mut stream = server.connect();
    let ask = "GET /v1/history/a?limit=2000 HTTP/1.1\r\nHost: h\r\n\r\n";
    let probe = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    stream.write_all(format!("{ask}{probe}{ask}{probe}").as_bytes()).unwrap();
    for _ in 0..2 {
        let (all, _) = lines(&read_answer(&mut stream));
        assert_eq!(all.len(), 2_000);
        assert_eq!(read_answer(&mut stream).body, "ok\n");
    }
}

#[test]
fn who_has_said_all_is_answered_still() {
    let server = Server::start(&[]);
    server.post_numbers("a", 1, 2_000);
    let mut stream = server.connect();
    stream.write_all(b"GET /v1/history/a?limit=2000 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (all, _) = lines(&read_answer(&mut stream));
    assert_eq!(all.len(), 2_000);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "then it ends");
}

/// 8 MiB for somebody who does not read: what waits for it is bounded, and others are served.
#[test]
fn a_slow_reader_costs_little_memory() {
    let server = Server::start(&[
        ("server.cores", "1"),
        ("retention.bytes_max", "16777216"),
        ("history.bytes_max", "16777216"),
    ]);
    let line = |n: u64| format!("{{\"topic\":\"a\",\"data\":\"{n:04}{}\"}}\n", "x".repeat(4_000));
    for batch in 0..8 {
        let body: String = (batch * 200..(batch + 1) * 200).map(line).collect();
        assert_eq!(http::post_many(&server, &body).status, 200);
    }
    let mut slow = server.connect_narrow();
    slow.write_all(b"GET /v1/history/a?limit=2000 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    server.wait_until("it lags", |server| server.metric("connections_lagging") == 1);
    let records = server.metric("history_records_total");
    // Some 256 KiB wait in the kernel, and 64 KiB and a slice in the engine.
    assert!((10..200).contains(&records), "{records}");
    assert_eq!(get(&server, "/healthz").body, "ok\n");
    assert_eq!(history(&server, "a?limit=3").0.len(), 3);
    let (all, end) = lines(&read_answer(&mut slow));
    assert_eq!((all.len(), &end["complete"]), (1_600, &json!(true)));
}

#[test]
fn an_answer_is_finished_while_the_engine_drains() {
    let server = Server::start(&[("server.cores", "1"), ("drain.window_ms", "100")]);
    server.post_numbers("a", 1, 20_000);
    let mut stream = server.connect_narrow();
    stream.write_all(b"GET /v1/history/a?limit=10000 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    server.wait_until("it lags", |server| server.metric("connections_lagging") == 1);
    server.engine.drain();
    assert_eq!(get(&server, "/readyz").status, 503);
    let (all, end) = lines(&read_answer(&mut stream));
    assert_eq!((all.len(), &end["complete"]), (10_000, &json!(false)));
}
