//! What bridges count. Owns the families and their labels. Must not know kinds.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The families of all bridges. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    up: Family<Name, Gauge>,
    sessions: Family<Name, Counter>,
    messages: Family<Way, Counter>,
    bytes: Family<Way, Counter>,
    errors: Family<Reason, Counter>,
    dropped: Family<Reason, Counter>,
    frames: Family<Frame, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Name {
    bridge: String,
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Way {
    bridge: String,
    kind: String,
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    bridge: String,
    kind: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Frame {
    bridge: String,
    kind: String,
    r#type: &'static str,
}

/// What bridges of every kind may drop, and what errors they may count; a kind adds its own words
/// when they first happen.
const DROPPED: [&str; 4] = ["refused", "retention", "unacknowledged", "unavailable"];
/// See there.
const ERRORS: [&str; 4] = ["closed", "connect", "gap", "refused"];

impl Metrics {
    /// Puts the families into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("bridge_up", "Whether a bridge is connected", self.up.clone());
        registry.register(
            "bridge_sessions",
            "Times that a bridge was connected",
            self.sessions.clone(),
        );
        registry.register(
            "bridge_messages",
            "Messages that came in or went out by a bridge",
            self.messages.clone(),
        );
        registry.register("bridge_bytes", "Bytes of their payloads", self.bytes.clone());
        registry.register(
            "bridge_errors",
            "What a bridge could not use, or why it was cut off",
            self.errors.clone(),
        );
        registry.register(
            "bridge_dropped",
            "Messages that a bridge did not pass on",
            self.dropped.clone(),
        );
        registry.register(
            "bridge_frames",
            "Whole frames that came in, by their type",
            self.frames.clone(),
        );
    }

    /// The counters of one bridge.
    #[must_use]
    pub fn of(&self, bridge: &str, kind: &str) -> Counters {
        let name = Name { bridge: bridge.to_owned(), kind: kind.to_owned() };
        let of = |reason| Reason { bridge: bridge.to_owned(), kind: kind.to_owned(), reason };
        // Made, and at zero: an alert sees the first only where zero came before.
        for reason in DROPPED {
            drop(self.dropped.get_or_create(&of(reason)));
        }
        for reason in ERRORS {
            drop(self.errors.get_or_create(&of(reason)));
        }
        let way = |direction| Way { bridge: bridge.to_owned(), kind: kind.to_owned(), direction };
        Counters {
            up: self.up.get_or_create_owned(&name),
            sessions: self.sessions.get_or_create_owned(&name),
            taken_in: Flow::new(self, &way("in")),
            sent_out: Flow::new(self, &way("out")),
            metrics: self.clone(),
            name,
        }
    }
}

/// Messages and bytes of one direction.
#[derive(Clone, Debug)]
pub struct Flow {
    messages: Counter,
    bytes: Counter,
}

impl Flow {
    fn new(metrics: &Metrics, way: &Way) -> Self {
        Self {
            messages: metrics.messages.get_or_create_owned(way),
            bytes: metrics.bytes.get_or_create_owned(way),
        }
    }

    /// Counts a message with a payload of so many bytes.
    pub fn add(&self, bytes: usize) {
        self.messages.inc();
        self.bytes.inc_by(bytes as u64);
    }

    /// Messages so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages.get()
    }
}

/// The counters of one bridge.
#[derive(Clone, Debug)]
pub struct Counters {
    /// 1 while it is connected.
    pub up: Gauge,
    /// Times it was connected.
    pub sessions: Counter,
    /// What came in.
    pub taken_in: Flow,
    /// What went out.
    pub sent_out: Flow,
    metrics: Metrics,
    name: Name,
}

impl Counters {
    /// Counts something that could not be used; `reason` is one of few words.
    pub fn error(&self, reason: &'static str) {
        self.metrics.errors.get_or_create(&self.reason(reason)).inc();
    }

    /// Counts messages that are not passed on; `reason` is one of few words.
    pub fn dropped(&self, reason: &'static str, messages: u64) {
        self.metrics.dropped.get_or_create(&self.reason(reason)).inc_by(messages);
    }

    /// The counter of frames of one type; `type` is one of few words.
    #[must_use]
    pub fn frames(&self, r#type: &'static str) -> Counter {
        let Name { bridge, kind } = self.name.clone();
        self.metrics.frames.get_or_create_owned(&Frame { bridge, kind, r#type })
    }

    fn reason(&self, reason: &'static str) -> Reason {
        let Name { bridge, kind } = self.name.clone();
        Reason { bridge, kind, reason }
    }
}
