//! Balancers as clients come through them: what they say of a client before its first byte. Owns
//! who is believed, and what is said wrongly. Must not know what follows the header.

use std::net::{IpAddr, Ipv4Addr};

use gridcast::settings::choices::Versions;
use gridcast::settings::config::Config;
use rand::RngExt;
use rand::rngs::StdRng;

/// Clients behind all balancers.
const SOURCES: u8 = 9;
/// Of these each may have so many connections: some are refused.
const CONNECTIONS_MAX: usize = 4;

/// Who connects, and what it says of itself.
pub struct Introduction {
    /// The balancer, or somebody else.
    pub from: IpAddr,
    /// The first bytes.
    pub header: Vec<u8>,
    /// Whether it is let in.
    pub is_believed: bool,
}

/// Has the cores of `config` believe balancers.
pub fn expect_header(config: &mut Config) {
    config.proxy.protocol = Versions::Any;
    config.proxy.trusted = "10.0.0.0/8".parse().unwrap();
    config.limits.connections_per_source_max = CONNECTIONS_MAX;
}

impl Introduction {
    /// One of a client, most often a right one.
    pub fn draw(rng: &mut StdRng) -> Self {
        let source = Ipv4Addr::new(203, 0, 113, rng.random_range(0..SOURCES));
        let balancer = Ipv4Addr::new(10, 0, 0, rng.random_range(1..3));
        let believed = |header| (balancer, header, true);
        let (from, header, is_believed) = match rng.random_range(0..20) {
            0 => (source, line(source), false),
            1 => (balancer, Vec::new(), false),
            2 => (balancer, b"PROXY TCP4 nobody nowhere 1 2\r\n".to_vec(), false),
            3 => believed(b"PROXY UNKNOWN\r\n".to_vec()),
            4..12 => believed(line(source)),
            _ => believed(block(source)),
        };
        Self { from: IpAddr::V4(from), header, is_believed }
    }
}

/// Version 1.
fn line(source: Ipv4Addr) -> Vec<u8> {
    format!("PROXY TCP4 {source} 10.0.0.1 4711 9400\r\n").into_bytes()
}

/// Version 2.
fn block(source: Ipv4Addr) -> Vec<u8> {
    let mut block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    block.extend(source.octets());
    block.extend([10, 0, 0, 1, 18, 103, 36, 184]);
    block
}
