//! What the parts of one load agree on while it runs: the start, the number of published frames,
//! and how far each publisher's frames were received. A single-host run agrees with itself. Must
//! not know sockets, nor how the parts communicate.

use thiserror::Error;

use crate::plan::plan::Plan;
use crate::receive::spread;
use crate::receive::stamp::PublisherIndex;
use crate::receive::windows::WindowPart;
use crate::time::clock::{UtcMap, mono_ns};
use crate::time::units::SECOND_NS;

/// The other parts of the load have ended or do not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct CoordinationLost(pub String);

/// When a run starts, and on which clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Instant of the first tick, a whole second, ns since the Unix epoch.
    pub unix_ns: u64,
    /// The mapping of the common UTC onto this host's monotonic clock.
    pub utc: UtcMap,
    /// One of this many measured frames is sampled for the spread.
    pub sample_every: u32,
}

/// The other parts of a load, as seen by one part.
pub trait Coordinator: Sync {
    /// Every socket of this part is open; waits for the common start.
    ///
    /// # Errors
    /// When the others do not start.
    fn start(&self, plan: &Plan) -> Result<Start, CoordinationLost>;

    /// This part has published everything. Takes the number of frames each publisher wrote, zero
    /// for publishers of other parts; returns the same for all parts.
    ///
    /// # Errors
    /// When the others are gone.
    fn published(&self, written: Vec<u32>) -> Result<Vec<u32>, CoordinationLost>;

    /// This part expects no more frames. Takes the last received frame of each publisher as far as
    /// this part knows; returns the last one that any part has received.
    ///
    /// # Errors
    /// When the others are gone.
    fn seen(&self, ends: Vec<u32>) -> Result<Vec<u32>, CoordinationLost>;

    /// A thread of this part reports its second.
    fn second(&self, part: &WindowPart);
}

/// The coordinator of a run that is the whole load.
#[derive(Debug, Clone, Copy, Default)]
pub struct SingleHost;

impl Coordinator for SingleHost {
    /// The next whole second that leaves enough time for every thread to get ready and for a sample
    /// of the idle sockets.
    fn start(&self, plan: &Plan) -> Result<Start, CoordinationLost> {
        let utc = UtcMap::sample();
        let unix_ns = second_after(utc, LEAD_NS);
        Ok(Start { unix_ns, utc, sample_every: sample_every(plan, unix_ns, utc) })
    }

    fn published(&self, written: Vec<u32>) -> Result<Vec<u32>, CoordinationLost> {
        Ok(written)
    }

    fn seen(&self, ends: Vec<u32>) -> Result<Vec<u32>, CoordinationLost> {
        Ok(ends)
    }

    fn second(&self, _: &WindowPart) {}
}

/// The first whole second at least `lead_ns` from now, ns since the Unix epoch.
pub fn second_after(utc: UtcMap, lead_ns: u64) -> u64 {
    (utc.unix_of_mono(mono_ns()) + lead_ns).div_ceil(SECOND_NS) * SECOND_NS
}

/// The number of measured frames per frame that is sampled for the spread.
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
