//! A search as text: one line per run while it goes on, and the answer at the end. Must not judge.

use crate::capacity::answer::{Answer, LimitedBy};
use crate::capacity::control::Control;
use crate::capacity::model::Model;
use crate::capacity::plan::{Needs, Planned};
use crate::capacity::point::Point;
use crate::capacity::search::{Above, Found, Trial};
use crate::time::units::{format_bytes, format_count, format_exact, format_ns};

/// The names of the columns of [`line()`].
pub fn head(control: Control) -> String {
    columns([
        "run",
        &control.to_string(),
        "came out",
        "p99",
        "server CPUs",
        "generator's",
        "deliveries",
        "why",
    ])
}

/// The line of one run.
pub fn line(point: &Point) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let server = match point.server_cpus {
        Some(cpus) => format!("{} of {cpus}", number(point.server_cpus_busy)),
        None => number(point.server_cpus_busy),
    };
    let deliveries = point.deliveries_per_s.map(|rate| format!("{}/s", format_count(rate)));
    let (came_out, why) = match point.trial {
        Trial::Held => ("held", String::new()),
        Trial::Missed if point.has_server_failed => ("MISSED", first_of(&point.reasons)),
        Trial::Missed => ("MISSED", point.missed.join(", ")),
        Trial::Invalid => ("invalid", first_of(&point.reasons)),
        Trial::Disturbed => ("disturbed", first_of(&point.reasons)),
        Trial::Refused => ("refused", first_of(&point.reasons)),
    };
    columns([
        point.purpose.name(),
        &format_exact(point.value),
        came_out,
        &point.e2e_p99_ns.map_or("-".to_owned(), format_ns),
        &server,
        &number(point.own_cpus_busy),
        &deliveries.unwrap_or_else(|| "-".to_owned()),
        &why,
    ])
}

fn columns(cells: [&str; 8]) -> String {
    let [run, value, came_out, p99, server, own, deliveries, why] = cells;
    let text = format!(
        "{run:<9}{value:>12}  {came_out:<9}{p99:>8}{server:>14}{own:>13}{deliveries:>13}  {why}"
    );
    text.trim_end().to_owned()
}

/// A reason without its explanation, which does not fit on a line.
fn first_of(reasons: &[String]) -> String {
    let first = reasons.first().map(String::as_str).unwrap_or_default();
    let short: String = first.lines().next().unwrap_or_default().chars().take(72).collect();
    short.split(" (allowed").next().unwrap_or_default().to_owned()
}

/// The data of the final text.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'s> {
    /// The control.
    pub control: Control,
    /// The goals, as text.
    pub goals: &'s [String],
    /// The answer.
    pub answer: &'s Answer,
    /// Cores per machine of the plan.
    pub plan_cores: u32,
    /// What was left out for lack of time, as text.
    pub left_out: Option<&'s str>,
}

/// The answer and its consequences.
pub fn summary(summary: &Summary<'_>) -> String {
    let Summary { answer, left_out, .. } = summary;
    let rows = rows(summary).into_iter();
    let rows: String = rows.map(|(name, value)| format!("  {name:<25}{value}\n")).collect();
    let left_out = left_out.map(|text| format!("\n{text}\n")).unwrap_or_default();
    format!("\n{}\n\n{rows}{}{left_out}", headline(summary), notes(answer))
}

fn headline(summary: &Summary<'_>) -> String {
    let Summary { control, goals, answer, .. } = summary;
    let found = &answer.found;
    let goals = goals.join(", ");
    let Some(value) = found.confirmed else { return nothing(found, &goals) };
    let value = format!("{} {}", format_exact(value), control.unit());
    let runs = format!("{} of {} full runs", found.confirm_held, found.confirm_runs);
    match (found.missed, found.above) {
        (Some(missed), above) => {
            let is_next = above.is_none_or(|above| above.value >= missed);
            let between = if is_next { "" } else { ", and runs in between prove nothing" };
            format!("KNEE: {value} hold {goals} ({runs}); {} do not{between}", format_exact(missed))
        }
        (None, Some(Above { value: above, .. })) => format!(
            ">= {value} ({}-bound): they hold {goals} ({runs}); {} prove nothing",
            bound(&answer.limited_by),
            format_exact(above)
        ),
        (None, None) => {
            format!(">= {value}: they hold {goals} ({runs}), and the search ended there")
        }
    }
}

