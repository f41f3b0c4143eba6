//! The tables of a page and its headline numbers: what is in `run.json`, in the words and units of
//! people. Must not lay them out, nor judge.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::clocks;
use crate::report::{CLASS_COLUMNS, LATENCY_COLUMNS};
use crate::units::{format_bytes, format_count, format_exact, format_ns};

use super::document::{Class, Distribution, Document};

/// A number at the top of the page.
#[derive(Debug, PartialEq, Serialize)]
pub struct Headline {
    /// What it is.
    pub name: &'static str,
    /// The number with its unit.
    pub value: String,
    /// Of what, or for how long.
    pub note: String,
}

/// Rows under a header; the first cell of each names it.
#[derive(Debug, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: &'static str,
    /// One for each column; none where rows are name and value.
    pub header: Vec<&'static str>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// What a run comes down to.
pub fn headlines(run: &Document) -> Vec<Headline> {
    let latencies = run.latencies(|class| &class.e2e);
    let at = |quantile: f64| match &latencies {
        Some(latencies) => {
            clocks::within(latencies.value_at_quantile(quantile) as f64, run.clock.bound_ns)
        }
        None => UNKNOWN.to_owned(),
    };
    let telling = run.telling();
    let max = telling.iter().map(|class| class.e2e.max_ns).max().unwrap_or(0);
    let (expected, missing) = (sum(&telling, |class| class.expected), sum(&telling, missing));
    let classes = &run.totals.classes;
    let measured: u64 = classes.iter().map(|class| class.e2e.count).sum();
    let seconds = run.totals.measured_s;
    let cost = &run.efficiency;
    let headline =
        |name, value: String, note: &str| Headline { name, value, note: note.to_owned() };
    vec![
        headline("median", at(0.5), "end to end"),
        headline("p99", at(0.99), "end to end"),
        headline("p99.9", at(0.999), "end to end"),
        headline("maximum", latency(&telling, max), "end to end"),
        headline(
            "deliveries",
            per_s(ratio(measured as f64, seconds)),
            &format!("over {seconds:.0} s"),
        ),
        headline("missing", format_exact(missing), &format!("of {}", format_exact(expected))),
        headline("server CPU", known(cost.cpu_ns_per_delivery, format_ns), "a delivery"),
        headline("memory", known(cost.rss_bytes_per_connection, format_bytes), "a connection"),
    ]
}

/// Latencies at the percentiles people ask for.
pub fn latencies(run: &Document) -> Table {
    let mut rows = Vec::new();
    // What one host saw alone is exact.
    let bound_ns = run.clock.bound_ns;
    for class in &run.totals.classes {
        rows.push(latency_row(&format!("end to end, {}", class.name), &class.e2e, bound_ns));
        rows.push(latency_row(&format!("service, {}", class.name), &class.service, 0));
        if let Some(ticks) = &class.ticks {
            let name = format!("whole tick, {}", class.name);
            rows.push(latency_row(&name, &ticks.latency, bound_ns));
        }
    }
    let spread = &run.totals.spread;
    rows.push(latency_row("spread, first receiver", &spread.first, bound_ns));
    rows.push(latency_row("spread, median receiver", &spread.median, bound_ns));
    rows.push(latency_row("spread, last receiver", &spread.last, bound_ns));
    rows.push(latency_row("schedule slip", &run.totals.publishers.slip, 0));
    Table { title: "Latencies", header: LATENCY_COLUMNS.to_vec(), rows }
}

/// What the sockets of each class received.
pub fn classes(run: &Document) -> Table {
    let header = CLASS_COLUMNS.into_iter().chain(["wire / payload"]).collect();
    Table { title: "Subscribers", header, rows: run.totals.classes.iter().map(class_row).collect() }
}

