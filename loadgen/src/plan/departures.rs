//! The order in which one publisher's frames are sent. Without deviations, frame n is that of tick
//! n and nothing is stored. With deviations, the frames are listed in the order of their send
//! instants and numbered in that order. Receivers therefore expect the numbers 0, 1, 2 … each once,
//! even if frames are late, withheld or duplicated on purpose: a missing number is a lost frame,
//! and another order was caused by the server. Must not know sockets, and reads no clock.

use crate::codec::c37118::TIME_BASE;
use crate::codec::claim::When;
use crate::plan::deviation::FrameFate;
use crate::plan::schedule::Schedule;

/// One frame to send. Frames compare by the order of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Departure {
    /// When it is due, ns since the Unix epoch.
    pub due_unix_ns: u64,
    /// Its tick, counted from the first tick of the run.
    pub seq: u32,
    /// The kind of frame.
    pub kind: FrameKind,
}

/// The kind of frame to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameKind {
    /// A configuration that is valid from this tick on.
    Configuration,
    /// The frame of a tick.
    Data,
    /// A duplicate of the frame before.
    Copy,
}

/// All frames of a publisher, numbered in the order of sending.
#[derive(Debug)]
pub struct Departures {
    schedule: Schedule,
    listed: Option<Listed>,
}

#[derive(Debug)]
struct Listed {
    frames: Box<[Departure]>,
    measured_from: u32,
    /// When withheld frames would have been due, in order.
    withheld: Box<[u64]>,
}

impl Departures {
    /// The frames of a schedule.
    pub fn of(schedule: Schedule) -> Departures {
        let listed = schedule.faults.moves_frames().then(|| Listed::of(&schedule));
        Departures { schedule, listed }
    }

    /// The schedule of these frames.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Whether frames differ from the ticks in order, number or time.
    pub fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// The number of frames to send.
    pub fn count(&self) -> u32 {
        self.listed.as_ref().map_or(self.schedule.ticks, |listed| listed.frames.len() as u32)
    }

    /// The first frame of the measured phase.
    pub fn measured_from(&self) -> u32 {
        self.listed.as_ref().map_or(self.schedule.measured_from, |listed| listed.measured_from)
    }

    /// The frame with this number, which must be below `count`.
    pub fn frame(&self, number: u32) -> Departure {
        let listed = self.listed.as_ref().and_then(|listed| listed.frames.get(number as usize));
        listed.copied().unwrap_or_else(|| {
            let due_unix_ns = self.schedule.intended_unix_ns(number);
            Departure { due_unix_ns, seq: number, kind: FrameKind::Data }
        })
    }

    /// When a frame is due, ns since the Unix epoch.
    pub fn due_unix_ns(&self, number: u32) -> u64 {
        match self.listed {
            None => self.schedule.intended_unix_ns(number),
            Some(_) => self.frame(number).due_unix_ns,
        }
    }

    /// The number of the frame with this identity; for a duplicated frame, the number of the first
    /// copy.
    pub fn number_of(&self, when: When, run_id: u32) -> Option<u32> {
        let (seq, kind) = self.claimed(when, run_id)?;
        let Some(listed) = &self.listed else { return Some(seq) };
        let departure = match (kind, self.schedule.fate(seq)) {
            (FrameKind::Configuration, _) => configuration(&self.schedule)?,
            (_, FrameFate::Sent { due_unix_ns, .. }) => Departure { due_unix_ns, seq, kind },
            (_, FrameFate::None | FrameFate::Withheld) => return None,
        };
        listed.frames.binary_search(&departure).ok().map(|number| number as u32)
    }

    /// Whether the next number is a duplicate of this frame.
    pub fn is_repeated(&self, number: u32) -> bool {
        let listed = self.listed.as_ref();
        let next = listed.and_then(|listed| listed.frames.get(number as usize + 1));
        next.is_some_and(|next| next.kind == FrameKind::Copy)
    }

    /// Whether a frame is sent after the instant of its tick.
    pub fn is_delayed(&self, frame: Departure) -> bool {
        let is_data = frame.kind == FrameKind::Data && self.schedule.faults.is_tick_bound();
        is_data && frame.due_unix_ns > self.schedule.intended_unix_ns(frame.seq)
    }

    /// The number of withheld frames that were due before the next frame, when `left` frames have
    /// been sent.
    pub fn withheld(&self, left: u32) -> u64 {
        let Some(listed) = &self.listed else { return 0 };
        let until_ns = listed.frames.get(left as usize).map_or(u64::MAX, |next| next.due_unix_ns);
        listed.withheld.partition_point(|due_unix_ns| *due_unix_ns < until_ns) as u64
    }