fn bound(limited_by: &LimitedBy) -> &'static str {
    match limited_by {
        LimitedBy::Host(_) | LimitedBy::Neighbours(_) => "host",
        _ => "generator",
    }
}

fn nothing(found: &Found, goals: &str) -> String {
    match (found.above, found.seen) {
        (_, Some(seen)) => {
            format!("NOT CONFIRMED: short runs held {goals} up to {}", format_exact(seen))
        }
        (Some(Above { value, trial: Trial::Missed }), None) => {
            format!("NONE: {goals} are missed even with {}", format_exact(value))
        }
        _ => format!("NOTHING PROVED about {goals}: no valid run"),
    }
}

fn rows(summary: &Summary<'_>) -> Vec<(&'static str, String)> {
    let Answer { asked, headroom, footprint, model, costs, plan, .. } = summary.answer;
    let mut rows = Vec::new();
    rows.extend(headroom.map(|times| ("headroom", headroom_text(times, *asked))));
    rows.push(("limited by", limit_text(&summary.answer.limited_by)));
    rows.extend(work_text(summary.answer).map(|text| ("at that load", text)));
    let bytes = |bytes: f64| format_bytes(bytes.max(0.0));
    rows.push((
        "memory a connection",
        format!(
            "{} user, {} kernel (of both ends, if both are here)",
            bytes(footprint.user_bytes_per_connection),
            bytes(footprint.kernel_bytes_per_connection)
        ),
    ));
    rows.extend(model.as_ref().map(|model| ("server CPU", model_text(model))));
    rows.push(("model against a run", held_out_text(summary.answer)));
    if let Some(costs) = costs {
        let hourly = format!("${:.4} an hour", costs.per_100k_subscribers_hour);
        rows.push(("100,000 subscribers", hourly));
        rows.push(("10^9 deliveries", format!("${:.4}", costs.per_billion_deliveries)));
    }
    if let Some((planned, needs)) = plan {
        rows.extend(plan_rows(planned, needs, summary));
    }
    rows
}

fn headroom_text(times: f64, asked: u64) -> String {
    let asked = format_exact(asked);
    if times >= 1.0 {
        format!("{times:.2} x the {asked} of the scenario")
    } else {
        format!("NONE: only {times:.2} of the {asked} of the scenario")
    }
}

fn limit_text(limited_by: &LimitedBy) -> String {
    match limited_by {
        LimitedBy::Server(reason) => format!("the server, which fails: {reason}"),
        LimitedBy::ServerCpu(goals) => format!("the server's CPUs, which are full: {goals}"),
        LimitedBy::KernelMemory(goals) => format!("the kernel's memory for TCP: {goals}"),
        LimitedBy::Goal(goals) => format!("latency or loss, with CPU time left: {goals}"),
        LimitedBy::Generator(reason) => {
            format!("the generator, not the server: {}", first_of(std::slice::from_ref(reason)))
        }
        LimitedBy::Host(reason) => {
            format!("this host: {}", first_of(std::slice::from_ref(reason)))
        }
        LimitedBy::Neighbours(reason) => {
            let reason = first_of(std::slice::from_ref(reason));
            format!("what else goes on on this host, again and again: {reason}")
        }
        LimitedBy::Range => "nothing up to the end of the range; see --to".to_owned(),
        LimitedBy::Unknown => "not found out".to_owned(),
    }
}

fn work_text(answer: &Answer) -> Option<String> {
    let (deliveries, cpus) = (answer.deliveries_per_s?, answer.server_cpus_busy?);
    let of_one = deliveries / cpus;
    Some(format!(
        "{}/s deliveries for {cpus:.2} CPUs: {}/s each",
        format_count(deliveries),
        format_count(of_one)
    ))
}

