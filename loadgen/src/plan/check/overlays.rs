//! Checks that overlays fit together and fit their scenario. Pure.

use crate::codec::payload::Payload;
use crate::plan::overlaid::{at, has_status};
use crate::scenario::limits::PUBLISHERS_MAX;
use crate::scenario::overlay::Overlay;
use crate::scenario::scenario::Scenario;
use crate::scenario::section::ScenarioError;

/// Checks that the overlays fit together and fit the scenario.
///
/// # Errors
/// When an overlay occurs twice, starts after the end, affects nothing, or is too large.
pub fn check(scenario: &Scenario) -> Result<(), ScenarioError> {
    let wrong = |text: String| Err(ScenarioError::Contradiction(text));
    let has_payload =
        |fits: fn(Payload) -> bool| scenario.publishers.iter().any(|group| fits(group.payload));
    for (index, overlay) in scenario.overlays.iter().enumerate() {
        let name = overlay.name();
        if scenario.overlays.iter().take(index).any(|other| other.name() == name) {
            return wrong(format!("the overlay `{name}` is there twice; leave one out"));
        }
        if at(scenario, overlay) >= scenario.phases.measured() {
            return wrong(format!(
                "the overlay `{name}` comes after the measured phase has ended; lower `at`"
            ));
        }
        let (acts, needed) = match overlay {
            Overlay::LeapSecond { .. } | Overlay::ConfigChange { .. } => {
                (has_payload(|payload| payload == Payload::C37118), "`c37118`")
            }
            Overlay::FaultEvent { .. } => (has_payload(has_status), "`c37118` or `json`"),
            _ => (true, ""),
        };
        if !acts {
            return wrong(format!(
                "the overlay `{name}` acts on status words, and no publisher sends any; \
                 give --payload {needed}"
            ));
        }
        if matches!(overlay, Overlay::FaultEvent { .. })
            && scenario.publisher_count() >= PUBLISHERS_MAX
        {
            return wrong(
                "the overlay `fault-event` needs a publisher for its alarms; \
                          take one away"
                    .to_owned(),
            );
        }
    }
    check_listed(scenario)
}

fn check_listed(scenario: &Scenario) -> Result<(), ScenarioError> {
    let moves = |overlay: &Overlay| {
        use Overlay::{ConfigChange, GpsLoss, LateFrames};
        matches!(overlay, LateFrames { .. } | GpsLoss { .. } | ConfigChange { .. })
    };
    let moves_all = scenario.overlays.iter().any(moves);
    let run_s = (scenario.phases.warmup + scenario.phases.measured()).as_secs_f64();
    let listed = scenario.publishers.iter().filter(|group| moves_all || group.burst.is_some());
    let frames: f64 = listed
        .map(|group| {
            let peak = group.burst.map_or(group.rate, |burst| burst.grid_rate(group.rate));
            f64::from(group.count) * peak.per_second() * run_s
        })
        .sum();
    if frames <= LISTED_MAX {
        return Ok(());
    }
    Err(ScenarioError::Contradiction(format!(
        "frames that overlays and bursts move are listed before the start, {LISTED_MAX} at most, \
         and these would be {frames:.0}; lower --duration, --publishers or --rate"
    )))
}

/// The most frames whose departures are listed: 64 MB.
const LISTED_MAX: f64 = 4_000_000.0;
