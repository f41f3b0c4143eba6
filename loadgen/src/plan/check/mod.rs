//! Checks of a whole scenario that need the audience with its overlays. Pure: must not read files
//! or ask the host anything.

pub(crate) mod laps;
pub(crate) mod overlays;

use std::collections::HashSet;

use crate::plan::overlaid;
use crate::scenario::groups::SubscriberGroup;
use crate::scenario::limits::SOCKETS_MAX;
use crate::scenario::scenario::Scenario;
use crate::scenario::section::ScenarioError;

/// Reads a scenario file and checks it completely.
///
/// # Errors
/// The first problem found.
pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    let scenario = Scenario::parse(text)?;
    check(&scenario)?;
    Ok(scenario)
}

/// Checks a scenario completely. Must be repeated after every change of a scenario.
///
/// # Errors
/// The first problem found.
pub fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    scenario.check()?;
    let audience = overlaid::audience(scenario);
    check_sockets(&audience)?;
    check_names(&audience)?;
    overlays::check(scenario)?;
    laps::check(scenario, &audience)
}

fn check_sockets(audience: &[SubscriberGroup]) -> Result<(), ScenarioError> {
    let sockets: u64 = audience.iter().map(SubscriberGroup::sockets).sum();
    if (1..=SOCKETS_MAX).contains(&sockets) {
        return Ok(());
    }
    let text = format!("{sockets} subscriber sockets; 1..={SOCKETS_MAX} are allowed");
    Err(ScenarioError::Contradiction(text))
}

fn check_names(audience: &[SubscriberGroup]) -> Result<(), ScenarioError> {
    let mut names = HashSet::new();
    let Some(group) = audience.iter().find(|group| !names.insert(&group.name)) else {
        return Ok(());
    };
    let text = format!("two subscriber groups are called `{}`", group.name);
    Err(ScenarioError::Contradiction(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_has_sockets_and_names_of_its_own() {
        for (subscribers, message) in [
            ("", "0 subscriber sockets"),
            (
                "{ name = 'desk', count = 1 }, { name = 'desk', count = 2 }",
                "two subscriber groups are called `desk`",
            ),
        ] {
            let text = format!(
                "name = 'x'\npublishers = [{{ name = 'p', count = 1, fps = 10 }}]\n\
                 subscribers = [{subscribers}]"
            );
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
