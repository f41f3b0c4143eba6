//! `gridload trend`: shows how a server developed over many versions, from an append-only history.
//! Owns the history's format. It is advisory and never fails a build, because hosts and months
//! differ more than versions do; `ab` decides.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cli::flags::compare::TrendArgs;
use crate::compare::metric::{METRICS, Metric};
use crate::compare::statistics::median;
use crate::judge::exit::Exit;
use crate::os::output::say;
use crate::report::spark::spark;
use crate::report::table::table;
use crate::result::run_file::{RunFile, RunFileError};

/// The results of one version on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The measured version, e.g. a revision.
    pub label: String,
    /// When its first run began.
    pub started: String,
    /// The host.
    pub host_fingerprint: String,
    /// The load.
    pub scenario: String,
    /// The kernel counters that ran, because counting costs the server CPU time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<String>,
    /// Valid runs.
    pub runs: usize,
    /// The median of each metric.
    pub metrics: BTreeMap<String, f64>,
}

/// Why there is no trend.
#[derive(Debug, Error)]
pub enum TrendError {
    /// The runs to add cannot be read.
    #[error(transparent)]
    Runs(#[from] RunFileError),
    /// None of the runs is valid.
    #[error("{}: no valid run to add", .0.display())]
    NoneValid(PathBuf),
    /// The history cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// A line of the history is invalid.
    #[error("{}, line {line}: not written by `gridload trend`: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The reason.
        cause: serde_json::Error,
    },
    /// The history is empty.
    #[error("{}: empty; add results with --add DIR", .0.display())]
    Empty(PathBuf),
}

impl TrendError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Adds the given runs to the history, and prints the trend of the last entry.
///
/// # Errors
/// [`TrendError`] when there is no trend.
pub fn run(args: &TrendArgs) -> Result<Exit, TrendError> {
    if let Some(results) = &args.add {
        append(&args.history, &Entry::of(results, args.label.as_deref())?)?;
    }
    let entries = read(&args.history)?;
    let last = entries.last().ok_or_else(|| TrendError::Empty(args.history.clone()))?;
    let is_alike = |one: &&Entry| one.conditions() == last.conditions();
    let alike: Vec<_> = entries.iter().filter(is_alike).collect();
    say(render(&alike));
    Ok(Exit::Ok)
}

impl Entry {
    fn of(results: &Path, label: Option<&str>) -> Result<Entry, TrendError> {
        let runs: Vec<_> = RunFile::all(results)?.into_iter().filter(RunFile::is_valid).collect();
        let first = runs.first().ok_or_else(|| TrendError::NoneValid(results.to_owned()))?;
        let text = |key: &str| first.run[key].as_str().unwrap_or_default().to_owned();
        let of = |metric: &Metric| {
            let values: Vec<_> = runs.iter().filter_map(|run| metric.of(&run.run)).collect();
            (!values.is_empty()).then(|| (metric.key.to_owned(), median(values)))
        };
        Ok(Entry {
            label: label.map_or_else(|| text("started"), str::to_owned),
            started: text("started"),
            host_fingerprint: first.host_fingerprint().to_owned(),
            scenario: first.run["scenario"]["name"].as_str().unwrap_or_default().to_owned(),
            counted: first.counted(),
            runs: runs.len(),
            metrics: METRICS.iter().filter_map(of).collect(),
        })
    }

    /// What entries must have in common to be compared.
    fn conditions(&self) -> (&str, &str, &[String]) {
        (&self.host_fingerprint, &self.scenario, &self.counted)
    }
}

fn append(path: &Path, entry: &Entry) -> Result<(), TrendError> {
    let failed = |cause| TrendError::File { path: path.to_owned(), cause };
    let line = serde_json::to_string(entry).map_err(|error| failed(error.into()))?;
    let mut history = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    history.write_all((line + "\n").as_bytes()).map_err(failed)
}

fn read(path: &Path) -> Result<Vec<Entry>, TrendError> {
    let text = fs::read_to_string(path)
        .map_err(|cause| TrendError::File { path: path.to_owned(), cause })?;
    let parse = |(line, text): (usize, &str)| {
        serde_json::from_str(text).map_err(|cause| TrendError::Malformed {
            path: path.to_owned(),
            line,
            cause,
        })
    };
    (1..).zip(text.lines()).map(parse).collect()
}

