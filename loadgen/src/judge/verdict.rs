//! The verdict on a run: whether it is valid, whether the goals were met, and the exit code. Must
//! not print or write anything.

use std::time::Duration;

use serde::Serialize;

use crate::codec::form::Form;
use crate::judge::exit::Exit;
use crate::judge::health;
use crate::judge::health::{Cause, Gate};
use crate::observe::clocks;
use crate::receive::censored::{Censored, Latency};
use crate::receive::outcome::Outcome;
use crate::receive::outcome::class::ClassOutcome;
use crate::scenario::groups::ClassKind;
use crate::scenario::slo::Slo;
use crate::time::units::format_ns;

/// One goal of a scenario and its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// The key in the scenario's `[slo]`, or the name of a goal that always applies.
    pub goal: &'static str,
    /// The value found: nanoseconds or a count.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// The value found, for people.
    pub measured: String,
    /// The value allowed, for people.
    pub allowed: String,
    /// Whether the goal was met for certain.
    pub pass: bool,
    /// `met`, `missed`, or why it is undecided.
    pub result: String,
}

impl Goal {
    /// Whether the error of several hosts' clocks leaves the goal undecided.
    pub fn is_undecided(&self) -> bool {
        !self.pass && self.result != MISSED
    }

    /// No goal counts as met if the server failed.
    fn mark_undecided(&mut self) {
        (self.pass, self.result) = (false, "undecided: the server failed".to_owned());
    }

    /// The missed goal as text, and whether that is certain.
    pub fn shortfall(&self) -> String {
        let Goal { goal, measured, allowed, result, .. } = self;
        match self.is_undecided() {
            true => format!("{goal} {measured} (allowed {allowed}) {result}"),
            false => format!("{goal} {measured} (allowed {allowed})"),
        }
    }
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether the run is valid.
    pub valid: bool,
    /// The gates.
    pub gates: Vec<Gate>,
    /// The goals.
    pub goals: Vec<Goal>,
}

impl Verdict {
    /// Judges a run by its gates and the goals of its scenario. `bound_ns` is the largest error of
    /// a latency between hosts, in either direction.
    pub fn of(gates: Vec<Gate>, slo: &Slo, outcome: &Outcome, bound_ns: u64) -> Verdict {
        let mut goals = goals(slo, outcome, bound_ns);
        if has_server_failed(&gates) {
            goals.iter_mut().filter(|goal| goal.pass).for_each(Goal::mark_undecided);
        }
        Verdict { valid: health::is_valid(&gates), goals, gates }
    }

    /// The exit code: an invalid run is neither good nor bad, whatever its numbers say, unless the
    /// server failed. An undecided goal counts as missed: a stated goal must be proved.
    pub fn exit(&self) -> Exit {
        match (self.valid, self.goals.iter().all(|goal| goal.pass)) {
            (false, _) if has_server_failed(&self.gates) => Exit::ServerFailed,
            (false, _) => Exit::InvalidRun,
            (true, false) => Exit::SloViolated,
            (true, true) => Exit::Ok,
        }
    }

    /// Why a run is invalid and who caused it, a sentence per breach; those of the server first.
    pub fn reasons(&self) -> Vec<String> {
        let mut breached: Vec<_> = self.gates.iter().filter(|gate| !gate.pass).collect();
        breached.sort_by_key(|gate| gate.cause != Cause::Server);
        let reason = |gate: &Gate| {
            let Gate { name, measured, allowed, why, cause, .. } = gate;
            format!("{name}: {measured} (allowed {allowed}): {why}; by {}", cause.name())
        };
        breached.into_iter().map(reason).collect()
    }
}

fn has_server_failed(gates: &[Gate]) -> bool {
    gates.iter().any(|gate| !gate.pass && gate.cause == Cause::Server)
}

