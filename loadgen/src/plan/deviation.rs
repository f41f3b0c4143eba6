//! The deviations of one publisher from its schedule, made on purpose: frames withheld, late or
//! duplicated, status words, wrong clocks. A pure function of seed, publisher and tick, so that the
//! publisher and the receivers compute the same. Must not know sockets, and reads no clock.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::codec::c37118::Measurement;
use crate::scenario::burst::Burst;
use crate::time::draw::mix;
use crate::time::grid::Span;
use crate::time::units::{SECOND_NS, nanoseconds};

/// The deviations of one publisher; by default none. Instants count from the start of the measured
/// phase.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Deviation {
    /// Its rate is uneven.
    pub burst: Option<Burst>,
    /// Some of its frames are late, withheld or sent twice.
    pub lateness: Option<Lateness>,
    /// Its clock is wrong.
    pub clock: StampClock,
    /// It has lost UTC.
    pub drift: Option<Drift>,
    /// It passes a leap second.
    pub leap: Option<Leap>,
    /// Its configuration changes.
    pub change: Option<Change>,
    /// It sees a fault of the grid.
    pub fault: Option<Fault>,
    /// It sends alarms only.
    pub alarms: Option<Alarms>,
    /// It sends nothing before this instant; its first frame is the first one due after it.
    pub starts: Option<Duration>,
}

/// The shares of the frames that are disturbed, each drawn by seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lateness {
    /// Frames sent late, percent.
    pub late_percent: f64,
    /// The smallest delay.
    pub delay_min: Duration,
    /// The largest delay.
    pub delay_max: Duration,
    /// Frames never sent, percent.
    pub withheld_percent: f64,
    /// Frames sent twice, percent.
    pub repeated_percent: f64,
}

/// The time that a publisher's clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StampClock {
    /// The correct time.
    #[default]
    Right,
    /// One second ahead.
    Ahead,
    /// A clock that counts from one second before the run, as if that were the start of 1970.
    Epoch,
}

/// A clock that has lost UTC and runs slow: time stamps stay those of the grid, send instants
/// drift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Since when.
    pub at: Duration,
    /// How far it falls behind per minute.
    pub per_min: Duration,
}

/// A leap second, at the first whole second after an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leap {
    /// That instant.
    pub at: Duration,
    /// Whether a second is skipped; otherwise one is repeated.
    pub is_skip: bool,
}

/// An announced change of configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When the announcement begins.
    pub at: Duration,
    /// How long after that the change takes effect.
    pub hold: Duration,
}

/// A grid fault that the publisher's region sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub at: Duration,
}

/// One alarm for each of several PMUs; those outside the region follow up to two seconds later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarms {
    /// When the first alarms are sent.
    pub at: Duration,
    /// The number of alarms.
    pub count: u32,
    /// How many of them are sent at once.
    pub at_once: u32,
}

/// The deviation of a publisher in a run with known instants.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PublisherFaults {
    /// The deviation.
    pub deviation: Deviation,
    /// Seed of the run.
    pub seed: u64,
    /// Publisher id.
    pub id: u16,
    /// From the common start to the end of the measured phase.
    pub run: Span,
    /// The measured phase.
    pub measured: Span,
}

/// What happens to the frame of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFate {
    /// No frame: the tick lies between those of the publisher's rate.
    None,
    /// It is never sent.
    Withheld,
    /// It is sent.
    Sent {
        /// When, ns since the Unix epoch.
        due_unix_ns: u64,
        /// Whether it is sent twice in a row.
        is_repeated: bool,
    },
}

/// How the contents of a frame deviate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mark {
    /// Bits of its status word.
    pub stat: u16,
    /// The time quality to state.
    pub quality: u8,
    /// Offset added to the second of century.
    pub shift_s: i64,
    /// The share by which the voltage is reduced.
    pub dip: f32,
    /// Offset added to the frequency, Hz.
    pub swing_hz: f32,
    /// Whether the new configuration is valid.
    pub is_changed: bool,
}

impl PublisherFaults {
    /// Whether frames differ from the ticks in order, number or time.
    pub fn moves_frames(&self) -> bool {
        self.deviation.moves_frames()
    }

