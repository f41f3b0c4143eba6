//! What a run produced: counts and histograms, filled by the data plane, printed by the report.
//! Must not know sockets, threads or files.

pub mod class;
pub(crate) mod counts;
pub(crate) mod deviations;
pub mod lap;
pub(crate) mod returns;
pub(crate) mod spread;
pub(crate) mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::deviations::Deviations;
use crate::receive::outcome::spread::SpreadOutcome;
use crate::receive::outcome::window::Window;

/// Everything a run measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Grid instant of the first tick published, ns since the Unix epoch.
    pub started_unix_ns: u64,
    /// Length of the measured phase, without warm-up; shorter than planned if the run was stopped.
    pub measured: Duration,
    /// Opening the subscriber sockets.
    pub ramp: RampOutcome,
    /// The publishers' side.
    pub publishers: PublisherOutcome,
    /// One per subscriber class, in plan order.
    pub classes: Vec<ClassOutcome>,
    /// Fan-out spread of sampled frames.
    pub spread: SpreadOutcome,
    /// The generator's own threads.
    pub threads: Vec<ThreadHealth>,
    /// One per second of the run, warm-up and drain included. An agent has told them before.
    #[serde(skip)]
    pub windows: Vec<Window>,
}

/// What of an outcome is read again from `run.json`, where `record` writes it. Counts that an older
/// version did not make are 0.
#[derive(Debug, Default, Deserialize)]
pub struct Totals {
    /// Length of the measured phase, s.
    pub measured_s: f64,
    /// Opening the subscriber sockets.
    pub ramp: RampOutcome,
    /// The publishers' side.
    pub publishers: PublisherOutcome,
    /// The subscribers' side.
    pub classes: Vec<ClassOutcome>,
    /// Fan-out spread of sampled frames.
    pub spread: SpreadOutcome,
}

/// Opening the subscriber sockets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RampOutcome {
    /// Sockets of the plan that were tried.
    pub attempted: u64,
    /// Sockets that were upgraded.
    pub connected: u64,
    /// Failed tries by kind, those that a retry made good included.
    pub errors: BTreeMap<String, u64>,
    /// From the first try to the last answer; written in seconds.
    #[serde(rename = "elapsed_s", with = "seconds")]
    pub elapsed: Duration,
    /// What the server said, beside the status, to the first socket that it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// The publishers' side, the whole run unless said otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PublisherOutcome {
    /// Publishers connected.
    pub count: u64,
    /// Frames that were due.
    pub intended: u64,
    /// Frames written to their last byte.
    pub sent: u64,
    /// Frames of those sent that were written more than one period after they were due.
    #[serde(default)]
    pub late: u64,
    /// Frames due but not written: the socket ended or never took them.
    pub unsent: u64,
    /// Frames that were not sent as their ticks pass, on purpose. Those withheld are not intended,
    /// those sent twice are so twice.
    #[serde(default)]
    pub deviations: Deviations,
    /// How publisher sockets ended early: close code, `eof`, `reset`, `killed`, …
    pub closes: BTreeMap<String, u64>,
    /// Actual minus intended send instant of measured frames, ns.
    pub slip: SignedHistogram,
    /// Measured frames by the lap in which they were due, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub laps: Vec<u64>,
}

/// How one thread of the generator fared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThreadHealth {
    /// Name, with remarks where the system refused something.
    pub name: String,
    /// Sockets found readable (subscribers) or waits ended (publishers).
    pub wakeups: u64,
    /// Wake-ups that used up the read budget.
    pub budget_hits: u64,
    /// Largest share of a CPU used in a one-second window of the measured phase.
    pub busy_max: f64,
    /// Publishers: how late timed waits ended, ns.
    pub gap: SignedHistogram,
}

impl ThreadHealth {
    /// A thread that has done nothing yet.
    pub fn new(name: String) -> ThreadHealth {
        ThreadHealth {
            name,
            wakeups: 0,
            budget_hits: 0,
            busy_max: 0.0,
            gap: SignedHistogram::new(),
        }
    }
}

/// A duration as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_secs_f64().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
