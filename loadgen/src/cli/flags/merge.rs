//! The flags of `merge`. Must not act on any of them.

use std::path::PathBuf;

use clap::Args;

const MERGE_HELP: &str = "\
Counts are added and histograms merged exactly, so percentiles are those of
all frames together. The runs must have the same scenario; seeds and targets
may differ. The result is valid if every run is.

Runs on several hosts at the same time (`gridload run --agents`) are merged
already.";

/// The runs to merge, and the output directory.
#[derive(Debug, Args)]
#[command(after_help = MERGE_HELP)]
pub struct MergeArgs {
    /// Runs: run.json files, result directories, or directories of those.
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Directory of the merged result; must not contain a result.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}
