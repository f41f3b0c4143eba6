//! The text report at the end of a run. Must not decide anything: it receives the verdict.

use std::fmt::Write as _;

use comfy_table::Table;

use crate::judge::exit::Exit;
use crate::judge::verdict::{Goal, Verdict};
use crate::observe::clocks;
use crate::observe::clocks::{AgentClock, Clocks};
use crate::receive::censored::{Censored, Latency};
use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::Outcome;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::deviations::Deviations;
use crate::receive::outcome::returns::Returns;
use crate::receive::outcome::spread::SpreadOutcome;
use crate::report::lap_table;
use crate::report::lap_table::LAP_COLUMNS;
use crate::report::table::table;
use crate::result::record::Record;
use crate::scenario::overlay::Overlay;
use crate::time::units::{format_bytes, format_count, format_exact, format_ns};

/// The columns for each latency, here and on a page.
pub const LATENCY_COLUMNS: [&str; 7] = ["latency", "p50", "p90", "p99", "p99.9", "max", "frames"];
/// The columns of each class, here and on a page.
pub const CLASS_COLUMNS: [&str; 15] = [
    "class",
    "kind",
    "form",
    "sockets",
    "expected",
    "received",
    "lost",
    "undelivered",
    "misdelivered",
    "twice",
    "disordered",
    "damaged",
    "gaps",
    "left out",
    "closed",
];

/// The whole report.
pub fn render(record: &Record<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(record, &mut text);
    text
}

/// The report of several runs combined.
pub fn of_merged(outcome: &Outcome, bound_ns: u64, verdict: &Verdict, runs: usize) -> String {
    let said = headline(verdict, &format!("{runs} runs as one"));
    let (latencies, classes) = (latencies(outcome, bound_ns), classes(outcome));
    format!("\n{said}\n\n{latencies}\n\n{classes}\n")
}

fn write_report(record: &Record<'_>, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n{}\n", headline(record.verdict, &record.scenario.name))?;
    writeln!(out, "{}\n", latencies(record.outcome, record.clocks.bound_ns()))?;
    write_clocks(record.clocks, out)?;
    write_laps(record, out)?;
    writeln!(out, "{}\n", classes(record.outcome))?;
    writeln!(out, "{}\n", costs(record))?;
    write_uncounted(record, out)?;
    writeln!(out, "{}\n", conditions(record))?;
    write_overlays(record, out)?;
    write_troubles(record.outcome, out)?;
    writeln!(out, "repeat with: {}", record.command)
}

fn headline(verdict: &Verdict, name: &str) -> String {
    match verdict.exit() {
        Exit::ServerFailed => {
            let reasons = verdict.reasons().join("\n  - ");
            format!("THE SERVER FAILED in a run of {name}\n  - {reasons}")
        }
        Exit::InvalidRun => {
            let reasons = verdict.reasons().join("\n  - ");
            format!("INVALID RUN of {name}: these numbers prove nothing\n  - {reasons}")
        }
        Exit::SloViolated => {
            let unmet = || verdict.goals.iter().filter(|goal| !goal.pass);
            let what = if unmet().all(Goal::is_undecided) { "UNDECIDED" } else { "MISSED" };
            let unmet: Vec<_> = unmet().map(Goal::shortfall).collect();
            format!("valid run of {name}, GOALS {what}: {}", unmet.join(", "))
        }
        _ => format!("valid run of {name}, all goals met"),
    }
}

fn latencies(outcome: &Outcome, bound_ns: u64) -> Table {
    let Outcome { classes, spread, publishers, .. } = outcome;
    table(&LATENCY_COLUMNS, latency_rows(classes, spread, &publishers.slip, bound_ns))
}

