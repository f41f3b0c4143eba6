//! Laps: equal parts of the measured phase with results of their own. A frame belongs to the lap in
//! which it was due, whenever it arrives, so the laps add up to the whole. Must not know sockets,
//! and reads no clock.

use crate::plan::plan::Plan;
use crate::time::units::nanoseconds;

/// The laps of a run with a known start, on one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Laps {
    from_ns: u64,
    lap_ns: u64,
    last: u16,
}

impl Laps {
    /// The laps of a plan whose measured phase begins at an instant.
    pub fn of(plan: &Plan, measured_from_ns: u64) -> Laps {
        let count = plan.course.laps.max(1);
        let lap_ns = (nanoseconds(plan.measure) / u64::from(count)).max(1);
        Laps { from_ns: measured_from_ns, lap_ns, last: count - 1 }
    }

    /// The lap of an instant; an instant outside the measured phase counts to the nearest lap.
    #[inline]
    pub fn at(&self, instant_ns: u64) -> u16 {
        let lap = instant_ns.saturating_sub(self.from_ns) / self.lap_ns;
        u16::try_from(lap).map_or(self.last, |lap| lap.min(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::plan::course::Course;
    use crate::time::units::SECOND_NS;

    #[test]
    fn an_instant_is_of_the_lap_it_lies_in_or_is_nearest_to() {
        let laps = fixtures::laps();
        let found = [99, 100, 101, 102, 104, 105, 106, 900].map(|s| laps.at(s * SECOND_NS));
        assert_eq!(found, [0, 0, 0, 1, 2, 2, 2, 2]);
        assert_eq!((laps.at(102 * SECOND_NS - 1), laps.at(u64::MAX)), (0, 2));
        let one = Laps::of(&fixtures::plan_of(vec![]), 0);
        assert_eq!((one.at(0), one.at(u64::MAX)), (0, 0));
    }

    #[test]
    fn one_lap_is_the_whole_and_not_reported() {
        assert_eq!(
            (Course::default().reported_laps(), Course { laps: 1, profile: None }.reported_laps()),
            (0, 0)
        );
        assert_eq!(Course { laps: 2, profile: None }.reported_laps(), 2);
    }
}
