//! What administrators meet over real sockets: status, drain, and a listener of their own. Owns who
//! is served where. Must not test how a drain goes on (that is `life`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::Write;
use std::net::TcpStream;

use harness::Server;
use harness::http::{Answer, ask, get, read_answer};

fn ask_over(mut stream: TcpStream, line: &str, headers: &str) -> Answer {
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes()).unwrap();
    read_answer(&mut stream)
}

#[test]
fn the_status_says_how_the_engine_is() {
    let server = Server::start(&[]);
    server.post("t", "x");
    let status = get(&server, "/v1/admin/status").json();
    assert_eq!((&status["ready"], &status["draining"]), (&true.into(), &false.into()));
    assert_eq!((&status["cores"], &status["topics"]), (&2.into(), &1.into()));
    assert!(status["connections"].as_u64().unwrap() > 0, "the asking one: {status}");
}

#[test]
fn a_drain_is_begun_and_its_window_told() {
    let server = Server::start(&[("drain.window_ms", "300"), ("drain.deadline_ms", "9000")]);
    let mut subscriber = server.subscribe("t");
    let answer = ask(&server, b"POST /v1/admin/drain HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(
        (&answer.json()["window_ms"], &answer.json()["deadline_ms"]),
        (&300.into(), &9000.into())
    );
    assert_eq!(subscriber.close().0, 1001);
    let refused = get(&server, "/readyz");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(server.metric("turned_away_total{gate=\"draining\"}") > 0);
    assert_eq!(get(&server, "/v1/admin/status").json()["draining"], true);
    drop(subscriber);
    server.wait_until("drained", |server| server.engine.is_drained());
}

/// A page in an administrator's browser may post without asking first; a proxy on the same machine
/// comes from loopback whoever is behind it.
#[test]
fn pages_and_whoever_is_passed_on_are_no_administrators() {
    let server = Server::start(&[]);
    for header in ["Origin: https://evil.example\r\n", "X-Forwarded-For: 203.0.113.9\r\n"] {
        let answer = ask_over(server.connect(), "POST /v1/admin/drain", header);
        assert_eq!(answer.status, 403, "{header}");
    }
    assert_eq!(get(&server, "/readyz").status, 200, "nothing drains");
    assert_eq!(server.metric("turned_away_total{gate=\"admin\"}"), 2);
    let server = Server::start(&[("security.origins", "https://ops.example")]);
    let listed = "Origin: https://ops.example\r\n";
    assert_eq!(ask_over(server.connect(), "GET /v1/admin/status", listed).status, 200);
}

#[test]
fn a_listener_of_their_own_takes_the_endpoints_from_the_clients() {
    let server = Server::start(&[("admin.listen", "127.0.0.1:0")]);
    for (line, clients, admins) in [
        ("GET /healthz", 200, 200),
        ("GET /readyz", 200, 200),
        ("GET /metrics", 404, 200),
        ("GET /v1/admin/status", 404, 200),
        ("GET /v1/feed/t", 406, 404),
        ("POST /v1/publish/t", 411, 404),
        ("POST /v1/admin/drain", 404, 202),
    ] {
        assert_eq!(ask_over(server.connect(), line, "").status, clients, "{line}");
        assert_eq!(ask_over(server.connect_admin(), line, "").status, admins, "{line}");
    }
}
