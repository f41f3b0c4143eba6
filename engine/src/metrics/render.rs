//! The text of all counters, as OpenMetrics or for Prometheus: names, units and help texts.
//! Must not keep anything between two scrapes.

use crate::http::status::Status;
use crate::limits::memory::Usage;
use crate::metrics::counter::Counter;
use crate::metrics::histogram::{Histogram, Merged};
use crate::metrics::process::Process;
use crate::metrics::{AuthOutcome, CloseReason, CoreMetrics, Gate, Role, TlsFailure};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// What is not counted by cores but read at the moment of the scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Topics known.
    pub topics: u64,
    /// Of them, topics that nobody has published to yet.
    pub awaited: u64,
    /// Patterns somebody follows.
    pub patterns: u64,
    /// Bytes allocated to logs.
    pub log_bytes: u64,
    /// Connections there are, whatever they are for.
    pub connections: u64,
    /// Messages that a log refused after they were taken on, by the name of the reason.
    pub publishes_refused: [(&'static str, u64); 2],
    /// Log lines dropped because nothing took them.
    pub log_lines_dropped: u64,
    /// Whether the engine takes on work: neither starting nor draining.
    pub ready: bool,
    /// Whether it closes its connections because it is going to end.
    pub draining: bool,
    /// What memory is bounded by, by the name of the budget.
    pub budgets: [(&'static str, Usage); 3],
    /// Event loops there are.
    pub cores: u64,
    /// What the kernel says of the process.
    pub process: Process,
}

/// The same scrape as a text of Prometheus' own, version 0.0.4, from that of OpenMetrics: the names
/// of counters end alike everywhere, and there are neither units nor an end.
#[must_use]
pub fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            help = about;
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|t| t.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let about = help.strip_prefix(name).unwrap_or_default();
            text.push_str(&format!("# HELP {name}{suffix}{about}\n# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The text of one scrape, as OpenMetrics; `others` adds families of the same prefix.
#[must_use]
pub fn render(
    cells: &[Arc<CoreMetrics>],
    snapshot: &Snapshot,
    others: impl FnOnce(&mut Registry),
) -> String {
    let mut registry = Registry::default();
    let scrape = Scrape { cells: cells.to_vec(), snapshot: *snapshot };
    let own = registry.sub_registry_with_prefix("gridcast");
    own.register_collector(Box::new(scrape));
    others(own);
    registry.register_collector(Box::new(Descriptors(cells.to_vec())));
    registry.register_collector(Box::new(OfProcess(snapshot.process)));
    let mut text = String::with_capacity(16 << 10);
    match encode(&mut text, &registry) {
        Ok(()) => text,
        // Writing to a String cannot fail; a cut text would be refused by every scraper.
        Err(fmt::Error) => "# EOF\n".to_owned(),
    }
}

#[derive(Debug)]
struct Scrape {
    cells: Vec<Arc<CoreMetrics>>,
    snapshot: Snapshot,
}

/// The descriptors of the core that has most. Each core has a table, and so a limit, of its own:
/// the fullest is the first that is full.
#[derive(Debug)]
struct Descriptors(Vec<Arc<CoreMetrics>>);

impl Collector for Descriptors {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let fullest = self.0.iter().max_by_key(|core| core.descriptors());
        let (open, max) = fullest.map_or((0, 0), |c| (c.descriptors(), c.descriptors_max.value()));
        for (name, help, value) in [
            ("process_open_fds", "Open descriptors of the core that has most.", open),
            ("process_max_fds", "Descriptors that a core may have open (ulimit -n).", max),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

/// What every process tells, under the names that every client library uses.
#[derive(Debug)]
struct OfProcess(Process);

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Process { cpu_s, start_s, resident_bytes, virtual_bytes, threads } = self.0;
        let help = "User and system CPU time spent.";
        encoder
            .encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&cpu_s, None)?;
        let help = "Start of the process since 1970.";
        encoder
            .encode_descriptor("process_start_time", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&start_s)?;
        for (name, help, value) in [
            ("process_resident_memory", "Memory that is in RAM.", resident_bytes),
            ("process_virtual_memory", "Memory that is mapped.", virtual_bytes),
        ] {
            encoder
                .encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        encoder
            .encode_descriptor("process_threads", "Threads.", None, MetricType::Gauge)?
            .encode_gauge(&threads)
    }
}

type Total = (&'static str, Option<Unit>, &'static str, fn(&CoreMetrics) -> &Counter);

/// The plain counters.
const TOTALS: [Total; 21] = [
    ("connections_opened", None, "Connections accepted.", |m| &m.opened),
    (
        "accept_failures",
        None,
        "Times that accepting failed for want of descriptors or memory.",
        |m| &m.accept_failures,
    ),
    ("frames_received", None, "WebSocket frames received.", |m| &m.frames_in),
    ("received", Some(Unit::Bytes), "Bytes received.", |m| &m.bytes_in),
    ("publishes", None, "Messages published.", |m| &m.publishes),
    ("history_records", None, "Messages that /v1/history answered.", |m| &m.history_records),
    ("polls_answered", None, "Polls answered, empty or not.", |m| &m.polls_answered),
    ("poll_records", None, "Messages that /v1/poll answered.", |m| &m.poll_records),
    (
        "encodes",
        None,
        "Encodings made: one a message for each form in use, in its topic and in patterns.",
        |m| &m.encodes,
    ),
    (
        "deflates",
        None,
        "Times something was deflated for those: a payload once, also where patterns repeat it.",
        |m| &m.deflates,
    ),
    ("commands_refused", None, "Commands of multiplexed clients that were refused.", |m| {
        &m.commands_refused
    }),
    (
        "publishes_paced",
        None,
        "Times that a publisher ahead of its subscribers was made to wait.",
        |m| &m.publishes_paced,
    ),
    ("frames_sent", None, "Frames whose last byte the kernel took.", |m| &m.frames_out),
    ("sent", Some(Unit::Bytes), "Bytes the kernel took.", |m| &m.bytes_out),
    ("writes", None, "Writes that took bytes.", |m| &m.writes),
    ("writes_partial", None, "Writes that took less than they were given.", |m| &m.writes_partial),
    ("writes_blocked", None, "Writes that took nothing.", |m| &m.writes_blocked),
    (
        "frames_conflated",
        None,
        "Frames left out because the subscriber wants only the newest.",
        |m| &m.frames_conflated,
    ),
    (
        "resumes_after_gap",
        None,
        "Subscriptions that asked for a position retained no longer.",
        |m| &m.resumes_after_gap,
    ),
    ("gap_frames", None, "Frames that subscribers were told they missed.", |m| &m.gap_frames),
    ("tls_handshakes", None, "TLS handshakes completed.", |m| &m.tls_handshakes),
];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.encode_totals(&mut encoder)?;
        self.encode_labelled_totals(&mut encoder)?;
        self.encode_connections(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        self.encode_budgets(&mut encoder)?;
        self.encode_build(&mut encoder)?;
        self.encode_histograms(&mut encoder)
    }
}

impl Scrape {
    fn encode_totals(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        for (name, unit, help, cell) in &TOTALS {
            let total: u64 = self.cells.iter().map(|cells| cell(cells).value()).sum();
            encoder
                .encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, f64>(&total, None)?;
        }
        let help = "Log lines dropped because nothing read them in time.";
        encoder
            .encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&self.snapshot.log_lines_dropped, None)
            .map(drop)
    }

    fn encode_labelled_totals(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let refused = self.snapshot.publishes_refused;
        let refused = refused.map(|(reason, count)| (reason.to_owned(), count));
        let help =
            "Messages that the log did not take, of publishers that are told of none, by reason.";
        labelled_counters(encoder, "publishes_refused", help, "reason", &refused)?;

        let word = |reason: &CloseReason| reason.word().to_owned();
        let closing = self.per_label(CloseReason::ALL, word, |m| &m.closing);
        let help = "Connections the engine began to close, by reason.";
        labelled_counters(encoder, "connections_closing", help, "reason", &closing)?;

        let closed = self.per_label(CloseReason::ALL, word, |m| &m.closed);
        let help = "Connections that are gone, by how they ended.";
        labelled_counters(encoder, "connections_closed", help, "reason", &closed)?;

        let number = |status: &Status| status.number().to_string();
        let mut refused = self.per_label(Status::ALL, number, |m| &m.refused);
        // Successes are no refusals.
        refused.retain(|(number, _)| !number.starts_with('2'));
        let help = "Requests that were refused, by status.";
        labelled_counters(encoder, "requests_refused", help, "status", &refused)?;

        let gates = self.per_label(Gate::ALL, |gate| gate.word().to_owned(), |m| &m.turned_away);
        let help = "Clients that a limit or a rule turned away, by which.";
        labelled_counters(encoder, "turned_away", help, "gate", &gates)?;
        let word = |failure: &TlsFailure| failure.word().to_owned();
        let failures = self.per_label(TlsFailure::ALL, word, |m| &m.tls_failures);
        let help = "TLS handshakes that were not completed, by reason.";
        labelled_counters(encoder, "tls_handshakes_failed", help, "reason", &failures)?;
        let word = |outcome: &AuthOutcome| outcome.word().to_owned();
        let asked = self.per_label(AuthOutcome::ALL, word, |m| &m.asked);
        let help = "Requests that needed a token, by what became of them.";
        labelled_counters(encoder, "authentications", help, "outcome", &asked)?;

        let lapses = [
            ("disconnected".to_owned(), self.sum(|m| &m.lapses_disconnected)),
            ("skipped".to_owned(), self.sum(|m| &m.lapses_skipped)),
        ];
        let help = "Subscribers that retention passed, by what became of them.";
        labelled_counters(encoder, "lapses", help, "outcome", &lapses)
    }

    /// One family whose members add up: what has no role yet is a request.
    fn encode_connections(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut roles = self.per_label(Role::ALL, |role| role.word().to_owned(), |m| &m.roles);
        let with_role: u64 = roles.iter().map(|(_, count)| count).sum();
        let requests = self.snapshot.connections.saturating_sub(with_role);
        roles.push(("request".to_owned(), requests));
        let help = "Open connections, by what they are for.";
        labelled_gauges(encoder, "connections", None, help, ("role", &roles))
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let memory = [
            ("log".to_owned(), self.snapshot.log_bytes),
            ("connections".to_owned(), self.sum(|m| &m.slot_bytes)),
            ("pending".to_owned(), self.sum(|m| &m.pending_bytes)),
            ("buffers".to_owned(), self.sum(|m| &m.buffer_bytes)),
        ];
        let help = "User memory held, by what for.";
        labelled_gauges(encoder, "memory", Some(&Unit::Bytes), help, ("kind", &memory))?;
        let lagging = self.sum(|m| &m.lagging);
        let shed = self.cells.iter().map(|cells| cells.shedding.value()).max().unwrap_or(0);
        for (name, help, value) in [
            ("connections_lagging", "Connections that wait for their socket.", lagging),
            ("shedding", "Given up for want of memory: 0 nothing, 1 frames, 2 connections.", shed),
            ("topics", "Topics known.", self.snapshot.topics),
            (
                "topics_awaited",
                "Topics that are subscribed to and that nobody has published to yet.",
                self.snapshot.awaited,
            ),
            ("patterns", "Patterns that somebody follows.", self.snapshot.patterns),
            ("cores", "Event loops running.", self.snapshot.cores),
            ("ready", "1 while the engine takes on work.", self.snapshot.ready.into()),
            (
                "draining",
                "1 while connections are closed before the end.",
                self.snapshot.draining.into(),
            ),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Budgets that set no limit have an infinite one, so that a share of it is zero.
    fn encode_budgets(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let of = |value: fn(&Usage) -> f64| {
            self.snapshot.budgets.map(|(name, usage)| (name.to_owned(), value(&usage)))
        };
        let used = of(|usage| usage.held_bytes as f64);
        let help = "Memory in use of each budget; of sockets as it is reckoned.";
        let (name, unit) = ("memory_budget_used", Some(&Unit::Bytes));
        labelled_gauges(encoder, name, unit, help, ("budget", &used))?;
        let limits = of(|usage| match usage.bytes_max {
            0 => f64::INFINITY,
            bytes_max => bytes_max as f64,
        });
        let help = "Limit of each budget: memory.log_bytes_max and the like.";
        labelled_gauges(encoder, "memory_budget_limit", unit, help, ("budget", &limits))
    }

    fn encode_build(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let version = [(env!("CARGO_PKG_VERSION").to_owned(), 1)];
        let help = "Always 1; the version is its label.";
        labelled_gauges(encoder, "build_info", None, help, ("version", &version))
    }

    fn encode_histograms(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "From a publish to the end of the sweep that brought it to a core's sockets.";
        let sweeps = Histogram::merge(self.cells.iter().map(|m| &m.sweep_ns), NS_PER_S);
        histogram(encoder, "publish_to_last_write", Some(&Unit::Seconds), help, &sweeps)?;
        let help = "Turns of the event loops, sleeping not included.";
        let turns = Histogram::merge(self.cells.iter().map(|m| &m.turn_ns), NS_PER_S);
        histogram(encoder, "loop_turn", Some(&Unit::Seconds), help, &turns)?;
        let help = "Frames that one write carried.";
        let frames = Histogram::merge(self.cells.iter().map(|m| &m.frames_per_write), 1.0);
        histogram(encoder, "frames_per_write", None, help, &frames)
    }

    fn sum(&self, cell: impl Fn(&CoreMetrics) -> &Counter) -> u64 {
        self.cells.iter().map(|cells| cell(cells).value()).sum()
    }

    fn per_label<L, const N: usize>(
        &self,
        labels: &[L],
        word: impl Fn(&L) -> String,
        cells: impl Fn(&CoreMetrics) -> &[Counter; N],
    ) -> Vec<(String, u64)> {
        let mut counts = [0; N];
        for core in &self.cells {
            for (count, cell) in counts.iter_mut().zip(cells(core)) {
                *count += cell.value();
            }
        }
        labels.iter().map(word).zip(counts).collect()
    }
}

fn labelled_counters(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    label: &str,
    values: &[(String, u64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (word, value) in values {
        family
            .encode_family(&[(label, word.as_str())])?
            .encode_counter::<NoLabelSet, _, f64>(value, None)?;
    }
    Ok(())
}

fn labelled_gauges(
    encoder: &mut DescriptorEncoder,
    name: &str,
    unit: Option<&Unit>,
    help: &str,
    (label, values): (&str, &[(String, impl EncodeGaugeValue)]),
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (word, value) in values {
        family.encode_family(&[(label, word.as_str())])?.encode_gauge(value)?;
    }
    Ok(())
}

fn histogram(
    encoder: &mut DescriptorEncoder,
    name: &str,
    unit: Option<&Unit>,
    help: &str,
    merged: &Merged,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, unit, MetricType::Histogram)?
        .encode_histogram::<NoLabelSet>(merged.sum, merged.count, &merged.buckets, None)
}

const NS_PER_S: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'t>(text: &'t str, start: &str) -> &'t str {
        let found = text.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start:?} in\n{text}"))
    }

    #[test]
    fn cores_are_added_up() {
        let cells = [Arc::new(CoreMetrics::default()), Arc::new(CoreMetrics::default())];
        for (core, writes) in cells.iter().zip([2, 3]) {
            core.opened();
            core.role_began(Role::Subscriber);
            core.wrote(writes, 10 * writes, 100);
            core.closed(CloseReason::Lagged);
            core.refused(Status::NotFound);
            core.set_memory(1000, 5, 10);
            core.swept(2_000_000);
        }
        let usage = |held_bytes, bytes_max| Usage { held_bytes, bytes_max };
        let snapshot = Snapshot {
            connections: 5,
            log_bytes: 7,
            ready: true,
            budgets: [("log", usage(7, 8)), ("pending", usage(0, 9)), ("sockets", usage(6, 0))],
            ..Snapshot::default()
        };
        let text = render(&cells, &snapshot, |_| ());
        assert!(!text.contains("status=\"2"), "a success is no refusal");
        for expected in [
            "gridcast_connections_opened_total 2",
            "gridcast_connections{role=\"subscriber\"} 2",
            "gridcast_connections{role=\"request\"} 3",
            "gridcast_frames_sent_total 50",
            "gridcast_sent_bytes_total 200",
            "gridcast_connections_closed_total{reason=\"lagged\"} 2",
            "gridcast_requests_refused_total{status=\"404\"} 2",
            "gridcast_memory_bytes{kind=\"connections\"} 2000",
            "gridcast_memory_bytes{kind=\"log\"} 7",
            "gridcast_memory_budget_used_bytes{budget=\"log\"} 7.0",
            "gridcast_memory_budget_limit_bytes{budget=\"log\"} 8.0",
            "gridcast_memory_budget_used_bytes{budget=\"pending\"} 0.0",
            "gridcast_memory_budget_limit_bytes{budget=\"sockets\"} inf",
            "gridcast_ready 1",
            "gridcast_draining 0",
            "gridcast_frames_per_write_bucket{le=\"8.0\"} 0",
            "gridcast_frames_per_write_bucket{le=\"16.0\"} 5",
            "gridcast_publish_to_last_write_seconds_bucket{le=\"0.001048576\"} 0",
            "gridcast_publish_to_last_write_seconds_bucket{le=\"0.002097152\"} 2",
            "gridcast_publish_to_last_write_seconds_bucket{le=\"+Inf\"} 2",
            "gridcast_publish_to_last_write_seconds_count 2",
        ] {
            assert_eq!(line(&text, expected), expected);
        }
    }

    #[test]
    fn every_family_has_help_and_type_once_and_the_text_ends() {
        let text = render(&[Arc::new(CoreMetrics::default())], &Snapshot::default(), |_| ());
        let starts = |prefix: &str| {
            let lines = text.lines().filter(|line| line.starts_with(prefix));
            lines.map(|line| line.split(' ').nth(2).unwrap()).collect::<Vec<&str>>()
        };
        let (helps, types) = (starts("# HELP "), starts("# TYPE "));
        assert_eq!(helps, types);
        let mut unique = helps.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), helps.len());
        let known = |name: &&str| name.starts_with("gridcast_") || name.starts_with("process_");
        assert!(helps.iter().all(known));
        assert!(text.ends_with("# EOF\n"));
    }
}
