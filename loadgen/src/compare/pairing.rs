//! How the runs of two sides are paired. Must not compare.

/// How the runs of a pair were taken. Host effects that both runs share cancel out of their ratio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pairing {
    /// The runs are not paired.
    #[default]
    None,
    /// One directly after the other. They share only slow changes of the host, so the sides are
    /// tested.
    ByTurns,
    /// At the same time, on the same CPUs. They share all changes of the host, so the pairs are
    /// tested.
    Together,
}
