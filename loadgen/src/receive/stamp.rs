//! The index of publishers that every thread shares: who published a frame, its tick, when it was
//! due and when it was sent. Must not know sockets, and reads no clock: publishers record when they
//! send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use crate::codec::claim::{Claim, Corrupt, Reject, When};
use crate::codec::memo::Memo;
use crate::codec::payload;
use crate::codec::track::Track;
use crate::plan::departures::{Departure, Departures};
use crate::plan::deviation::PublisherFaults;
use crate::plan::laps::Laps;
use crate::plan::plan::Plan;
use crate::plan::publisher::PublisherPlan;
use crate::plan::schedule::{Jitter, Schedule};
use crate::time::clock::UtcMap;
use crate::time::draw::mix;
use crate::time::grid::{Grid, Span};
use crate::time::units::{SECOND_NS, nanoseconds};

/// The publishers of a run with a known start, and what they have sent.
#[derive(Debug)]
pub struct PublisherIndex {
    run_id: u32,
    seed: u64,
    start_unix_ns: u64,
    utc: UtcMap,
    sample_every: u64,
    laps: Laps,
    entries: Vec<Entry>,
    index_of: FxHashMap<u16, u32>,
}

#[derive(Debug)]
struct Entry {
    departures: Departures,
    /// The recorded stream, which determines when frames are due if the publisher replays one.
    recorded: Option<Arc<Track>>,
    log: SendLog,
    /// Whether this process publishes it; the send instants of other hosts are not known here.
    is_own: bool,
}

impl PublisherIndex {
    /// The publishers of a plan whose first ticks are at `start_unix_ns`; one of `sample_every`
    /// measured frames is sampled for the spread.
    pub fn new(plan: &Plan, start_unix_ns: u64, utc: UtcMap, sample_every: u32) -> PublisherIndex {
        let entry = |(number, publisher): (u32, &PublisherPlan)| Entry {
            departures: Departures::of(schedule(plan, publisher, start_unix_ns)),
            recorded: publisher.recorded.clone(),
            log: SendLog::new(),
            is_own: plan.part.has(number),
        };
        let ids = plan.publishers.iter().map(|publisher| publisher.id);
        let measured_from_ns = utc.mono_of_unix(start_unix_ns) + nanoseconds(plan.warmup);
        PublisherIndex {
            run_id: plan.run_id,
            seed: plan.seed,
            start_unix_ns,
            utc,
            sample_every: u64::from(sample_every.max(1)),
            laps: Laps::of(plan, measured_from_ns),
            entries: (0..).zip(&plan.publishers).map(entry).collect(),
            index_of: ids.zip(0..).collect(),
        }
    }

    /// The common start, ns since the Unix epoch.
    pub fn start_unix_ns(&self) -> u64 {
        self.start_unix_ns
    }

    /// The common start on the monotonic clock, ns.
    pub fn start_ns(&self) -> u64 {
        self.utc.mono_of_unix(self.start_unix_ns)
    }

    /// The laps of the measured phase on the monotonic clock.
    pub fn laps(&self) -> &Laps {
        &self.laps
    }

    /// The number of publishers.
    pub fn publishers(&self) -> usize {
        self.entries.len()
    }

    /// A publisher's ticks; for recorded frames only their number and their mean rate.
    pub fn schedule(&self, publisher: u32) -> &Schedule {
        self.departures(publisher).schedule()
    }

    /// A publisher's frames in the order of sending.
    pub fn departures(&self, publisher: u32) -> &Departures {
        &self.entries[publisher as usize].departures
    }

    /// The frame of a publisher with this number.
    pub fn frame(&self, publisher: u32, number: u32) -> Departure {
        self.departures(publisher).frame(number)
    }

    /// The send record of a publisher.
    pub fn log(&self, publisher: u32) -> &SendLog {
        &self.entries[publisher as usize].log
    }

    /// When a frame is due on the monotonic clock, ns.
    pub fn intended_ns(&self, publisher: u32, seq: u32) -> u64 {
        let Entry { departures, recorded, .. } = &self.entries[publisher as usize];
        let unix_ns = match recorded {
            None => departures.due_unix_ns(seq),
            Some(track) => self.start_unix_ns.saturating_add(track.after_ns(seq)),
        };
        self.utc.mono_of_unix(unix_ns)
    }

