//! What aggregates count. Owns the families and their labels. Must not aggregate.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::machine::Counts;

/// The families of all aggregates. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    messages: Family<Name, Counter>,
    results: Family<Name, Counter>,
    dropped: Family<Reason, Counter>,
    open: Family<Name, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Name {
    aggregate: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    aggregate: String,
    reason: &'static str,
}

impl Metrics {
    /// Puts the families into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let messages = self.messages.clone();
        registry.register("aggregate_messages", "Messages that an aggregate took", messages);
        let results = self.results.clone();
        registry.register("aggregate_results", "Results that an aggregate published", results);
        registry.register(
            "aggregate_dropped",
            "Messages, numbers or results that an aggregate left out, by reason",
            self.dropped.clone(),
        );
        let help = "Topics of windows that are not over";
        registry.register("aggregate_open", help, self.open.clone());
    }

    /// The counters of one aggregate.
    #[must_use]
    pub fn of(&self, aggregate: &str) -> Counters {
        let name = Name { aggregate: aggregate.to_owned() };
        let of_machine = Counts::default().dropped().map(|(reason, _)| reason);
        for reason in of_machine.into_iter().chain(["refused", "retention", "topic_too_long"]) {
            // Made, and at zero: an alert sees the first only where zero came before.
            drop(self.dropped.get_or_create(&Reason { aggregate: aggregate.to_owned(), reason }));
        }
        Counters {
            messages: self.messages.get_or_create_owned(&name),
            results: self.results.get_or_create_owned(&name),
            open: self.open.get_or_create_owned(&name),
            dropped: self.dropped.clone(),
            name,
            told: Counts::default(),
        }
    }
}

/// The counters of one aggregate.
#[derive(Debug)]
pub struct Counters {
    messages: Counter,
    /// Results that were published.
    pub results: Counter,
    open: Gauge,
    dropped: Family<Reason, Counter>,
    name: Name,
    told: Counts,
}

impl Counters {
    /// Brings what is shown up to what the machine has counted.
    pub fn show(&mut self, counts: Counts, open: usize) {
        self.messages.inc_by(counts.taken - self.told.taken);
        self.open.set(open as i64);
        for ((reason, now), (_, before)) in counts.dropped().into_iter().zip(self.told.dropped()) {
            self.drop(reason, now - before);
        }
        self.told = counts;
    }

    /// Counts what is left out for one of few reasons.
    pub fn drop(&self, reason: &'static str, count: u64) {
        if count > 0 {
            let aggregate = self.name.aggregate.clone();
            self.dropped.get_or_create(&Reason { aggregate, reason }).inc_by(count);
        }
    }
}
