//! The flags of a run, which most commands share: every one with its default, unit and range. Must
//! not act on any of them.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::cli::pages;
use crate::codec::dialect::dialect::Dialect;
use crate::codec::dialect::options::DialectOptions;
use crate::codec::form::{Form, Pace};
use crate::codec::payload::Payload;
use crate::judge::health::HealthLimits;
use crate::plan::budget::LayoutRequest;
use crate::scenario::limits::{MEASURE_MIN, PUBLISHERS_MAX, REPEAT, SOCKETS_MAX, check_phase};
use crate::scenario::overlay_flag::OverlayFlag;
use crate::scenario::profile::Profile;
use crate::scenario::publishers::Phase;
use crate::scenario::scenario::Scenario;
use crate::scenario::source::SourceRange;
use crate::scenario::target::{TargetUrl, parse_node, parse_target_url};
use crate::time::rate::Rate;
use crate::time::units::{parse_duration, parse_per_second};

/// A scenario and what to change in it.
#[derive(Debug, Args)]
#[command(after_help = pages::RUN)]
pub struct RunArgs {
    /// A built-in scenario (see `gridload scenarios`) or a TOML file [default: quickstart].
    pub scenario: Option<String>,
    /// Flags that override the scenario.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Every flag of a load, for the page of help that shows them.
#[derive(Debug, Args)]
#[command(after_help = pages::LOAD)]
pub struct LoadArgs {
    /// The flags.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Flags that override a scenario or say how to run it.
#[derive(Debug, Clone, Default, Args)]
pub struct RunOptions {
    /// Number of healthy dashboards, shared out among the healthy groups in proportion
    /// [1..=4000000].
    #[arg(long, value_name = "N", value_parser = parse_dashboards,
          help_heading = LOAD)]
    pub subscribers: Option<u32>,
    /// Number of publishers, shared out among the groups in proportion [1..=64534].
    #[arg(long, value_name = "N", value_parser = parse_publishers,
          help_heading = LOAD)]
    pub publishers: Option<u32>,
    /// Frames per second of every publisher, e.g. `60`, `59.94` or `60000/1001` [up to 1000].
    #[arg(long, value_name = "FPS", value_parser = Rate::from_str, help_heading = LOAD)]
    pub rate: Option<Rate>,
    /// Where publishers send on the common UTC grid: `aligned`, `staggered` or `jitter=5ms`.
    #[arg(long, value_name = "PHASE", value_parser = Phase::from_str, help_heading = LOAD)]
    pub phase: Option<Phase>,
    /// Payload of a frame: `c37118` (92 bytes), `json` (about 240), `json-verbose` (about 750) or
    /// `bytes:N` (48..=1048576).
    #[arg(long, value_name = "KIND", value_parser = Payload::from_str, help_heading = LOAD)]
    pub payload: Option<Payload>,
    /// How subscribers get frames: `raw` (a WebSocket per topic), `json` or `bin` (one WebSocket
    /// per dashboard, enveloped), `sse` (an event stream per topic), `poll` (long polling, a
    /// connection per topic) [scenario's default: raw].
    #[arg(long, value_name = "FORM", value_parser = Form::from_str, help_heading = LOAD)]
    pub form: Option<Form>,
    /// Subscribe to this many frames per second and topic instead of all of them [1..=1000].
    #[arg(long, value_name = "FPS", value_parser = parse_subscriber_rate, help_heading = LOAD)]
    pub subscriber_rate: Option<u32>,
    /// Offer permessage-deflate, with any dialect, and decompress messages.
    #[arg(long, help_heading = LOAD)]
    pub deflate: bool,
    /// Number of dashboards that stop reading once connected [0..=4000000].
    #[arg(long, value_name = "N", value_parser = parse_dashboards_or_none,
          help_heading = LOAD)]
    pub stalled: Option<u32>,
    /// Number of dashboards that read at half the rate they are sent [0..=4000000].
    #[arg(long, value_name = "N", value_parser = parse_dashboards_or_none,
          help_heading = LOAD)]
    pub slow: Option<u32>,
    /// Subscriber sockets opened per second, for every group [scenario's default: 2000].
    #[arg(long, value_name = "N", value_parser = parse_per_second, help_heading = LOAD)]
    pub connect_rate: Option<u32>,
    /// Add a fault to the scenario; only the latency of unaffected subscribers is scored. Several
    /// with commas, or repeated: `fault-event`, `flap-reconnect`, `slow-consumers`, `late-frames`,
    /// `gps-loss`, `leap-second`, `config-change`. Other values follow the name, each after a
    /// colon: `flap-reconnect:share_percent=50:at=5s`; the keys, which are those of a scenario
    /// file's `[[overlays]]`, are below [default: the values of the scenario's own overlay of that
    /// name, else of the overlay].
    #[arg(long, value_name = "NAME", value_parser = OverlayFlag::from_str, value_delimiter = ',',
          help_heading = LOAD)]
    pub overlay: Vec<OverlayFlag>,
    /// Seed of every random choice; the same seed gives the same plan [scenario's default: 1].
    #[arg(long, value_name = "N", value_parser = parse_seed,
          help_heading = LOAD)]
    pub seed: Option<u64>,
    /// Change any value of the scenario, e.g. `--set publishers.0.count=5` or
    /// `--set subscribers.wall.ramp=10/s`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Setting::from_str, help_heading = LOAD)]
    pub set: Vec<Setting>,

    /// Length of the measured phase, once [1s..=7days].
    #[arg(long, value_name = "TIME", value_parser = parse_measure, help_heading = PHASES)]
    pub duration: Option<Duration>,
    /// Number of measured phases in a row, on the same sockets and without a break; each lap has
    /// its own results, and their spread is reported [1..=100, scenario's default: 1].
    #[arg(long, value_name = "N", value_parser = parse_repeat, help_heading = PHASES)]
    pub repeat: Option<u16>,
    /// Increase the load during the measured phase: `5 steps of subscribers` (2 to 100) in as many
    /// laps, or `ramp of publishers`, evenly over 10 laps; with ` from 20%` that share is present
    /// from the start [scenario's default: the full load from the start].
    #[arg(long, value_name = "TEXT", value_parser = Profile::from_str, help_heading = PHASES)]
    pub profile: Option<Profile>,
    /// Warm-up before the measured phase: frames are verified, but excluded from the latencies
    /// [0s..=7days].
    #[arg(long, value_name = "TIME", value_parser = parse_phase, help_heading = PHASES)]
    pub warmup: Option<Duration>,
    /// Longest wait for frames in transit at the end [0s..=7days].
    #[arg(long, value_name = "TIME", value_parser = parse_phase, help_heading = PHASES)]
    pub drain: Option<Duration>,

    /// The server to measure, e.g. `ws://10.0.0.5:9400` or `wss://…`
    /// [default: the embedded engine].
    #[arg(long, value_name = "URL", value_parser = parse_target_url, help_heading = TARGET)]
    pub target: Option<TargetUrl>,
    /// Another node of the same service, e.g. `10.0.0.6:9400`; may be repeated. Subscribers are
    /// spread over these nodes instead of the target, and go on to the next when theirs is gone;
    /// publishers stay at the target.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_node, requires = "target",
          help_heading = TARGET)]
    pub subscriber_node: Vec<SocketAddr>,
    /// Protocol of the server, over WebSocket: `gridcast`, `nats`, `mqtt`, `socketio`, `centrifugo`
    /// (JSON), `pusher` (private channels), `nchan`, or `raw` for any server that passes messages
    /// on as they are [default: gridcast].
    #[arg(long, value_name = "WORD", value_parser = Dialect::named, requires = "target",
          conflicts_with = "form", help_heading = TARGET)]
    pub dialect: Option<Dialect>,
    /// Options of the dialect.
    #[command(flatten)]
    pub dialect_options: DialectOptions,
    /// Process ID of the server, if it runs on this host: its CPU time and memory are sampled.
    #[arg(long, value_name = "PID", requires = "target", help_heading = TARGET)]
    pub target_pid: Option<u32>,
    /// Count the server's system calls, memory allocations (by the C library or its replacement)
    /// and user-space instructions with the kernel's performance counters. They are reported per
    /// delivery, and are precise metrics for `compare`. Counters that are unavailable are left out
    /// with the reason: system calls need root and tracefs, allocations need root and a server that
    /// starts no threads meanwhile, instructions need hardware counters [default: off, because
    /// counting costs the server about 0.1 µs per system call and 2 µs per allocation].
    #[arg(long, help_heading = TARGET)]
    pub count: bool,
    /// Credentials of publishers and subscribers: a bearer token in a header; with `nats`,
    /// `socketio` (`auth.token`) and `centrifugo` inside messages; with `pusher` the application's
    /// secret, which signs its channels.
    #[arg(long, value_name = "TOKEN", value_parser = parse_token, help_heading = TARGET)]
    pub token: Option<String>,
    /// CA certificates (PEM) that the server's certificate is verified with
    /// [default: those of this host].
    #[arg(long, value_name = "FILE", requires = "target", help_heading = TARGET)]
    pub tls_ca: Option<PathBuf>,
    /// Accept any certificate of the server.
    #[arg(long, conflicts_with = "tls_ca", help_heading = TARGET)]
    pub tls_insecure: bool,
    /// Use TLS for all connections to the embedded engine, with a certificate created for the run.
    #[arg(long, conflicts_with = "target", help_heading = TARGET)]
    pub tls: bool,
    /// Cores of the embedded engine [default: half of the CPUs, more if descriptors require it].
    #[arg(long, value_name = "N", value_parser = parse_threads, conflicts_with = "target",
          help_heading = TARGET)]
    pub engine_cores: Option<usize>,
    /// A setting of the embedded engine, e.g. `flush.send_buffer_bytes=65536`; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE", conflicts_with = "target", help_heading = TARGET)]
    pub engine_set: Vec<String>,

    /// Subscriber threads, each with a descriptor table of its own [default: as many as needed].
    #[arg(long, value_name = "N", value_parser = parse_threads, help_heading = HOST)]
    pub threads: Option<usize>,
    /// CPUs of the generator, e.g. `2,4-7` [default: those not used by the embedded engine].
    #[arg(long, value_name = "LIST", value_parser = CpuList::from_str, help_heading = HOST)]
    pub cpus: Option<CpuList>,
    /// Local addresses to connect from, one or a CIDR block; may be repeated
    /// [default: as many of 127.1.0.0/16 as needed for a loopback target].
    #[arg(long, value_name = "IP", value_parser = SourceRange::from_str, value_delimiter = ',',
          help_heading = HOST)]
    pub source_ip: Vec<SourceRange>,
    /// Start even if the load is probably too large for the embedded engine.
    #[arg(long, help_heading = HOST)]
    pub force: bool,

    /// Agents that share the load equally; see `gridload agent --help`.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_agent, value_delimiter = ',',
          conflicts_with_all = ["threads", "cpus", "source_ip"],
          help_heading = HOST)]
    pub agents: Vec<String>,
    /// Secret that the agents require.
    #[arg(long, value_name = "TEXT", value_parser = parse_secret, env = "GRIDLOAD_AGENT_SECRET",
          hide_env_values = true, help_heading = HOST)]
    pub agent_secret: Option<String>,

    /// Result directory; must not contain a result
    /// [default: gridload-results/{UTC time}-{scenario}].
    #[arg(long, value_name = "DIR", help_heading = RESULT)]
    pub out: Option<PathBuf>,
    /// Also write an HTML report: `report.html`.
    #[arg(long, help_heading = RESULT)]
    pub html: bool,
    /// Largest schedule slip of a valid run at p99.9, in percent of a period [0.1..=100, default:
    /// the scenario's, else 5]; twice as much at p99.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, help_heading = RESULT)]
    pub slip_limit: Option<f64>,
    /// Process of the search or comparison; this run ends when it ends.
    #[arg(long, value_name = "PID", hide = true)]
    pub parent: Option<i32>,
}