    /// Whether the contents of frames deviate.
    pub fn marks_frames(&self) -> bool {
        let Deviation { clock, drift, leap, change, fault, .. } = &self.deviation;
        let has_lost_time = *clock != StampClock::Right || drift.is_some() || leap.is_some();
        has_lost_time || change.is_some() || fault.is_some()
    }

    /// Whether each frame belongs to an instant of the grid; alarms do not.
    pub fn is_tick_bound(&self) -> bool {
        self.deviation.alarms.is_none()
    }

    /// What happens to the frame of a tick that is due at an instant, ns since the Unix epoch.
    pub fn fate(&self, tick: u64, seq: u32, due_unix_ns: u64) -> FrameFate {
        let Deviation { burst, lateness, drift, alarms, .. } = &self.deviation;
        if let Some(alarms) = alarms {
            let due_unix_ns = self.instant(alarms.at) + self.stagger_ns(alarms, seq);
            return FrameFate::Sent { due_unix_ns, is_repeated: false };
        }
        let is_between = |burst: Burst| !burst.has_frame(tick, due_unix_ns, self.measured);
        if burst.is_some_and(is_between) {
            return FrameFate::None;
        }
        let held_until = |burst: Burst| burst.held_until(due_unix_ns, self.run);
        let mut moved_ns = burst.map_or(due_unix_ns, held_until);
        moved_ns += drift.map_or(0, |drift| self.behind_ns(&drift, due_unix_ns));
        match lateness {
            None => FrameFate::Sent { due_unix_ns: moved_ns, is_repeated: false },
            Some(lateness) => self.disturbed(lateness, tick, moved_ns),
        }
    }

    /// How the contents of the frame at an instant of the grid deviate, ns since the Unix epoch.
    pub fn mark(&self, unix_ns: u64) -> Mark {
        let Deviation { clock, drift, leap, change, fault, .. } = &self.deviation;
        let mut mark = Mark { shift_s: self.clock_shift_s(*clock), ..Mark::default() };
        drift.inspect(|drift| self.mark_unlocked(drift, unix_ns, &mut mark));
        leap.inspect(|leap| self.mark_leap(leap, unix_ns, &mut mark));
        change.inspect(|change| {
            let (at_ns, new_ns) = (self.instant(change.at), self.changed_unix_ns(change));
            mark.stat |= if (at_ns..new_ns).contains(&unix_ns) { STAT_CHANGE } else { 0 };
            mark.is_changed = unix_ns >= new_ns;
        });
        fault.inspect(|fault| self.mark_fault(fault, unix_ns, &mut mark));
        mark
    }

    /// The offset in the second of century of a frame with this time quality.
    pub fn shift_s(&self, quality: u8) -> i64 {
        let is_after = quality & QUALITY_LEAP_OCCURRED != 0;
        let leap = self.deviation.leap.filter(|_| is_after).map_or(0, Leap::shift_s);
        self.clock_shift_s(self.deviation.clock) + leap
    }

    /// When the new configuration takes effect, ns since the Unix epoch.
    pub fn new_configuration_unix_ns(&self) -> Option<u64> {
        self.deviation.change.map(|change| self.changed_unix_ns(&change))
    }

    fn instant(&self, at: Duration) -> u64 {
        self.measured.from_ns.saturating_add(nanoseconds(at))
    }

    fn changed_unix_ns(&self, change: &Change) -> u64 {
        self.instant(change.at.saturating_add(change.hold))
    }

    fn disturbed(&self, lateness: &Lateness, tick: u64, due_unix_ns: u64) -> FrameFate {
        let per_million = |percent: f64| (percent * 1e4) as u64;
        let draw = mix(self.seed ^ FATE_STREAM, u64::from(self.id), tick) % 1_000_000;
        let late_to = per_million(lateness.late_percent);
        let withheld_to = late_to + per_million(lateness.withheld_percent);
        let repeated_to = withheld_to + per_million(lateness.repeated_percent);
        if (late_to..withheld_to).contains(&draw) {
            return FrameFate::Withheld;
        }
        let delay_ns = if draw < late_to { self.delay_ns(lateness, tick) } else { 0 };
        // A frame that would be sent after the end stays on time, because no receiver waits that
        // long.
        let fits = due_unix_ns + delay_ns < self.run.to_ns;
        let due_unix_ns = if fits { due_unix_ns + delay_ns } else { due_unix_ns };
        FrameFate::Sent { due_unix_ns, is_repeated: (withheld_to..repeated_to).contains(&draw) }
    }

