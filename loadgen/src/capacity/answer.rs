//! The answer of a search: the knee, the limiting factor, the cost model and its consequences. A
//! pure function of the points. Must not run, print or write anything.

use serde::Serialize;

use crate::capacity::load::Load;
use crate::capacity::model::Model;
use crate::capacity::plan::{Costs, Footprint, Needs, Planned, Prices};
use crate::capacity::point::{Point, Purpose};
use crate::capacity::search::{Above, Found, Trial};

/// The factor that limits the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "resource", content = "detail")]
pub enum LimitedBy {
    /// The server's CPUs are full.
    ServerCpu(String),
    /// TCP uses all the memory that the kernel allows it.
    KernelMemory(String),
    /// The server refuses connections, or ends.
    Server(String),
    /// A goal is missed although CPU time is left.
    Goal(String),
    /// The generator reached its limit before the server did.
    Generator(String),
    /// Other work on this host disturbs run after run.
    Neighbours(String),
    /// This host lacks the resources that the load needs.
    Host(String),
    /// The end of the search range.
    Range,
    /// No known factor.
    Unknown,
}

impl LimitedBy {
    /// Whether the server or its host is the limit.
    fn is_the_servers(&self) -> bool {
        use LimitedBy::{Goal, KernelMemory, Server, ServerCpu};
        matches!(self, Server(_) | ServerCpu(_) | KernelMemory(_) | Goal(_))
    }
}

/// The complete answer of a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The result of the search.
    pub found: Found,
    /// The factor that limits the load.
    pub limited_by: LimitedBy,
    /// The unchanged value of the control in the scenario.
    pub asked: u64,
    /// The confirmed value as a multiple of the scenario's value.
    pub headroom: Option<f64>,
    /// Deliveries per second at the largest load that passed.
    pub deliveries_per_s: Option<f64>,
    /// CPUs of the server at that load.
    pub server_cpus_busy: Option<f64>,
    /// The server's memory and CPU use.
    pub footprint: Footprint,
    /// The model of the CPU cost.
    pub model: Option<Model>,
    /// The error of the model for a run it was not fitted to.
    pub held_out: Option<HeldOut>,
    /// The cost of capacity, if prices were given.
    pub costs: Option<Costs>,
    /// The planned load and the resources it needs.
    pub plan: Option<(Planned, Needs)>,
}

/// The comparison of a model with a run that it was not fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeldOut {
    /// CPUs predicted by the model.
    pub predicted: f64,
    /// CPUs measured in the run.
    pub found: f64,
    /// The relative error of the model; positive if it predicts too much.
    pub error: f64,
}

/// Further inputs besides the search.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wanted {
    /// The value of the control in the scenario.
    pub asked: u64,
    /// The prices of cores and egress.
    pub prices: Option<Prices>,
    /// A load to plan for.
    pub plan: Option<Planned>,
    /// Cores per machine in that plan.
    pub plan_cores: u32,
}

/// The CPU share to plan with if the server's own limit was not reached.
const CPU_SHARE_ASSUMED: f64 = 0.7;
/// A server whose CPU share is above this is limited by its CPUs.
const FULL: f64 = 0.9;

impl Answer {
    /// Computes the answer from the points of a search.
    pub fn of(found: Found, points: &[Point], wanted: &Wanted) -> Answer {
        let best = best(&found, points);
        let (model, held_out) = fit(points);
        let limited_by = limited_by(&found, points);
        let footprint = footprint(points, best, limited_by.is_the_servers());
        let seen = points.iter().filter_map(Point::cost);
        let seen = seen.fold(Load::default(), |most, (load, _)| most.or_more(&load));
        let plan = wanted.plan.zip(model).map(|(plan, model)| {
            let needs = Needs::of(&plan.load(), &model, &footprint, wanted.plan_cores, &seen);
            (plan, needs)
        });
        Answer {
            found,
            limited_by,
            asked: wanted.asked,
            headroom: found.confirmed.map(|value| value as f64 / wanted.asked.max(1) as f64),
            deliveries_per_s: best.and_then(|point| point.deliveries_per_s),
            server_cpus_busy: best.and_then(|point| point.server_cpus_busy),
            costs: wanted.prices.and_then(|prices| costs(best?, &footprint, &prices)),
            footprint,
            model,
            held_out,
            plan,
        }
    }
}

/// The run that represents the answer: the longest run at the largest value that passed; of
/// several, the one with the highest cost.
fn best<'p>(found: &Found, points: &'p [Point]) -> Option<&'p Point> {
    let value = found.confirmed.or(found.seen)?;
    let held = points.iter().filter(|point| point.value == value && point.trial == Trial::Held);
    let searched = held.filter(|p| matches!(p.purpose, Purpose::Search | Purpose::Confirm));
    searched.max_by(|a, b| {
        let by_length = a.measured_s.unwrap_or(0.0).total_cmp(&b.measured_s.unwrap_or(0.0));
        let cpus = |point: &Point| point.server_cpus_busy.unwrap_or(0.0);
        by_length.then(cpus(a).total_cmp(&cpus(b)))
    })
}

