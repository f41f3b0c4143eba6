//! One run from the command line to the exit code: scenario, budget, target, data plane, verdict,
//! report, record. Must not measure anything itself.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::agents::error::AgentsError;
use crate::agents::{AgentPool, Load, Shared};
use crate::cli::options::{RunArgs, RunOptions};
use crate::cli::overrides;
use crate::cli::overrides::ResolveError;
use crate::drive::run;
use crate::drive::run::RunError;
use crate::judge::exit::Exit;
use crate::judge::health;
use crate::judge::health::Gate;
use crate::judge::interrupt::watch_signals;
use crate::judge::verdict::Verdict;
use crate::observe::clocks::Clocks;
use crate::observe::efficiency::Efficiency;
use crate::observe::host;
use crate::observe::host::Environment;
use crate::observe::kernel_counters::KernelCounters;
use crate::observe::progress::Progress;
use crate::observe::sampler::{Sampler, Samples};
use crate::observe::server_counters::CounterPage;
use crate::os::output::{note, say};
use crate::os::tls::{TlsPlan, Trust};
use crate::plan::budget;
use crate::plan::budget::{Budget, Refusal, TargetKind};
use crate::plan::layout::Layout;
use crate::plan::plan::{Destination, Plan};
use crate::receive::outcome::Outcome;
use crate::report::html::HtmlError;
use crate::report::progress_view::ProgressView;
use crate::report::{html, text};
use crate::result::record::{RUN_FILE, Record, ResultDir, run_json};
use crate::result::run_file::RunFile;
use crate::scenario::builtin;
use crate::scenario::scenario::Scenario;
use crate::scenario::section::ScenarioError;
use crate::selftest::floor::TimingFloor;
use crate::server::certificate::Certificate;
use crate::server::embedded;
use crate::server::embedded::EngineError;
use crate::server::process::{ServerProcess, ended_well};
use crate::time::clock::{UtcMap, mono_ns};
use crate::time::units::SECOND_NS;

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The scenario is invalid or does not exist.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The host cannot carry the load.
    #[error("this host cannot carry the load:{}", listed(.0))]
    Refused(Vec<Refusal>),
    /// The target's name has no address.
    #[error("target `{authority}`: {cause}")]
    Target {
        /// `host:port`.
        authority: String,
        /// The reason.
        cause: io::Error,
    },
    /// The file of `--tls-ca` cannot be read.
    #[error("--tls-ca {path}: {cause}")]
    Authorities {
        /// Its path.
        path: String,
        /// The reason.
        cause: io::Error,
    },
    /// The result directory cannot be used.
    #[error("result directory: {0}")]
    Directory(io::Error),
    /// The operating system refused something that every run needs.
    #[error("{action}: {cause}")]
    System {
        /// The operation that failed.
        action: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// The embedded engine did not start.
    #[error("{cause}{log}")]
    Engine {
        /// The reason.
        cause: EngineError,
        /// The last lines of its log.
        log: String,
    },
    /// The data plane failed.
    #[error("the run failed: {0}")]
    Run(#[from] RunError),
    /// Agents cannot run the load.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// The result was written, but not its page.
    #[error(transparent)]
    Page(#[from] HtmlError),
}

impl SessionError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            SessionError::Resolve(_)
            | SessionError::Refused(_)
            | SessionError::Target { .. }
            | SessionError::Authorities { .. }
            | SessionError::Run(RunError::Tls(_))
            | SessionError::Directory(_) => Exit::Usage,
            // The run was ended before anything was measured, so it has no verdict.
            SessionError::Run(RunError::Stopped) => Exit::InvalidRun,
            SessionError::Run(error) if error.is_servers() => Exit::ServerFailed,
            SessionError::System { .. } | SessionError::Engine { .. } | SessionError::Run(_) => {
                Exit::Internal
            }
            SessionError::Agents(error) => error.exit(),
            SessionError::Page(error) => error.exit(),
        }
    }
}

fn listed(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("\n  - {refusal}")).collect()
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> SessionError {
    move |cause| SessionError::System { action, cause }
}

