//! The additional loads for the model: each differs from the found load in one respect, so that the
//! model can separate the costs; one more, in between, tests the model. Pure. Must not run them.

use crate::capacity::control::Control;
use crate::capacity::point::Purpose;
use crate::cli::options::RunOptions;
use crate::scenario::scenario::Scenario;
use crate::time::rate::Rate;

/// A load to run.
#[derive(Debug, Clone)]
pub struct Variation {
    /// The purpose of the run.
    pub purpose: Purpose,
    /// The flags for this load.
    pub options: RunOptions,
}

/// Each quantity that is changed, with its share of the found load.
const VARIATIONS: [(Purpose, &[(Control, f64)]); 4] = [
    (Purpose::Probe, &[(Control::Topics, 0.5)]),
    (Purpose::Probe, &[(Control::Rate, 0.5)]),
    (Purpose::Probe, &[(Control::Payload, 4.0), (Control::Subscribers, 0.5)]),
    (
        Purpose::HeldOut,
        &[(Control::Subscribers, 0.75), (Control::Topics, 0.75), (Control::Rate, 0.75)],
    ),
];

/// All variations; `options` are the flags of the found load. A quantity that cannot be varied
/// stays the same.
pub fn variations(found: &Scenario, options: &RunOptions) -> Vec<Variation> {
    let vary = |(purpose, changes): &(Purpose, &[(Control, f64)])| {
        let mut options = options.clone();
        for (control, share) in *changes {
            scale(*control, *share, found, &mut options);
        }
        Variation { purpose: *purpose, options }
    };
    VARIATIONS.iter().map(vary).collect()
}

fn scale(control: Control, share: f64, found: &Scenario, options: &mut RunOptions) {
    if control == Control::Rate {
        options.rate = scaled_rate(found, share).or(options.rate);
        return;
    }
    let range = control.range(found);
    let value = (control.of(found) as f64 * share).round() as u64;
    control.set(options, value.clamp(*range.start(), *range.end()));
}

/// Rates may be fractions.
fn scaled_rate(found: &Scenario, share: f64) -> Option<Rate> {
    let rates = found.publishers.iter().map(|group| group.rate.per_second());
    let fastest = rates.reduce(f64::max)? * share;
    format!("{}/1000", (fastest * 1000.0).round()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::load::Load;
    use crate::cli::overrides;

    fn varied(name: &str) -> (Load, Vec<(Purpose, Load)>) {
        let options = RunOptions::default();
        let found = overrides::resolve(name, &options).unwrap();
        let load = |options: &RunOptions| Load::of(&overrides::resolve(name, options).unwrap());
        let varied = variations(&found, &options);
        (Load::of(&found), varied.iter().map(|v| (v.purpose, load(&v.options))).collect())
    }

    #[test]
    fn each_probe_changes_the_terms_in_a_way_of_its_own() {
        let (found, varied) = varied("control-room");
        let [topics, rate, payload, between] = [0, 1, 2, 3].map(|at| varied[at].1);
        assert_eq!(topics.deliveries_per_s, found.deliveries_per_s / 2.0);
        assert_eq!(topics.writes_per_s, found.writes_per_s);
        assert_eq!(rate.writes_per_s, found.writes_per_s / 2.0);
        assert_eq!(payload.deliveries_per_s, found.deliveries_per_s / 2.0);
        assert!(payload.megabytes_per_s > found.megabytes_per_s * 1.5);
        assert_eq!(varied[3].0, Purpose::HeldOut);
        assert!(between.deliveries_per_s < found.deliveries_per_s * 0.45, "{between:?}");
        assert!(varied.iter().all(|(_, load)| load.deliveries_per_s <= found.deliveries_per_s));
    }

    #[test]
    fn what_cannot_be_varied_stays() {
        let (found, varied) = varied("substation");
        assert_eq!(varied[0].1, found, "its only publisher");
        assert_ne!(varied[1].1, found);
    }
}
