//! The flags of the self-test. Must not act on any of them.

use std::path::PathBuf;

use clap::Args;

const SELFTEST_HELP: &str = "\
Each row runs against a server, publisher or host with a known fault (delays,
stalls, frames lost, duplicated, reordered, misdelivered or never delivered, a
wrong clock, a busy CPU) and compares the measured result with the known one,
within a tolerance.

Exits with 0 if every row is within its tolerance, and stores the latency floor
(the latency measured with a server that does nothing) for the reports of later
runs on this host; with 5 if one is not.";

/// The length of the trials, and the output.
#[derive(Debug, Args)]
#[command(after_help = SELFTEST_HELP)]
pub struct SelftestArgs {
    /// Shorter trials, for test suites: a good minute instead of two.
    #[arg(long)]
    pub short: bool,
    /// Write the rows and the floor as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
