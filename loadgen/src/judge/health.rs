//! The gates of a run: conditions on the generator and its host. If one is breached, the numbers
//! prove nothing about the server and the run is invalid. A pure function of the plan, the outcome
//! and the samples.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::observe::sampler::{HostUsage, Samples};
use crate::os::socket;
use crate::plan::class::ClassPlan;
use crate::plan::plan::Plan;
use crate::receive::outcome::{Outcome, ThreadHealth};
use crate::scenario::groups::ClassKind;
use crate::time::units::format_ns;

/// The limits of the gates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HealthLimits {
    /// Schedule slip at p99.9, as a share of the shortest period.
    pub slip_p999_of_period: f64,
    /// Schedule slip at p99, as a share of the shortest period.
    pub slip_p99_of_period: f64,
    /// The smallest share of intended publishes that were done.
    pub published_min: f64,
    /// CPU share of any generator thread in any second of the measured phase.
    pub thread_busy: f64,
    /// The largest busy share of any of the generator's CPUs, whoever uses it, in any second of the
    /// measured phase.
    pub cpu_busy: f64,
    /// The lateness of timed waits that is always permitted, at p99.9, ns.
    pub jitter_ns: f64,
    /// The largest share of a subscriber thread's wake-ups that found more data than one read
    /// budget.
    pub backlog: f64,
    /// The largest share of the host's CPU time that was given to other guests.
    pub steal: f64,
    /// The largest number of retransmitted segments per delivery: ten times less than would show in
    /// a p99.9.
    pub retransmits_per_delivery: f64,
}

impl Default for HealthLimits {
    fn default() -> Self {
        HealthLimits {
            slip_p999_of_period: 0.05,
            slip_p99_of_period: 0.10,
            published_min: 0.999,
            thread_busy: 0.80,
            cpu_busy: 0.80,
            jitter_ns: 1e6,
            backlog: 0.01,
            steal: 0.02,
            retransmits_per_delivery: 0.0001,
        }
    }
}

/// Who caused a breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The generator did less than planned, or was stopped.
    #[default]
    Generator,
    /// Other work on the host, or the network.
    Host,
    /// The measured server.
    Server,
}

impl Cause {
    /// The name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Generator => "the generator",
            Cause::Host => "the host",
            Cause::Server => "the server",
        }
    }
}

/// One condition of a valid run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// A short name.
    pub name: Cow<'static, str>,
    /// The value found.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// The value found, for people.
    pub measured: String,
    /// The condition, for people.
    pub allowed: String,
    /// Whether the condition holds.
    pub pass: bool,
    /// What a breach means.
    pub why: Cow<'static, str>,
    /// Who caused a breach.
    #[serde(default)]
    pub cause: Cause,
}

impl Gate {
    fn caused_by(self, cause: Cause) -> Gate {
        Gate { cause, ..self }
    }
}

/// Whether every gate holds.
pub fn is_valid(gates: &[Gate]) -> bool {
    gates.iter().all(|gate| gate.pass)
}

/// Judges a run.
pub fn gates(
    plan: &Plan,
    outcome: &Outcome,
    samples: &Samples,
    limits: &HealthLimits,
) -> Vec<Gate> {
    let mut gates = vec![
        complete(plan, outcome),
        connected(plan, outcome),
        all_threads(plan, outcome),
        published(plan, outcome, limits),
        slip_p999(plan, outcome, limits),
        slip_p99(plan, outcome, limits),
        thread_busy(outcome, limits),
        jitter(plan, outcome, limits),
        backlog(outcome, limits),
        negatives(outcome, 0),
    ];
    gates.extend(of_host(plan, samples, limits));
    gates
}

/// Whether all hosts of a load reported until the end.
pub fn all_agents(reported: usize, planned: usize) -> Gate {
    at_least(
        "agents",
        reported as f64,
        planned as f64,
        text(format!("{reported} of {planned} reported"), "all"),
        "the results of a lost agent are missing",
    )
}

