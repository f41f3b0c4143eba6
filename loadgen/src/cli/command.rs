//! The commands of the command line. Must not act on any of them.

use clap::{Parser, Subcommand};

use crate::cli::flags::agent::AgentArgs;
use crate::cli::flags::capacity::CapacityArgs;
use crate::cli::flags::capture::CaptureArgs;
use crate::cli::flags::compare::{AbArgs, CompareArgs, TrendArgs};
use crate::cli::flags::doctor::DoctorArgs;
use crate::cli::flags::merge::MergeArgs;
use crate::cli::flags::record::RecordArgs;
use crate::cli::flags::replay::ReplayArgs;
use crate::cli::flags::report::ReportArgs;
use crate::cli::flags::selftest::SelftestArgs;
use crate::cli::options::{LoadArgs, RunArgs, RunOptions};
use crate::cli::pages;
use crate::server::embedded::EngineArgs;
use crate::server::external::LaunchArgs;

/// Load generator for WebSocket broadcast: PMU-rate publishers, every subscriber measured.
#[derive(Debug, Parser)]
#[command(name = "gridload", version, about, after_help = pages::GENERAL)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 80)]
pub struct Cli {
    /// What to do; without one, the scenario `quickstart` is run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of a bare `gridload`, those of `run`.
    #[command(flatten)]
    pub options: RunOptions,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario and report what every subscriber received, and its latency.
    Run(RunArgs),
    /// Print a scenario, the load it implies, and whether this host can carry it.
    Check(RunArgs),
    /// Write an HTML report with plots over time.
    Report(ReportArgs),
    /// Merge repeated runs of one load, exactly.
    Merge(MergeArgs),
    /// Compare the results of two versions of a server, and fail if the second is worse.
    Compare(CompareArgs),
    /// Measure two servers alternately, and fail if the second is worse.
    Ab(AbArgs),
    /// Show the results of a server over its versions; advisory.
    Trend(TrendArgs),
    /// Write the C37.118 frames a scenario would publish as a packet capture.
    Capture(CaptureArgs),
    /// Write the C37.118 frames that a server broadcasts as a packet capture.
    Record(RecordArgs),
    /// Replay the C37.118 frames of a packet capture, up to 100 times faster, and measure.
    Replay(ReplayArgs),
    /// Verify the accuracy of gridload against a server with known faults.
    Selftest(SelftestArgs),
    /// Find the largest load that meets the goals, what limits it, and what it costs.
    Capacity(Box<CapacityArgs>),
    /// Show which limits of this host are too low for a load, and raise them.
    Doctor(DoctorArgs),
    /// Run a share of a load for `run --agents` on another host.
    Agent(AgentArgs),
    /// List the built-in scenarios.
    Scenarios,
    /// Help page: every flag of a load.
    Load(Box<LoadArgs>),
    /// The embedded engine's own process.
    #[command(hide = true)]
    Engine(EngineArgs),
    /// The process that becomes a server of `ab`.
    #[command(hide = true)]
    Launch(LaunchArgs),
}

impl Cli {
    /// Whether `gridload run` accepts these arguments; used by commands that start runs.
    ///
    /// # Errors
    /// The error message of `gridload run`.
    pub fn check_run(arguments: Vec<String>) -> Result<(), clap::Error> {
        // The command sets the result directory itself, so a second one is rejected here.
        let own = ["gridload", "run", "--out", "x"].map(str::to_owned);
        Cli::try_parse_from(own.into_iter().chain(arguments)).map(drop)
    }
}