/// The cells under [`LATENCY_COLUMNS`]. `bound_ns` is the largest error between the clocks of
/// several hosts; a latency measured on one host is exact.
pub fn latency_rows(
    classes: &[ClassOutcome],
    spread: &SpreadOutcome,
    slip: &SignedHistogram,
    bound_ns: u64,
) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for class in classes {
        let waiting = class.waiting.as_deref();
        let service = Censored::of(&class.service, waiting);
        rows.push(censored_row(
            &format!("end to end, {}", class.name),
            &class.latencies(),
            bound_ns,
        ));
        rows.push(censored_row(&format!("service, {}", class.name), &service, 0));
        if let Some(ticks) = &class.ticks {
            let name = format!("whole tick, {}", class.name);
            rows.push(latency_row(&name, &ticks.latency, bound_ns));
        }
        if let Some(first_frame) = &class.returns.first_frame {
            rows.push(latency_row(&format!("back to a frame, {}", class.name), first_frame, 0));
        }
        if let Some(all_topics) = &class.returns.all_topics {
            rows.push(latency_row(&format!("back to all topics, {}", class.name), all_topics, 0));
        }
    }
    rows.push(latency_row("spread, first receiver", &spread.first, bound_ns));
    rows.push(latency_row("spread, median receiver", &spread.median, bound_ns));
    rows.push(latency_row("spread, last receiver", &spread.last, bound_ns));
    rows.push(latency_row("schedule slip", slip, 0));
    rows
}

fn latency_row(name: &str, histogram: &SignedHistogram, bound_ns: u64) -> Vec<String> {
    censored_row(name, &Censored::of(histogram, None), bound_ns)
}

fn censored_row(name: &str, latencies: &Censored, bound_ns: u64) -> Vec<String> {
    let at = |quantile: f64| {
        let Latency { ns, is_least } = latencies.quantile(quantile);
        if latencies.is_empty() {
            "–".to_owned()
        } else {
            clocks::latency(ns, is_least, bound_ns)
        }
    };
    let count = format_exact(latencies.came());
    vec![name.to_owned(), at(0.5), at(0.9), at(0.99), at(0.999), at(1.0), count]
}

/// The agreement of several hosts' clocks.
fn write_clocks(clocks: &Clocks, out: &mut String) -> std::fmt::Result {
    for AgentClock { agent, ahead_ns, bound_ns, .. } in &clocks.agents {
        let (ahead, bound) = (format_ns(*ahead_ns as f64), format_ns(*bound_ns as f64));
        writeln!(out, "clock of {agent}: ahead by {ahead} ±{bound}, which is taken out")?;
    }
    if clocks.bound_ns() > 0 {
        writeln!(out, "in parentheses: below the error of the clocks\n")?;
    }
    Ok(())
}

/// The laps of the measured phase, if there are several.
fn write_laps(record: &Record<'_>, out: &mut String) -> std::fmt::Result {
    let rows = record.laps();
    let Some(remark) = lap_table::remark(&rows, record.scenario.profile) else { return Ok(()) };
    let bound_ns = record.clocks.bound_ns();
    let cells = rows.iter().map(|row| lap_table::cells(row, bound_ns)).collect();
    writeln!(out, "{}\n{remark}\n", table(&LAP_COLUMNS, cells))
}

fn classes(outcome: &Outcome) -> Table {
    table(&CLASS_COLUMNS, outcome.classes.iter().map(class_row).collect())
}

/// The cells under [`CLASS_COLUMNS`].
pub fn class_row(class: &ClassOutcome) -> Vec<String> {
    let counts = [
        class.sockets,
        class.expected,
        class.received,
        class.lost,
        class.tail(),
        class.misdelivered,
        class.duplicated,
        class.reordered,
        class.corrupt,
        class.gap_notices,
        class.left_out,
        class.closes.values().sum(),
    ];
    let names = [class.name.clone(), class.kind.name().to_owned(), class.form.to_string()];
    names.into_iter().chain(counts.map(format_exact)).collect()
}