pub(crate) const LOAD: &str = "Load";
pub(crate) const PHASES: &str = "Phases";
pub(crate) const TARGET: &str = "Target";
pub(crate) const HOST: &str = "Host";
pub(crate) const RESULT: &str = "Result";

impl RunOptions {
    /// The requests to the budget.
    pub fn layout_request(&self) -> LayoutRequest {
        LayoutRequest {
            threads: self.threads,
            engine_cores: self.engine_cores,
            cpus: self.cpus.clone().map(|list| list.0),
            engine_connections: self.engine_connections(),
            force: self.force,
        }
    }

    /// The connections that `--engine-set` lets the embedded engine take; the last one counts.
    fn engine_connections(&self) -> Option<u64> {
        let set = self.engine_set.iter().rev();
        let mut set = set.filter_map(|setting| setting.strip_prefix("limits.connections_max="));
        set.next()?.trim().parse().ok()
    }

    /// The limits of a valid run; the flag overrides the scenario.
    pub fn health_limits(&self, scenario: &Scenario) -> HealthLimits {
        let mut limits = HealthLimits::default();
        if let Some(percent) = self.slip_limit.or(scenario.slip_percent) {
            limits.slip_p999_of_period = percent / 100.0;
            limits.slip_p99_of_period = percent / 50.0;
        }
        limits
    }
}

