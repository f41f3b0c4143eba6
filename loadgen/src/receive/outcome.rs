//! What a run produced: counts and histograms, filled by the data plane, printed by the report.
//! Must not know sockets, threads or files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::form::{Form, Pace};
use crate::plan::departures::Deviations;
use crate::plan::laps;
use crate::plan::laps::LapOutcome;
use crate::plan::plan::ClassPlan;
use crate::receive::histograms::SignedHistogram;
use crate::receive::latency_map;
use crate::receive::latency_map::BucketCounts;
use crate::receive::rates::Rates;
use crate::scenario::attendance::{Attendance, Returns};
use crate::scenario::groups::ClassKind;

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

/// What the sockets of one class received, the whole run unless said otherwise. Always
/// `expected = received + lost + lost_after_close`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClassOutcome {
    /// Name in the plan.
    pub name: String,
    /// How its sockets read; written as its word alone.
    #[serde(with = "kind_word")]
    pub kind: ClassKind,
    /// In which form they get frames.
    #[serde(default)]
    pub form: Form,
    /// Which frames they asked for.
    #[serde(default)]
    pub pace: Pace,
    /// When they are there.
    #[serde(default)]
    pub attendance: Attendance,
    /// Sockets that were connected.
    pub sockets: u64,
    /// Those of them to which the server sends compressed messages.
    #[serde(default)]
    pub deflated_sockets: u64,
    /// Frames these sockets had to receive: all that were published. Of a slow or stalled socket
    /// still open at the end, and of one killed on purpose, only those up to the newest it read:
    /// what waits behind it is unread, not lost.
    pub expected: u64,
    /// Distinct frames received whole.
    pub received: u64,
    /// Frames missing with no close to blame.
    pub lost: u64,
    /// Frames received again.
    pub duplicated: u64,
    /// Frames received after a later one.
    pub reordered: u64,
    /// Messages whose checksum did not hold. The frame that such a message was is missing, too.
    pub corrupt: u64,
    /// Whole frames that this socket should not get, or of no known publisher or run.
    pub foreign: u64,
    /// Gaps the server told of.
    pub gap_notices: u64,
    /// Frames those gaps spanned.
    pub gap_frames: u64,
    /// Times the server told of frames left out because only the newest was asked for.
    #[serde(default)]
    pub conflations: u64,
    /// Frames those spanned.
    #[serde(default)]
    pub conflated_frames: u64,
    /// Frames left out of a feed that was asked for with a rate or for the newest only: not lost.
    #[serde(default)]
    pub left_out: u64,
    /// Envelopes whose number was not above that of the frame before.
    #[serde(default)]
    pub misnumbered: u64,
    /// Frames a second and topic, where a rate was asked for; written as nothing elsewhere.
    #[serde(default, with = "asked_rates")]
    pub rates: Rates,
    /// Frames missing because the server closed the socket before them; see `closes`.
    pub lost_after_close: u64,
    /// How sockets ended early: close code, `eof`, `reset`, `killed`, … A close in order that waits
    /// behind data a stalled socket does not take never reaches it; a reset does.
    pub closes: BTreeMap<String, u64>,
    /// Sockets that left and came back, or came late. What they missed meanwhile is not theirs to
    /// receive.
    #[serde(default, deserialize_with = "or_none")]
    pub returns: Returns,
    /// Bytes taken from the sockets.
    pub bytes: u64,
    /// Bytes of the payloads of frames received.
    #[serde(default)]
    pub payload_bytes: u64,
    /// Read calls that returned bytes.
    pub reads: u64,
    /// Receive minus actual send instant of measured frames, ns.
    pub service: SignedHistogram,
    /// Receive minus intended send instant of measured frames, ns.
    pub e2e: SignedHistogram,
    /// Measured ticks of the grid, where sockets follow several publishers. Its histogram would be
    /// too much where they do not.
    #[serde(default)]
    pub ticks: Option<Box<TickOutcome>>,
    /// Measured frames by the lap in which they were due, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub laps: Vec<LapOutcome>,
}

impl ClassOutcome {
    /// A class of which nothing was heard yet.
    pub fn new(name: String, kind: ClassKind) -> ClassOutcome {
        ClassOutcome {
            name,
            kind,
            form: Form::Raw,
            pace: Pace::default(),
            attendance: Attendance::default(),
            sockets: 0,
            deflated_sockets: 0,
            expected: 0,
            received: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            corrupt: 0,
            foreign: 0,
            gap_notices: 0,
            gap_frames: 0,
            conflations: 0,
            conflated_frames: 0,
            left_out: 0,
            misnumbered: 0,
            rates: Rates::default(),
            lost_after_close: 0,
            closes: BTreeMap::new(),
            returns: Returns::default(),
            bytes: 0,
            payload_bytes: 0,
            reads: 0,
            service: SignedHistogram::new(),
            e2e: SignedHistogram::new(),
            ticks: None,
            laps: Vec::new(),
        }
    }

