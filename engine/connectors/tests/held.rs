//! A bridge of an engine that publishes by way of a log, with a broker of MQTT and a log that do
//! what the test says. Owns what the other side is told of a message that the log refuses.

#![cfg(feature = "mqtt")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Receiver;

use gridcast::core::submission::{LogState, Publishing, Refused};
use gridcast::engine::Engine;
use gridcast::engine::log_side::{LogSide, Submitted};
use gridcast::feed::epoch::Epoch;
use gridcast::settings::attached::Attached;
use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use gridcast_connectors::started::Started;
use harness::bell::Bell;
use harness::{DEADLINE, wait_until};

const EPOCH: Epoch = Epoch(723);
/// First bytes of packets.
const CONNECT: u8 = 0x10;
const SUBSCRIBE: u8 = 0x82;
const ACKNOWLEDGE: u8 = 0x40;

/// An engine with a bridge, the other side of it, and the log.
struct Held {
    // The bridge ends before its engine.
    _started: Started,
    engine: Engine,
    listener: TcpListener,
    side: LogSide,
    rung: Receiver<()>,
    sequence: u64,
}

impl Held {
    fn start(qos: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = Settings::default();
        settings.add_flag("--set", "server.listen", "127.0.0.1:0");
        settings.add_flag("--set", "server.cores", "1");
        let config = Config::new(&settings).unwrap();
        let engine = Engine::start_with(config, Publishing::Log).unwrap();
        let (bell, rung) = Bell::new();
        let side = engine.handle().attach_log(bell).unwrap();
        side.set_epoch(EPOCH);
        side.set_state(LogState::Up);
        let attached: Attached = toml::from_str(&format!(
            "[[bridge]]\nname = \"plant\"\nkind = \"mqtt\"\nurl = \"mqtt://{address}\"\n\
             version = \"3.1.1\"\nin = [\"a\"]\nqos = {qos}\n"
        ))
        .unwrap();
        let started = gridcast_connectors::start(&attached, engine.handle()).unwrap();
        Self { _started: started, engine, listener, side, rung, sequence: 0 }
    }

    /// The next messages that are to be put into the log.
    fn take(&self) -> Submitted {
        loop {
            if let Some(submitted) = self.side.take_submitted(4096, 256 << 10) {
                return submitted;
            }
            self.rung.recv_timeout(DEADLINE).expect("something is published");
        }
    }

    /// The log has these messages.
    fn store(&mut self, submitted: Submitted) {
        self.sequence += 1;
        self.side.complete(submitted.ticket, EPOCH, self.sequence);
        self.side.apply(self.sequence, &submitted.frames.into()).unwrap();
    }

    fn refuse(&self, submitted: Submitted) {
        self.side.refuse(submitted.ticket, Refused::Unacknowledged);
    }

    fn wait_for(&self, line: &str) {
        let has = |line: &str| self.engine.metrics().lines().any(|other| other == line);
        wait_until(line, || self.engine.metrics(), || has(line));
    }

    /// The bridge connects. A broker that remembers its session is not asked for messages again.
    fn accept(&self, is_resumed: bool) -> Broker {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut broker = Broker(stream);
        assert_eq!(broker.packet().unwrap().0, CONNECT);
        broker.say(&[0x20, 2, u8::from(is_resumed), 0]);
        if !is_resumed {
            let (first, body) = broker.packet().unwrap();
            assert_eq!(first, SUBSCRIBE);
            broker.say(&[0x90, 3, body[0], body[1], 1]);
        }
        broker
    }
}

/// A broker's end of a connection.
struct Broker(TcpStream);

impl Broker {
    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends a payload of one byte to the topic `a`; with a number at QoS 1.
    fn publish(&mut self, id: Option<u8>, payload: u8) {
        match id {
            Some(id) => self.say(&[0x32, 6, 0, 1, b'a', 0, id, payload]),
            None => self.say(&[0x30, 4, 0, 1, b'a', payload]),
        }
    }

    /// The next packet, which is a short one; none at the end of the connection.
    fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        let mut body = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    /// The number of the next message that is acknowledged; none at the end of the connection.
    fn acknowledged(&mut self) -> Option<u8> {
        loop {
            let (first, body) = self.packet()?;
            if first == ACKNOWLEDGE {
                return Some(body[1]);
            }
        }
    }
}

#[test]
fn what_the_log_refuses_is_not_acknowledged_and_comes_again() {
    let mut held = Held::start(1);
    let mut broker = held.accept(false);
    broker.publish(Some(7), b'x');
    held.refuse(held.take());
    assert_eq!(broker.acknowledged(), None, "the session ends without an acknowledgement");
    held.wait_for(
        "gridcast_bridge_errors_total{bridge=\"plant\",kind=\"mqtt\",reason=\"unavailable\"} 1",
    );
    let mut broker = held.accept(true);
    broker.publish(Some(7), b'x');
    let submitted = held.take();
    held.store(submitted);
    assert_eq!(broker.acknowledged(), Some(7));
    held.wait_for(
        "gridcast_bridge_messages_total{bridge=\"plant\",kind=\"mqtt\",direction=\"in\"} 1",
    );
}

#[test]
fn messages_are_acknowledged_in_their_order_and_several_are_on_their_way() {
    let mut held = Held::start(1);
    let mut broker = held.accept(false);
    broker.publish(Some(1), b'x');
    let first = held.take();
    // The second is on its way while the log has not answered for the first.
    broker.publish(Some(2), b'y');
    let second = held.take();
    held.store(first);
    held.store(second);
    assert_eq!([broker.acknowledged(), broker.acknowledged()], [Some(1), Some(2)]);
}

#[test]
fn what_nobody_sends_again_is_counted_when_the_log_refuses_it() {
    let mut held = Held::start(0);
    let mut broker = held.accept(false);
    broker.publish(None, b'x');
    held.refuse(held.take());
    held.wait_for(
        "gridcast_bridge_dropped_total{bridge=\"plant\",kind=\"mqtt\",reason=\"unacknowledged\"} 1",
    );
    broker.publish(None, b'y');
    let submitted = held.take();
    held.store(submitted);
    held.wait_for(
        "gridcast_bridge_messages_total{bridge=\"plant\",kind=\"mqtt\",direction=\"in\"} 1",
    );
}
