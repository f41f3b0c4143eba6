//! The time of a frame: an instant of UTC, and what the device says of its clock. Must not read a
//! clock.

use std::time::{Duration, SystemTime};

use serde::Serialize;

/// A time as frames carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Unix seconds, UTC.
    pub soc: u32,
    /// Bits on the clock and on leap seconds.
    pub quality: u8,
    /// Fraction of the second, in units of the TIME_BASE of the configuration (24 bits).
    pub fracsec: u32,
}

/// What a device says of its clock, in words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Clock {
    /// `locked`, `unlocked`, `failed`, or `unknown` where the code has no meaning.
    pub state: &'static str,
    /// Where it is unlocked: the error is at most this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_s_max: Option<f64>,
    /// `none`, or what happens to a second, or has happened in the last 24 hours.
    pub leap_second: &'static str,
}

impl Stamp {
    /// The stamp of an instant, with microseconds.
    #[must_use]
    pub fn of_utc_ns(utc_ns: u64) -> Self {
        let soc = u32::try_from(utc_ns / NS_PER_S).unwrap_or(u32::MAX);
        let fracsec = u32::try_from(utc_ns % NS_PER_S / 1_000).unwrap_or_default();
        Self { soc, quality: 0, fracsec }
    }

    /// Nanoseconds since 1970, UTC, leap seconds not counted. None where the fraction is a second
    /// or more, which it cannot be.
    #[must_use]
    pub fn utc_ns(self, time_base: u32) -> Option<u64> {
        if self.fracsec >= time_base {
            return None;
        }
        let (fraction, base) = (u64::from(self.fracsec), u64::from(time_base));
        Some(u64::from(self.soc) * NS_PER_S + (fraction * NS_PER_S + base / 2) / base)
    }

    /// What the quality bits mean.
    #[must_use]
    pub fn clock(self) -> Clock {
        let (state, error_s_max) = match self.quality & 0x0F {
            0 => ("locked", None),
            code @ 1..=0xB => ("unlocked", ERRORS_S.get(usize::from(code - 1)).copied()),
            0xF => ("failed", None),
            _ => ("unknown", None),
        };
        Clock { state, error_s_max, leap_second: self.leap_second() }
    }

    fn leap_second(self) -> &'static str {
        let is_deleted = self.quality & 0x40 != 0;
        match (self.quality & 0x10 != 0, self.quality & 0x20 != 0, is_deleted) {
            (true, _, false) => "will be inserted",
            (true, _, true) => "will be deleted",
            (false, true, false) => "inserted",
            (false, true, true) => "deleted",
            (false, false, _) => "none",
        }
    }
}

/// How RFC 3339 writes an instant, with nanoseconds.
pub(crate) fn rfc3339(utc_ns: u64) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + Duration::from_nanos(utc_ns))
}

/// The instant that a text of RFC 3339 says.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let instant = humantime::parse_rfc3339(text).ok()?;
    let since = instant.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

const NS_PER_S: u64 = 1_000_000_000;

/// What the codes 1 to 11 bound the error of an unlocked clock to.
const ERRORS_S: [f64; 11] = [1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_rounded_to_a_nanosecond() {
        let stamp = |fracsec| Stamp { soc: 1, quality: 0, fracsec };
        assert_eq!(stamp(16_667).utc_ns(1_000_000), Some(1_016_667_000));
        assert_eq!(stamp(8_388_608).utc_ns(16_777_215), Some(1_500_000_030));
        assert_eq!(stamp(1_000_000).utc_ns(1_000_000), None);
        assert_eq!(stamp(0).utc_ns(0), None);
        assert_eq!(Stamp::of_utc_ns(1_016_667_999), stamp(16_667));
    }

    #[test]
    fn instants_are_written_with_nine_digits_and_read_again() {
        let utc_ns = 1_767_225_600_016_667_000;
        let text = rfc3339(utc_ns).to_string();
        assert_eq!(text, "2026-01-01T00:00:00.016667000Z");
        assert_eq!(parse_rfc3339(&text), Some(utc_ns));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn the_quality_of_a_clock_is_put_in_words() {
        let clock = |quality| Stamp { soc: 0, quality, fracsec: 0 }.clock();
        assert_eq!((clock(0).state, clock(0).leap_second), ("locked", "none"));
        assert_eq!(clock(0x04).error_s_max, Some(1e-6));
        assert_eq!((clock(0x0B).state, clock(0x0B).error_s_max), ("unlocked", Some(10.0)));
        assert_eq!((clock(0x0F).state, clock(0x0C).state), ("failed", "unknown"));
        assert_eq!(clock(0x10).leap_second, "will be inserted");
        assert_eq!(clock(0x50).leap_second, "will be deleted");
        assert_eq!(clock(0x20).leap_second, "inserted");
        assert_eq!(clock(0x60).leap_second, "deleted");
    }
}
