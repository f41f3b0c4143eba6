//! The search for the knee: the next value to try, from the outcomes so far. A pure state machine:
//! outcomes in, values out. Must not run anything or know what is varied.

use serde::Serialize;

/// The parameters of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchParams {
    /// The first value.
    pub start: u64,
    /// The smallest value, at least 1.
    pub least: u64,
    /// The largest value.
    pub most: u64,
    /// The largest final distance between a value that passes and one that does not, as a share.
    pub resolution: f64,
    /// The number of full-length runs; a majority must pass.
    pub confirm: u32,
}

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// It was valid and every goal was met.
    Held,
    /// It was valid and a goal was missed.
    Missed,
    /// The generator was at its limit, so the run is invalid.
    Invalid,
    /// Other work delayed the generator for a moment, so the run is invalid; another may be valid.
    Disturbed,
    /// This host cannot carry the load.
    Refused,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A short run with this value.
    Try(u64),
    /// A run of full length with this value.
    Confirm(u64),
    /// The search is finished.
    End,
}

/// The results of a search so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The largest value at which a majority of full-length runs passed.
    pub confirmed: Option<u64>,
    /// The largest value at which a short run passed, unless refuted since.
    pub seen: Option<u64>,
    /// Full-length runs at the confirmed value; if none is confirmed, at the last value tried.
    pub confirm_runs: u32,
    /// The number of them that passed.
    pub confirm_held: u32,
    /// The smallest value that failed, and why; `None` if all values passed.
    pub above: Option<Above>,
    /// The smallest value at which goals were missed. Runs between the two, if any, were invalid.
    pub missed: Option<u64>,
}

/// A value that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Above {
    /// The value.
    pub value: u64,
    /// The outcome of its runs.
    pub trial: Trial,
}

impl Found {
    /// Whether a goal was missed at a higher value; otherwise the runs there were invalid.
    pub fn is_knee(&self) -> bool {
        self.missed.is_some()
    }
}

/// How often an unconfirmed value is lowered: by one resolution, then two, four and so on.
const STEPS_DOWN_MAX: u32 = 4;

/// What steps down may skip, in resolutions: runs of full length are too long to be had for less.
const SKIPPED_MAX: i32 = 3;

/// How often a value may be lowered because its runs of full length prove nothing: a host that is
/// too busy for one load is hardly less busy for a slightly smaller one.
const VOID_ROUNDS_MAX: u32 = 2;

/// Short runs at a value until it is taken not to hold.
const TRIES: u32 = 2;

/// The same where the host is disturbed.
const TRIES_DISTURBED: u32 = 4;

/// A search under way.
#[derive(Debug, Clone)]
pub struct Search {
    params: SearchParams,
    held: Option<u64>,
    above: Option<Above>,
    missed: Option<u64>,
    phase: Phase,
    steps_down: u32,
    void_rounds: u32,
    /// The confirmed value, and the outcomes of its runs.
    confirmed: Option<(u64, TrialCounts)>,
    /// The outcomes of the runs at the current value.
    trials: TrialCounts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Bracket,
    Confirm(u64),
    End,
}

/// The outcomes of the runs at one value.
#[derive(Debug, Clone, Copy, Default)]
struct TrialCounts {
    held: u32,
    missed: u32,
    invalid: u32,
    disturbed: u32,
}

impl TrialCounts {
    fn count(&mut self, trial: Trial) {
        *match trial {
            Trial::Held => &mut self.held,
            Trial::Missed => &mut self.missed,
            Trial::Invalid | Trial::Refused => &mut self.invalid,
            Trial::Disturbed => &mut self.disturbed,
        } += 1;
    }

    fn runs(&self) -> u32 {
        self.held + self.missed + self.invalid + self.disturbed
    }

    /// What short runs come to. One that does not hold gets a second chance, because noise makes
    /// latencies longer and never shorter; one that was disturbed gets some more.
    fn of_tries(&self) -> Option<Trial> {
        let is_over = self.missed + self.invalid >= TRIES || self.runs() >= TRIES_DISTURBED;
        match self {
            TrialCounts { held: 1.., .. } => Some(Trial::Held),
            TrialCounts { missed: 1.., .. } if is_over => Some(Trial::Missed),
            TrialCounts { invalid: 1.., .. } if is_over => Some(Trial::Invalid),
            _ => is_over.then_some(Trial::Disturbed),
        }
    }

