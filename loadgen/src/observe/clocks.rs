//! The precision of a run's instants: exact if one clock measured both ends, within a bound if
//! several hosts took part. Must not measure clocks.

use serde::Serialize;

use crate::time::units::format_ns;

/// The clocks that a run was measured with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Clocks {
    /// The clocks of the agents; empty if this host did everything.
    pub agents: Vec<AgentClock>,
}

/// The clock of one agent against the conductor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentClock {
    /// `host:port`.
    pub agent: String,
    /// How far it was ahead, ns; subtracted from every instant.
    pub host: String,
    /// By how much it was ahead, ns; taken out of every instant.
    pub ahead_ns: i64,
    /// The largest remaining error, in either direction, ns.
    pub bound_ns: u64,
}

impl Clocks {
    /// The name of this kind of clock.
    pub fn mode(&self) -> &'static str {
        if self.agents.is_empty() { "single" } else { "agents" }
    }

    /// The largest error of a latency between two agents, ns: the sum of both clocks' errors.
    pub fn bound_ns(&self) -> u64 {
        two_worst_ns(self.agents.iter().map(|agent| agent.bound_ns))
    }
}

/// The largest difference between two clocks with these bounds, ns: the sum of the two largest.
pub fn two_worst_ns(bounds: impl Iterator<Item = u64>) -> u64 {
    let mut bounds: Vec<u64> = bounds.collect();
    bounds.sort_unstable_by(|a, b| b.cmp(a));
    match bounds.as_slice() {
        [worst, next, ..] => worst.saturating_add(*next),
        // A single agent compares its clock only with itself.
        [] | [_] => 0,
    }
}

/// A latency for people: behind `>=` if it is only the least it can be.
pub fn latency(ns: i64, is_least: bool, bound_ns: u64) -> String {
    let within = within(ns as f64, bound_ns);
    if is_least { format!(">= {within}") } else { within }
}

/// A latency with its bound: `1.2 ms ±40 µs`; in parentheses if the bound is larger than the
/// latency.
pub fn within(ns: f64, bound_ns: u64) -> String {
    match bound_ns {
        0 => format_ns(ns),
        bound if ns < bound as f64 => format!("({} ±{})", format_ns(ns), format_ns(bound as f64)),
        bound => format!("{} ±{}", format_ns(ns), format_ns(bound as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(bounds: &[u64]) -> Clocks {
        let of = |bound: &u64| AgentClock {
            agent: "a:1".into(),
            host: "h".into(),
            ahead_ns: 0,
            bound_ns: *bound,
        };
        Clocks { agents: bounds.iter().map(of).collect() }
    }

    #[test]
    fn a_latency_is_as_uncertain_as_the_two_worst_clocks() {
        assert_eq!((clocks(&[]).bound_ns(), clocks(&[]).mode()), (0, "single"));
        assert_eq!((clocks(&[7]).bound_ns(), clocks(&[7]).mode()), (0, "agents"));
        assert_eq!(clocks(&[20, 5, 30]).bound_ns(), 50);
        assert_eq!(clocks(&[u64::MAX, 1]).bound_ns(), u64::MAX);
    }

    #[test]
    fn what_is_below_the_bound_is_set_apart() {
        assert_eq!(within(1_200_000.0, 0), "1.20 ms");
        assert_eq!(within(1_200_000.0, 40_000), "1.20 ms ±40.0 µs");
        assert_eq!(within(12_000.0, 40_000), "(12.0 µs ±40.0 µs)");
    }
}
