//! The metrics that runs are compared by: one row for each, with its unit, the better direction,
//! and the smallest change that matters. Must not judge, and reads nothing but `run.json`.

use serde_json::Value;

use crate::time::units::{format_bytes, format_count, format_ns};

/// One metric of a run.
#[derive(Debug)]
pub struct Metric {
    /// Its name on the command line and in files.
    pub key: &'static str,
    /// Its label for people.
    pub title: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Whether more is better.
    pub more_is_better: bool,
    /// The smallest relative change that matters.
    pub effect_min: f64,
    /// Whether it is gated unless `--gate` says otherwise.
    pub is_gated: bool,
    /// Whether it counts the server's work for a load, so that equal servers give equal values and
    /// chance plays no part.
    pub is_count: bool,
    read: fn(&Value) -> Option<f64>,
    is_least: fn(&Value) -> bool,
}

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// Events each second.
    PerSecond,
    /// A plain number.
    One,
}

impl Unit {
    /// Its name in machine formats.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Ns => "ns",
            Unit::Bytes => "bytes",
            Unit::PerSecond => "1/s",
            Unit::One => "1",
        }
    }

    /// A value formatted for people.
    pub fn format(self, value: f64) -> String {
        match self {
            Unit::Ns => format_ns(value),
            Unit::Bytes => format_bytes(value),
            Unit::PerSecond => format!("{}/s", format_count(value)),
            Unit::One => format!("{value:.4}"),
        }
    }
}

/// All metrics, in display order.
pub const METRICS: [Metric; 16] = [
    gated("e2e_p50", "end to end, p50", Unit::Ns, 0.10, |run| latency(run, "e2e", "p50_ns"))
        .censored(|run| is_least(run, "p50_ns")),
    gated("e2e_p99", "end to end, p99", Unit::Ns, 0.10, |run| latency(run, "e2e", "p99_ns"))
        .censored(|run| is_least(run, "p99_ns")),
    gated("e2e_p999", "end to end, p99.9", Unit::Ns, 0.20, |run| latency(run, "e2e", "p999_ns"))
        .censored(|run| is_least(run, "p999_ns"))
        .only_shown(),
    gated("service_p99", "service, p99", Unit::Ns, 0.10, |run| latency(run, "service", "p99_ns"))
        .only_shown(),
    gated("cpu_per_delivery", "server CPU per delivery", Unit::Ns, 0.05, |run| {
        cost(run, "cpu_ns_per_delivery")
    }),
    gated("rss_per_connection", "server memory per connection", Unit::Bytes, 0.10, |run| {
        cost(run, "rss_bytes_per_connection")
    })
    .only_shown(),
    gated("kernel_per_connection", "kernel memory per connection", Unit::Bytes, 0.10, |run| {
        cost(run, "kernel_bytes_per_connection")
    })
    .only_shown(),
    gated(
        "switches_per_delivery",
        "server context switches per delivery",
        Unit::One,
        0.10,
        |run| cost(run, "switches_per_delivery"),
    )
    .only_shown(),
    gated("minor_faults_per_delivery", "server page faults per delivery", Unit::One, 0.10, |run| {
        cost(run, "minor_faults_per_delivery")
    })
    .only_shown(),
    gated("writes_per_delivery", "server writes per delivery", Unit::One, 0.02, |run| {
        counted(run, "writes", "frames_sent")
    })
    .exact(),
    gated("bytes_per_delivery", "server bytes per delivery", Unit::Bytes, 0.01, |run| {
        counted(run, "sent_bytes", "frames_sent")
    })
    .exact(),
    gated("encodes_per_publish", "server encodes per publish", Unit::One, 0.02, |run| {
        counted(run, "encodes", "publishes")
    })
    .exact(),
    gated("syscalls_per_delivery", "server system calls per delivery", Unit::One, 0.02, |run| {
        cost(run, "syscalls_per_delivery")
    })
    .exact(),
    gated("allocations_per_delivery", "server allocations per delivery", Unit::One, 0.02, |run| {
        cost(run, "allocations_per_delivery")
    })
    .exact(),
    gated(
        "instructions_per_delivery",
        "server instructions per delivery",
        Unit::One,
        0.01,
        |run| cost(run, "instructions_per_delivery"),
    )
    .exact(),
    gated("deliveries", "deliveries, measured", Unit::PerSecond, 0.02, deliveries_per_s)
        .better_if_more(),
];

/// The key identifies the metric.
impl PartialEq for Metric {
    fn eq(&self, other: &Metric) -> bool {
        self.key == other.key
    }
}

impl Metric {
    const fn only_shown(self) -> Metric {
        Metric { is_gated: false, ..self }
    }

    const fn better_if_more(self) -> Metric {
        Metric { more_is_better: true, ..self }
    }

    const fn exact(self) -> Metric {
        Metric { is_count: true, ..self }
    }

    const fn censored(self, is_least: fn(&Value) -> bool) -> Metric {
        Metric { is_least, ..self }
    }

