//! The flags of comparisons: the sides, the judgement, and the output files. Must not act on any of
//! them.

use std::path::PathBuf;

use clap::Args;

use crate::cli::options::{RESULT, parse_percent, parse_within};
use crate::compare::comparison::{Gate, RUNS_MIN};
use crate::compare::metric::{METRICS, Metric};
use crate::result::run_file::RUNS_MAX;
use crate::server::external::PORT;

const COMPARE_HELP: &str = "\
A run is one observation: take eight per side, alternating, on one host. With
the default gates, fewer than six per side can decide nothing but counts, with
a single gate fewer than four.

A metric has regressed if the exact Mann-Whitney test, with Holm's correction
for the number of gated metrics, gives p < 5 %, and the 95 % confidence
interval of the ratio lies entirely beyond the smallest change that matters;
if the interval includes that change, the metric is inconclusive. Counts
(writes, bytes, encodes, system calls, allocations, instructions) are judged
by the interval alone if the runs of a side agree. A percentile of which one
side has only a lower bound (`>=`) can be better or worse only as far as that
bound proves it. One frame lost, undelivered, misdelivered, damaged or out of
order is a regression if the base has none.

  gridload compare results/main results/branch
  gridload compare base/ cand/ --gate cpu_per_delivery=3% --junit compare.xml";

/// The two sides to compare.
#[derive(Debug, Args)]
#[command(after_help = COMPARE_HELP)]
pub struct CompareArgs {
    /// Runs of the baseline: a run.json, a result directory, or a directory of those.
    pub base: PathBuf,
    /// Runs of the candidate, likewise.
    pub cand: PathBuf,
    /// Compare runs of different hosts.
    #[arg(long)]
    pub host_mismatch: bool,
    /// How.
    #[command(flatten)]
    pub judge: JudgeArgs,
}

/// How runs are compared, and the output files.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Metrics that fail the comparison, with the smallest change that matters; may be repeated
    /// [default: e2e_p50=10%, e2e_p99=10%, cpu_per_delivery=5%, writes_per_delivery=2%,
    /// bytes_per_delivery=1%, encodes_per_publish=2%, syscalls_per_delivery=2%,
    /// allocations_per_delivery=2%, instructions_per_delivery=1%, deliveries=2%].
    #[arg(long, value_name = "METRIC[=PERCENT]", value_parser = parse_gate)]
    pub gate: Vec<Gate>,
    /// Noise floor of this host, from `ab --calibrate`; smaller changes are ignored.
    #[arg(long, value_name = "FILE")]
    pub floor: Option<PathBuf>,
    /// Exit with 6 if a gated metric is inconclusive.
    #[arg(long)]
    pub require_conclusive: bool,
    /// Seed of the bootstrap for the confidence intervals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write the table as Markdown, e.g. to `$GITHUB_STEP_SUMMARY`.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub markdown: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub json: Option<PathBuf>,
    /// Write JUnit XML, a test case for each gated metric.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub junit: Option<PathBuf>,
    /// Write the candidate in Bencher's metric format.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub bencher: Option<PathBuf>,
    /// For github-action-benchmark: customSmallerIsBetter.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub benchmark_smaller: Option<PathBuf>,
    /// The same for metrics where more is better: customBiggerIsBetter.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub benchmark_bigger: Option<PathBuf>,
}

const AB_HELP: &str = "\
Without --base or --cand that side is the embedded engine. A command line is
parsed by a shell; {port} is replaced by the port to listen on at 127.0.0.1.
Arguments after `--` go to `gridload run` for both sides. A pair with an
invalid run is discarded and repeated.

With --duet both runs of a pair run at the same time on the same CPUs, and a
paired test is used: for hosts whose speed changes from moment to moment. It
needs six pairs for one gate, eight for all, and a load that uses a third of
the CPUs. Latencies are then those of servers that wait for each other.

  gridload ab --base './old/gridcast --listen 127.0.0.1:{port}' \\
              --cand './new/gridcast --listen 127.0.0.1:{port}' \\
              -- substation --duration 10s";

