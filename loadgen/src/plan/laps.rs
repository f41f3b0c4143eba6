//! Laps: equal parts of the measured phase with results of their own. A frame is of the lap in
//! which it was due, whenever it arrives, so the laps add up to the whole. Must not know sockets,
//! and reads no clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::plan::{Plan, connect_rate};
use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::ClassOutcome;
use crate::scenario::groups::SubscriberGroup;
use crate::scenario::limits::MEASURED_MAX;
use crate::scenario::profile::{Growing, Profile};
use crate::scenario::scenario::Scenario;
use crate::scenario::section::ScenarioError;
use crate::time::units::{format_duration, format_exact, nanoseconds};

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

/// The laps of a run that has a start, on one clock.
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

    /// The lap of an instant; what is beyond the measured phase counts to the nearest.
    #[inline]
    pub fn at(&self, instant_ns: u64) -> u16 {
        let lap = instant_ns.saturating_sub(self.from_ns) / self.lap_ns;
        u16::try_from(lap).map_or(self.last, |lap| lap.min(self.last))
    }
}

/// What the sockets of one class received of the frames that were due in one lap.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LapOutcome {
    /// Sockets that had come by its end.
    pub sockets: u64,
    /// Receive minus intended send instant, ns.
    pub e2e: SignedHistogram,
    /// Frames jumped over and not seen since, by the frames that came after them.
    pub missing: u64,
    /// Gaps the server told of while its frames came.
    pub gaps: u64,
}

impl LapOutcome {
    fn merge(&mut self, other: &LapOutcome) {
        self.sockets += other.sockets;
        self.e2e.merge(&other.e2e);
        self.missing += other.missing;
        self.gaps += other.gaps;
    }
}

/// Adds the laps that another thread saw.
pub fn merge(into: &mut Vec<LapOutcome>, from: &[LapOutcome]) {
    if into.len() < from.len() {
        into.resize_with(from.len(), LapOutcome::default);
    }
    into.iter_mut().zip(from).for_each(|(into, lap)| into.merge(lap));
}

/// Adds counts by lap.
pub fn add(into: &mut Vec<u64>, from: &[u64]) {
    into.resize(into.len().max(from.len()), 0);
    into.iter_mut().zip(from).for_each(|(into, count)| *into += count);
}

/// Counts the sockets of each class lap by lap; `joined` has the class and the instant of those
/// that came while the run was on.
pub fn count_sockets(classes: &mut [ClassOutcome], joined: &[(u16, u64)], laps: &Laps) {
    for (number, class) in (0u16..).zip(classes) {
        let of_class = joined.iter().filter(|(class, _)| *class == number);
        let came: Vec<u16> = of_class.map(|(_, came_ns)| laps.at(*came_ns)).collect();
        let ramped = class.sockets.saturating_sub(came.len() as u64);
        for (number, lap) in (0u16..).zip(&mut class.laps) {
            lap.sockets = ramped + came.iter().filter(|came| **came <= number).count() as u64;
        }
    }
}

/// Checks that the laps of a scenario fit into its measured phase, and the arrivals into its laps.
/// `audience` has its subscribers with those of overlays.
///
/// # Errors
/// What does not fit, and what to change.
pub fn check(scenario: &Scenario, audience: &[SubscriberGroup]) -> Result<(), ScenarioError> {
    let wrong = |text: String| Err(ScenarioError::Contradiction(text));
    let measured = scenario.phases.measured();
    if measured > MEASURED_MAX {
        let [measured, most] = [measured, MEASURED_MAX].map(format_duration);
        return wrong(format!(
            "the measured phase would last {measured}, and {most} is the most; lower `measure` \
             (--duration) or `repeat` (--repeat)"
        ));
    }
    let Some(profile) = scenario.profile else { return Ok(()) };
    if scenario.phases.repeat > 1 {
        return wrong(
            "a profile has laps of its own; leave out either `profile` or `repeat`".to_owned(),
        );
    }
    if measured < profile.measured_min() {
        let [measured, least] = [measured, profile.measured_min()].map(format_duration);
        return wrong(format!(
            "`{profile}` has laps of a second or more, and {measured} is too short for them; \
             measure {least} at least (--duration)"
        ));
    }
    let checked = match profile.of {
        Growing::Publishers => check_publishers(scenario, profile),
        Growing::Subscribers => check_subscribers(profile, audience, measured),
    };
    checked.map_err(ScenarioError::Contradiction)
}

fn check_publishers(scenario: &Scenario, profile: Profile) -> Result<(), String> {
    if scenario.publishers.iter().any(|group| group.recorded.is_some()) {
        return Err(format!("`{profile}`: recorded publishers begin when their recording does"));
    }
    let (count, least) = (scenario.publisher_count(), least_members(profile));
    if count < least {
        return Err(format!("`{profile}` needs {least} publishers at least; there are {count}"));
    }
    Ok(())
}

