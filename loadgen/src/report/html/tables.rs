//! The tables of a page and its headline numbers: the values of `run.json` with labels and units.
//! Must not lay them out, nor judge.

use std::collections::BTreeMap;
use std::iter;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::observe::clocks;
use crate::receive::censored::Latency;
use crate::receive::outcome::Totals;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::returns::Returns;
use crate::report::html::document::Document;
use crate::report::lap_table::LAP_COLUMNS;
use crate::report::text::{CLASS_COLUMNS, LATENCY_COLUMNS};
use crate::report::{lap_table, text};
use crate::time::units::{format_bytes, format_count, format_exact, format_ns};

/// A number at the top of the page.
#[derive(Debug, PartialEq, Serialize)]
pub struct Headline {
    /// The name of the number.
    pub name: &'static str,
    /// The number with its unit.
    pub value: String,
    /// A note: what it refers to, or for how long.
    pub note: String,
}

/// Rows under a header; the first cell of each row names it.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The title.
    pub title: &'static str,
    /// One header per column; empty if rows are just name and value.
    pub header: Vec<&'static str>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// The most important numbers of a run.
pub fn headlines(run: &Document) -> Vec<Headline> {
    let latencies = run.latencies(|class| &class.e2e);
    let at = |quantile: f64| match (latencies.is_empty(), latencies.quantile(quantile)) {
        (true, _) => UNKNOWN.to_owned(),
        (_, Latency { ns, is_least }) => clocks::latency(ns, is_least, run.clock.bound_ns),
    };
    let scored = run.scored();
    let expected = sum(&scored, |class| class.expected);
    let lost = sum(&scored, |class| class.lost);
    let tail = sum(&scored, ClassOutcome::tail);
    let classes = &run.totals.classes;
    let measured: u64 = classes.iter().map(|class| class.e2e.len()).sum();
    let seconds = run.totals.measured_s;
    let cost = &run.efficiency;
    let headline =
        |name, value: String, note: &str| Headline { name, value, note: note.to_owned() };
    vec![
        headline("median", at(0.5), "end to end"),
        headline("p99", at(0.99), "end to end"),
        headline("p99.9", at(0.999), "end to end"),
        headline("maximum", at(1.0), "end to end"),
        headline(
            "deliveries",
            per_s(ratio(measured as f64, seconds)),
            &format!("over {seconds:.0} s"),
        ),
        headline("lost", format_exact(lost), &format!("of {}", format_exact(expected))),
        headline("undelivered", format_exact(tail), "by the end of the drain"),
        headline("server CPU", known(cost.cpu_ns_per_delivery, format_ns), "a delivery"),
        headline("memory", known(cost.rss_bytes_per_connection, format_bytes), "a connection"),
    ]
}

/// Latencies at the usual percentiles.
pub fn latencies(run: &Document) -> Table {
    let Totals { classes, spread, publishers, .. } = &run.totals;
    let rows = text::latency_rows(classes, spread, &publishers.slip, run.clock.bound_ns);
    Table { title: "Latencies", header: LATENCY_COLUMNS.to_vec(), rows }
}

/// The parts of the measured phase, if there are several.
pub fn laps(run: &Document) -> Table {
    let rows = run.laps.iter().map(|row| lap_table::cells(row, run.clock.bound_ns)).collect();
    Table { title: "Laps", header: LAP_COLUMNS.to_vec(), rows }
}

/// What the sockets of each class received.
pub fn classes(run: &Document) -> Table {
    let header = CLASS_COLUMNS.into_iter().chain(["wire / payload"]).collect();
    let egress = |class: &ClassOutcome| known(class.egress_ratio(), |ratio| format!("{ratio:.3}"));
    let row = |class| text::class_row(class).into_iter().chain([egress(class)]).collect();
    Table { title: "Subscribers", header, rows: run.totals.classes.iter().map(row).collect() }
}

