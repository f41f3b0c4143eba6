//! The configurations that docs/ shows: each runs as it stands there, with addresses exchanged for
//! those of devices that are made up.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use crate::device::{Connection, Device, SEND_CONFIG2, TURN_OFF, TURN_ON};
use crate::frames::{config2, data};
use crate::rig::Rig;

/// The blocks of TOML in a page.
fn blocks(page: &str) -> Vec<String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&root).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let blocks = text.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// The block with this text, which is exchanged.
fn block(page: &str, text: &str, by: &str) -> String {
    let blocks = blocks(page);
    let block = blocks.iter().find(|block| block.contains(text));
    block.unwrap_or_else(|| panic!("docs/{page} has no block with {text}")).replace(text, by)
}

fn serve(device: Device, id: u16) -> std::thread::JoinHandle<()> {
    device.play(move |device| {
        let mut connection = device.accept();
        connection.expect(id, TURN_OFF);
        connection.expect(id, SEND_CONFIG2);
        connection.send(&config2(id, &[(id, 1)]));
        connection.expect(id, TURN_ON);
        connection.send(&data(id, 20, &[(0, 1)]));
        connection.wait_for_end();
    })
}

const BRIDGE: &str = "bridges/c37118.md";

#[test]
fn devices_of_the_page_are_connected_to() {
    let devices = [1001, 1002].map(|id| (Device::new(), id));
    let [one, two] = [devices[0].0.address, devices[1].0.address];
    let text = block(BRIDGE, "192.0.2.10:4712", &one.to_string());
    let text = text.replace("192.0.2.11:4712", &two.to_string());
    let scripts = devices.map(|(device, id)| serve(device, id));
    let (rig, mut following) = Rig::start(&text, &["pmu/north/+/json"]);
    let mut topics = [(); 2].map(|()| following[0].next().topic);
    topics.sort();
    assert_eq!(topics, ["pmu/north/1001/json", "pmu/north/1002/json"]);
    drop(rig);
    scripts.into_iter().for_each(|script| script.join().unwrap());
}

#[test]
fn devices_of_the_page_connect() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = block(BRIDGE, "tcp-listen://0.0.0.0:4712", &format!("tcp-listen://{address}"));
    let (rig, mut following) = Rig::start(&text, &["pmu/#"]);
    rig.wait_until("up", |rig| rig.count("gridcast_bridge_up", &[]) == 1);
    let mut device = Connection::connect(address);
    device.send(&[config2(7, &[(7, 1)]), data(7, 20, &[(0, 1)])].concat());
    assert!(following[0].next().topic.ends_with("/7/cfg"));
}

#[test]
fn datagrams_of_the_page_are_taken() {
    let free = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let send = |address: SocketAddr| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&config2(7, &[(7, 1)]), address).unwrap();
    };
    let address = free();
    let text = block(BRIDGE, "udp://0.0.0.0:4713", &format!("udp://{address}"));
    let (rig, mut following) = Rig::start(&text, &["pmu/#"]);
    rig.wait_until("up", |rig| rig.count("gridcast_bridge_up", &[]) == 1);
    send(address);
    assert!(following[0].next().topic.ends_with("/7/cfg"));
}

#[test]
fn the_other_blocks_are_right_as_well() {
    for page in [BRIDGE, "aligned-ticks.md"] {
        for block in blocks(page) {
            let mut settings = gridcast::settings::layers::Settings::default();
            settings.add_file("page.toml", &block);
            let config = gridcast::settings::config::Config::new(&settings).unwrap();
            gridcast_connectors::check(&config.attached)
                .unwrap_or_else(|error| panic!("docs/{page}: {error}:\n{block}"));
        }
    }
}

#[test]
fn the_groups_of_the_page_send_ticks() {
    let text = block("aligned-ticks.md", "wait = \"absolute\"", "wait = \"relative\"");
    let (rig, mut following) = Rig::start(&text, &["align/north"]);
    let message = br#"{"time":"2026-01-01T00:00:00Z"}"#;
    rig.publish("pmu/north/1001/json", gridcast::frame::Kind::Text, message);
    assert_eq!(following[0].next().json()["members"], 1);
}