    /// What runs of full length come to, of which `runs` are asked for. A value that cannot have
    /// the majority any more is given up before they are all had.
    fn of_confirmation(&self, runs: u32) -> Option<Trial> {
        let (majority, runs_min) = (runs / 2 + 1, runs.max(TRIES));
        let is_void = self.invalid >= runs_min;
        let is_over =
            is_void || self.invalid + self.disturbed >= runs_min * TRIES_DISTURBED / TRIES;
        if self.held >= majority && (is_over || self.held + self.missed >= runs) {
            Some(Trial::Held)
        } else if self.missed > runs - majority {
            Some(Trial::Missed)
        } else if is_void {
            Some(Trial::Invalid)
        } else {
            is_over.then_some(Trial::Disturbed)
        }
    }
}

impl Search {
    /// A search that has not begun.
    pub fn new(params: SearchParams) -> Search {
        let least = params.least.max(1);
        let most = params.most.max(least);
        let params = SearchParams { least, most, start: params.start.clamp(least, most), ..params };
        Search {
            params,
            held: None,
            above: None,
            missed: None,
            phase: Phase::Bracket,
            steps_down: 0,
            void_rounds: 0,
            confirmed: None,
            trials: TrialCounts::default(),
        }
    }

    /// What to do next; the same until an outcome is told.
    pub fn step(&self) -> Step {
        match self.phase {
            Phase::Bracket => Step::Try(self.next_value()),
            Phase::Confirm(value) => Step::Confirm(value),
            Phase::End => Step::End,
        }
    }

    /// Takes in how the run that [`Search::step`] asked for came out.
    pub fn take(&mut self, trial: Trial) {
        match self.phase {
            Phase::Bracket => self.take_try(trial),
            Phase::Confirm(value) => self.take_confirmation(value, trial),
            Phase::End => {}
        }
    }

    /// Time is short: what has held so far is to be confirmed.
    pub fn hurry(&mut self) {
        if self.phase == Phase::Bracket {
            self.phase = self.held.map_or(Phase::End, Phase::Confirm);
        }
    }

    /// Time is up.
    pub fn end(&mut self) {
        self.phase = Phase::End;
    }

    /// What is known by now.
    pub fn found(&self) -> Found {
        let trials = self.confirmed.map_or(self.trials, |(_, trials)| trials);
        Found {
            confirmed: self.confirmed.map(|(value, _)| value),
            seen: self.held,
            confirm_runs: trials.runs(),
            confirm_held: trials.held,
            above: self.above,
            missed: self.missed,
        }
    }

    /// Doubles while all hold, halves while none does, and then goes for the middle, as ratios go.
    fn next_value(&self) -> u64 {
        let SearchParams { start, least, most, .. } = self.params;
        match (self.held, self.above) {
            (None, None) => start,
            (Some(held), None) => held.saturating_mul(2).min(most),
            (None, Some(above)) => (above.value / 2).max(least),
            (Some(held), Some(above)) => middle(held, above.value),
        }
    }

    fn take_try(&mut self, trial: Trial) {
        let value = self.next_value();
        self.trials.count(trial);
        let is_refused = trial == Trial::Refused;
        let Some(trial) = is_refused.then_some(trial).or(self.trials.of_tries()) else { return };
        self.trials = TrialCounts::default();
        match trial {
            Trial::Held => self.held = Some(value),
            trial => self.fails(value, trial),
        }
        if self.is_settled() {
            self.phase = self.held.map_or(Phase::End, Phase::Confirm);
        }
    }

    fn fails(&mut self, value: u64, trial: Trial) {
        self.above = Some(Above { value, trial });
        if trial == Trial::Missed {
            self.missed = Some(value);
        }
    }

    fn is_settled(&self) -> bool {
        let SearchParams { least, most, resolution, .. } = self.params;
        match (self.held, self.above.map(|above| above.value)) {
            (None, None) => false,
            (Some(held), None) => held >= most,
            (None, Some(above)) => above <= least,
            (Some(held), Some(above)) => {
                above <= held + 1 || above as f64 <= held as f64 * (1.0 + resolution)
            }
        }
    }

