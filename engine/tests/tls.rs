//! TLS over real sockets and with rustls's own client: what is negotiated, who is let in, and that
//! everything else is as without it. Owns the certificates' life: issued, replaced, broken. Must
//! not test what happens inside TLS (that is rustls's business).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;

use gridcast::engine::StartError;
use gridcast::settings::config::Config;
use harness::certificates::{Authority, Issued, Secure, secure, session};
use harness::{Client, Overrides, Server, Told, config, http};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error};

/// A server of TLS and the authority of its certificate.
struct World {
    authority: Authority,
    server: Server,
    client: Arc<ClientConfig>,
}

impl World {
    fn new(overrides: Overrides<'_>) -> Self {
        let authority = Authority::new();
        let client = authority.client(&[&TLS13], None);
        let server = Server::try_start(settings(&authority, overrides)).unwrap();
        Self { authority, server, client }
    }

    fn connect(&self) -> Secure {
        secure(self.server.connect(), &self.client)
    }

    fn websocket(&self, path: &str) -> Client<Secure> {
        Client::over(self.connect(), path)
    }

    /// Waits until so many handshakes have failed for `reason`.
    fn wait_for_failures(&self, reason: &str, count: u64) {
        let name = format!("tls_handshakes_failed_total{{reason=\"{reason}\"}}");
        self.server.wait_for(&name, count);
    }
}

/// The settings of a server with a certificate of `authority`.
fn settings(authority: &Authority, overrides: Overrides<'_>) -> Config {
    let issued = authority.issue();
    let certificate = authority.file("certificate.pem", &issued.certificate);
    let key = authority.file("key.pem", &issued.key);
    let mut all = vec![("tls.certificate", certificate.as_str()), ("tls.key", &key)];
    all.extend_from_slice(overrides);
    config(&all)
}

/// The handshake, and the first byte that it takes to hear of a refusal.
fn shake_hands(mut stream: Secure) -> io::Result<Secure> {
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    Ok(stream)
}

/// The alert that a server refused with.
fn alert(refused: io::Result<Secure>) -> Option<AlertDescription> {
    let Err(error) = refused else { panic!("let in") };
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => Some(*alert),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_versions_carry_feeds_and_agree_on_http() {
    let world = World::new(&[]);
    for (version, count) in [(&TLS12, 1), (&TLS13, 2)] {
        let mut client = Arc::unwrap_or_clone(world.authority.client(&[version], None));
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = Arc::new(client);
        let connect = || secure(world.server.connect(), &client);
        let mut subscriber = Client::over(connect(), "/v1/feed/t");
        let session = &subscriber.socket.get_ref().conn;
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let mut publisher = Client::over(connect(), "/v1/publish/t");
        publisher.say("hello");
        assert_eq!(subscriber.text(), "hello");
        world.server.wait_for("tls_handshakes_total", 2 * count);
    }
}

#[test]
fn a_client_of_another_protocol_is_told_so() {
    let world = World::new(&[]);
    let mut client = (*world.client).clone();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let refused = shake_hands(secure(world.server.connect(), &Arc::new(client)));
    assert_eq!(alert(refused), Some(AlertDescription::NoApplicationProtocol));
    world.wait_for_failures("incompatible", 1);
}

#[test]
fn a_client_that_does_not_trust_us_is_counted() {
    let world = World::new(&[]);
    let stranger = Authority::new().client(&[&TLS13], None);
    assert!(shake_hands(secure(world.server.connect(), &stranger)).is_err());
    world.wait_for_failures("refused", 1);
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let trusted = Authority::new();
    let ca = trusted.file("ca.pem", &trusted.certificate());
    for (client_auth, without_is_in) in [("optional", true), ("required", false)] {
        let overrides = [("tls.client_ca", ca.as_str()), ("tls.client_auth", client_auth)];
        let world = World::new(&overrides);
        for version in [&TLS12, &TLS13] {
            let try_with = |issued: Option<&Issued>| {
                let client = world.authority.client(&[version], issued);
                shake_hands(secure(world.server.connect(), &client))
            };
            assert!(try_with(Some(&trusted.issue())).is_ok(), "{client_auth} {version:?}");
            assert!(try_with(Some(&Authority::new().issue())).is_err(), "{client_auth}");
            assert_eq!(try_with(None).is_ok(), without_is_in, "{client_auth} {version:?}");
        }
        world.wait_for_failures("certificate", if without_is_in { 2 } else { 4 });
        assert_eq!(
            world.server.connections(),
            world.server.metric("connections{role=\"request\"}")
        );
    }
}

#[test]
fn plain_http_on_a_tls_port_is_answered_in_its_own_words() {
    let world = World::new(&[]);
    let answer = http::get(&world.server, "/healthz");
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("this port speaks TLS"), "{answer:?}");
    world.wait_for_failures("not_tls", 1);
}

