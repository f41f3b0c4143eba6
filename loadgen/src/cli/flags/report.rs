//! The flags of reports: the results to show and the output path. Must not act on any of them.

use std::path::PathBuf;

use clap::Args;

use crate::cli::options::RESULT;

const REPORT_HELP: &str = "\
The page is a self-contained HTML file: plots, tables, environment, command
line. `gridload run --html` writes it at the end of a run.

  gridload report gridload-results/20260101T000000Z-quickstart
  gridload report results/main --out main.html";

/// The results to show.
#[derive(Debug, Args)]
#[command(after_help = REPORT_HELP)]
pub struct ReportArgs {
    /// Directories that `gridload run` has written.
    #[arg(value_name = "DIR", required = true)]
    pub directories: Vec<PathBuf>,
    /// Output file; for one directory only [default: report.html in the directory].
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub out: Option<PathBuf>,
}