    fn delay_ns(&self, lateness: &Lateness, tick: u64) -> u64 {
        let [min_ns, max_ns] = [lateness.delay_min, lateness.delay_max].map(nanoseconds);
        let word = mix(self.seed ^ DELAY_STREAM, u64::from(self.id), tick);
        min_ns + word % (max_ns.saturating_sub(min_ns) + 1)
    }

    fn behind_ns(&self, drift: &Drift, unix_ns: u64) -> u64 {
        let passed_ns = unix_ns.saturating_sub(self.instant(drift.at));
        let behind = u128::from(passed_ns) * drift.per_min.as_nanos() / u128::from(60 * SECOND_NS);
        u64::try_from(behind).unwrap_or(u64::MAX / 4)
    }

    fn stagger_ns(&self, alarms: &Alarms, number: u32) -> u64 {
        let word = mix(self.seed ^ DELAY_STREAM, u64::from(self.id), u64::from(number));
        if number < alarms.at_once { 0 } else { word % STAGGER_NS }
    }

    fn clock_shift_s(&self, clock: StampClock) -> i64 {
        match clock {
            StampClock::Right => 0,
            StampClock::Ahead => 1,
            // It starts at 1, so that a leap second that subtracts one does not go below 0.
            StampClock::Epoch => 1 - (self.run.from_ns / SECOND_NS).cast_signed(),
        }
    }

    fn mark_unlocked(&self, drift: &Drift, unix_ns: u64, mark: &mut Mark) {
        let Some(passed_ns) = unix_ns.checked_sub(self.instant(drift.at)) else { return };
        let unlocked = match passed_ns / SECOND_NS {
            0..10 => 0,
            10..100 => 1,
            100..1000 => 2,
            _ => 3,
        };
        mark.stat |= STAT_UNLOCKED | STAT_BY_ARRIVAL | STAT_QUALITY_UNKNOWN | unlocked << 4;
        mark.quality |= QUALITY_WITHIN_A_MS;
    }

    fn mark_leap(&self, leap: &Leap, unix_ns: u64, mark: &mut Mark) {
        let at_ns = self.instant(leap.at).div_ceil(SECOND_NS) * SECOND_NS;
        if unix_ns + PENDING_NS < at_ns {
            return;
        }
        let is_after = unix_ns >= at_ns;
        mark.quality |= if leap.is_skip { QUALITY_LEAP_DELETES } else { 0 };
        mark.quality |= if is_after { QUALITY_LEAP_OCCURRED } else { QUALITY_LEAP_PENDING };
        mark.shift_s += if is_after { leap.shift_s() } else { 0 };
    }

    fn mark_fault(&self, fault: &Fault, unix_ns: u64, mark: &mut Mark) {
        let Some(passed_ns) = unix_ns.checked_sub(self.instant(fault.at)) else { return };
        let passed_s = passed_ns as f64 / SECOND_NS as f64;
        mark.stat |= STAT_TRIGGERS.get((passed_ns / SECOND_NS) as usize).copied().unwrap_or(0);
        if passed_ns < DIP_NS {
            // 0.4 to 0.8 of the voltage remains, depending on the distance to the fault.
            let near = mix(self.seed ^ FATE_STREAM, u64::from(self.id), 0) % 1000;
            mark.dip = 0.2 + 0.4 * near as f32 / 1000.0;
        }
        let swing = -FAULT_HZ * (-passed_s / FAULT_FADES_S).exp() * (TAU * passed_s / 2.0).cos();
        mark.swing_hz = swing as f32;
    }
}

impl Deviation {
    /// Whether frames differ from the ticks in order, number or time.
    pub fn moves_frames(&self) -> bool {
        let Deviation { burst, lateness, drift, change, alarms, .. } = self;
        let is_moved = burst.is_some() || lateness.is_some() || drift.is_some();
        is_moved || change.is_some() || alarms.is_some()
    }
}

impl Leap {
    fn shift_s(self) -> i64 {
        if self.is_skip { 1 } else { -1 }
    }
}

