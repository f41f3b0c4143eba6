//! How runs of two sides are paired. Must not compare.

/// How the runs of a pair were taken: what the host did to both cancels out of their ratio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pairing {
    /// There are no pairs.
    #[default]
    None,
    /// One right after the other: they share the hour, and little else. So sides are tested.
    ByTurns,
    /// At the same time, on the same CPUs. So pairs are tested.
    Together,
}
