//! Stores behind `/v1/history`, over real sockets: what a store has comes before what the engine
//! keeps, without a gap and nothing twice, and no core waits for one. Owns stores made up for it.
//! Must not test real databases.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use gridcast::core::history::store::{HistoryStore, Page, Question, Reply, Row, StoreError};
use gridcast::feed::epoch::{Epoch, Position};
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use harness::http::{Answer, get, read_answer};
use harness::{DEADLINE, Server};
use serde_json::{Value, json};

/// A store whose questions a test, or a thread of its own, answers.
struct Counter(Sender<(Question, Reply)>);

impl HistoryStore for Counter {
    fn keeps(&self, topic: &Topic) -> bool {
        topic.as_str().starts_with("pmu/")
    }

    fn ask(&self, question: Question, reply: Reply) -> Result<(), StoreError> {
        self.0.send((question, reply)).map_err(|_| StoreError::new("the store is gone"))
    }
}

type Asked = Receiver<(Question, Reply)>;

fn with_store(overrides: harness::Overrides<'_>) -> (Server, Asked) {
    let server = Server::start(overrides);
    let (sender, asked) = mpsc::channel();
    server.engine.handle().add_history(Box::new(Counter(sender)));
    (server, asked)
}

fn row(epoch: u64, seq: u64) -> Row {
    Row {
        time_ms: seq * 1_000,
        position: Position { epoch: Epoch(epoch), seq },
        kind: Kind::Text,
        payload: seq.to_string().into_bytes(),
    }
}

/// What a store that has `rows` answers.
fn look_up(rows: &[Row], question: &Question) -> Page {
    let order = |position: &Position| (position.epoch.0, position.seq);
    let is_within = |row: &&Row| {
        let at = order(&row.position);
        question.after.is_none_or(|after| at > order(&after))
            && question.before.is_none_or(|before| at < order(&before))
            && question.from_ms.is_none_or(|ms| row.time_ms >= ms)
            && question.to_ms.is_none_or(|ms| row.time_ms <= ms)
    };
    let mut found = rows.iter().filter(is_within).cloned();
    let rows: Vec<Row> = found.by_ref().take(question.rows_max as usize).collect();
    Page { rows, is_last: found.next().is_none() }
}

/// Answers every question from `rows`; the questions are noted.
fn answer_all(asked: Asked, rows: Vec<Row>) -> Arc<Mutex<Vec<Question>>> {
    let noted: Arc<Mutex<Vec<Question>>> = Arc::default();
    let questions = Arc::clone(&noted);
    thread::spawn(move || {
        for (question, reply) in asked {
            let page = look_up(&rows, &question);
            // Noted first: whoever has the answer may look at once.
            questions.lock().unwrap().push(question);
            reply.send(Ok(page));
        }
    });
    noted
}

fn lines(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = answer.body.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut lines: Vec<Value> = lines.collect();
    let end = lines.pop().unwrap()["end"].take();
    (lines, end)
}

fn history(server: &Server, question: &str) -> (Vec<Value>, Value) {
    lines(&get(server, &format!("/v1/history/{question}")))
}

fn data(lines: &[Value]) -> Vec<i64> {
    lines.iter().map(|line| line["data"].as_i64().unwrap()).collect()
}

fn epoch_of(server: &Server) -> u64 {
    server.epoch("pmu/1", "1").parse::<Epoch>().unwrap().0
}

#[test]
fn a_store_comes_before_memory_and_nothing_comes_twice() {
    let (server, asked) = with_store(&[("retention.frames_max", "10")]);
    let epoch = epoch_of(&server);
    // The store has an earlier life as well, and what memory still has.
    let earlier = (1..=2_500).map(|seq| row(epoch - 1, seq));
    let rows: Vec<Row> = earlier.chain((1..=95).map(|seq| row(epoch, seq))).collect();
    let questions = answer_all(asked, rows);
    server.post_numbers("pmu/1", 2, 100);
    let (all, end) = history(&server, "pmu/1?limit=10000");
    let expected: Vec<i64> = (1..=2_500).chain(1..=100).collect();
    assert_eq!(data(&all), expected);
    assert_eq!((&end["records"], &end["complete"]), (&json!(2_600), &json!(true)));
    assert_eq!(questions.lock().unwrap().len(), 3, "pages of 1,000 rows");

    let epoch = Epoch(epoch).to_string();
    let (some, _) = history(&server, &format!("pmu/1?from={epoch}-80&to={epoch}-93"));
    assert_eq!(data(&some), (81..=93).collect::<Vec<_>>());
    // What memory has alone is not asked for.
    let asked_before = questions.lock().unwrap().len();
    let (some, _) = history(&server, &format!("pmu/1?from={epoch}-95"));
    assert_eq!(data(&some), (96..=100).collect::<Vec<_>>());
    assert_eq!(questions.lock().unwrap().len(), asked_before);
    let (page, end) = history(&server, "pmu/1?limit=7");
    assert_eq!((page.len(), &end["complete"]), (7, &json!(false)));
}

