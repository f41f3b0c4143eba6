//! Long polling through real sockets: what is answered at once, what is waited for, where to go on,
//! and how waiting ends. Owns bodies, heads and metrics of `/v1/poll`. Must not test history.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use harness::http::{Answer, UPGRADE, ask, get, read_answer};
use harness::tokens::{Issuer, Keys, claims, config_of, unix_s};
use harness::{DEADLINE, Server};
use jsonwebtoken::Algorithm::EdDSA;
use serde_json::{Value, json};

const WAITING: &str = "connections{role=\"poll\"}";

/// A client that asks again and again over one connection.
struct Poller {
    stream: TcpStream,
    target: String,
    next: String,
}

impl Poller {
    fn new(server: &Server, target: &str, from: &str) -> Self {
        Self { stream: server.connect(), target: target.to_owned(), next: from.to_owned() }
    }

    fn send(&mut self, options: &str) {
        let Self { target, next, .. } = &self;
        let path = format!("/v1/poll/{target}?from={next}{options}");
        self.stream.write_all(request(&path, "").as_bytes()).unwrap();
    }

    fn take(&mut self) -> Answer {
        let answer = read_answer(&mut self.stream);
        assert_eq!(answer.status, 200, "{answer:?}");
        let next = answer.json()["end"]["next"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("etag"), Some(format!("\"{next}\"").as_str()));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        self.next = next;
        answer
    }

    fn poll(&mut self, options: &str) -> Value {
        self.send(options);
        self.take().json()
    }
}

fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

fn seqs(answer: &Value) -> Vec<u64> {
    let records = answer["records"].as_array().unwrap();
    records.iter().map(|record| record["seq"].as_u64().unwrap()).collect()
}

#[test]
fn what_is_there_is_answered_at_once_and_says_where_to_go_on() {
    let server = Server::start(&[]);
    server.post_numbers("a", 1, 5);
    let mut poller = Poller::new(&server, "a", "oldest");
    let answer = poller.poll("&limit=2");
    assert_eq!(seqs(&answer), [1, 2]);
    let record = &answer["records"][0];
    assert_eq!((&record["topic"], &record["data"]), (&json!("a"), &json!(1)));
    assert!(record["epoch"].is_string() && record["time_ms"].is_number(), "{record}");
    assert_eq!((&answer["end"]["records"], &answer["end"]["complete"]), (&json!(2), &json!(false)));
    let answer = poller.poll("");
    assert_eq!((seqs(&answer), &answer["end"]["complete"]), (vec![3, 4, 5], &json!(true)));
    assert_eq!(seqs(&poller.poll("&wait=0")), [0; 0]);
    let mut last = Poller::new(&server, "a", "last");
    assert_eq!(seqs(&last.poll("")), [5]);
    assert_eq!(last.next, poller.next);
    assert_eq!(server.metric("polls_answered_total"), 4);
    assert_eq!(server.metric("poll_records_total"), 6);
}

#[test]
fn whoever_waits_is_answered_by_the_next_message_and_misses_none_between_polls() {
    let server = Server::start(&[]);
    // From now on, of a topic that nobody has published to.
    let mut poller = Poller::new(&server, "a", "latest");
    poller.send("");
    server.wait_for(WAITING, 1);
    assert_eq!(server.post("a", "first"), 1);
    let answer = poller.take().json();
    assert_eq!(answer["records"][0]["data"], "first");
    server.wait_for(WAITING, 0);
    // Published while nobody waits.
    server.post("a", "second");
    server.post("a", "third");
    assert_eq!(seqs(&poller.poll("")), [2, 3]);
    poller.send("");
    server.wait_for(WAITING, 1);
    let path = "/v1/publish/a";
    let answer = harness::http::post(&server, path, "text/plain", b"fourth");
    assert_eq!(answer.json()["subscribers"], 1, "whoever waits is one");
    assert_eq!(seqs(&poller.take().json()), [4]);
    // That of the last publish may have still to end.
    server.wait_until("one connection is left, which served all", |it| it.connections() == 1);
}

