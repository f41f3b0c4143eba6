//! Time: the only place of the crate that reads a clock, and the arithmetic of the UTC grid that
//! all publishers share. Every instant used for measuring is on CLOCK_MONOTONIC; UTC is mapped onto
//! it once. Must not sleep and must not know sockets.

use rustix::time::{ClockId, clock_gettime};

use crate::plan::deviation::{Conduct, Fate, Mark};
use crate::plan::plan::Rate;

/// Nanoseconds per second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Now on CLOCK_MONOTONIC, ns.
#[inline]
pub fn mono_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// CPU time used by the calling thread, ns.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// The mapping of UTC onto CLOCK_MONOTONIC, sampled once so that publishers and receivers of a run
/// can never disagree about it, whatever happens to the wall clock meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcMap {
    unix_at_mono_zero_ns: i128,
}

impl UtcMap {
    /// Samples both clocks; of several tries the one with the narrowest bracket is kept.
    pub fn sample() -> UtcMap {
        (0..SAMPLES)
            .map(|_| bracket())
            .min_by_key(|(width_ns, _)| *width_ns)
            .map_or(UtcMap { unix_at_mono_zero_ns: 0 }, |(_, map)| map)
    }

    /// The monotonic instant of a UTC instant (ns since the Unix epoch); 0 if before boot.
    pub fn mono_of_unix(self, unix_ns: u64) -> u64 {
        u64::try_from(i128::from(unix_ns) - self.unix_at_mono_zero_ns).unwrap_or(0)
    }

    /// The UTC instant (ns since the Unix epoch) of a monotonic instant.
    pub fn unix_of_mono(self, mono_ns: u64) -> u64 {
        u64::try_from(i128::from(mono_ns) + self.unix_at_mono_zero_ns).unwrap_or(0)
    }

    /// The same on a host whose UTC this one's is ahead of, by so many nanoseconds.
    pub fn behind(self, ahead_ns: i64) -> UtcMap {
        UtcMap { unix_at_mono_zero_ns: self.unix_at_mono_zero_ns - i128::from(ahead_ns) }
    }
}

/// The reporting instants of one rate. Tick `k` counts from the Unix epoch, so ticks of nested
/// rates coincide and nothing is ever accumulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    num: u128,
    den: u128,
}

impl Grid {
    /// The grid of `rate`; a zero in the rate counts as one, so no arithmetic below can divide by
    /// zero.
    pub fn new(rate: Rate) -> Grid {
        Grid { num: u128::from(rate.num.max(1)), den: u128::from(rate.den.max(1)) }
    }

    /// The instant of a tick, ns since the Unix epoch, rounded to the nearest nanosecond.
    pub fn tick_unix_ns(self, tick: u64) -> u64 {
        self.scaled(tick, u128::from(SECOND_NS)) as u64
    }

    /// The first tick at or after an instant (ns since the Unix epoch).
    pub fn first_tick_from(self, unix_ns: u64) -> u64 {
        let scale = self.den * u128::from(SECOND_NS);
        let guess = (u128::from(unix_ns) * self.num).div_ceil(scale) as u64;
        // Rounding an instant to whole nanoseconds can put the tick before the guess on it too.
        match guess.checked_sub(1) {
            Some(before) if self.tick_unix_ns(before) >= unix_ns => before,
            _ => guess,
        }
    }

    /// One period, ns, rounded.
    pub fn period_ns(self) -> u64 {
        self.tick_unix_ns(1)
    }

    /// Second-of-century and fraction of a tick, as C37.118 writes them.
    pub fn soc_fracsec(self, tick: u64, time_base: u32) -> (u32, u32) {
        let base = u128::from(time_base.max(1));
        let units = self.scaled(tick, base);
        ((units / base) as u32, (units % base) as u32)
    }

    /// The tick that carries this second and fraction; `None` if no tick of the grid does.
    pub fn tick_of(self, soc: u32, fracsec: u32, time_base: u32) -> Option<u64> {
        let base = u128::from(time_base.max(1));
        let units = u128::from(soc) * base + u128::from(fracsec);
        let scale = self.den * base;
        let tick = u64::try_from((units * self.num + scale / 2) / scale).ok()?;
        (self.soc_fracsec(tick, time_base) == (soc, fracsec)).then_some(tick)
    }

    /// round(tick / rate * units_per_second), halves up.
    fn scaled(self, tick: u64, units_per_second: u128) -> u128 {
        (u128::from(tick) * self.den * units_per_second + self.num / 2) / self.num
    }
}

