//! The program as it is started from a shell: its words, its exit codes, its signals. Owns what
//! only a process of its own can show. Must not test what settings mean.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use gridcast::settings::table::{KNOBS, Kind, Knob};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};

fn gridcast(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridcast"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Output, String, String) {
    let output = gridcast(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

fn settings(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gridcast.toml");
    std::fs::write(&path, text).unwrap();
    let name = path.to_str().unwrap().to_owned();
    (dir, name)
}

#[test]
fn help_is_the_first_page_of_the_manual() {
    let (output, out, err) = run(&["--help"]);
    assert!(output.status.success() && err.is_empty(), "{err}");
    for word in ["/v1/feed/{topic or pattern}", "--listen", "--set", "config", "close-codes"] {
        assert!(out.contains(word), "{word} in\n{out}");
    }
}

#[test]
fn a_wrong_key_is_named_with_the_nearest_right_one() {
    let (_dir, path) = settings("[limits]\nmesage_bytes_max = 5\n");
    let (output, _, err) = run(&["config", "--check", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("mesage_bytes_max"), "{err}");
    assert!(err.contains("did you mean `limits.message_bytes_max`"), "{err}");
    assert!(err.lines().all(|line| line.starts_with("gridcast: ")), "{err}");
}

#[test]
fn a_right_file_is_valid() {
    let (_dir, path) = settings("[limits]\nmessage_bytes_max = 5\n");
    let (output, out, _) = run(&["config", "--check", &path]);
    assert!(output.status.success());
    assert_eq!(out, "settings are valid\n");
}

#[test]
fn printed_settings_say_where_they_came_from_and_can_be_used_again() {
    let (_dir, path) = settings("[limits]\nmessage_bytes_max = 5\n");
    let (output, out, _) = run(&["--config", &path, "--cores", "3", "config", "--print"]);
    assert!(output.status.success());
    assert!(out.contains("message_bytes_max = 5\n") && out.contains("cores = 3\n"), "{out}");
    assert!(out.contains("--cores") && out.contains(&path), "origins in\n{out}");
    let (_dir, again) = settings(&out);
    let (output, _, err) = run(&["config", "--check", &again]);
    assert!(output.status.success(), "{err}");
}

#[test]
fn listening_where_somebody_else_does_fails_in_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (output, _, err) = run(&["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(&address) && err.contains("another process has it"), "{err}");
}

/// A serving process, killed at the end of its test.
struct Serving {
    child: Child,
    lines: std::io::Lines<BufReader<PipeReader>>,
    /// The end of the pipe that the process writes to.
    log: Option<PipeWriter>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let common = ["--listen", "127.0.0.1:0", "--cores", "2", "--log", "json"];
        Self::spawn(gridcast(&[&common, arguments].concat()))
    }

    /// One core that may have so many descriptors in all.
    fn start_with_descriptors(limit: u32) -> Self {
        let mut command = Command::new("sh");
        let serve = "--listen 127.0.0.1:0 --cores 1 --log json";
        let program = env!("CARGO_BIN_EXE_gridcast");
        command.args(["-c", &format!("ulimit -n {limit} && exec '{program}' {serve}")]);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let (said, saying) = std::io::pipe().unwrap();
        let log = saying.try_clone().unwrap();
        let child = command.stderr(saying).stdout(Stdio::null()).spawn().unwrap();
        // It holds the other end of the pipe as well, and would keep it open.
        drop(command);
        let mut lines = BufReader::new(said).lines();
        let (address, admin) = loop {
            let line = lines.next().expect("a line that it listens").unwrap();
            let said: serde_json::Value = serde_json::from_str(&line).unwrap();
            if said["message"] == "listening" {
                let address = |name: &str| said[name].as_str().map(|text| text.parse().unwrap());
                break (address("address").unwrap(), address("admin"));
            }
        };
        Self { child, lines, log: Some(log), address, admin }
    }

    fn connect(&self, request: &str) -> TcpStream {
        connect(self.address, request)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for a line with this message.
    fn said(&mut self, message: &str) -> serde_json::Value {
        self.log = None;
        let lines = self.lines.by_ref().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let mut said = lines.filter(|said: &serde_json::Value| said["message"] == message);
        said.next().unwrap_or_else(|| panic!("ended before it said {message:?}"))
    }

    /// Fills the pipe that log lines go to, and keeps it full until somebody reads.
    fn fill_log(&mut self) {
        let mut log = self.log.take().unwrap();
        let (full, filled) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // What is written fits byte by byte until nothing does.
            while log.write_all(b"\n").is_ok() {
                if full.send(()).is_err() {
                    return;
                }
            }
        });
        while filled.recv_timeout(Duration::from_millis(300)).is_ok() {}
    }

    /// Waits for the end without reading a line; none if it does not come.
    fn end_unread(mut self) -> Option<i32> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Waits for the end; answers the exit code and what was said until then.
    fn end(mut self) -> (Option<i32>, String) {
        self.log = None;
        let said: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        (self.child.wait().unwrap().code(), said.join("\n"))
    }
}

fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Already ended is what a passing test leaves behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn no_token_is_ever_written_anywhere() {
    let token = "token-that-nobody-sees";
    let row = format!("[[auth.token]]\nname = \"wall\"\ntoken = \"{token}\"\n");
    let (_dir, path) = settings(&row);
    let (output, out, err) = run(&["--config", &path, "config", "--print"]);
    assert!(output.status.success() && out.contains("token = \"***\""), "{out}");
    assert!(!out.contains(token) && !err.contains(token), "{out}{err}");
    let serving = Serving::start(&["--config", &path, "--set", "log.level=trace"]);
    for (target, header) in [
        (format!("/v1/feed/a?token={token}"), String::new()),
        (format!("/v1/feed/a?token={token}&token={token}"), String::new()),
        ("/v1/feed/a".to_owned(), format!("Authorization: Bearer {token}\r\n")),
        (format!("/v1/feed/a?token={token}wrong"), "Accept: text/event-stream\r\n".to_owned()),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{header}\r\n");
        let mut answer = String::new();
        serving.connect(&request).read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains(token), "{answer}");
    }
    serving.signal(Signal::TERM);
    let (code, said) = serving.end();
    assert_eq!(code, Some(0));
    assert!(said.contains("listening") || said.contains("stopped"), "{said}");
    assert!(!said.contains(token), "{said}");
}

/// All of it at once, each with its key and its path, and in the words of a start.
#[test]
fn checking_settings_opens_every_file_they_name_as_a_start_does() {
    let row = "[[auth.token]]\nname = \"a\"\ntoken_file = \"/nowhere/token\"\n";
    let (_dir, path) = settings(row);
    let files = KNOBS.iter().filter(|knob| matches!(knob.kind, Kind::Path)).map(Knob::name);
    let files: Vec<String> = files.collect();
    let mut arguments = vec!["--listen=127.0.0.1:0".to_owned(), format!("--config={path}")];
    arguments.push("--set=tls.client_auth=required".to_owned());
    arguments.extend(files.iter().map(|name| format!("--set={name}=/nowhere/{name}")));
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (started, _, at_start) = run(&arguments);
    arguments.extend(["config", "--check"]);
    let (checked, out, err) = run(&arguments);
    assert_eq!((started.status.code(), checked.status.code()), (Some(1), Some(2)));
    assert_eq!((err.as_str(), out.as_str()), (at_start.as_str(), ""));
    for name in &files {
        let told = format!("gridcast: {name} = \"/nowhere/{name}\": cannot be read: ");
        assert!(err.contains(&told), "{told} in\n{err}");
    }
    let told = "gridcast: auth.token \"a\": token_file = \"/nowhere/token\": cannot be read: ";
    assert!(err.contains(told), "{err}");
    assert_eq!(err.lines().count(), files.len() + 1, "{err}");
}

#[test]
fn checking_settings_compares_certificate_and_key_and_looks_at_their_age() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(vec!["engine.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = write("certificate.pem", &params.self_signed(&key).unwrap().pem());
    let (key, other) = (key.serialize_pem(), other.serialize_pem());
    let (key, other) = (write("key.pem", &key), write("other.pem", &other));
    let check = |key: &str| {
        let certificate = format!("--set=tls.certificate={certificate}");
        run(&[&certificate, &format!("--set=tls.key={key}"), "config", "--check"])
    };
    let (output, _, err) = check(&other);
    assert_eq!(output.status.code(), Some(2));
    let told = format!("tls.key = \"{other}\": it is not the key of the first certificate");
    assert!(err.contains(&told) && err.contains(&certificate), "{err}");
    let (output, out, err) = check(&key);
    assert!(output.status.success() && out == "settings are valid\n", "{err}");
    assert!(err.contains("tls.certificate has expired"), "{err}");
}

/// The kernel completes connections whether or not the engine has a descriptor for them: those that
/// wait must be served once others have gone, with no newcomer to remind it.
#[test]
fn running_out_of_descriptors_is_recovered_from() {
    let serving = Serving::start_with_descriptors(40);
    let request = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut connections: Vec<_> = (0..60).map(|_| serving.connect("")).collect();
    let mut last = connections.pop().unwrap();
    last.write_all(request.as_bytes()).unwrap();
    drop(connections);
    let mut status = [0; 15];
    last.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    serving.signal(Signal::TERM);
    drop(last);
    let (code, said) = serving.end();
    assert_eq!(code, Some(0));
    assert!(said.contains("cannot accept"), "{said}");
}

const QUICK: [&str; 4] = ["--set", "drain.window_ms=0", "--set", "drain.deadline_ms=60000"];

#[test]
fn a_signal_drains_and_the_exit_is_clean() {
    for signal in [Signal::TERM, Signal::INT] {
        let serving = Serving::start(&QUICK);
        let request = "GET /v1/feed/a HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
        let mut events = serving.connect(request);
        let mut head = [0; 15];
        events.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        serving.signal(signal);
        let mut rest = String::new();
        events.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("event: close\ndata: {\"code\":1001,"), "{rest}");
        assert!(rest.ends_with("00000000\r\n\r\n"), "{rest}");
        drop(events);
        let (code, said) = serving.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("\"draining\"") && said.contains("\"stopped\""), "{said}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let serving = Serving::start(&QUICK);
    let websocket = "GET /v1/feed/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    let mut silent = serving.connect(websocket);
    let mut head = [0; 12];
    silent.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    serving.signal(Signal::TERM);
    let mut rest = Vec::new();
    while !rest.ends_with(b" ms") {
        let mut byte = [0];
        silent.read_exact(&mut byte).unwrap();
        rest.push(byte[0]);
    }
    // Its close is not answered, so that without the second signal this would take a minute.
    serving.signal(Signal::TERM);
    let (code, said) = serving.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("second signal"), "{said}");
}

/// A change of a file is taken up at SIGHUP, as far as that can be; a broken file changes nothing.
#[test]
fn a_hangup_has_the_settings_read_again() {
    let (_dir, path) = settings("[log]\nlevel = \"info\"\n");
    let mut serving = Serving::start(&["--config", &path]);
    let echo = "GET /v1/echo HTTP/1.1\r\nHost: h\r\n\r\n";
    let status = |serving: &Serving| {
        let mut status = [0; 12];
        serving.connect(echo).read_exact(&mut status).unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    assert_eq!(status(&serving), "HTTP/1.1 404", "echo is off");
    std::fs::write(&path, "[debug]\necho = true\n[limits]\ntopics_max = 7\n").unwrap();
    serving.signal(Signal::HUP);
    let changed = serving.said("setting changed");
    assert_eq!((&changed["name"], &changed["to"]), (&"debug.echo".into(), &"true".into()));
    serving.said("settings read again");
    assert_eq!(status(&serving), "HTTP/1.1 426", "echo is on");
    std::fs::write(&path, "[debug]\necho = 5\n[limits]\ntopics_max = 7\n").unwrap();
    serving.signal(Signal::HUP);
    let wrong = serving.said("settings stay as they were");
    assert!(wrong["error"].as_str().unwrap().contains("debug.echo"), "{wrong}");
    std::fs::write(&path, "[debug]\necho = true\n[log]\nlevel = \"error\"\n").unwrap();
    serving.signal(Signal::HUP);
    assert_eq!(serving.said("setting changed")["name"], "log.level");
    assert_eq!(status(&serving), "HTTP/1.1 426", "and goes on");
    serving.signal(Signal::TERM);
    let (code, said) = serving.end();
    assert_eq!((code, said.as_str()), (Some(0), ""), "less is told now");
}

#[test]
fn a_hangup_brings_new_tokens_and_takes_old_ones_away() {
    let row = |token: &str| format!("[[auth.token]]\nname = \"a\"\ntoken = \"{token}\"\n");
    let (_dir, path) = settings(&row("the-first-of-two-tokens"));
    let mut serving = Serving::start(&["--config", &path]);
    let status = |serving: &Serving, token: &str| {
        let mut status = [0; 12];
        let request = format!("GET /v1/feed/a?token={token} HTTP/1.1\r\nHost: h\r\n");
        let request = request + "Accept: text/event-stream\r\n\r\n";
        serving.connect(&request).read_exact(&mut status).unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    assert_eq!(status(&serving, "the-first-of-two-tokens"), "HTTP/1.1 403");
    assert_eq!(status(&serving, "another-token-after-it"), "HTTP/1.1 401");
    std::fs::write(&path, row("another-token-after-it")).unwrap();
    serving.signal(Signal::HUP);
    serving.said("tokens and keys read again");
    assert_eq!(status(&serving, "the-first-of-two-tokens"), "HTTP/1.1 401");
    assert_eq!(status(&serving, "another-token-after-it"), "HTTP/1.1 403");
    std::fs::write(&path, row("too-short")).unwrap();
    serving.signal(Signal::HUP);
    let stay = serving.said("the tokens and keys of before stay in force");
    assert!(stay["error"].as_str().is_some_and(|error| error.contains("9 bytes")), "{stay}");
    assert_eq!(status(&serving, "another-token-after-it"), "HTTP/1.1 403");
}

#[test]
fn what_needs_a_restart_is_told_by_name() {
    let (_dir, path) = settings("");
    let mut serving = Serving::start(&["--config", &path]);
    std::fs::write(&path, "[limits]\ntopics_max = 7\n").unwrap();
    serving.signal(Signal::HUP);
    let told = serving.said("setting changed: needs a restart");
    assert_eq!((&told["name"], &told["to"]), (&"limits.topics_max".into(), &"7".into()));
}

/// An orchestrator that asks for a drain and then sends SIGTERM must not cut it short.
#[test]
fn a_drain_that_was_asked_for_ends_the_program_and_a_signal_does_not_cut_it() {
    let admin_too = [&QUICK[..], &["--set", "admin.listen=127.0.0.1:0"]].concat();
    let serving = Serving::start(&admin_too);
    let request = "GET /v1/feed/a HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n";
    let mut events = serving.connect(request);
    let mut head = [0; 15];
    events.read_exact(&mut head).unwrap();
    let admin = serving.admin.expect("an administrators' address");
    let mut admin = connect(admin, "POST /v1/admin/drain HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut answer = String::new();
    admin.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    serving.signal(Signal::TERM);
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("00000000\r\n\r\n"), "{rest}");
    drop((events, admin));
    let (code, said) = serving.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("second signal"), "{said}");
}

#[test]
fn lines_for_a_person_have_no_colours_in_a_file() {
    let mut command = gridcast(&["--listen", "127.0.0.1:0", "--cores", "1"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("listening") && !line.contains('\u{1b}'), "{line:?}");
}

/// A log that nobody reads must hold up neither a core nor a signal.
#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let mut serving = Serving::start(&["--set", "admin.listen=127.0.0.1:0"]);
    serving.fill_log();
    let status = |address, line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut status = [0; 12];
        connect(address, &request).read_exact(&mut status).unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    serving.signal(Signal::HUP);
    let admin = serving.admin.expect("an administrators' address");
    assert_eq!(status(admin, "GET /v1/admin/status"), "HTTP/1.1 200");
    // The core that is asked logs that it was. Nothing is asked afterwards: a drain of no
    // connections ends the program at once.
    assert_eq!(status(admin, "POST /v1/admin/drain"), "HTTP/1.1 202");
    assert_eq!(serving.end_unread(), Some(0), "the drain ends it");

    let mut serving = Serving::start(&[]);
    serving.fill_log();
    assert_eq!(status(serving.address, "GET /healthz"), "HTTP/1.1 200");
    serving.signal(Signal::TERM);
    assert_eq!(serving.end_unread(), Some(0), "the signal ends it");
}

/// A stream of events that was accepted, or the status it was refused with.
fn follow(serving: &Serving) -> Result<TcpStream, String> {
    let request = "GET /v1/feed/a HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n";
    let mut stream = serving.connect(request);
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    let mut rest = String::new();
    match &status {
        b"HTTP/1.1 200" => Ok(stream),
        _ => stream.read_to_string(&mut rest).map(|_| Err(rest)).unwrap(),
    }
}

fn answer(serving: &Serving, path: &str) -> String {
    let mut answer = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    serving.connect(&request).read_to_string(&mut answer).unwrap();
    answer
}

/// An orchestrator whose probe gets no answer kills an engine that is healthy and full.
#[test]
fn probes_are_answered_when_descriptors_are_used_up_and_others_are_told() {
    let mut serving = Serving::start_with_descriptors(64);
    let room = serving.lines.next().expect("a line after that it listens").unwrap();
    let room: serde_json::Value = serde_json::from_str(&room).unwrap();
    assert_eq!(room["descriptors"], 64);
    assert!(room["message"].as_str().unwrap().contains("ulimit"), "{room}");
    let room = room["connections"].as_u64().unwrap() as usize;
    let mut followers = Vec::new();
    let refused = loop {
        match follow(&serving) {
            Ok(follower) => followers.push(follower),
            Err(refused) => break refused,
        }
    };
    assert_eq!(followers.len(), room);
    assert!(refused.contains("Retry-After: 5") && refused.contains("LimitNOFILE"), "{refused}");
    // Some say nothing, and are in the way of a probe for a second at most.
    let silent: Vec<_> = (0..40).map(|_| serving.connect("")).collect();
    for _ in 0..20 {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert!(answer(&serving, path).starts_with("HTTP/1.1 200"), "{path}");
        }
        assert!(follow(&serving).is_err());
    }
    drop(silent);
    let metrics = answer(&serving, "/metrics");
    assert!(metrics.contains("process_max_fds 64\n"), "{metrics}");
    let open = metrics.lines().find_map(|line| line.strip_prefix("process_open_fds ")).unwrap();
    assert!((room as u64..=64).contains(&open.parse().unwrap()), "{open}");
    assert!(metrics.contains("turned_away_total{gate=\"descriptors\"} "), "{metrics}");
    followers.pop();
    let again = std::iter::from_fn(|| Some(follow(&serving))).take(1000).find(Result::is_ok);
    assert!(again.is_some(), "there is room again");
}