fn at_most(name: &'static str, value: f64, limit: f64, text: Text, why: &'static str) -> Gate {
    let Text { measured, allowed } = text;
    let (name, why) = (name.into(), why.into());
    let (pass, cause) = (value <= limit, Cause::Generator);
    Gate { name, value, limit, measured, allowed, pass, why, cause }
}

fn at_least(name: &'static str, value: f64, limit: f64, text: Text, why: &'static str) -> Gate {
    let Text { measured, allowed } = text;
    let (name, why) = (name.into(), why.into());
    let (pass, cause) = (value >= limit, Cause::Generator);
    Gate { name, value, limit, measured, allowed, pass, why, cause }
}

/// The numbers of a gate as text.
struct Text {
    measured: String,
    allowed: String,
}

fn text(measured: impl Into<String>, allowed: impl Into<String>) -> Text {
    Text { measured: measured.into(), allowed: allowed.into() }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn complete(plan: &Plan, outcome: &Outcome) -> Gate {
    let planned = plan.measure.as_secs_f64();
    let measured = outcome.measured.as_secs_f64();
    at_least(
        "complete",
        measured,
        planned * 0.999,
        text(format!("{measured:.3} s"), format!("{planned:.3} s")),
        "the measured phase was cut short",
    )
}

fn connected(plan: &Plan, outcome: &Outcome) -> Gate {
    let is_late = |class: u16| {
        plan.classes.get(usize::from(class)).is_some_and(|class| class.lifecycle.joins.is_some())
    };
    let subscribers = plan.subscribers.iter().filter(|subscriber| !is_late(subscriber.class));
    let planned = (subscribers.count() + plan.own_publishers().count()) as u64;
    // Sockets that join as the load grows are part of the load, but the ramp does not open them.
    let growing = outcome.classes.iter().filter(|class| class.lifecycle.joins.is_none());
    let subscribed = match plan.course.of_subscribers() {
        Some(_) => growing.map(|class| class.sockets).sum(),
        None => outcome.ramp.connected,
    };
    let connected = subscribed + outcome.publishers.count;
    at_least(
        "connected",
        connected as f64,
        planned as f64,
        text(format!("{connected} of {planned}{}", listed(&outcome.ramp.errors)), "all"),
        "fewer sockets than planned carry less than the planned load",
    )
    .caused_by(connecting(&outcome.ramp.errors))
}

/// Who caused that sockets were not opened: the server, unless this host lacked a resource.
fn connecting(errors: &BTreeMap<String, u64>) -> Cause {
    match errors.is_empty() || errors.keys().any(|reason| socket::is_local(reason)) {
        true => Cause::Generator,
        false => Cause::Server,
    }
}

fn listed(reasons: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = reasons.iter().map(|(why, count)| format!("{count} x {why}")).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn all_threads(plan: &Plan, outcome: &Outcome) -> Gate {
    let planned = plan.subscriber_threads.max(1) + plan.publishing_threads();
    let reported = outcome.threads.len();
    at_least(
        "threads",
        reported as f64,
        planned as f64,
        text(format!("{reported} reported"), format!("{planned}")),
        "the results of a thread that never reported are missing",
    )
}

fn published(plan: &Plan, outcome: &Outcome, limits: &HealthLimits) -> Gate {
    let publishers = &outcome.publishers;
    // An agent without publishers has nothing to publish.
    let share = match plan.own_publishers().next() {
        Some(_) => ratio(publishers.sent, publishers.intended),
        None => 1.0,
    };
    // Publishers that are reset on purpose may leave all of their frames unsent.
    let killed = plan.kill.map_or(0, |kill| u64::from(kill.publishers));
    let limit = limits.published_min - ratio(killed, plan.publishers.len() as u64);
    at_least(
        "published",
        share,
        limit,
        text(percent(share) + &listed(&publishers.closes), format!(">= {}", percent(limit))),
        "the server closed the publishers' sockets or took no more frames, so the load was lighter \
         than the scenario says",
    )
    .caused_by(Cause::Server)
}

fn period_ns(plan: &Plan) -> f64 {
    let shortest = plan.publishers.iter().map(|publisher| publisher.rate.period_ns()).min();
    shortest.unwrap_or(1_000_000_000) as f64
}

fn slip_p999(plan: &Plan, outcome: &Outcome, limits: &HealthLimits) -> Gate {
    slip(plan, outcome, "slip p99.9", 0.999, limits.slip_p999_of_period)
}

fn slip_p99(plan: &Plan, outcome: &Outcome, limits: &HealthLimits) -> Gate {
    slip(plan, outcome, "slip p99", 0.99, limits.slip_p99_of_period)
}

fn slip(plan: &Plan, outcome: &Outcome, name: &'static str, quantile: f64, share: f64) -> Gate {
    let slip_ns = outcome.publishers.slip.quantile(quantile) as f64;
    let limit_ns = period_ns(plan) * share;
    let allowed = format!("<= {} ({} of a period)", format_ns(limit_ns), percent(share));
    at_most(
        name,
        slip_ns,
        limit_ns,
        text(format_ns(slip_ns), allowed),
        "frames were sent too late for their latency to be the server's",
    )
}

fn thread_busy(outcome: &Outcome, limits: &HealthLimits) -> Gate {
    let busiest = outcome.threads.iter().max_by(|a, b| a.busy_max.total_cmp(&b.busy_max));
    let busy = busiest.map_or(0.0, |thread| thread.busy_max);
    let name = busiest.map_or("none", |thread| thread.name.as_str());
    at_most(
        "thread busy",
        busy,
        limits.thread_busy,
        text(format!("{} ({name})", percent(busy)), format!("<= {}", percent(limits.thread_busy))),
        "a generator thread was short of CPU, so waiting for it counts as latency",
    )
}

/// Late wake-ups cause late publishes, so a load that tolerates one tolerates the other.
fn jitter(plan: &Plan, outcome: &Outcome, limits: &HealthLimits) -> Gate {
    let limit_ns = limits.jitter_ns.max(limits.slip_p999_of_period * period_ns(plan));
    let late = |thread: &ThreadHealth| thread.gap.quantile(0.999);
    let latest_ns = outcome.threads.iter().map(late).max().unwrap_or(0) as f64;
    at_most(
        "wake-up jitter",
        latest_ns,
        limit_ns,
        text(format_ns(latest_ns), format!("<= {}", format_ns(limit_ns))),
        "the host woke the generator late, and would wake a server as late",
    )
    .caused_by(Cause::Host)
}

fn backlog(outcome: &Outcome, limits: &HealthLimits) -> Gate {
    let share = |thread: &ThreadHealth| ratio(thread.budget_hits, thread.wakeups);
    let worst = outcome.threads.iter().map(share).fold(0.0, f64::max);
    at_most(
        "receive backlog",
        worst,
        limits.backlog,
        text(format!("{} of wake-ups", percent(worst)), format!("<= {}", percent(limits.backlog))),
        "frames waited in the generator, not in the server",
    )
}

/// Latencies below zero by more than the error of the clocks, ns.
pub fn negatives(outcome: &Outcome, bound_ns: u64) -> Gate {
    let spread = &outcome.spread;
    let of_classes = outcome.classes.iter().flat_map(|class| [&class.service, &class.e2e]);
    let all = of_classes.chain([&outcome.publishers.slip, &spread.first, &spread.last]);
    let beyond = all.filter(|histogram| histogram.min_negative().unsigned_abs() > bound_ns);
    let negatives: u64 = beyond.map(|histogram| histogram.negatives()).sum();
    at_most(
        NEGATIVES,
        negatives as f64,
        0.0,
        text(negatives.to_string(), "0"),
        "nothing can arrive before it was sent: a clock is wrong",
    )
}

/// The name of that gate.
pub const NEGATIVES: &str = "negative latencies";

/// The gates of the host, and whether a server on it stayed alive.
pub fn of_host(plan: &Plan, samples: &Samples, limits: &HealthLimits) -> Vec<Gate> {
    let Some((start, end)) = samples.measured() else {
        return vec![at_least(
            "sampled",
            0.0,
            1.0,
            text("no", "yes"),
            "the measured phase was never seen by the sampler",
        )];
    };
    let deliveries = end.received.saturating_sub(start.received);
    let mut gates = vec![cpu_busy(plan, samples, limits), steal(&start.host, &end.host, limits)];
    gates.extend(kernel_counters(plan, &start.host, &end.host, deliveries, limits));
    if start.server.is_some() {
        let gate = at_least(
            "server alive",
            f64::from(u8::from(end.server.is_some())),
            1.0,
            text(if end.server.is_some() { "yes" } else { "no" }, "yes"),
            "the measured process ended before the measured phase did",
        );
        gates.push(gate.caused_by(Cause::Server));
    }
    gates
}

/// The busiest second of the generator's CPUs. A thread that must wait for a CPU is late, however
/// little CPU time the thread itself uses.
fn cpu_busy(plan: &Plan, samples: &Samples, limits: &HealthLimits) -> Gate {
    let seconds = samples.measured_seconds();
    let busiest = |cpu: usize| {
        let shares = seconds.iter().map(|(from, to)| from.host.busy_share(&to.host, cpu));
        (shares.fold(0.0, f64::max), cpu)
    };
    let cpus = plan.cpus.iter().flatten().map(|cpu| busiest(*cpu));
    let (busy, cpu) = cpus.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
    let measured = match plan.cpus {
        Some(_) => format!("{} (CPU {cpu})", percent(busy)),
        None => "any CPU may be used".to_owned(),
    };
    at_most(
        "generator CPUs",
        busy,
        limits.cpu_busy,
        text(measured, format!("<= {}", percent(limits.cpu_busy))),
        "other processes used the generator's CPUs and delayed it",
    )
    .caused_by(Cause::Host)
}

fn steal(start: &HostUsage, end: &HostUsage, limits: &HealthLimits) -> Gate {
    let pairs = start.cpus.iter().zip(&end.cpus);
    let (stolen, total) = pairs.fold((0, 0), |(stolen, total), (from, to)| {
        (
            stolen + to.steal_ticks.saturating_sub(from.steal_ticks),
            total + to.total_ticks.saturating_sub(from.total_ticks),
        )
    });
    let share = ratio(stolen, total);
    at_most(
        "steal",
        share,
        limits.steal,
        text(percent(share), format!("<= {}", percent(limits.steal))),
        "the hypervisor gave the CPUs to other guests",
    )
    .caused_by(Cause::Host)
}

fn kernel_counters(
    plan: &Plan,
    start: &HostUsage,
    end: &HostUsage,
    deliveries: u64,
    limits: &HealthLimits,
) -> Vec<Gate> {
    let none = |name, from: u64, to: u64, why| {
        let count = to.saturating_sub(from);
        let count_text = text(count.to_string(), "0");
        at_most(name, count as f64, 0.0, count_text, why).caused_by(Cause::Host)
    };
    let mut gates = vec![
        none(
            "listen overflows",
            start.listen_overflows,
            end.listen_overflows,
            "connections waited for an accept queue",
        ),
        none("throttled", start.throttled, end.throttled, "the control group ran out of CPU"),
    ];
    // Subscribers that stop reading on purpose, and sockets reset on purpose, cause both of these.
    let is_calm = |class: &ClassPlan| class.kind == ClassKind::Healthy && class.lifecycle.is_calm();
    if plan.kill.is_none() && plan.classes.iter().all(is_calm) {
        gates.push(none(
            "pruned queues",
            start.prunes,
            end.prunes,
            "the kernel discarded received data for lack of buffer memory",
        ));
        gates.push(retransmits(start, end, deliveries, limits));
    }
    gates
}

fn retransmits(start: &HostUsage, end: &HostUsage, deliveries: u64, limits: &HealthLimits) -> Gate {
    let needless = end.needless_retransmits.saturating_sub(start.needless_retransmits);
    let count = end.retransmits.saturating_sub(start.retransmits).saturating_sub(needless);
    let share = count as f64 / deliveries.max(1) as f64;
    let limit = limits.retransmits_per_delivery;
    at_most(
        "retransmits",
        share,
        limit,
        text(
            format!("{count} ({:.4} % of deliveries)", share * 100.0),
            format!("<= {:.4} %", limit * 100.0),
        ),
        "lost segments wait for a retransmission timer, not for the server",
    )
    .caused_by(Cause::Host)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixtures;

    fn judged(change: impl FnOnce(&mut Plan, &mut Outcome, &mut Samples)) -> Vec<Gate> {
        let (mut plan, mut outcome, mut samples) =
            (fixtures::plan(), fixtures::outcome(), fixtures::samples());
        change(&mut plan, &mut outcome, &mut samples);
        gates(&plan, &outcome, &samples, &HealthLimits::default())
    }

    /// The names of the gates that a change breaches.
    fn breached(change: impl FnOnce(&mut Plan, &mut Outcome, &mut Samples)) -> Vec<String> {
        let breached = judged(change).into_iter().filter(|gate| !gate.pass);
        breached.map(|gate| gate.name.into_owned()).collect()
    }

    fn end_host(samples: &mut Samples) -> &mut HostUsage {
        &mut samples.measure_end.as_mut().unwrap().host
    }

    #[test]
    fn a_clean_run_passes_every_gate() {
        let gates = judged(|_, _, _| {});
        assert!(is_valid(&gates), "{gates:?}");
        assert_eq!(gates.len(), 17);
    }

    #[test]
    fn the_manual_has_every_gate() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/load-generator.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, table) = page.split_once("<!-- gates -->\n\n").unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|')).skip(2);
        let names = rows
            .flat_map(|row| row.split(" | ").take(1).flat_map(|c| c.split('`').skip(1).step_by(2)));
        let mut shown: Vec<&str> = names.collect();
        let unsampled = of_host(&fixtures::plan(), &Samples::default(), &HealthLimits::default());
        let all = [judged(|_, _, _| {}), unsampled, vec![all_agents(1, 1)]].concat();
        let mut names: Vec<&str> = all.iter().map(|gate| gate.name.as_ref()).collect();
        shown.sort_unstable();
        names.sort_unstable();
        assert_eq!(shown, names);
    }

    #[test]
    fn an_interrupted_run_is_invalid() {
        assert_eq!(breached(|_, o, _| o.measured = Duration::from_millis(9_900)), ["complete"]);
    }

    #[test]
    fn missing_sockets_threads_and_publishes_are_seen() {
        assert_eq!(breached(|_, o, _| o.ramp.connected -= 1), ["connected"]);
        assert_eq!(breached(|_, o, _| drop(o.threads.pop())), ["threads"]);
        assert_eq!(breached(|_, o, _| o.publishers.sent = 5_993), ["published"]);
        assert_eq!(breached(|_, o, _| o.publishers.count -= 1), ["connected"]);
        assert!(breached(|_, o, _| o.publishers.sent = 5_994).is_empty());
    }

    #[test]
    fn sockets_with_whom_the_load_grows_are_of_the_load() {
        let grown = |sockets: u64| {
            breached(|plan, outcome, _| {
                plan.course.profile = "5 steps of subscribers".parse().ok();
                outcome.ramp.connected = 400;
                outcome.classes[0].sockets = sockets;
            })
        };
        assert!(grown(2_000).is_empty());
        assert_eq!(grown(1_999), ["connected"]);
    }

    #[test]
    fn late_publishes_are_seen_at_both_quantiles() {
        // A period is 33.3 ms: 5 % are 1.67 ms, 10 % are 3.33 ms.
        let late = |ns: i64, count: usize| {
            breached(move |_, o, _| (0..count).for_each(|_| o.publishers.slip.record(ns)))
        };
        assert_eq!(late(2_000_000, 5), ["slip p99.9"]);
        assert_eq!(late(4_000_000, 50), ["slip p99.9", "slip p99"]);
        assert!(late(1_500_000, 50).is_empty());
    }

    #[test]
    fn a_saturated_generator_is_seen() {
        assert_eq!(breached(|_, o, _| o.threads[1].busy_max = 0.81), ["thread busy"]);
        assert_eq!(breached(|_, o, _| o.threads[1].budget_hits = 11), ["receive backlog"]);
        assert_eq!(breached(|_, o, _| o.threads[0].gap.record(1_700_000)), ["wake-up jitter"]);
    }

    #[test]
    fn negative_latencies_are_flagged() {
        assert_eq!(breached(|_, o, _| o.classes[0].e2e.record(-1)), ["negative latencies"]);
        assert_eq!(breached(|_, o, _| o.publishers.slip.record(-1)), ["negative latencies"]);
    }

    #[test]
    fn a_busy_host_is_seen() {
        assert_eq!(breached(|_, _, s| end_host(s).cpus[1].steal_ticks += 50), ["steal"]);
        assert_eq!(breached(|_, _, s| end_host(s).throttled += 1), ["throttled"]);
        assert_eq!(breached(|_, _, s| end_host(s).listen_overflows += 1), ["listen overflows"]);
        assert_eq!(breached(|_, _, s| end_host(s).prunes += 1), ["pruned queues"]);
        assert_eq!(breached(|_, _, s| end_host(s).retransmits += 61), ["retransmits"]);
        assert!(breached(|_, _, s| end_host(s).retransmits += 60).is_empty());
        let acknowledged_twice = |needless: u64| {
            breached(|_, _, s| {
                end_host(s).retransmits += 161;
                end_host(s).needless_retransmits += needless;
            })
        };
        assert!(acknowledged_twice(101).is_empty(), "a late acknowledgement is no lost segment");
        assert_eq!(acknowledged_twice(100), ["retransmits"]);
    }

    #[test]
    fn a_cpu_that_somebody_else_keeps_busy_is_seen() {
        let busy = |plan: &mut Plan, samples: &mut Samples, ticks: u64| {
            plan.cpus = Some(vec![1]);
            end_host(samples).cpus[1].busy_ticks += ticks;
        };
        assert_eq!(breached(|p, _, s| busy(p, s, 400)), ["generator CPUs"]);
        assert!(breached(|p, _, s| busy(p, s, 250)).is_empty());
        assert!(breached(|_, _, s| end_host(s).cpus[1].busy_ticks += 400).is_empty());
    }

    #[test]
    fn readers_that_stop_on_purpose_excuse_what_they_cause() {
        let found = breached(|plan, _, samples| {
            plan.classes[0].kind = ClassKind::Stalled;
            end_host(samples).prunes += 1;
            end_host(samples).retransmits += 9_999;
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_server_that_died_or_a_blind_sampler_void_the_run() {
        let died = |_: &mut Plan, _: &mut Outcome, samples: &mut Samples| {
            samples.measure_end.as_mut().unwrap().server = None;
        };
        assert_eq!(breached(died), ["server alive"]);
        assert_eq!(breached(|_, _, samples| samples.measure_end = None), ["sampled"]);
    }

    #[test]
    fn every_breach_says_what_it_means() {
        for gate in judged(|_, _, _| {}) {
            assert!(!gate.why.is_empty() && !gate.measured.is_empty(), "{}", gate.name);
        }
    }
}
