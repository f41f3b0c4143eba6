//! The progress of a run, reported by its threads, and the request to stop it. These numbers are
//! for display and sampling; exact results are in the outcome. Must not block any thread.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::receive::outcome::window::Window;

/// Counters of a run so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Subscriber sockets that are open.
    pub connected: AtomicU64,
    /// Failed attempts to open one.
    pub errors: AtomicU64,
    /// Frames published.
    pub sent: AtomicU64,
    /// Distinct frames received, all classes.
    pub received: AtomicU64,
    /// Frames skipped in the sequence and not received since, all classes.
    pub lost: AtomicU64,
    /// Sockets the server closed.
    pub closed: AtomicU64,
    /// Set by any thread to end the run in order: publishing stops, and frames in transit are
    /// awaited.
    pub stop: AtomicBool,
    phase: AtomicU8,
    /// The largest lateness of a publish since it was last read, ns.
    late_max_ns: AtomicU64,
    /// The largest CPU share of a thread in one second since it was last read, per mille.
    busy_max_permille: AtomicU64,
    /// The largest error of a latency, in either direction, ns; 0 if one clock measured both ends.
    bound_ns: AtomicU64,
    latest: Mutex<Option<Window>>,
}

/// The figures of the last second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Its latencies, once a second has passed.
    pub window: Option<Window>,
    /// The largest lateness of a publish, ns.
    pub late_max_ns: u64,
    /// The largest share of a CPU that a thread used.
    pub busy_max: f64,
    /// The largest error of its latencies, in either direction, ns.
    pub bound_ns: u64,
}

/// The phases of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Subscriber sockets are being opened.
    Ramp,
    /// All sockets are open and idle.
    Ready,
    /// Published and verified, but excluded from the latency histograms.
    Warmup,
    /// Measured.
    Measure,
    /// Publishing has ended; frames in transit are awaited.
    Drain,
    /// The run has ended.
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

    /// Moves to a later phase, never back.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// Reports the latest publish of a publisher's second, ns.
    pub fn note_late(&self, late_max_ns: u64) {
        self.late_max_ns.fetch_max(late_max_ns, Ordering::Relaxed);
    }

    /// Reports the CPU share of a thread in its last second.
    pub fn note_busy(&self, share: f64) {
        self.busy_max_permille.fetch_max((share * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Reports the largest error of latencies between hosts, ns.
    pub fn note_bound(&self, bound_ns: u64) {
        self.bound_ns.store(bound_ns, Ordering::Relaxed);
    }

    /// Reports the latencies of a second.
    pub fn note_window(&self, window: Window) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(window);
    }

    /// The figures since the last call; latencies stay until newer ones arrive.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            window: self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            late_max_ns: self.late_max_ns.swap(0, Ordering::Relaxed),
            busy_max: self.busy_max_permille.swap(0, Ordering::Relaxed) as f64 / 1000.0,
            bound_ns: self.bound_ns.load(Ordering::Relaxed),
        }
    }

    /// Distinct frames received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Requests the end of the run.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the run must end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