/// A part of a run, ns since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Its beginning.
    pub from_ns: u64,
    /// Its end, not included.
    pub to_ns: u64,
}

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
    /// Phase behind the grid, ns.
    pub offset_ns: u64,
    /// Jitter bound and its key.
    pub jitter: Jitter,
    /// What is done otherwise on purpose.
    pub conduct: Conduct,
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

    /// What becomes of the frame on purpose.
    pub fn fate(&self, seq: u32) -> Fate {
        self.conduct.fate(self.tick(seq), seq, self.intended_unix_ns(seq))
    }

    /// What the frame says otherwise on purpose.
    pub fn mark(&self, seq: u32) -> Mark {
        if !self.conduct.marks_frames() {
            return Mark::default();
        }
        self.conduct.mark(self.grid.tick_unix_ns(self.tick(seq)))
    }

    /// The first `seq` of a new configuration, if there is to be one in this run.
    pub fn first_changed(&self) -> Option<u32> {
        let from_ns = self.conduct.new_configuration_unix_ns()?;
        self.seq_of(self.grid.first_tick_from(from_ns))
    }
}

/// Jitter that both ends can compute: a function of seed, publisher and tick.
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

/// A well-mixed 64-bit function of three words (the finaliser of SplitMix64, chained): the source
/// of every deterministic choice of a run.
pub fn mix(seed: u64, stream: u64, index: u64) -> u64 {
    finalise(finalise(finalise(seed).wrapping_add(stream)).wrapping_add(index))
}

fn finalise(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn bracket() -> (u64, UtcMap) {
    let before_ns = mono_ns();
    let unix_ns = nanoseconds(ClockId::Realtime);
    let after_ns = mono_ns();
    let middle_ns = before_ns + (after_ns - before_ns) / 2;
    let unix_at_mono_zero_ns = i128::from(unix_ns) - i128::from(middle_ns);
    (after_ns - before_ns, UtcMap { unix_at_mono_zero_ns })
}

fn nanoseconds(id: ClockId) -> u64 {
    let at = clock_gettime(id);
    at.tv_sec as u64 * SECOND_NS + at.tv_nsec as u64
}

const SAMPLES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: u32 = 1_000_000;

    fn grid(num: u32, den: u32) -> Grid {
        Grid::new(Rate { num, den })
    }

    #[test]
    fn sixty_per_second_rounds_each_fraction_on_its_own() {
        let ticks: Vec<u32> = (0..6).map(|n| grid(60, 1).soc_fracsec(n, BASE).1).collect();
        assert_eq!(ticks, [0, 16667, 33333, 50000, 66667, 83333]);
    }

    #[test]
    fn grid_does_not_drift_over_a_century() {
        let soc = 3_000_000_000u64;
        assert_eq!(grid(60, 1).tick_unix_ns(soc * 60), soc * SECOND_NS);
        assert_eq!(grid(60, 1).tick_unix_ns(soc * 60 + 20), soc * SECOND_NS + 333_333_333);
        assert_eq!(grid(60, 1).soc_fracsec(soc * 60 + 59, BASE), (soc as u32, 983_333));
    }

    #[test]
    fn nested_rates_share_the_top_of_the_second() {
        let at = 1_767_225_600 * SECOND_NS;
        for rate in [10, 25, 30, 50, 60, 120, 240] {
            assert_eq!(grid(rate, 1).first_tick_from(at), 1_767_225_600 * u64::from(rate));
        }
    }

    #[test]
    fn a_fraction_between_ticks_is_no_tick() {
        assert_eq!(grid(60, 1).tick_of(1_767_225_600, 16_666, BASE), None);
        assert_eq!(grid(60, 1).tick_of(1_767_225_600, BASE, BASE), None);
    }

    #[test]
    fn utc_map_inverts_itself() {
        let map = UtcMap::sample();
        let now = mono_ns();
        assert_eq!(map.mono_of_unix(map.unix_of_mono(now)), now);
        assert!(map.unix_of_mono(now) > 1_700_000_000 * SECOND_NS);
    }

    #[test]
    fn jitter_is_a_bounded_function_of_its_key() {
        let jitter = Jitter { seed: 7, id: 1001, max_ns: 1000 };
        let values: Vec<u64> = (0..200).map(|tick| jitter.of(tick)).collect();
        assert!(values.iter().all(|ns| *ns <= 1000));
        assert!(values.iter().any(|ns| *ns > 900) && values.iter().any(|ns| *ns < 100));
        assert_eq!(values, (0..200).map(|tick| jitter.of(tick)).collect::<Vec<_>>());
        assert_eq!(Jitter { max_ns: 0, ..jitter }.of(5), 0);
    }

    proptest! {
        #[test]
        fn soc_and_fraction_invert(num in 1u32..=240, den in 1u32..=10, soc in 0..u32::MAX) {
            let grid = grid(num, den);
            let tick = u64::from(soc) * u64::from(num) / u64::from(den);
            let (soc, fracsec) = grid.soc_fracsec(tick, BASE);
            prop_assert!(fracsec < BASE);
            prop_assert_eq!(grid.tick_of(soc, fracsec, BASE), Some(tick));
        }

        #[test]
        fn first_tick_is_the_first(num in 1u32..=240, den in 1u32..=10, ns in 0u64..1 << 61) {
            let grid = grid(num, den);
            let tick = grid.first_tick_from(ns);
            prop_assert!(grid.tick_unix_ns(tick) >= ns);
            prop_assert!(tick == 0 || grid.tick_unix_ns(tick - 1) < ns);
        }
    }
}
