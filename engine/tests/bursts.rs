//! Bursts that are larger than what a feed keeps, over real sockets: who takes bytes loses nothing,
//! and publishers wait instead. Owns the promise to healthy subscribers. Must not test subscribers
//! that stall (that is `lag`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::Write;
use std::net::TcpStream;

use harness::{Client, Overrides, Server, Told, frames, http};

/// What a feed keeps here; a burst is several times as much.
const KEPT: &str = "65536";
/// Messages of a burst, of about a kilobyte each.
const MESSAGES: usize = 400;
/// Send buffers that take a burst whole: a wall that is not read for a moment does not block.
/// Few bytes a turn, so that a burst is published long before all subscribers have had a turn.
const SMALL_SLICES: Overrides<'_> = &[
    ("server.cores", "1"),
    ("retention.bytes_max", KEPT),
    ("flush.send_buffer_bytes", "0"),
    ("flush.sockets_per_slice", "2"),
    ("flush.bytes_per_slice", "65536"),
    ("flush.bytes_per_socket", "16384"),
];
/// The same, with publishers and subscribers on different cores as well.
const TWO_CORES: Overrides<'_> = &[
    ("server.cores", "2"),
    ("retention.bytes_max", KEPT),
    ("flush.send_buffer_bytes", "0"),
    ("flush.sockets_per_slice", "2"),
    ("flush.bytes_per_slice", "65536"),
    ("flush.bytes_per_socket", "16384"),
];

fn payload(number: usize) -> String {
    format!("{number} {}", "x".repeat(1000))
}