pub(crate) fn parse_phase(text: &str) -> Result<Duration, String> {
    check_phase(parse_duration(text)?, Duration::ZERO)
}

pub(crate) fn parse_measure(text: &str) -> Result<Duration, String> {
    check_phase(parse_duration(text)?, MEASURE_MIN)
}

pub(crate) fn parse_repeat(text: &str) -> Result<u16, String> {
    parse_within(text, REPEAT).map(|count| count as u16)
}

pub(crate) fn parse_within(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.replace('_', "").parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("`{text}` is not in {}..={}", range.start(), range.end()))
}

pub(crate) fn parse_dashboards(text: &str) -> Result<u32, String> {
    parse_within(text, 1..=SOCKETS_MAX).map(|count| count as u32)
}

pub(crate) fn parse_dashboards_or_none(text: &str) -> Result<u32, String> {
    parse_within(text, 0..=SOCKETS_MAX).map(|count| count as u32)
}

pub(crate) fn parse_publishers(text: &str) -> Result<u32, String> {
    parse_within(text, 1..=PUBLISHERS_MAX).map(|count| count as u32)
}

pub(crate) fn parse_subscriber_rate(text: &str) -> Result<u32, String> {
    parse_within(text, 1..=u64::from(Pace::RATE_MAX)).map(|rate| rate as u32)
}

