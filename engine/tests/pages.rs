//! The pages that are built in, and the list of topics, over real sockets: where they are, with
//! what headers, for whom, and how much one answer may cost. Must not test what a page does in a
//! browser (that is `scripts/pages`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;

use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use harness::http::{Answer, get, post_many, read_answer, read_answer_head};
use harness::{Client, Server};
use serde_json::Value;

const ADMIN: (&str, &str) = ("admin.listen", "127.0.0.1:0");

fn ask_over(mut stream: TcpStream, line: &str, headers: &str) -> Answer {
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes()).unwrap();
    match line.starts_with("HEAD") {
        true => read_answer_head(&mut stream),
        false => read_answer(&mut stream),
    }
}

fn admin_get(server: &Server, path: &str) -> Answer {
    ask_over(server.connect_admin(), &format!("GET {path}"), "")
}

/// A server that asks for tokens: `boss` may administer, `viewer` may subscribe to `pmu/#`.
fn guarded() -> Server {
    let row = |token: &str, admin: bool| {
        let subscribe = if admin { "[]" } else { "[\"pmu/#\"]" };
        format!(
            "[[auth.token]]\nname = \"{token}\"\ntoken = \"{token}-{token}-{token}-{token}\"\n\
             subscribe = {subscribe}\nadmin = {admin}\n"
        )
    };
    let mut settings = Settings::default();
    settings.add_file("tokens.toml", &(row("boss", true) + &row("viewer", false)));
    for (name, value) in [("server.listen", "127.0.0.1:0"), ("server.cores", "1")] {
        settings.add_flag("--set", name, value);
    }
    Server::try_start(Config::new(&settings).unwrap()).unwrap()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}-{token}-{token}-{token}\r\n")
}

#[test]
fn each_page_is_served_where_it_belongs() {
    let server = Server::start(&[ADMIN]);
    for (path, clients, admins) in [
        ("/console", 404, 200),
        ("/pages/console.css", 404, 200),
        ("/pages/console.js", 404, 200),
        ("/wall", 200, 404),
        ("/pages/wall.css", 200, 404),
        ("/pages/wall.js", 200, 404),
        ("/pages/", 404, 404),
        ("/pages/../console", 404, 404),
    ] {
        assert_eq!(get(&server, path).status, clients, "{path}");
        assert_eq!(admin_get(&server, path).status, admins, "{path}");
    }
    let other = get(&server, "/console");
    assert!(other.body.contains("admin.listen"), "where to find it: {other:?}");
}