fn number(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The lines of one POST that publishes a burst, a topic for each message.
fn lines() -> String {
    let line =
        |n: usize| format!("{{\"topic\":\"t/{n}\",\"data\":\"{}\",\"text\":true}}\n", payload(n));
    (0..MESSAGES).map(line).collect()
}

/// Reads every number of a burst, in any order, each once.
fn read_burst(wall: &mut Client) {
    let mut seen = vec![false; MESSAGES];
    for _ in 0..MESSAGES {
        let at = number(&wall.text());
        assert!(!std::mem::replace(&mut seen[at], true), "{at} came twice");
    }
}

fn nothing_was_lost(server: &Server) {
    assert_eq!(server.closing("lagged"), 0);
    assert_eq!(server.metric("gap_frames_total"), 0);
}

#[test]
fn a_burst_of_one_request_costs_no_reader_anything() {
    let server = Server::start(SMALL_SLICES);
    let mut walls: Vec<Client> = (0..10).map(|_| server.subscribe("t/%23")).collect();
    let mut events = http::Events::open(&server, "t/%23");
    assert_eq!(http::post_many(&server, &lines()).status, 200);
    walls.iter_mut().for_each(read_burst);
    (0..MESSAGES).for_each(|at| assert_eq!(number(&events.next().unwrap().data), at));
    nothing_was_lost(&server);
}

#[test]
fn a_burst_reaches_multiplexed_walls_in_both_protocols() {
    for protocol in ["gridcast.v1.json", "gridcast.v1.bin"] {
        let server = Server::start(SMALL_SLICES);
        let mut walls: Vec<Client> = (0..10).map(|_| server.multiplexed(protocol)).collect();
        for wall in &mut walls {
            wall.say(r#"{"id":1,"subscribe":{"topic":"t/#"}}"#);
            assert!(wall.text().contains("subscribed"));
        }
        assert_eq!(http::post_many(&server, &lines()).status, 200);
        for wall in &mut walls {
            let mut left = MESSAGES;
            while left > 0 {
                left -= match wall.next() {
                    Told::Text(text) if text.contains("\"data\"") => 1,
                    Told::Binary(_) => 1,
                    // The number of a topic, in front of its first message.
                    Told::Text(text) if text.contains("\"feed\"") => 0,
                    other => panic!("{protocol}: {other:?}"),
                }
            }
        }
        nothing_was_lost(&server);
    }
}

/// One message each from very many connections at one instant: none of them is ahead by itself.
#[test]
fn a_burst_of_many_publishers_costs_no_wall_anything() {
    for overrides in [SMALL_SLICES, TWO_CORES] {
        let server = Server::start(overrides);
        let mut walls: Vec<Client> = (0..10).map(|_| server.subscribe("t/%23")).collect();
        let publishers = (0..MESSAGES).map(|at| server.publisher(&format!("t/{at}")));
        let mut publishers: Vec<Client> = publishers.collect();
        for _ in 0..3 {
            publishers.iter_mut().enumerate().for_each(|(at, own)| own.say(&payload(at)));
            walls.iter_mut().for_each(read_burst);
        }
        nothing_was_lost(&server);
    }
}

#[test]
fn a_burst_of_many_posts_costs_no_wall_anything() {
    for overrides in [SMALL_SLICES, TWO_CORES] {
        let server = Server::start(overrides);
        let mut walls: Vec<Client> = (0..10).map(|_| server.subscribe("t/%23")).collect();
        let mut clients: Vec<TcpStream> = (0..MESSAGES).map(|_| server.connect()).collect();
        for _ in 0..2 {
            for (at, client) in clients.iter_mut().enumerate() {
                let (path, body) = (format!("/v1/publish/t/{at}"), payload(at));
                let request = http::post_bytes(&path, "text/plain", body.as_bytes());
                client.write_all(&request).unwrap();
            }
            walls.iter_mut().for_each(read_burst);
            for client in &mut clients {
                assert_eq!(http::read_answer(client).status, 200);
            }
        }
        nothing_was_lost(&server);
    }
}

#[test]
fn a_burst_of_many_multiplexed_publishers_costs_no_wall_anything() {
    for overrides in [SMALL_SLICES, TWO_CORES] {
        let server = Server::start(overrides);
        let mut walls: Vec<Client> = (0..10).map(|_| server.subscribe("t/%23")).collect();
        let publishers = (0..MESSAGES).map(|_| server.multiplexed("gridcast.v1.json"));
        let mut publishers: Vec<Client> = publishers.collect();
        for _ in 0..3 {
            for (at, publisher) in publishers.iter_mut().enumerate() {
                let data = payload(at);
                publisher.say(&format!(
                    r#"{{"publish":{{"topic":"t/{at}","data":"{data}","text":true}}}}"#
                ));
            }
            walls.iter_mut().for_each(read_burst);
        }
        nothing_was_lost(&server);
    }
}

/// Whoever publishes waits, so what readers still need beyond what is kept stays bounded.
#[test]
fn a_flood_takes_no_more_memory_than_is_kept_and_a_little() {
    let server = Server::start(SMALL_SLICES);
    let mut walls: Vec<Client> = (0..20).map(|_| server.subscribe("t/%23")).collect();
    let publishers = (0..100).map(|at| server.publisher(&format!("t/{at}")));
    let mut publishers: Vec<Client> = publishers.collect();
    let mut log_bytes_max = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                publishers.iter_mut().enumerate().for_each(|(at, own)| own.say(&payload(at)));
            }
        });
        let reading: Vec<_> =
            walls.iter_mut().map(|wall| scope.spawn(|| wall.swallow(4000))).collect();
        while !reading.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            log_bytes_max = log_bytes_max.max(server.log_bytes());
            std::thread::yield_now();
        }
    });
    nothing_was_lost(&server);
    // A hundred topics of 40 KB, and a pattern that keeps 64 KiB and is paced from 256 KiB on.
    assert!(log_bytes_max < 100 * (96 << 10) + (1 << 20), "{log_bytes_max} bytes");
}

/// A ping is answered and a command carried out however many publishers have to wait.
#[test]
fn who_does_not_publish_is_read_while_publishers_wait() {
    let server = Server::start(SMALL_SLICES);
    let stalled = Client::over(server.connect_narrow(), "/v1/feed/t/%23?lag=skip-to-latest");
    let mut publisher = server.publisher("t/1");
    let mut other = frames::RawSocket::open(&server, "/v1/feed/u");
    std::thread::scope(|scope| {
        scope.spawn(|| (0..2000).for_each(|at| publisher.say(&payload(at))));
        for _ in 0..20 {
            other.send(&frames::frame(frames::PING, b"there?"));
            other.expect(frames::PONG, b"there?");
        }
    });
    drop(stalled);
    assert_eq!(server.closing("lagged"), 0);
}
