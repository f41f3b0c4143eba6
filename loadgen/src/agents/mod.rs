//! A load shared by several hosts: `gridload run --agents …` conducts it, and `gridload agent` runs
//! a share. Every host gets the same plan and takes every n-th publisher and subscriber. All start
//! at the same UTC second, agree on the number of published frames, and return histograms that can
//! be added exactly. Owns how the results are merged. Must not open sockets to the server.

pub mod agent;
mod conductor;
mod connection;
pub(crate) mod error;
mod member;
mod message;
mod offset;

use crate::agents::conductor::CollectedReports;
use crate::agents::connection::Agent;
use crate::agents::error::AgentsError;
use crate::agents::message::{Report, Task};
use crate::drive::run::RunResult;
use crate::drive::{publishers, ramp};
use crate::judge::health;
use crate::judge::health::{Gate, HealthLimits};
use crate::observe::clocks::{AgentClock, Clocks};
use crate::observe::progress::Progress;
use crate::os::output::note;
use crate::plan::part::Part;
use crate::plan::plan::Plan;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::{Outcome, PublisherOutcome, RampOutcome};
use crate::receive::spread::SpreadSamples;
use crate::scenario::scenario::Scenario;
use crate::time::clock::UtcMap;

/// The agents, each with its share.
pub struct AgentPool {
    agents: Vec<Agent>,
    utc: UtcMap,
}

/// The result of a shared load.
pub struct Shared {
    /// The merged outcome.
    pub outcome: Outcome,
    /// Its validity.
    pub gates: Vec<Gate>,
    /// The precision of the agents' clocks.
    pub clocks: Clocks,
}

impl AgentPool {
    /// Enlists agents for a plan.
    ///
    /// # Errors
    /// When an agent cannot be reached, or cannot run its share.
    pub fn enlist(
        names: &[String],
        secret: Option<&str>,
        load: &Load<'_>,
    ) -> Result<AgentPool, AgentsError> {
        let utc = UtcMap::sample();
        let of = names.len() as u32;
        let enlist = |(index, name): (u32, &String)| {
            Agent::enlist(name, secret, load.task(Part { index, of }), utc)
        };
        let agents = (0..).zip(names).map(enlist).collect::<Result<_, _>>()?;
        Ok(AgentPool { agents, utc })
    }

    /// Conducts the load.
    ///
    /// # Errors
    /// When an agent is lost before the start.
    pub fn run(mut self, plan: &Plan, progress: &Progress) -> Result<Shared, AgentsError> {
        let gathered = conductor::conduct(&mut self.agents, plan, self.utc, progress)?;
        let clocks = Clocks { agents: self.agents.iter().map(clock_of).collect() };
        let names: Vec<String> = self.agents.iter().map(|agent| agent.name.clone()).collect();
        for (name, reason) in &gathered.lost {
            note(format_args!("agent {name} was lost: {reason}"));
        }
        Ok(joined(gathered, &names, clocks, plan))
    }
}

/// A load as it is sent to every agent.
pub struct Load<'l> {
    /// The scenario, with the flags applied.
    pub scenario: &'l Scenario,
    /// Its plan, with the server addresses that agents connect to.
    pub plan: &'l Plan,
    /// The limits of a valid run.
    pub limits: HealthLimits,
}

impl Load<'_> {
    fn task(&self, part: Part) -> Task {
        let plan = self.plan;
        Task {
            scenario: self.scenario.to_toml(),
            part,
            target: plan.target,
            host: plan.host.clone(),
            token: plan.token.clone(),
            tls: plan.tls.clone(),
            run_id: plan.run_id,
            limits: self.limits,
        }
    }
}

fn clock_of(agent: &Agent) -> AgentClock {
    AgentClock {
        agent: agent.name.clone(),
        host: agent.host.clone(),
        ahead_ns: agent.clock.used().ahead_ns,
        bound_ns: agent.clock.bound_ns(),
    }
}

/// Merges the results of the agents.
fn joined(gathered: CollectedReports, names: &[String], clocks: Clocks, plan: &Plan) -> Shared {
    let CollectedReports { reports, windows, .. } = gathered;
    let reported = reports.len();
    let mut joint = MergedReports::new(plan);
    for (place, report) in reports {
        joint.add(names.get(place).map_or("?", String::as_str), report);
    }
    let MergedReports { mut outcome, arrivals, mut gates, ramps, published } = joint;
    outcome.ramp = ramp::merge(ramps);
    outcome.publishers = publishers::merge(published);
    outcome.spread = arrivals.finish();
    outcome.windows = windows;
    gates.insert(0, health::all_agents(reported, names.len()));
    gates.push(health::negatives(&outcome, clocks.bound_ns()));
    Shared { outcome, gates, clocks }
}

/// Partly merged results.
struct MergedReports {
    outcome: Outcome,
    arrivals: SpreadSamples,
    gates: Vec<Gate>,
    ramps: Vec<RampOutcome>,
    published: Vec<PublisherOutcome>,
}

impl MergedReports {
    fn new(plan: &Plan) -> MergedReports {
        MergedReports {
            outcome: Outcome {
                measured: plan.measure,
                classes: plan.classes.iter().map(ClassOutcome::of).collect(),
                ..Outcome::default()
            },
            arrivals: SpreadSamples::default(),
            gates: Vec::new(),
            ramps: Vec::new(),
            published: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, report: Report) {
        let Report { performed: RunResult { outcome: part, arrivals }, gates } = report;
        let outcome = &mut self.outcome;
        outcome.started_unix_ns = part.started_unix_ns;
        outcome.measured = outcome.measured.min(part.measured);
        for (into, class) in outcome.classes.iter_mut().zip(&part.classes) {
            into.merge(class);
        }
        outcome.threads.extend(part.threads.into_iter().map(|mut thread| {
            thread.name = format!("{name} {}", thread.name);
            thread
        }));
        self.arrivals.merge(arrivals);
        self.ramps.push(part.ramp);
        self.published.push(part.publishers);
        // Only the conductor knows the clock bounds, so only it can tell whether a latency is
        // certainly negative.
        let gates = gates.into_iter().filter(|gate| gate.name != health::NEGATIVES);
        let named = |gate: Gate| Gate { name: format!("{name} {}", gate.name).into(), ..gate };
        self.gates.extend(gates.map(named));
    }
}
