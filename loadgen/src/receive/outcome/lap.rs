//! What was received of the frames that were due in one lap. Must not know sockets.

use serde::{Deserialize, Serialize};

use crate::receive::histograms::{SignedHistogram, merge_some};

/// What the sockets of one class received of the frames that were due in one lap.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LapOutcome {
    /// Sockets that had connected by its end.
    pub sockets: u64,
    /// Receive minus intended send instant, ns.
    pub e2e: SignedHistogram,
    /// The ages of its undelivered frames at the end of the drain, ns.
    #[serde(default)]
    pub waiting: Option<Box<SignedHistogram>>,
    /// Frames skipped in the sequence and not received since, by the lap of the frames after them.
    pub missing: u64,
    /// Gaps that the server reported while the frames of this lap arrived.
    pub gaps: u64,
}

impl LapOutcome {
    fn merge(&mut self, other: &LapOutcome) {
        self.sockets += other.sockets;
        self.e2e.merge(&other.e2e);
        merge_some(&mut self.waiting, other.waiting.as_deref());
        self.missing += other.missing;
        self.gaps += other.gaps;
    }
}

/// Adds the laps that another thread saw.
pub fn merge(into: &mut Vec<LapOutcome>, from: &[LapOutcome]) {
    if into.len() < from.len() {
        into.resize_with(from.len(), LapOutcome::default);
    }
    into.iter_mut().zip(from).for_each(|(into, lap)| into.merge(lap));
}

/// Adds counts by lap.
pub fn add(into: &mut Vec<u64>, from: &[u64]) {
    into.resize(into.len().max(from.len()), 0);
    into.iter_mut().zip(from).for_each(|(into, count)| *into += count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::receive::outcome::class::{ClassOutcome, count_sockets};
    use crate::scenario::groups::ClassKind;
    use crate::time::units::SECOND_NS;

    #[test]
    fn laps_of_threads_add_up() {
        let lap = |missing, ns| {
            let mut lap = LapOutcome { sockets: 2, missing, ..LapOutcome::default() };
            lap.e2e.record(ns);
            lap
        };
        let mut whole = Vec::new();
        merge(&mut whole, &[lap(1, 5_000), lap(0, 6_000)]);
        merge(&mut whole, &[lap(0, 7_000), lap(3, 8_000)]);
        let found: Vec<_> =
            whole.iter().map(|l| (l.sockets, l.missing, l.e2e.len(), l.e2e.max())).collect();
        assert_eq!(found, [(4, 1, 2, 7_000), (4, 3, 2, 8_000)]);
        let mut sent = Vec::new();
        add(&mut sent, &[1, 2]);
        add(&mut sent, &[10, 20, 30]);
        assert_eq!(sent, [11, 22, 30]);
    }

    #[test]
    fn sockets_count_from_the_lap_in_which_they_came() {
        let class = |name, sockets| ClassOutcome {
            sockets,
            laps: vec![LapOutcome::default(); 3],
            ..fixtures::class(name, ClassKind::Healthy)
        };
        let mut classes = [class("a", 10), class("b", 4)];
        let joined = [(0, 100), (0, 103), (0, 103), (1, 104)].map(|(c, s)| (c, s * SECOND_NS));
        count_sockets(&mut classes, &joined, &fixtures::laps());
        let found = classes.map(|class| [0, 1, 2].map(|lap| class.laps[lap].sockets));
        assert_eq!(found, [[8, 10, 10], [3, 3, 4]]);
    }
}
