//! What groups count. Owns the families and their labels: of groups, and never of topics, whose
//! number nobody bounds over time. Must not count by itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::aligner::Arrival;

/// The families of all groups. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    ticks: Family<Ticks, Counter>,
    arrivals: Family<Arrivals, Counter>,
    missing: Family<Group, Counter>,
    members: Family<Group, Gauge>,
    delay_seconds: Family<Group, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Group {
    group: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ticks {
    group: String,
    complete: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Arrivals {
    group: String,
    outcome: &'static str,
}

/// From a millisecond to what only satellites and storms need.
const DELAYS_S: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 60.0];

/// What becomes of messages that no tick has.
const OUTCOMES: [&str; 7] =
    ["ahead", "late", "missed", "no_room", "refused", "twice", "unreadable"];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            ticks: Family::default(),
            arrivals: Family::default(),
            missing: Family::default(),
            members: Family::default(),
            delay_seconds: Family::new_with_constructor(|| Histogram::new(DELAYS_S)),
        }
    }
}

impl Metrics {
    /// Puts the families into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("align_ticks", "Ticks that a group sent", self.ticks.clone());
        let help = "Messages that came for a group, by what became of them";
        registry.register("align_arrivals", help, self.arrivals.clone());
        let help = "Members that ticks lack, which each tick names";
        registry.register("align_missing", help, self.missing.clone());
        registry.register("align_members", "Members of a group", self.members.clone());
        let help = "Time from an instant to its tick";
        registry.register("align_delay_seconds", help, self.delay_seconds.clone());
    }

    /// The counters of one group.
    #[must_use]
    pub fn of(&self, group: &str) -> Counters {
        let ticks = |complete| Ticks { group: group.to_owned(), complete };
        let label = Group { group: group.to_owned() };
        for outcome in OUTCOMES {
            // Made, and at zero: an alert sees the first only where zero came before.
            drop(self.arrivals.get_or_create(&Arrivals { group: group.to_owned(), outcome }));
        }
        Counters {
            complete: self.ticks.get_or_create_owned(&ticks("true")),
            incomplete: self.ticks.get_or_create_owned(&ticks("false")),
            missing: self.missing.get_or_create_owned(&label),
            members: self.members.get_or_create_owned(&label),
            delay_seconds: self.delay_seconds.get_or_create_owned(&label),
            held: self
                .arrivals
                .get_or_create_owned(&Arrivals { group: group.to_owned(), outcome: "held" }),
            metrics: self.clone(),
            group: group.to_owned(),
        }
    }
}

/// The counters of one group.
#[derive(Clone, Debug)]
pub struct Counters {
    complete: Counter,
    incomplete: Counter,
    missing: Counter,
    members: Gauge,
    delay_seconds: Histogram,
    held: Counter,
    metrics: Metrics,
    group: String,
}

impl Counters {
    /// Counts a message.
    pub fn arrival(&self, arrival: Arrival) {
        let outcome = match arrival {
            Arrival::Held => {
                self.held.inc();
                return;
            }
            Arrival::Late => "late",
            Arrival::Ahead => "ahead",
            Arrival::Twice => "twice",
            Arrival::NoRoom => "no_room",
        };
        self.arrivals(outcome, 1);
    }

    /// Counts messages that no tick had.
    pub fn arrivals(&self, outcome: &'static str, messages: u64) {
        let label = Arrivals { group: self.group.clone(), outcome };
        self.metrics.arrivals.get_or_create(&label).inc_by(messages);
    }

    /// Counts a tick that lacks so many of the members.
    pub fn tick(&self, missing: usize, members: usize, delay_ns: u64) {
        let of = if missing == 0 { &self.complete } else { &self.incomplete };
        of.inc();
        self.missing.inc_by(missing as u64);
        self.members.set(members as i64);
        self.delay_seconds.observe(delay_ns as f64 * 1e-9);
    }
}
