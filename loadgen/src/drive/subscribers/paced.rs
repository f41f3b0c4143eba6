//! The state of sockets that do not read at once. Must not read them.

/// A slow socket's allowance.
pub(super) struct Paced {
    pub(super) key: usize,
    /// Index into the plan, because socket keys are reused.
    pub(super) subscriber: u32,
    pub(super) bytes_per_s: u64,
    pub(super) credit: u64,
}

/// A socket that pauses.
pub(super) struct Pausing {
    pub(super) key: usize,
    pub(super) subscriber: u32,
    /// Whether it paused at the last check.
    pub(super) is_paused: bool,
}
