//! What administrators meet over real sockets: status, drain, and a listener of their own. Owns who
//! is served where. Must not test how a drain goes on (that is `life`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::Write;
use std::net::TcpStream;

use harness::Server;
use harness::http::{Answer, get, read_answer};

fn ask_over(mut stream: TcpStream, line: &str, headers: &str) -> Answer {
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes()).unwrap();
    read_answer(&mut stream)
}

const ADMIN: (&str, &str) = ("admin.listen", "127.0.0.1:0");

fn post_drain(server: &Server, headers: &str) -> Answer {
    ask_over(server.connect_admin(), "POST /v1/admin/drain", headers)
}

#[test]
fn the_status_says_how_the_engine_is() {
    let server = Server::start(&[ADMIN]);
    server.post("t", "x");
    let status = ask_over(server.connect_admin(), "GET /v1/admin/status", "").json();
    assert_eq!((&status["ready"], &status["draining"]), (&true.into(), &false.into()));
    assert_eq!((&status["cores"], &status["topics"]), (&2.into(), &1.into()));
    assert!(status["connections"].as_u64().unwrap() > 0, "the asking one: {status}");
}

#[test]
fn a_drain_is_begun_and_its_window_told() {
    let server = Server::start(&[ADMIN, ("drain.window_ms", "300"), ("drain.deadline_ms", "9000")]);
    let mut subscriber = server.subscribe("t");
    let answer = post_drain(&server, "");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(
        (&answer.json()["window_ms"], &answer.json()["deadline_ms"]),
        (&300.into(), &9000.into())
    );
    assert_eq!(subscriber.close().0, 1001);
    let refused = get(&server, "/readyz");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(server.metric("turned_away_total{gate=\"draining\"}") > 0);
    let status = ask_over(server.connect_admin(), "GET /v1/admin/status", "");
    assert_eq!(status.json()["draining"], true);
    drop(subscriber);
    server.wait_until("drained", |server| server.engine.is_drained());
}

/// A proxy on this machine connects from loopback for whoever is behind it, and need not say so.
#[test]
fn an_address_alone_makes_nobody_an_administrator() {
    let server = Server::start(&[]);
    for (line, headers) in [
        ("POST /v1/admin/drain", ""),
        ("GET /v1/admin/status", ""),
        ("POST /v1/admin/drain", "X-Forwarded-For: 127.0.0.1\r\n"),
        ("POST /v1/admin/drain", "X-Real-IP: 203.0.113.9\r\n"),
        ("POST /v1/admin/drain", "Forwarded: for=203.0.113.9\r\n"),
    ] {
        let answer = ask_over(server.connect(), line, headers);
        assert_eq!(answer.status, 403, "{line} {headers}");
        assert!(answer.body.contains("admin.listen"), "what to do: {answer:?}");
    }
    assert_eq!(get(&server, "/readyz").status, 200, "nothing drains");
    assert_eq!(server.metric("turned_away_total{gate=\"admin\"}"), 5);
}

/// A page in an administrator's browser may post to this machine without asking first.
#[test]
fn pages_of_other_sites_are_no_administrators() {
    for origins in ["", "https://ops.example"] {
        let server = Server::start(&[ADMIN, ("security.origins", origins)]);
        for headers in [
            "Origin: https://evil.example\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "sec-fetch-site:  Cross-Site\r\n",
            "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
            "Origin: https://ops.example\r\nSec-Fetch-Site: cross-site\r\n",
        ] {
            assert_eq!(post_drain(&server, headers).status, 403, "{origins} {headers}");
        }
        for headers in ["Sec-Fetch-Site: none\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
            let answer = ask_over(server.connect_admin(), "GET /v1/admin/status", headers);
            assert_eq!(answer.status, 200, "{origins} {headers}");
        }
    }
    let server = Server::start(&[ADMIN, ("security.origins", "https://ops.example")]);
    assert_eq!(post_drain(&server, "Origin: https://ops.example\r\n").status, 202);
}

#[test]
fn a_listener_of_their_own_takes_the_endpoints_from_the_clients() {
    let server = Server::start(&[("admin.listen", "127.0.0.1:0")]);
    for (line, clients, admins) in [
        ("GET /healthz", 200, 200),
        ("GET /readyz", 200, 200),
        ("GET /metrics", 404, 200),
        ("GET /v1/admin/status", 404, 200),
        ("GET /v1/feed/t", 200, 404),
        ("POST /v1/publish/t", 411, 404),
        ("POST /v1/admin/drain", 404, 202),
    ] {
        assert_eq!(ask_over(server.connect(), line, "").status, clients, "{line}");
        assert_eq!(ask_over(server.connect_admin(), line, "").status, admins, "{line}");
    }
}
