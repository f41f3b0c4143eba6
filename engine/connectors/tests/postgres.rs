//! Bridges to PostgreSQL, against the real server of Debian. Must not share code with the bridge.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod peers;

use peers::postgres::{PASSWORD, Postgres};
use peers::{Rig, of_page, password_file};

const COUNT_ROWS: &str = "SELECT count(*) FROM gridcast_messages";

fn settings(server: &Postgres, password_file: &str, more: &str) -> String {
    format!(
        "[[bridge]]\nname = \"store\"\nkind = \"postgres\"\nurl = \"{}\"\n\
         password_file = \"{password_file}\"\nout = [\"pmu/#\"]\ncreate_table = true\n\
         batch.wait_ms_max = 50\n{more}",
        server.url()
    )
}

#[test]
fn the_page_is_true() {
    let Some(server) = Postgres::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let page = of_page(
        "postgres",
        &[
            ("postgres://gridcast@127.0.0.1/grid", &server.url()),
            ("/etc/gridcast/postgres.password", &path),
        ],
    );
    let mut rig = Rig::start(&page);
    rig.wait_until_up();
    rig.publish("pmu/7", r#"{"frequency":49.98}"#);
    rig.publish_bytes("pmu/7", &[0xaa, 1]);
    server.wait_for_figure(COUNT_ROWS, 2);
    let columns = "topic, seq, kind, encode(payload, 'hex'), payload_json->>'frequency'";
    let rows = server.sql(&format!("SELECT {columns} FROM gridcast_messages ORDER BY seq"));
    let text = "7b226672657175656e6379223a34392e39387d";
    assert_eq!(rows, [format!("pmu/7|1|text|{text}|49.98"), "pmu/7|2|binary|aa01|".to_owned()]);
    let age = "SELECT count(*) FROM gridcast_messages WHERE time > now() - interval '1 minute'";
    assert_eq!(server.figure(age), 2);
}

#[test]
fn numbers_are_those_of_the_topic() {
    let Some(server) = Postgres::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let mut rig = Rig::start(&settings(&server, &path, ""));
    rig.wait_until_up();
    for n in 0..30 {
        rig.publish(&format!("pmu/{}", n % 3), &n.to_string());
    }
    server.wait_for_figure(COUNT_ROWS, 30);
    let rows = "SELECT topic, min(seq), max(seq), count(DISTINCT (epoch, seq)) \
                FROM gridcast_messages GROUP BY topic ORDER BY topic";
    assert_eq!(server.sql(rows), ["pmu/0|1|10|10", "pmu/1|1|10|10", "pmu/2|1|10|10"]);
}

#[test]
fn a_server_that_was_killed_gets_each_message_once() {
    let Some(mut server) = Postgres::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let mut rig = Rig::start(&settings(&server, &path, ""));
    rig.wait_until_up();
    let publish = |rig: &mut Rig, from: u32, to: u32| {
        (from..to).for_each(|n| rig.publish(&format!("pmu/{}", n % 10), &n.to_string()));
    };
    for round in 0..3 {
        publish(&mut rig, round * 10_000, round * 10_000 + 5_000);
        server.kill();
        publish(&mut rig, round * 10_000 + 5_000, round * 10_000 + 10_000);
        server.restart();
        rig.wait_until_up();
    }
    server.wait_for_figure(COUNT_ROWS, 30_000);
    let sum = "SELECT sum(convert_from(payload, 'UTF8')::bigint) FROM gridcast_messages";
    assert_eq!(server.figure(sum), (0..30_000).sum::<u64>());
    assert_eq!(rig.metric("dropped_total"), 0);
}

#[test]
fn a_message_that_the_server_refuses_stops_no_other() {
    let Some(server) = Postgres::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let mut rig = Rig::start(&settings(&server, &path, ""));
    rig.wait_until_up();
    server.sql("ALTER TABLE gridcast_messages ADD CHECK (payload <> 'wrong')");
    for n in 0..1_000 {
        rig.publish("pmu/1", if n % 400 == 7 { "wrong" } else { "right" });
    }
    // These are JSON, but none that jsonb has room for.
    for text in ["\"\\u0000\"", "1e-400000", "{\"a\":\"\\ud800\"}"] {
        rig.publish("pmu/1", text);
    }
    server.wait_for_figure(COUNT_ROWS, 1_000);
    rig.wait_for_metric("dropped_total{reason=\"refused\"}", 3);
    assert_eq!(rig.metric("dropped_total"), 3);
}

#[test]
fn history_is_answered_from_the_table() {
    let Some(mut server) = Postgres::start() else { return };
    let (_directory, path) = password_file(PASSWORD);
    let few = "[[retention.class]]\npattern = \"pmu/1\"\nframes_max = 5\nbytes_max = 4096\n";
    let mut rig = Rig::start(&settings(&server, &path, few));
    rig.wait_until_up();
    const COUNT: u64 = 3_000;
    (0..COUNT).for_each(|n| rig.publish("pmu/1", &format!("{{\"n\":{n}}}")));
    server.wait_for_figure(COUNT_ROWS, COUNT);
    let numbers = |text: &str| -> Vec<u64> {
        let rows = text.lines().filter_map(|line| line.split_once("{\"n\":"));
        rows.map(|(_, rest)| rest.split('}').next().unwrap().parse().unwrap()).collect()
    };
    let all = rig.get("/v1/history/pmu/1?limit=10000");
    let head: String = all.chars().take(1_000).collect();
    assert!(numbers(&all).into_iter().eq(0..COUNT), "stored and kept, once each: {head}");
    let some = rig.get("/v1/history/pmu/1?limit=7");
    assert!(numbers(&some).into_iter().eq(0..7), "{some}");
    server.kill();
    rig.wait_until_down();
    let kept = numbers(&rig.get("/v1/history/pmu/1?limit=10000"));
    assert!(!kept.is_empty() && kept.len() < 1_000, "only what the engine keeps: {}", kept.len());
}

#[test]
fn wrong_credentials_and_a_missing_table_lose_nothing() {
    let Some(server) = Postgres::start() else { return };
    let (_directory, path) = password_file("wrong");
    let without = settings(&server, &path, "").replace("create_table = true", "");
    let mut rig = Rig::start(&without);
    rig.wait_for_metric("errors_total{reason=\"credentials\"}", 1);
    rig.publish("pmu/1", "1");
    std::fs::write(&path, PASSWORD).unwrap();
    rig.wait_for_metric("errors_total{reason=\"refused\"}", 1);
    assert_eq!(rig.metric("up"), 0);
    server.sql(
        "CREATE TABLE gridcast_messages (time timestamptz, topic text, epoch bigint, seq bigint, \
         kind text, payload bytea, payload_json jsonb)",
    );
    server.sql("GRANT INSERT, SELECT ON gridcast_messages TO gridcast");
    server.wait_for_figure(COUNT_ROWS, 1);
}