    fn take_confirmation(&mut self, value: u64, trial: Trial) {
        self.trials.count(trial);
        let Some(trial) = self.trials.of_confirmation(self.params.confirm.max(1)) else { return };
        match trial {
            Trial::Held => {
                self.confirmed = Some((value, self.trials));
                self.held = Some(value);
                self.revisit_skipped(value);
            }
            trial => match self.confirmed {
                None => self.step_down(value, trial),
                Some((confirmed, _)) => self.step_back(confirmed, value, trial),
            },
        }
    }

    /// Goes for the middle of what steps down have skipped, if that is much.
    fn revisit_skipped(&mut self, confirmed: u64) {
        let above = self.above.filter(|_| self.steps_down > 0).map_or(0, |above| above.value);
        let widest = confirmed as f64 * (1.0 + self.params.resolution).powi(SKIPPED_MAX);
        if above > confirmed + 1 && above as f64 > widest {
            self.trials = TrialCounts::default();
            self.phase = Phase::Confirm(middle(confirmed, above));
        } else {
            self.phase = Phase::End;
        }
    }

    /// What lies above a confirmed value was not confirmed.
    fn step_back(&mut self, confirmed: u64, value: u64, trial: Trial) {
        if trial == Trial::Missed {
            self.fails(value, trial);
            self.revisit_skipped(confirmed);
        } else {
            self.phase = Phase::End;
        }
    }

    fn step_down(&mut self, value: u64, trial: Trial) {
        let is_void = trial != Trial::Missed;
        self.void_rounds += u32::from(is_void);
        let is_over = self.steps_down >= STEPS_DOWN_MAX || value <= self.params.least;
        if is_over || self.void_rounds >= VOID_ROUNDS_MAX {
            self.phase = Phase::End;
        }
        if is_void && self.phase == Phase::End {
            // Nothing was proved, so nothing was refuted either.
            return;
        }
        self.fails(value, trial);
        if self.phase == Phase::End {
            self.held = None;
            return;
        }
        let factor = (1.0 + self.params.resolution).powi(1 << self.steps_down);
        let lower = (value as f64 / factor) as u64;
        let lower = lower.clamp(self.params.least, value - 1);
        self.steps_down += 1;
        self.held = Some(lower);
        self.trials = TrialCounts::default();
        self.phase = Phase::Confirm(lower);
    }
}

