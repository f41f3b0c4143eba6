//! The command line as a whole: which commands there are. Must not act on any of them.

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
use crate::cli::options::{RunArgs, RunOptions};
use crate::server::embedded::EngineArgs;
use crate::server::external::LaunchArgs;

pub(crate) const AFTER_HELP: &str = "\
Without a subcommand, `gridload` runs the scenario `quickstart`. Without --target it starts an
engine of its own as a separate process on this host and measures that.

Latencies are counted from the instant a frame was intended to be published, whenever it really was.
A run in which the generator or the host was too slow proves nothing: it is reported as invalid.

Overlays, each for any scenario, with the keys of its values; what these mean is in the README:
  fault-event     a grid fault: trigger bits, dip and swing, one alarm a PMU, 3 x the viewers
                    at, region_percent, alarm_desks, newcomers_over
  flap-reconnect  30 % of the dashboards are cut off at once and return after 1 s
                    at, share_percent, cut, silence, wait
  slow-consumers  1 % of the dashboards read at half rate, 1 % never, 1 % pause 2 s every 30 s
                    slow_percent, read_rate, stopped_percent, pausing_percent
  late-frames     2 % of the frames 0.2 to 5 s late, 0.5 % withheld, 0.1 % twice; 2 wrong clocks
                    late_percent, delay_min, delay_max, withheld_percent, repeated_percent
  gps-loss        10 % of the PMUs lose UTC, say so, and drift 1 ms a minute
                    at, share_percent, drift_per_min
  leap-second     a second is counted twice (or skipped), with the leap bits before and after
                    at, second
  config-change   all PMUs announce a change, then send another configuration and frame length
                    at, hold
Values follow the name: `--overlay flap-reconnect:share_percent=50:wait=backoff:at=5s,gps-loss`

`GRIDLOAD_LOG=debug` in the environment tells more about what the generator does.

Exit codes:
  0  the run was valid and every goal was met
  1  internal error
  2  wrong usage, wrong scenario, or a load this host cannot carry; `doctor`: the same
  3  `compare` or `ab` found the candidate worse
  4  a goal (SLO) was missed, or lies within what the clocks of agents leave open; without stated
     goals: frames were lost, damaged or out of order; `capacity`: even by the least load
  5  the run was invalid; `compare`, `ab`: a side has no valid run; `capacity`: nothing was proved;
     `selftest`: a row is wrong; `run --agents`: an agent was lost
  6  `compare` or `ab` with --require-conclusive could not tell";

/// Load generator for WebSocket broadcast: PMU-rate publishers, every subscriber measured.
#[derive(Debug, Parser)]
#[command(name = "gridload", version, about, after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 100)]
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
    /// Run a scenario and report what every subscriber received, and when.
    Run(RunArgs),
    /// Print a scenario as it would be run, what it amounts to, and whether this host can carry it.
    Check(RunArgs),
    /// Show results as a page for a browser, with plots over time.
    Report(ReportArgs),
    /// Add up repeated runs of one load, exactly.
    Merge(MergeArgs),
    /// Compare the results of two versions of a server, and fail if the second is worse.
    Compare(CompareArgs),
    /// Measure two servers by turns, and fail if the second is worse.
    Ab(AbArgs),
    /// Show how a server has been over its versions; advisory.
    Trend(TrendArgs),
    /// Write the C37.118 frames a scenario would publish as a packet capture.
    Capture(CaptureArgs),
    /// Write the C37.118 frames that a server broadcasts as a packet capture.
    Record(RecordArgs),
    /// Publish the C37.118 frames of a packet capture again, up to 100 times faster, and measure.
    Replay(ReplayArgs),
    /// Prove this instrument's accuracy against a server whose faults are known.
    Selftest(SelftestArgs),
    /// Find the largest load at which the goals hold, what limits it, and what it costs.
    Capacity(Box<CapacityArgs>),
    /// Show what of this host stands in the way of a load, and mend it.
    Doctor(DoctorArgs),
    /// Carry a share of a load that `run --agents` conducts from another host.
    Agent(AgentArgs),
    /// List the built-in scenarios.
    Scenarios,
    /// The embedded engine's own process.
    #[command(hide = true)]
    Engine(EngineArgs),
    /// The process that becomes a server of `ab`.
    #[command(hide = true)]
    Launch(LaunchArgs),
}

impl Cli {
    /// Whether `gridload run` takes these arguments, as a command that starts runs has them.
    ///
    /// # Errors
    /// What it would say.
    pub fn check_run(arguments: Vec<String>) -> Result<(), clap::Error> {
        // The directory is given by the command itself, so a second one is refused here.
        let own = ["gridload", "run", "--out", "x"].map(str::to_owned);
        Cli::try_parse_from(own.into_iter().chain(arguments)).map(drop)
    }
}