fn costs(record: &Record<'_>) -> Table {
    let Record { outcome, efficiency, .. } = record;
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "not known".to_owned());
    let per_s = |count: Option<f64>| or_unknown(count.map(|c| format!("{}/s", format_count(c))));
    let bytes = |size: Option<f64>| or_unknown(size.map(format_bytes));
    let cpus = |busy: Option<f64>| or_unknown(busy.map(|cpus| format!("{cpus:.2}")));
    let part = |count: Option<f64>| or_unknown(count.map(|part| format!("{part:.4}")));
    let each = |count: Option<f64>| or_unknown(count.map(format_count));
    let publishers = &outcome.publishers;
    let rows = [
        ("deliveries, measured", per_s(deliveries_per_s(outcome))),
        (
            "published of intended",
            format!("{} of {}", format_exact(publishers.sent), format_exact(publishers.intended)),
        ),
        ("published a period late or more", format_exact(publishers.late)),
        ("frames per read", or_unknown(frames_per_read(outcome))),
        ("bytes sent per byte of payload", or_unknown(egress_ratios(outcome))),
        ("sockets with compression", deflated_sockets(outcome)),
        ("frames per second and topic", or_unknown(rates(outcome))),
        ("ticks whole", or_unknown(whole_ticks(outcome))),
        ("server CPU per delivery", or_unknown(efficiency.cpu_ns_per_delivery.map(format_ns))),
        ("deliveries per server core", per_s(efficiency.deliveries_per_core_s)),
        ("server CPUs busy", cpus(efficiency.server_cpus_busy)),
        ("server context switches", per_s(efficiency.server_switches_per_s)),
        ("server system calls per delivery", part(efficiency.syscalls_per_delivery)),
        ("server allocations per delivery", part(efficiency.allocations_per_delivery)),
        ("server instructions per delivery", each(efficiency.instructions_per_delivery)),
        ("server memory", bytes(efficiency.server_rss_bytes.map(|bytes| bytes as f64))),
        ("server memory per connection", bytes(efficiency.rss_bytes_per_connection)),
        ("kernel memory per connection", bytes(efficiency.kernel_bytes_per_connection)),
        ("generator CPUs busy", cpus(efficiency.own_cpus_busy)),
        (
            "ramp",
            format!(
                "{} sockets in {:.2} s",
                format_exact(outcome.ramp.connected),
                outcome.ramp.elapsed.as_secs_f64()
            ),
        ),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    table(&["throughput and cost", "value"], rows)
}

/// Frames of the measured phase, which are those in the histograms, divided by its length.
fn deliveries_per_s(outcome: &Outcome) -> Option<f64> {
    let frames: u64 = outcome.classes.iter().map(|class| class.e2e.len()).sum();
    let seconds = outcome.measured.as_secs_f64();
    (seconds > 0.0).then(|| frames as f64 / seconds)
}

fn frames_per_read(outcome: &Outcome) -> Option<String> {
    let sum = |count: fn(&ClassOutcome) -> u64| outcome.classes.iter().map(count).sum::<u64>();
    let reads = sum(|class| class.reads);
    (reads > 0).then(|| format!("{:.2}", sum(|class| class.received) as f64 / reads as f64))
}

/// One line per class.
fn egress_ratios(outcome: &Outcome) -> Option<String> {
    let ratios = outcome.classes.iter().map(|class| class.egress_ratio());
    let ratios: Option<Vec<String>> =
        ratios.map(|ratio| ratio.map(|ratio| format!("{ratio:.3}"))).collect();
    ratios.map(|ratios| ratios.join(", "))
}

/// The total of all connected subscribers.
fn deflated_sockets(outcome: &Outcome) -> String {
    let sum = |count: fn(&ClassOutcome) -> u64| outcome.classes.iter().map(count).sum::<u64>();
    let (deflated, all) = (sum(|class| class.deflated_sockets), sum(|class| class.sockets));
    format!("{} of {}", format_exact(deflated), format_exact(all))
}

/// The totals of the classes that asked for a rate.
fn rates(outcome: &Outcome) -> Option<String> {
    let asked = outcome.classes.iter().filter_map(|class| {
        let (rate, found) = (class.asked_rate()?, class.rates);
        let (slowest, fastest) = (found.slowest_per_s, found.fastest_per_s);
        Some(format!("{slowest:.2} to {fastest:.2} of {rate} asked for"))
    });
    let asked: Vec<String> = asked.collect();
    (!asked.is_empty()).then(|| asked.join(", "))
}

