//! One publisher's ticks in one run: their instants, and the deviations of their frames. Pure; must
//! not read a clock.

use crate::plan::deviation::{FrameFate, Mark, PublisherFaults};
use crate::time::draw::mix;
use crate::time::grid::Grid;

/// One publisher's ticks of one run, numbered from zero: `seq` 0 is the first tick at or after the
/// common start.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The grid of the publisher's rate.
    pub grid: Grid,
    /// Grid tick of `seq` 0.
    pub first_tick: u64,
    /// Ticks in the run.
    pub ticks: u32,
    /// First `seq` of the measured phase.
    pub measured_from: u32,
    /// Phase after the grid, ns.
    pub offset_ns: u64,
    /// Jitter bound and its key.
    pub jitter: Jitter,
    /// The deviations from the schedule.
    pub faults: PublisherFaults,
}

impl Schedule {
    /// The `seq` of a grid tick, if it belongs to this run.
    pub fn seq_of(&self, tick: u64) -> Option<u32> {
        let seq = u32::try_from(tick.checked_sub(self.first_tick)?).ok()?;
        (seq < self.ticks).then_some(seq)
    }

    /// The grid tick of a `seq`.
    pub fn tick(&self, seq: u32) -> u64 {
        self.first_tick + u64::from(seq)
    }

    /// The instant the frame is due: grid instant, phase and jitter; ns since the Unix epoch.
    pub fn intended_unix_ns(&self, seq: u32) -> u64 {
        let tick = self.tick(seq);
        self.grid.tick_unix_ns(tick) + self.offset_ns + self.jitter.of(tick)
    }

    /// What happens to the frame on purpose.
    pub fn fate(&self, seq: u32) -> FrameFate {
        self.faults.fate(self.tick(seq), seq, self.intended_unix_ns(seq))
    }

    /// How the contents of the frame deviate on purpose.
    pub fn mark(&self, seq: u32) -> Mark {
        if !self.faults.marks_frames() {
            return Mark::default();
        }
        self.faults.mark(self.grid.tick_unix_ns(self.tick(seq)))
    }

    /// The first `seq` with a new configuration, if one takes effect in this run.
    pub fn first_changed(&self) -> Option<u32> {
        let from_ns = self.faults.new_configuration_unix_ns()?;
        self.seq_of(self.grid.first_tick_from(from_ns))
    }
}

/// Jitter that publisher and receiver compute alike: a function of seed, publisher and tick.
#[derive(Debug, Clone, Copy)]
pub struct Jitter {
    /// Seed of the run.
    pub seed: u64,
    /// Publisher id.
    pub id: u16,
    /// Largest value, ns; 0 for none.
    pub max_ns: u64,
}

impl Jitter {
    /// The jitter of a tick, 0 to `max_ns`.
    pub fn of(&self, tick: u64) -> u64 {
        match self.max_ns {
            0 => 0,
            max_ns => mix(self.seed, u64::from(self.id), tick) % (max_ns + 1),
        }
    }
}
