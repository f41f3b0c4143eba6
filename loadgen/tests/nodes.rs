//! Subscribers at other nodes than the publishers, and those that go on elsewhere when theirs is
//! gone, against a real engine. Must not know how nodes agree: one engine behind two doors will do.
#![allow(clippy::unwrap_used, reason = "a run that fails fails its test")]

mod support;

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gridcast::engine::Engine;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridload::codec::form::Form;
use gridload::codec::payload::Payload;
use gridload::drive::run;
use gridload::observe::progress::Progress;
use gridload::plan::audience::SubscriberPlan;
use gridload::plan::class::ClassPlan;
use gridload::plan::follows::Follows;
use gridload::plan::plan::Plan;
use gridload::receive::outcome::Outcome;
use gridload::scenario::lifecycle::Lifecycle;
use support::short_plan::short_plan;

/// Subscribers of each of two topics.
const FOLLOWERS: u32 = 5;

fn engine() -> Engine {
    let mut settings = Settings::default();
    settings.add_flag("--set", "server.listen", "127.0.0.1:0");
    settings.add_flag("--set", "server.cores", "1");
    Engine::start(Config::new(&settings).unwrap()).unwrap()
}

/// A door to an engine that passes bytes on, until it is shut.
#[derive(Clone)]
struct Door {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
    came: Arc<AtomicUsize>,
    is_shut: Arc<Mutex<bool>>,
    /// Connections that are cut once the head of the answer has passed.
    to_cut: Arc<AtomicUsize>,
}

impl Door {
    fn to(engine: SocketAddr) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door {
            address: listener.local_addr().unwrap(),
            open: Arc::default(),
            came: Arc::default(),
            is_shut: Arc::default(),
            to_cut: Arc::default(),
        };
        let own = door.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                own.pass_on(client.unwrap(), engine);
            }
        });
        door
    }

    fn pass_on(&self, client: TcpStream, engine: SocketAddr) {
        self.came.fetch_add(1, Ordering::SeqCst);
        if *self.is_shut.lock().unwrap() {
            return;
        }
        let server = TcpStream::connect(engine).unwrap();
        let cuts =
            self.to_cut.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if cuts.is_ok() {
            return pass_heads(&client, &server);
        }
        for (mut from, mut to) in [(&client, &server), (&server, &client)]
            .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
        {
            thread::spawn(move || io::copy(&mut from, &mut to));
        }
        self.open.lock().unwrap().extend([client, server]);
    }

    /// Cuts all connections, and every later one at once.
    fn shut(&self) {
        *self.is_shut.lock().unwrap() = true;
        for stream in self.open.lock().unwrap().drain(..) {
            // One that has ended already needs no cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Passes a request and the head of its answer on; then both connections end.
fn pass_heads(client: &TcpStream, server: &TcpStream) {
    for (from, mut to) in [(client, server), (server, client)] {
        let mut from = BufReader::new(from);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(from.read_line(&mut head).unwrap() > 0, "no whole head: {head}");
        }
        to.write_all(head.as_bytes()).unwrap();
    }
}

/// Two publishers at the engine, and event streams that follow each at the doors.
fn plan(engine: &Engine, doors: &[&Door], resumes: bool) -> Plan {
    let stream = |index: u32| SubscriberPlan {
        path: format!("/v1/feed/pmu/{}", 1001 + index),
        source: None,
        class: 0,
        follows: Follows::One(index),
    };
    let lifecycle = Lifecycle { resumes, ..Lifecycle::default() };
    Plan {
        subscribers: (0..2 * FOLLOWERS).map(|number| stream(number % 2)).collect(),
        subscriber_nodes: doors.iter().map(|door| door.address).collect(),
        classes: vec![ClassPlan { form: Form::Sse, lifecycle, ..ClassPlan::raw("viewers") }],
        measure: Duration::from_secs(4),
        ..short_plan(engine.address(), Payload::Json)
    }
}

/// A run during which something is done once frames have arrived.
fn run_and(plan: &Plan, act: impl FnOnce() + Send) -> Outcome {
    let progress = Progress::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while progress.received.load(Ordering::Relaxed) < 500 {
                thread::yield_now();
            }
            act();
        });
        run::run(plan, &progress).unwrap()
    })
}

#[test]
fn subscribers_are_spread_over_the_nodes() {
    let engine = engine();
    let doors = [Door::to(engine.address()), Door::to(engine.address())];
    let plan = plan(&engine, &[&doors[0], &doors[1]], false);
    let outcome = run::run(&plan, &Progress::default()).unwrap();
    let class = &outcome.classes[0];
    assert_eq!((class.lost, class.sockets), (0, u64::from(2 * FOLLOWERS)));
    for door in &doors {
        assert_eq!(door.came.load(Ordering::SeqCst), FOLLOWERS as usize);
    }
}

#[test]
fn who_resumes_goes_on_at_another_node_and_loses_nothing() {
    let engine = engine();
    let (first, second) = (Door::to(engine.address()), Door::to(engine.address()));
    let outcome = run_and(&plan(&engine, &[&first, &second], true), || first.shut());
    let class = &outcome.classes[0];
    assert_eq!((class.lost, class.duplicated, class.misnumbered), (0, 0, 0), "{class:?}");
    assert_eq!(class.undelivered, 0);
    assert_eq!(class.returns.interrupted, u64::from(FOLLOWERS));
    assert_eq!(class.returns.resumed, u64::from(FOLLOWERS));
    assert!(first.came.load(Ordering::SeqCst) > FOLLOWERS as usize, "they try their own first");
}

#[test]
fn who_is_cut_off_again_before_a_frame_came_still_knows_where_it_was() {
    let engine = engine();
    let (first, second) = (Door::to(engine.address()), Door::to(engine.address()));
    let plan = plan(&engine, &[&first, &second], true);
    let outcome = run_and(&plan, || {
        second.to_cut.store(FOLLOWERS as usize, Ordering::SeqCst);
        first.shut();
    });
    let class = &outcome.classes[0];
    assert_eq!(second.to_cut.load(Ordering::SeqCst), 0, "all were cut");
    assert_eq!((class.lost, class.duplicated, class.misnumbered), (0, 0, 0), "{class:?}");
    assert_eq!(class.undelivered, 0);
}

#[test]
fn who_does_not_resume_is_closed() {
    let engine = engine();
    let (first, second) = (Door::to(engine.address()), Door::to(engine.address()));
    let outcome = run_and(&plan(&engine, &[&first, &second], false), || first.shut());
    let class = &outcome.classes[0];
    assert_eq!(class.closes.values().sum::<u64>(), u64::from(FOLLOWERS));
    assert_eq!(class.returns.resumed, 0);
}