/// What it took.
pub fn costs(run: &Document) -> Table {
    let cost = &run.efficiency;
    let (publishers, ramp) = (&run.totals.publishers, &run.totals.ramp);
    let of = |part, whole| format!("{} of {}", format_exact(part), format_exact(whole));
    let cpus = |cpus: f64| format!("{cpus:.2}");
    let part = |part: f64| format!("{part:.4}");
    let ramped = format!("{} sockets in {:.2} s", format_exact(ramp.connected), ramp.elapsed_s);
    let rows = [
        ("published of intended", of(publishers.sent, publishers.intended)),
        ("published a period late or more", format_exact(publishers.late)),
        ("deliveries per server core", per_s(cost.deliveries_per_core_s)),
        ("server CPUs busy", known(cost.server_cpus_busy, cpus)),
        ("server context switches", per_s(cost.server_switches_per_s)),
        ("server system calls per delivery", known(cost.syscalls_per_delivery, part)),
        ("server instructions per delivery", known(cost.instructions_per_delivery, format_count)),
        ("server memory", known(cost.server_rss_bytes.map(|bytes| bytes as f64), format_bytes)),
        ("kernel memory per connection", known(cost.kernel_bytes_per_connection, format_bytes)),
        ("generator CPUs busy", known(cost.own_cpus_busy, cpus)),
        ("ticks whole", whole_ticks(run)),
        ("ramp", ramped),
    ];
    pairs("Cost", rows.into_iter().map(|(name, value)| (name.to_owned(), value)))
}

/// Of all classes that follow several publishers of a rate.
fn whole_ticks(run: &Document) -> String {
    let ticks = || run.totals.classes.iter().filter_map(|class| class.ticks.as_ref());
    let (whole, expected): (u64, u64) =
        (ticks().map(|ticks| ticks.whole).sum(), ticks().map(|ticks| ticks.expected).sum());
    match expected {
        0 => UNKNOWN.to_owned(),
        _ => format!("{} of {}", format_exact(whole), format_exact(expected)),
    }
}

/// What went wrong with connections.
pub fn troubles(run: &Document) -> Vec<String> {
    let totals = &run.totals;
    let mut lines = counted("ramp", &totals.ramp.errors);
    lines.extend(counted("publishers closed", &totals.publishers.closes));
    for class in &totals.classes {
        lines.extend(counted(&format!("{} closed", class.name), &class.closes));
    }
    lines
}

/// Names and values of a part of `run.json`, as far as they are known.
pub fn facts(title: &'static str, facts: &Map<String, Value>) -> Table {
    pairs(title, facts.iter().flat_map(|(name, value)| fact(name, value)))
}

fn fact(name: &str, value: &Value) -> Vec<(String, String)> {
    let title = name.replace('_', " ");
    let text = match value {
        Value::Null => return Vec::new(),
        Value::Object(inner) => {
            return inner.iter().flat_map(|(name, value)| fact(name, value)).collect();
        }
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(bytes) if name.ends_with("_bytes") => known(bytes.as_f64(), format_bytes),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
        Value::Number(number) => number.to_string(),
    };
    vec![(title.trim_end_matches(" bytes").to_owned(), text)]
}

fn pairs(title: &'static str, pairs: impl Iterator<Item = (String, String)>) -> Table {
    let rows = pairs.map(|(name, value)| vec![name, value]).collect();
    Table { title, header: Vec::new(), rows }
}

fn latency_row(name: &str, latencies: &Distribution, bound_ns: u64) -> Vec<String> {
    let Distribution { count, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, .. } = latencies;
    let mut row = vec![name.to_owned()];
    row.extend([p50_ns, p90_ns, p99_ns, p999_ns, max_ns].map(|ns| match *count {
        0 => UNKNOWN.to_owned(),
        _ => clocks::within(*ns as f64, bound_ns),
    }));
    row.push(format_exact(*count));
    row
}

