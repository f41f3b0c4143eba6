//! `gridload ab`: measures two servers in turn and compares them. Owns the order of the runs and
//! the location of their results. Must not measure (each run is a separate `gridload run`) or
//! judge.
//!
//! The order inside each pair is random. A host that slows down over an hour, or that the first run
//! of a pair warms up, then affects both sides alike. Disturbances of a few seconds only cancel out
//! if both runs take place at the same time (duet benchmarking: Bulej et al., ICPE 2020).

use std::path::{Path, PathBuf};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use thiserror::Error;

use crate::cli::flags::compare::AbArgs;
use crate::compare;
use crate::compare::CompareError;
use crate::compare::child::{ChildRun, ChildRunError, fresh_directory};
use crate::compare::comparison::Comparison;
use crate::compare::metric::Metric;
use crate::compare::pairing::Pairing;
use crate::judge::exit::Exit;
use crate::observe::host::{Environment, Partition};
use crate::os::output::note;
use crate::result::run_file::RunFile;

/// The number of invalid pairs that may be dropped, per pair that is wanted.
const ASIDE_SHARE: usize = 2;

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum AbError {
    /// A run left no result.
    #[error(transparent)]
    Run(#[from] ChildRunError),
    /// The comparison failed.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

impl AbError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            AbError::Run(error) => error.exit(),
            AbError::Compare(error) => error.exit(),
        }
    }
}

/// A side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Base,
    Cand,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Base => "base",
            Side::Cand => "cand",
        }
    }
}

/// Runs the pairs, compares them, prints the result and writes the requested files.
///
/// # Errors
/// [`AbError`] when a server or a run fails completely.
pub fn run(args: &AbArgs) -> Result<Exit, AbError> {
    let host = Environment::read().host_fingerprint;
    let pairing = if args.duet { Pairing::Together } else { Pairing::ByTurns };
    let options = compare::options(&args.judge, &host, pairing)?;
    let session = Session::new(args)?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(args.judge.seed);
    let (mut base, mut cand, mut aside) = (Vec::new(), Vec::new(), 0);
    while base.len() < args.pairs && aside <= args.pairs * ASIDE_SHARE {
        let [first, second] = session.pair(base.len() + aside, rng.random())?;
        if first.is_valid() && second.is_valid() {
            base.push(first);
            cand.push(second);
        } else {
            aside += 1;
        }
        note(format_args!("{} valid pairs of {}, {aside} set aside", base.len(), args.pairs));
    }
    compare::note_uncounted(&base);
    let comparison =
        Comparison { invalid_runs: 2 * aside, ..Comparison::of(&base, &cand, &options) };
    let exit = compare::conclude(&comparison, &args.judge)?;
    if base.len() < args.pairs {
        note(format_args!(
            "gave up after {aside} invalid pairs: this host is too busy to compare anything"
        ));
        return Ok(Exit::InvalidRun);
    }
    let Some(path) = &args.calibrate else { return Ok(exit) };
    comparison.floor(&host, pairing).write(path).map_err(CompareError::from)?;
    Ok(Exit::Ok)
}

struct Session<'a> {
    args: &'a AbArgs,
    run_args: Vec<String>,
    partition: Partition,
}

impl<'a> Session<'a> {
    fn new(args: &'a AbArgs) -> Result<Self, AbError> {
        fresh_directory(&args.out)?;
        Ok(Session { args, run_args: args.run_args(), partition: Partition::of_host() })
    }

    /// Runs each side once; returns the base first, whichever ran first.
    fn pair(&self, at: usize, cand_first: bool) -> Result<[RunFile; 2], AbError> {
        let mut sides = [Side::Base, Side::Cand];
        if cand_first {
            sides.reverse();
        }
        let directories = sides.map(|side| self.directory(at, side));
        let runs = [0, 1].map(|i| self.run(&directories[i], sides[i]));
        let mut found = self.call(runs)?;
        for (side, file) in sides.into_iter().zip(&found) {
            note(format_args!("pair {}, {}: {}", at + 1, side.name(), summary(file)));
        }
        if cand_first {
            found.reverse();
        }
        Ok(found)
    }

    fn directory(&self, at: usize, side: Side) -> PathBuf {
        self.args.out.join(side.name()).join(format!("{at:02}"))
    }

    fn run<'s>(&'s self, directory: &'s Path, side: Side) -> ChildRun<'s> {
        let server = match (side, &self.args.calibrate) {
            (Side::Cand, None) => self.args.cand.as_deref(),
            _ => self.args.base.as_deref(),
        };
        ChildRun { directory, args: &self.run_args, server, partition: &self.partition }
    }

    fn call(&self, [first, second]: [ChildRun<'_>; 2]) -> Result<[RunFile; 2], ChildRunError> {
        if self.args.duet {
            return ChildRun::call_both([first, second]);
        }
        Ok([first.call()?, second.call()?])
    }
}

/// The progress line of a pair.
fn summary(file: &RunFile) -> String {
    let shown = ["e2e_p99", "cpu_per_delivery"].into_iter().filter_map(Metric::find);
    let shown = shown.filter_map(|metric| Some(metric.unit.format(metric.of(&file.run)?)));
    let validity = if file.is_valid() { "valid" } else { "INVALID" };
    format!("{validity}; p99 and CPU per delivery: {}", shown.collect::<Vec<_>>().join(", "))
}