fn goals(slo: &Slo, outcome: &Outcome, bound_ns: u64) -> Vec<Goal> {
    let healthy: Vec<_> =
        outcome.classes.iter().filter(|class| class.kind == ClassKind::Healthy).collect();
    let sum = |count: fn(&ClassOutcome) -> u64| healthy.iter().map(|class| count(class)).sum();
    let every = |count: fn(&ClassOutcome) -> u64| outcome.classes.iter().map(count).sum();
    let counts: [(&'static str, u64, u64); 7] = [
        ("loss", sum(|class| class.lost), slo.loss),
        // A server that closes a healthy socket does not deliver what it would have sent.
        ("undelivered", sum(ClassOutcome::tail), slo.undelivered),
        ("unserved", sum(|class| class.unserved), 0),
        ("misdelivered", every(|class| class.misdelivered), slo.misdelivered),
        ("reorder", every(|class| class.reordered), slo.reorder),
        ("duplicate", every(|class| class.duplicated), slo.duplicate),
        ("corrupt", every(|class| class.corrupt), slo.corrupt),
    ];
    let asked = healthy.iter().filter(|class| class.asked_rate().is_some());
    let outside = asked.map(|class| class.rates.outside).reduce(|sum, more| sum + more);
    let is_enveloped = outcome.classes.iter().any(|class| class.form != Form::Raw);
    let misnumbered = is_enveloped.then(|| ("misnumbered", every(|class| class.misnumbered), 0));
    let counts = counts.into_iter().chain(misnumbered);
    let counts = counts.chain(outside.map(|outside| ("rate", outside, 0)));
    let is_disrupted = healthy.iter().any(|class| !class.returns.is_empty());
    let outside = |class: &ClassOutcome| class.returns.shut_out + class.returns.unserved;
    let counts = counts.chain(is_disrupted.then(|| ("shut out", sum(outside), 0)));
    let mut e2e = Censored::default();
    judged(&healthy).for_each(|class| e2e.add(&class.e2e, class.waiting.as_deref()));
    counts.map(count_goal).chain(latency_goals(slo, &e2e, bound_ns)).collect()
}

/// The latency goals, compared with these latencies.
pub fn latency_goals(slo: &Slo, e2e: &Censored, bound_ns: u64) -> Vec<Goal> {
    let goal = |(goal, quantile, limit): (&'static str, f64, Duration)| {
        let limit_ns = limit.as_nanos() as f64;
        match e2e.is_empty() {
            true => unmeasured(goal, limit_ns),
            false => latency_goal(goal, e2e.quantile(quantile), bound_ns, limit_ns),
        }
    };
    slo.latencies().map(goal).collect()
}

/// The classes whose latency is scored.
pub fn scored(outcome: &Outcome) -> Vec<&ClassOutcome> {
    let is_healthy = |class: &&ClassOutcome| class.kind == ClassKind::Healthy;
    let healthy: Vec<_> = outcome.classes.iter().filter(is_healthy).collect();
    judged(&healthy).collect()
}

/// The scored classes: those whose sockets stay connected, if there are any.
fn judged<'s, 'o>(
    healthy: &'s [&'o ClassOutcome],
) -> impl Iterator<Item = &'o ClassOutcome> + use<'s, 'o> {
    let has_steady = healthy.iter().any(|class| !class.lifecycle.is_disrupted());
    let is_judged = move |class: &&ClassOutcome| !(has_steady && class.lifecycle.is_disrupted());
    healthy.iter().copied().filter(is_judged)
}

