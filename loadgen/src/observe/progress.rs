//! How far a run is, told by its threads while it goes on, and the request to stop it. Exact
//! results are in the outcome; these numbers are for display and sampling. Must not block anybody.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::receive::outcome::window::Window;

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
    /// By how much a publish was late at most since that was last asked, ns.
    late_max_ns: AtomicU64,
    /// The largest share of a CPU that a thread used in a second since that was last asked, per
    /// mille.
    busy_max_permille: AtomicU64,
    /// By how much a latency may be wrong, either way, ns; 0 where one clock sees both ends.
    bound_ns: AtomicU64,
    latest: Mutex<Option<Window>>,
}

/// What the last second was like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Glance {
    /// Its latencies, once one has passed.
    pub window: Option<Window>,
    /// By how much a publish was late at most, ns.
    pub late_max_ns: u64,
    /// The largest share of a CPU that a thread used.
    pub busy_max: f64,
    /// By how much its latencies may be wrong, either way, ns.
    pub bound_ns: u64,
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

    /// Tells how a publisher's second was: its latest publish, ns.
    pub fn note_late(&self, late_max_ns: u64) {
        self.late_max_ns.fetch_max(late_max_ns, Ordering::Relaxed);
    }

    /// Tells how busy a thread was in its last second, as a share of a CPU.
    pub fn note_busy(&self, share: f64) {
        self.busy_max_permille.fetch_max((share * 1000.0) as u64, Ordering::Relaxed);
    }

    /// Tells by how much latencies from one host to another may be wrong, ns.
    pub fn note_bound(&self, bound_ns: u64) {
        self.bound_ns.store(bound_ns, Ordering::Relaxed);
    }

    /// Tells a second's latencies.
    pub fn note_window(&self, window: Window) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(window);
    }

    /// What was told since the last call; latencies stay until there are newer ones.
    pub fn glance(&self) -> Glance {
        Glance {
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

    /// Asks for the end of the run.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the run shall end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