/// Two servers to measure alternately.
#[derive(Debug, Args)]
#[command(after_help = AB_HELP)]
pub struct AbArgs {
    /// Command line of the baseline server.
    #[arg(long, value_name = "COMMAND", value_parser = parse_server)]
    pub base: Option<String>,
    /// Command line of the candidate server.
    #[arg(long, value_name = "COMMAND", value_parser = parse_server)]
    pub cand: Option<String>,
    /// Valid pairs of runs to measure [4..=64].
    #[arg(long, value_name = "N", default_value = "8", value_parser = parse_pairs)]
    pub pairs: usize,
    /// Run both sides of a pair at the same time on the same CPUs; see below.
    #[arg(long)]
    pub duet: bool,
    /// Count system calls, allocations and instructions of both servers; see
    /// `gridload help load`.
    #[arg(long)]
    pub count: bool,
    /// Result directory; must not exist.
    #[arg(long, value_name = "DIR", default_value = "gridload-ab", help_heading = RESULT)]
    pub out: PathBuf,
    /// Compare a server with itself, and write its noise floor to this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cand", "floor"], help_heading = RESULT)]
    pub calibrate: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// A scenario, and flags of `gridload run`.
    #[arg(last = true, value_name = "RUN ARGUMENTS")]
    pub run: Vec<String>,
}

impl AbArgs {
    /// The arguments of every run, on both sides.
    pub fn run_args(&self) -> Vec<String> {
        let flag = self.count.then(|| "--count".to_owned());
        // It may stand among them already.
        let flag = flag.filter(|flag| !self.run.contains(flag));
        self.run.iter().cloned().chain(flag).collect()
    }
}

const TREND_HELP: &str = "\
The history is a file of JSON lines, one per version. Only the versions with
the host and scenario of the last one are shown. It is advisory: a value is
marked as an outlier if its distance from the median of the versions before
exceeds three robust standard deviations and the smallest change that matters.

  gridload trend history.jsonl --add results/today --label $(git rev-parse --short HEAD)";

/// A history, and runs to add to it.
#[derive(Debug, Args)]
#[command(after_help = TREND_HELP)]
pub struct TrendArgs {
    /// The history file; created if it does not exist.
    pub history: PathBuf,
    /// Runs of one version to add: a run.json, a result directory, or a directory of those.
    #[arg(long, value_name = "DIR")]
    pub add: Option<PathBuf>,
    /// Label of that version [default: the time of the measurement].
    #[arg(long, value_name = "TEXT", requires = "add")]
    pub label: Option<String>,
}

pub(super) fn parse_server(text: &str) -> Result<String, String> {
    let names_port = text.contains(PORT);
    names_port.then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` does not contain the port: write {PORT} where the port goes")
    })
}

fn parse_pairs(text: &str) -> Result<usize, String> {
    parse_within(text, RUNS_MIN as u64..=RUNS_MAX as u64).map(|pairs| pairs as usize)
}

fn parse_gate(text: &str) -> Result<Gate, String> {
    let (key, percent) = text.split_once('=').map_or((text, None), |(k, p)| (k, Some(p)));
    let metric = Metric::find(key).ok_or_else(|| {
        let keys: Vec<_> = METRICS.iter().map(|metric| metric.key).collect();
        format!("`{key}` is no metric; they are: {}", keys.join(", "))
    })?;
    let effect_min = percent.map(parse_percent).transpose()?.map(|percent| percent / 100.0);
    Ok(Gate { metric, effect_min })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::command::{Cli, Command};

    #[test]
    fn gates_name_a_metric_and_perhaps_a_share() {
        let gate = parse_gate("cpu_per_delivery=3%").unwrap();
        assert_eq!((gate.metric.key, gate.effect_min), ("cpu_per_delivery", Some(0.03)));
        assert_eq!(parse_gate("e2e_p99").unwrap().effect_min, None);
        let error = parse_gate("speed=3").unwrap_err();
        assert!(error.contains("`speed` is no metric; they are: e2e_p50, "), "{error}");
        assert!(parse_gate("e2e_p99=lots").unwrap_err().contains("not in 0.1..=100"));
    }

    #[test]
    fn both_sides_are_counted_once() {
        for run in [&["substation"][..], &["substation", "--count"]] {
            let args = [&["gridload", "ab", "--count", "--"][..], run].concat();
            let Ok(Cli { command: Some(Command::Ab(args)), .. }) = Cli::try_parse_from(args) else {
                panic!("no call of ab: {run:?}");
            };
            assert_eq!(args.run_args(), ["substation", "--count"]);
            assert!(Cli::check_run(args.run_args()).is_ok());
        }
    }

    /// The defaults that `--help` names are those of the metrics.
    #[test]
    fn the_gates_by_default_are_those_that_help_names() {
        let help = Cli::command().find_subcommand_mut("compare").unwrap().render_long_help();
        let help = help.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let gated = METRICS.iter().filter(|metric| metric.is_gated);
        let named: Vec<_> =
            gated.map(|one| format!("{}={}%", one.key, (one.effect_min * 100.0).round())).collect();
        assert!(help.contains(&format!("[default: {}]", named.join(", "))), "{help}");
    }
}
