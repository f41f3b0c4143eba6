//! Checks that the laps of a scenario fit into its measured phase, and the joins into the laps.
//! Pure.

use std::time::Duration;

use crate::plan::plan::connect_rate;
use crate::scenario::groups::SubscriberGroup;
use crate::scenario::limits::MEASURED_MAX;
use crate::scenario::profile::{Growing, Profile};
use crate::scenario::scenario::Scenario;
use crate::scenario::section::ScenarioError;
use crate::time::units::{format_duration, format_exact};

/// Checks that the laps of a scenario fit into its measured phase, and the joins into the laps.
/// `audience` holds its subscribers, overlays included.
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
    let growing = audience.iter().filter(|group| group.lifecycle.joins.is_none());
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

/// With fewer members than laps, some laps would be equal.
fn least_members(profile: Profile) -> u64 {
    profile.measured_min().as_secs()
}

#[cfg(test)]
mod tests {
    use crate::plan::check;

    fn refused(text: &str) -> String {
        let scenario = format!(
            "name = 'x'\npublishers = [{{ name = 'p', count = 4, fps = 10 }}]\n\
             subscribers = [{{ name = 's', count = 400, ramp = '100/s' }}]\n{text}"
        );
        check::parse(&scenario).map_or_else(|error| error.to_string(), |_| String::new())
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
