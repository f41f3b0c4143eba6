//! `gridload doctor`: finds what on this host limits a load, and prints the command that corrects
//! it. Reads the host, calls the judgement, repairs what it may, and prints. Must not judge
//! anything itself.
//!
//! The path: `kernel_files` → `facts` → `network`, `memory` and `processors`, each row a `limit`
//! → `text`; `repair` for what `--fix` changes.

mod case;
pub mod facts;
pub mod limit;
mod memory;
mod network;
mod processors;
pub mod repair;
pub mod text;

use crate::cli::flags::doctor::DoctorArgs;
use crate::cli::options::RunOptions;
use crate::cli::session::SessionError;
use crate::cli::{overrides, session};
use crate::doctor::case::Case;
use crate::doctor::facts::Facts;
use crate::doctor::limit::{Limit, State};
use crate::judge::exit::Exit;
use crate::observe::kernel_files::KernelFiles;
use crate::os::output::say;
use crate::plan::budget;
use crate::scenario::builtin;
use crate::scenario::scenario::Scenario;

/// Examines this host, repairs it if requested, and returns whether the load fits.
///
/// # Errors
/// When the scenario is invalid, or its server has no address.
pub fn run(args: &DoctorArgs) -> Result<Exit, SessionError> {
    let name = args.run.scenario.as_deref().unwrap_or(builtin::DEFAULT);
    let scenario = overrides::resolve(name, &args.run.options)?;
    let files = KernelFiles::of_host();
    let mut limits = examine(&scenario, &args.run.options, &Facts::read(&files))?;
    if args.fix {
        for line in repair::repair(&limits, &files) {
            say(format_args!("{line}"));
        }
        limits = examine(&scenario, &args.run.options, &Facts::read(&files))?;
    }
    say(text::render(&scenario, &limits));
    Ok(if fits(&limits) { Exit::Ok } else { Exit::Usage })
}

/// Every limit of a host for a load, in display order.
///
/// # Errors
/// When the scenario's server has no address.
pub fn examine(
    scenario: &Scenario,
    options: &RunOptions,
    facts: &Facts,
) -> Result<Vec<Limit>, SessionError> {
    let target_kind = session::target_kind(session::server_of(scenario)?);
    let (budget, refusals) =
        budget::assess(scenario, &facts.limits, &options.layout_request(), target_kind);
    let case = Case { scenario, facts, budget, refusals };
    Ok([network::limits(&case), memory::limits(&case), processors::limits(&case)].concat())
}

/// Whether no limit prevents the load.
pub fn fits(limits: &[Limit]) -> bool {
    limits.iter().all(|limit| limit.state != State::TooLow)
}
