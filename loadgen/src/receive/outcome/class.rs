//! What the sockets of one class received. Must not know sockets, threads or files.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

use crate::codec::form::{Form, Pace};
use crate::plan::class::ClassPlan;
use crate::plan::laps::Laps;
use crate::receive::censored::Censored;
use crate::receive::histograms::{SignedHistogram, merge_some};
use crate::receive::outcome::counts::merge_counts;
use crate::receive::outcome::lap;
use crate::receive::outcome::lap::LapOutcome;
use crate::receive::outcome::returns::Returns;
use crate::receive::rates::Rates;
use crate::scenario::groups::ClassKind;
use crate::scenario::lifecycle::Lifecycle;

/// What the sockets of one class received, the whole run unless said otherwise. Always
/// `expected = received + lost + undelivered + undelivered_after_close`. Results of older versions
/// have `undelivered` within `lost`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClassOutcome {
    /// Name in the plan.
    pub name: String,
    /// How its sockets read; written as its name alone.
    #[serde(with = "kind_word")]
    pub kind: ClassKind,
    /// In which form they get frames.
    #[serde(default)]
    pub form: Form,
    /// Which frames they asked for.
    #[serde(default)]
    pub pace: Pace,
    /// When they are connected.
    #[serde(default, rename = "attendance")]
    pub lifecycle: Lifecycle,
    /// Sockets that were connected.
    pub sockets: u64,
    /// Sockets on which the server sends compressed messages.
    #[serde(default)]
    pub deflated_sockets: u64,
    /// Frames these sockets had to receive: all that were published. Of a slow or stalled socket
    /// still open at the end, and of one killed on purpose, only those up to the newest it read:
    /// what waits behind it is unread, not lost.
    pub expected: u64,
    /// Distinct frames received whole.
    pub received: u64,
    /// Frames missing below the newest frame received: later ones came, these did not.
    pub lost: u64,
    /// Frames above the newest frame received that had not come by the end of the drain, of sockets
    /// that were still open.
    #[serde(default)]
    pub undelivered: u64,
    /// Topics that delivered nothing although frames were published, of sockets that were open to
    /// the end; sockets that connected during the run are in `returns`.
    #[serde(default)]
    pub unserved: u64,
    /// Frames received again.
    pub duplicated: u64,
    /// Frames received after a later one.
    pub reordered: u64,
    /// Messages with a wrong checksum. The frames in them count as missing, too.
    pub corrupt: u64,
    /// Whole frames that this socket never asked for: of a publisher that it does not follow, on
    /// the channel of another, or of no publisher of this run.
    #[serde(alias = "foreign")]
    pub misdelivered: u64,
    /// Gaps that the server reported.
    pub gap_notices: u64,
    /// Frames missing in those gaps, as far as the server counted them.
    pub gap_frames: u64,
    /// Gaps the server reported because only the newest frame was asked for.
    #[serde(default)]
    pub conflations: u64,
    /// Frames missing in those gaps, as far as the server counted them.
    #[serde(default)]
    pub conflated_frames: u64,
    /// Frames left out of a feed that was asked for with a rate or for the newest only: not lost.
    #[serde(default)]
    pub left_out: u64,
    /// Envelopes whose number was not above that of the frame before.
    #[serde(default)]
    pub misnumbered: u64,
    /// Frames per second and topic, if a rate was asked for; not written otherwise.
    #[serde(default, with = "asked_rates")]
    pub rates: Rates,
    /// Frames above the newest frame received of sockets that the server closed; see `closes`.
    #[serde(default, alias = "lost_after_close")]
    pub undelivered_after_close: u64,
    /// How sockets ended early: close code, `eof`, `reset`, `killed`, … A close in order that waits
    /// behind data a stalled socket does not take never reaches it; a reset does.
    pub closes: BTreeMap<String, u64>,
    /// Sockets that reconnected or joined late. Frames from while they were away are not expected.
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
    /// The ages of undelivered measured frames at the end of the drain, ns: lower bounds of their
    /// latencies.
    #[serde(default)]
    pub waiting: Option<Box<SignedHistogram>>,
    /// Measured ticks of the grid, if sockets follow several publishers; otherwise the histogram
    /// would waste memory.
    #[serde(default)]
    pub ticks: Option<Box<TickOutcome>>,
    /// Measured frames by the lap in which they were due, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub laps: Vec<LapOutcome>,
}

