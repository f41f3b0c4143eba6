//! The UTC grid that all publishers share: the instants of its ticks, without accumulated rounding
//! errors. Pure; must not read a clock.

use crate::time::rate::Rate;
use crate::time::units::SECOND_NS;

/// The reporting instants of one rate. Tick `k` counts from the Unix epoch, so ticks of nested
/// rates coincide and rounding errors do not accumulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    num: u128,
    den: u128,
}

impl Grid {
    /// The grid of `rate`. A zero in the rate is replaced by one, to avoid division by zero below.
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
        // The tick before the guess may also match, because instants are rounded to whole
        // nanoseconds.
        match guess.checked_sub(1) {
            Some(before) if self.tick_unix_ns(before) >= unix_ns => before,
            _ => guess,
        }
    }

    /// One period, ns, rounded.
    pub fn period_ns(self) -> u64 {
        self.tick_unix_ns(1)
    }

    /// Second-of-century and fraction of a tick, in the encoding of C37.118.
    pub fn soc_fracsec(self, tick: u64, time_base: u32) -> (u32, u32) {
        let base = u128::from(time_base.max(1));
        let units = self.scaled(tick, base);
        ((units / base) as u32, (units % base) as u32)
    }

    /// The tick with this second and fraction; `None` if the grid has no such tick.
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

/// A half-open part of a run, ns since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Its beginning.
    pub from_ns: u64,
    /// Its end, not included.
    pub to_ns: u64,
}
