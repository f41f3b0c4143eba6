//! The result of one run of a search, taken from its `run.json`. Must not judge a search.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::capacity::load::Load;
use crate::capacity::search::Trial;
use crate::compare::metric::Metric;
use crate::judge::exit::Exit;
use crate::result::run_file::RunFile;

/// The purpose of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// It narrows the search.
    Search,
    /// It confirms the result of the search, at full length.
    Confirm,
    /// It varies what the search does not vary, as data for the model.
    Probe,
    /// The model is tested with this run, which it was not fitted to.
    HeldOut,
}

impl Purpose {
    /// Its name in tables and directories.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Search => "search",
            Purpose::Confirm => "confirm",
            Purpose::Probe => "probe",
            Purpose::HeldOut => "held-out",
        }
    }
}

/// The request for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The purpose of the run.
    pub purpose: Purpose,
    /// The value of the control.
    pub value: u64,
    /// Healthy dashboards.
    pub subscribers: u64,
    /// The load of its server.
    pub load: Load,
    /// CPUs its server has, if known in advance.
    pub server_cpus: Option<usize>,
}

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The purpose of the run.
    pub purpose: Purpose,
    /// The value of the control.
    pub value: u64,
    /// Healthy dashboards.
    pub subscribers: u64,
    /// Its outcome.
    pub trial: Trial,
    /// The load of its server.
    pub load: Load,
    /// Length of the measured phase, seconds.
    pub measured_s: Option<f64>,
    /// Frames that healthy subscribers received per second.
    pub deliveries_per_s: Option<f64>,
    /// CPUs that its server used.
    pub server_cpus_busy: Option<f64>,
    /// CPUs that its server has.
    pub server_cpus: Option<f64>,
    /// CPUs that the generator used.
    pub own_cpus_busy: Option<f64>,
    /// The 99th percentile of latency from the intended instant, ns.
    pub e2e_p99_ns: Option<f64>,
    /// User memory of its server at the end, bytes.
    pub server_rss_bytes: Option<f64>,
    /// User memory of its server per connection, bytes.
    pub user_bytes_per_connection: Option<f64>,
    /// Kernel memory per connection, bytes.
    pub kernel_bytes_per_connection: Option<f64>,
    /// The highest TCP memory, as a share of the level at which the kernel begins to restrict it.
    pub tcp_memory_share: Option<f64>,
    /// The goals that were missed, with the measured value and the limit.
    pub missed: Vec<String>,
    /// Whether its server refused connections or ended: such a load is missed for that reason.
    pub has_server_failed: bool,
    /// The reasons why the run is invalid.
    pub reasons: Vec<String>,
    /// The path of its result.
    pub result: PathBuf,
}

impl Point {
    /// Reads the result of a run.
    pub fn of(question: &Question, file: &RunFile) -> Point {
        let run = &file.run;
        let metric = |key| Metric::find(key).and_then(|metric| metric.of(run));
        let cost = |key: &str| run["efficiency"][key].as_f64();
        let own = run["layout"]["engine_cpus"].as_array().map(Vec::len);
        Point {
            purpose: question.purpose,
            value: question.value,
            subscribers: question.subscribers,
            trial: trial(run),
            load: question.load,
            measured_s: run["totals"]["measured_s"].as_f64(),
            deliveries_per_s: metric("deliveries"),
            server_cpus_busy: cost("server_cpus_busy"),
            server_cpus: question.server_cpus.or(own).map(|cpus| cpus as f64),
            own_cpus_busy: cost("own_cpus_busy"),
            e2e_p99_ns: metric("e2e_p99"),
            server_rss_bytes: cost("server_rss_bytes"),
            user_bytes_per_connection: cost("rss_bytes_per_connection"),
            kernel_bytes_per_connection: cost("kernel_bytes_per_connection"),
            tcp_memory_share: tcp_memory_share(run),
            missed: missed(run),
            has_server_failed: has_server_failed(run),
            reasons: reasons(run),
            result: file.path.clone(),
        }
    }

