//! An engine whose publishes go through a log, over real sockets: a publish is answered when the
//! log has it, waits while the log does not answer, and is refused after a while. Owns what the
//! seam of the log promises. Must not test any real log.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use gridcast::core::submission::{LogState, Publishing, Refused};
use gridcast::delivery::doorbell::Wake;
use gridcast::engine::Engine;
use gridcast::engine::log_side::{AttachError, LogSide, Submitted};
use gridcast::feed::domain::LogFrame;
use gridcast::feed::epoch::{Epoch, Position};
use gridcast::feed::positions::in_log;
use gridcast::feed::source::Source;
use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use harness::http::{get, post, post_many};
use harness::{Client, DEADLINE, Server, Told, config};
use serde_json::json;

const JSON: &str = "gridcast.v1.json";

/// What the engine rings when messages wait.
#[derive(Default)]
struct Bell {
    rings: Mutex<u64>,
    changed: Condvar,
}

struct Ring(Arc<Bell>);

impl Wake for Ring {
    fn wake(&self) {
        *self.0.rings.lock().unwrap() += 1;
        self.0.changed.notify_all();
    }
}

/// A log that acknowledges when the test says so.
struct Log {
    side: LogSide,
    bell: Arc<Bell>,
    sequence: u64,
}

impl Log {
    fn start(overrides: harness::Overrides<'_>) -> (Server, Self) {
        let engine = Engine::start_with(config(overrides), Publishing::Log).unwrap();
        let bell = Arc::new(Bell::default());
        let side = engine.handle().attach_log(Box::new(Ring(Arc::clone(&bell)))).unwrap();
        side.set_epoch(Epoch(723));
        (Server { engine }, Self { side, bell, sequence: 0 })
    }

    fn up(overrides: harness::Overrides<'_>) -> (Server, Self) {
        let (server, log) = Self::start(overrides);
        log.side.set_state(LogState::Up);
        (server, log)
    }

    /// The next messages, once there are some.
    fn take(&self) -> Submitted {
        let mut rings = self.bell.rings.lock().unwrap();
        loop {
            if let Some(submitted) = self.side.take_submitted(4096, 256 << 10) {
                return submitted;
            }
            let waited = self.bell.changed.wait_timeout(rings, DEADLINE).unwrap();
            assert!(!waited.1.timed_out(), "nothing was submitted");
            rings = waited.0;
        }
    }

    /// Takes messages into the log: acknowledges and applies them. Answers their sequence.
    fn store(&mut self, submitted: Submitted) -> u64 {
        self.sequence += 1;
        self.side.complete(submitted.ticket, Epoch(723), self.sequence);
        self.side.apply(self.sequence, &submitted.frames.into()).unwrap();
        self.sequence
    }
}

fn say(client: &mut Client, command: &serde_json::Value) {
    client.say(&command.to_string());
}

#[test]
fn an_engine_is_ready_once_its_log_answers() {
    let (server, log) = Log::start(&[]);
    assert_eq!(get(&server, "/healthz").status, 200);
    assert_eq!([get(&server, "/readyz").status, get(&server, "/metrics").status], [503, 200]);
    assert_eq!(post(&server, "/v1/publish/a", "text/plain", b"1").status, 503);
    log.side.set_state(LogState::Up);
    assert_eq!(get(&server, "/readyz").status, 200);
    let again = server.engine.handle().attach_log(Box::new(Ring(Arc::default())));
    assert_eq!(again.unwrap_err(), AttachError::Attached);
    let local = Server::start(&[]).engine.handle().attach_log(Box::new(Ring(Arc::default())));
    assert_eq!(local.unwrap_err(), AttachError::Local);
}

#[test]
fn a_post_is_answered_when_the_log_has_it() {
    let (server, mut log) = Log::up(&[]);
    let mut follower = server.subscribe("a");
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| post(&server, "/v1/publish/a", "text/plain", b"one"));
        let submitted = log.take();
        assert_eq!(submitted.frames[0].kind, Kind::Text);
        assert!(!posting.is_finished(), "nobody has acknowledged it");
        log.store(submitted);
        let answer = posting.join().unwrap();
        let expected = json!({"epoch": "k3", "seq": 4096, "subscribers": 1, "kind": "text"});
        assert_eq!((answer.status, answer.json()), (200, expected));
    });
    assert_eq!(follower.next(), Told::Text("one".to_owned()));
}