    /// The stamp of a frame that claims to belong to this run. `None` for a foreign frame, and for
    /// one that this process publishes but has not sent yet.
    pub fn stamp(&self, claim: Claim) -> Option<Stamp> {
        let publisher = *self.index_of.get(&claim.id)?;
        let entry = self.entries.get(publisher as usize)?;
        let Entry { departures, log, is_own, .. } = entry;
        let seq = self.number_of(entry, claim.when)?;
        if *is_own && seq >= log.attempted() {
            return None;
        }
        let measured = seq >= departures.measured_from();
        let intended_ns = self.intended_ns(publisher, seq);
        Some(Stamp {
            publisher,
            seq,
            intended_ns,
            sent_ns: if *is_own { log.sent_ns(seq) } else { None },
            measured,
            lap: self.laps.at(intended_ns),
            sampled: measured && self.is_sampled(claim.id, seq),
            is_repeated: departures.is_repeated(seq),
        })
    }

    fn number_of(&self, entry: &Entry, when: When) -> Option<u32> {
        match (&entry.recorded, when) {
            (Some(track), When::Instant { soc, fracsec, .. }) => {
                track.seq_of(soc, fracsec, self.start_unix_ns)
            }
            (Some(_), _) => None,
            (None, when) => entry.departures.number_of(when, self.run_id),
        }
    }

    fn is_sampled(&self, id: u16, seq: u32) -> bool {
        let key = mix(self.seed ^ SAMPLE_STREAM, u64::from(id), u64::from(seq));
        key.is_multiple_of(self.sample_every)
    }
}

/// What one publisher has sent so far, with the send instants of its newest frames. Its publisher
/// thread writes it, and every receiver reads it.
#[derive(Debug)]
pub struct SendLog {
    attempted: AtomicU32,
    written: AtomicU32,
    sent_ns: Box<[AtomicU64]>,
}

impl SendLog {
    fn new() -> SendLog {
        let sent_ns = (0..RING).map(|_| AtomicU64::new(0)).collect();
        SendLog { attempted: AtomicU32::new(0), written: AtomicU32::new(0), sent_ns }
    }

    /// Records that a frame is about to be written; frames come in order.
    pub fn attempt(&self, seq: u32, now_ns: u64) {
        if let Some(slot) = self.sent_ns.get(seq as usize % RING) {
            slot.store(now_ns, Ordering::Release);
        }
        self.attempted.store(seq + 1, Ordering::Release);
    }

    /// Records how many frames were written completely.
    pub fn set_written(&self, frames: u32) {
        self.written.store(frames, Ordering::Release);
    }

    /// Frames passed to the socket or waiting for it.
    pub fn attempted(&self) -> u32 {
        self.attempted.load(Ordering::Acquire)
    }

    /// Frames written completely.
    pub fn written(&self) -> u32 {
        self.written.load(Ordering::Acquire)
    }

    /// When a frame was sent; `None` if its slot has been reused since then.
    fn sent_ns(&self, seq: u32) -> Option<u64> {
        let at_ns = self.sent_ns.get(seq as usize % RING)?.load(Ordering::Acquire);
        // The slot is stored before `attempted` counts its frame. A reader that sees the instant of
        // the frame one ring later therefore also reads an `attempted` of at least `seq + RING`
        // here.
        (u64::from(self.attempted()) < u64::from(seq) + RING as u64).then_some(at_ns)
    }
}

/// Everything known about one frame on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Index into the plan's publishers.
    pub publisher: u32,
    /// Number of the frame at its publisher, from 0.
    pub seq: u32,
    /// When it was due, ns.
    pub intended_ns: u64,
    /// When it was sent, ns; `None` if its slot was reused, or if another host sent it.
    pub sent_ns: Option<u64>,
    /// Whether it belongs to the measured phase.
    pub measured: bool,
    /// Its lap of the measured phase, if it belongs to one.
    pub lap: u16,
    /// Whether it is sampled for the spread.
    pub sampled: bool,
    /// Whether the next frame is a deliberate duplicate of it.
    pub is_repeated: bool,
}

impl Memo<Stamp> {
    /// The stamp of a message. Before the start there are no publishers, so every frame is foreign.
    #[inline]
    pub fn stamp(
        &mut self,
        message: &[u8],
        publisher_index: Option<&PublisherIndex>,
    ) -> Result<Stamp, Reject> {
        self.of(message, |message| identified(message, publisher_index)).copied()
    }
}

