//! The page: its parts and their order, passed to the template that lays them out. Must not compute
//! any part, nor know where the page is written.

use minijinja::value::Serde;
use minijinja::{Environment, Error, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

use crate::receive::histograms::SignedHistogram;
use crate::report::html::curve::{Curve, Labels};
use crate::report::html::document::{Condition, Document};
use crate::report::html::plot::{Figure, PlotArea};
use crate::report::html::tables::{Headline, Table};
use crate::report::html::timeline::Timeline;
use crate::report::html::{curve, heatmap, quantities, tables};
use crate::scenario::scenario::Scenario;

/// The page of a run: one self-contained file.
///
/// # Errors
/// Only when the template does not fit the data; no run can cause that.
pub fn render(run: &Document) -> Result<String, Error> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    // The file name ends in `.html`, so the template engine escapes every inserted value.
    templates.add_template(TEMPLATE_NAME, TEMPLATE)?;
    templates.get_template(TEMPLATE_NAME)?.render(Serde(Page::of(run)))
}

/// The data for the template.
#[derive(Debug, Serialize)]
struct Page<'d> {
    style: &'static str,
    script: &'static str,
    name: &'d str,
    about: &'d str,
    target: &'d str,
    started: &'d str,
    tool: String,
    verdict: Verdict<'d>,
    headlines: Vec<Headline>,
    heatmap: Figure,
    curves: [Figure; 2],
    traffic: Vec<Figure>,
    server: Vec<Figure>,
    latencies: Table,
    laps: Table,
    classes: Table,
    purposes: Vec<Table>,
    costs: Table,
    troubles: Vec<String>,
    conditions: Vec<Row<'d>>,
    facts: [Table; 2],
    command: &'d str,
    scenario: String,
}

/// The summary at the top.
#[derive(Debug, Serialize)]
struct Verdict<'d> {
    class: &'static str,
    text: &'static str,
    points: Vec<String>,
    word: &'d str,
    exit_code: u8,
}

/// A gate or a goal.
#[derive(Debug, Serialize)]
struct Row<'d> {
    kind: &'static str,
    name: &'d str,
    measured: &'d str,
    allowed: &'d str,
    pass: bool,
    result: &'d str,
    why: &'d str,
}

impl Page<'_> {
    fn of(run: &Document) -> Page<'_> {
        let timeline = Timeline::of(run);
        let quantities = quantities::all(run, &timeline).into_iter();
        let mut figures = quantities.map(|series| series.figure(&timeline));
        let tool = &run.tool;
        Page {
            style: STYLE,
            script: SCRIPT,
            name: text(run.scenario.get("name")),
            about: text(run.scenario.get("about")),
            target: text(run.layout.get("target")),
            started: &run.started,
            tool: format!("{} {} ({} build)", tool.name, tool.version, tool.profile),
            verdict: Verdict::of(run),
            headlines: tables::headlines(run),
            heatmap: heatmap::figure(run, &timeline),
            curves: [percentiles(run), spread(run)],
            traffic: figures.by_ref().take(TRAFFIC).collect(),
            server: figures.collect(),
            latencies: tables::latencies(run),
            laps: tables::laps(run),
            classes: tables::classes(run),
            purposes: tables::purposes(run),
            costs: tables::costs(run),
            troubles: tables::troubles(run),
            conditions: conditions(run),
            facts: [tables::facts("Host", &run.env), tables::facts("Layout", &run.layout)],
            command: &run.command,
            scenario: scenario_text(&run.scenario),
        }
    }
}

impl Verdict<'_> {
    fn of(run: &Document) -> Verdict<'_> {
        let unmet = || run.slo.iter().filter(|goal| !goal.pass);
        let text_of = |g: &Condition| format!("{}: {} (allowed {})", g.name, g.measured, g.allowed);
        let (class, text, points) = match run.verdict.as_str() {
            "ok" => ("good", "Valid run, all goals met", Vec::new()),
            "slo-violated" if unmet().all(Condition::is_undecided) => {
                let text = "Valid run, but the clocks leave goals undecided";
                ("missed", text, unmet().map(text_of).collect())
            }
            "slo-violated" => ("missed", "Valid run, goals missed", unmet().map(text_of).collect()),
            "server-failed" => {
                ("missed", "The server failed during the run", run.health.reasons.clone())
            }
            _ => {
                let text = "Invalid run: these numbers prove nothing";
                ("invalid", text, run.health.reasons.clone())
            }
        };
        Verdict { class, text, points, word: &run.verdict, exit_code: run.exit_code }
    }
}

fn percentiles(run: &Document) -> Figure {
    let curves = [
        curve("end to end", run.latencies(|class| &class.e2e).all()),
        curve("service", run.latencies(|class| &class.service).all()),
        curve("schedule slip", &run.totals.publishers.slip),
    ];
    let labels = Labels {
        id: "percentiles",
        title: "Latency by percentile",
        note: "Healthy subscribers, measured phase. End to end counts from the intended instant, \
               service from the actual one; slip is the difference.",
    };
    figure(labels, curves)
}

fn spread(run: &Document) -> Figure {
    let spread = &run.totals.spread;
    let ranks = [("first", &spread.first), ("median", &spread.median), ("last", &spread.last)];
    let curves = ranks.map(|(name, latencies)| curve(name, latencies));
    let labels = Labels {
        id: "spread",
        title: "Spread by rank of receiver",
        note: "From the sending of a sampled frame until the first, the median and the last \
               healthy subscriber had it.",
    };
    figure(labels, curves)
}

/// A curve of all latencies that are not negative, if there are any.
fn curve(name: &'static str, latencies: &SignedHistogram) -> Option<Curve> {
    let latencies = latencies.values();
    (!latencies.is_empty()).then(|| Curve { name, latencies: latencies.clone() })
}

