//! `gridload merge`: merges repeated runs of one load into one result. Counts are added and
//! histograms merged exactly. Only CPU time per delivery is averaged, weighted by deliveries. Must
//! not run anything.

use std::path::PathBuf;
use std::time::Duration;
use std::{io, iter};

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::cli::flags::merge::MergeArgs;
use crate::drive::{publishers, ramp};
use crate::judge::exit::Exit;
use crate::judge::health::Gate;
use crate::judge::verdict::Verdict;
use crate::os::output::say;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::window::Window;
use crate::receive::outcome::{Outcome, ThreadHealth, Totals};
use crate::report::text;
use crate::result::record::{ResultDir, totals_json};
use crate::result::run_file::{RunFile, RunFileError};
use crate::scenario::scenario::Scenario;
use crate::scenario::section::ScenarioError;
use crate::scenario::slo::Slo;

/// Why there is no merged result.
#[derive(Debug, Error)]
pub enum MergeError {
    /// A run cannot be read, or has another load.
    #[error(transparent)]
    Run(#[from] RunFileError),
    /// A run of this version has unexpected contents.
    #[error("{}: not what gridload writes: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: String,
    },
    /// There is no run to merge.
    #[error("there is one run only; name several, or a directory of several")]
    OneRun,
    /// Runs with different classes.
    #[error("{}: has other classes of subscribers than the first run", .0.display())]
    Classes(PathBuf),
    /// The result cannot be written.
    #[error("result directory: {0}")]
    Directory(#[from] io::Error),
}

impl MergeError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Merges runs and judges them as one.
///
/// # Errors
/// When runs are missing, or have different loads.
pub fn run(args: &MergeArgs, command: &str) -> Result<Exit, MergeError> {
    let runs = args.runs.iter().map(|path| RunFile::all(path)).collect::<Result<Vec<_>, _>>()?;
    let runs: Vec<RunFile> = runs.into_iter().flatten().collect();
    let [first, _, ..] = runs.as_slice() else { return Err(MergeError::OneRun) };
    runs.iter().try_for_each(|run| first.comparable(run, true))?;
    let slo = slo(first)?;
    let parts = runs.iter().map(Part::read).collect::<Result<Vec<_>, _>>()?;
    let bound_ns = runs.iter().filter_map(|run| run.run["clock"]["bound_ns"].as_u64()).max();
    let merged = Merged { bound_ns: bound_ns.unwrap_or(0), ..Merged::of(parts, &runs)? };
    let directory = ResultDir::create(Some(&args.out), "", 0)?;
    let verdict = Verdict::of(merged.gates.clone(), &slo, &merged.outcome, merged.bound_ns);
    let (outcome, bound_ns) = (&merged.outcome, merged.bound_ns);
    let written = directory.write_merged(&merged.json(first, command, &verdict), &merged.outcome);
    say(text::of_merged(outcome, bound_ns, &verdict, runs.len()));
    written?;
    say(format_args!("result: {}", directory.path().display()));
    Ok(verdict.exit())
}

/// The parts of a `run.json` that are merged.
#[derive(Deserialize)]
struct Part {
    started_unix_ns: u64,
    totals: Totals,
    health: Health,
    windows: Vec<Window>,
    efficiency: Efficiency,
}

#[derive(Deserialize)]
struct Health {
    gates: Vec<Gate>,
    threads: Vec<ThreadHealth>,
}

#[derive(Deserialize)]
struct Efficiency {
    cpu_ns_per_delivery: Option<f64>,
}

impl Part {
    fn read(run: &RunFile) -> Result<Part, MergeError> {
        Part::deserialize(&run.run).map_err(|error| malformed(run, error))
    }

