//! The flags of the self-test. Must not act on any of them.

use std::path::PathBuf;

use clap::Args;

const SELFTEST_HELP: &str = "\
Each row puts something into a run of which the truth is known: a server that
holds frames back, stops, loses, repeats or swaps them, a publisher that
stops, a clock that is off, a CPU that is not free. Then it says what the
instrument made of it, and how far off that may be.

Exits with 0 if every row is within its bound, and leaves the floor (what is
measured where there is nothing to measure) for the reports of later runs on
this host; with 5 if one is not.";

/// How thorough to be.
#[derive(Debug, Args)]
#[command(after_help = SELFTEST_HELP)]
pub struct SelftestArgs {
    /// Shorter trials: about a minute instead of a minute and a half, for test suites.
    #[arg(long)]
    pub short: bool,
    /// Write the rows and the floor as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
