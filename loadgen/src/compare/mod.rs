//! `gridload compare`: from two sides of results to an exit code. Reads, has them compared, writes
//! what was asked for. Must not compute or lay out anything itself.
//!
//! A run is one observation, because runs differ from each other far more than frames within one
//! do. The path: `run_file` → `metric` → `comparison` with `statistics` → `text` or `formats`.

pub mod ab;
pub mod child;
pub mod comparison;
pub mod floor;
pub mod formats;
pub mod metric;

pub mod pairing;
pub mod statistics;
pub mod text;
pub mod trend;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::cli::flags::compare::{CompareArgs, JudgeArgs};
use crate::compare::comparison::{Asked, Comparison};
use crate::compare::floor::{Floor, FloorError};
use crate::compare::pairing::Pairing;
use crate::judge::exit::Exit;
use crate::result::run_file::{RunFile, RunFileError};

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The runs.
    #[error(transparent)]
    Runs(#[from] RunFileError),
    /// The noise of the host.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// A file that was asked for cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A text that cannot be XML.
    #[error("JUnit: {0}")]
    Junit(#[from] quick_junit::SerializeError),
}

impl CompareError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            CompareError::Runs(_) | CompareError::Floor(_) => Exit::Usage,
            CompareError::Write { .. } | CompareError::Junit(_) => Exit::Internal,
        }
    }
}

/// Compares, prints, writes.
///
/// # Errors
/// [`CompareError`] when there is nothing to compare, or nowhere to write.
pub fn run(args: &CompareArgs) -> Result<Exit, CompareError> {
    let (base, cand) = (RunFile::all(&args.base)?, RunFile::all(&args.cand)?);
    if let Some(first) = base.first() {
        for other in base.iter().chain(&cand) {
            first.comparable(other, args.host_mismatch)?;
        }
    }
    tell_uncounted(&base);
    let host = base.first().map_or("", RunFile::host_fingerprint);
    let asked = asked(&args.judge, host, Pairing::None)?;
    conclude(&Comparison::of(&base, &cand, &asked), &args.judge)
}

/// Says what the kernel was asked to count and did not, so that nobody looks for its rows.
pub fn tell_uncounted(runs: &[RunFile]) {
    for told in runs.first().into_iter().flat_map(RunFile::uncounted) {
        eprintln!("not counted: {told}");
    }
}

/// What is asked of a comparison of runs on this host that were taken in this way.
///
/// # Errors
/// When its noise cannot be read.
pub fn asked(judge: &JudgeArgs, host: &str, pairing: Pairing) -> Result<Asked, CompareError> {
    let read = |path| Floor::read(path, host, pairing);
    let floor = judge.floor.as_deref().map(read).transpose()?;
    let floor = floor.unwrap_or_default();
    Ok(Asked { gates: judge.gate.clone(), floor, pairing, seed: judge.seed })
}

/// Prints a comparison, writes the files that were asked for, and says how to end.
///
/// # Errors
/// [`CompareError`] when a file cannot be written.
pub fn conclude(comparison: &Comparison, judge: &JudgeArgs) -> Result<Exit, CompareError> {
    println!("{}", text::terminal(comparison));
    write_files(judge, comparison)?;
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
