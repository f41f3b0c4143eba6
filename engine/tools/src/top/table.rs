//! Two samples as a table for a person. Must not ask for them.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::sample::Sample;

/// What the server at `address` did between two samples.
#[must_use]
pub fn render(address: &str, before: &Sample, now: &Sample) -> String {
    let seconds = now.at.saturating_sub(before.at).as_secs_f64().max(0.001);
    let rate = |name: &str| ((now.metric(name) - before.metric(name)) / seconds).max(0.0);
    let state = match (now.is("draining"), now.is("ready")) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    let mut text = format!("gridcast {} at {address}: {state}\n\n", now.text("version"));
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut row = |name: &str, value: String, what: &str| {
        table.add_row([name.to_owned(), value, what.to_owned()]);
    };
    row("connections", short(now.number("connections") as f64), &roles(now));
    row("opened", short(rate("gridcast_connections_opened_total")), "a second");
    row("topics", short(now.number("topics") as f64), &patterns(now));
    row("published", short(rate("gridcast_publishes_total")), "messages a second");
    row("delivered", short(rate("gridcast_frames_sent_total")), "frames a second");
    row("sent", bytes(rate("gridcast_sent_bytes_total")), "a second");
    row("received", bytes(rate("gridcast_received_bytes_total")), "a second");
    row("missed", short(rate("gridcast_gap_frames_total")), "frames a second, told to whom");
    row("logs", bytes(now.number("log_bytes") as f64), "of what topics keep");
    row("memory", bytes(now.metric("process_resident_memory_bytes")), "of the process");
    let cpu = rate("process_cpu_seconds_total") * 100.0;
    let cores = format!("of one CPU; {} cores", now.number("cores"));
    row("CPU", format!("{cpu:.0} %"), &cores);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    // Writing to memory cannot fail.
    let _ = writeln!(text, "{}", table.trim_fmt());
    text
}

fn roles(now: &Sample) -> String {
    let roles = now.labelled("gridcast_connections", "role").filter(|(_, count)| *count > 0.0);
    let told: Vec<String> = roles.map(|(role, count)| format!("{} {role}", short(count))).collect();
    told.join(", ")
}

fn patterns(now: &Sample) -> String {
    format!("and {} patterns", short(now.number("patterns") as f64))
}

/// A number in few characters.
fn short(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T"])
}

fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut left = number;
    for unit in units {
        if left < step || Some(unit) == units.last() {
            let digits = usize::from(left < 10.0 && left.fract() > 0.05);
            return format!("{left:.digits$}{unit}");
        }
        left /= step;
    }
    format!("{number:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(at_s: u64, published: u64) -> Sample {
        let status = r#"{"connections":12000,"cores":2,"ready":true,"topics":3,"version":"1.2"}"#;
        let metrics = format!(
            "# TYPE x\ngridcast_publishes_total {published}\n\
             gridcast_connections{{role=\"subscriber\"}} 11999\n"
        );
        Sample::read(Duration::from_secs(at_s), status, &metrics).unwrap()
    }

    #[test]
    fn rates_are_of_the_time_between_two_samples() {
        let shown = render("h:1", &sample(10, 100), &sample(12, 3100));
        assert!(shown.starts_with("gridcast 1.2 at h:1: ready\n"), "{shown}");
        let row = |name: &str| shown.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(row("published").contains("1.5k  ") || row("published").contains("1.5k "));
        assert!(row("connections").contains("12k") && row("connections").contains("subscriber"));
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }

    #[test]
    fn a_server_that_began_anew_has_no_negative_rates() {
        assert!(!render("h", &sample(10, 9000), &sample(11, 5)).contains('-'));
    }

    #[test]
    fn what_is_no_status_is_refused() {
        assert!(Sample::read(Duration::ZERO, "ok", "").is_err());
    }
}