/// A scenario that fits this host.
struct FittedScenario {
    scenario: Scenario,
    budget: Budget,
}

impl FittedScenario {
    fn new(scenario: Scenario, options: &RunOptions) -> Result<FittedScenario, SessionError> {
        let server = server_of(&scenario)?;
        let target_kind = target_kind(server);
        host::raise_descriptor_limit().map_err(system("raising the limit of open files"))?;
        let layout_request = options.layout_request();
        let budget = budget::fit(&scenario, &host::limits(), &layout_request, target_kind)
            .map_err(SessionError::Refused)?;
        Ok(FittedScenario { scenario, budget })
    }
}

/// The server of a scenario, if it names one.
///
/// # Errors
/// When its name has no address.
pub fn server_of(scenario: &Scenario) -> Result<Option<SocketAddr>, SessionError> {
    scenario.target.authority.as_deref().map(address_of).transpose()
}

/// The data about a server that the budget needs.
pub fn target_kind(server: Option<SocketAddr>) -> TargetKind {
    server.map_or(TargetKind::Embedded, |server| TargetKind::Server(server.ip()))
}

/// The address of `host:port`.
///
/// # Errors
/// When it has none.
pub fn address_of(authority: &str) -> Result<SocketAddr, SessionError> {
    let wrong = |cause| SessionError::Target { authority: authority.to_owned(), cause };
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    authority.to_socket_addrs().map_err(wrong)?.next().ok_or_else(none).map_err(wrong)
}

/// Prints a scenario as it would be run, and the load it implies.
pub fn check(args: &RunArgs) -> Result<Exit, SessionError> {
    let fitted = FittedScenario::new(resolved(args)?, &args.options)?;
    say(format_args!("{}\n{}", fitted.scenario.to_toml(), implied(&fitted.budget)));
    Ok(Exit::Ok)
}

/// Lists the built-in scenarios.
pub fn list() -> Exit {
    for builtin in builtin::ALL {
        let about = Scenario::parse(builtin.text).map(|scenario| scenario.about);
        say(format_args!("{:<22}{}", builtin.name, about.unwrap_or_default()));
    }
    Exit::Ok
}

fn implied(budget: &Budget) -> String {
    let lines = budget.lines();
    lines.iter().map(|(name, value)| format!("# {name:<18}{value}\n")).collect()
}

fn resolved(args: &RunArgs) -> Result<Scenario, ResolveError> {
    overrides::resolve(args.scenario.as_deref().unwrap_or(builtin::DEFAULT), &args.options)
}

/// Runs a scenario, found by its name, to its verdict.
pub fn run(args: &RunArgs, command: &str) -> Result<Exit, SessionError> {
    if let Some(parent) = args.options.parent
        && !host::tie_to(parent).map_err(system("tying the run to what called it"))?
    {
        return Err(RunError::Stopped.into());
    }
    if !args.options.agents.is_empty() {
        return run_shared(args, command);
    }
    run_scenario(resolved(args)?, &args.options, command)
}

/// Runs a scenario to its verdict; `command` is the command line that repeats it.
///
/// # Errors
/// When there is no verdict.
pub fn run_scenario(
    scenario: Scenario,
    options: &RunOptions,
    command: &str,
) -> Result<Exit, SessionError> {
    let fitted = FittedScenario::new(scenario, options)?;
    note(format_args!(
        "{}: {}\n{}",
        fitted.scenario.name,
        fitted.scenario.about,
        implied(&fitted.budget)
    ));
    into_directory(options, &fitted.scenario.name.clone(), |directory, unix_ns| {
        run_into(directory, fitted, Invocation { options, command }, unix_ns)
    })
}

/// Creates the result directory, and removes it again if there are no results.
fn into_directory(
    options: &RunOptions,
    name: &str,
    run: impl FnOnce(&ResultDir, u64) -> Result<Exit, SessionError>,
) -> Result<Exit, SessionError> {
    let unix_ns = UtcMap::sample().unix_of_mono(mono_ns());
    let directory = ResultDir::create(options.out.as_deref(), name, unix_ns)
        .map_err(SessionError::Directory)?;
    let exit = run(&directory, unix_ns);
    if exit.is_err() {
        directory.remove_if_empty();
    }
    exit
}

