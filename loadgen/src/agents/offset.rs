//! The offset between two clocks and its error bound, from requests and their answers. The fastest
//! answer is the best, because the true offset lies within half its round trip. Pure arithmetic;
//! must not read clocks or sockets.

use std::collections::VecDeque;

use serde::Serialize;

/// The instants of one request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// When the request was sent, on the sender's clock, ns.
    pub sent_ns: u64,
    /// The time in the answer, ns.
    pub remote_ns: u64,
    /// When the answer arrived, on the sender's clock, ns.
    pub received_ns: u64,
}

/// An offset with its error bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Offset {
    /// By how much the other clock is ahead, ns.
    pub ahead_ns: i64,
    /// The largest error, in either direction, ns.
    pub bound_ns: u64,
}

impl Probe {
    /// The offset in the middle of the round trip.
    pub fn offset(self) -> Offset {
        let trip_ns = self.received_ns.saturating_sub(self.sent_ns);
        let middle_ns = self.sent_ns + trip_ns / 2;
        let ahead_ns = self.remote_ns.wrapping_sub(middle_ns).cast_signed();
        Offset { ahead_ns, bound_ns: trip_ns.div_ceil(2) }
    }
}

/// The offset of one agent's clock over a run.
#[derive(Debug, Clone, Default)]
pub struct OffsetTrack {
    first: Option<Offset>,
    latest: VecDeque<Offset>,
}

impl OffsetTrack {
    /// A request before the start: the best of these gives the offset of the run.
    pub fn before(&mut self, probe: Probe) {
        let offset = probe.offset();
        if self.first.is_none_or(|first| offset.bound_ns < first.bound_ns) {
            self.first = Some(offset);
        }
    }

    /// A request during the run.
    pub fn during(&mut self, probe: Probe) {
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(probe.offset());
    }

    /// The offset to use.
    pub fn used(&self) -> Offset {
        self.first.unwrap_or(Offset { ahead_ns: 0, bound_ns: u64::MAX })
    }

    /// The largest error of an instant from this agent, ns: the bound of the first requests, or, if
    /// the clocks have drifted further apart, the drift plus the bound of the best last request.
    pub fn bound_ns(&self) -> u64 {
        let used = self.used();
        let moved = |latest: &Offset| {
            let apart = latest.ahead_ns.abs_diff(used.ahead_ns);
            // A difference within both bounds does not prove a drift.
            if apart <= used.bound_ns + latest.bound_ns { 0 } else { apart + latest.bound_ns }
        };
        let latest = self.latest.iter().min_by_key(|offset| offset.bound_ns);
        used.bound_ns.max(latest.map_or(0, moved))
    }
}

/// The number of requests that represent the end of a run: those of a few seconds.
const LATEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_truth_is_within_the_bound(
            ahead in -1_000_000_000i64..1_000_000_000,
            there in 0u64..1_000_000,
            back in 0u64..1_000_000,
        ) {
            let sent_ns = 1_700_000_000_000_000_000;
            let remote_ns = (sent_ns + there).wrapping_add_signed(ahead);
            let probe = Probe { sent_ns, remote_ns, received_ns: sent_ns + there + back };
            let offset = probe.offset();
            prop_assert!(offset.ahead_ns.abs_diff(ahead) <= offset.bound_ns);
        }
    }

    fn probe(remote_ns: u64, trip_ns: u64) -> Probe {
        Probe { sent_ns: 1_000, remote_ns, received_ns: 1_000 + trip_ns }
    }

    #[test]
    fn the_quickest_answer_counts() {
        let mut track = OffsetTrack::default();
        assert_eq!(track.bound_ns(), u64::MAX);
        [probe(1_500, 400), probe(1_550, 100), probe(1_900, 800)]
            .into_iter()
            .for_each(|p| track.before(p));
        assert_eq!(track.used(), Offset { ahead_ns: 500, bound_ns: 50 });
        assert_eq!(track.bound_ns(), 50);
    }

    #[test]
    fn clocks_that_moved_widen_the_bound() {
        let mut track = OffsetTrack::default();
        track.before(probe(1_050, 100));
        track.during(probe(1_070, 100));
        assert_eq!(track.bound_ns(), 50, "within what was known");
        (0..LATEST).for_each(|_| track.during(probe(9_050, 100)));
        assert_eq!(track.bound_ns(), 8_050);
    }
}