#[test]
fn what_is_no_tls_is_ended_and_counted() {
    let world = World::new(&[]);
    for (count, junk) in
        [&b"\x00\x01\x02\x03\x04\x05\x06"[..], b"hello, is anybody there?"].into_iter().enumerate()
    {
        let mut stream = world.server.connect();
        stream.write_all(junk).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.first(), Some(&0x15), "an alert: {rest:?}");
        world.wait_for_failures("protocol", count as u64 + 1);
    }
    assert!(shake_hands(world.connect()).is_ok());
}

#[test]
fn tls_on_a_plain_port_is_refused_and_hurts_nobody() {
    let server = Server::start(&[]);
    let client = Authority::new().client(&[&TLS13], None);
    assert!(shake_hands(secure(server.connect(), &client)).is_err());
    assert_eq!(http::get(&server, "/healthz").status, 200);
}

#[test]
fn handshakes_that_do_not_come_are_timed_out() {
    let world = World::new(&[("limits.handshake_ms_max", "200")]);
    let mut silent = world.server.connect();
    let mut begun = world.server.connect();
    begun.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    for stream in [&mut silent, &mut begun] {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "ended");
    }
    world.wait_for_failures("timeout", 2);
}

#[test]
fn who_leaves_during_the_handshake_is_counted() {
    let world = World::new(&[]);
    drop(world.server.connect());
    world.wait_for_failures("gone", 1);
    world.server.wait_until("left", |server| server.connections() == 0);
}

#[test]
fn a_session_ends_in_good_order() {
    let world = World::new(&[]);
    let mut client = world.websocket("/v1/feed/t");
    client.socket.close(None).unwrap();
    assert_eq!(client.close().0, 1005);
    let mut rest = Vec::new();
    // rustls reports an end without close_notify as an error.
    let ended = client.socket.get_mut().read_to_end(&mut rest);
    assert!(ended.is_ok(), "{ended:?}");
    let mut stream = world.connect();
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"ok\n"));
}

/// A message that no other is like.
fn message(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (number.wrapping_mul(31) + at.wrapping_mul(7)) as u8).collect()
}

#[test]
fn large_messages_pass_through_narrow_sockets_whole() {
    const BYTES: usize = 1 << 20;
    let world = World::new(&[
        ("retention.bytes_max", "67108864"),
        ("flush.send_buffer_bytes", "16384"),
        ("limits.message_bytes_max", "2097152"),
    ]);
    let narrow = secure(world.server.connect_narrow(), &world.client);
    let mut subscriber = Client::over(narrow, "/v1/feed/t");
    let mut publisher = world.websocket("/v1/publish/t");
    for number in 0..4 {
        publisher.say_bytes(&message(number, BYTES + number));
    }
    for number in 0..4 {
        assert_eq!(subscriber.next(), Told::Binary(message(number, BYTES + number)));
    }
    assert!(world.server.metric("writes_partial_total") > 0);
    world.server.wait_for("connections_lagging", 0);
}

/// As in the tests of lag without TLS: 1 MB for a client that does not read, where 64 KiB are kept.
const NARROW: Overrides<'_> =
    &[("retention.bytes_max", "65536"), ("flush.send_buffer_bytes", "16384")];
const FRAMES: u64 = 1000;

fn numbered(number: u64) -> String {
    format!("{number} {}", "x".repeat(1000))
}

