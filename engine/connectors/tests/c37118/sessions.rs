//! Sessions with devices over every way there is: what is said to them, what is published, what is
//! counted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use gridcast::frame::Kind;
use tungstenite::Message;

use crate::device::{Connection, Device, SEND_CONFIG2, SEND_CONFIG3, TURN_OFF, TURN_ON};
use crate::frames::{ANNOUNCES, config2, config3_in_parts, data, header};
use crate::rig::{Got, Rig};

fn bridge(url: &str, more: &str) -> String {
    format!("[[bridge]]\nname = \"north\"\nkind = \"c37118\"\nurl = \"{url}\"\n{more}\n")
}

fn binary(topic: &str, payload: &[u8]) -> Got {
    Got { topic: topic.to_owned(), kind: Kind::Binary, payload: payload.to_vec() }
}

/// An address that nobody uses now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn connect(rig: &Rig, address: SocketAddr) -> Connection {
    rig.wait_until("up", |rig| rig.count("gridcast_bridge_up", &["north"]) == 1);
    Connection::connect(address)
}

#[test]
fn a_device_is_turned_on_and_its_frames_are_published_as_they_are_and_decoded() {
    let device = Device::new();
    let url = format!("tcp://{}/7", device.address);
    let (_rig, mut following) = Rig::start(&bridge(&url, ""), &["pmu/#"]);
    let script = device.play(|device| {
        let mut connection = device.accept();
        connection.expect(7, TURN_OFF);
        connection.expect(7, SEND_CONFIG2);
        // Data of before comes still.
        connection.send(&data(7, 0, &[(0, 2)]));
        connection.send(&config2(7, &[(7, 2)]));
        connection.expect(7, TURN_ON);
        connection.send(&data(7, 20, &[(0x0804, 2)]));
        connection.wait_for_end();
    });
    let got = &mut following[0];
    assert_eq!(got.next(), binary("pmu/north/7/cfg", &config2(7, &[(7, 2)])));
    assert_eq!(got.next(), binary("pmu/north/7", &data(7, 20, &[(0x0804, 2)])));
    let json = got.next();
    assert_eq!(json.topic, "pmu/north/7/json");
    let json = json.json();
    assert_eq!(json["time"], "2026-01-01T00:00:00.020000000Z");
    assert_eq!((&json["stream"], &json["station"]), (&"north".into(), &"PMU 7".into()));
    assert_eq!(json["phasors"][1]["magnitude"], 2.0);
    assert_eq!(json["phasors"][1]["unit"], "V");
    assert_eq!(json["stat"]["trigger"], "frequency");
    assert_eq!(json["frequency_hz"].as_f64(), Some(shortest(f64::from(50.012f32))));
    drop(_rig);
    script.join().unwrap();
}

/// The number that an `f32` is written as.
fn shortest(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap()
}

#[test]
fn a_device_that_goes_and_comes_back_is_turned_on_again() {
    let device = Device::new();
    let url = format!("tcp://{}/7", device.address);
    let (rig, mut following) = Rig::start(&bridge(&url, ""), &["pmu/north/7"]);
    let script = device.play(|device| {
        for ms in [20, 40] {
            let mut connection = device.accept();
            connection.be_turned_on(7, &config2(7, &[(7, 1)]));
            connection.send(&data(7, ms, &[(0, 1)]));
        }
    });
    for ms in [20, 40] {
        assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, ms, &[(0, 1)])));
    }
    script.join().unwrap();
    rig.wait_until("two sessions", |rig| rig.count("gridcast_bridge_sessions_total", &[]) == 2);
    assert!(rig.errors("closed") >= 1);
}

#[test]
fn a_silent_device_is_asked_again_and_given_up_in_the_end() {
    let device = Device::new();
    let url = format!("tcp://{}/7", device.address);
    let more = "configuration = \"cfg3\"\nanswer_ms = 100";
    let (rig, _) = Rig::start(&bridge(&url, more), &[]);
    let script = device.play(|device| {
        let mut connection = device.accept();
        connection.expect(7, TURN_OFF);
        connection.expect(7, SEND_CONFIG3);
        connection.expect(7, SEND_CONFIG3);
        connection.expect(7, SEND_CONFIG2);
        connection.expect(7, TURN_OFF);
        connection.wait_for_end();
    });
    rig.wait_until("silent", |rig| rig.errors("silent") >= 1);
    script.join().unwrap();
}