fn model_text(model: &Model) -> String {
    let parts = [
        (model.connection, "/s a connection"),
        (model.publish, " a publish"),
        (model.delivery, " a delivery"),
        (model.write, " a socket write"),
        (model.megabyte, " a MB"),
    ];
    let terms = parts.iter().filter(|(cost, _)| *cost > 0.0);
    let terms: String =
        terms.map(|(cost, what)| format!(" + {}{what}", format_ns(cost * 1e9))).collect();
    let Model { constant, runs, fit_error, .. } = model;
    format!("{constant:.3} CPUs{terms} ({runs} runs, off by {:.1} % on average)", fit_error * 100.0)
}

fn held_out_text(answer: &Answer) -> String {
    match answer.held_out {
        Some(out) => format!(
            "{:+.1} %: {:.3} CPUs predicted, {:.3} found",
            out.error * 100.0,
            out.predicted,
            out.found
        ),
        None => "no valid run to hold it against".to_owned(),
    }
}

fn plan_rows(
    planned: &Planned,
    needs: &Needs,
    summary: &Summary<'_>,
) -> Vec<(&'static str, String)> {
    let Planned { subscribers, rate, bytes, publishers } = planned;
    let load = format!(
        "{} subscribers x {rate}/s x {bytes} B x {publishers} publisher(s)",
        format_exact(*subscribers)
    );
    let error = summary.answer.held_out.map_or_else(String::new, |out| {
        format!(", ± {:.0} % by the run above", out.error.abs() * 100.0)
    });
    let footprint = &summary.answer.footprint;
    let how = if footprint.is_cpu_share_seen { "as here" } else { "by assumption" };
    let share = footprint.cpu_share.clamp(0.01, 1.0) * 100.0;
    let mut rows = vec![
        ("plan", load),
        ("  cores", format!("{:.1}, {share:.0} % full {how}{error}", needs.cores)),
        ("  memory", format!("about {}", format_bytes(needs.memory_bytes))),
        ("  network", format!("{:.2} Gbit/s out", needs.wire_bits_per_s / 1e9)),
        ("  machines", format!("{} of {} cores", format_exact(needs.machines), summary.plan_cores)),
    ];
    rows.extend(doubts(needs, summary.answer).map(|text| ("  but", text)));
    rows
}

/// Why the error of a plan may be larger than stated.
fn doubts(needs: &Needs, answer: &Answer) -> Option<String> {
    let unchecked = answer.held_out.is_none().then(|| "no run has checked the model".to_owned());
    let beyond = (needs.beyond > BEYOND_MAX)
        .then(|| format!("it goes {:.0} x beyond what was measured", needs.beyond));
    [unchecked, beyond].into_iter().flatten().reduce(|one, other| format!("{one}, and {other}"))
}

/// The ratio from which a plan is marked as extrapolated.
const BEYOND_MAX: f64 = 1.5;

