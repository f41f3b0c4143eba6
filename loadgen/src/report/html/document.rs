//! What a page takes from `run.json`. Whatever an older result does not hold is empty here. Must
//! not compute anything.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::judge::laps::LapRow;
use crate::observe::efficiency::Efficiency;
use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::Totals;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::window::Window;
use crate::scenario::groups::ClassKind;

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
    pub fn telling(&self) -> Vec<&ClassOutcome> {
        let classes = || self.totals.classes.iter();
        let healthy: Vec<_> = classes().filter(|class| class.kind == ClassKind::Healthy).collect();
        if healthy.is_empty() { classes().collect() } else { healthy }
    }

    /// Their latencies of one kind, all together.
    pub fn latencies(&self, of: fn(&ClassOutcome) -> &SignedHistogram) -> SignedHistogram {
        let mut all = SignedHistogram::new();
        self.telling().into_iter().for_each(|class| all.merge(of(class)));
        all
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
    /// How that is said of a goal.
    pub result: String,
    /// What a breach means.
    pub why: String,
}

impl Condition {
    /// Whether it is a goal of which the clocks cannot tell.
    pub fn is_open(&self) -> bool {
        !self.pass && !matches!(self.result.as_str(), "" | "missed")
    }

    /// What came of it.
    pub fn said(&self) -> &str {
        match (self.result.as_str(), self.pass) {
            ("", true) => "ok",
            ("", false) => "BREACHED",
            (result, _) => result,
        }
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
    use crate::report::html::fixtures;

    #[test]
    fn what_is_written_is_read() {
        let run = fixtures::document();
        assert_eq!((run.verdict.as_str(), run.exit_code, run.health.valid), ("ok", 0, true));
        assert_eq!(run.totals.classes[0].e2e.len(), 1_000);
        assert_eq!(run.slo[0].name, "loss");
        assert_eq!(run.windows[0].e2e_counts, [(62, 59_000), (66, 1_000)].into());
    }

    #[test]
    fn latencies_are_those_of_healthy_classes() {
        let mut run = fixtures::document();
        let len = |run: &Document| run.latencies(|class| &class.e2e).len();
        run.totals.classes.push(fixtures::class());
        let slow = ClassKind::Slow { bytes_per_s: 0 };
        run.totals.classes.push(ClassOutcome { kind: slow, ..fixtures::class() });
        assert_eq!(len(&run), 2_000);
        run.totals.classes.retain(|class| class.kind == slow);
        assert_eq!(len(&run), 1_000);
        run.totals.classes.clear();
        assert_eq!(len(&run), 0);
    }

    #[test]
    fn what_an_older_result_does_not_hold_is_empty() {
        let run: Document = serde_json::from_str("{}").unwrap();
        assert!(run.windows.is_empty() && run.totals.spread.last.is_empty());
        let mut run = fixtures::run();
        let newer = ["form", "payload_bytes", "returns", "rates", "left_out", "attendance"];
        let class = run["totals"]["classes"][0].as_object_mut().unwrap();
        newer.iter().for_each(|key| assert!(class.remove(*key).is_some(), "{key}"));
        let run: Document = serde_json::from_value(run).unwrap();
        assert_eq!(run.totals.classes[0].egress_ratio(), None);
        assert_eq!(run.totals.classes[0].received, 600_000);
    }
}