/// The stamp of a message that is not cached.
pub fn identified(
    message: &[u8],
    publisher_index: Option<&PublisherIndex>,
) -> Result<Stamp, Reject> {
    let claim = payload::identify(message).map_err(|Corrupt| Reject::Corrupt)?;
    publisher_index.and_then(|publisher_index| publisher_index.stamp(claim)).ok_or(Reject::Foreign)
}

fn schedule(plan: &Plan, publisher: &PublisherPlan, start_unix_ns: u64) -> Schedule {
    let deviation = publisher.deviation;
    let rate = publisher.rate;
    let grid = Grid::new(deviation.burst.map_or(rate, |burst| burst.grid_rate(rate)));
    let after = |ns: u128| start_unix_ns + u64::try_from(ns).unwrap_or(u64::MAX / 4);
    let starts = deviation.starts.map(|starts| plan.warmup.saturating_add(starts));
    let first_tick = grid.first_tick_from(starts.map_or(start_unix_ns, |at| after(at.as_nanos())));
    let count = |until: u64| u32::try_from(until.saturating_sub(first_tick)).unwrap_or(u32::MAX);
    let [measured_ns, end_ns] =
        [plan.warmup, plan.warmup + plan.measure].map(|d| after(d.as_nanos()));
    let faults = PublisherFaults {
        deviation,
        seed: plan.seed,
        id: publisher.id,
        run: Span { from_ns: start_unix_ns, to_ns: end_ns },
        measured: Span { from_ns: measured_ns, to_ns: end_ns },
    };
    let simulated = Schedule {
        grid,
        first_tick,
        ticks: deviation
            .alarms
            .map_or_else(|| count(grid.first_tick_from(end_ns)), |alarms| alarms.count),
        measured_from: count(grid.first_tick_from(measured_ns)),
        offset_ns: publisher.offset_ns,
        jitter: Jitter { seed: plan.seed, id: publisher.id, max_ns: publisher.jitter_ns },
        faults,
    };
    let Some(track) = &publisher.recorded else { return simulated };
    // For recorded frames it holds only their number and their mean rate.
    Schedule {
        ticks: track.frames_before(nanoseconds(plan.warmup.saturating_add(plan.measure))),
        measured_from: track.frames_before(nanoseconds(plan.warmup)),
        ..simulated
    }
}