fn limited_by(found: &Found, points: &[Point]) -> LimitedBy {
    let missed_at = found.missed.map(|value| Above { value, trial: Trial::Missed });
    let Some(above) = missed_at.or(found.above) else {
        return if found.confirmed.is_some() { LimitedBy::Range } else { LimitedBy::Unknown };
    };
    let ends = points.iter().filter(|p| p.value == above.value && p.trial == above.trial);
    let mut searched = ends.filter(|p| matches!(p.purpose, Purpose::Search | Purpose::Confirm));
    let Some(point) = searched.next_back() else { return LimitedBy::Unknown };
    let reason = point.reasons.first().cloned().unwrap_or_default();
    match above.trial {
        Trial::Held => LimitedBy::Unknown,
        Trial::Refused => LimitedBy::Host(reason),
        Trial::Invalid => LimitedBy::Generator(reason),
        Trial::Disturbed => LimitedBy::Neighbours(reason),
        Trial::Missed if point.has_server_failed => LimitedBy::Server(reason),
        Trial::Missed => missed(point),
    }
}

fn missed(point: &Point) -> LimitedBy {
    let goals = point.missed.join(", ");
    let full = point.cpu_share().is_some_and(|share| share >= FULL);
    if point.tcp_memory_share.is_some_and(|share| share >= 1.0) {
        LimitedBy::KernelMemory(goals)
    } else if full {
        LimitedBy::ServerCpu(goals)
    } else {
        LimitedBy::Goal(goals)
    }
}

/// Fits the model to all points except the one it is then compared with.
fn fit(points: &[Point]) -> (Option<Model>, Option<HeldOut>) {
    let (out, known): (Vec<_>, Vec<_>) =
        points.iter().partition(|point| point.purpose == Purpose::HeldOut);
    let costs: Vec<_> = known.into_iter().filter_map(Point::cost).collect();
    let model = Model::fit(&costs);
    let held_out = model.and_then(|model| {
        let (load, found) = out.into_iter().find_map(Point::cost)?;
        let predicted = model.cpus(&load);
        Some(HeldOut { predicted, found, error: model.error(&load, found) })
    });
    (model, held_out)
}

/// The memory per connection is taken from the run with the most connections, which gives the best
/// estimate.
fn footprint(points: &[Point], best: Option<&Point>, is_at_limit: bool) -> Footprint {
    let valid = || points.iter().filter(|point| point.is_valid());
    let connections = |point: &Point| point.load.connections;
    let largest = valid().max_by(|a, b| connections(a).total_cmp(&connections(b)));
    let of = |read: fn(&Point) -> Option<f64>| largest.and_then(read).unwrap_or(0.0);
    let user_bytes_per_connection = of(|point| point.user_bytes_per_connection);
    let bases = valid().filter_map(|point| {
        Some(point.server_rss_bytes? - point.load.connections * user_bytes_per_connection)
    });
    let seen_share = best.and_then(Point::cpu_share);
    Footprint {
        base_bytes: bases.reduce(f64::min).unwrap_or(0.0).max(0.0),
        user_bytes_per_connection,
        kernel_bytes_per_connection: of(|point| point.kernel_bytes_per_connection),
        cpu_share: match seen_share {
            Some(share) if is_at_limit => share,
            seen => seen.unwrap_or(0.0).max(CPU_SHARE_ASSUMED),
        },
        is_cpu_share_seen: is_at_limit && seen_share.is_some(),
    }
}