    fn claimed(&self, when: When, run_id: u32) -> Option<(u32, FrameKind)> {
        let schedule = &self.schedule;
        match when {
            When::Instant { soc, fracsec, quality } => {
                let shift_s = schedule.faults.shift_s(quality);
                let soc = u32::try_from(i64::from(soc) - shift_s).ok()?;
                let seq = schedule.seq_of(schedule.grid.tick_of(soc, fracsec, TIME_BASE)?)?;
                // A time stamp that no frame of this tick carries does not belong to this run.
                (schedule.mark(seq).shift_s == shift_s).then_some((seq, FrameKind::Data))
            }
            When::Seq { run_id: other, seq, intended_unix_ns } => {
                let ours = other == run_id
                    && seq < schedule.ticks
                    && schedule.intended_unix_ns(seq) == intended_unix_ns;
                ours.then_some((seq, FrameKind::Data))
            }
            When::Configuration => Some((schedule.first_changed()?, FrameKind::Configuration)),
        }
    }
}

impl Listed {
    fn of(schedule: &Schedule) -> Listed {
        let (mut frames, mut withheld) = (Vec::new(), Vec::new());
        frames.extend(configuration(schedule));
        for seq in 0..schedule.ticks {
            match schedule.fate(seq) {
                FrameFate::None => {}
                FrameFate::Withheld => withheld.push(schedule.intended_unix_ns(seq)),
                FrameFate::Sent { due_unix_ns, is_repeated } => {
                    let frame = |kind| Departure { due_unix_ns, seq, kind };
                    frames.push(frame(FrameKind::Data));
                    frames.extend(is_repeated.then(|| frame(FrameKind::Copy)));
                }
            }
        }
        frames.sort_unstable();
        withheld.sort_unstable();
        let from_ns = schedule.faults.measured.from_ns;
        let measured_from = frames.partition_point(|frame| frame.due_unix_ns < from_ns) as u32;
        Listed { frames: frames.into(), measured_from, withheld: withheld.into() }
    }
}