    /// Frames in the histograms.
    fn deliveries(&self) -> f64 {
        self.totals.classes.iter().map(|class| class.e2e.len() as f64).sum()
    }
}

fn malformed(run: &RunFile, cause: impl ToString) -> MergeError {
    MergeError::Malformed { path: run.path.clone(), cause: cause.to_string() }
}

/// The goals of the load, from the first run.
fn slo(run: &RunFile) -> Result<Slo, MergeError> {
    let table = toml::Table::try_from(&run.run["scenario"]).map_err(|e| malformed(run, e))?;
    let scenario = Scenario::from_table(&table);
    Ok(scenario.map_err(|error: ScenarioError| malformed(run, error))?.slo)
}

/// Partly merged runs.
struct Merged {
    outcome: Outcome,
    gates: Vec<Gate>,
    cpu_ns_per_delivery: Option<f64>,
    /// The largest error of clocks, ns.
    bound_ns: u64,
}

impl Merged {
    fn of(parts: Vec<Part>, runs: &[RunFile]) -> Result<Merged, MergeError> {
        let cpu_ns_per_delivery = cpu_per_delivery(&parts);
        let mut gates = Vec::new();
        let mut outcome = Outcome::default();
        let (mut ramps, mut published) = (Vec::new(), Vec::new());
        for (number, (part, run)) in iter::zip(parts, runs).enumerate() {
            let Part { started_unix_ns, totals, health, windows, .. } = part;
            let named = |gate: Gate| {
                let name = format!("run {} {}", number + 1, gate.name).into();
                Gate { name, ..gate }
            };
            gates.extend(health.gates.into_iter().map(named));
            if number == 0 {
                outcome.started_unix_ns = started_unix_ns;
                outcome.classes = totals.classes;
            } else {
                add_classes(&mut outcome.classes, &totals.classes)
                    .ok_or_else(|| MergeError::Classes(run.path.clone()))?;
            }
            outcome.measured +=
                Duration::try_from_secs_f64(totals.measured_s).map_err(|e| malformed(run, e))?;
            outcome.spread.merge(&totals.spread);
            outcome.threads.extend(health.threads);
            append(&mut outcome.windows, windows);
            ramps.push(totals.ramp);
            published.push(totals.publishers);
        }
        outcome.ramp = ramp::merge(ramps);
        outcome.publishers = publishers::merge(published);
        Ok(Merged { outcome, gates, cpu_ns_per_delivery, bound_ns: 0 })
    }

    /// The first run with the merged values. Values that only a single run can have are left out.
    fn json(&self, first: &RunFile, command: &str, verdict: &Verdict) -> Value {
        let mut run = first.run.clone();
        run["command"] = json!(command);
        run["clock"]["bound_ns"] = json!(self.bound_ns);
        run["windows"] = json!(self.outcome.windows);
        run["totals"] = totals_json(&self.outcome);
        run["health"]["valid"] = json!(verdict.valid);
        run["health"]["reasons"] = json!(verdict.reasons());
        run["health"]["gates"] = json!(verdict.gates);
        run["health"]["threads"] = json!(self.outcome.threads);
        run["slo"] = json!(verdict.goals);
        run["verdict"] = json!(verdict.exit().verdict());
        run["exit_code"] = json!(verdict.exit().code());
        run["efficiency"] = json!({ "cpu_ns_per_delivery": self.cpu_ns_per_delivery });
        for key in ["samples", "server", "laps"] {
            run.as_object_mut().and_then(|run| run.remove(key));
        }
        run
    }
}

/// `None` if the classes differ.
fn add_classes(into: &mut [ClassOutcome], more: &[ClassOutcome]) -> Option<()> {
    let names = |classes: &[ClassOutcome]| -> Vec<String> {
        classes.iter().map(|class| class.name.clone()).collect()
    };
    if names(into) != names(more) {
        return None;
    }
    into.iter_mut().zip(more).for_each(|(into, class)| into.merge(class));
    Some(())
}

/// The seconds of one run, appended to those of the other.
fn append(seconds: &mut Vec<Window>, more: Vec<Window>) {
    let from_s = seconds.last().map_or(0, |last| last.t_s + 1);
    seconds.extend(more.into_iter().map(|second| Window { t_s: second.t_s + from_s, ..second }));
}

/// The value over all runs that have it.
fn cpu_per_delivery(parts: &[Part]) -> Option<f64> {
    let known = || {
        let of = |part: &Part| Some((part.efficiency.cpu_ns_per_delivery?, part.deliveries()));
        parts.iter().filter_map(of)
    };
    let deliveries: f64 = known().map(|(_, deliveries)| deliveries).sum();
    let cpu_ns: f64 = known().map(|(each_ns, deliveries)| each_ns * deliveries).sum();
    (deliveries > 0.0).then(|| cpu_ns / deliveries)
}
