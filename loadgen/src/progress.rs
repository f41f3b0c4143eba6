//! How far a run is, told by its threads while it goes on, and the request to stop it. Exact
//! results are in the outcome; these numbers are for display and sampling. Must not block anybody.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Counters of a run so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Subscriber sockets upgraded.
    pub connected: AtomicU64,
    /// Failed tries to open one.
    pub errors: AtomicU64,
    /// Frames published.
    pub sent: AtomicU64,
    /// Distinct frames received, all classes.
    pub received: AtomicU64,
    /// Frames jumped over and not seen since, all classes.
    pub lost: AtomicU64,
    /// Sockets the server closed.
    pub closed: AtomicU64,
    /// Set by anyone to end the run in order: publishing stops, what is under way is awaited.
    pub stop: AtomicBool,
    phase: AtomicU8,
}

/// The phases of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Subscriber sockets are being opened.
    Ramp,
    /// All sockets are open and idle.
    Ready,
    /// Published and verified, but not in the latency histograms.
    Warmup,
    /// Measured.
    Measure,
    /// Nothing is published any more; frames under way are awaited.
    Drain,
    /// Over.
    Done,
}

impl Progress {
    /// The phase the run is in.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Ramp,
            1 => Phase::Ready,
            2 => Phase::Warmup,
            3 => Phase::Measure,
            4 => Phase::Drain,
            _ => Phase::Done,
        }
    }

    /// Moves on to a phase; never back.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// Distinct frames received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the run shall end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