/// Between what holds and what does not, as ratios go.
fn middle(held: u64, above: u64) -> u64 {
    let middle = (held as f64 * above as f64).sqrt().round() as u64;
    middle.clamp(held + 1, above.saturating_sub(1).max(held + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    fn params(start: u64) -> SearchParams {
        SearchParams { start, least: 1, most: 4_000_000, resolution: 0.05, confirm: 3 }
    }

    /// Runs a search to its end against an oracle; the values it tried, in order.
    fn drive(search: &mut Search, mut oracle: impl FnMut(Step) -> Trial) -> Vec<Step> {
        let mut steps = Vec::new();
        while search.step() != Step::End && steps.len() < 1_000 {
            steps.push(search.step());
            let trial = oracle(search.step());
            search.take(trial);
        }
        steps
    }

    fn value(step: Step) -> u64 {
        match step {
            Step::Try(value) | Step::Confirm(value) => value,
            Step::End => 0,
        }
    }

    fn upto(knee: u64) -> impl FnMut(Step) -> Trial {
        move |step| if value(step) <= knee { Trial::Held } else { Trial::Missed }
    }

    #[test]
    fn it_doubles_halves_the_gap_and_confirms() {
        let mut search = Search::new(params(50));
        let steps = drive(&mut search, upto(310));
        let values: Vec<_> = steps.iter().map(|step| value(*step)).collect();
        assert_eq!(values, [50, 100, 200, 400, 400, 283, 336, 336, 308, 322, 322, 308, 308, 308]);
        let found = search.found();
        assert_eq!(found.confirmed, Some(308));
        assert_eq!(found.above, Some(Above { value: 322, trial: Trial::Missed }));
        assert!(found.is_knee());
        assert_eq!((found.confirm_held, found.confirm_runs), (3, 3), "three times");
    }

    #[test]
    fn a_start_beyond_the_knee_is_halved() {
        let mut search = Search::new(params(1_000));
        drive(&mut search, upto(70));
        let found = search.found();
        assert!(found.confirmed.is_some_and(|value| (67..=70).contains(&value)), "{found:?}");
        let mut search = Search::new(params(8));
        drive(&mut search, |_| Trial::Missed);
        assert_eq!((search.found().confirmed, search.found().seen), (None, None));
    }

    #[test]
    fn the_generators_own_limit_is_no_knee() {
        let mut search = Search::new(params(100));
        drive(&mut search, |step| match value(step) {
            0..=700 => Trial::Held,
            _ => Trial::Invalid,
        });
        let found = search.found();
        assert!(!found.is_knee() && found.confirmed.is_some_and(|v| v > 660), "{found:?}");
        let mut search = Search::new(params(100));
        drive(&mut search, |step| match value(step) {
            0..=300 => Trial::Held,
            301..=350 => Trial::Invalid,
            _ => Trial::Missed,
        });
        let found = search.found();
        let above = found.above.unwrap();
        assert!(above.trial == Trial::Invalid && found.missed == Some(400), "{found:?}");
        assert!(found.is_knee(), "it lies between what was confirmed and what was missed");
        let mut search = Search::new(params(100));
        let steps = drive(&mut search, |step| match value(step) {
            0..=300 => Trial::Held,
            _ => Trial::Refused,
        });
        let tries = steps.iter().filter(|step| **step == Step::Try(400)).count();
        assert_eq!(tries, 1, "what does not fit the host will not fit it again");
    }

    #[test]
    fn what_holds_at_the_end_of_the_range_is_confirmed() {
        let mut search = Search::new(SearchParams { most: 300, ..params(100) });
        drive(&mut search, upto(u64::MAX));
        let found = search.found();
        assert_eq!((found.confirmed, found.above), (Some(300), None));
    }

    #[test]
    fn what_does_not_last_is_lowered_step_by_step() {
        let mut search = Search::new(params(100));
        drive(&mut search, |step| match step {
            Step::Confirm(value) if value > 170 => Trial::Missed,
            step if value(step) <= 199 => Trial::Held,
            _ => Trial::Missed,
        });
        let found = search.found();
        assert!(found.confirmed.is_some_and(|value| (150..=170).contains(&value)), "{found:?}");
        let mut search = Search::new(params(100));
        drive(&mut search, |step| match step {
            Step::Try(value) if value <= 199 => Trial::Held,
            _ => Trial::Missed,
        });
        let found = search.found();
        assert_eq!((found.confirmed, found.seen), (None, None), "nothing lasted");
    }

    #[test]
    fn what_steps_down_have_skipped_is_looked_at() {
        let found_where_runs_last_upto = |knee: u64| {
            let mut search = Search::new(params(100));
            drive(&mut search, |step| match step {
                Step::Confirm(value) if value > knee => Trial::Missed,
                step if value(step) <= 199 => Trial::Held,
                _ => Trial::Missed,
            });
            search.found()
        };
        for knee in 131..190 {
            let found = found_where_runs_last_upto(knee);
            let confirmed = found.confirmed.unwrap();
            let above = found.above.unwrap().value;
            assert!((confirmed..above).contains(&knee), "{knee}: {found:?}");
            assert!(above as f64 <= confirmed as f64 * 1.05f64.powi(3), "{knee}: {found:?}");
            assert_eq!((found.confirm_held, found.confirm_runs), (3, 3), "{knee}");
            assert_eq!(found.missed, Some(above), "{knee}");
        }
    }

    #[test]
    fn a_host_that_proves_nothing_refutes_nothing() {
        let mut search = Search::new(params(100));
        let steps = drive(&mut search, |step| match step {
            Step::Confirm(_) => Trial::Invalid,
            step if value(step) <= 199 => Trial::Held,
            _ => Trial::Missed,
        });
        let found = search.found();
        assert_eq!(found.confirmed, None);
        assert!(found.seen.is_some_and(|value| value > 180), "{found:?}");
        let confirms = steps.iter().filter(|step| matches!(step, Step::Confirm(_))).count();
        assert_eq!(confirms, 6, "two rounds of three");
    }

    #[test]
    fn disturbances_are_waited_out_but_not_for_ever() {
        let mut search = Search::new(params(100));
        let (mut last, mut times) = (None, 0);
        drive(&mut search, |step| {
            times = if last == Some(step) { times + 1 } else { 0 };
            last = Some(step);
            match value(step) {
                _ if times < 3 => Trial::Disturbed,
                0..=310 => Trial::Held,
                _ => Trial::Missed,
            }
        });
        let found = search.found();
        assert!(found.confirmed.is_some_and(|value| (295..=310).contains(&value)), "{found:?}");
        let mut search = Search::new(params(100));
        let steps = drive(&mut search, |step| match value(step) {
            0..=300 => Trial::Held,
            _ => Trial::Disturbed,
        });
        let found = search.found();
        assert!(!found.is_knee() && found.confirmed.is_some_and(|v| v > 280), "{found:?}");
        assert_eq!(found.above.map(|above| above.trial), Some(Trial::Disturbed));
        let tries = steps.iter().filter(|step| **step == Step::Try(400)).count();
        assert_eq!(tries, 4);
    }

    #[test]
    fn haste_confirms_what_has_held_so_far() {
        let mut search = Search::new(params(100));
        search.hurry();
        assert_eq!(search.step(), Step::End, "nothing has held");
        let mut search = Search::new(params(100));
        search.take(Trial::Held);
        search.hurry();
        assert_eq!(search.step(), Step::Confirm(100));
        search.take(Trial::Held);
        search.end();
        assert_eq!((search.found().confirmed, search.found().seen), (None, Some(100)));
    }

    /// No more runs than this, whatever comes out: four at each value of doubling and of halving
    /// the gap, and the trials of every step down and of what those skipped.
    fn runs_max(params: &SearchParams) -> usize {
        let doublings = (params.most as f64 / params.least as f64).log2().ceil() as usize + 2;
        let halvings = (2f64.ln() / params.resolution.ln_1p()).log2().ceil() as usize + 2;
        let trials = 4 * params.confirm as usize + 4;
        TRIES_DISTURBED as usize * (doublings + halvings) + (STEPS_DOWN_MAX as usize + 4) * trials
    }

    proptest! {
        /// Noise that spoils runs, though no value twice in a row, does not move the answer.
        #[test]
        fn the_knee_is_found_to_the_resolution(
            knee in 1u64..200_000,
            start in 1u64..200_000,
            resolution in 0.01f64..0.3,
            seed: u64,
        ) {
            let params = SearchParams { start, resolution, ..params(1) };
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let (mut search, mut last, mut confirmed_at) = (Search::new(params), None, 0);
            let steps = drive(&mut search, |step| {
                let is_spoiled = rng.random_bool(0.3) && last != Some(step);
                last = Some(step);
                confirmed_at = value(step);
                match value(step) <= knee {
                    _ if is_spoiled => Trial::Invalid,
                    true => Trial::Held,
                    false => Trial::Missed,
                }
            });
            let found = search.found();
            let confirmed = found.confirmed.unwrap();
            prop_assert_eq!(confirmed, confirmed_at);
            prop_assert!(confirmed <= knee);
            let next = (confirmed as f64 * (1.0 + resolution)).max(confirmed as f64 + 1.0);
            prop_assert!(knee as f64 <= next, "{} of {}: {:?}", confirmed, knee, steps);
            prop_assert!(found.is_knee() && steps.len() <= runs_max(&params));
        }

        /// Whatever the runs say, the search ends, keeps to its range, and confirms nothing that
        /// did not hold.
        #[test]
        fn it_always_ends(
            start in 1u64..5_000_000,
            least in 1u64..1_000,
            most in 1u64..4_000_000,
            confirm in 1u32..9,
            seed: u64,
        ) {
            let params = SearchParams { start, least, most: most.max(least), confirm, ..params(1) };
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut held = Vec::new();
            let mut search = Search::new(params);
            let steps = drive(&mut search, |step| {
                let trial =
                    [Trial::Held, Trial::Missed, Trial::Invalid, Trial::Disturbed, Trial::Refused]
                    [rng.random_range(0..5)];
                if trial == Trial::Held && matches!(step, Step::Confirm(_)) {
                    held.push(value(step));
                }
                trial
            });
            prop_assert!(steps.len() <= runs_max(&params), "{} runs", steps.len());
            prop_assert!(steps.iter().all(|s| (params.least..=params.most).contains(&value(*s))));
            if let Some(confirmed) = search.found().confirmed {
                let trials = held.iter().filter(|value| **value == confirmed).count();
                prop_assert!(trials > confirm as usize / 2);
            }
        }
    }
}