/// The scenario to run.
#[derive(Clone, Copy)]
struct Invocation<'c> {
    options: &'c RunOptions,
    command: &'c str,
}

/// Runs a scenario on agents to its verdict.
fn run_shared(args: &RunArgs, command: &str) -> Result<Exit, SessionError> {
    let options = &args.options;
    let scenario = resolved(args)?;
    note(format_args!("{}: {}", scenario.name, scenario.about));
    into_directory(options, &scenario.name.clone(), |directory, unix_ns| {
        let Some(mut target) = Target::named(&scenario, options)? else {
            let cause = ScenarioError::Contradiction(NO_TARGET.to_owned());
            let origin = scenario.name.clone();
            return Err(ResolveError::Wrong { origin, cause }.into());
        };
        let destination = target.destination(options, unix_ns);
        let layout = Layout::default();
        let plan = Plan::build(&scenario, &layout, destination);
        let limits = options.health_limits(&scenario);
        let load = Load { scenario: &scenario, plan: &plan, limits };
        let pool = AgentPool::enlist(&options.agents, options.agent_secret.as_deref(), &load)?;
        let carry = |progress: &Progress| pool.run(&plan, progress);
        let process = MeasuredProcess { pid: target.pid, is_counted: options.count };
        let (shared, samples) = measure(&plan, process, carry)?;
        let Shared { outcome, mut gates, clocks } = shared;
        gates.extend(health::of_host(&plan, &samples, &limits));
        let pid = target.pid;
        target.stop();
        let finished = FinishedRun { scenario, layout, plan, outcome, samples, gates, clocks, pid };
        conclude(Invocation { options, command }, &finished, directory)
    })
}

fn run_into(
    directory: &ResultDir,
    fitted: FittedScenario,
    invocation: Invocation<'_>,
    unix_ns: u64,
) -> Result<Exit, SessionError> {
    let options = invocation.options;
    let mut target = Target::start(&fitted, options, directory)?;
    // Done after the engine has its own CPUs, so that it does not inherit these.
    if let Some(cpus) = &fitted.budget.layout.generator_cpus {
        host::pin(cpus).map_err(system("pinning the generator"))?;
    }
    let destination = target.destination(options, unix_ns);
    let FittedScenario { scenario, budget, .. } = fitted;
    let layout = budget.layout;
    let plan = Plan::build(&scenario, &layout, destination);
    let process = MeasuredProcess { pid: target.pid, is_counted: options.count };
    let (outcome, samples) = measure(&plan, process, |progress| run::run(&plan, progress))?;
    target.stop();
    let limits = options.health_limits(&scenario);
    let gates = health::gates(&plan, &outcome, &samples, &limits);
    let (clocks, pid) = (Clocks::default(), target.pid);
    let finished = FinishedRun { scenario, layout, plan, outcome, samples, gates, clocks, pid };
    conclude(invocation, &finished, directory)
}

/// The measured server.
struct Target {
    address: SocketAddr,
    host: String,
    pid: Option<u32>,
    engine: Option<ServerProcess>,
    /// Deleted together with the engine that uses it.
    certificate: Option<Certificate>,
    tls: Option<TlsPlan>,
}

impl Target {
    fn start(
        fitted: &FittedScenario,
        options: &RunOptions,
        directory: &ResultDir,
    ) -> Result<Target, SessionError> {
        if let Some(named) = Target::named(&fitted.scenario, options)? {
            return Ok(named);
        }
        let scenario = &fitted.scenario.target;
        let certificate = scenario.tls.then(Certificate::throw_away).transpose();
        let certificate = certificate.map_err(system("making a certificate"))?;
        let settings = engine_settings(fitted, certificate.as_ref(), options);
        let log = directory.engine_log().map_err(SessionError::Directory)?;
        let engine = embedded::launch(&fitted.budget.layout, &settings, log)
            .map_err(|cause| SessionError::Engine { cause, log: directory.engine_log_tail() })?;
        let tls = certificate.as_ref().map(|certificate| TlsPlan {
            name: engine.address().ip().to_string(),
            trust: Trust::Authorities(certificate.pem().into()),
        });
        let (address, pid) = (engine.address(), Some(engine.pid()));
        let host = address.to_string();
        Ok(Target { address, host, pid, engine: Some(engine), certificate, tls })
    }

