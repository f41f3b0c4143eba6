//! `gridload capacity`: finds the largest load that meets the goals. Owns the order of the runs and
//! their time. Must not measure (each run is a separate `gridload run`), search or judge.
//!
//! The path: `search` chooses the next value, `control` puts it into the scenario, `runner` runs
//! it, and `point` reads the result; `variation` adds a few more loads. `load`, `model` with
//! `least_squares`, and `plan` compute costs from the points; `answer` combines everything; `text`
//! and `record` present it.

pub(crate) mod answer;
pub(crate) mod control;
pub(crate) mod error;
pub(crate) mod least_squares;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod plan;
pub(crate) mod point;
pub(crate) mod record;
pub(crate) mod runner;
pub(crate) mod search;
pub(crate) mod text;
pub(crate) mod variation;

use std::time::Duration;

use crate::capacity::answer::{Answer, Wanted};
use crate::capacity::error::CapacityError;
use crate::capacity::plan::Prices;
use crate::capacity::point::Purpose;
use crate::capacity::record::{CAPACITY_FILE, Record};
use crate::capacity::runner::Runner;
use crate::capacity::search::{Found, Search, SearchParams, Step, Trial};
use crate::capacity::text::Summary;
use crate::capacity::variation::variations;
use crate::cli::flags::capacity::CapacityArgs;
use crate::cli::overrides::ResolveError;
use crate::cli::{overrides, session};
use crate::judge::exit::Exit;
use crate::observe::host::Environment;
use crate::os::output::{note, say};
use crate::scenario::builtin;
use crate::scenario::scenario::Scenario;
use crate::scenario::section::ScenarioError;
use crate::scenario::slo::Slo;
use crate::time::units::format_duration;

/// Searches, confirms, fits the model, prints and writes.
///
/// # Errors
/// When a run fails completely.
pub fn run(args: &CapacityArgs) -> Result<Exit, CapacityError> {
    let name = args.run.scenario.as_deref().unwrap_or(builtin::DEFAULT);
    let mut options = args.run.options.clone();
    options.set.extend(args.slo.iter().cloned());
    let scenario = overrides::resolve(name, &options)?;
    if scenario.profile.is_some() || scenario.phases.repeat > 1 {
        let cause = ScenarioError::Contradiction(NO_LAPS.to_owned());
        return Err(ResolveError::Wrong { origin: name.to_owned(), cause }.into());
    }
    let mut search = Search::new(params(args, &scenario)?);
    let mut runner = Runner::new(args, name, options, &scenario)?;
    note(text::head(args.control));
    let mut left_out = search_knee(&mut search, &mut runner, args.confirm)?;
    let found = search.found();
    if let Some(value) = found.confirmed.or(found.seen) {
        let is_whole = vary(value, &mut runner)?;
        left_out = left_out.or((!is_whole).then_some("runs for the model were left out"));
    }
    let left_out = left_out.map(|what| {
        let (budget, taken) = (args.budget, runner.elapsed().as_secs());
        format!("Out of time: {what} (--budget {}, {taken} s taken)", format_duration(budget))
    });
    conclude(args, &scenario, found, &runner, left_out.as_deref())
}

const NO_LAPS: &str = "`capacity` has runs of its own for every load; leave out `profile` \
                       (--profile) and `repeat` (--repeat)";

fn params(args: &CapacityArgs, scenario: &Scenario) -> Result<SearchParams, CapacityError> {
    let range = args.control.range(scenario);
    let most = args.to.map_or(*range.end(), |to| to.min(*range.end()));
    let start = args.from.unwrap_or_else(|| args.control.of(scenario).min(most));
    if start > most {
        return Err(CapacityError::Range { from: start, to: most });
    }
    let (resolution, confirm) = (args.resolution, args.confirm);
    Ok(SearchParams { start, least: *range.start(), most, resolution, confirm })
}