/// The new configuration, if one is announced. It is never late and never withheld.
fn configuration(schedule: &Schedule) -> Option<Departure> {
    let seq = schedule.first_changed()?;
    let due_unix_ns = schedule.intended_unix_ns(seq);
    Some(Departure { due_unix_ns, seq, kind: FrameKind::Configuration })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::payload::{Payload, identify};
    use crate::fixtures;
    use crate::plan::deviation::{
        Alarms, Change, Deviation, Drift, Lateness, Leap, PublisherFaults, StampClock,
    };
    use crate::plan::encoder::Encoder;
    use crate::plan::schedule::Jitter;
    use crate::scenario::burst::Burst;
    use crate::time::grid::{Grid, Span};
    use crate::time::rate::Rate;
    use crate::time::units::SECOND_NS;
    use proptest::prelude::*;
    use std::time::Duration;

    const START_S: u64 = 1_767_225_600;

    /// Sixty frames a second for 20 s, measured from the fifth on.
    fn schedule(deviation: Deviation) -> Schedule {
        let rate = Rate { num: 60, den: 1 };
        let grid = Grid::new(deviation.burst.map_or(rate, |burst| burst.grid_rate(rate)));
        let [start_ns, measured_ns, end_ns] =
            [0, 5, 20].map(|after_s| (START_S + after_s) * SECOND_NS);
        let first_tick = grid.first_tick_from(start_ns);
        Schedule {
            grid,
            first_tick,
            ticks: (grid.first_tick_from(end_ns) - first_tick) as u32,
            measured_from: (grid.first_tick_from(measured_ns) - first_tick) as u32,
            offset_ns: 0,
            jitter: Jitter { seed: 3, id: 1001, max_ns: 0 },
            faults: PublisherFaults {
                deviation,
                seed: 3,
                id: 1001,
                run: Span { from_ns: start_ns, to_ns: end_ns },
                measured: Span { from_ns: measured_ns, to_ns: end_ns },
            },
        }
    }

    fn everything(clock: StampClock, is_skip: bool, lateness: bool) -> Deviation {
        let seconds = Duration::from_secs;
        let lateness = lateness.then_some(Lateness {
            late_percent: 5.0,
            delay_min: Duration::from_millis(20),
            delay_max: seconds(3),
            withheld_percent: 2.0,
            repeated_percent: 3.0,
        });
        Deviation {
            lateness,
            clock,
            drift: Some(Drift { at: seconds(1), per_min: Duration::from_millis(7) }),
            leap: Some(Leap { at: seconds(4), is_skip }),
            change: Some(Change { at: seconds(2), hold: seconds(5) }),
            ..Deviation::default()
        }
    }

    fn encoder(departures: &Departures, payload: Payload) -> Encoder {
        let plan =
            crate::plan::publisher::PublisherPlan { payload, ..fixtures::publisher(1001, 60) };
        Encoder::new(9, 3, &plan, *departures.schedule())
    }

    #[test]
    fn without_deviation_frames_are_ticks_and_nothing_is_listed() {
        let departures = Departures::of(schedule(Deviation::default()));
        assert!(departures.listed.is_none());
        assert_eq!((departures.count(), departures.measured_from()), (1_200, 300));
        assert_eq!(departures.frame(7).seq, 7);
        assert_eq!((departures.withheld(1_200), departures.is_repeated(7)), (0, false));
    }

    #[test]
    fn what_is_withheld_or_repeated_is_in_the_numbers() {
        let departures = Departures::of(schedule(everything(StampClock::Right, false, true)));
        let copies =
            (0..departures.count()).filter(|n| departures.frame(*n).kind == FrameKind::Copy);
        let copies = copies.count() as u64;
        let withheld = departures.withheld(departures.count());
        assert!(copies > 10 && withheld > 10, "{copies} {withheld}");
        // And one configuration.
        assert_eq!(u64::from(departures.count()), 1_200 - withheld + copies + 1);
        assert!(departures.withheld(departures.count() / 2) < withheld);
    }

    #[test]
    fn an_outage_and_a_surge_keep_the_order_of_ticks() {
        for burst in ["outage 1s every 5s", "x10 for 2s"] {
            let burst: Burst = burst.parse().unwrap();
            let deviation = Deviation { burst: Some(burst), ..Deviation::default() };
            let departures = Departures::of(schedule(deviation));
            let frames: Vec<_> = (0..departures.count()).map(|n| departures.frame(n)).collect();
            assert!(frames.is_sorted_by_key(|frame| frame.seq), "{burst}");
            let expected = match burst {
                Burst::Surge { .. } => 16 * 60 + 4 * 600,
                Burst::Outage { .. } => 20 * 60,
            };
            assert_eq!(departures.count(), expected, "{burst}");
        }
    }

    #[test]
    fn alarms_leave_when_they_are_raised() {
        let alarms = Alarms { at: Duration::from_secs(1), count: 20, at_once: 10 };
        let mut schedule = schedule(Deviation { alarms: Some(alarms), ..Deviation::default() });
        schedule.ticks = alarms.count;
        let departures = Departures::of(schedule);
        assert_eq!((departures.count(), departures.measured_from()), (20, 0));
        assert_eq!(departures.due_unix_ns(9), (START_S + 6) * SECOND_NS);
        assert!(departures.due_unix_ns(19) < (START_S + 8) * SECOND_NS);
        assert!((0..20).all(|number| !departures.is_delayed(departures.frame(number))));
    }

    proptest! {
        /// The bytes of every frame identify its number, whatever deviation applies to it.
        #[test]
        fn every_frame_is_recognised(
            clock in prop::sample::select(vec![
                StampClock::Right,
                StampClock::Ahead,
                StampClock::Epoch,
            ]),
            is_skip: bool,
            lateness: bool,
            payload in prop::sample::select(vec![
                Payload::C37118,
                Payload::Json,
                Payload::Fixed { bytes: 64 },
            ]),
        ) {
            let mut deviation = everything(clock, is_skip, lateness);
            if payload != Payload::C37118 {
                (deviation.leap, deviation.change) = (None, None);
            }
            let departures = Departures::of(schedule(deviation));
            let mut encoder = encoder(&departures, payload);
            let mut due_ns = 0;
            for number in 0..departures.count() {
                let frame = departures.frame(number);
                prop_assert!(frame.due_unix_ns >= due_ns);
                due_ns = frame.due_unix_ns;
                let claim = identify(encoder.encode_departure(frame)).unwrap();
                let first = number - u32::from(frame.kind == FrameKind::Copy);
                prop_assert_eq!(departures.number_of(claim.when, 9), Some(first));
                let is_first_of_two = frame.kind == FrameKind::Data
                    && departures.is_repeated(number);
                let is_copied = number + 1 < departures.count()
                    && departures.frame(number + 1).kind == FrameKind::Copy;
                prop_assert_eq!(is_first_of_two, is_copied);
            }
        }
    }
}