fn notes(answer: &Answer) -> String {
    match answer.limited_by {
        LimitedBy::Generator(_) => "\nTo see the server's own limit, give the generator more CPUs \
                                    (--cpus, --threads), or run it on another host (--target).\n"
            .to_owned(),
        LimitedBy::Neighbours(_) => {
            "\nRun it again when the host is quieter, or allow more with --slip-limit.\n".to_owned()
        }
        LimitedBy::Host(_) => "\n`gridload doctor` tells what this host lacks.\n".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::answer::{HeldOut, Wanted};
    use crate::capacity::plan::Footprint;

    fn answer(found: Found) -> Answer {
        Answer { asked: 50, ..Answer::of(found, &[], &Wanted::default()) }
    }

    fn found(confirmed: Option<u64>, above: Option<Trial>) -> Found {
        let missed = (above == Some(Trial::Missed)).then_some(1_189);
        let above = above.map(|trial| Above { value: 1_189, trial });
        Found { confirmed, seen: confirmed, confirm_runs: 3, confirm_held: 2, above, missed }
    }

    fn summary_text(answer: &Answer) -> String {
        let goals = ["e2e_p99 <= 20ms".to_owned(), "loss <= 0".to_owned()];
        let control = Control::Subscribers;
        summary(&Summary { control, goals: &goals, answer, plan_cores: 8, left_out: None })
    }

    #[test]
    fn the_verdict_comes_first_and_says_what_it_rests_on() {
        let of = |found| summary_text(&answer(found));
        let text = of(found(Some(1_131), Some(Trial::Missed)));
        let knee = "\nKNEE: 1,131 subscribers hold e2e_p99 <= 20ms, loss <= 0 (2 of 3 full runs); \
                    1,189 do not\n";
        assert!(text.starts_with(knee), "{text}");
        let text = of(found(Some(700), Some(Trial::Invalid)));
        assert!(text.starts_with("\n>= 700 subscribers (generator-bound): they hold"), "{text}");
        let text = of(Found { missed: Some(800), ..found(Some(700), Some(Trial::Invalid)) });
        assert!(text.contains("; 800 do not\n"), "{text}");
        let between = Some(Above { value: 750, trial: Trial::Invalid });
        let found_between = Found { missed: Some(800), above: between, ..found(Some(700), None) };
        let text = of(found_between);
        assert!(text.contains("; 800 do not, and runs in between prove nothing\n"), "{text}");
        let text = of(found(Some(4_000), None));
        assert!(text.contains("and the search ended there"), "{text}");
        let text = of(found(None, Some(Trial::Missed)));
        assert!(text.contains("NONE: e2e_p99 <= 20ms, loss <= 0 are missed even with 1,189"));
        let text = of(found(None, Some(Trial::Invalid)));
        assert!(text.contains("NOTHING PROVED"), "{text}");
        let text = of(Found { seen: Some(9), ..found(None, None) });
        assert!(
            text.contains("NOT CONFIRMED: short runs held e2e_p99 <= 20ms, loss <= 0 up to 9"),
            "{text}"
        );
    }

    #[test]
    fn numbers_have_units_and_errors() {
        let mut answer = answer(found(Some(400), Some(Trial::Missed)));
        answer.model = Some(Model {
            constant: 0.01,
            connection: 0.0,
            publish: 0.0,
            delivery: 52e-9,
            write: 3.2e-6,
            megabyte: 0.0,
            runs: 12,
            fit_error: 0.031,
        });
        answer.headroom = Some(8.0);
        answer.limited_by = LimitedBy::ServerCpu("e2e_p99 30 ms (<= 20 ms)".to_owned());
        answer.held_out = Some(HeldOut { predicted: 0.22, found: 0.2, error: 0.1 });
        answer.footprint = Footprint { user_bytes_per_connection: 2048.0, ..answer.footprint };
        let text = summary_text(&answer);
        for part in [
            "  headroom                 8.00 x the 50 of the scenario\n",
            "the server's CPUs, which are full: e2e_p99 30 ms (<= 20 ms)\n",
            "0.010 CPUs + 52.0 ns a delivery + 3.20 µs a socket write (12 runs, off by 3.1 %",
            "+10.0 %: 0.220 CPUs predicted, 0.200 found\n",
            "2.00 KiB user, 0 B kernel",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_plan_says_why_it_may_be_wrong() {
        let needs = |beyond| Needs {
            cpus_busy: 1.0,
            cores: 2.0,
            memory_bytes: 1e9,
            wire_bits_per_s: 1e9,
            machines: 1,
            beyond,
        };
        let mut answer = answer(found(Some(400), Some(Trial::Missed)));
        let both = doubts(&needs(9.0), &answer).unwrap();
        assert_eq!(both, "no run has checked the model, and it goes 9 x beyond what was measured");
        answer.held_out = Some(HeldOut { predicted: 0.22, found: 0.2, error: 0.1 });
        assert_eq!(doubts(&needs(1.0), &answer), None);
        answer.plan = "5 subscribers x 10/s x 64B".parse().ok().map(|plan| (plan, needs(1.0)));
        let text = summary_text(&answer);
        assert!(
            text.contains("± 10 % by the run above") && text.contains("1 of 8 cores"),
            "{text}"
        );
    }

    #[test]
    fn a_reason_is_cut_to_what_a_line_has_place_for() {
        let reason = "thread busy: 91 % (subscriber-0) (allowed <= 80 %): a thread".to_owned();
        assert_eq!(first_of(&[reason]), "thread busy: 91 % (subscriber-0)");
        assert_eq!(first_of(&[]), "");
    }
}
