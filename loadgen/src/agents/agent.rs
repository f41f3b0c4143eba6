//! `gridload agent`: waits for a conductor, runs its share of a load, and reports the result. One
//! load at a time. Must not decide what the load is.

use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::agents::member::Member;
use crate::agents::message;
use crate::agents::message::{
    FromAgent, HELLO_BYTES_MAX, MESSAGE_BYTES_MAX, Report, Task, ToAgent, VERSION,
};
use crate::cli::flags::agent::AgentArgs;
use crate::drive::run;
use crate::judge::exit::Exit;
use crate::judge::health;
use crate::observe::host;
use crate::observe::host::Environment;
use crate::observe::progress::Progress;
use crate::observe::sampler::Sampler;
use crate::observe::server_counters::CounterPage;
use crate::plan::budget::TargetKind;
use crate::plan::plan::{Destination, Plan};
use crate::plan::{budget, check};
use crate::time::clock::UtcMap;

/// Why an agent cannot serve.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Without a token, anyone who reaches the agent could use this host to attack others.
    #[error(
        "{0} can be reached from other hosts: give --secret (or GRIDLOAD_AGENT_SECRET) here and to \
         the conductor, or --insecure if everybody who reaches this address may use this host"
    )]
    Open(SocketAddr),
    /// The agent cannot listen on the address.
    #[error("--listen {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        cause: io::Error,
    },
    /// The listener failed, so no more conductors can connect.
    #[error("accepting a conductor: {0}")]
    Accept(#[source] io::Error),
}

impl AgentError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            AgentError::Open(_) | AgentError::Listen { .. } => Exit::Usage,
            AgentError::Accept(_) => Exit::Internal,
        }
    }
}

/// Serves conductors one after the other, until the process ends.
///
/// # Errors
/// When the agent cannot serve.
pub fn run(args: &AgentArgs) -> Result<Exit, AgentError> {
    if !args.listen.ip().is_loopback() && args.secret.is_none() && !args.insecure {
        return Err(AgentError::Open(args.listen));
    }
    let failed = |cause| AgentError::Listen { address: args.listen, cause };
    let listener = TcpListener::bind(args.listen).map_err(failed)?;
    print(&format!("agent on {}", listener.local_addr().map_err(failed)?));
    loop {
        let (stream, conductor) = listener.accept().map_err(AgentError::Accept)?;
        // Each load has its own thread: the thread's CPU pinning ends with it, and the next load
        // may want other CPUs.
        let served = thread::scope(|scope| scope.spawn(|| serve(args, stream)).join());
        match served.unwrap_or_else(|_| Err("a thread panicked: a bug in the agent".to_owned())) {
            Ok(()) => print(&format!("{conductor}: done")),
            Err(reason) => print(&format!("{conductor}: {reason}")),
        }
        if args.once {
            return Ok(Exit::Ok);
        }
    }
}

fn print(line: &str) {
    // The output may be closed; the agent continues.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Serves one conductor, from its greeting to the report.
fn serve(args: &AgentArgs, stream: TcpStream) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    stream.set_nodelay(true).map_err(text)?;
    stream.set_read_timeout(Some(GREETING_MAX)).map_err(text)?;
    stream.set_write_timeout(Some(GREETING_MAX)).map_err(text)?;
    let (share, task) = match greet(args, &stream) {
        Ok(greeted) => greeted,
        Err(reason) => {
            let refused = FromAgent::Refused { reason: reason.clone() };
            message::write(&mut &stream, &refused).map_err(text)?;
            return Err(format!("refused: {reason}"));
        }
    };
    let utc = UtcMap::sample().behind(-i64::from(args.clock_ahead_ms) * 1_000_000);
    let progress = Arc::new(Progress::default());
    message::write(&mut &stream, &FromAgent::Prepared).map_err(text)?;
    let mut member = Member::new(stream, utc, Arc::clone(&progress)).map_err(text)?;
    let report = match carry(&share, &task, &progress, &member) {
        Ok(report) => FromAgent::Done(Box::new(report)),
        Err(reason) => FromAgent::Failed { reason },
    };
    member.send(&report).map_err(text)?;
    member.await_end();
    match report {
        FromAgent::Failed { reason } => Err(reason),
        _ => Ok(()),
    }
}

