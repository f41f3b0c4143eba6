//! The laps of the measured phase and the growth of the load. Pure.

use crate::scenario::profile::{Growing, Profile};
use crate::scenario::scenario::Scenario;

/// The laps of the measured phase and the growth of the load; by default one lap at full load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Course {
    /// The number of laps; 0 means one.
    pub laps: u16,
    /// How the load grows in it, if it does.
    pub profile: Option<Profile>,
}

impl Course {
    /// The course of a scenario.
    pub fn of(scenario: &Scenario) -> Course {
        let (profile, phases) = (scenario.profile, scenario.phases);
        let laps = profile.map_or(phases.repeat, |profile| profile.laps(phases.measured()));
        Course { laps, profile }
    }

    /// The number of laps with results of their own; none if there is only one lap.
    pub fn reported_laps(self) -> usize {
        if self.laps > 1 { usize::from(self.laps) } else { 0 }
    }

    /// How the subscribers grow, if they do.
    pub fn of_subscribers(self) -> Option<Profile> {
        self.profile.filter(|profile| profile.of == Growing::Subscribers)
    }
}
