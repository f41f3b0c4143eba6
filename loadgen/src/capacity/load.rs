//! The work of a server, split into the terms that its cost is a sum of. Must not know the cost of
//! a term.

use serde::Serialize;

use crate::plan::implied::Implied;
use crate::scenario::scenario::Scenario;

/// The load of a server.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Load {
    /// Connections of publishers and subscribers.
    pub connections: f64,
    /// Frames received per second.
    pub publishes_per_s: f64,
    /// Frames sent per second.
    pub deliveries_per_s: f64,
    /// Socket writes per second if each tick is one write. An engine that batches pays per write
    /// and not per frame.
    pub writes_per_s: f64,
    /// Bytes of the frames sent, with headers, 10^6 per second.
    pub megabytes_per_s: f64,
}

/// The number of cost terms, including the constant one.
pub const TERMS: usize = 6;

impl Load {
    /// The load of a scenario.
    pub fn of(scenario: &Scenario) -> Load {
        let implied = Implied::of(scenario);
        Load {
            connections: (implied.subscriber_sockets + implied.publisher_sockets) as f64,
            publishes_per_s: implied.publishes_per_s,
            deliveries_per_s: implied.deliveries_per_s,
            writes_per_s: implied.writes_per_s,
            megabytes_per_s: implied.egress_bits_per_s / 8e6,
        }
    }

    /// The factors of the coefficients.
    pub fn terms(&self) -> [f64; TERMS] {
        let Load { connections, publishes_per_s, deliveries_per_s, .. } = *self;
        let (writes, megabytes) = (self.writes_per_s, self.megabytes_per_s);
        [1.0, connections, publishes_per_s, deliveries_per_s, writes, megabytes]
    }

    /// How far this load exceeds another: the largest ratio of any two terms.
    pub fn beyond(&self, other: &Load) -> f64 {
        let pairs = self.terms().into_iter().zip(other.terms());
        pairs.filter(|(_, other)| *other > 0.0).map(|(own, other)| own / other).fold(0.0, f64::max)
    }

    /// The maximum of two loads, term by term.
    pub fn or_more(&self, other: &Load) -> Load {
        Load {
            connections: self.connections.max(other.connections),
            publishes_per_s: self.publishes_per_s.max(other.publishes_per_s),
            deliveries_per_s: self.deliveries_per_s.max(other.deliveries_per_s),
            writes_per_s: self.writes_per_s.max(other.writes_per_s),
            megabytes_per_s: self.megabytes_per_s.max(other.megabytes_per_s),
        }
    }

    /// Bits per second on the wire, with the overhead of Ethernet, IP and TCP for each packet.
    pub fn wire_bits_per_s(&self) -> f64 {
        let bytes_per_s = self.megabytes_per_s * 1e6;
        let packets_per_s = self.writes_per_s.max(bytes_per_s / SEGMENT_BYTES);
        (bytes_per_s + packets_per_s * PACKET_BYTES) * 8.0
    }
}

/// Payload of a full packet on Ethernet.
const SEGMENT_BYTES: f64 = 1448.0;
/// Ethernet with preamble, checksum and gap 38, IPv4 20, TCP with timestamps 32.
const PACKET_BYTES: f64 = 90.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::RunOptions;
    use crate::cli::overrides;

    #[test]
    fn a_scenario_is_counted_as_its_server_meets_it() {
        let scenario = overrides::resolve("control-room", &RunOptions::default()).unwrap();
        let load = Load::of(&scenario);
        assert_eq!((load.connections, load.publishes_per_s), (250.0, 12_000.0));
        assert_eq!((load.deliveries_per_s, load.writes_per_s), (600e3, 3e3));
        assert!((load.megabytes_per_s - 56.4).abs() < 1e-9, "94 bytes each: {load:?}");
        assert!(load.wire_bits_per_s() > load.megabytes_per_s * 8e6);
    }

    #[test]
    fn what_lies_beyond_is_told_by_the_term_that_is_furthest() {
        let load = Load { connections: 10.0, deliveries_per_s: 100.0, ..Load::default() };
        let more = Load { connections: 20.0, deliveries_per_s: 300.0, ..load };
        assert_eq!((more.beyond(&load), load.beyond(&more)), (3.0, 1.0), "the constant is equal");
        assert_eq!(load.or_more(&more), more);
    }
}