/// The spread, for the classes that follow several publishers of a rate.
fn whole_ticks(outcome: &Outcome) -> Option<String> {
    let parts = outcome.classes.iter().filter_map(|class| {
        let ticks = class.ticks.as_ref()?;
        let (whole, expected) = (format_exact(ticks.whole), format_exact(ticks.expected));
        Some(format!("{whole} of {expected} ({:.3} %)", ticks.share()? * 100.0))
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The requested kernel counters that are missing, and why.
fn write_uncounted(record: &Record<'_>, out: &mut String) -> std::fmt::Result {
    let uncounted = &record.samples.uncounted;
    for (name, reason) in uncounted {
        writeln!(out, "not counted: {name}: {reason}")?;
    }
    if uncounted.is_empty() { Ok(()) } else { writeln!(out) }
}

fn conditions(record: &Record<'_>) -> Table {
    let verdict = record.verdict;
    let mark = |pass: bool| if pass { "ok" } else { "BREACHED" }.to_owned();
    let gates = verdict.gates.iter().map(|gate| {
        vec![gate.name.to_string(), gate.measured.clone(), gate.allowed.clone(), mark(gate.pass)]
    });
    let goals = verdict.goals.iter().map(|goal| {
        let name = format!("goal: {}", goal.goal);
        vec![name, goal.measured.clone(), goal.allowed.clone(), goal.result.clone()]
    });
    table(&["condition", "measured", "allowed", ""], gates.chain(goals).collect())
}

/// What overlays, bursts and churn did on purpose.
fn write_overlays(record: &Record<'_>, out: &mut String) -> std::fmt::Result {
    let Record { scenario, outcome, .. } = record;
    if !scenario.overlays.is_empty() {
        let names: Vec<_> = scenario.overlays.iter().map(Overlay::to_string).collect();
        writeln!(out, "overlays: {}", names.join(", "))?;
    }
    for (what, count) in deviations(&outcome.publishers.deviations) {
        writeln!(out, "on purpose: {} x {what}", format_exact(count))?;
    }
    for class in outcome.classes.iter().filter(|class| !class.returns.is_empty()) {
        let counts = returns(&class.returns);
        let counts = counts.map(|(what, count)| format!("{} {what}", format_exact(count)));
        writeln!(out, "{}: {}", class.name, counts.join(", "))?;
        let Returns { interrupted, resumed, .. } = class.returns;
        if interrupted > 0 {
            let counts = [interrupted, resumed].map(format_exact);
            writeln!(out, "{}: {} interrupted, {} resumed", class.name, counts[0], counts[1])?;
        }
        for (error, count) in &class.returns.errors {
            writeln!(out, "{}: turned away: {} x {error}", class.name, format_exact(*count))?;
        }
    }
    Ok(())
}

/// The deliberate deviations of publishers, if there were any, here and on a page.
pub fn deviations(found: &Deviations) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let Deviations { withheld, repeated, delayed, configurations } = *found;
    let counts = [
        ("withheld", withheld),
        ("sent twice", repeated),
        ("late by intent", delayed),
        ("configurations", configurations),
    ];
    counts.into_iter().filter(|(_, count)| *count > 0)
}

/// The sockets that reconnected or joined late, here and on a page.
pub fn returns(found: &Returns) -> [(&'static str, u64); 4] {
    let Returns { left, came, shut_out, unserved, .. } = *found;
    [("left", left), ("came (back)", came), ("shut out", shut_out), ("unserved", unserved)]
}

/// Connection errors, if there were any.
fn write_troubles(outcome: &Outcome, out: &mut String) -> std::fmt::Result {
    for (error, count) in &outcome.ramp.errors {
        writeln!(out, "ramp: {} x {error}", format_exact(*count))?;
    }
    if let Some(said) = &outcome.ramp.said {
        writeln!(out, "ramp: the server said: {said}")?;
    }
    for (close, count) in &outcome.publishers.closes {
        writeln!(out, "publishers closed: {} x {close}", format_exact(*count))?;
    }
    for class in &outcome.classes {
        for (close, count) in &class.closes {
            writeln!(out, "{} closed: {} x {close}", class.name, format_exact(*count))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixtures;
    use crate::scenario::slo::Slo;

    fn rendered(outcome: &Outcome) -> String {
        fixtures::with_record(outcome, render)
    }

    #[test]
    fn a_good_run_reads_well() {
        let text = rendered(&fixtures::outcome());
        for part in [
            "valid run of quickstart, all goals met",
            "end to end, dashboard",
            "100/s",
            "3.33 µs",
            "600,000",
            "repeat with: gridload run quickstart --seed 1",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("BREACHED"));
    }

    #[test]
    fn a_void_run_says_so_first() {
        let mut outcome = fixtures::outcome();
        outcome.ramp.connected = 1_999;
        for (why, expected) in [
            ("no free port", "INVALID RUN of quickstart: these numbers prove nothing"),
            ("refused", "THE SERVER FAILED in a run of quickstart"),
        ] {
            outcome.ramp.errors = [(why.to_owned(), 3)].into();
            let text = rendered(&outcome);
            let (first, rest) = text.trim_start().split_once('\n').unwrap();
            assert_eq!(first, expected);
            let reason = format!("connected: 2019 of 2020 (3 x {why}) (allowed all)");
            assert!(rest.contains(&reason), "{rest}");
            assert!(rest.contains("BREACHED") && rest.contains(&format!("ramp: 3 x {why}")));
        }
    }

    #[test]
    fn what_the_kernel_did_not_count_is_told_with_the_reason() {
        let mut samples = fixtures::samples();
        samples.uncounted.insert("instructions", "no such counter".to_owned());
        let text = fixtures::with_record(&fixtures::outcome(), |record| {
            render(&Record { samples: &samples, ..*record })
        });
        assert!(text.contains("\nnot counted: instructions: no such counter\n"), "{text}");
    }

    #[test]
    fn missed_goals_are_named() {
        let mut outcome = fixtures::outcome();
        outcome.classes[0].lost = 17;
        assert!(rendered(&outcome).contains("GOALS MISSED: loss 17 (allowed <= 0)"));
    }

    #[test]
    fn goals_that_the_clocks_leave_open_are_not_called_missed() {
        let outcome = fixtures::outcome();
        let slo = Slo { e2e_max: Some(Duration::from_micros(1_100)), ..Slo::default() };
        let verdict = Verdict::of(Vec::new(), &slo, &outcome, 84_000);
        let text = of_merged(&outcome, 84_000, &verdict, 2);
        let said = "GOALS UNDECIDED: e2e_max 1.12 ms ±84.0 µs (allowed <= 1.10 ms) undecided";
        assert!(text.contains(said), "{text}");
    }

    #[test]
    fn what_was_done_on_purpose_is_reported() {
        let mut outcome = fixtures::outcome();
        assert!(!rendered(&outcome).contains("on purpose"));
        outcome.publishers.deviations.withheld = 1_234;
        let returns = &mut outcome.classes[0].returns;
        (returns.left, returns.came) = (600, 599);
        returns.errors.insert("status 503".into(), 7);
        returns.note_first_frame(1_020_000_000);
        let text = rendered(&outcome);
        for part in [
            "on purpose: 1,234 x withheld",
            "dashboard: 600 left, 599 came (back), 0 shut out, 0 unserved",
            "dashboard: turned away: 7 x status 503",
            "back to a frame, dashboard",
            "1.02 s",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn an_empty_outcome_has_no_numbers_rather_than_wrong_ones() {
        let mut outcome = fixtures::outcome();
        outcome.classes[0] = ClassOutcome::new("dashboard".into(), outcome.classes[0].kind);
        outcome.publishers.slip = SignedHistogram::new();
        let text = rendered(&outcome);
        assert!(
            text.contains("frames per read") && text.contains("not known") && !text.contains("NaN"),
            "{text}"
        );
    }
}
