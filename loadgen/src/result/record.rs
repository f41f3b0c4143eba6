//! The directory of a result: `run.json`, a `.hgrm` file per histogram, the scenario as it was run.
//! Written once, never changed. Must not judge or compute anything.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::judge::health::HealthLimits;
use crate::judge::laps;
use crate::judge::laps::{LapRow, LappedRun};
use crate::judge::verdict::Verdict;
use crate::observe::clocks::Clocks;
use crate::observe::efficiency::Efficiency;
use crate::observe::host::Environment;
use crate::observe::sampler::Samples;
use crate::observe::{kernel_counters, server_counters};
use crate::plan::layout::Layout;
use crate::plan::plan::Plan;
use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::Outcome;
use crate::receive::outcome::class::ClassOutcome;
use crate::result::json_text::json_text;
use crate::scenario::scenario::Scenario;

/// Version of the layout of `run.json`; grows with every change that a reader could notice.
pub const SCHEMA_VERSION: u32 = 1;

/// All data of a finished run.
pub struct Record<'r> {
    /// The command line that repeats the run.
    pub command: &'r str,
    /// The scenario, with the flags applied.
    pub scenario: &'r Scenario,
    /// The plan.
    pub plan: &'r Plan,
    /// The layout on the host.
    pub layout: &'r Layout,
    /// The host.
    pub environment: &'r Environment,
    /// The measured process, if known.
    pub server_pid: Option<u32>,
    /// The outcome.
    pub outcome: &'r Outcome,
    /// The samples.
    pub samples: &'r Samples,
    /// The costs.
    pub efficiency: &'r Efficiency,
    /// The precision of its instants.
    pub clocks: &'r Clocks,
    /// The limits of the gates.
    pub limits: &'r HealthLimits,
    /// The verdict.
    pub verdict: &'r Verdict,
}

/// A directory that holds one result.
#[derive(Debug)]
pub struct ResultDir {
    path: PathBuf,
}