    /// The metric with this name.
    pub fn find(key: &str) -> Option<&'static Metric> {
        METRICS.iter().find(|metric| metric.key == key)
    }

    /// Its value in a run; `None` if the run lacks it or no ratio can be formed.
    pub fn of(&self, run: &Value) -> Option<f64> {
        (self.read)(run).filter(|value| value.is_finite() && *value > 0.0)
    }

    /// Whether its value in a run is only a lower bound, because frames were undelivered.
    pub fn is_least(&self, run: &Value) -> bool {
        (self.is_least)(run)
    }
}

const fn gated(
    key: &'static str,
    title: &'static str,
    unit: Unit,
    effect_min: f64,
    read: fn(&Value) -> Option<f64>,
) -> Metric {
    let (more_is_better, is_gated, is_count) = (false, true, false);
    let is_least: fn(&Value) -> bool = |_| false;
    Metric { key, title, unit, more_is_better, effect_min, is_gated, is_count, read, is_least }
}

/// The classes whose latency counts.
fn healthy(run: &Value) -> impl Iterator<Item = &Value> {
    let classes = run["totals"]["classes"].as_array().into_iter().flatten();
    classes.filter(|class| class["kind"] == "healthy")
}

/// The classes with a latency at this quantile: if there are any, those whose sockets stay
/// connected.
fn scored<'r>(run: &'r Value, histogram: &str, quantile: &str) -> Vec<&'r Value> {
    let measured: Vec<_> =
        healthy(run).filter(|class| class[histogram][quantile].is_number()).collect();
    let steady: Vec<_> =
        measured.iter().copied().filter(|class| class["stirred"] != true).collect();
    if steady.is_empty() { measured } else { steady }
}

/// The value of the class with the worst latency.
fn latency(run: &Value, histogram: &str, quantile: &str) -> Option<f64> {
    let classes = scored(run, histogram, quantile).into_iter();
    classes.filter_map(|class| class[histogram][quantile].as_f64()).max_by(f64::total_cmp)
}

/// Whether the end-to-end latency of any of these classes is only a lower bound.
fn is_least(run: &Value, quantile: &str) -> bool {
    let named = |class: &Value| {
        class["e2e"]["at_least"].as_array().is_some_and(|open| open.iter().any(|k| k == quantile))
    };
    scored(run, "e2e", quantile).into_iter().any(named)
}

fn cost(run: &Value, key: &str) -> Option<f64> {
    run["efficiency"][key].as_f64()
}

fn counted(run: &Value, counter: &str, by: &str) -> Option<f64> {
    let counters = &run["server"]["counters"];
    Some(counters[counter].as_f64()? / counters[by].as_f64()?)
}

fn deliveries_per_s(run: &Value) -> Option<f64> {
    let frames: f64 = healthy(run).filter_map(|class| class["e2e"]["count"].as_f64()).sum();
    Some(frames / run["totals"]["measured_s"].as_f64()?)
}

/// Frames that healthy subscribers lost or never got, never asked for, or received twice, damaged
/// or out of order.
pub fn faults(run: &Value) -> u64 {
    let keys = [
        "lost",
        "undelivered",
        "undelivered_after_close",
        // Of results of older versions, which also say `foreign` for `misdelivered`.
        "lost_after_close",
        "misdelivered",
        "foreign",
        "duplicated",
        "reordered",
        "corrupt",
    ];
    let of = |class: &Value| keys.iter().filter_map(|key| class[*key].as_u64()).sum::<u64>();
    healthy(run).map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run() -> Value {
        let class = |kind: &str, p99_ns: u64, lost: u64| {
            let e2e = json!({"count": 500, "p99_ns": p99_ns});
            json!({"kind": kind, "lost": lost, "corrupt": 1, "e2e": e2e})
        };
        let classes = [class("healthy", 7, 2), class("healthy", 9, 0), class("stalled", 99, 50)];
        let counters = json!({"writes": 10, "frames_sent": 40, "encodes": 0, "publishes": 5});
        json!({
            "totals": {"measured_s": 10.0, "classes": classes}, "server": {"counters": counters},
            "efficiency": {
                "cpu_ns_per_delivery": 250.0, "rss_bytes_per_connection": null,
                "syscalls_per_delivery": 1.5,
                "allocations_per_delivery": 0.25,
            },
        })
    }

    #[test]
    fn metrics_are_those_of_healthy_subscribers() {
        let of = |key: &str| Metric::find(key).unwrap().of(&run());
        assert_eq!(of("e2e_p99"), Some(9.0), "the worst of the classes");
        assert_eq!(of("deliveries"), Some(100.0));
        assert_eq!(of("cpu_per_delivery"), Some(250.0));
        assert_eq!(of("writes_per_delivery"), Some(0.25));
        assert_eq!(of("syscalls_per_delivery"), Some(1.5));
        assert_eq!(of("allocations_per_delivery"), Some(0.25));
        assert_eq!(faults(&run()), 4);
    }

    #[test]
    fn what_is_not_told_or_has_no_ratio_is_no_value() {
        for key in [
            "e2e_p50",
            "rss_per_connection",
            "bytes_per_delivery",
            "encodes_per_publish",
            "instructions_per_delivery",
        ] {
            assert_eq!(Metric::find(key).unwrap().of(&run()), None, "{key}");
        }
        assert!(Metric::find("speed").is_none());
    }

    #[test]
    fn names_are_unique() {
        assert!(METRICS.iter().all(|one| Metric::find(one.key) == Some(one)));
    }
}
