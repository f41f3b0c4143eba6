//! Clocks: the only file of the crate that reads a clock, and the mapping of UTC. Every instant
//! used for measuring is on CLOCK_MONOTONIC; UTC is mapped onto it once per run. Must not sleep and
//! must not know sockets.

use rustix::time::{ClockId, clock_gettime};

use crate::time::units::SECOND_NS;

/// Now on CLOCK_MONOTONIC, ns.
#[inline]
pub fn mono_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// CPU time used by the calling thread, ns.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// The mapping of UTC onto CLOCK_MONOTONIC. It is sampled once, so publishers and receivers of a
/// run always agree, even if the wall clock is changed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcMap {
    unix_at_mono_zero_ns: i128,
}

impl UtcMap {
    /// Samples both clocks several times and keeps the sample with the narrowest bracket.
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

    /// The mapping for a host whose UTC is this many nanoseconds behind the UTC of this host.
    pub fn behind(self, ahead_ns: i64) -> UtcMap {
        UtcMap { unix_at_mono_zero_ns: self.unix_at_mono_zero_ns - i128::from(ahead_ns) }
    }
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
    use crate::plan::schedule::Jitter;
    use crate::time::grid::Grid;
    use crate::time::rate::Rate;
    use crate::time::units::SECOND_NS;
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