#[test]
fn lines_are_counted_when_the_log_has_all_of_them() {
    let (server, mut log) = Log::up(&[]);
    let line = |n: u64| format!("{{\"topic\":\"a\",\"data\":{n}}}\n");
    let body: String = (0..3000).map(line).collect();
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| post_many(&server, &body));
        let mut stored = 0;
        while stored < 3000 {
            let submitted = log.take();
            stored += submitted.frames.len();
            log.store(submitted);
        }
        let answer = posting.join().unwrap();
        assert_eq!(answer.json(), json!({"published": 3000, "failed": 0}));
    });
}

#[test]
fn commands_are_answered_in_the_order_in_which_they_are_done() {
    let (server, mut log) = Log::up(&[]);
    let mut client = server.multiplexed(JSON);
    say(&mut client, &json!({"id": 1, "publish": {"topic": "a", "data": 1}}));
    let first = log.take();
    say(&mut client, &json!({"id": 2, "publish": {"topic": "a", "data": 2}}));
    let second = log.take();
    log.store(second);
    assert!(client.text().starts_with(r#"{"id":2,"published":{"epoch":"k3","seq":4096,"#));
    log.side.refuse(first.ticket, Refused::Unavailable);
    let refused = client.text();
    assert!(refused.starts_with(r#"{"id":1,"error":{"code":"unavailable","#), "{refused}");
}

#[test]
fn a_raw_publisher_is_not_read_while_its_window_is_full() {
    let (server, mut log) = Log::up(&[]);
    let mut publisher = server.publisher("a");
    for number in 0..3000 {
        publisher.say(&number.to_string());
    }
    let mut submitted: Vec<Submitted> = Vec::new();
    let count = |submitted: &[Submitted]| submitted.iter().map(|s| s.frames.len()).sum::<usize>();
    while count(&submitted) < 1024 {
        submitted.push(log.take());
    }
    server.wait_until("settled", |_| log.side.in_flight().0 == 1024);
    assert_eq!(count(&submitted), 1024);
    let mut stored = 0;
    while stored < 3000 {
        let next = submitted.pop().unwrap_or_else(|| log.take());
        stored += next.frames.len();
        log.store(next);
    }
    server.wait_until("all are out", |_| log.side.in_flight() == (0, 0));
}

#[test]
fn who_waits_too_long_is_refused() {
    let (server, log) = Log::up(&[]);
    let mut publisher = server.publisher("a");
    let mut client = server.multiplexed(JSON);
    log.side.set_state(LogState::Held);
    publisher.say("1");
    say(&mut client, &json!({"id": 1, "publish": {"topic": "a", "data": 1}}));
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| post(&server, "/v1/publish/a", "text/plain", b"one"));
        let begun = std::time::Instant::now();
        server.wait_until("not ready", |server| get(server, "/readyz").status == 503);
        assert!(begun.elapsed() > Duration::from_secs(1), "it may not answer for a moment");
        let answer = posting.join().unwrap();
        assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")));
        assert!(begun.elapsed() > Duration::from_secs(4));
    });
    let Told::Close(4503, reason) = publisher.next() else { panic!("not closed") };
    assert!(reason.contains("back-plane"), "{reason}");
    assert!(client.text().contains("unavailable"));
    assert!(log.side.is_refusing());
    assert_eq!(post(&server, "/v1/publish/a", "text/plain", b"two").status, 503);
    assert!(log.side.take_submitted(4096, 1 << 20).is_none(), "what was refused is not published");
    assert_eq!(log.side.in_flight(), (0, 0));
    log.side.set_state(LogState::Up);
    assert_eq!(get(&server, "/readyz").status, 200);
}

/// What becomes of each message that a thread which is no core publishes next, and the thread that
/// says so.
fn outcomes(server: &Server, count: usize) -> mpsc::Receiver<(String, Result<u64, Refused>)> {
    let (told, outcomes) = mpsc::channel();
    let mut publisher = server.engine.handle().publisher(Source(1));
    for _ in 0..count {
        let told = told.clone();
        let done = move |outcome: Result<Position, Refused>| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            // A test that has ended asks no more.
            let _ = told.send((thread, outcome.map(|position| position.seq)));
        };
        publisher.publish_then(&Topic::new("a").unwrap(), Kind::Text, b"1", done).unwrap();
    }
    outcomes
}

