//! The flags of the search for capacity. Must not act on any of them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::capacity::control::Control;
use crate::capacity::plan::Planned;
use crate::cli::flags::compare::parse_server;
use crate::cli::options::{CPUS_MAX, RESULT, RunArgs, Setting, parse_measure, parse_within};
use crate::scenario::limits::SOCKETS_MAX;
use crate::time::units::parse_duration;

const CAPACITY_HELP: &str = "\
The control is doubled until a goal is missed or a run is invalid. Then the
gap is bisected down to --resolution, and the result is confirmed by runs of
full length. A value whose runs are invalid twice also ends the search, but
then the answer is a lower bound (`>= N`): the limit is the generator's, not
the server's. All flags of a load are accepted and apply to every run:
`gridload help load`.

Exits with 0 if a value was confirmed, 4 if even the smallest load misses a
goal, 5 if nothing was proved.

  gridload capacity control-room --slo e2e_p99=20ms --slo loss=0
  gridload capacity substation --slo e2e_p99=50ms --price 0.04 \\
                    --plan '200000 subscribers x 10/s x 64B'
  gridload capacity dashboards --server './server --port {port}'";

/// The search, and what to compute from its result.
#[derive(Debug, Args)]
#[command(after_help = CAPACITY_HELP)]
pub struct CapacityArgs {
    /// A goal, as in `[slo]` of a scenario: `e2e_p99=20ms`, `loss=0`; may be repeated [default: the
    /// scenario's own].
    #[arg(long, value_name = "GOAL=LIMIT", value_parser = parse_goal, help_heading = SEARCH)]
    pub slo: Vec<Setting>,
    /// The quantity to vary: `subscribers`, `rate` (of a publisher), `topics` or `payload` (bytes).
    #[arg(long, value_name = "WHAT", default_value = "subscribers",
          value_parser = Control::from_str, help_heading = SEARCH)]
    pub control: Control,
    /// First value of the search [1..=4000000, default: the scenario's own value].
    #[arg(long, value_name = "N", value_parser = parse_value, help_heading = SEARCH)]
    pub from: Option<u64>,
    /// Largest value of the search [1..=4000000, default: the largest possible].
    #[arg(long, value_name = "N", value_parser = parse_value, help_heading = SEARCH)]
    pub to: Option<u64>,
    /// Largest distance between the answer and the knee, in percent [1..=50].
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = parse_resolution,
          help_heading = SEARCH)]
    pub resolution: f64,
    /// Length of a run of the search [1s..=7days].
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = parse_measure,
          help_heading = SEARCH)]
    pub point: Duration,
    /// Runs of full length that confirm the result [1..=9].
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_confirm,
          help_heading = SEARCH)]
    pub confirm: u32,
    /// Time after which no further run is started [10s..=7days].
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_budget,
          help_heading = SEARCH)]
    pub budget: Duration,

    /// A server to start for every run, on half of the CPUs; {port} is replaced by the port to
    /// listen on [default: the embedded engine].
    #[arg(long, value_name = "COMMAND", value_parser = parse_server, help_heading = SEARCH,
          conflicts_with_all = ["target", "cpus", "tls", "engine_cores", "engine_set"])]
    pub server: Option<String>,

    /// Price of one core for one hour [0..=1000].
    #[arg(long, value_name = "DOLLARS", value_parser = parse_price, help_heading = PLANNING)]
    pub price: Option<f64>,
    /// Price of one gigabyte of egress [0..=1000].
    #[arg(long, value_name = "DOLLARS", value_parser = parse_price, requires = "price",
          help_heading = PLANNING)]
    pub price_egress: Option<f64>,
    /// A load to plan for, e.g. `200000 subscribers x 10/s x 64B`, optionally with
    /// ` x 20 publishers`.
    #[arg(long, value_name = "LOAD", value_parser = Planned::from_str, help_heading = PLANNING)]
    pub plan: Option<Planned>,
    /// Cores per machine in that plan [1..=1024].
    #[arg(long, value_name = "N", default_value = "8", value_parser = parse_cores,
          help_heading = PLANNING)]
    pub plan_cores: u32,

    /// Write a copy of capacity.json to this file.
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub json: Option<PathBuf>,

    /// The load.
    #[command(flatten)]
    pub run: RunArgs,
}

const SEARCH: &str = "Search";
const PLANNING: &str = "Planning";

fn parse_goal(text: &str) -> Result<Setting, String> {
    let wrong = |_| format!("`{text}` is no goal; write e.g. `e2e_p99=20ms` or `loss=0`");
    format!("slo.{text}").parse().map_err(wrong)
}

fn parse_value(text: &str) -> Result<u64, String> {
    parse_within(text, 1..=SOCKETS_MAX)
}

fn parse_confirm(text: &str) -> Result<u32, String> {
    parse_within(text, 1..=9).map(|runs| runs as u32)
}

fn parse_cores(text: &str) -> Result<u32, String> {
    parse_within(text, 1..=CPUS_MAX as u64).map(|cores| cores as u32)
}

/// The share that percents are.
fn parse_resolution(text: &str) -> Result<f64, String> {
    parse_number(text.trim_end_matches('%'), 1.0..=50.0).map(|percent| percent / 100.0)
}

fn parse_price(text: &str) -> Result<f64, String> {
    parse_number(text, 0.0..=1000.0)
}

fn parse_number(text: &str, range: RangeInclusive<f64>) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("`{text}` is not in {}..={}", range.start(), range.end()))
}

fn parse_budget(text: &str) -> Result<Duration, String> {
    let budget = parse_duration(text)?;
    let range = Duration::from_secs(10)..=Duration::from_secs(7 * 86_400);
    let outside = || format!("{text} is outside 10s..=7days");
    range.contains(&budget).then_some(budget).ok_or_else(outside)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::command::{Cli, Command};

    fn parse(args: &[&str]) -> Result<CapacityArgs, String> {
        let parsed = Cli::try_parse_from([&["gridload", "capacity"], args].concat());
        match parsed.map_err(|error| error.to_string())?.command {
            Some(Command::Capacity(args)) => Ok(*args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn flags_of_run_stand_beside_those_of_the_search() {
        let goals = ["--slo", "e2e_p99=20ms", "--slo", "loss=0"];
        let args = parse(&[&["control-room", "--publishers", "100"], &goals[..]].concat()).unwrap();
        assert_eq!(args.run.options.publishers, Some(100));
        assert_eq!(args.slo[0].path, ["slo", "e2e_p99"]);
        assert_eq!(args.slo[1].value, toml::Value::from(0));
        assert_eq!((args.resolution, args.confirm), (0.05, 3));
        assert_eq!(args.budget, Duration::from_secs(600));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (args, message) in [
            (["--slo", "fast"], "`fast` is no goal; write e.g. `e2e_p99=20ms`"),
            (["--resolution", "0"], "`0` is not in 1..=50"),
            (["--confirm", "0"], "`0` is not in 1..=9"),
            (["--budget", "1s"], "1s is outside 10s..="),
            (["--control", "speed"], "`speed` is no control"),
            (["--plan", "lots"], "`lots` is no load to plan for"),
            (["--server", "x"], "write {port} where the port goes"),
            (["--price-egress", "1"], "--price <DOLLARS>"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.contains(message), "{args:?}: {error}");
        }
    }
}
