//! The parts of `run.json` that a page uses. A value that an older result lacks is empty here. Must
//! not compute anything.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::judge::laps::LapRow;
use crate::observe::efficiency::Efficiency;
use crate::receive::censored::Censored;
use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::Totals;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::window::Window;
use crate::scenario::groups::ClassKind;

/// A run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    /// The command line that repeats the run.
    pub command: String,
    /// The start time in RFC 3339 format.
    pub started: String,
    /// The program that measured.
    pub tool: Tool,
    /// The host.
    pub env: Map<String, Value>,
    /// The scenario.
    pub scenario: Value,
    /// The layout on the host.
    pub layout: Map<String, Value>,
    /// The precision of its instants.
    pub clock: Clock,
    /// Whether its numbers are valid.
    pub health: Health,
    /// The goals.
    pub slo: Vec<Condition>,
    /// `ok`, `slo-violated`, `server-failed` or `invalid`.
    pub verdict: String,
    /// The exit code of the process.
    pub exit_code: u8,
    /// The results second by second.
    pub windows: Vec<Window>,
    /// The results lap by lap, if there are several laps.
    pub laps: Vec<LapRow>,
    /// The totals.
    pub totals: Totals,
    /// The costs.
    pub efficiency: Efficiency,
    /// The samples over time.
    pub samples: Samples,
}

impl Document {
    /// The classes whose latencies are scored: the healthy ones, or all if there is none.
    pub fn scored(&self) -> Vec<&ClassOutcome> {
        let classes = || self.totals.classes.iter();
        let healthy: Vec<_> = classes().filter(|class| class.kind == ClassKind::Healthy).collect();
        if healthy.is_empty() { classes().collect() } else { healthy }
    }

    /// Their latencies of one kind, all together; of frames that did not come, from below.
    pub fn latencies(&self, of: fn(&ClassOutcome) -> &SignedHistogram) -> Censored {
        let mut all = Censored::default();
        let scored = self.scored().into_iter();
        scored.for_each(|class| all.add(of(class), class.waiting.as_deref()));
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
    /// How it was compiled.
    pub profile: String,
}

/// The precision of instants.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// The largest error of a latency between hosts, ns.
    pub bound_ns: u64,
}

/// Whether the numbers are valid.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Whether they are valid.
    pub valid: bool,
    /// The reasons if they are not.
    pub reasons: Vec<String>,
    /// The gates that were checked.
    pub gates: Vec<Condition>,
}

/// A gate or a goal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// The name.
    #[serde(alias = "goal")]
    pub name: String,
    /// The measured value.
    pub measured: String,
    /// The limit.
    pub allowed: String,
    /// Whether the condition is met.
    pub pass: bool,
    /// The result of a goal in words.
    pub result: String,
    /// What a breach means.
    pub why: String,
}

impl Condition {
    /// Whether it is a goal that the precision of the clocks cannot decide.
    pub fn is_undecided(&self) -> bool {
        !self.pass && !matches!(self.result.as_str(), "" | "missed")
    }

    /// The outcome of the run.
    pub fn outcome(&self) -> &str {
        match (self.result.as_str(), self.pass) {
            ("", true) => "ok",
            ("", false) => "BREACHED",
            (result, _) => result,
        }
    }
}

/// The samples of the system.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Samples {
    /// At the start of the measured phase.
    pub measure_start: Option<Sample>,
    /// At regular distances.
    pub points: Vec<Sample>,
}

/// One sample.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// The instant.
    pub at_ns: u64,
    /// The measured process.
    pub server: Option<Usage>,
    /// Its threads.
    pub server_threads: Vec<Thread>,
    /// The host.
    pub host: Host,
}

/// The resources a process has used since its start and holds now.
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

/// The resources a thread has used since its start.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Thread {
    /// Its thread id.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// CPU time.
    pub cpu_ns: u64,
}

/// The memory of the network stack.
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
        let len = |run: &Document| run.latencies(|class| &class.e2e).came();
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