    /// A run without a result: this host cannot carry it, or its server let nobody in.
    pub fn refused(question: &Question, said: String, result: PathBuf) -> Point {
        Point {
            purpose: question.purpose,
            value: question.value,
            subscribers: question.subscribers,
            trial: Trial::Refused,
            load: question.load,
            measured_s: None,
            deliveries_per_s: None,
            server_cpus_busy: None,
            server_cpus: None,
            own_cpus_busy: None,
            e2e_p99_ns: None,
            server_rss_bytes: None,
            user_bytes_per_connection: None,
            kernel_bytes_per_connection: None,
            tcp_memory_share: None,
            missed: Vec::new(),
            has_server_failed: false,
            reasons: vec![said],
            result,
        }
    }

    /// Whether its numbers are valid for the server.
    pub fn is_valid(&self) -> bool {
        matches!(self.trial, Trial::Held | Trial::Missed) && !self.has_server_failed
    }

    /// The CPU share of its server.
    pub fn cpu_share(&self) -> Option<f64> {
        Some(self.server_cpus_busy? / self.server_cpus?)
    }

    /// The cost of the load, if all of it was delivered; undelivered frames cost nothing and would
    /// falsify it.
    pub fn cost(&self) -> Option<(Load, f64)> {
        let carried = self.deliveries_per_s? / self.load.deliveries_per_s;
        let is_whole = self.is_valid() && (carried - 1.0).abs() < NOT_CARRIED_MAX;
        is_whole.then_some((self.load, self.server_cpus_busy?))
    }
}

/// The largest share of missing or additional deliveries in a run that counts for the model.
const NOT_CARRIED_MAX: f64 = 0.02;

fn has_server_failed(run: &Value) -> bool {
    run["exit_code"].as_u64() == Some(u64::from(Exit::ServerFailed.code()))
}

fn trial(run: &Value) -> Trial {
    let exit = run["exit_code"].as_u64();
    if has_server_failed(run) {
        Trial::Missed
    } else if run["health"]["valid"] != true {
        if is_disturbed(run) { Trial::Disturbed } else { Trial::Invalid }
    } else if exit == Some(u64::from(Exit::Ok.code())) {
        Trial::Held
    } else {
        Trial::Missed
    }
}

/// Whether the only reasons for invalidity are ones that a busy neighbour can cause. A generator
/// that is late because of its own load shows as busy too.
fn is_disturbed(run: &Value) -> bool {
    let gates = run["health"]["gates"].as_array().into_iter().flatten();
    let mut breached = gates.filter(|gate| gate["pass"] == false).peekable();
    let of_a_neighbour =
        |gate: &Value| gate["name"].as_str().is_some_and(|name| DISTURBANCES.contains(&name));
    breached.peek().is_some() && breached.all(of_a_neighbour)
}

const DISTURBANCES: [&str; 4] = ["slip p99.9", "slip p99", "wake-up jitter", "steal"];

fn missed(run: &Value) -> Vec<String> {
    let goals = run["slo"].as_array().into_iter().flatten();
    let missed = goals.filter(|goal| goal["pass"] == false);
    let text = |goal: &Value, key: &str| goal[key].as_str().unwrap_or_default().to_owned();
    missed
        .map(|goal| {
            let [name, found, allowed] = ["goal", "measured", "allowed"].map(|key| text(goal, key));
            format!("{name} {found} ({allowed})")
        })
        .collect()
}