/// What publishers and sockets did on purpose, if anything.
pub fn purposes(run: &Document) -> Vec<Table> {
    let Totals { publishers, classes, .. } = &run.totals;
    let deviations = text::deviations(&publishers.deviations);
    let deviations = deviations.map(|(what, count)| (what.to_owned(), format_exact(count)));
    let returned = classes.iter().filter(|class| !class.returns.is_empty());
    let rows = returned.map(|class| {
        let counts = text::returns(&class.returns).map(|(_, count)| format_exact(count));
        iter::once(class.name.clone()).chain(counts).collect()
    });
    let names = text::returns(&Returns::default()).map(|(what, _)| what);
    let header = iter::once("class").chain(names).collect();
    let title = "Sockets that left and came back, or came late";
    let tables = [
        pairs("Frames that publishers treated otherwise on purpose", deviations),
        Table { title, header, rows: rows.collect() },
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// The costs of the run.
pub fn costs(run: &Document) -> Table {
    let cost = &run.efficiency;
    let (publishers, ramp) = (&run.totals.publishers, &run.totals.ramp);
    let of = |part, whole| format!("{} of {}", format_exact(part), format_exact(whole));
    let cpus = |cpus: f64| format!("{cpus:.2}");
    let part = |part: f64| format!("{part:.4}");
    let (connected, ramp_s) = (format_exact(ramp.connected), ramp.elapsed.as_secs_f64());
    let ramped = format!("{connected} sockets in {ramp_s:.2} s");
    let rows = [
        ("published of intended", of(publishers.sent, publishers.intended)),
        ("published a period late or more", format_exact(publishers.late)),
        ("deliveries per server core", per_s(cost.deliveries_per_core_s)),
        ("server CPUs busy", known(cost.server_cpus_busy, cpus)),
        ("server context switches", per_s(cost.server_switches_per_s)),
        ("server system calls per delivery", known(cost.syscalls_per_delivery, part)),
        ("server allocations per delivery", known(cost.allocations_per_delivery, part)),
        ("server instructions per delivery", known(cost.instructions_per_delivery, format_count)),
        ("server memory", known(cost.server_rss_bytes.map(|bytes| bytes as f64), format_bytes)),
        ("kernel memory per connection", known(cost.kernel_bytes_per_connection, format_bytes)),
        ("generator CPUs busy", known(cost.own_cpus_busy, cpus)),
        ("ticks whole", whole_ticks(run)),
        ("ramp", ramped),
    ];
    pairs("Cost", rows.into_iter().map(|(name, value)| (name.to_owned(), value)))
}

/// The spread, for all classes that follow several publishers of a rate.
fn whole_ticks(run: &Document) -> String {
    let ticks = || run.totals.classes.iter().filter_map(|class| class.ticks.as_ref());
    let (whole, expected): (u64, u64) =
        (ticks().map(|ticks| ticks.whole).sum(), ticks().map(|ticks| ticks.expected).sum());
    match expected {
        0 => UNKNOWN.to_owned(),
        _ => format!("{} of {}", format_exact(whole), format_exact(expected)),
    }
}

/// Connection errors.
pub fn troubles(run: &Document) -> Vec<String> {
    let totals = &run.totals;
    let mut lines = counted("ramp", &totals.ramp.errors);
    lines.extend(counted("publishers closed", &totals.publishers.closes));
    for class in &totals.classes {
        lines.extend(counted(&format!("{} closed", class.name), &class.closes));
        lines.extend(counted(&format!("{} turned away", class.name), &class.returns.errors));
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

fn counted(what: &str, counts: &BTreeMap<String, u64>) -> Vec<String> {
    let line =
        |(name, count): (&String, &u64)| format!("{what}: {} x {name}", format_exact(*count));
    counts.iter().map(line).collect()
}

fn sum(classes: &[&ClassOutcome], count: fn(&ClassOutcome) -> u64) -> u64 {
    classes.iter().map(|class| count(class)).sum()
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

/// Shown where a number is missing.
const UNKNOWN: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::outcome;
    use crate::judge::laps::LapRow;
    use crate::report::html::fixtures;
    use crate::scenario::groups::ClassKind;

    fn row<'t>(table: &'t Table, name: &str) -> &'t [String] {
        table.rows.iter().find(|row| row[0] == name).unwrap()
    }

    #[test]
    fn headlines_are_of_healthy_subscribers() {
        let mut run = fixtures::document();
        let stalled = ClassOutcome::new("stalled".into(), ClassKind::Stalled);
        run.totals.classes.push(ClassOutcome { lost: 9, ..stalled });
        let found = headlines(&run);
        let value = |name| &found.iter().find(|one| one.name == name).unwrap().value;
        assert_eq!((value("maximum").as_str(), value("lost").as_str()), ("1.12 ms", "0"));
        assert_eq!(
            (value("deliveries").as_str(), value("server CPU").as_str()),
            ("100/s", "3.33 µs")
        );
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let found = headlines(&Document::default());
        let unknown = found.iter().filter(|one| one.value == UNKNOWN).count();
        assert_eq!(unknown, found.len() - 2, "{found:?}");
        assert!(!format!("{found:?}").contains("NaN"));
        assert_eq!(row(&latencies(&Document::default()), "schedule slip")[1], UNKNOWN);
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_header() {
        let run = fixtures::document();
        let run = Document { laps: vec![LapRow::default()], ..run };
        for table in [latencies(&run), classes(&run), laps(&run)] {
            assert!(table.rows.iter().all(|row| row.len() == table.header.len()), "{table:?}");
        }
        assert_eq!(row(&classes(&run), "dashboard")[5], "600,000");
        assert_eq!(row(&costs(&run), "published of intended")[1], "6,000 of 6,000");
    }

    #[test]
    fn what_was_done_on_purpose_is_told_where_there_was_any() {
        assert!(purposes(&fixtures::document()).is_empty());
        let mut outcome = outcome();
        outcome.publishers.deviations.delayed = 1_234;
        let returns = &mut outcome.classes[0].returns;
        (returns.left, returns.came, returns.unserved) = (600, 599, 2);
        returns.errors.insert("status 503".into(), 7);
        returns.note_first_frame(1_020_000_000);
        let run = serde_json::from_value(fixtures::run_of(outcome)).unwrap();
        let tables = purposes(&run);
        let [deviations, returns] = &tables[..] else { panic!("{tables:?}") };
        assert_eq!(deviations.rows, [["late by intent", "1,234"]]);
        assert_eq!(returns.header, ["class", "left", "came (back)", "shut out", "unserved"]);
        assert_eq!(returns.rows, [["dashboard", "600", "599", "0", "2"]]);
        assert_eq!(row(&latencies(&run), "back to a frame, dashboard")[5], "1.02 s");
        assert_eq!(troubles(&run), ["dashboard turned away: 7 x status 503"]);
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
