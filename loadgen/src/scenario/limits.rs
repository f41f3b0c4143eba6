//! The largest and smallest values a scenario may ask for. Must not parse anything.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::time::units;

/// The identifier of the first publisher; the others follow.
pub const FIRST_PUBLISHER_ID: u16 = 1001;

/// No scenario may ask for more sockets: a typing error must not eat the memory of the host.
pub const SOCKETS_MAX: u64 = 4_000_000;

/// As many publishers as there are identifiers from the first on (65,535 is reserved).
pub const PUBLISHERS_MAX: u64 = 65_535 - FIRST_PUBLISHER_ID as u64;

/// Shorter than this, the samples of CPU time and the windows of a second mean nothing.
pub const MEASURE_MIN: Duration = Duration::from_secs(1);

/// The longest phase, and the longest measured phase however often it is repeated.
pub const MEASURED_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How many times in a row the same may be measured: more laps no table shows.
pub const REPEAT: RangeInclusive<u64> = 1..=100;

/// Checks the length of a phase.
pub fn check_phase(duration: Duration, least: Duration) -> Result<Duration, String> {
    let most = MEASURED_MAX;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    let [text, least, most] = [duration, least, most].map(units::format_duration);
    Err(format!("{text} is outside {least}..={most}"))
}