/// The number of send instants kept per publisher: the newest eight seconds at 120 frames/s.
const RING: usize = 1024;
const SAMPLE_STREAM: u64 = 0x7370_7265_6164;
const _: () = assert!(RING.is_power_of_two() && SECOND_NS > RING as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::claim::Reject;
    use crate::codec::payload::Payload;
    use crate::fixtures;
    use crate::plan::encoder::Encoder;
    use std::time::Duration;

    const START: u64 = 1_767_225_600 * SECOND_NS;

    /// Three publishers with a jitter of at most a microsecond; the first second is warm-up.
    fn plan(payload: Payload) -> Plan {
        let publisher =
            |id| PublisherPlan { jitter_ns: 1000, payload, ..fixtures::publisher(id, 60) };
        Plan {
            run_id: 5,
            warmup: Duration::from_secs(1),
            measure: Duration::from_secs(30),
            spread_every: 4,
            ..fixtures::plan_of((1001..1004).map(publisher).collect())
        }
    }

    fn publisher_index(plan: &Plan) -> PublisherIndex {
        PublisherIndex::new(plan, START, UtcMap::sample(), plan.spread_every)
    }

    fn frame(plan: &Plan, publisher_index: &PublisherIndex, publisher: u32, seq: u32) -> Vec<u8> {
        let publisher_plan = &plan.publishers[publisher as usize];
        let schedule = *publisher_index.schedule(publisher);
        Encoder::new(plan.run_id, plan.seed, publisher_plan, schedule).encode(seq).to_vec()
    }

    #[test]
    fn a_sent_frame_is_stamped_and_a_repeat_is_the_same() {
        let json = [Payload::Json, Payload::JsonVerbose];
        let others = [Payload::C37118, Payload::Fixed { bytes: 64 }];
        for payload in json.into_iter().chain(others) {
            let plan = plan(payload);
            let publisher_index = publisher_index(&plan);
            (0..=70).for_each(|seq| publisher_index.log(1).attempt(seq, 9_000 + u64::from(seq)));
            let mut memo = Memo::new(3);
            let bytes = frame(&plan, &publisher_index, 1, 70);
            let stamp = memo.stamp(&bytes, Some(&publisher_index)).unwrap();
            assert_eq!((stamp.publisher, stamp.seq, stamp.measured), (1, 70, true));
            assert_eq!(stamp.sent_ns, Some(9_070));
            assert_eq!(stamp.intended_ns, publisher_index.intended_ns(1, 70));
            assert_eq!(memo.stamp(&bytes, Some(&publisher_index)), Ok(stamp));
            let warm =
                memo.stamp(&frame(&plan, &publisher_index, 1, 59), Some(&publisher_index)).unwrap();
            assert!(!warm.measured && !warm.sampled);
        }
    }

    #[test]
    fn foreign_frames_are_told_from_corrupt_ones() {
        let plan = plan(Payload::Fixed { bytes: 64 });
        let publisher_index = publisher_index(&plan);
        (0..=3).for_each(|seq| publisher_index.log(0).attempt(seq, 1));
        let mut memo = Memo::new(3);
        let bytes = frame(&plan, &publisher_index, 0, 3);
        assert_eq!(memo.stamp(&bytes, None), Err(Reject::Foreign), "before the start");
        assert!(memo.stamp(&bytes, Some(&publisher_index)).is_ok());
        let unsent = frame(&plan, &publisher_index, 0, 4);
        assert_eq!(
            memo.stamp(&unsent, Some(&publisher_index)),
            Err(Reject::Foreign),
            "not sent yet"
        );
        let other = Plan { run_id: 6, ..plan.clone() };
        let other = frame(&other, &publisher_index, 0, 3);
        assert_eq!(memo.stamp(&other, Some(&publisher_index)), Err(Reject::Foreign), "another run");
        let mut changed = bytes.clone();
        changed[30] ^= 1;
        assert_eq!(memo.stamp(&changed, Some(&publisher_index)), Err(Reject::Corrupt));
        assert_eq!(memo.stamp(b"", Some(&publisher_index)), Err(Reject::Corrupt));
    }

    #[test]
    fn the_frames_of_a_publisher_that_begins_late_count_from_its_first() {
        let mut plan = plan(Payload::Fixed { bytes: 64 });
        plan.course.laps = 3;
        plan.publishers[1].deviation.starts = Some(Duration::from_secs(10));
        // The start lies after the present, so that all its instants exist on the monotonic clock.
        let publisher_index =
            PublisherIndex::new(&plan, 4_000_000_000 * SECOND_NS, UtcMap::sample(), 1);
        let departures = publisher_index.departures(1);
        assert_eq!((departures.count(), departures.measured_from()), (20 * 60, 0));
        let after_ns =
            publisher_index.intended_ns(1, 0) - publisher_index.start_ns() - 11 * SECOND_NS;
        assert!(after_ns <= 1_000, "{after_ns}: no more than its jitter");
        publisher_index.log(1).attempt(0, 1);
        let stamp = Memo::new(3)
            .stamp(&frame(&plan, &publisher_index, 1, 0), Some(&publisher_index))
            .unwrap();
        assert_eq!((stamp.seq, stamp.measured, stamp.lap), (0, true, 1));
        assert_eq!(publisher_index.departures(0).count(), 31 * 60);
    }

    #[test]
    fn send_instants_that_were_overwritten_are_not_invented() {
        let log = SendLog::new();
        (0..RING as u32 + 5).for_each(|seq| log.attempt(seq, u64::from(seq) + 1));
        assert_eq!(log.sent_ns(5), None);
        assert_eq!(log.sent_ns(6), Some(7));
        assert_eq!(log.sent_ns(RING as u32 + 4), Some(RING as u64 + 5));
    }

    #[test]
    fn one_of_n_measured_frames_is_sampled() {
        let plan = plan(Payload::C37118);
        let publisher_index = publisher_index(&plan);
        let ticks = publisher_index.schedule(0).ticks;
        (0..ticks).for_each(|seq| publisher_index.log(0).attempt(seq, 1));
        let mut memo = Memo::new(3);
        let sampled = (0..ticks)
            .filter(|seq| {
                memo.stamp(&frame(&plan, &publisher_index, 0, *seq), Some(&publisher_index))
                    .unwrap()
                    .sampled
            })
            .count();
        assert_eq!(ticks, 31 * 60);
        assert!((350..550).contains(&sampled), "{sampled} of 1800 measured");
    }
}