fn count_goal((goal, value, limit): (&'static str, u64, u64)) -> Goal {
    let pass = value <= limit;
    Goal {
        goal,
        value: value as f64,
        limit: limit as f64,
        measured: value.to_string(),
        allowed: format!("<= {limit}"),
        pass,
        result: if pass { MET } else { MISSED }.to_owned(),
    }
}

/// A latency goal without any measured frame: it is never met.
fn unmeasured(goal: &'static str, limit_ns: f64) -> Goal {
    Goal {
        goal,
        value: 0.0,
        limit: limit_ns,
        measured: "nothing measured".to_owned(),
        allowed: format!("<= {}", format_ns(limit_ns)),
        pass: false,
        result: MISSED.to_owned(),
    }
}

/// A latency with its error bound; if it is a lower bound, it may be any amount larger.
fn latency_goal(goal: &'static str, latency: Latency, bound_ns: u64, limit_ns: f64) -> Goal {
    let value_ns = latency.ns as f64;
    let (least_ns, most_ns) = (value_ns - bound_ns as f64, value_ns + bound_ns as f64);
    let result = match (most_ns <= limit_ns, least_ns > limit_ns) {
        (_, true) => MISSED.to_owned(),
        (true, _) if !latency.is_least => MET.to_owned(),
        _ if latency.is_least => "undecided: frames did not arrive".to_owned(),
        _ => format!("undecided: ±{}", format_ns(bound_ns as f64)),
    };
    Goal {
        goal,
        value: value_ns,
        limit: limit_ns,
        measured: clocks::latency(latency.ns, latency.is_least, bound_ns),
        allowed: format!("<= {}", format_ns(limit_ns)),
        pass: result == MET,
        result,
    }
}

const MET: &str = "met";
const MISSED: &str = "missed";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::judge::health::HealthLimits;
    use crate::receive::histograms::SignedHistogram;
    use crate::receive::outcome::returns::Returns;
    use crate::scenario::lifecycle::Joins;

    fn verdict(slo: Slo, change: impl FnOnce(&mut Outcome)) -> Verdict {
        verdict_within(0, slo, change)
    }

    fn verdict_within(bound_ns: u64, slo: Slo, change: impl FnOnce(&mut Outcome)) -> Verdict {
        let mut outcome = fixtures::outcome();
        change(&mut outcome);
        let limits = HealthLimits::default();
        let gates = health::gates(&fixtures::plan(), &outcome, &fixtures::samples(), &limits);
        Verdict::of(gates, &slo, &outcome, bound_ns)
    }

    #[test]
    fn a_clean_run_without_stated_goals_is_ok() {
        let verdict = verdict(Slo::default(), |_| {});
        assert_eq!(verdict.exit(), Exit::Ok);
        assert!(verdict.reasons().is_empty());
    }

    #[test]
    fn loss_is_a_violation_even_if_no_goal_is_stated() {
        assert_eq!(verdict(Slo::default(), |o| o.classes[0].lost = 1).exit(), Exit::SloViolated);
        let tolerant = Slo { loss: 1, ..Slo::default() };
        assert_eq!(verdict(tolerant, |o| o.classes[0].lost = 1).exit(), Exit::Ok);
    }

    #[test]
    fn what_slow_and_stalled_readers_miss_is_their_own_doing() {
        let exit = |kind| {
            let add = |outcome: &mut Outcome| {
                let mut class = fixtures::class("other", kind);
                (class.lost, class.undelivered, class.undelivered_after_close) = (500, 500, 500);
                outcome.classes.push(class);
            };
            verdict(Slo::default(), add).exit()
        };
        assert_eq!(exit(ClassKind::Stalled), Exit::Ok);
        assert_eq!(exit(ClassKind::Slow { bytes_per_s: 1 }), Exit::Ok);
        assert_eq!(exit(ClassKind::Healthy), Exit::SloViolated);
    }

    #[test]
    fn rates_and_numbers_are_judged_where_they_were_asked_for() {
        let asked = |outcome: &mut Outcome| {
            outcome.classes[0].pace.rate = Some(4);
            outcome.classes[0].rates.note(40, 500, 50.0, 4);
        };
        assert_eq!(verdict(Slo::default(), asked).exit(), Exit::Ok);
        let found = verdict(Slo::default(), |outcome| {
            asked(outcome);
            outcome.classes[0].rates.note(80, 500, 50.0, 4);
        });
        assert_eq!(found.exit(), Exit::SloViolated);
        assert!(found.goals.iter().any(|goal| goal.goal == "rate" && !goal.pass));
        let misnumbered = |outcome: &mut Outcome| {
            outcome.classes[0].form = Form::Bin;
            outcome.classes[0].misnumbered = 1;
        };
        assert_eq!(verdict(Slo::default(), misnumbered).exit(), Exit::SloViolated);
    }

    #[test]
    fn the_latency_of_an_overlay_is_that_of_everybody_else() {
        let slo = Slo { e2e_max: Some(Duration::from_micros(1_119)), ..Slo::default() };
        let disrupted = |shut_out: u64| {
            move |outcome: &mut Outcome| {
                let mut class = fixtures::class("other", ClassKind::Healthy);
                class.lifecycle.joins =
                    Some(Joins { at: Duration::ZERO, over: Duration::from_secs(1) });
                class.returns = Returns { came: 5, shut_out, ..Returns::default() };
                class.e2e.record(9_000_000);
                outcome.classes.push(class);
            }
        };
        assert_eq!(verdict(slo, disrupted(0)).exit(), Exit::Ok);
        assert_eq!(verdict(slo, disrupted(1)).exit(), Exit::SloViolated, "one never came in");
        let alone = verdict(slo, |outcome| {
            disrupted(0)(outcome);
            outcome.classes.remove(0);
        });
        assert_eq!(alone.exit(), Exit::SloViolated, "there is nobody else");
    }

    #[test]
    fn what_nobody_asked_for_is_a_violation_in_every_class() {
        for kind in [ClassKind::Healthy, ClassKind::Stalled, ClassKind::Slow { bytes_per_s: 1 }] {
            let add = |outcome: &mut Outcome| {
                let class = fixtures::class("other", kind);
                outcome.classes.push(ClassOutcome { misdelivered: 3, ..class });
            };
            let found = verdict(Slo::default(), add);
            assert_eq!(found.exit(), Exit::SloViolated, "{kind:?}");
            let missed = found.goals.iter().find(|goal| !goal.pass).unwrap();
            assert_eq!(missed.shortfall(), "misdelivered 3 (allowed <= 0)");
            let tolerant = Slo { misdelivered: 3, ..Slo::default() };
            assert_eq!(verdict(tolerant, add).exit(), Exit::Ok);
        }
    }

    #[test]
    fn an_empty_measurement_meets_no_goal() {
        let nothing = |outcome: &mut Outcome| outcome.classes[0].e2e = SignedHistogram::new();
        let e2e_p99 = Some(Duration::from_secs(9));
        let found = verdict(Slo { e2e_p99, ..Slo::default() }, nothing);
        assert_eq!(found.exit(), Exit::SloViolated);
        let goal = found.goals.iter().find(|goal| !goal.pass).unwrap();
        assert_eq!(goal.shortfall(), "e2e_p99 nothing measured (allowed <= 9.00 s)");
        let silent = |outcome: &mut Outcome| outcome.classes[0].unserved = 1;
        assert_eq!(verdict(Slo::default(), silent).exit(), Exit::SloViolated);
    }

    #[test]
    fn damage_is_judged_in_every_class() {
        for kind in [ClassKind::Stalled, ClassKind::Slow { bytes_per_s: 1 }] {
            for change in [
                |class: &mut ClassOutcome| class.reordered = 1,
                |class: &mut ClassOutcome| class.duplicated = 1,
                |class: &mut ClassOutcome| class.corrupt = 1,
                |class: &mut ClassOutcome| {
                    (class.form, class.misnumbered) = (Form::Bin, 1);
                },
            ] {
                let found = verdict(Slo::default(), |outcome| {
                    outcome.classes.push(fixtures::class("other", kind));
                    change(&mut outcome.classes[1]);
                });
                assert_eq!(found.exit(), Exit::SloViolated, "{kind:?}");
            }
        }
    }

    #[test]
    fn a_tail_is_undelivered_and_not_lost() {
        for change in [
            |o: &mut Outcome| o.classes[0].undelivered = 7,
            |o: &mut Outcome| o.classes[0].undelivered_after_close = 7,
        ] {
            let strict = verdict(Slo::default(), change);
            assert_eq!(strict.exit(), Exit::SloViolated);
            let missed: Vec<_> = strict.goals.iter().filter(|goal| !goal.pass).collect();
            assert_eq!(missed[0].shortfall(), "undelivered 7 (allowed <= 0)");
            assert_eq!(missed.len(), 1, "{missed:?}");
            let patient = Slo { undelivered: 7, ..Slo::default() };
            assert_eq!(verdict(patient, change).exit(), Exit::Ok);
        }
    }

    #[test]
    fn a_latency_that_is_open_upwards_is_never_met() {
        // A thousand frames arrived within 1.2 ms; twenty were two seconds old at the end.
        let waited = |outcome: &mut Outcome| {
            outcome.classes[0].note_waiting(0, 2_000_000_000, 20);
        };
        for (limit_ms, result) in
            [(1, "missed"), (1_999, "missed"), (2_500, "undecided: frames did not arrive")]
        {
            let e2e_p99 = Some(Duration::from_millis(limit_ms));
            let found = verdict(Slo { e2e_p99, ..Slo::default() }, waited);
            let goal = found.goals.iter().find(|goal| goal.goal == "e2e_p99").unwrap();
            assert_eq!((goal.result.as_str(), goal.pass), (result, false), "{goal:?}");
            assert!(goal.measured.starts_with(">= 2.00"), "{goal:?}");
        }
        let below = Slo { e2e_p50: Some(Duration::from_millis(2)), ..Slo::default() };
        assert_eq!(
            verdict(below, waited).exit(),
            Exit::Ok,
            "the frames that arrived decide the median"
        );
    }

    #[test]
    fn damage_and_disorder_are_violations() {
        for change in [
            |o: &mut Outcome| o.classes[0].reordered = 1,
            |o: &mut Outcome| o.classes[0].duplicated = 1,
            |o: &mut Outcome| o.classes[0].corrupt = 1,
        ] {
            assert_eq!(verdict(Slo::default(), change).exit(), Exit::SloViolated);
        }
    }

    #[test]
    fn latency_goals_bound_their_quantiles() {
        // End to end runs from 120 µs to 1,119 µs in steps of 1 µs.
        let exit = |slo: Slo| verdict(slo, |_| {}).exit();
        let us = |us| Some(Duration::from_micros(us));
        assert_eq!(exit(Slo { e2e_p50: us(620), ..Slo::default() }), Exit::Ok);
        assert_eq!(exit(Slo { e2e_p50: us(600), ..Slo::default() }), Exit::SloViolated);
        assert_eq!(exit(Slo { e2e_p99: us(1_000), ..Slo::default() }), Exit::SloViolated);
        assert_eq!(exit(Slo { e2e_max: us(1_119), ..Slo::default() }), Exit::Ok);
        assert_eq!(exit(Slo { e2e_max: us(1_118), ..Slo::default() }), Exit::SloViolated);
    }

    #[test]
    fn what_the_clocks_leave_undecided_is_not_met_and_reported_so() {
        let slo = Slo { e2e_max: Some(Duration::from_micros(1_200)), ..Slo::default() };
        // The maximum is 1,119 µs, and open is what it and the bound span.
        for (bound_ns, limit_us, is_undecided, exit) in [
            (84_000, 1_203, false, Exit::Ok),
            (84_000, 1_202, true, Exit::SloViolated),
            (84_000, 1_119, true, Exit::SloViolated),
            (84_000, 1_035, true, Exit::SloViolated),
            (84_000, 1_034, false, Exit::SloViolated),
            (0, 1_119, false, Exit::Ok),
            (0, 1_118, false, Exit::SloViolated),
        ] {
            let slo = Slo { e2e_max: Some(Duration::from_micros(limit_us)), ..slo };
            let verdict = verdict_within(bound_ns, slo, |_| {});
            let goal = verdict.goals.iter().find(|goal| goal.goal == "e2e_max").unwrap();
            assert_eq!(
                (goal.is_undecided(), verdict.exit()),
                (is_undecided, exit),
                "{limit_us}: {goal:?}"
            );
        }
        let open = verdict_within(84_000, slo, |_| {});
        let goal = open.goals.iter().find(|goal| !goal.pass).unwrap();
        assert_eq!(goal.result, "undecided: ±84.0 µs");
        assert_eq!(
            goal.shortfall(),
            "e2e_max 1.12 ms ±84.0 µs (allowed <= 1.20 ms) undecided: ±84.0 µs"
        );
        let lost = verdict_within(84_000, Slo::default(), |o| o.classes[0].lost = 1);
        let goal = lost.goals.iter().find(|goal| !goal.pass).unwrap();
        assert_eq!(
            (goal.result.as_str(), goal.shortfall()),
            ("missed", "loss 1 (allowed <= 0)".into())
        );
    }

    #[test]
    fn what_the_server_did_is_the_servers_and_no_goal_is_met() {
        let refused: fn(&mut Outcome) = |outcome| {
            outcome.ramp.connected = 7;
            outcome.ramp.errors.insert("status 503".to_owned(), 1_993);
        };
        let died: fn(&mut Outcome) = |outcome| {
            outcome.publishers.sent = 100;
            outcome.publishers.closes.insert("eof".to_owned(), 20);
        };
        for (change, said) in [(refused, "1993 x status 503"), (died, "20 x eof")] {
            let found = verdict(Slo::default(), change);
            assert_eq!(found.exit(), Exit::ServerFailed);
            let reasons = found.reasons();
            assert!(reasons[0].contains(said), "{reasons:?}");
            assert!(reasons[0].ends_with("; by the server"), "{reasons:?}");
            assert!(found.goals.iter().all(|goal| !goal.pass), "{:?}", found.goals);
        }
        let short = verdict(Slo::default(), |outcome| {
            outcome.ramp.connected = 7;
            outcome.ramp.errors.insert("no free port".to_owned(), 1_993);
        });
        assert_eq!(short.exit(), Exit::InvalidRun, "this host had no more ports");
        assert!(short.reasons()[0].ends_with("; by the generator"), "{:?}", short.reasons());
        let both = verdict(Slo::default(), |outcome| {
            outcome.threads[0].busy_max = 0.99;
            died(outcome);
        });
        assert_eq!(both.exit(), Exit::ServerFailed, "it ended whatever else happened");
    }

    #[test]
    fn an_invalid_run_is_invalid_whatever_else_it_is() {
        let verdict = verdict(Slo::default(), |o| {
            o.classes[0].lost = 7;
            o.threads[0].busy_max = 0.99;
        });
        assert_eq!(verdict.exit(), Exit::InvalidRun);
        assert!(verdict.reasons()[0].contains("thread busy: 99.00 % (pub-0)"));
    }
}
