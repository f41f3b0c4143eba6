//! The rates that a scenario implies: publishes, deliveries, writes, bytes. A pure function of the
//! scenario; must not know the host.

use crate::plan::fleet::Fleet;
use crate::plan::overlaid;
use crate::scenario::groups::{ClassKind, SubscriberGroup};
use crate::scenario::profile::Profile;
use crate::scenario::scenario::Scenario;

/// The implied rates. Fan-out multiplies the load in a way that is easy to overlook, so the totals
/// are printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Implied {
    /// Frames published per second.
    pub publishes_per_s: f64,
    /// Frames that must reach a subscriber per second.
    pub deliveries_per_s: f64,
    /// Socket writes per second of an engine that sends each tick to a socket in one write.
    pub writes_per_s: f64,
    /// Payload with WebSocket headers sent to subscribers, bits per second.
    pub egress_bits_per_s: f64,
    /// Publisher sockets.
    pub publisher_sockets: u64,
    /// Subscriber sockets.
    pub subscriber_sockets: u64,
    /// Subscriber sockets that read slowly or never: their kernel buffers fill up.
    pub clogged_sockets: u64,
    /// (socket, publisher) pairs whose sequence is verified.
    pub verified_pairs: u64,
    /// How the load grows to these totals, if it does.
    pub profile: Option<Profile>,
}

impl Implied {
    /// Computes the implied rates of a scenario.
    pub fn of(scenario: &Scenario) -> Implied {
        let fleet = Fleet::of(&scenario.publishers);
        let mut implied = Implied {
            publishes_per_s: fleet.frames_per_s,
            deliveries_per_s: 0.0,
            writes_per_s: 0.0,
            egress_bits_per_s: 0.0,
            publisher_sockets: fleet.publishers,
            subscriber_sockets: 0,
            clogged_sockets: 0,
            verified_pairs: 0,
            profile: scenario.profile,
        };
        overlaid::audience(scenario).iter().for_each(|group| implied.add(group, &fleet));
        implied
    }

    fn add(&mut self, group: &SubscriberGroup, fleet: &Fleet) {
        let (sockets, seen) = (group.sockets(), fleet.seen_by(group));
        self.subscriber_sockets += sockets;
        self.verified_pairs += sockets * seen.publishers;
        if group.class != ClassKind::Healthy {
            self.clogged_sockets += sockets;
        }
        // Stalled sockets soon accept no more data.
        if group.class != ClassKind::Stalled {
            self.deliveries_per_s += seen.frames_per_s * sockets as f64;
            self.egress_bits_per_s += seen.bytes_per_s * 8.0 * sockets as f64;
            self.writes_per_s += seen.ticks_per_s * sockets as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::builtin;
    use crate::scenario::publishers::Phase;

    fn scenario(name: &str) -> Scenario {
        Scenario::parse(builtin::find(name).unwrap().text).unwrap()
    }

    #[test]
    fn walls_of_aligned_publishers_take_one_write_a_tick() {
        assert_eq!(Implied::of(&scenario("control-room")).writes_per_s, 3_000.0);
        let mut staggered = scenario("control-room");
        staggered.publishers[0].phase = Phase::Staggered;
        assert_eq!(Implied::of(&staggered).writes_per_s, 50_000.0);
    }

    #[test]
    fn a_multiplexed_dashboard_is_one_socket_and_one_write_a_tick() {
        let dashboards = Implied::of(&scenario("dashboards"));
        assert_eq!((dashboards.subscriber_sockets, dashboards.verified_pairs), (1_000, 20_000));
        assert_eq!((dashboards.deliveries_per_s, dashboards.writes_per_s), (600e3, 30e3));
        let mut slower = scenario("dashboards");
        slower.subscribers[0].pace.rate = Some(4);
        assert_eq!(Implied::of(&slower).deliveries_per_s, 80e3);
        slower.subscribers[0].form = crate::codec::form::Form::Raw;
        assert_eq!(Implied::of(&slower).subscriber_sockets, 20_000);
    }

    #[test]
    fn stalled_readers_take_nothing_and_slow_ones_clog() {
        let mut scenario = scenario("quickstart");
        let healthy = Implied::of(&scenario);
        scenario.subscribers[0].class = ClassKind::Stalled;
        let stalled = Implied::of(&scenario);
        assert_eq!((healthy.clogged_sockets, stalled.clogged_sockets), (0, 2_000));
        assert_eq!((stalled.deliveries_per_s, stalled.writes_per_s), (0.0, 0.0));
        assert_eq!(stalled.subscriber_sockets, healthy.subscriber_sockets);
    }
}
