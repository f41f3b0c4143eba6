//! What a page takes from `run.json`. Whatever an older result does not hold is empty here. Must
//! not compute anything but what is packed: histograms.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::efficiency::Efficiency;
use crate::lap_table::LapRow;
use crate::outcome::Window;

/// A run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    /// The command line that repeats it.
    pub command: String,
    /// When, as RFC 3339 has it.
    pub started: String,
    /// What measured.
    pub tool: Tool,
    /// Where.
    pub env: Map<String, Value>,
    /// What was asked for.
    pub scenario: Value,
    /// How it was laid out.
    pub layout: Map<String, Value>,
    /// How well its instants are known.
    pub clock: Clock,
    /// Whether its numbers prove anything.
    pub health: Health,
    /// The goals.
    pub slo: Vec<Condition>,
    /// `ok`, `slo-violated` or `invalid`.
    pub verdict: String,
    /// Of the process.
    pub exit_code: u8,
    /// Second by second.
    pub windows: Vec<Window>,
    /// Lap by lap, if there are several.
    pub laps: Vec<LapRow>,
    /// All in all.
    pub totals: Totals,
    /// What it cost.
    pub efficiency: Efficiency,
    /// What it cost, second by second.
    pub samples: Samples,
}

impl Document {
    /// The classes whose latencies are the server's: the healthy ones, or all if there is none.
    pub fn telling(&self) -> Vec<&Class> {
        let healthy: Vec<_> = self.totals.classes.iter().filter(|c| c.is_healthy()).collect();
        if healthy.is_empty() { self.totals.classes.iter().collect() } else { healthy }
    }

    /// Their latencies of one kind, all together, if there are any.
    pub fn latencies(&self, of: fn(&Class) -> &Distribution) -> Option<Histogram<u64>> {
        let histograms = self.telling().into_iter().filter_map(|class| of(class).histogram());
        histograms.reduce(|mut sum, more| {
            // Refused only if the bounds differ, and one program wrote both.
            let _ = sum.add(more);
            sum
        })
    }
}

/// The program.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it was built.
    pub profile: String,
}

/// How well instants are known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// By how much a latency from one host to another may be wrong, ns.
    pub bound_ns: u64,
}

/// Whether numbers prove anything.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Whether they do.
    pub valid: bool,
    /// If not, why.
    pub reasons: Vec<String>,
    /// The conditions of that.
    pub gates: Vec<Condition>,
}

/// A gate or a goal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Which.
    #[serde(alias = "goal")]
    pub name: String,
    /// What was found.
    pub measured: String,
    /// What is allowed.
    pub allowed: String,
    /// Whether it holds.
    pub pass: bool,
    /// What a breach means.
    pub why: String,
}

/// All in all.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Length of the measured phase.
    pub measured_s: f64,
    /// Opening the sockets.
    pub ramp: Ramp,
    /// The publishers' side.
    pub publishers: Publishers,
    /// The subscribers' side.
    pub classes: Vec<Class>,
    /// From the first to the last receiver.
    pub spread: Spread,
}

/// Opening the sockets.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ramp {
    /// Sockets that were upgraded.
    pub connected: u64,
    /// Failed tries by kind.
    pub errors: BTreeMap<String, u64>,
    /// How long it took.
    pub elapsed_s: f64,
}

/// The publishers' side.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Publishers {
    /// How many.
    pub count: u64,
    /// Frames due.
    pub intended: u64,
    /// Frames written.
    pub sent: u64,
    /// A period late or more.
    pub late: u64,
    /// How sockets ended early.
    pub closes: BTreeMap<String, u64>,
    /// Actual minus intended instant.
    pub slip: Distribution,
}

/// Subscribers of one kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How its sockets read.
    pub kind: String,
    /// How they get frames.
    pub form: String,
    /// Sockets connected.
    pub sockets: u64,
    /// Frames they had to get.
    pub expected: u64,
    /// Frames they got.
    pub received: u64,
    /// Missing.
    pub lost: u64,
    /// Missing because the server closed.
    pub lost_after_close: u64,
    /// Twice.
    pub duplicated: u64,
    /// Out of order.
    pub reordered: u64,
    /// Damaged.
    pub corrupt: u64,
    /// Gaps the server told of.
    pub gap_notices: u64,
    /// Frames left out on request.
    pub left_out: u64,
    /// How sockets ended early.
    pub closes: BTreeMap<String, u64>,
    /// Bytes on the wire per byte of payload.
    pub egress_ratio: Option<f64>,
    /// From the actual instant of sending.
    pub service: Distribution,
    /// From the intended one.
    pub e2e: Distribution,
    /// Of several publishers together, where sockets follow several.
    pub ticks: Option<Ticks>,
}