impl ResultDir {
    /// Creates the given directory, or one named by time and scenario below `gridload-results`. A
    /// directory that already holds a result is refused.
    pub fn create(wanted: Option<&Path>, scenario: &str, unix_ns: u64) -> io::Result<ResultDir> {
        let path = match wanted {
            Some(path) => path.to_owned(),
            None => Path::new("gridload-results").join(format!("{}-{scenario}", stamp(unix_ns))),
        };
        fs::create_dir_all(&path)?;
        if path.join(RUN_FILE).exists() {
            let text = format!("{} holds a result already", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Ok(ResultDir { path })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in it for the log of the embedded engine.
    pub fn engine_log(&self) -> io::Result<File> {
        File::create(self.path.join(ENGINE_LOG))
    }

    /// The last lines of that log.
    pub fn engine_log_tail(&self) -> String {
        let text = fs::read_to_string(self.path.join(ENGINE_LOG)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(5)).map(|l| format!("\n  {l}")).collect()
    }

    /// Removes the directory if nothing was written to it.
    pub fn remove_if_empty(&self) {
        let log = self.path.join(ENGINE_LOG);
        if fs::metadata(&log).is_ok_and(|found| found.len() == 0) {
            // An empty log that cannot be removed does no harm.
            let _ = fs::remove_file(log);
        }
        // A directory that is not empty cannot be removed, which is intended.
        let _ = fs::remove_dir(&self.path);
    }

    /// Writes the whole result; `run.json` last, so that its presence means completeness.
    pub fn write(&self, record: &Record<'_>) -> io::Result<()> {
        fs::write(self.path.join("scenario.toml"), record.scenario.to_toml())?;
        self.write_merged(&run_json(record), record.outcome)
    }

    /// Writes a result merged from several runs.
    pub fn write_merged(&self, run: &Value, outcome: &Outcome) -> io::Result<()> {
        for (name, histogram) in named_histograms(outcome) {
            fs::write(self.path.join(format!("{name}.hgrm")), hgrm(histogram))?;
        }
        // Under another name until it is whole: a full disk leaves no half of a result.
        let part = self.path.join(RUN_FILE).with_extension("part");
        fs::write(&part, json_text(run)?)?;
        fs::rename(part, self.path.join(RUN_FILE))
    }
}

/// The file that every complete result has.
pub const RUN_FILE: &str = "run.json";
const ENGINE_LOG: &str = "engine.log";

/// A UTC instant as a part of file names that sorts by time.
fn stamp(unix_ns: u64) -> String {
    rfc3339(unix_ns).chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

fn rfc3339(unix_ns: u64) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_ns);
    humantime::format_rfc3339_seconds(at).to_string()
}

fn named_histograms(outcome: &Outcome) -> Vec<(String, &SignedHistogram)> {
    let spread = &outcome.spread;
    let mut named = vec![
        ("slip".to_owned(), &outcome.publishers.slip),
        ("spread-first".to_owned(), &spread.first),
        ("spread-median".to_owned(), &spread.median),
        ("spread-last".to_owned(), &spread.last),
    ];
    for class in &outcome.classes {
        named.push((format!("service-{}", class.name), &class.service));
        named.push((format!("e2e-{}", class.name), &class.e2e));
        let first_frame = class.returns.first_frame.as_deref();
        named.extend(first_frame.map(|found| (format!("return-{}", class.name), found)));
    }
    named
}

impl Record<'_> {
    /// The laps of the run.
    pub fn laps(&self) -> Vec<LapRow> {
        laps::rows(&LappedRun {
            plan: self.plan,
            slo: &self.scenario.slo,
            outcome: self.outcome,
            samples: self.samples,
            bound_ns: self.clocks.bound_ns(),
        })
    }
}

/// The result as one JSON document.
pub fn run_json(record: &Record<'_>) -> Value {
    let Record { outcome, verdict, plan, .. } = record;
    json!({
        "schema_version": SCHEMA_VERSION,
        "tool": {
            "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        },
        "command": record.command,
        "started": rfc3339(outcome.started_unix_ns),
        "started_unix_ns": outcome.started_unix_ns,
        "env": record.environment,
        "scenario": scenario_json(record.scenario),
        "layout": layout_json(record.layout, plan),
        "seed": plan.seed,
        "clock": clock_json(record.clocks, outcome),
        "health": health_json(record),
        "windows": outcome.windows,
        "laps": record.laps(),
        "totals": totals_json(outcome),
        "server": server_json(record),
        "efficiency": record.efficiency,
        "slo": verdict.goals,
        "verdict": verdict.exit().verdict(),
        "exit_code": verdict.exit().code(),
        "samples": record.samples,
    })
}

/// The resolved scenario with the keys of its file.
fn scenario_json(scenario: &Scenario) -> Value {
    let table: Option<toml::Table> = scenario.to_toml().parse().ok();
    table.and_then(|table| serde_json::to_value(table).ok()).unwrap_or(Value::Null)
}

fn layout_json(layout: &Layout, plan: &Plan) -> Value {
    json!({
        "target": plan.target.to_string(),
        "run_id": plan.run_id,
        "publishers": plan.publishers.len(),
        "subscriber_sockets": plan.subscribers.len(),
        "connect_rate_per_s": plan.connect_rate,
        "spread_every": plan.spread_every,
        "publisher_threads": layout.publisher_threads,
        "subscriber_threads": layout.subscriber_threads,
        "generator_cpus": layout.generator_cpus,
        "engine_cores": layout.engine_cores,
        "engine_cpus": layout.engine_cpus,
        "sources": layout.sources.len(),
    })
}

fn clock_json(clocks: &Clocks, outcome: &Outcome) -> Value {
    json!({
        "mode": clocks.mode(),
        "bound_ns": clocks.bound_ns(),
        "negatives": negatives(outcome),
        "agents": clocks.agents,
    })
}

fn negatives(outcome: &Outcome) -> u64 {
    named_histograms(outcome).iter().map(|(_, histogram)| histogram.negatives()).sum()
}

fn health_json(record: &Record<'_>) -> Value {
    json!({
        "valid": record.verdict.valid,
        "reasons": record.verdict.reasons(),
        "gates": record.verdict.gates,
        "limits": record.limits,
        "threads": record.outcome.threads,
    })
}

/// The totals of the measurement.
pub fn totals_json(outcome: &Outcome) -> Value {
    json!({
        "measured_s": outcome.measured.as_secs_f64(),
        "ramp": outcome.ramp,
        "publishers": outcome.publishers,
        "classes": outcome.classes.iter().map(class_json).collect::<Vec<_>>(),
        "spread": outcome.spread,
    })
}

/// What of a histogram stands beside its counts.
const QUANTILES: [(&str, f64); 5] =
    [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p999_ns", 0.999), ("max_ns", 1.0)];

/// Percentiles are of all frames that were due: `at_least` names those that may be larger, because
/// frames had not come by the end of the drain.
fn class_json(class: &ClassOutcome) -> Value {
    let mut json = json!(class);
    if class.waiting.is_some() {
        let latencies = class.latencies();
        for (key, quantile) in QUANTILES {
            json["e2e"][key] = json!(latencies.quantile(quantile).ns);
        }
        let open = QUANTILES.iter().filter(|(_, quantile)| latencies.quantile(*quantile).is_least);
        json["e2e"]["at_least"] = open.map(|(key, _)| *key).collect();
    }
    json["egress_ratio"] = json!(class.egress_ratio());
    json["stirred"] = json!(class.lifecycle.is_disrupted());
    if class.returns.is_empty() {
        json["returns"] = Value::Null;
    }
    json
}

fn server_json(record: &Record<'_>) -> Value {
    let marks = record.samples.measured();
    let usage = marks.and_then(|(from, to)| from.server.zip(to.server));
    let spent = usage.map(|(from, to)| {
        json!({
            "cpu_ns": to.cpu_ns.saturating_sub(from.cpu_ns),
            "rss_bytes": to.rss_bytes,
            "threads": to.threads,
            "minor_faults": to.minor_faults.saturating_sub(from.minor_faults),
            "switches_voluntary":
                to.switches_voluntary.saturating_sub(from.switches_voluntary),
            "switches_involuntary":
                to.switches_involuntary.saturating_sub(from.switches_involuntary),
        })
    });
    let embedded = record.layout.engine_cores > 0;
    let counted = marks.and_then(|(from, to)| {
        Some(server_counters::between(from.counters.as_ref()?, to.counters.as_ref()?))
    });
    json!({
        "pid": record.server_pid,
        "embedded": embedded,
        "measured": spent,
        "counters": counted,
        "kernel": kernel_json(record.samples),
    })
}

/// The kernel counters, and the missing ones with their reasons; empty if none were requested.
fn kernel_json(samples: &Samples) -> Option<Value> {
    let (from, to) = samples.measured()?;
    let counted = kernel_counters::between(from.kernel.as_ref()?, to.kernel.as_ref()?);
    Some(json!({ "counted": counted, "missing": samples.uncounted }))
}

/// The percentile distribution as text, in milliseconds, for the usual plotters.
fn hgrm(histogram: &SignedHistogram) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_hgrm(histogram, &mut text);
    text
}

fn write_hgrm(histogram: &SignedHistogram, text: &mut String) -> fmt::Result {
    let values = histogram.values();
    let [value, percentile, count, inverse] =
        ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"];
    writeln!(text, "{value:>14} {percentile:>14} {count:>10} {inverse:>14}\n")?;
    let mut total = 0;
    for step in values.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let (ms, quantile) = (to_ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        write!(text, "{ms:14.6} {quantile:14.12} {total:10}")?;
        match quantile < 1.0 {
            true => writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile))?,
            false => writeln!(text)?,
        }
    }
    let (mean, deviation) = match values.is_empty() {
        true => (0.0, 0.0),
        false => (to_ms(values.mean()), to_ms(values.stdev())),
    };
    let max = to_ms(histogram.max() as f64);
    writeln!(text, "#[Mean    = {mean:14.6}, StdDeviation   = {deviation:14.6}]")?;
    writeln!(text, "#[Max     = {max:14.6}, Total count    = {total:14}]")
}