    /// The server of the scenario, if it names one.
    fn named(scenario: &Scenario, options: &RunOptions) -> Result<Option<Target>, SessionError> {
        let (Some(address), Some(host)) = (server_of(scenario)?, &scenario.target.authority) else {
            return Ok(None);
        };
        let trust = || trust(options.tls_ca.as_deref(), options.tls_insecure);
        let tls = scenario.target.tls.then(|| trust().map(|trust| tls_of(host, trust)));
        let tls = tls.transpose()?;
        let (host, pid) = (host.clone(), options.target_pid);
        Ok(Some(Target { address, host, pid, engine: None, certificate: None, tls }))
    }

    /// The data about it that a plan needs.
    fn destination(&mut self, options: &RunOptions, unix_ns: u64) -> Destination {
        Destination {
            target: self.address,
            host: self.host.clone(),
            token: options.token.clone(),
            tls: self.tls.take(),
            run_id: (unix_ns / SECOND_NS) as u32,
        }
    }

    /// Stops the embedded engine. The results are complete already, so a failure is only reported.
    fn stop(&mut self) {
        let stopped = self.engine.take().map(ServerProcess::stop);
        self.certificate = None;
        match stopped {
            None => {}
            Some(Ok(status)) if ended_well(status) => {}
            Some(Ok(status)) => {
                note(format_args!("the embedded engine ended with {status}; see engine.log"));
            }
            Some(Err(error)) => {
                note(format_args!("the embedded engine could not be stopped: {error}"))
            }
        }
    }
}

/// The settings of the embedded engine for the scenario; the user's settings come last.
fn engine_settings(
    fitted: &FittedScenario,
    certificate: Option<&Certificate>,
    options: &RunOptions,
) -> Vec<String> {
    let mut settings: Vec<String> =
        certificate.into_iter().flat_map(Certificate::settings).collect();
    if fitted.scenario.subscribers.iter().any(|group| group.deflate) {
        settings.push("compression.enabled=true".to_owned());
    }
    let (connections, default) =
        (fitted.budget.engine_connections(), embedded::connections_default());
    if connections > default {
        settings.push(format!("limits.connections_max={connections}"));
    }
    settings.extend(options.engine_set.iter().cloned());
    settings
}

/// How to reach the server at `host:port`.
pub fn tls_of(authority: &str, trust: Trust) -> TlsPlan {
    let name = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    TlsPlan { name, trust }
}

/// The trusted certificates, from `--tls-ca` and `--tls-insecure`.
///
/// # Errors
/// When the file cannot be read.
pub fn trust(authorities: Option<&Path>, is_insecure: bool) -> Result<Trust, SessionError> {
    match authorities {
        _ if is_insecure => Ok(Trust::Anyone),
        None => Ok(Trust::System),
        Some(path) => fs::read(path)
            .map(Trust::Authorities)
            .map_err(|cause| SessionError::Authorities { path: path.display().to_string(), cause }),
    }
}

/// The measured process, if it runs on this host.
struct MeasuredProcess {
    pid: Option<u32>,
    /// Whether the kernel must count its work.
    is_counted: bool,
}

/// Runs a load, and samples the host and the server meanwhile.
fn measure<T, E: Into<SessionError>>(
    plan: &Plan,
    process: MeasuredProcess,
    carry: impl FnOnce(&Progress) -> Result<T, E>,
) -> Result<(T, Samples), SessionError> {
    let progress = Arc::new(Progress::default());
    let interrupt = watch_signals(&progress).map_err(system("watching for signals"))?;
    // Done before the first connection, because starting the counters disturbs the server.
    let kernel = process.is_counted.then(|| KernelCounters::of(process.pid));
    let page = CounterPage::of(plan);
    let sampler = Sampler::start(process.pid, page, kernel, Arc::clone(&progress))
        .map_err(system("starting the sampler"))?;
    let view = ProgressView::start(Arc::clone(&progress), plan.subscribers.len() as u64)
        .map_err(system("starting the display"))?;
    let carried = carry(&progress);
    view.finish();
    let samples = sampler.finish().unwrap_or_default();
    interrupt.finish();
    Ok((carried.map_err(E::into)?, samples))
}