/// It becomes part of a header line.
pub(crate) fn parse_token(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    fits.then(|| text.to_owned())
        .ok_or_else(|| "a token is visible ASCII without spaces".to_owned())
}

pub(crate) fn parse_agent(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let is_port = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    is_port
        .then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is no agent; write e.g. `10.0.0.7:9500`"))
}

/// Short enough for the first message to an agent.
pub(crate) fn parse_secret(text: &str) -> Result<String, String> {
    let fits = (8..=256).contains(&text.len());
    fits.then(|| text.to_owned()).ok_or_else(|| "a secret has 8 to 256 bytes".to_owned())
}

pub(crate) fn parse_seed(text: &str) -> Result<u64, String> {
    parse_within(text, 0..=i64::MAX as u64)
}

pub(crate) fn parse_threads(text: &str) -> Result<usize, String> {
    parse_within(text, 1..=1024).map(|count| count as usize)
}

pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok();
    let percent = percent.filter(|percent| (0.1..=100.0).contains(percent));
    percent.ok_or_else(|| format!("`{text}` is not in 0.1..=100"))
}

/// CPUs in a fixed order, without repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no list of CPUs; write e.g. `1` or `2,4-7`");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| wrong())?;
            let last: usize = last.trim().parse().map_err(|_| wrong())?;
            if first > last || last >= CPUS_MAX {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(CpuList(cpus))
    }
}

/// The kernel's CPU masks hold no more by default.
pub(crate) const CPUS_MAX: usize = 1024;

