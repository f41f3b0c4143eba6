//! Captures of real devices, sent to a bridge over connections and as datagrams: every frame that
//! tshark counts is counted here, and is published.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use crate::capture::{Flow, flows, folder};
use crate::rig::Rig;

/// A capture: what tshark counts in it.
struct Expected {
    file: &'static str,
    data: u64,
    config2: u64,
    commands: u64,
    /// PMUs of a data frame; none where the data cannot be read.
    pmus: u64,
}

#[rustfmt::skip]
const CAPTURES: [Expected; 10] = [
    Expected { file: "C37.118_1PMU_TCP.pcap", data: 252, config2: 1, commands: 3, pmus: 1 },
    Expected { file: "C37.118_1PMU_UDP.pcap", data: 356, config2: 1, commands: 4, pmus: 1 },
    Expected { file: "C37.118_1PMU_UDP_minimal.pcap", data: 1, config2: 1, commands: 3, pmus: 1 },
    Expected { file: "C37.118_2PMUsInSync_TCP.pcap", data: 3002, config2: 2, commands: 6, pmus: 1 },
    Expected { file: "C37.118_4in1PMU_TCP.pcap", data: 1342, config2: 3, commands: 8, pmus: 4 },
    Expected { file: "c37_1100_fullclean.pcap", data: 422, config2: 1, commands: 3, pmus: 1 },
    Expected { file: "made/cfg_idcode0.pcap", data: 252, config2: 1, commands: 3, pmus: 1 },
    Expected { file: "made/nocfg_tcp.pcap", data: 251, config2: 0, commands: 1, pmus: 0 },
    // Told that 4714 is C37.118 too.
    Expected { file: "made/same_host_two_ports.pcap", data: 712, config2: 2, commands: 8, pmus: 1 },
    Expected { file: "made/tso_len0.pcap", data: 1342, config2: 3, commands: 8, pmus: 4 },
];

#[test]
fn captures_over_connections() {
    replay("tcp-listen", |address, flows, rig, expected| {
        let mut sockets = Vec::new();
        for flow in flows {
            let mut socket = TcpStream::connect(address).unwrap();
            flow.pieces.iter().for_each(|piece| socket.write_all(piece).unwrap());
            sockets.push(socket);
        }
        rig.wait_until("all counted", |rig| counted(rig) == expected.all());
    });
}

#[test]
fn captures_as_datagrams() {
    replay("udp", |address, flows, rig, _| {
        let mut sent = 0;
        for flow in flows {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            for datagram in flow.pieces.iter().flat_map(|piece| datagrams(flow, piece)) {
                socket.send_to(datagram, address).unwrap();
                sent += 1;
                if sent % 32 == 0 {
                    rig.wait_until("taken", |rig| counted(rig) == sent);
                }
            }
        }
        rig.wait_until("all taken", |rig| counted(rig) == sent);
    });
}

/// Replays each capture to a bridge of its own, and holds its counts against tshark's.
fn replay(scheme: &str, send: fn(SocketAddr, &[Flow], &Rig, &Expected)) {
    let Some(folder) = folder() else { return };
    for expected in &CAPTURES {
        let address = match scheme {
            "udp" => UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
            _ => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        };
        let text = format!(
            "[[bridge]]\nname = \"north\"\nkind = \"c37118\"\nurl = \"{scheme}://{address}\"\n"
        );
        let (rig, _) = Rig::start(&text, &[]);
        rig.wait_until("up", |rig| rig.count("gridcast_bridge_up", &["north"]) == 1);
        // Other traffic was captured along with it.
        let mut flows = flows(&folder.join(expected.file));
        flows.retain(|flow| flow.pieces[0].first() == Some(&0xAA));
        send(address, &flows, &rig, expected);
        expected.hold(&rig, scheme);
    }
}

fn counted(rig: &Rig) -> u64 {
    rig.count("gridcast_bridge_frames_total", &[])
}

/// A datagram as it was; a connection's bytes frame by frame.
fn datagrams<'a>(flow: &Flow, piece: &'a [u8]) -> Vec<&'a [u8]> {
    if !flow.is_tcp {
        return vec![piece];
    }
    let (mut rest, mut frames) = (piece, Vec::new());
    while rest.len() > 4 {
        let (frame, after) = rest.split_at(usize::from(u16::from_be_bytes([rest[2], rest[3]])));
        frames.push(frame);
        rest = after;
    }
    frames
}

impl Expected {
    fn all(&self) -> u64 {
        self.data + self.config2 + self.commands
    }

    fn hold(&self, rig: &Rig, scheme: &str) {
        let counts = [("data", self.data), ("cfg2", self.config2), ("command", self.commands)];
        for (word, count) in counts {
            assert_eq!(rig.frames(word), count, "{scheme} {}: {word}", self.file);
        }
        for reason in ["crc", "sync", "size", "mismatch", "configuration", "time"] {
            assert_eq!(rig.errors(reason), 0, "{scheme} {}: {reason}", self.file);
        }
        let unreadable = if self.pmus == 0 { self.data } else { 0 };
        assert_eq!(rig.errors("no_configuration"), unreadable, "{scheme} {}", self.file);
        // Of two PMUs with one IDCODE, only the first is taken by one bridge.
        let is_double = self.file.ends_with("two_ports.pcap");
        let taken = if is_double { 357 } else { 0 };
        assert_eq!(rig.errors("id_taken"), taken, "{scheme} {}", self.file);
        if self.pmus > 0 {
            let messages = rig.count("gridcast_bridge_messages_total", &["direction=\"in\""]);
            let share = 1 + u64::from(is_double);
            let all = self.data / share * (1 + self.pmus) + self.config2 / share;
            // A configuration without an IDCODE is published when its data comes.
            assert_eq!(messages, all, "{scheme} {}: published", self.file);
        }
    }
}