fn figure(labels: Labels, curves: [Option<Curve>; 3]) -> Figure {
    let curves: Vec<_> = curves.into_iter().flatten().collect();
    curve::figure(labels, PlotArea::half(CURVE_HEIGHT), &curves)
}

fn conditions(run: &Document) -> Vec<Row<'_>> {
    let goals = run.slo.iter().map(|goal| row("goal", goal));
    goals.chain(run.health.gates.iter().map(|gate| row("gate", gate))).collect()
}

fn row<'d>(kind: &'static str, condition: &'d Condition) -> Row<'d> {
    let Condition { name, measured, allowed, pass, why, .. } = condition;
    Row { kind, name, measured, allowed, pass: *pass, result: condition.outcome(), why }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// The scenario as a file that can be run again; unchanged if this version cannot parse it.
fn scenario_text(scenario: &Value) -> String {
    let table: Option<toml::Table> = serde_json::from_value(scenario.clone()).ok();
    let known = table.and_then(|table| Scenario::from_table(&table).ok());
    known.map_or_else(|| format!("{scenario:#}"), |scenario| scenario.to_toml())
}

const TEMPLATE_NAME: &str = "report.html";
const TEMPLATE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
const CURVE_HEIGHT: f64 = 320.0;
/// The first quantities over time are traffic; the rest are the server's resources.
const TRAFFIC: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::fixtures;
    use serde_json::json;

    fn page(run: &Value) -> String {
        render(&serde_json::from_value(run.clone()).unwrap()).unwrap()
    }

    #[test]
    fn every_plot_and_every_table_is_there() {
        let text = page(&fixtures::run());
        for id in [
            "heatmap",
            "percentiles",
            "spread",
            "received",
            "sent",
            "loss",
            "cpu",
            "memory",
            "sockets",
            "switches",
        ] {
            let (_, figure) = text.split_once(&format!("<figure id=\"{id}\"")).unwrap();
            let (figure, _) = figure.split_once("</figure>").unwrap();
            let label = figure.split_once("aria-label=\"").unwrap().1;
            assert!(!label.starts_with('"'), "{id} has no words");
            assert!(figure.contains("<path") && figure.contains("<title>"), "{id} is empty");
        }
        for part in [
            "Valid run, all goals met",
            "exit code 0",
            "end to end, dashboard",
            "Latencies",
            "Subscribers",
            "Cost",
            "wake-up jitter",
            "host fingerprint",
            "core-0",
            "gridload run quickstart --seed 1",
            "[[publishers]]",
            "3.33 µs",
        ] {
            assert!(text.contains(part), "{part} is missing");
        }
        assert!(!text.contains("NaN") && !text.contains("{{") && !text.contains("undefined"));
    }

    #[test]
    fn the_banner_names_what_is_wrong() {
        let mut run = fixtures::run();
        run["verdict"] = json!("slo-violated");
        run["exit_code"] = json!(4);
        run["slo"][0]["pass"] = json!(false);
        run["slo"][0]["result"] = json!("missed");
        let text = page(&run);
        assert!(text.contains("Valid run, goals missed"));
        assert!(text.contains("class=\"verdict missed\"") && text.contains("exit code 4"));
        assert!(text.contains("loss: 0 (allowed &lt;= 0)"), "{text}");
        run["slo"][0]["result"] = json!("undecided: ±84.0 µs");
        let text = page(&run);
        assert!(
            text.contains("clocks leave goals undecided") && text.contains("<td>undecided: ±84")
        );
        run["verdict"] = json!("invalid");
        run["health"]["reasons"] = json!(["thread busy: 97 %"]);
        let text = page(&run);
        assert!(text.contains("these numbers prove nothing") && text.contains("thread busy: 97 %"));
    }

    /// Any text that a scenario, a server or a file may contain.
    #[test]
    fn no_text_of_a_run_becomes_markup() {
        let hostile = "</title></script><script>alert(1)</script><img src=x onerror=\"y\">'";
        let mut run = fixtures::run();
        replace_texts(&mut run, hostile);
        let text = page(&run);
        assert_eq!(text.matches("<script").count(), 1, "its own");
        assert!(!text.contains("<img") && text.contains("&lt;img src=x"));
        let closes = json!({ hostile: 3 });
        let mut run = fixtures::run();
        run["totals"]["classes"][0]["closes"] = closes.clone();
        run["totals"]["ramp"]["errors"] = closes.clone();
        run["totals"]["classes"][0]["returns"] = json!({
            "left": 1, "came": 1, "shut_out": 0, "unserved": 0, "errors": closes.clone(),
            "first_frame": null,
        });
        run["env"] = closes.clone();
        run["layout"] = closes;
        assert!(!page(&run).contains("<img"));
    }

    /// Every text except histograms and fixed words.
    fn replace_texts(value: &mut Value, text: &str) {
        match value {
            Value::String(found) => text.clone_into(found),
            Value::Array(values) => values.iter_mut().for_each(|value| replace_texts(value, text)),
            Value::Object(values) => {
                let is_free = |key: &str| !matches!(key, "hist_b64" | "kind" | "form");
                let others = values.iter_mut().filter(|(key, _)| is_free(key));
                others.for_each(|(_, value)| replace_texts(value, text));
            }
            _ => {}
        }
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let text = page(&fixtures::run());
        for reference in ["src=", "href=\"h", "<link", "@import", "url(", "http:", "https:"] {
            assert!(!text.contains(reference), "{reference}");
        }
        assert!(text.contains("prefers-color-scheme: dark") && text.contains("@media print"));
    }

    #[test]
    fn an_empty_result_is_a_page_all_the_same() {
        let text = page(&json!({}));
        assert!(text.contains("prove nothing") && !text.contains("NaN"));
    }
}