fn costs(best: &Point, footprint: &Footprint, prices: &Prices) -> Option<Costs> {
    let cores = best.server_cpus_busy? / footprint.cpu_share.clamp(0.01, 1.0);
    Some(Costs::of(&best.load, best.subscribers as f64, cores, prices))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::capacity::point::Question;

    fn point(purpose: Purpose, value: u64, trial: Trial) -> Point {
        let subscribers = value as f64;
        let load = Load {
            connections: subscribers,
            deliveries_per_s: subscribers * 100.0,
            ..Load::default()
        };
        let question = Question { purpose, value, subscribers: value, load, server_cpus: None };
        let cpus = subscribers / 1_000.0;
        Point {
            trial,
            measured_s: Some(if purpose == Purpose::Confirm { 30.0 } else { 6.0 }),
            deliveries_per_s: Some(load.deliveries_per_s),
            server_cpus_busy: Some(cpus),
            server_cpus: Some(1.0),
            server_rss_bytes: Some(1e6 + subscribers * 2e3),
            user_bytes_per_connection: Some(2e3),
            kernel_bytes_per_connection: Some(3e3),
            missed: vec!["e2e_p99 30 ms (<= 20 ms)".to_owned()],
            has_server_failed: false,
            reasons: vec!["thread busy".to_owned()],
            ..Point::refused(&question, String::new(), PathBuf::new())
        }
    }

    fn found(above: Trial) -> Found {
        Found {
            confirmed: Some(400),
            seen: Some(400),
            confirm_runs: 2,
            confirm_held: 2,
            above: Some(Above { value: 420, trial: above }),
            missed: (above == Trial::Missed).then_some(420),
        }
    }

    fn points(above: Trial) -> Vec<Point> {
        vec![
            point(Purpose::Search, 100, Trial::Held),
            point(Purpose::Search, 400, Trial::Held),
            point(Purpose::Search, 420, above),
            point(Purpose::Confirm, 400, Trial::Held),
            point(Purpose::Probe, 200, Trial::Held),
            point(Purpose::HeldOut, 300, Trial::Held),
        ]
    }

    fn answer(above: Trial, points: &[Point]) -> Answer {
        let prices = Some(Prices { core_hour: 1.0, egress_gigabyte: 0.0 });
        let plan = "1000 subscribers x 100/s x 64B".parse().ok();
        let wanted = Wanted { asked: 50, prices, plan, plan_cores: 2 };
        Answer::of(found(above), points, &wanted)
    }

    #[test]
    fn everything_follows_from_the_points() {
        let answer = answer(Trial::Missed, &points(Trial::Missed));
        assert_eq!(answer.headroom, Some(8.0));
        assert_eq!(answer.server_cpus_busy, Some(0.4));
        assert!(answer.held_out.is_some_and(|out| out.error.abs() < 1e-9), "{answer:?}");
        let footprint = answer.footprint;
        assert_eq!(footprint.user_bytes_per_connection, 2e3);
        assert!((footprint.base_bytes - 1e6).abs() < 1e-3 && footprint.cpu_share == 0.4);
        assert!(footprint.is_cpu_share_seen);
        assert!(answer.costs.is_some_and(|c| (c.per_100k_subscribers_hour - 250.0).abs() < 1e-6));
        let (_, needs) = answer.plan.unwrap();
        assert!((needs.cpus_busy - 1.0).abs() < 0.01 && needs.machines == 2, "{needs:?}");
    }

    #[test]
    fn what_limits_is_told_by_the_run_that_did_not_hold() {
        let goals = || "e2e_p99 30 ms (<= 20 ms)".to_owned();
        let of = |above, change: fn(&mut Point)| {
            let mut points = points(above);
            change(&mut points[2]);
            answer(above, &points).limited_by
        };
        assert_eq!(of(Trial::Missed, |_| {}), LimitedBy::Goal(goals()));
        let full = of(Trial::Missed, |point| point.server_cpus_busy = Some(0.95));
        assert_eq!(full, LimitedBy::ServerCpu(goals()));
        let clogged = of(Trial::Missed, |point| point.tcp_memory_share = Some(1.1));
        assert_eq!(clogged, LimitedBy::KernelMemory(goals()));
        let failed = of(Trial::Missed, |point| point.has_server_failed = true);
        assert_eq!(failed, LimitedBy::Server("thread busy".to_owned()));
        let invalid = of(Trial::Invalid, |_| {});
        assert_eq!(invalid, LimitedBy::Generator("thread busy".to_owned()));
        let disturbed = of(Trial::Disturbed, |_| {});
        assert_eq!(disturbed, LimitedBy::Neighbours("thread busy".to_owned()));
        assert_eq!(of(Trial::Refused, |_| {}), LimitedBy::Host("thread busy".to_owned()));
        let open = Found { above: None, missed: None, ..found(Trial::Missed) };
        assert_eq!(limited_by(&open, &[]), LimitedBy::Range);
        let unseen = answer(Trial::Invalid, &points(Trial::Invalid)).footprint;
        assert_eq!((unseen.cpu_share, unseen.is_cpu_share_seen), (0.7, false));
        assert_eq!(limited_by(&Found { confirmed: None, ..open }, &[]), LimitedBy::Unknown);
    }

    #[test]
    fn without_runs_there_is_no_model_and_no_plan() {
        let nothing = Found { confirmed: None, seen: None, ..found(Trial::Missed) };
        let answer = Answer::of(nothing, &[], &Wanted::default());
        assert_eq!((answer.model, answer.plan, answer.headroom), (None, None, None));
        assert_eq!(answer.footprint.base_bytes, 0.0);
    }
}