/// Runs what the search asks for, until it ends or the time is over; returns what was left out.
fn search_knee(
    search: &mut Search,
    runner: &mut Runner<'_>,
    confirm: u32,
) -> Result<Option<&'static str>, CapacityError> {
    let mut left_out = None;
    loop {
        let (purpose, value) = match search.step() {
            Step::Try(value) => (Purpose::Search, value),
            Step::Confirm(value) => (Purpose::Confirm, value),
            Step::End => return Ok(left_out),
        };
        let options = runner.options_at(value);
        let scenario = runner.scenario(purpose, &options)?;
        let whole = runner.scenario(Purpose::Confirm, &options)?;
        let confirmation = runner::length(&whole) * confirm;
        let is_confirmed = search.found().confirmed.is_some();
        // Only a confirmed value is worth a model.
        let probe = runner.scenario(Purpose::Probe, &options)?;
        let reserve = runner::length(&probe) * if is_confirmed { MODEL_RUNS } else { 0 };
        match purpose {
            Purpose::Search if !runner.has_time(&scenario, confirmation) => {
                left_out = Some("the search was cut short before it was as close as asked");
                search.hurry();
            }
            Purpose::Confirm if !runner.has_time(&scenario, reserve) => {
                left_out = Some(match is_confirmed {
                    true => "the gap was left wider than asked",
                    false => "what was found could not be confirmed",
                });
                search.end();
            }
            _ => search.take(runner.run(purpose, value, &scenario)?),
        }
    }
}

/// Runs the additional loads that the model needs; returns whether there was time for all of them.
fn vary(value: u64, runner: &mut Runner<'_>) -> Result<bool, CapacityError> {
    let options = runner.options_at(value);
    let found = runner.scenario(Purpose::Probe, &options)?;
    for variation in variations(&found, &options) {
        let scenario = runner.scenario(variation.purpose, &variation.options)?;
        if scenario.publishers == found.publishers && scenario.subscribers == found.subscribers {
            continue;
        }
        for _ in 0..TRIES {
            if !runner.has_time(&scenario, Duration::ZERO) {
                return Ok(false);
            }
            let trial = runner.run(variation.purpose, value, &scenario)?;
            if !matches!(trial, Trial::Invalid | Trial::Disturbed) {
                break;
            }
        }
    }
    Ok(true)
}

/// The number of runs for a model, plus two that may have to be repeated.
const MODEL_RUNS: u32 = 6;

/// The most attempts of a variation whose run is invalid.
const TRIES: usize = 3;

fn conclude(
    args: &CapacityArgs,
    scenario: &Scenario,
    found: Found,
    runner: &Runner<'_>,
    left_out: Option<&str>,
) -> Result<Exit, CapacityError> {
    let egress_gigabyte = args.price_egress.unwrap_or(0.0);
    let wanted = Wanted {
        asked: args.control.of(scenario),
        prices: args.price.map(|core_hour| Prices { core_hour, egress_gigabyte }),
        plan: args.plan,
        plan_cores: args.plan_cores,
    };
    let answer = Answer::of(found, runner.points(), &wanted);
    let goals = goals(&scenario.slo);
    let (control, plan_cores) = (args.control, args.plan_cores);
    let summary = Summary { control, goals: &goals, answer: &answer, plan_cores, left_out };
    let record = Record {
        command: &session::command_line(std::env::args()),
        scenario: &scenario.name,
        control,
        goals: &goals,
        resolution: args.resolution,
        elapsed_s: runner.elapsed().as_secs_f64(),
        left_out,
        answer: &answer,
        points: runner.points(),
        environment: &Environment::read(),
    };
    let paths = [Some(runner.directory().join(CAPACITY_FILE)), args.json.clone()];
    let written = paths.into_iter().flatten().try_for_each(|path| {
        record.write(&path).map_err(|cause| CapacityError::Write { path, cause })
    });
    say(text::summary(&summary));
    written?;
    say(format_args!("result: {}", runner.directory().display()));
    Ok(exit(&found))
}

/// The goals as text: those that limit latencies, and those that always apply.
fn goals(slo: &Slo) -> Vec<String> {
    let latencies = slo.latencies();
    let latencies =
        latencies.map(|(goal, _, limit)| format!("{goal} <= {}", format_duration(limit)));
    latencies.chain([format!("loss <= {}", slo.loss)]).collect()
}

fn exit(found: &Found) -> Exit {
    let is_missed = found.seen.is_none() && found.is_knee();
    match found.confirmed {
        Some(_) => Exit::Ok,
        None if is_missed => Exit::SloViolated,
        None => Exit::InvalidRun,
    }
}