#[test]
fn a_device_is_turned_on_when_its_configuration_is_whole() {
    let device = Device::new();
    let url = format!("tcp://{}/7", device.address);
    let more = "configuration = \"cfg3\"\nanswer_ms = 1000";
    let (rig, mut following) = Rig::start(&bridge(&url, more), &["pmu/north/7"]);
    let script = device.play(|device| {
        let mut connection = device.accept();
        let [first, last] = config3_in_parts(7);
        connection.expect(7, TURN_OFF);
        connection.expect(7, SEND_CONFIG3);
        connection.send(&first);
        // What was asked for has not come yet.
        connection.expect(7, SEND_CONFIG3);
        connection.send(&last);
        connection.expect(7, TURN_ON);
        connection.send(&data(7, 20, &[(0, 0)]));
        connection.wait_for_end();
    });
    assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, 20, &[(0, 0)])));
    drop(rig);
    script.join().unwrap();
}

#[test]
fn a_device_is_asked_for_the_configuration_of_data_that_has_none() {
    let device = Device::new();
    let url = format!("tcp://{}/7", device.address);
    let (rig, mut following) = Rig::start(&bridge(&url, ""), &["pmu/north/8"]);
    let script = device.play(|device| {
        let mut connection = device.accept();
        connection.be_turned_on(7, &config2(7, &[(7, 1)]));
        connection.send(&data(8, 20, &[(0, 1)]));
        connection.expect(7, SEND_CONFIG2);
        connection.send(&[config2(8, &[(8, 1)]), data(8, 40, &[(0, 1)])].concat());
        connection.wait_for_end();
    });
    assert_eq!(following[0].next(), binary("pmu/north/8", &data(8, 40, &[(0, 1)])));
    assert_eq!(rig.errors("no_configuration"), 1);
    drop(rig);
    script.join().unwrap();
}

#[test]
fn an_announced_change_of_configuration_loses_nothing() {
    let device = Device::new();
    let url = format!("tcp://{}/7", device.address);
    let (rig, mut following) = Rig::start(&bridge(&url, ""), &["pmu/north/7/+"]);
    let script = device.play(|device| {
        let mut connection = device.accept();
        connection.be_turned_on(7, &config2(7, &[(7, 1)]));
        connection.send(&data(7, 20, &[(ANNOUNCES, 1)]));
        connection.expect(7, SEND_CONFIG2);
        connection.send(&config2(7, &[(7, 3)]));
        connection.send(&data(7, 40, &[(ANNOUNCES, 1)]));
        connection.send(&data(7, 60, &[(0, 3)]));
        connection.wait_for_end();
    });
    let got = &mut following[0];
    assert_eq!(got.next().payload, config2(7, &[(7, 1)]));
    for phasors in [1, 1] {
        assert_eq!(got.next().json()["phasors"].as_array().unwrap().len(), phasors);
    }
    assert_eq!(got.next(), binary("pmu/north/7/cfg", &config2(7, &[(7, 3)])));
    assert_eq!(got.next().json()["phasors"].as_array().unwrap().len(), 3);
    assert_eq!(rig.errors("mismatch"), 0);
    drop(rig);
    script.join().unwrap();
}

#[test]
fn a_concentrators_frame_is_published_whole_and_each_pmu_decoded() {
    let address = free_address();
    let (rig, mut following) =
        Rig::start(&bridge(&format!("tcp-listen://{address}"), ""), &["pmu/#"]);
    let mut connection = connect(&rig, address);
    let frame = data(100, 0, &[(0, 1), (0x8000, 2)]);
    connection.send(&[config2(100, &[(1, 1), (2, 2)]), frame.clone()].concat());
    let got = &mut following[0];
    assert_eq!(got.next().topic, "pmu/north/100/cfg");
    assert_eq!(got.next(), binary("pmu/north/100", &frame));
    for (pmu, quality) in [(1, "good"), (2, "test")] {
        let message = got.next();
        assert_eq!(message.topic, format!("pmu/north/{pmu}/json"));
        assert_eq!(message.json()["stat"]["data"], quality);
    }
}