#[test]
fn what_neither_has_is_told() {
    let (server, asked) = with_store(&[("retention.frames_max", "10")]);
    let epoch = epoch_of(&server);
    answer_all(asked, (1..=50).map(|seq| row(epoch, seq)).collect());
    server.post_numbers("pmu/1", 2, 100);
    let (mut all, _) = history(&server, "pmu/1");
    let gap = json!({"gap": {"from": 51, "to": 90, "frames": 40, "reason": "expired"}});
    assert_eq!(all.remove(50), gap);
    assert_eq!(data(&all), (1..=50).chain(91..=100).collect::<Vec<_>>());
}

#[test]
fn a_topic_that_only_the_store_knows_is_answered() {
    let (server, asked) = with_store(&[]);
    let questions = answer_all(asked, (1..=5).map(|seq| row(7, seq)).collect());
    let (all, end) = history(&server, "pmu/9?from=2000&to=4000");
    assert_eq!(data(&all), [2, 3, 4]);
    assert_eq!(end["next"], "7-4");
    assert_eq!(all[0]["time_ms"], 2_000);
    let asked = questions.lock().unwrap()[0].clone();
    assert_eq!((asked.from_ms, asked.to_ms, asked.before), (Some(2_000), Some(4_000), None));
    assert_eq!(get(&server, "/v1/history/bay/1").status, 404, "no store keeps it");
}

#[test]
fn a_store_that_fails_is_told_and_one_that_fails_late_as_well() {
    let (server, asked) = with_store(&[]);
    thread::spawn(move || {
        for (question, reply) in asked {
            match question.after {
                _ if question.topic.as_str() == "pmu/gone" => drop(reply),
                Some(after) if after.seq > 1 => {
                    reply.send(Err(StoreError::new("the disk is full")));
                }
                _ => {
                    let rows = (1..=1_000).map(|seq| row(7, seq)).collect();
                    reply.send(Ok(Page { rows, is_last: false }));
                }
            }
        }
    });
    let refused = get(&server, "/v1/history/pmu/gone");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["error"]["message"], "the store gave no answer");
    let (all, end) = history(&server, "pmu/9?limit=2000");
    assert_eq!(all.len(), 1_000);
    let expected = json!({
        "next": "7-1000", "records": 1000, "complete": false, "error": "the disk is full",
    });
    assert_eq!(end, expected);
}

/// No core waits: one that serves everybody goes on, and the question has its time.
#[test]
fn a_store_that_does_not_answer_holds_up_nobody() {
    let limits = [
        ("server.cores", "1"),
        ("history.store_requests_max", "1"),
        ("history.store_ms_max", "2000"),
    ];
    let (server, asked) = with_store(&limits);
    let mut waiting = server.connect();
    waiting.write_all(b"GET /v1/history/pmu/1 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let (_, reply) = asked.recv_timeout(DEADLINE).unwrap();
    assert_eq!(get(&server, "/healthz").body, "ok\n");
    let full = get(&server, "/v1/history/pmu/2");
    assert_eq!((full.status, full.header("retry-after")), (503, Some("1")));
    assert!(full.body.contains("history.store_requests_max"), "{full:?}");
    assert!(!reply.is_given_up());
    let late = read_answer(&mut waiting);
    assert_eq!(late.status, 503);
    assert!(late.body.contains("history.store_ms_max"), "{late:?}");
    server.wait_until("the question is given up", |_| reply.is_given_up());
    // Its answer comes too late for anybody, and frees the place.
    reply.send(Ok(Page::default()));
    let mut next = server.connect();
    next.write_all(b"GET /v1/history/pmu/3 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let (question, reply) = asked.recv_timeout(DEADLINE).unwrap();
    assert_eq!(question.topic.as_str(), "pmu/3");
    reply.send(Ok(Page { rows: vec![row(7, 1)], is_last: true }));
    assert_eq!(lines(&read_answer(&mut next)).0.len(), 1);
}

#[test]
fn a_client_that_leaves_gives_its_question_up() {
    let (server, asked) = with_store(&[]);
    let mut leaving = server.connect();
    leaving.write_all(b"GET /v1/history/pmu/1 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let (_, reply) = asked.recv_timeout(DEADLINE).unwrap();
    harness::reset(&leaving);
    drop(leaving);
    server.wait_until("the question is given up", |_| reply.is_given_up());
    reply.send(Ok(Page::default()));
    let mut other = server.connect();
    other.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    other.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("ok\n"), "{text}");
}