fn reasons(run: &Value) -> Vec<String> {
    let reasons = run["health"]["reasons"].as_array().into_iter().flatten();
    reasons.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The page size in which the kernel counts TCP memory on the supported machines.
const PAGE_BYTES: f64 = 4096.0;

fn tcp_memory_share(run: &Value) -> Option<f64> {
    let bounds = run["env"]["sysctls"]["net/ipv4/tcp_mem"].as_str()?;
    let pressure: f64 = bounds.split(' ').nth(1)?.parse().ok()?;
    let points = run["samples"]["points"].as_array()?;
    let used = points.iter().filter_map(|point| point["host"]["tcp_memory_bytes"].as_f64());
    Some(used.fold(0.0, f64::max) / (pressure * PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(valid: bool, exit_code: u64) -> RunFile {
        let class = json!({"kind": "healthy", "e2e": {"count": 600, "p99_ns": 5e6}});
        let run = json!({
            "exit_code": exit_code,
            "health": {"valid": valid, "reasons": if valid { vec![] } else { vec!["too slow"] }},
            "layout": {"engine_cpus": [0, 1]},
            "totals": {"measured_s": 6.0, "classes": [class]},
            "efficiency": {"server_cpus_busy": 1.5},
            "slo": [{"goal": "loss", "pass": exit_code == 0, "measured": "7", "allowed": "<= 0"}],
            "env": {"sysctls": {"net/ipv4/tcp_mem": "1 1000 3"}},
            "samples": {"points": [{"host": {"tcp_memory_bytes": 2_048_000}}]},
        });
        RunFile { path: PathBuf::from("run.json"), run }
    }

    fn question() -> Question {
        let load = Load { deliveries_per_s: 101.0, ..Load::default() };
        Question { purpose: Purpose::Search, value: 5, subscribers: 5, load, server_cpus: None }
    }

    #[test]
    fn a_run_is_read_as_it_came_out() {
        let point = Point::of(&question(), &run(true, 0));
        assert_eq!((point.trial, point.value), (Trial::Held, 5));
        assert_eq!((point.deliveries_per_s, point.e2e_p99_ns), (Some(100.0), Some(5e6)));
        assert_eq!(point.cpu_share(), Some(0.75));
        assert_eq!(point.tcp_memory_share, Some(0.5));
        assert_eq!(point.cost(), Some((point.load, 1.5)), "99 of 100 were delivered");
        let missed = Point::of(&question(), &run(true, 4));
        assert_eq!((missed.trial, &missed.missed[0]), (Trial::Missed, &"loss 7 (<= 0)".to_owned()));
        let invalid = Point::of(&question(), &run(false, 5));
        assert_eq!((invalid.trial, invalid.cost()), (Trial::Invalid, None));
        assert_eq!(invalid.reasons, ["too slow"]);
    }

    #[test]
    fn a_disturbed_host_is_told_from_a_generator_that_is_full() {
        let of = |breached: &[&str]| {
            let mut file = run(false, 5);
            let gate = |name: &&str| json!({"name": name, "pass": false});
            let gates: Vec<_> = breached.iter().map(gate).collect();
            let fine = json!({"name": "connected", "pass": true});
            file.run["health"]["gates"] = json!([gates, vec![fine]].concat());
            Point::of(&question(), &file).trial
        };
        assert_eq!(of(&["slip p99.9", "steal"]), Trial::Disturbed);
        assert_eq!(of(&["slip p99.9", "thread busy"]), Trial::Invalid);
        assert_eq!(of(&["connected"]), Trial::Invalid);
        assert_eq!(of(&[]), Trial::Invalid);
    }

    #[test]
    fn what_was_not_carried_has_no_cost() {
        let load = Load { deliveries_per_s: 200.0, ..Load::default() };
        let point = Point::of(&Question { load, ..question() }, &run(true, 4));
        assert_eq!(point.cost(), None);
        let refused = Point::refused(&question(), "too many".to_owned(), PathBuf::new());
        assert_eq!((refused.is_valid(), refused.cost()), (false, None));
    }

    #[test]
    fn cpus_of_a_server_that_was_started_for_it_are_known() {
        let question = Question { server_cpus: Some(6), ..question() };
        assert_eq!(Point::of(&question, &run(true, 0)).cpu_share(), Some(0.25));
    }
}