#[test]
fn a_wait_that_is_over_answers_nothing_and_where_to_go_on() {
    let server = Server::start(&[]);
    server.post("a", "old");
    let mut poller = Poller::new(&server, "a", "latest");
    let began = Instant::now();
    let answer = poller.poll("&wait=200");
    assert!(began.elapsed().as_millis() >= 100, "{:?}", began.elapsed());
    assert_eq!((seqs(&answer), &answer["end"]["complete"]), (vec![], &json!(true)));
    server.post("a", "new");
    assert_eq!(seqs(&poller.poll("&wait=200")), [2]);
}

#[test]
fn all_who_wait_in_one_place_are_answered_alike() {
    let server = Server::start(&[]);
    let mut pollers: Vec<Poller> =
        (0..200).map(|_| Poller::new(&server, "pmu/%23", "latest")).collect();
    for round in 0..3 {
        pollers.iter_mut().for_each(|poller| poller.send(""));
        server.wait_for(WAITING, 200);
        server.post(&format!("pmu/{round}"), "now");
        for poller in &mut pollers {
            let answer = poller.take().json();
            let record = &answer["records"][0];
            assert_eq!(record["topic"], format!("pmu/{round}"));
            assert_eq!((&record["pattern"], &record["seq"]), (&json!("pmu/#"), &json!(round + 1)));
        }
    }
    assert_eq!(server.metric("poll_records_total"), 600);
}

#[test]
fn what_is_gone_is_told_as_a_gap() {
    let server = Server::start(&[("retention.frames_max", "2")]);
    server.post_numbers("a", 1, 5);
    let epoch = server.epoch("a", "six");
    let mut poller = Poller::new(&server, "a", &format!("{epoch}-1"));
    let answer = poller.poll("");
    let gap = json!({"gap": {"from": 2, "to": 4, "frames": 3, "reason": "expired"}});
    assert_eq!(answer["records"][0], gap);
    assert_eq!((&answer["records"][1]["seq"], &answer["end"]["records"]), (&json!(5), &json!(2)));
    let mut foreign = Poller::new(&server, "a", "zz-7");
    let answer = foreign.poll("");
    assert_eq!(answer["records"][0]["gap"]["reason"], "epoch");
    assert_eq!((&answer["records"][1]["seq"], foreign.next), (&json!(5), poller.next));
    assert_eq!(server.metric("resumes_after_gap_total"), 2);
}

#[test]
fn an_answer_is_bounded_by_bytes_and_has_one_message_at_least() {
    let server = Server::start(&[("poll.bytes_max", "4096")]);
    server.post("a", &"x".repeat(10_000));
    server.post("a", &"y".repeat(1_500));
    server.post("a", &"z".repeat(3_000));
    server.post("a", "end");
    let mut poller = Poller::new(&server, "a", "oldest");
    assert_eq!(seqs(&poller.poll("")), [1]);
    assert_eq!(seqs(&poller.poll("")), [2, 3]);
    assert_eq!(seqs(&poller.poll("")), [4]);
}