/// One `--set`: a path of keys and a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Keys from the root; a member of a list is named by its number or by its `name`.
    pub path: Vec<String>,
    /// TOML, or a text where the quotes were left out.
    pub value: toml::Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no setting; write e.g. `phases.measure=30s`");
        let (path, value) = text.split_once('=').ok_or_else(wrong)?;
        let path: Vec<_> = path.split('.').map(|key| key.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err(wrong());
        }
        let parsed: Option<toml::Table> = format!("value = {value}").parse().ok();
        let parsed = parsed.and_then(|mut table| table.remove("value"));
        Ok(Setting { path, value: parsed.unwrap_or_else(|| toml::Value::from(value)) })
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::command::Cli;
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_call_takes_the_flags_of_run() {
        let cli = Cli::try_parse_from(["gridload", "--subscribers", "7", "--slip-limit", "8%"]);
        let options = cli.unwrap().options;
        assert_eq!(options.subscribers, Some(7));
        let scenario =
            Scenario::parse(crate::scenario::builtin::find("control-room").unwrap().text).unwrap();
        let limits = options.health_limits(&scenario);
        assert_eq!((limits.slip_p999_of_period, limits.slip_p99_of_period), (0.08, 0.16));
        let limits = RunOptions::default().health_limits(&scenario);
        assert_eq!(limits.slip_p999_of_period, 0.10, "what the scenario says");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (args, message) in [
            (vec!["--subscribers", "0"], "`0` is not in 1..=4000000"),
            (vec!["--duration", "10"], "`10` is no duration"),
            (vec!["--duration", "10ms"], "10ms is outside 1s..="),
            (vec!["--repeat", "101"], "`101` is not in 1..=100"),
            (vec!["--profile", "steps"], "`steps` is no profile"),
            (vec!["--rate", "0"], "`0` is no frame rate"),
            (vec!["--phase", "odd"], "`odd` is no phase"),
            (vec!["--overlay", "late-frame"], "did you mean `late-frames`?"),
            (vec!["--overlay", "gps-loss,flap-reconnect:at=1"], "`1` is no duration"),
            (vec!["--payload", "bytes:1"], "`bytes:1` is no payload"),
            (vec!["--target", "http://x"], "`http://x` is no target"),
            (vec!["--form", "xml"], "`xml` is no form"),
            (vec!["--subscriber-rate", "0"], "`0` is not in 1..=1000"),
            (vec!["--token", "a b"], "a token is visible ASCII"),
            (vec!["--target-pid", "1"], "--target <URL>"),
            (vec!["--path", "/x"], "--dialect <WORD>"),
            (vec!["--threads", "0"], "`0` is not in 1..=1024"),
            (vec!["--cpus", "3-1"], "`3-1` is no list of CPUs"),
            (vec!["--source-ip", "here"], "`here` is no address range"),
            (vec!["--agents", "a"], "`a` is no agent"),
            (vec!["--agents", "a:1", "--cpus", "1"], "cannot be used with"),
            (vec!["--set", "seed"], "`seed` is no setting"),
        ] {
            let args = [vec!["gridload", "run"], args].concat();
            let error = Cli::try_parse_from(&args).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(message), "{args:?}: {error}");
        }
    }

    #[test]
    fn cpu_lists_are_sorted_and_free_of_repeats() {
        assert_eq!("4-6,2,5".parse(), Ok(CpuList(vec![2, 4, 5, 6])));
        assert!("1,".parse::<CpuList>().is_err() && "9999".parse::<CpuList>().is_err());
    }

    #[test]
    fn settings_are_toml_with_optional_quotes() {
        let value = |text: &str| text.parse::<Setting>().unwrap().value;
        assert_eq!(value("seed=5"), toml::Value::from(5));
        assert_eq!(value("phases.measure=30s"), toml::Value::from("30s"));
        assert_eq!(value("name=\"x\""), toml::Value::from("x"));
        assert_eq!(value("topics_each=all"), toml::Value::from("all"));
        assert_eq!("a.b=1".parse::<Setting>().unwrap().path, ["a", "b"]);
        assert!("a..b=1".parse::<Setting>().is_err());
    }
}