/// A finished run and the conditions of its validity.
struct FinishedRun {
    scenario: Scenario,
    layout: Layout,
    plan: Plan,
    outcome: Outcome,
    samples: Samples,
    gates: Vec<Gate>,
    clocks: Clocks,
    pid: Option<u32>,
}

/// Judges, prints and writes a finished run.
fn conclude(
    invocation: Invocation<'_>,
    run: &FinishedRun,
    directory: &ResultDir,
) -> Result<Exit, SessionError> {
    let FinishedRun { scenario, plan, outcome, samples, .. } = run;
    let limits = invocation.options.health_limits(scenario);
    let bound_ns = run.clocks.bound_ns();
    let verdict = Verdict::of(run.gates.clone(), &scenario.slo, outcome, bound_ns);
    let connections = outcome.ramp.connected;
    let record = Record {
        command: invocation.command,
        scenario,
        plan,
        layout: &run.layout,
        environment: &Environment::read(),
        server_pid: run.pid,
        outcome,
        samples,
        efficiency: &Efficiency::of(samples, connections),
        clocks: &run.clocks,
        limits: &limits,
        verdict: &verdict,
    };
    // The result comes first: whoever reads the report may have gone.
    let written = directory.write(&record);
    say(text::render(&record));
    if let Some(floor) = TimingFloor::of_host(&record.environment.host_fingerprint) {
        say(floor);
    }
    written.map_err(SessionError::Directory)?;
    let path = directory.path();
    say(format_args!("result: {}", path.display()));
    if invocation.options.html {
        let page = html::page_in(path);
        html::write(RunFile { path: path.join(RUN_FILE), run: run_json(&record) }, &page)?;
        say(format_args!("report: {}", page.display()));
    }
    Ok(verdict.exit())
}

const NO_TARGET: &str = "agents share a server that all of them reach: give --target";

/// The command line in shell syntax, without the result directory of this run and without secrets.
pub fn command_line(mut args: impl Iterator<Item = String>) -> String {
    let program = args.next().unwrap_or_default();
    let mut words = vec![program.rsplit('/').next().unwrap_or_default().to_owned()];
    while let Some(arg) = args.next() {
        let (flag, value) = arg.split_once('=').map_or((arg.as_str(), None), |(f, v)| (f, Some(v)));
        match flag {
            "--out" | "--parent" if value.is_none() => drop(args.next()),
            "--out" | "--parent" => {}
            "--token" | "--agent-secret" => {
                if value.is_none() {
                    drop(args.next());
                }
                words.push(format!("{flag}=***"));
            }
            _ => words.push(shell_quoted(&arg)),
        }
    }
    words.join(" ")
}

fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,%+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_can_be_pasted_back() {
        let args = ["/opt/bin/gridload", "run", "a b", "--set", "x='1'", ""].map(str::to_owned);
        let with_out = ["gridload", "--out", "x", "--out=y", "--force"].map(str::to_owned);
        assert_eq!(command_line(with_out.into_iter()), "gridload --force");
        let with_token = ["gridload", "--token", "abc", "--token=abc", "run"].map(str::to_owned);
        assert_eq!(command_line(with_token.into_iter()), "gridload --token=*** --token=*** run");
        assert_eq!(command_line(args.into_iter()), r"gridload run 'a b' --set 'x='\''1'\''' ''");
    }

    #[test]
    fn usage_errors_and_internal_errors_differ() {
        assert_eq!(SessionError::Refused(Vec::new()).exit(), Exit::Usage);
        let engine = SessionError::Engine { cause: EngineError::Orphaned, log: String::new() };
        assert_eq!(engine.exit(), Exit::Internal);
        let error = address_of("no-such-host.invalid:1").unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
    }
}