#[test]
fn the_form_is_said_or_accepted() {
    let server = Server::start(&[]);
    server.post("a", "text");
    let path = "/v1/poll/a?from=oldest";
    let lines = get(&server, &format!("{path}&format=ndjson"));
    assert_eq!(lines.body.lines().count(), 2);
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let accepted = ask(&server, request(path, "Accept: application/x-ndjson\r\n").as_bytes());
    assert_eq!(accepted.body.lines().last(), lines.body.lines().last());
    // A browser's page, and who speaks HTTP/1.0.
    let page = ask(&server, request(path, "Origin: https://a.example\r\n").as_bytes());
    assert_eq!(page.header("access-control-allow-origin"), Some("*"));
    assert_eq!(page.json()["records"][0]["data"], "text");
    let old = ask(&server, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!((old.status, old.header("connection")), (200, Some("close")));
    assert_eq!(old.json()["end"], page.json()["end"]);
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let server = Server::start(&[("poll.records_max", "10")]);
    for (line, status, words) in [
        ("GET /v1/poll/a?limit=11", 400, "10 at most (poll.records_max)"),
        ("GET /v1/poll/a?wait=25001", 400, "25000 ms at most (poll.wait_ms_max)"),
        ("GET /v1/poll/a?wiat=1", 400, "did you mean `wait`"),
        ("GET /v1/poll/a//b", 400, "empty"),
        ("GET /v1/poll", 404, "which topic or pattern? /v1/poll/{topic}"),
        ("POST /v1/poll/a", 405, "the methods here are GET, OPTIONS"),
        ("HEAD /v1/poll/a", 405, ""),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {text}");
        assert!(text.contains(words), "{line}: {text}");
    }
}

#[test]
fn requests_behind_a_poll_are_answered_behind_it() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let poll = request("/v1/poll/a", "");
    stream.write_all(format!("{poll}{poll}{}", request("/healthz", "")).as_bytes()).unwrap();
    for text in ["one", "two"] {
        server.wait_for(WAITING, 1);
        server.post("a", text);
        assert_eq!(read_answer(&mut stream).json()["records"][0]["data"], text);
    }
    assert_eq!(read_answer(&mut stream).body, "ok\n");
}

#[test]
fn whoever_goes_while_waiting_waits_no_longer() {
    let server = Server::start(&[]);
    // One that ends its side but reads on gets what there is: nothing, and where to go on.
    let mut stream = server.connect();
    stream.write_all(request("/v1/poll/a", "").as_bytes()).unwrap();
    server.wait_for(WAITING, 1);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(seqs(&read_answer(&mut stream).json()), [0; 0]);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    let mut gone = server.connect();
    gone.write_all(request("/v1/poll/a", "").as_bytes()).unwrap();
    server.wait_for(WAITING, 1);
    drop(gone);
    server.wait_for(WAITING, 0);
    server.wait_until("no connection", |server| server.connections() == 0);
}

#[test]
fn a_drain_answers_whoever_waits_and_takes_no_more() {
    let server = Server::start(&[("drain.window_ms", "100"), ("drain.deadline_ms", "10000")]);
    let mut poller = Poller::new(&server, "a", "latest");
    poller.send("");
    server.wait_for(WAITING, 1);
    let mut late = server.connect();
    late.write_all(b"GET /v1/poll/a HTTP/1.1\r\n").unwrap();
    server.wait_until("two connections", |server| server.connections() == 2);
    server.engine.drain();
    let answer = poller.take();
    assert_eq!((seqs(&answer.json()), answer.header("connection")), (vec![], Some("close")));
    late.write_all(b"Host: h\r\n\r\n").unwrap_or_default();
    let refused = read_answer(&mut late);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
}

#[test]
fn a_token_gives_the_right_and_its_end_ends_the_wait() {
    let issuer = Issuer::new(EdDSA, Some("k"));
    let keys = Keys::new(&[&issuer]);
    let server = Server::try_start(config_of(&keys.settings(false, "leeway_s = 0\n"))).unwrap();
    let token = |changes| issuer.sign(&claims(&changes));
    assert_eq!(get(&server, "/v1/poll/a").status, 401);
    let narrow = token(json!({"gridcast": {"subscribe": ["b/#"]}}));
    let answer = get(&server, &format!("/v1/poll/a?token={narrow}"));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("forbidden")));
    let began = Instant::now();
    let short = token(json!({"exp": unix_s(3)}));
    let ended = get(&server, &format!("/v1/poll/a?token={short}"));
    assert_eq!(ended.status, 401, "{ended:?}");
    assert_eq!(ended.json()["error"]["message"], "token expired (exp)");
    assert!(began.elapsed() < DEADLINE);
    let granted = get(&server, &format!("/v1/poll/b/1?wait=1&token={narrow}"));
    assert_eq!(granted.status, 200);
    let page = request("/v1/poll/a", &format!("Origin: https://a.example\r\n{UPGRADE}"));
    assert_eq!(ask(&server, page.as_bytes()).status, 401);
}