fn class_row(class: &Class) -> Vec<String> {
    let counts = [
        class.sockets,
        class.expected,
        class.received,
        missing(class),
        class.duplicated,
        class.reordered,
        class.corrupt,
        class.gap_notices,
        class.left_out,
        class.closes.values().sum(),
    ];
    let names = [class.name.clone(), class.kind.clone(), class.form.clone()];
    let egress = known(class.egress_ratio, |ratio| format!("{ratio:.3}"));
    names.into_iter().chain(counts.map(format_exact)).chain([egress]).collect()
}

fn counted(what: &str, counts: &BTreeMap<String, u64>) -> Vec<String> {
    let line =
        |(name, count): (&String, &u64)| format!("{what}: {} x {name}", format_exact(*count));
    counts.iter().map(line).collect()
}

fn latency(classes: &[&Class], ns: i64) -> String {
    let is_known = classes.iter().any(|class| class.e2e.count > 0);
    if is_known { format_ns(ns as f64) } else { UNKNOWN.to_owned() }
}

fn sum(classes: &[&Class], count: fn(&Class) -> u64) -> u64 {
    classes.iter().map(|class| count(class)).sum()
}

fn missing(class: &Class) -> u64 {
    class.lost + class.lost_after_close
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn per_s(rate: Option<f64>) -> String {
    known(rate, |rate| format!("{}/s", format_count(rate.round())))
}

fn known(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), format)
}

/// What stands where a number was not found.
const UNKNOWN: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::fixtures;

    fn row<'t>(table: &'t Table, name: &str) -> &'t [String] {
        table.rows.iter().find(|row| row[0] == name).unwrap()
    }

    #[test]
    fn headlines_are_of_healthy_subscribers() {
        let mut run = fixtures::document();
        run.totals.classes.push(Class { kind: "stalled".into(), lost: 9, ..Class::default() });
        let found = headlines(&run);
        let value = |name| &found.iter().find(|one| one.name == name).unwrap().value;
        assert_eq!((value("maximum").as_str(), value("missing").as_str()), ("1.12 ms", "0"));
        assert_eq!(
            (value("deliveries").as_str(), value("server CPU").as_str()),
            ("100/s", "3.33 µs")
        );
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let found = headlines(&Document::default());
        let unknown = found.iter().filter(|one| one.value == UNKNOWN).count();
        assert_eq!(unknown, found.len() - 1, "{found:?}");
        assert!(!format!("{found:?}").contains("NaN"));
        assert_eq!(row(&latencies(&Document::default()), "schedule slip")[1], UNKNOWN);
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_header() {
        let run = fixtures::document();
        for table in [latencies(&run), classes(&run)] {
            assert!(table.rows.iter().all(|row| row.len() == table.header.len()), "{table:?}");
        }
        assert_eq!(row(&classes(&run), "dashboard")[5], "600,000");
        assert_eq!(row(&costs(&run), "published of intended")[1], "6,000 of 6,000");
    }

    #[test]
    fn facts_are_flat_and_without_what_is_unknown() {
        let value = serde_json::json!({
            "cpus": 2, "hypervisor": true, "governor": null, "memory_bytes": 1_048_576,
            "sysctls": { "net/core/somaxconn": "4096" }, "generator_cpus": [0, 1],
        });
        let table = facts("Host", value.as_object().unwrap());
        assert_eq!(row(&table, "memory")[1], "1.00 MiB");
        assert_eq!(row(&table, "net/core/somaxconn")[1], "4096");
        assert_eq!(row(&table, "generator cpus")[1], "0, 1");
        assert_eq!((row(&table, "hypervisor")[1].as_str(), table.rows.len()), ("yes", 5));
    }

    #[test]
    fn troubles_are_counted() {
        let mut run = fixtures::document();
        run.totals.ramp.errors.insert("refused".into(), 1_234);
        run.totals.classes[0].closes.insert("4410".into(), 2);
        assert_eq!(troubles(&run), ["ramp: 1,234 x refused", "dashboard closed: 2 x 4410"]);
    }
}