fn check_subscribers(
    profile: Profile,
    audience: &[SubscriberGroup],
    measured: Duration,
) -> Result<(), String> {
    let growing = audience.iter().filter(|group| group.attendance.joins.is_none());
    let count: u64 = growing.map(SubscriberGroup::sockets).sum();
    let least = least_members(profile);
    if count < least {
        return Err(format!(
            "`{profile}` needs {least} subscriber sockets at least; there are {count}"
        ));
    }
    let laps = profile.laps(measured);
    let share = profile.share(1, laps) - profile.share(0, laps);
    let (come, rate) = ((share * count as f64).ceil(), connect_rate(audience));
    let half_lap = measured / u32::from(laps.max(1)) / 2;
    if come / f64::from(rate) <= half_lap.as_secs_f64() {
        return Ok(());
    }
    Err(format!(
        "`{profile}`: {} sockets come in a lap, {rate} a second, and they must be there within \
         half of its {}; raise `ramp` (--connect-rate) or `measure` (--duration)",
        format_exact(come as u64),
        format_duration(half_lap * 2)
    ))
}

/// With fewer, some laps would be alike.
fn least_members(profile: Profile) -> u64 {
    profile.measured_min().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::scenario::groups::ClassKind;
    use crate::time::units::SECOND_NS;

    fn laps() -> Laps {
        let course = Course { laps: 3, profile: None };
        let plan = Plan { measure: Duration::from_secs(6), course, ..fixtures::plan_of(vec![]) };
        Laps::of(&plan, 100 * SECOND_NS)
    }

    #[test]
    fn an_instant_is_of_the_lap_it_lies_in_or_is_nearest_to() {
        let found = [99, 100, 101, 102, 104, 105, 106, 900].map(|s| laps().at(s * SECOND_NS));
        assert_eq!(found, [0, 0, 0, 1, 2, 2, 2, 2]);
        assert_eq!((laps().at(102 * SECOND_NS - 1), laps().at(u64::MAX)), (0, 2));
        let one = Laps::of(&fixtures::plan_of(vec![]), 0);
        assert_eq!((one.at(0), one.at(u64::MAX)), (0, 0));
    }

    #[test]
    fn one_lap_is_the_whole_and_not_told() {
        assert_eq!((Course::default().told(), Course { laps: 1, profile: None }.told()), (0, 0));
        assert_eq!(Course { laps: 2, profile: None }.told(), 2);
    }

    #[test]
    fn laps_of_threads_add_up() {
        let lap = |missing, ns| {
            let mut lap = LapOutcome { sockets: 2, missing, ..LapOutcome::default() };
            lap.e2e.record(ns);
            lap
        };
        let mut whole = Vec::new();
        merge(&mut whole, &[lap(1, 5_000), lap(0, 6_000)]);
        merge(&mut whole, &[lap(0, 7_000), lap(3, 8_000)]);
        let found: Vec<_> =
            whole.iter().map(|l| (l.sockets, l.missing, l.e2e.len(), l.e2e.max())).collect();
        assert_eq!(found, [(4, 1, 2, 7_000), (4, 3, 2, 8_000)]);
        let mut sent = Vec::new();
        add(&mut sent, &[1, 2]);
        add(&mut sent, &[10, 20, 30]);
        assert_eq!(sent, [11, 22, 30]);
    }

    #[test]
    fn sockets_count_from_the_lap_in_which_they_came() {
        let class = |name, sockets| ClassOutcome {
            sockets,
            laps: vec![LapOutcome::default(); 3],
            ..fixtures::class(name, ClassKind::Healthy)
        };
        let mut classes = [class("a", 10), class("b", 4)];
        let joined = [(0, 100), (0, 103), (0, 103), (1, 104)].map(|(c, s)| (c, s * SECOND_NS));
        count_sockets(&mut classes, &joined, &laps());
        let found = classes.map(|class| [0, 1, 2].map(|lap| class.laps[lap].sockets));
        assert_eq!(found, [[8, 10, 10], [3, 3, 4]]);
    }

    fn refused(text: &str) -> String {
        let scenario = format!(
            "name = 'x'\npublishers = [{{ name = 'p', count = 4, fps = 10 }}]\n\
             subscribers = [{{ name = 's', count = 400, ramp = '100/s' }}]\n{text}"
        );
        Scenario::parse(&scenario).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_to_change() {
        for (text, message) in [
            ("profile = '4 steps of publishers'", ""),
            ("phases = { measure = '4s', repeat = 3 }", ""),
            ("profile = 'ramp of publishers'\nphases = { measure = '2s' }", ""),
            ("profile = '2 steps of subscribers'\nphases = { measure = '8s' }", ""),
            ("phases = { measure = '7days', repeat = 2 }", "7days is the most; lower `measure`"),
            ("phases = { repeat = 0 }", "0 is outside 1..=100"),
            ("profile = 'ramp'", "`ramp` is no profile; write e.g. `5 steps of subscribers`"),
            (
                "profile = 'ramp of publishers'\nphases = { repeat = 2 }",
                "leave out either `profile` or `repeat`",
            ),
            ("profile = '20 steps of subscribers'", "measure 20s at least (--duration)"),
            (
                "profile = 'ramp of publishers'\nphases = { measure = '1s' }",
                "1s is too short for them; measure 2s at least",
            ),
            ("profile = '5 steps of publishers'", "needs 5 publishers at least; there are 4"),
            (
                "profile = '5 steps of subscribers'\nphases = { measure = '5s' }",
                "80 sockets come in a lap, 100 a second, and they must be there within half of \
                 its 1s; raise `ramp`",
            ),
        ] {
            let found = refused(text);
            assert!(found.contains(message) && found.is_empty() == message.is_empty(), "{found}");
        }
    }
}