    /// A class of a plan.
    pub fn of(plan: &ClassPlan) -> ClassOutcome {
        let class = ClassOutcome::new(plan.name.clone(), plan.kind);
        ClassOutcome { form: plan.form, pace: plan.pace, attendance: plan.attendance, ..class }
    }

    /// The rate that healthy sockets asked for.
    pub fn asked_rate(&self) -> Option<u32> {
        self.pace.rate.filter(|_| self.kind == ClassKind::Healthy)
    }

    /// Bytes on the wire per byte of payload.
    pub fn egress_ratio(&self) -> Option<f64> {
        (self.payload_bytes > 0).then(|| self.bytes as f64 / self.payload_bytes as f64)
    }

    /// Adds what another thread saw of the same class.
    pub fn merge(&mut self, other: &ClassOutcome) {
        self.sockets += other.sockets;
        self.deflated_sockets += other.deflated_sockets;
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.gap_notices += other.gap_notices;
        self.gap_frames += other.gap_frames;
        self.conflations += other.conflations;
        self.conflated_frames += other.conflated_frames;
        self.left_out += other.left_out;
        self.misnumbered += other.misnumbered;
        self.rates.merge(&other.rates);
        self.lost_after_close += other.lost_after_close;
        merge_counts(&mut self.closes, &other.closes);
        self.returns.merge(&other.returns);
        self.bytes += other.bytes;
        self.payload_bytes += other.payload_bytes;
        self.reads += other.reads;
        self.service.merge(&other.service);
        self.e2e.merge(&other.e2e);
        if let Some(ticks) = &other.ticks {
            self.ticks.get_or_insert_default().merge(ticks);
        }
        laps::merge(&mut self.laps, &other.laps);
    }
}

/// Ticks: all frames that publishers of one rate sent for one instant, at one socket.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TickOutcome {
    /// Ticks that could have been whole: all of their frames were published.
    pub expected: u64,
    /// Ticks that were, each within 64 periods.
    pub whole: u64,
    /// Arrival of the last frame of a whole tick minus the tick's instant, ns.
    pub latency: SignedHistogram,
}

impl TickOutcome {
    fn merge(&mut self, other: &TickOutcome) {
        self.expected += other.expected;
        self.whole += other.whole;
        self.latency.merge(&other.latency);
    }

    /// The share of ticks that were whole, if there were any.
    pub fn share(&self) -> Option<f64> {
        (self.expected > 0).then(|| self.whole as f64 / self.expected as f64)
    }
}

/// Time from the sending of a sampled frame until the first, the median and the last healthy
/// subscriber had it, ns.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SpreadOutcome {
    /// Frames sampled.
    pub sampled: u64,
    /// First receiver.
    pub first: SignedHistogram,
    /// Median receiver.
    pub median: SignedHistogram,
    /// Last receiver.
    pub last: SignedHistogram,
}

impl SpreadOutcome {
    /// Adds what another run sampled.
    pub fn merge(&mut self, other: &SpreadOutcome) {
        self.sampled += other.sampled;
        self.first.merge(&other.first);
        self.median.merge(&other.median);
        self.last.merge(&other.last);
    }
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

/// One second of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Seconds since the start.
    pub t_s: u32,
    /// Frames published in it.
    pub sent: u64,
    /// Frames received in it, all classes.
    pub received: u64,
    /// Median end-to-end latency of frames received in it, ns, all classes.
    pub e2e_p50_ns: i64,
    /// 99th percentile.
    pub e2e_p99_ns: i64,
    /// Largest.
    pub e2e_max_ns: i64,
    /// All of these latencies in buckets; on long runs those of the seconds that follow, too, and
    /// those seconds have none.
    #[serde(with = "latency_map::pairs")]
    pub e2e_counts: BucketCounts,
    /// Frames jumped over in it by sockets that are to get all, all classes.
    pub missing: u64,
    /// Gaps the server told of in it, those by conflation aside.
    pub gaps: u64,
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

/// How sockets read, without at which rate.
mod kind_word {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::scenario::groups::ClassKind;

    pub fn serialize<S: Serializer>(value: &ClassKind, serializer: S) -> Result<S::Ok, S::Error> {
        value.name().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClassKind, D::Error> {
        let word = String::deserialize(deserializer)?;
        let kinds = [
            ClassKind::Healthy,
            ClassKind::Slow { bytes_per_s: 0 },
            ClassKind::Stalled,
            ClassKind::Pausing { pause: Duration::ZERO, every: Duration::ZERO },
        ];
        let known = kinds.into_iter().find(|kind| kind.name() == word);
        known.ok_or_else(|| D::Error::custom(format!("`{word}` is no kind of subscriber")))
    }
}

/// What is not written where there is nothing.
fn or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Returns, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Rates that nobody asked for are not written.
mod asked_rates {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::receive::rates::Rates;

    pub fn serialize<S: Serializer>(value: &Rates, serializer: S) -> Result<S::Ok, S::Error> {
        (value.topics > 0).then_some(value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rates, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}

/// Adds counts by name.
pub fn merge_counts(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *into.entry(name.clone()).or_default() += count;
    }
}
