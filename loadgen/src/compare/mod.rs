//! `gridload compare`: reads two sides of results, has them compared, writes the requested files,
//! and returns an exit code. Must not compute or lay out anything itself.
//!
//! A run is one observation, because runs differ far more from each other than frames within one
//! run. The path: `run_file` → `metric` → `comparison` with `statistics` → `text` or `formats`.

pub mod ab;
pub(crate) mod child;
pub(crate) mod comparison;
pub(crate) mod floor;
pub(crate) mod formats;
pub(crate) mod metric;

pub(crate) mod pairing;
pub(crate) mod statistics;
pub(crate) mod text;
pub mod trend;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::cli::flags::compare::{CompareArgs, JudgeArgs};
use crate::compare::comparison::{Comparison, ComparisonOptions};
use crate::compare::floor::{Floor, FloorError};
use crate::compare::pairing::Pairing;
use crate::judge::exit::Exit;
use crate::os::output::{note, say};
use crate::result::run_file::{RunFile, RunFileError};

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The runs cannot be used.
    #[error(transparent)]
    Runs(#[from] RunFileError),
    /// The noise floor cannot be used.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// A requested file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// A text contains characters that XML does not allow.
    #[error("JUnit: {0}")]
    Junit(#[from] quick_junit::SerializeError),
}

impl CompareError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            CompareError::Runs(_) | CompareError::Floor(_) => Exit::Usage,
            CompareError::Write { .. } | CompareError::Junit(_) => Exit::Internal,
        }
    }
}

/// Compares, prints, and writes the requested files.
///
/// # Errors
/// [`CompareError`] when the runs cannot be compared or a file cannot be written.
pub fn run(args: &CompareArgs) -> Result<Exit, CompareError> {
    let (base, cand) = (RunFile::all(&args.base)?, RunFile::all(&args.cand)?);
    if let Some(first) = base.first() {
        for other in base.iter().chain(&cand) {
            first.comparable(other, args.host_mismatch)?;
        }
    }
    note_uncounted(&base);
    let host = base.first().map_or("", RunFile::host_fingerprint);
    let options = options(&args.judge, host, Pairing::None)?;
    conclude(&Comparison::of(&base, &cand, &options), &args.judge)
}

/// Prints which requested kernel counters are missing, so that nobody looks for their rows.
pub fn note_uncounted(runs: &[RunFile]) {
    for counter in runs.first().into_iter().flat_map(RunFile::uncounted) {
        note(format_args!("not counted: {counter}"));
    }
}

/// The parameters for comparing runs on this host with pairs of this kind.
///
/// # Errors
/// When its noise floor cannot be read.
pub fn options(
    judge: &JudgeArgs,
    host: &str,
    pairing: Pairing,
) -> Result<ComparisonOptions, CompareError> {
    let read = |path| Floor::read(path, host, pairing);
    let floor = judge.floor.as_deref().map(read).transpose()?;
    let floor = floor.unwrap_or_default();
    Ok(ComparisonOptions { gates: judge.gate.clone(), floor, pairing, seed: judge.seed })
}

/// Prints a comparison, writes the requested files, and returns the exit code.
///
/// # Errors
/// [`CompareError`] when a file cannot be written.
pub fn conclude(comparison: &Comparison, judge: &JudgeArgs) -> Result<Exit, CompareError> {
    let written = write_files(judge, comparison);
    say(text::terminal(comparison));
    written?;
    Ok(exit(comparison, judge.require_conclusive))
}

fn exit(comparison: &Comparison, require_conclusive: bool) -> Exit {
    if comparison.proves_nothing() {
        Exit::InvalidRun
    } else if comparison.has_regressed() {
        Exit::Regressed
    } else if require_conclusive && comparison.is_inconclusive() {
        Exit::Inconclusive
    } else {
        Exit::Ok
    }
}

fn write_files(args: &JudgeArgs, comparison: &Comparison) -> Result<(), CompareError> {
    let pretty = |value: Value| format!("{value:#}\n");
    write(args.markdown.as_deref(), || Ok(text::markdown(comparison)))?;
    write(args.json.as_deref(), || Ok(pretty(formats::json(comparison))))?;
    write(args.junit.as_deref(), || Ok(formats::junit(comparison)?))?;
    write(args.bencher.as_deref(), || Ok(pretty(formats::bencher(comparison))))?;
    let entries = |more| move || Ok(pretty(formats::github_action(comparison, more)));
    write(args.benchmark_smaller.as_deref(), entries(false))?;
    write(args.benchmark_bigger.as_deref(), entries(true))
}

fn write(
    path: Option<&Path>,
    text: impl FnOnce() -> Result<String, CompareError>,
) -> Result<(), CompareError> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()?).map_err(|cause| CompareError::Write { path: path.to_owned(), cause })
}