impl Mark {
    /// The measurement as the frame states it.
    pub fn on(&self, values: Measurement) -> Measurement {
        if *self == Mark::default() {
            return values;
        }
        let mut values = values;
        values.soc = u32::try_from(i64::from(values.soc) + self.shift_s).unwrap_or(0);
        values.stat |= self.stat;
        values.quality |= self.quality;
        values.freq_hz += self.swing_hz;
        // The first four phasors are voltages.
        values.phasors.iter_mut().take(4).for_each(|(volts, _)| *volts *= 1.0 - self.dip);
        values
    }
}

const FATE_STREAM: u64 = 0x6661_7465;
const DELAY_STREAM: u64 = 0x0064_656c_6179;
/// A leap second is announced a minute ahead.
const PENDING_NS: u64 = 60 * SECOND_NS;
const STAGGER_NS: u64 = 2 * SECOND_NS;
const DIP_NS: u64 = SECOND_NS / 10;
/// How far the frequency falls at a fault, and how fast the swing fades.
const FAULT_HZ: f64 = 0.3;
const FAULT_FADES_S: f64 = 3.0;

const STAT_UNLOCKED: u16 = 1 << 13;
const STAT_BY_ARRIVAL: u16 = 1 << 12;
const STAT_CHANGE: u16 = 1 << 10;
const STAT_QUALITY_UNKNOWN: u16 = 7 << 6;
/// The trigger bit and its reason, second by second: frequency, magnitude low, rate of change.
const STAT_TRIGGERS: [u16; 3] = [0x0804, 0x0801, 0x0805];
const QUALITY_WITHIN_A_MS: u8 = 7;
const QUALITY_LEAP_PENDING: u8 = 1 << 4;
const QUALITY_LEAP_OCCURRED: u8 = 1 << 5;
const QUALITY_LEAP_DELETES: u8 = 1 << 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START_S: u64 = 1_767_225_600;

    /// A run of 300 s, measured from its tenth second on.
    fn faults(deviation: Deviation) -> PublisherFaults {
        let [start_ns, measured_ns, end_ns] =
            [0, 10, 300].map(|after_s| (START_S + after_s) * SECOND_NS);
        PublisherFaults {
            deviation,
            seed: 3,
            id: 1001,
            run: Span { from_ns: start_ns, to_ns: end_ns },
            measured: Span { from_ns: measured_ns, to_ns: end_ns },
        }
    }

    fn at(after_s: f64) -> u64 {
        START_S * SECOND_NS + (after_s * SECOND_NS as f64) as u64
    }

    fn lateness() -> Lateness {
        Lateness {
            late_percent: 2.0,
            delay_min: Duration::from_millis(200),
            delay_max: Duration::from_secs(5),
            withheld_percent: 0.5,
            repeated_percent: 0.1,
        }
    }

    #[test]
    fn nothing_happens_to_frames_that_nothing_is_planned_for() {
        let faults = faults(Deviation::default());
        let fate = FrameFate::Sent { due_unix_ns: at(20.0), is_repeated: false };
        assert_eq!(faults.fate(7, 7, at(20.0)), fate);
        assert_eq!(faults.mark(at(20.0)), Mark::default());
        assert!(!faults.moves_frames());
    }

    #[test]
    fn shares_of_late_withheld_and_repeated_frames_are_those_asked_for() {
        let faults = faults(Deviation { lateness: Some(lateness()), ..Deviation::default() });
        let (mut late, mut withheld, mut repeated) = (0, 0, 0);
        for tick in 0..100_000 {
            match faults.fate(tick, 0, at(20.0)) {
                FrameFate::Sent { due_unix_ns, is_repeated } => {
                    let delay_ns = due_unix_ns - at(20.0);
                    assert!(delay_ns == 0 || (SECOND_NS / 5..=5 * SECOND_NS).contains(&delay_ns));
                    late += u32::from(delay_ns > 0);
                    repeated += u32::from(is_repeated);
                }
                _ => withheld += 1,
            }
        }
        assert!((1_850..2_150).contains(&late), "{late}");
        assert!((430..570).contains(&withheld), "{withheld}");
        assert!((70..130).contains(&repeated), "{repeated}");
    }

    #[test]
    fn a_clock_without_utc_falls_behind_and_says_so() {
        let drift = Drift { at: Duration::from_secs(10), per_min: Duration::from_millis(1) };
        let faults = faults(Deviation { drift: Some(drift), ..Deviation::default() });
        let FrameFate::Sent { due_unix_ns, .. } = faults.fate(0, 0, at(140.0)) else { panic!() };
        assert_eq!(due_unix_ns - at(140.0), 2_000_000);
        let marks = [19.9, 21.0, 31.0, 140.0].map(|after_s| faults.mark(at(after_s)));
        assert_eq!(marks.map(|mark| mark.stat), [0, 0x31C0, 0x31D0, 0x31E0]);
        assert_eq!(marks.map(|mark| mark.quality), [0, 7, 7, 7]);
    }

    #[test]
    fn a_leap_second_is_announced_and_told() {
        for (is_skip, shift_s, direction) in [(false, -1, 0), (true, 1, 0x40)] {
            // Half a second past: the next whole second is the one.
            let leap = Leap { at: Duration::from_millis(89_500), is_skip };
            let faults = faults(Deviation { leap: Some(leap), ..Deviation::default() });
            let quality = [39.9, 40.0, 99.9, 100.0].map(|s| faults.mark(at(s)).quality);
            assert_eq!(quality, [0, 0x10 | direction, 0x10 | direction, 0x20 | direction]);
            let after = faults.mark(at(100.0));
            assert_eq!((after.shift_s, faults.shift_s(after.quality)), (shift_s, shift_s));
        }
    }

    #[test]
    fn a_change_of_configuration_is_announced_until_it_is_in_force() {
        let change = Change { at: Duration::from_secs(10), hold: Duration::from_secs(60) };
        let faults = faults(Deviation { change: Some(change), ..Deviation::default() });
        let said = [19.9, 20.0, 79.9, 80.0].map(|s| {
            let mark = faults.mark(at(s));
            (mark.stat, mark.is_changed)
        });
        assert_eq!(said, [(0, false), (0x400, false), (0x400, false), (0, true)]);
        assert_eq!(faults.new_configuration_unix_ns(), Some(at(80.0)));
    }

    #[test]
    fn a_fault_triggers_dips_and_swings() {
        let fault = Fault { at: Duration::from_secs(10) };
        let faults = faults(Deviation { fault: Some(fault), ..Deviation::default() });
        let stats = [19.9, 20.0, 21.0, 22.0, 23.0].map(|s| faults.mark(at(s)).stat);
        assert_eq!(stats, [0, 0x0804, 0x0801, 0x0805, 0]);
        let first = faults.mark(at(20.05));
        assert!((0.2..=0.6).contains(&first.dip) && first.swing_hz < -0.2, "{first:?}");
        assert_eq!(faults.mark(at(20.1)).dip, 0.0);
    }

    #[test]
    fn alarms_of_the_region_come_at_once() {
        let alarms = Alarms { at: Duration::from_secs(10), count: 100, at_once: 50 };
        let faults = faults(Deviation { alarms: Some(alarms), ..Deviation::default() });
        for number in 0..100 {
            let FrameFate::Sent { due_unix_ns, .. } = faults.fate(0, number, 0) else { panic!() };
            let later_ns = due_unix_ns - at(20.0);
            assert!(if number < 50 { later_ns == 0 } else { later_ns < 2 * SECOND_NS });
        }
    }

    #[test]
    fn wrong_clocks_are_wrong_by_whole_seconds() {
        let shift_s =
            |clock| faults(Deviation { clock, ..Deviation::default() }).mark(at(20.0)).shift_s;
        assert_eq!((shift_s(StampClock::Right), shift_s(StampClock::Ahead)), (0, 1));
        assert_eq!(START_S as i64 + shift_s(StampClock::Epoch), 1);
    }

    proptest! {
        #[test]
        fn a_frame_never_leaves_early_nor_after_the_end(tick: u64, after_s in 0.0..299.0) {
            let faults =
                faults(Deviation { lateness: Some(lateness()), ..Deviation::default() });
            let fate = faults.fate(tick, 0, at(after_s));
            prop_assert_eq!(fate, faults.fate(tick, 0, at(after_s)));
            if let FrameFate::Sent { due_unix_ns, .. } = fate {
                prop_assert!((at(after_s)..at(300.0)).contains(&due_unix_ns));
            }
        }
    }
}