/// Neither a core nor the log is held up by what somebody else does about it.
#[test]
fn who_is_no_core_is_told_by_a_thread_of_its_own() {
    let (server, mut log) = Log::up(&[]);
    let outcomes = outcomes(&server, 2);
    let (first, second) = (log.side.take_submitted(1, 1 << 20).unwrap(), log.take());
    log.store(first);
    log.side.refuse(second.ticket, Refused::Unavailable);
    let stored = (String::from("bells"), Ok(4096));
    assert_eq!(outcomes.recv_timeout(DEADLINE).unwrap(), stored);
    let refused = (String::from("bells"), Err(Refused::Unavailable));
    assert_eq!(outcomes.recv_timeout(DEADLINE).unwrap(), refused);
    assert_eq!(log.side.in_flight(), (0, 0));
}

/// Nobody is connected, so a core finds it out by itself.
#[test]
fn who_is_no_core_is_refused_in_time_though_nothing_else_happens() {
    let (server, log) = Log::up(&[("server.cores", "1")]);
    let outcomes = outcomes(&server, 1);
    let refused = (String::from("bells"), Err(Refused::Unavailable));
    assert_eq!(outcomes.recv_timeout(DEADLINE).unwrap(), refused);
    assert!(log.side.take_submitted(1, 1).is_none());
}

/// A raw publisher is told once, and a thread that asked for nothing never.
#[test]
fn what_is_refused_is_counted_though_nobody_is_told_of_each() {
    let (server, log) = Log::up(&[]);
    let mut raw = server.publisher("a");
    (0..3).for_each(|_| raw.say("1"));
    let mut outside = server.engine.handle().publisher(Source(1));
    outside.publish(&Topic::new("a").unwrap(), Kind::Text, b"2").unwrap();
    server.wait_for("publishes_total", 4);
    let first = log.side.take_submitted(1, 1 << 20).unwrap();
    log.side.refuse(first.ticket, Refused::Unavailable);
    drop(log.take());
    let refused =
        |reason| server.metric(&format!("publishes_refused_total{{reason=\"{reason}\"}}"));
    assert_eq!([refused("unavailable"), refused("unacknowledged")], [1, 3]);
    assert!(matches!(raw.next(), Told::Close(4503, _)));
}

/// Nothing was taken on, and nobody is told of each message: the end of its socket is all it hears.
#[test]
fn what_a_raw_publisher_sends_while_the_log_refuses_is_counted() {
    let (server, log) = Log::up(&[]);
    let mut raw = server.publisher("a");
    drop(log);
    raw.say("1");
    assert!(matches!(raw.next(), Told::Close(4503, _)));
    let refused = "publishes_refused_total{reason=\"unavailable\"}";
    assert_eq!(server.metric(refused), 1);
    assert_eq!(server.metric("publishes_total"), 0, "it was not taken on");
}

#[test]
fn whoever_lets_go_of_the_log_refuses_all_who_wait() {
    let (server, log) = Log::up(&[]);
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| post(&server, "/v1/publish/a", "text/plain", b"one"));
        let submitted = log.take();
        drop(submitted);
        assert_eq!(posting.join().unwrap().status, 503);
    });
    drop(log);
    assert_eq!(post(&server, "/v1/publish/a", "text/plain", b"two").status, 503);
}

#[test]
fn a_subscriber_that_is_ahead_of_this_node_gets_only_what_it_lacks() {
    let (server, log) = Log::up(&[]);
    let frames = |numbers: std::ops::Range<u64>| -> Arc<[LogFrame]> {
        let frame = |number: u64| LogFrame {
            topic: Topic::new("a").unwrap(),
            kind: Kind::Text,
            source: Default::default(),
            payload: number.to_string().into(),
        };
        numbers.map(frame).collect()
    };
    log.side.apply(1, &frames(0..2)).unwrap();
    let position = in_log(2, 2);
    let mut raw = server.subscribe(&format!("a?from=k3-{position}"));
    let mut client = server.multiplexed(JSON);
    let from = format!("k3-{position}");
    say(&mut client, &json!({"id": 1, "subscribe": {"topic": "a", "from": from}}));
    assert_eq!(
        client.text(),
        format!(r#"{{"id":1,"subscribed":{{"topic":"a","epoch":"k3","seq":{position}}}}}"#)
    );
    log.side.apply(2, &frames(2..7)).unwrap();
    assert_eq!([raw.next(), raw.next()], ["5", "6"].map(|text| Told::Text(text.to_owned())));
    assert!(client.text().ends_with(r#""data":5}"#));
    assert!(client.text().ends_with(r#""data":6}"#));
}