#[test]
fn devices_that_connect_send_unasked_and_what_is_bad_is_counted_by_kind() {
    let address = free_address();
    let more = "ids = [7, 8]";
    let (rig, mut following) =
        Rig::start(&bridge(&format!("tcp-listen://{address}"), more), &["pmu/north/+"]);
    let (mut one, mut two) = (connect(&rig, address), connect(&rig, address));
    one.send(b"GET / HTTP/1.1\r\n\r\n");
    one.send(&data(7, 0, &[(0, 1)]));
    let mut damaged = data(7, 20, &[(0, 1)]);
    damaged[16] ^= 1;
    one.send(&damaged);
    one.send(&[header(7), config2(7, &[(7, 1)]), data(7, 40, &[(0, 1)])].concat());
    assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, 40, &[(0, 1)])));
    two.send(&[config2(9, &[(9, 1)]), data(7, 60, &[(0, 1)])].concat());
    two.send(&[config2(8, &[(8, 1)]), data(8, 60, &[(0, 2)]), data(8, 80, &[(0, 1)])].concat());
    assert_eq!(following[0].next(), binary("pmu/north/8", &data(8, 80, &[(0, 1)])));
    for (reason, count) in [
        ("sync", 1),
        ("crc", 1),
        ("no_configuration", 1),
        ("unknown_id", 1),
        ("id_taken", 1),
        ("mismatch", 1),
    ] {
        assert_eq!(rig.errors(reason), count, "{reason}:\n{}", rig.engine.metrics());
    }
    for (word, count) in [("data", 5), ("header", 1), ("cfg2", 3)] {
        assert_eq!(rig.frames(word), count, "{word}");
    }
}

#[test]
fn a_peer_that_sends_something_else_is_given_up_and_others_go_on() {
    let address = free_address();
    let (rig, mut following) =
        Rig::start(&bridge(&format!("tcp-listen://{address}"), ""), &["pmu/north/7"]);
    let (mut noise, mut device) = (connect(&rig, address), connect(&rig, address));
    let script = std::thread::spawn(move || {
        let noisy = [0xAA, 0x01, 0x40, 0x00].repeat(4096);
        // It is cut off in the middle of this.
        while std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| noise.send(&noisy))).is_ok()
        {
        }
    });
    rig.wait_until("given up", |rig| rig.errors("protocol") == 1);
    device.send(&[config2(7, &[(7, 1)]), data(7, 20, &[(0, 1)])].concat());
    assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, 20, &[(0, 1)])));
    script.join().unwrap();
}

#[test]
fn datagrams_that_come_unasked_wait_for_their_configuration() {
    let address = free_udp_address();
    let (rig, mut following) =
        Rig::start(&bridge(&format!("udp://{address}"), ""), &["pmu/north/7"]);
    rig.wait_until("up", |rig| rig.count("gridcast_bridge_up", &["north"]) == 1);
    let device = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| device.send_to(bytes, address).unwrap();
    send(&data(7, 0, &[(0, 1)]));
    send(&config2(7, &[(7, 1)]));
    send(&data(7, 20, &[(0, 1)])[..20]);
    send(&data(7, 40, &[(0, 1)]));
    send(&data(7, 100, &[(0, 1)]));
    for ms in [40, 100] {
        assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, ms, &[(0, 1)])));
    }
    assert_eq!((rig.errors("no_configuration"), rig.errors("size")), (1, 1));
    // Between 40 and 100 ms are two instants of 50 a second.
    assert_eq!(rig.count("gridcast_bridge_dropped_total", &["reason=\"missing\""]), 2);
}

fn free_udp_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn datagrams_of_a_group_are_taken() {
    let port = free_udp_address().port();
    let url = format!("udp://239.255.71.18:{port}");
    let more = "interface = \"127.0.0.1\"";
    let (rig, mut following) = Rig::start(&bridge(&url, more), &["pmu/north/7"]);
    rig.wait_until("up", |rig| rig.count("gridcast_bridge_up", &["north"]) == 1);
    let (domain, sort) = (socket2::Domain::IPV4, socket2::Type::DGRAM);
    let device = socket2::Socket::new(domain, sort, None).unwrap();
    device.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    let group: SocketAddr = format!("239.255.71.18:{port}").parse().unwrap();
    for frame in [config2(7, &[(7, 1)]), data(7, 20, &[(0, 1)])] {
        device.send_to(&frame, &group.into()).unwrap();
    }
    assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, 20, &[(0, 1)])));
}