impl ClassOutcome {
    /// A class that has received nothing yet.
    pub fn new(name: String, kind: ClassKind) -> ClassOutcome {
        ClassOutcome {
            name,
            kind,
            form: Form::Raw,
            pace: Pace::default(),
            lifecycle: Lifecycle::default(),
            sockets: 0,
            deflated_sockets: 0,
            expected: 0,
            received: 0,
            lost: 0,
            undelivered: 0,
            unserved: 0,
            duplicated: 0,
            reordered: 0,
            corrupt: 0,
            misdelivered: 0,
            gap_notices: 0,
            gap_frames: 0,
            conflations: 0,
            conflated_frames: 0,
            left_out: 0,
            misnumbered: 0,
            rates: Rates::default(),
            undelivered_after_close: 0,
            closes: BTreeMap::new(),
            returns: Returns::default(),
            bytes: 0,
            payload_bytes: 0,
            reads: 0,
            service: SignedHistogram::new(),
            e2e: SignedHistogram::new(),
            waiting: None,
            ticks: None,
            laps: Vec::new(),
        }
    }

    /// A class of a plan.
    pub fn of(plan: &ClassPlan) -> ClassOutcome {
        let class = ClassOutcome::new(plan.name.clone(), plan.kind);
        ClassOutcome { form: plan.form, pace: plan.pace, lifecycle: plan.lifecycle, ..class }
    }

    /// The rate that healthy sockets asked for.
    pub fn asked_rate(&self) -> Option<u32> {
        self.pace.rate.filter(|_| self.kind == ClassKind::Healthy)
    }

    /// Bytes on the wire per byte of payload.
    pub fn egress_ratio(&self) -> Option<f64> {
        (self.payload_bytes > 0).then(|| self.bytes as f64 / self.payload_bytes as f64)
    }

    /// Frames that had not arrived by the end of the drain, whether or not the socket was open.
    pub fn tail(&self) -> u64 {
        self.undelivered + self.undelivered_after_close
    }

    /// End-to-end latencies; those of undelivered frames are lower bounds.
    pub fn latencies(&self) -> Censored {
        Censored::of(&self.e2e, self.waiting.as_deref())
    }

    /// Records the age of a measured frame of a lap for so many sockets that had not received it.
    pub fn note_waiting(&mut self, lap: u16, age_ns: i64, sockets: u64) {
        self.waiting.get_or_insert_default().record_many(age_ns, sockets);
        if let Some(lap) = self.laps.get_mut(usize::from(lap)) {
            lap.waiting.get_or_insert_default().record_many(age_ns, sockets);
        }
    }

    /// Adds what another thread saw of the same class.
    pub fn merge(&mut self, other: &ClassOutcome) {
        self.sockets += other.sockets;
        self.deflated_sockets += other.deflated_sockets;
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.undelivered += other.undelivered;
        self.unserved += other.unserved;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misdelivered += other.misdelivered;
        self.gap_notices += other.gap_notices;
        self.gap_frames += other.gap_frames;
        self.conflations += other.conflations;
        self.conflated_frames += other.conflated_frames;
        self.left_out += other.left_out;
        self.misnumbered += other.misnumbered;
        self.rates.merge(&other.rates);
        self.undelivered_after_close += other.undelivered_after_close;
        merge_counts(&mut self.closes, &other.closes);
        self.returns.merge(&other.returns);
        self.bytes += other.bytes;
        self.payload_bytes += other.payload_bytes;
        self.reads += other.reads;
        self.service.merge(&other.service);
        self.e2e.merge(&other.e2e);
        merge_some(&mut self.waiting, other.waiting.as_deref());
        if let Some(ticks) = &other.ticks {
            self.ticks.get_or_insert_default().merge(ticks);
        }
        lap::merge(&mut self.laps, &other.laps);
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

/// How sockets read, without the rate.
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

/// Values that are not written if they are empty.
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

/// Counts the sockets of each class lap by lap; `joined` has the class and the instant of those
/// that connected during the run.
pub fn count_sockets(classes: &mut [ClassOutcome], joined: &[(u16, u64)], laps: &Laps) {
    for (number, class) in (0u16..).zip(classes) {
        let of_class = joined.iter().filter(|(class, _)| *class == number);
        let came: Vec<u16> = of_class.map(|(_, came_ns)| laps.at(*came_ns)).collect();
        let ramped = class.sockets.saturating_sub(came.len() as u64);
        for (number, lap) in (0u16..).zip(&mut class.laps) {
            lap.sockets = ramped + came.iter().filter(|came| **came <= number).count() as u64;
        }
    }
}