fn number(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

fn stalled(world: &World, feed: &str) -> Client<Secure> {
    let narrow = secure(world.server.connect_narrow(), &world.client);
    let stalled = Client::over(narrow, &format!("/v1/feed/{feed}"));
    let mut healthy = world.websocket("/v1/feed/t");
    let mut publisher = world.websocket("/v1/publish/t");
    for sent in 1..=FRAMES {
        publisher.say(&numbered(sent));
        assert_eq!(number(&healthy.text()), sent, "who reads loses nothing");
    }
    stalled
}

#[test]
fn a_stalled_subscriber_is_told_what_it_missed() {
    let world = World::new(NARROW);
    let mut stalled = stalled(&world, "t");
    world.server.wait_until("lagged", |server| server.closing("lagged") == 1);
    let mut next = 1;
    let (code, reason) = loop {
        match stalled.next() {
            Told::Text(text) => assert_eq!(number(&text), next, "in order up to the end"),
            Told::Close(code, reason) => break (code, reason),
            other => panic!("{other:?}"),
        }
        next += 1;
    };
    assert_eq!(code, 4409);
    assert!(reason.starts_with(&format!("missed {next}-")), "{next}: {reason}");
}

#[test]
fn who_skips_is_told_of_every_gap_and_gets_all_the_rest() {
    let world = World::new(NARROW);
    let mut stalled = stalled(&world, "t?lag=skip-to-oldest");
    let (mut next, mut missed) = (1, 0);
    while next <= FRAMES {
        match stalled.next() {
            Told::Text(text) => {
                assert_eq!(number(&text), next);
                next += 1;
            }
            Told::Ping(text) => {
                let notice: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(notice["gap"]["from"], next, "{text}");
                let to = notice["gap"]["to"].as_u64().unwrap();
                missed += to + 1 - next;
                next = to + 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 0);
    world.server.wait_for("gap_frames_total", missed);
}

#[test]
fn one_that_takes_nothing_is_cut_and_leaves_nothing() {
    let world = World::new(&[
        ("flush.send_buffer_bytes", "16384"),
        ("flush.lag_age_ms_max", "200"),
        ("keepalive.close_timeout_ms", "100"),
    ]);
    let _stalled = stalled(&world, "t");
    world.server.wait_until("stalled", |server| server.closing("stalled") == 1);
    world.server.wait_until("cut", |server| server.connections() == 0);
}

#[test]
fn a_new_certificate_touches_no_connection() {
    let mut world = World::new(&[]);
    let mut old = world.websocket("/v1/feed/t");
    let other = Authority::new();
    let issued = other.issue();
    world.authority.file("certificate.pem", &issued.certificate);
    assert!(world.server.engine.reload_tls().unwrap_err().to_string().contains("tls.key"));
    assert!(shake_hands(world.connect()).is_ok(), "a broken pair leaves the old one in force");
    world.authority.file("key.pem", &issued.key);
    world.server.engine.reload_tls().unwrap();
    world.client = other.client(&[&TLS12, &TLS13], None);
    world.websocket("/v1/publish/t").say("still here");
    assert_eq!(old.text(), "still here");
}

#[test]
fn a_changed_file_is_found_by_itself_and_a_broken_one_does_no_harm() {
    let mut world = World::new(&[]);
    world.authority.file("certificate.pem", "no certificate");
    world.server.engine.tidy();
    assert!(shake_hands(world.connect()).is_ok());
    let other = Authority::new();
    let issued = other.issue();
    world.authority.file("key.pem", &issued.key);
    world.authority.file("certificate.pem", &issued.certificate);
    world.server.engine.tidy();
    world.client = other.client(&[&TLS13], None);
    world
        .server
        .wait_until("the new certificate is shown", |_| shake_hands(world.connect()).is_ok());
}

#[test]
fn an_engine_does_not_start_with_files_it_cannot_use() {
    let authority = Authority::new();
    let good = settings(&authority, &[]);
    let mut missing = good.clone();
    missing.tls.certificate = "nowhere.pem".into();
    let mut no_key = good.clone();
    no_key.tls.key = good.tls.certificate.clone();
    let mut no_pair = good.clone();
    no_pair.tls.key = authority.file("other.pem", &authority.issue().key).into();
    for (config, part) in [
        (missing, "tls.certificate = \"nowhere.pem\": cannot be read"),
        (no_key, "it must hold one private key"),
        (no_pair, "is not the key of the first certificate"),
    ] {
        match Server::try_start(config) {
            Err(StartError::Settings(error)) => {
                assert!(error.to_string().contains(part), "{error}")
            }
            other => panic!("{part}: {:?}", other.map(|_| "started")),
        }
    }
}

#[test]
fn a_storm_of_handshakes_does_not_stop_delivery() {
    const CLIENTS: u64 = 2000;
    let world = World::new(&[("tls.handshakes_per_turn", "1"), ("limits.handshake_ms_max", "300")]);
    let mut healthy = world.websocket("/v1/feed/t");
    let mut publisher = world.websocket("/v1/publish/t");
    // Begun faster than they are answered, so that the queue gets longer than the time of each; and
    // each goes on as soon as its turn has come.
    let sessions: Vec<_> = (0..CLIENTS).map(|_| session(&world.client)).collect();
    let begin = |session| {
        let mut stream = Secure::new(session, world.server.connect());
        stream.conn.write_tls(&mut stream.sock).unwrap();
        thread::spawn(move || shake_hands(stream).map(drop))
    };
    let storm: Vec<_> = sessions.into_iter().map(begin).collect();
    for number in 1..=100 {
        publisher.say(&number.to_string());
        assert_eq!(healthy.text(), number.to_string());
    }
    for client in storm {
        client.join().unwrap().expect("its turns came, and in time");
    }
    world.server.wait_for("tls_handshakes_total", CLIENTS + 2);
}

#[test]
fn one_too_many_is_told_so_after_its_handshake() {
    let world = World::new(&[("limits.connections_max", "1")]);
    let _first = world.websocket("/v1/feed/t");
    let mut second = world.connect();
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn a_session_that_breaks_ends() {
    let world = World::new(&[]);
    let mut stream = shake_hands(world.connect()).unwrap();
    // A record whose tag is wrong.
    let mut record = vec![0x17, 0x03, 0x03, 0x00, 0x20];
    record.extend([7; 32]);
    stream.sock.write_all(&record).unwrap();
    let broken = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_ne!(broken.kind(), ErrorKind::WouldBlock, "within the deadline");
    world.server.wait_until("ended", |server| server.connections() == 0);
}