#[test]
fn datagrams_are_asked_for_over_a_connection() {
    let (device, address) = (Device::new(), free_udp_address());
    let more = format!("commands = \"tcp://{}/7\"", device.address);
    let (rig, mut following) =
        Rig::start(&bridge(&format!("udp://{address}"), &more), &["pmu/north/7"]);
    let script = device.play(move |device| {
        let mut connection = device.accept();
        connection.be_turned_on(7, &config2(7, &[(7, 1)]));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&data(7, 20, &[(0, 1)]), address).unwrap();
        connection.expect(7, TURN_OFF);
        connection.wait_for_end();
    });
    assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, 20, &[(0, 1)])));
    drop(rig);
    script.join().unwrap();
}

#[test]
fn datagrams_are_asked_for_by_datagrams() {
    let (device, address) = (UdpSocket::bind("127.0.0.1:0").unwrap(), free_udp_address());
    device.set_read_timeout(Some(crate::rig::DEADLINE)).unwrap();
    let more = format!("id = 7\ncommands = \"udp://{}\"", device.local_addr().unwrap());
    let (_rig, mut following) =
        Rig::start(&bridge(&format!("udp://{address}"), &more), &["pmu/north/7"]);
    let command = || {
        let mut frame = [0; 64];
        let (bytes, from) = device.recv_from(&mut frame).unwrap();
        assert_eq!((bytes, from), (18, address));
        frame[15]
    };
    assert_eq!((command(), command()), (1, 5));
    device.send_to(&config2(7, &[(7, 1)]), address).unwrap();
    assert_eq!(command(), 2);
    device.send_to(&data(7, 20, &[(0, 1)]), address).unwrap();
    assert_eq!(following[0].next(), binary("pmu/north/7", &data(7, 20, &[(0, 1)])));
}

#[test]
fn several_devices_of_a_bridge_come_and_go_by_themselves() {
    let (one, two) = (Device::new(), Device::new());
    let url = format!("tcp://{}/7", one.address);
    let more = format!("more = [\"tcp://{}/8\"]", two.address);
    let (rig, mut following) = Rig::start(&bridge(&url, &more), &["pmu/north/+"]);
    let script = |device: Device, id: u16, sessions: u32| {
        device.play(move |device| {
            for session in 0..sessions {
                let mut connection = device.accept();
                connection.expect(id, TURN_OFF);
                connection.expect(id, SEND_CONFIG2);
                connection.send(&config2(id, &[(id, 1)]));
                connection.expect(id, TURN_ON);
                connection.send(&data(id, 20 * session, &[(0, 1)]));
                if session + 1 == sessions {
                    connection.wait_for_end();
                }
            }
        })
    };
    let scripts = [script(one, 7, 1), script(two, 8, 2)];
    let mut topics: Vec<_> = (0..3).map(|_| following[0].next().topic).collect();
    topics.sort();
    assert_eq!(topics, ["pmu/north/7", "pmu/north/8", "pmu/north/8"]);
    assert_eq!(rig.count("gridcast_bridge_sessions_total", &[]), 1, "the other was never cut");
    drop(rig);
    scripts.into_iter().for_each(|script| script.join().unwrap());
}

#[test]
fn a_late_subscriber_gets_the_configuration_first() {
    let address = free_address();
    let (rig, mut following) =
        Rig::start(&bridge(&format!("tcp-listen://{address}"), ""), &["pmu/north/7"]);
    let mut device = connect(&rig, address);
    device.send(&[config2(7, &[(7, 1)]), data(7, 20, &[(0, 1)])].concat());
    following[0].next();
    let url = format!("ws://{}/v1/feed/pmu/north/7/cfg?from=last", rig.engine.address());
    let (mut socket, _) = tungstenite::connect(url).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Binary(config2(7, &[(7, 1)]).into()));
}