/// Authenticates a conductor and builds its plan; `Err`: why it is refused.
fn greet(args: &AgentArgs, stream: &TcpStream) -> Result<(Plan, Task), String> {
    // The conductor sends nothing before it is asked, so this reader's buffer loses no bytes.
    let mut from = BufReader::new(stream);
    match message::read(&mut from, HELLO_BYTES_MAX).map_err(|error| error.to_string())? {
        ToAgent::Hello { version, secret } => admit(args, &version, secret.as_deref())?,
        _ => return Err("a conductor says hello first".to_owned()),
    }
    let host = Environment::read().host_fingerprint;
    let welcome = FromAgent::Welcome { host };
    message::write(&mut &*stream, &welcome).map_err(|error| error.to_string())?;
    match message::read(&mut from, MESSAGE_BYTES_MAX).map_err(|error| error.to_string())? {
        ToAgent::Prepare(task) => Ok((plan(args, &task)?, *task)),
        _ => Err("a conductor sends its plan next".to_owned()),
    }
}

fn admit(args: &AgentArgs, version: &str, secret: Option<&str>) -> Result<(), String> {
    let known = args.secret.as_deref().unwrap_or_default();
    if !bool::from(known.as_bytes().ct_eq(secret.unwrap_or_default().as_bytes())) {
        return Err("the secret is not the one of this agent; see --agent-secret".to_owned());
    }
    if version != VERSION {
        return Err(format!("this agent is gridload {VERSION}, the conductor is {version}"));
    }
    Ok(())
}

/// The share of the plan, with a layout for this host.
fn plan(args: &AgentArgs, task: &Task) -> Result<Plan, String> {
    let scenario = check::parse(&task.scenario).map_err(|error| error.to_string())?;
    host::raise_descriptor_limit().map_err(|error| error.to_string())?;
    let mut share = task.part.of_scenario(&scenario);
    if !args.source_ip.is_empty() {
        share.target.source_ips.clone_from(&args.source_ip);
    }
    let target_kind = TargetKind::Server(task.target.ip());
    let budget = budget::fit(&share, &host::limits(), &args.layout_request(), target_kind);
    let budget = budget.map_err(|refusals| {
        let listed = refusals.iter().map(ToString::to_string).collect::<Vec<_>>();
        listed.join("; ")
    })?;
    let destination = Destination {
        target: task.target,
        host: task.host.clone(),
        token: task.token.clone(),
        tls: task.tls.clone(),
        run_id: task.run_id,
    };
    let whole = Plan::build(&scenario, &budget.layout, destination);
    Ok(whole.restricted(task.part, &budget.layout))
}

/// Runs the share; `Err`: why there is no report.
fn carry(
    plan: &Plan,
    task: &Task,
    progress: &Arc<Progress>,
    member: &Member,
) -> Result<Report, String> {
    member.await_ramp().map_err(|error| error.to_string())?;
    if let Some(cpus) = &plan.cpus {
        host::pin(cpus).map_err(|error| format!("pinning the generator: {error}"))?;
    }
    // The conductor samples the server.
    let sampler = Sampler::start(None, CounterPage::of(plan), None, Arc::clone(progress));
    let sampler = sampler.map_err(|error| format!("starting the sampler: {error}"))?;
    let performed = run::perform(plan, progress, member);
    let samples = sampler.finish().unwrap_or_default();
    let performed = performed.map_err(|error| error.to_string())?;
    let gates = health::gates(plan, &performed.outcome, &samples, &task.limits);
    Ok(Report { performed, gates })
}

/// The longest silence of a conductor before the load begins, and the longest time a write may
/// block.
const GREETING_MAX: Duration = Duration::from_secs(10);
