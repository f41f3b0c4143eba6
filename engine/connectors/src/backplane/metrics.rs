//! What a node's part of the back-plane counts. Owns the families and their labels. Must not know
//! when anything happens.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why gaps were told, each from the start: an alert sees the first only where zero came before.
const GAP_REASONS: [&str; 7] =
    ["damaged", "epoch", "expired", "refused", "relay", "retention", "unknown"];
/// The errors that this folder counts, those of the way to the other system left out.
const ERROR_REASONS: [&str; 8] =
    ["closed", "forked", "frames", "jump", "refused", "replaced", "shards", "shorter"];

/// Clones share their counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether this node is connected and reads what the others send.
    pub up: Gauge,
    /// Times that it was.
    pub sessions: Counter,
    /// What this node has sent, each batch once.
    pub sent: Flow,
    /// What it has read that others, or it, have sent.
    pub read: Flow,
    /// Frames that the log holds and this node has not applied, by what batches hold.
    pub lag_frames: Gauge,
    /// Age of the batch that was read last, when it was read.
    pub lag_ms: Gauge,
    /// Nodes that were heard of in the last ten seconds, in a relay.
    pub peers: Gauge,
    /// Batches that were sent again.
    pub resends: Counter,
    /// Batches and frames that came again and were dropped.
    pub duplicates: Counter,
    /// Times that this node raised the epoch.
    pub epochs_raised: Counter,
    gaps: Family<Reason, Counter>,
    gap_frames: Family<Reason, Counter>,
    errors: Family<Reason, Counter>,
}

/// What goes one way.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    batches: Counter,
    bytes: Counter,
    frames: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Flow {
    /// Counts a batch with its frames.
    pub fn add(&self, bytes: usize, frames: usize) {
        self.add_batch(bytes);
        self.frames.inc_by(frames as u64);
    }

    /// Counts a batch whose frames were counted.
    pub fn add_batch(&self, bytes: usize) {
        self.batches.inc();
        self.bytes.inc_by(bytes as u64);
    }

    /// Counts a frame.
    pub fn add_frame(&self) {
        self.frames.inc();
    }

    fn register(&self, registry: &mut Registry, word: &str, what: &str) {
        let mut add = |name: &str, help: &str, counter: &Counter| {
            let name = format!("backplane_{word}_{name}");
            registry.register(name, format!("{help} that this node has {what}"), counter.clone());
        };
        add("batches", "Batches", &self.batches);
        add("bytes", "Bytes of batches", &self.bytes);
        add("frames", "Frames", &self.frames);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let family = |reasons: &[&'static str]| {
            let family = Family::<Reason, Counter>::default();
            reasons.iter().for_each(|&reason| drop(family.get_or_create(&Reason { reason })));
            family
        };
        Self {
            up: Gauge::default(),
            sessions: Counter::default(),
            sent: Flow::default(),
            read: Flow::default(),
            lag_frames: Gauge::default(),
            lag_ms: Gauge::default(),
            peers: Gauge::default(),
            resends: Counter::default(),
            duplicates: Counter::default(),
            epochs_raised: Counter::default(),
            gaps: family(&GAP_REASONS),
            gap_frames: family(&GAP_REASONS),
            errors: family(&ERROR_REASONS),
        }
    }
}

impl Metrics {
    /// Counts a gap that was told: of so many frames, as far as that is known.
    pub fn gap(&self, reason: &'static str, frames: u64) {
        self.gaps.get_or_create(&Reason { reason }).inc();
        self.gap_frames.get_or_create(&Reason { reason }).inc_by(frames);
    }

    /// Counts an error, or why a session ended.
    pub fn error(&self, reason: &'static str) {
        self.errors.get_or_create(&Reason { reason }).inc();
    }

    /// Puts the families into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("up", "Whether this node is connected to the back-plane", &self.up),
            ("lag_frames", "Frames of the log that are not applied yet, about", &self.lag_frames),
            ("lag_ms", "Age of the batch that was read last, by both nodes' clocks", &self.lag_ms),
            ("peers", "Nodes heard of in the last ten seconds (relay)", &self.peers),
        ];
        for (name, help, gauge) in gauges {
            registry.register(format!("backplane_{name}"), help, gauge.clone());
        }
        self.sent.register(registry, "sent", "sent");
        self.read.register(registry, "read", "read");
        let counters = [
            ("sessions", "Times that this node was connected", &self.sessions),
            ("resends", "Batches that were sent again", &self.resends),
            ("duplicates", "Batches and frames that came again", &self.duplicates),
            ("epochs_raised", "Times that this node raised the epoch", &self.epochs_raised),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("backplane_{name}"), help, counter.clone());
        }
        self.register_reasons(registry);
    }

    fn register_reasons(&self, registry: &mut Registry) {
        let families = [
            ("gaps", "Gaps that subscribers were told of", &self.gaps),
            ("gap_frames", "Frames in them, as far as known", &self.gap_frames),
            ("errors", "What could not be used, and why sessions ended", &self.errors),
        ];
        for (name, help, family) in families {
            registry.register(format!("backplane_{name}"), help, family.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn page() -> String {
        let (mut registry, mut page) = (Registry::default(), String::new());
        Metrics::default().register(&mut registry);
        encode(&mut page, &registry).unwrap();
        page
    }

    #[test]
    fn every_help_text_is_a_sentence_with_one_end() {
        let page = page();
        let helps = page.lines().filter(|line| line.starts_with("# HELP "));
        let helps: Vec<&str> = helps.collect();
        assert!(helps.len() > 10 && helps.iter().all(|help| help.ends_with('.')), "{page}");
        assert!(!page.contains(".."), "{page}");
    }

    #[test]
    fn reasons_are_there_before_anything_happens() {
        let page = page();
        for series in [
            "backplane_gaps_total{reason=\"retention\"} 0",
            "backplane_gap_frames_total{reason=\"relay\"} 0",
            "backplane_errors_total{reason=\"forked\"} 0",
        ] {
            assert!(page.contains(series), "{series} in\n{page}");
        }
    }
}
