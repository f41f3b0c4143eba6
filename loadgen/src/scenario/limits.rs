//! The largest and smallest values a scenario may ask for. Must not parse anything.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::time::units;

/// The identifier of the first publisher; the others follow.
pub const FIRST_PUBLISHER_ID: u16 = 1001;

/// The most sockets a scenario may ask for: a typing error must not exhaust the memory of the host.
pub const SOCKETS_MAX: u64 = 4_000_000;

/// The most publishers: the number of identifiers from the first one on (65,535 is reserved).
pub const PUBLISHERS_MAX: u64 = 65_535 - FIRST_PUBLISHER_ID as u64;

/// The shortest measured phase: with less, CPU samples and one-second windows mean nothing.
pub const MEASURE_MIN: Duration = Duration::from_secs(1);

/// The longest phase, and the longest measured phase with all its repetitions.
pub const MEASURED_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The most laps of one run: a table cannot show more.
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