/// Frames of one instant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ticks {
    /// Ticks that could have been whole.
    pub expected: u64,
    /// Ticks that were.
    pub whole: u64,
    /// Until the last frame was there.
    pub latency: Distribution,
}

impl Class {
    /// Whether its sockets read all they are sent at once.
    pub fn is_healthy(&self) -> bool {
        self.kind == "healthy"
    }
}

/// From the first to the last receiver.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// First receiver.
    pub first: Distribution,
    /// Median receiver.
    pub median: Distribution,
    /// Last receiver.
    pub last: Distribution,
}

/// A histogram and a few of its values.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Distribution {
    /// Values.
    pub count: u64,
    /// Median, ns.
    pub p50_ns: i64,
    /// 90th percentile, ns.
    pub p90_ns: i64,
    /// 99th percentile, ns.
    pub p99_ns: i64,
    /// 99.9th percentile, ns.
    pub p999_ns: i64,
    /// Largest, ns.
    pub max_ns: i64,
    hist_b64: Option<String>,
}

impl Distribution {
    /// All of its values that are not negative, if there are any.
    pub fn histogram(&self) -> Option<Histogram<u64>> {
        let bytes = STANDARD.decode(self.hist_b64.as_ref()?).ok()?;
        let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
        Some(histogram).filter(|histogram: &Histogram<u64>| !histogram.is_empty())
    }
}

/// Looks at the system.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Samples {
    /// At the start of the measured phase.
    pub measure_start: Option<Sample>,
    /// At regular distances.
    pub points: Vec<Sample>,
}

/// One look.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// When.
    pub at_ns: u64,
    /// The measured process.
    pub server: Option<Usage>,
    /// Its threads.
    pub server_threads: Vec<Thread>,
    /// The host.
    pub host: Host,
}

/// What a process has used since its start, and holds.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// CPU time.
    pub cpu_ns: u64,
    /// Memory.
    pub rss_bytes: u64,
    /// Context switches because a thread waited.
    pub switches_voluntary: u64,
    /// Context switches because a thread was preempted.
    pub switches_involuntary: u64,
}

/// What a thread has used since its start.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Thread {
    /// Its number.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// CPU time.
    pub cpu_ns: u64,
}

/// What the network stack holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Kernel memory of all TCP sockets.
    pub tcp_memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::fixtures;

    #[test]
    fn what_is_written_is_read() {
        let run = fixtures::document();
        assert_eq!((run.verdict.as_str(), run.exit_code, run.health.valid), ("ok", 0, true));
        assert_eq!(run.totals.classes[0].e2e.histogram().map(|h| h.len()), Some(1_000));
        assert_eq!(run.slo[0].name, "loss");
        assert!(run.totals.classes[0].is_healthy());
        assert_eq!(run.windows[0].e2e_counts, [(62, 59_000), (66, 1_000)].into());
    }

    #[test]
    fn latencies_are_those_of_healthy_classes() {
        let mut run = fixtures::document();
        let len = |run: &Document| run.latencies(|class| &class.e2e).map(|h| h.len());
        run.totals.classes.push(Class { kind: "healthy".into(), ..fixtures::class() });
        run.totals.classes.push(Class { kind: "slow".into(), ..fixtures::class() });
        assert_eq!(len(&run), Some(2_000));
        run.totals.classes.retain(|class| class.kind == "slow");
        assert_eq!(len(&run), Some(1_000));
        run.totals.classes.clear();
        assert_eq!(len(&run), None);
    }

    #[test]
    fn what_an_older_result_does_not_hold_is_empty() {
        let run: Document = serde_json::from_str("{}").unwrap();
        assert!(run.windows.is_empty() && run.totals.spread.last.histogram().is_none());
    }
}