fn render(entries: &[&Entry]) -> String {
    let rows = METRICS.iter().filter_map(|metric| row(metric, entries)).collect();
    let header = ["metric", "history", "before", "last", "change", ""];
    let last = entries.last().map_or("", |entry| &entry.label);
    let first = entries.first().map_or("", |entry| &entry.label);
    let title = format!("{} entries of one host and scenario, {first} to {last}", entries.len());
    format!("{title}\n\n{}", table(&header, rows))
}

fn row(metric: &Metric, entries: &[&Entry]) -> Option<Vec<String>> {
    let values: Vec<f64> =
        entries.iter().filter_map(|entry| entry.metrics.get(metric.key).copied()).collect();
    let (last, before) = values.split_last()?;
    let shown = |value: f64| metric.unit.format(value);
    let usual = if before.is_empty() { *last } else { median(before.to_vec()) };
    Some(vec![
        metric.title.to_owned(),
        spark(values.iter().rev().take(SHOWN).rev().copied()),
        shown(usual),
        shown(*last),
        format!("{:+.1} %", (last / usual - 1.0) * 100.0),
        advice(metric, before, *last).to_owned(),
    ])
}

/// Whether the last value is an outlier: further from the earlier median than three robust standard
/// deviations, and than the change that matters for this metric.
fn advice(metric: &Metric, before: &[f64], last: f64) -> &'static str {
    if before.len() < BEFORE_MIN {
        return "too few to tell";
    }
    let usual = median(before.to_vec());
    let off = median(before.iter().map(|value| (value - usual).abs()).collect());
    let is_out = (last - usual).abs() > DEVIATIONS * TO_DEVIATION * off
        && (last / usual - 1.0).abs() > metric.effect_min;
    match (is_out, (last > usual) == metric.more_is_better) {
        (false, _) => "in line",
        (true, true) => "better than usual",
        (true, false) => "WORSE than usual: see with `ab`",
    }
}

const SHOWN: usize = 30;
const BEFORE_MIN: usize = 5;
const DEVIATIONS: f64 = 3.0;
/// Factor from a median absolute deviation to a standard deviation, for a normal distribution.
const TO_DEVIATION: f64 = 1.4826;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cpu_ns: f64) -> Entry {
        Entry {
            label: "v".into(),
            started: String::new(),
            host_fingerprint: "here".into(),
            scenario: "substation".into(),
            counted: Vec::new(),
            runs: 3,
            metrics: [("cpu_per_delivery".to_owned(), cpu_ns)].into(),
        }
    }

    fn advice_on(values: &[f64]) -> String {
        let entries: Vec<_> = values.iter().copied().map(entry).collect();
        render(&entries.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_is_out_of_line_is_said_and_what_scatters_is_not() {
        let usual = [500.0, 505.0, 498.0, 502.0, 501.0, 499.0];
        let with = |last: f64| advice_on(&[&usual[..], &[last]].concat());
        assert!(with(560.0).contains("WORSE than usual"));
        assert!(with(440.0).contains("better than usual"));
        assert!(with(506.0).contains("in line"));
        assert!(advice_on(&usual[..3]).contains("too few to tell"));
    }

    #[test]
    fn entries_that_the_kernel_counted_are_not_shown_beside_others() {
        let counted = Entry { counted: vec!["syscalls".into()], ..entry(1.0) };
        assert_ne!(counted.conditions(), entry(1.0).conditions());
        assert_eq!(entry(2.0).conditions(), entry(1.0).conditions());
    }

    #[test]
    fn a_history_is_read_back_and_a_broken_line_is_named() {
        let path = tempfile::tempdir().unwrap().keep().join("history.jsonl");
        append(&path, &entry(1.0)).unwrap();
        append(&path, &entry(2.0)).unwrap();
        assert_eq!(read(&path).unwrap(), [entry(1.0), entry(2.0)]);
        fs::write(&path, "{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1: not written by"));
    }
}
