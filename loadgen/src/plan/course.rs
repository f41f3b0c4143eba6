//! What happens in the course of the measured phase: its laps and how the load grows. Pure.

use crate::scenario::profile::{Growing, Profile};
use crate::scenario::scenario::Scenario;

/// What happens in the course of the measured phase; by default it is one lap at full load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Course {
    /// Into how many laps it is divided; 0 is one, too.
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

    /// Laps that have results of their own: none if there is only one.
    pub fn told(self) -> usize {
        if self.laps > 1 { usize::from(self.laps) } else { 0 }
    }

    /// How the subscribers grow, if they do.
    pub fn of_subscribers(self) -> Option<Profile> {
        self.profile.filter(|profile| profile.of == Growing::Subscribers)
    }
}
