//! One run of the instrument against a null server with a fault. Owns the CPU layout of a trial,
//! and the repetition of a trial that the host disturbed. Must not judge the result.

use std::io;
use std::sync::Arc;

use crate::drive::run;
use crate::judge::health;
use crate::judge::health::{Gate, HealthLimits};
use crate::judge::verdict::Verdict;
use crate::observe::host;
use crate::observe::host::Partition;
use crate::observe::progress::Progress;
use crate::observe::sampler::Sampler;
use crate::observe::server_counters::CounterPage;
use crate::os::output::note;
use crate::plan::budget::{LayoutRequest, TargetKind};
use crate::plan::plan::{Destination, Disturbance, Plan};
use crate::plan::{budget, check};
use crate::receive::outcome::Outcome;
use crate::receive::outcome::class::ClassOutcome;
use crate::scenario::groups::ClassKind;
use crate::scenario::slo::Slo;
use crate::selftest::error::SelftestError;
use crate::selftest::fault::Fault;
use crate::selftest::null_server::{NullServer, Tally};
use crate::time::clock::{UtcMap, mono_ns};
use crate::time::units::SECOND_NS;

/// The CPUs of both sides.
#[derive(Debug)]
pub struct Bench {
    partition: Partition,
    /// The number of attempts for a trial that the host disturbs.
    tries: usize,
}

/// The inputs of a trial.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'t> {
    /// A scenario in TOML.
    pub load: &'t str,
    /// The fault of the server.
    pub fault: Fault,
    /// The fault of the instrument.
    pub disturbance: Disturbance,
}

/// The results of a trial.
#[derive(Debug)]
pub struct TrialResult {
    /// The outcome measured by the instrument.
    pub outcome: Outcome,
    /// The counts of the server.
    pub tally: Tally,
    /// The validity of the numbers, as in every run.
    pub gates: Vec<Gate>,
}

impl<'t> Trial<'t> {
    /// A trial with a load and a faulty server, without a fault in the instrument.
    pub fn of(load: &'t str, fault: Fault) -> Trial<'t> {
        Trial { load, fault, disturbance: Disturbance::default() }
    }
}

impl TrialResult {
    /// The class of the subscribers that read.
    pub fn healthy(&self) -> ClassOutcome {
        let classes = self.outcome.classes.iter();
        let mut healthy = classes.filter(|class| class.kind == ClassKind::Healthy).cloned();
        let none = || ClassOutcome::new(String::new(), ClassKind::Healthy);
        healthy.next().unwrap_or_else(none)
    }

    /// Whether the numbers are valid, that is, caused by the server and not by the host.
    pub fn is_undisturbed(&self) -> bool {
        self.is_undisturbed_except(&[])
    }

    /// The same, if the trial breaches these gates on purpose.
    pub fn is_undisturbed_except(&self, breached: &[&str]) -> bool {
        let holds = |gate: &Gate| gate.pass || breached.contains(&gate.name.as_ref());
        self.gates.iter().all(holds) && self.jitter_ns() <= JITTER_MAX_NS
    }

    /// The goals that the run misses although none is stated.
    pub fn missed_goals(&self) -> Vec<&'static str> {
        let verdict = Verdict::of(self.gates.clone(), &Slo::default(), &self.outcome, 0);
        verdict.goals.iter().filter(|goal| !goal.pass).map(|goal| goal.goal).collect()
    }

    /// Whether its gates make it invalid.
    pub fn is_invalid(&self) -> bool {
        !health::is_valid(&self.gates)
    }

    /// The wake-up lateness of both sides, p99.9, ns: latencies of this trial may be wrong by this
    /// much.
    pub fn jitter_ns(&self) -> i64 {
        let late = self.outcome.threads.iter().map(|thread| thread.gap.quantile(0.999));
        late.max().unwrap_or(0).max(self.tally.jitter_ns)
    }

    /// The names of the breached gates, with the measured values.
    pub fn breaches(&self) -> Vec<String> {
        let breached = self.gates.iter().filter(|gate| !gate.pass);
        breached.map(|gate| format!("{}: {}", gate.name, gate.measured)).collect()
    }
}

impl Bench {
    /// All CPUs this process may use, half of them for the null server.
    /// A trial that the host disturbs is attempted `tries` times.
    pub fn new(tries: usize) -> Bench {
        Bench { partition: Partition::of_host(), tries }
    }

    /// The CPUs of the instrument.
    pub fn generator_cpus(&self) -> &[usize] {
        &self.partition.generator
    }

    /// Runs a trial, again if the host disturbed it. Only the gates decide that, never the result.
    /// The last attempt counts in any case.
    ///
    /// # Errors
    /// When the trial cannot be run at all.
    pub fn run_undisturbed(&self, trial: Trial<'_>) -> Result<TrialResult, SelftestError> {
        for _ in 1..self.tries {
            let found = self.run_once(trial)?;
            if found.is_undisturbed() {
                return Ok(found);
            }
            note(format_args!(
                "      repeated, because other work disturbed the host: {}",
                found.breaches().join("; ")
            ));
        }
        self.run_once(trial)
    }

    /// Runs a trial.
    ///
    /// # Errors
    /// When the trial cannot be run at all.
    pub fn run_once(&self, trial: Trial<'_>) -> Result<TrialResult, SelftestError> {
        let server = NullServer::start(trial.fault, &self.partition.server)
            .map_err(|cause| SelftestError::System { action: "starting a null server", cause })?;
        let plan = self.plan(trial, &server)?;
        let (outcome, gates) = measured(&plan)?;
        Ok(TrialResult { outcome, gates, tally: server.tally() })
    }

    fn plan(&self, trial: Trial<'_>, server: &NullServer) -> Result<Plan, SelftestError> {
        let scenario = check::parse(trial.load)?;
        let layout_request = LayoutRequest {
            cpus: Some(self.partition.generator.clone()),
            ..LayoutRequest::default()
        };
        let target_kind = TargetKind::Server(server.address().ip());
        let budget = budget::fit(&scenario, &host::limits(), &layout_request, target_kind);
        let layout = budget.map_err(SelftestError::Refused)?.layout;
        let destination = Destination {
            target: server.address(),
            host: server.address().to_string(),
            token: None,
            tls: None,
            run_id: (UtcMap::sample().unix_of_mono(mono_ns()) / SECOND_NS) as u32,
        };
        let plan = Plan::build(&scenario, &layout, destination);
        Ok(Plan { disturbance: trial.disturbance, ..plan })
    }
}

fn measured(plan: &Plan) -> Result<(Outcome, Vec<Gate>), SelftestError> {
    let system = |cause: io::Error| SelftestError::System { action: "starting a sampler", cause };
    let progress = Arc::new(Progress::default());
    let sampler = Sampler::start(None, CounterPage::of(plan), None, Arc::clone(&progress));
    let sampler = sampler.map_err(system)?;
    let outcome = run::run(plan, &progress)?;
    let samples = sampler.finish().unwrap_or_default();
    let gates = health::gates(plan, &outcome, &samples, &limits());
    Ok((outcome, gates))
}

/// The limit of publish lateness is relaxed for shared hosts: lateness is included in the numbers
/// and does not make them wrong, as long as it is a small part of what is measured.
fn limits() -> HealthLimits {
    HealthLimits { slip_p999_of_period: 0.25, slip_p99_of_period: 0.10, ..HealthLimits::default() }
}

/// A host that wakes either side later than this at p99.9 cannot meet a bound of a millisecond.
const JITTER_MAX_NS: i64 = 3_000_000;
