//! What the parts of one load agree on while it runs: when it starts, how much was published, how
//! far each publisher's frames have been seen. A run that is alone agrees with itself. Must not
//! know sockets, nor how parts reach each other.

use thiserror::Error;

use crate::plan::plan::Plan;
use crate::receive::spread;
use crate::receive::stamp::PublisherIndex;
use crate::receive::windows::WindowPart;
use crate::time::clock::{UtcMap, mono_ns};
use crate::time::units::SECOND_NS;

/// The other parts of the load are gone, or do not go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Disbanded(pub String);

/// When a run starts, and on which clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Instant of the first tick, a whole second, ns since the Unix epoch.
    pub unix_ns: u64,
    /// How the common UTC lies on this host's monotonic clock.
    pub utc: UtcMap,
    /// One of this many measured frames is sampled for the spread.
    pub sample_every: u32,
}

/// The other parts of a load, as one of them sees them.
pub trait Coordinator: Sync {
    /// Every socket of this part is open: the common start.
    ///
    /// # Errors
    /// When the others do not start.
    fn start(&self, plan: &Plan) -> Result<Start, Disbanded>;

    /// This part has published what it shall: how many frames each publisher wrote, zero for those
    /// of other parts. Answers the same of all.
    ///
    /// # Errors
    /// When the others are gone.
    fn published(&self, written: Vec<u32>) -> Result<Vec<u32>, Disbanded>;

    /// This part waits for nothing more: the end of each publisher's frames as far as it knows.
    /// Answers the farthest that any part knows.
    ///
    /// # Errors
    /// When the others are gone.
    fn seen(&self, ends: Vec<u32>) -> Result<Vec<u32>, Disbanded>;

    /// A thread of this part tells its second.
    fn second(&self, part: &WindowPart);
}

/// A run that is the whole load.
#[derive(Debug, Clone, Copy, Default)]
pub struct Solo;

impl Coordinator for Solo {
    /// The next whole second that is far enough ahead for every thread to be ready and for the idle
    /// sockets to be looked at.
    fn start(&self, plan: &Plan) -> Result<Start, Disbanded> {
        let utc = UtcMap::sample();
        let unix_ns = second_after(utc, LEAD_NS);
        Ok(Start { unix_ns, utc, sample_every: sample_every(plan, unix_ns, utc) })
    }

    fn published(&self, written: Vec<u32>) -> Result<Vec<u32>, Disbanded> {
        Ok(written)
    }

    fn seen(&self, ends: Vec<u32>) -> Result<Vec<u32>, Disbanded> {
        Ok(ends)
    }

    fn second(&self, _: &WindowPart) {}
}

/// The first whole second at least `lead_ns` from now, ns since the Unix epoch.
pub fn second_after(utc: UtcMap, lead_ns: u64) -> u64 {
    (utc.unix_of_mono(mono_ns()) + lead_ns).div_ceil(SECOND_NS) * SECOND_NS
}

/// How many frames there are for each that is sampled for the spread.
pub fn sample_every(plan: &Plan, start_unix_ns: u64, utc: UtcMap) -> u32 {
    let publisher_index = PublisherIndex::new(plan, start_unix_ns, utc, 1);
    let measured = |publisher: u32| {
        let departures = publisher_index.departures(publisher);
        u64::from(departures.count().saturating_sub(departures.measured_from()))
    };
    let frames: Vec<u64> = (0..plan.publishers.len() as u32).map(measured).collect();
    spread::sample_every(plan, &frames)
}

const LEAD_NS: u64 = SECOND_NS / 2;