#[test]
fn a_page_may_do_nothing_but_talk_with_its_server() {
    let server = Server::start(&[ADMIN]);
    for (path, media_type) in [
        ("/wall?tile=dial", "text/html; charset=utf-8"),
        ("/pages/wall.css", "text/css; charset=utf-8"),
        ("/pages/wall.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = get(&server, path);
        assert_eq!(answer.header("content-type"), Some(media_type), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'"] {
            assert!(policy.split("; ").any(|said| said == rule), "{rule}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert!(!answer.body.contains("<style") && !answer.body.contains(" style=\""), "{path}");
        let head = ask_over(server.connect(), &format!("HEAD {path}"), "");
        assert_eq!(head.header("content-length"), answer.header("content-length"), "{path}");
    }
    let refused = ask_over(server.connect(), "POST /wall", "Content-Length: 0\r\n");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn settings_take_the_pages_away() {
    let server = Server::start(&[ADMIN, ("console.enabled", "false"), ("wall.enabled", "false")]);
    for path in ["/wall", "/pages/wall.js"] {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
    assert!(get(&server, "/wall").body.contains("[wall] enabled = true"));
    for path in ["/console", "/pages/console.js", "/v1/ws"] {
        assert_eq!(admin_get(&server, path).status, 404, "{path}");
    }
    assert_eq!(admin_get(&server, "/v1/admin/topics").status, 200, "asked for by programs too");
}

#[test]
fn without_a_listener_of_its_own_the_console_takes_tokens() {
    let open = Server::start(&[]);
    let refused = get(&open, "/console");
    assert_eq!(refused.status, 403, "nobody can be an administrator here");
    assert!(refused.body.contains("admin.listen"), "what to do: {refused:?}");
    assert_eq!(get(&open, "/wall").status, 200);

    let guarded = guarded();
    assert_eq!(get(&guarded, "/console").status, 200, "the page tells nothing");
    for (headers, status) in [(String::new(), 401), (bearer("viewer"), 403), (bearer("boss"), 200)]
    {
        let answer = ask_over(guarded.connect(), "GET /v1/admin/topics", &headers);
        assert_eq!(answer.status, status, "{headers}");
    }
}

#[test]
fn the_console_looks_into_topics_from_where_it_is() {
    let server = Server::start(&[ADMIN]);
    let mut client = Client::over(server.connect_admin(), "/v1/ws");
    client.say(r#"{"id":"a","subscribe":{"topic":"t"}}"#);
    assert!(client.text().contains("subscribed"));
    client.say(r#"{"id":"b","publish":{"topic":"t","data":{"x":1}}}"#);
    let told = [client.text(), client.text()].join("\n");
    assert!(told.contains("published") && told.contains(r#"{"x":1}"#), "{told}");
}

#[test]
fn topics_are_listed_with_how_they_are() {
    let server = Server::start(&[ADMIN]);
    let mut subscriber = server.subscribe("pmu/%23");
    let mut waiting = server.subscribe("pmu/later");
    for n in 0..3 {
        server.post("pmu/1", &format!("message {n}"));
    }
    assert_eq!(subscriber.texts(3).len(), 3);
    let answer = admin_get(&server, "/v1/admin/topics").json();
    assert_eq!(answer["next"], Value::Null);
    let topics = answer["topics"].as_array().unwrap();
    assert_eq!(topics.len(), 2, "{answer}");
    let (used, awaited) = (&topics[0], &topics[1]);
    assert_eq!((&used["topic"], &used["seq"]), (&"pmu/1".into(), &3.into()));
    assert_eq!((&used["messages"], &used["subscribers"]), (&3.into(), &1.into()));
    assert!(used["bytes"].as_u64().unwrap() >= 27, "{used}");
    assert!(used["rate_per_s"].as_f64().unwrap() > 0.0, "{used}");
    assert!(used["time_ms"].as_u64().unwrap() > 1_700_000_000_000, "{used}");
    assert_eq!(used["epoch"].as_str().unwrap(), server.epoch("pmu/1", "one more"));
    assert_eq!((&awaited["topic"], &awaited["time_ms"]), (&"pmu/later".into(), &Value::Null));
    drop(waiting.socket.close(None));
}

fn names(answer: &Value) -> Vec<&str> {
    let topics = answer["topics"].as_array().unwrap();
    topics.iter().map(|topic| topic["topic"].as_str().unwrap()).collect()
}

#[test]
fn topics_are_searched_and_paged() {
    let server = Server::start(&[ADMIN]);
    for topic in ["grid/a", "grid/b", "grid/b/json", "plant/Boiler", "plant/fan"] {
        server.post(topic, "x");
    }
    for (query, expected) in [
        ("", vec!["grid/a", "grid/b", "grid/b/json", "plant/Boiler", "plant/fan"]),
        ("?search=boil", vec!["plant/Boiler"]),
        ("?search=grid/%2B", vec!["grid/a", "grid/b"]),
        ("?search=grid/%23&after=grid/a", vec!["grid/b", "grid/b/json"]),
        ("?search=nothing", vec![]),
    ] {
        let answer = admin_get(&server, &format!("/v1/admin/topics{query}")).json();
        assert_eq!((names(&answer), &answer["next"]), (expected, &Value::Null), "{query}");
    }
    let first = admin_get(&server, "/v1/admin/topics?limit=2").json();
    assert_eq!((names(&first), &first["next"]), (vec!["grid/a", "grid/b"], &"grid/b".into()));
    let rest = admin_get(&server, "/v1/admin/topics?limit=9&after=grid/b").json();
    assert_eq!((names(&rest).len(), &rest["next"]), (3, &Value::Null));
    for query in ["limit=0", "limit=1001", "search=a%23", "nope=1"] {
        let refused = admin_get(&server, &format!("/v1/admin/topics?{query}"));
        assert_eq!(refused.status, 400, "{query}");
    }
}

/// Whoever searches among very many topics in vain is answered after some of them, and goes on.
#[test]
fn one_answer_looks_at_a_bounded_number_of_topics() {
    const TOPICS: usize = 10_000;
    let server = Server::start(&[ADMIN]);
    for chunk in (0..TOPICS).collect::<Vec<_>>().chunks(2_000) {
        let mut lines = String::new();
        for n in chunk {
            writeln!(lines, r#"{{"topic":"t/{n:05}","data":0}}"#).unwrap();
        }
        assert_eq!(post_many(&server, &lines).status, 200);
    }
    let (mut after, mut answers, mut found) = (String::new(), 0, 0);
    loop {
        let path = format!("/v1/admin/topics?search=t/09999{after}");
        let answer = admin_get(&server, &path).json();
        (answers, found) = (answers + 1, found + names(&answer).len());
        let Some(next) = answer["next"].as_str() else { break };
        after = format!("&after={next}");
        assert!(answers < 100, "never at the end");
    }
    assert_eq!((found, answers), (1, 3), "4,096 a time");
    let most = admin_get(&server, "/v1/admin/topics?limit=1000").json();
    assert_eq!(names(&most).len(), 1_000);
}
