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
A run is one observation: take eight a side, by turns and on one host. With
all metrics that are gated by default, fewer than six a side can show nothing
but counts, with a single gate fewer than four.

A metric has regressed if the exact test of Mann and Whitney, corrected by
Holm for the number of gated metrics, leaves less than 5 % to chance, and the
95 % interval of the ratio lies whole beyond the least change that matters;
where it straddles that, it is inconclusive. Counts (writes, bytes, encodes,
system calls, allocations, instructions) are judged by the interval alone
where the runs of a side agree. One frame lost, undelivered, misdelivered,
damaged or out of order is a regression where the base has none.

  gridload compare results/main results/branch
  gridload compare base/ cand/ --gate cpu_per_delivery=3% --junit compare.xml";

/// Two sides, and what is wanted of them.
#[derive(Debug, Args)]
#[command(after_help = COMPARE_HELP)]
pub struct CompareArgs {
    /// Runs to compare with: a run.json, a result directory, or a directory of those.
    pub base: PathBuf,
    /// Runs that are compared, likewise.
    pub cand: PathBuf,
    /// Compare runs of different hosts all the same.
    #[arg(long)]
    pub host_mismatch: bool,
    /// How.
    #[command(flatten)]
    pub judge: JudgeArgs,
}

/// How runs are compared, and where that goes.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Metrics that fail the comparison, with the least change that matters; may be repeated
    /// [default: e2e_p50=10%, e2e_p99=10%, cpu_per_delivery=5%, writes_per_delivery=2%,
    /// bytes_per_delivery=1%, encodes_per_publish=2%, syscalls_per_delivery=2%,
    /// allocations_per_delivery=2%, instructions_per_delivery=1%, deliveries=2%].
    #[arg(long, value_name = "METRIC[=PERCENT]", value_parser = parse_gate)]
    pub gate: Vec<Gate>,
    /// The noise of this host, from `ab --calibrate`: less is no change.
    #[arg(long, value_name = "FILE")]
    pub floor: Option<PathBuf>,
    /// End with 6 if a gated metric is inconclusive.
    #[arg(long)]
    pub require_conclusive: bool,
    /// Seed of the resampling behind the intervals.
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
    /// The same of what is better when more: customBiggerIsBetter.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub benchmark_bigger: Option<PathBuf>,
}

const AB_HELP: &str = "\
Without --base or --cand that side is the engine in this gridload. A command
line is read as a shell does; {port} stands for where to listen on 127.0.0.1.
What is after `--` goes to `gridload run`, both sides alike. A pair with an
invalid run is set aside, and another taken.

With --duet both runs of a pair are had at once, on the same CPUs, and pairs
are tested: for hosts that are faster or slower from one moment to the next.
It needs six pairs for one gate, eight for all, and a load that fills a third
of the CPUs; latencies are then of servers that wait for each other.

  gridload ab --base './old/gridcast --listen 127.0.0.1:{port}' \\
              --cand './new/gridcast --listen 127.0.0.1:{port}' \\
              -- substation --duration 10s";

/// Two servers to be measured by turns.
#[derive(Debug, Args)]
#[command(after_help = AB_HELP)]
pub struct AbArgs {
    /// Command line of the server to compare with.
    #[arg(long, value_name = "COMMAND", value_parser = parse_server)]
    pub base: Option<String>,
    /// Command line of the server that is compared.
    #[arg(long, value_name = "COMMAND", value_parser = parse_server)]
    pub cand: Option<String>,
    /// Valid pairs of runs to take [4..=64].
    #[arg(long, value_name = "N", default_value = "8", value_parser = parse_pairs)]
    pub pairs: usize,
    /// Take both runs of a pair at the same time, on the same CPUs; see below.
    #[arg(long)]
    pub duet: bool,
    /// Have the kernel count what the servers do, both sides alike; see `gridload help load`.
    #[arg(long)]
    pub count: bool,
    /// Directory of the results; must not exist.
    #[arg(long, value_name = "DIR", default_value = "gridload-ab", help_heading = RESULT)]
    pub out: PathBuf,
    /// Compare a server with itself, and write how far apart it is.
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
    /// What every run is told, on both sides.
    pub fn run_args(&self) -> Vec<String> {
        let flag = self.count.then(|| "--count".to_owned());
        // It may stand among them already.
        let flag = flag.filter(|flag| !self.run.contains(flag));
        self.run.iter().cloned().chain(flag).collect()
    }
}

const TREND_HELP: &str = "\
The history is a file of JSON lines, one for each version, of which only those
of the last one's host and scenario are shown. It is advisory: a value is
called out of line if it is further from the median of those before it than
three robust deviations, and than what matters of that metric.

  gridload trend history.jsonl --add results/today --label $(git rev-parse --short HEAD)";

/// A history, and what to add to it.
#[derive(Debug, Args)]
#[command(after_help = TREND_HELP)]
pub struct TrendArgs {
    /// The history; made if there is none.
    pub history: PathBuf,
    /// Runs of one version to add: a run.json, a result directory, or a directory of those.
    #[arg(long, value_name = "DIR")]
    pub add: Option<PathBuf>,
    /// What to call that version [default: when it was measured].
    #[arg(long, value_name = "TEXT", requires = "add")]
    pub label: Option<String>,
}

pub(super) fn parse_server(text: &str) -> Result<String, String> {
    let names_port = text.contains(PORT);
    names_port.then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` does not say where to listen: write {PORT} where the port goes")
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