/// The default resolution of HdrHistogram writers in other languages.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

fn to_ms(ns: f64) -> f64 {
    ns / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::fixtures::with_record;
    use crate::receive::outcome::Totals;

    #[test]
    fn run_json_has_the_promised_shape() {
        let json = with_record(&fixtures::outcome(), run_json);
        for key in [
            "schema_version",
            "tool",
            "command",
            "started",
            "env",
            "scenario",
            "seed",
            "clock",
            "health",
            "windows",
            "totals",
            "server",
            "efficiency",
            "slo",
            "verdict",
            "exit_code",
        ] {
            assert!(!json[key].is_null(), "{key}");
        }
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["started"], "2026-01-01T00:00:00Z");
        assert_eq!((&json["verdict"], &json["exit_code"]), (&json!("ok"), &json!(0)));
        assert_eq!(json["health"]["valid"], true);
        assert_eq!(json["totals"]["classes"][0]["received"], 600_000);
        assert_eq!(json["totals"]["classes"][0]["kind"], "healthy");
        assert_eq!(json["scenario"]["publishers"][0]["count"], 20);
        assert_eq!(json["server"]["measured"]["cpu_ns"], 2_000_000_000u64);
        assert_eq!(json["windows"][0]["received"], 60_000);
        assert_eq!(json["windows"][0]["e2e_counts"], json!([[62, 59_000], [66, 1_000]]));
        assert_eq!(json["slo"][0]["goal"], "loss");
    }

    #[test]
    fn percentiles_that_a_tail_leaves_open_are_named() {
        let mut outcome = fixtures::outcome();
        outcome.classes[0].undelivered = 20;
        outcome.classes[0].note_waiting(0, 2_000_000_000, 20);
        let json = with_record(&outcome, run_json);
        let e2e = &json["totals"]["classes"][0]["e2e"];
        assert_eq!(e2e["at_least"], json!(["p99_ns", "p999_ns", "max_ns"]));
        assert!(e2e["p99_ns"].as_i64().unwrap() >= 2_000_000_000, "{e2e}");
        assert!(e2e["p50_ns"].as_i64().unwrap() < 1_200_000, "{e2e}");
        let read: Totals = serde_json::from_value(json["totals"].clone()).unwrap();
        assert_eq!((read.classes[0].e2e.len(), read.classes[0].tail()), (1000, 20));
        assert!(read.classes[0].latencies().quantile(0.99).is_least);
    }

    #[test]
    fn results_of_older_versions_are_read() {
        let mut json = with_record(&fixtures::outcome(), run_json);
        let class = json["totals"]["classes"][0].as_object_mut().unwrap();
        for key in ["undelivered", "undelivered_after_close", "waiting"] {
            class.remove(key).unwrap();
        }
        class.insert("lost_after_close".to_owned(), json!(7));
        let read: Totals = serde_json::from_value(json["totals"].clone()).unwrap();
        assert_eq!((read.classes[0].undelivered, read.classes[0].tail()), (0, 7));
    }

    #[test]
    fn an_invalid_run_says_so_with_its_reasons() {
        let mut outcome = fixtures::outcome();
        outcome.threads[0].busy_max = 0.97;
        let json = with_record(&outcome, run_json);
        assert_eq!((&json["verdict"], &json["exit_code"]), (&json!("invalid"), &json!(5)));
        let reason = json["health"]["reasons"][0].as_str().unwrap();
        assert!(reason.starts_with("thread busy: 97.00 %"), "{reason}");
    }

    #[test]
    fn what_the_kernel_counted_stands_beside_what_it_did_not() {
        let mut samples = fixtures::samples();
        assert_eq!(kernel_json(&samples), None, "it was not asked");
        let marks = [&mut samples.measure_start, &mut samples.measure_end];
        for (mark, count) in marks.into_iter().zip([3, 10]) {
            mark.as_mut().unwrap().kernel = Some([("syscalls", count)].into());
        }
        samples.uncounted.insert("instructions", "why".to_owned());
        let expected = json!({"counted": {"syscalls": 7}, "missing": {"instructions": "why"}});
        assert_eq!(kernel_json(&samples), Some(expected));
    }

    #[test]
    fn hgrm_rises_to_the_last_value() {
        let text = hgrm(&fixtures::histogram(100, 1_000_000));
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 100.0, 3));
        assert!((last[0] - 1.099).abs() < 0.001, "{last:?}");
        assert!(text.contains("Total count    =            100]"), "{text}");
        assert!(hgrm(&SignedHistogram::new()).contains("Total count    =              0]"));
    }

    #[test]
    fn a_result_is_written_whole_and_never_overwritten() {
        let below = tempfile::tempdir().unwrap();
        let wanted = below.path().join("a/b");
        let directory = ResultDir::create(Some(&wanted), "x", 0).unwrap();
        with_record(&fixtures::outcome(), |record| directory.write(record)).unwrap();
        for file in ["run.json", "scenario.toml", "slip.hgrm", "e2e-dashboard.hgrm"] {
            assert!(wanted.join(file).is_file(), "{file}");
        }
        let text = fs::read_to_string(wanted.join("scenario.toml")).unwrap();
        assert_eq!(Scenario::parse(&text), Ok(fixtures::scenario()));
        let again = ResultDir::create(Some(&wanted), "x", 0).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn directories_of_runs_that_came_to_nothing_keep_only_what_was_said() {
        let below = tempfile::tempdir().unwrap();
        let wanted = below.path().join("r");
        let directory = ResultDir::create(Some(&wanted), "x", 0).unwrap();
        drop(directory.engine_log().unwrap());
        directory.remove_if_empty();
        assert!(!wanted.exists());
        let directory = ResultDir::create(Some(&wanted), "x", 0).unwrap();
        fs::write(wanted.join("engine.log"), "1\n2\n3\n4\n5\n6\n").unwrap();
        directory.remove_if_empty();
        assert_eq!(directory.engine_log_tail(), "\n  2\n  3\n  4\n  5\n  6");
    }

    #[test]
    fn default_directories_sort_by_time() {
        assert_eq!(stamp(1_767_225_600_000_000_000), "20260101T000000Z");
    }
}
