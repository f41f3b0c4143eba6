//! Executes the runs of a search: gives each its scenario, length and directory, waits for it, and
//! keeps the result as a point. Must not choose the next run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::capacity::control::Control;
use crate::capacity::error::CapacityError;
use crate::capacity::load::Load;
use crate::capacity::point::{Point, Purpose, Question};
use crate::capacity::search::Trial;
use crate::capacity::text;
use crate::cli::flags::capacity::CapacityArgs;
use crate::cli::options::RunOptions;
use crate::cli::overrides;
use crate::cli::overrides::ResolveError;
use crate::compare::child::{ChildRun, ChildRunError, fresh_directory};
use crate::observe::host;
use crate::observe::host::Partition;
use crate::os::output::note;
use crate::result::record::ResultDir;
use crate::result::run_file::RunFile;
use crate::scenario::scenario::Scenario;
use crate::time::clock::{UtcMap, mono_ns};

/// The longest ramp of a short run.
const RAMP: Duration = Duration::from_secs(2);
/// The highest ramp rate; more connections per second would be a test of their own.
const RAMP_PER_S_MAX: u64 = 4000;
/// The warm-up of a short run.
const WARMUP: Duration = Duration::from_secs(1);
/// The time a run needs besides its phases, for starting and ending processes and for the last
/// frames.
const OVERHEAD: Duration = Duration::from_secs(3);

/// Executes runs and keeps their points.
pub struct Runner<'a> {
    args: &'a CapacityArgs,
    name: &'a str,
    /// The flags of every run, including goals.
    options: RunOptions,
    partition: Partition,
    directory: PathBuf,
    started_ns: u64,
    points: Vec<Point>,
}

impl<'a> Runner<'a> {
    /// Creates the directory of the results; starts no run.
    ///
    /// # Errors
    /// When the directory exists already.
    pub fn new(
        args: &'a CapacityArgs,
        name: &'a str,
        options: RunOptions,
        scenario: &Scenario,
    ) -> Result<Runner<'a>, CapacityError> {
        let directory = directory(options.out.as_deref(), &scenario.name)?;
        let started_ns = mono_ns();
        let (partition, points) = (Partition::of_host(), Vec::new());
        Ok(Runner { args, name, options, partition, directory, started_ns, points })
    }

    /// The directory of all results.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The points so far.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(mono_ns().saturating_sub(self.started_ns))
    }

    /// Whether a run would end in time and leave this much time after it.
    pub fn has_time(&self, run: &Scenario, reserve: Duration) -> bool {
        self.elapsed() + length(run) + reserve <= self.args.budget
    }

    /// The flags of a run with this value of the control.
    pub fn options_at(&self, value: u64) -> RunOptions {
        let mut options = self.options.clone();
        self.args.control.set(&mut options, value);
        options
    }

    /// The scenario of a run for this purpose.
    ///
    /// # Errors
    /// When the flags contradict the scenario.
    pub fn scenario(
        &self,
        purpose: Purpose,
        options: &RunOptions,
    ) -> Result<Scenario, ResolveError> {
        let mut scenario = overrides::resolve(self.name, options)?;
        scenario.slip_percent = options.slip_limit.or(scenario.slip_percent);
        if purpose != Purpose::Confirm {
            scenario.phases.warmup = scenario.phases.warmup.min(WARMUP);
            scenario.phases.measure = self.args.point;
        }
        if options.connect_rate.is_none() {
            let quick = (scenario.subscriber_sockets() / RAMP.as_secs()).min(RAMP_PER_S_MAX);
            for group in &mut scenario.subscribers {
                group.ramp_per_s = group.ramp_per_s.max(quick as u32);
            }
        }
        Ok(scenario)
    }

    /// Runs a scenario, keeps and prints its point, and returns the outcome.
    ///
    /// # Errors
    /// When there is no result, except if the load is too large for this host.
    pub fn run(
        &mut self,
        purpose: Purpose,
        value: u64,
        scenario: &Scenario,
    ) -> Result<Trial, CapacityError> {
        let name = format!("{:02}-{}-{value}", self.points.len(), purpose.name());
        let directory = self.directory.join("runs").join(name);
        let question = Question {
            purpose,
            value,
            subscribers: Control::Subscribers.of(scenario),
            load: Load::of(scenario),
            server_cpus: self.args.server.as_ref().map(|_| self.partition.server.len()),
        };
        let point =
            match self.call(&directory, scenario) {
                Ok(file) => Point::of(&question, &file),
                // Wrong flags already show in the first run; in later runs a refusal means that the
                // load is too large.
                Err(CapacityError::Run(ChildRunError::NoResult {
                    is_refusal: true, said, ..
                })) if !self.points.is_empty() => Point::refused(&question, said, directory),
                // What had held before the server gave up still did.
                Err(CapacityError::Run(
                    error @ (ChildRunError::NoResult { is_servers: true, .. }
                    | ChildRunError::Server(_)),
                )) if !self.points.is_empty() => {
                    let said = error.to_string();
                    let refused = Point::refused(&question, said, directory);
                    Point { trial: Trial::Missed, has_server_failed: true, ..refused }
                }
                Err(error) => return Err(error),
            };
        note(text::line(&point));
        let trial = point.trial;
        self.points.push(point);
        Ok(trial)
    }

    fn call(&self, directory: &Path, scenario: &Scenario) -> Result<RunFile, CapacityError> {
        let asked = directory.join("asked.toml");
        let written = fs::create_dir_all(directory);
        let written = written.and_then(|()| fs::write(&asked, scenario.to_toml()));
        written.map_err(|cause| CapacityError::Write { path: asked.clone(), cause })?;
        let mut args = vec![asked.display().to_string()];
        args.extend(host_flags(&self.options));
        let (server, partition) = (self.args.server.as_deref(), &self.partition);
        Ok(ChildRun { directory, args: &args, server, partition }.call()?)
    }
}

/// The estimated duration of a run.
pub fn length(scenario: &Scenario) -> Duration {
    let ramp_s = scenario.subscribers.iter().map(|g| g.sockets() / u64::from(g.ramp_per_s.max(1)));
    let ramp = Duration::from_secs(ramp_s.max().unwrap_or(0));
    ramp + scenario.phases.warmup + scenario.phases.measure + OVERHEAD
}

fn directory(wanted: Option<&Path>, scenario: &str) -> Result<PathBuf, CapacityError> {
    if let Some(path) = wanted {
        fresh_directory(path)?;
        return Ok(path.to_owned());
    }
    let unix_ns = UtcMap::sample().unix_of_mono(mono_ns());
    let made = ResultDir::create(None, &format!("{scenario}-capacity"), unix_ns);
    let wrong = |cause: io::Error| CapacityError::Write { path: "gridload-results".into(), cause };
    Ok(made.map_err(wrong)?.path().to_owned())
}

/// The options a scenario file cannot hold: how the server is reached, and the host.
fn host_flags(options: &RunOptions) -> Vec<String> {
    let scheme = |tls: bool| if tls { "wss" } else { "ws" };
    let target = options.target.as_ref();
    let target = target.map(|url| format!("{}://{}", scheme(url.tls), url.authority));
    let path = |path: &PathBuf| path.display().to_string();
    let valued = [
        ("--target", target),
        ("--target-pid", options.target_pid.map(|pid| pid.to_string())),
        ("--token", options.token.clone()),
        ("--tls-ca", options.tls_ca.as_ref().map(path)),
        ("--engine-cores", options.engine_cores.map(|cores| cores.to_string())),
        ("--threads", options.threads.map(|threads| threads.to_string())),
        ("--cpus", options.cpus.as_ref().map(|list| host::cpu_list(&list.0))),
    ];
    let valued = valued.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
    let set = options.engine_set.iter().map(|set| ["--engine-set".to_owned(), set.clone()]);
    let mut flags: Vec<_> = valued.chain(set).flatten().collect();
    let switches = [("--tls-insecure", options.tls_insecure), ("--count", options.count)];
    flags.extend(switches.into_iter().filter(|(_, is_on)| *is_on).map(|(flag, _)| flag.to_owned()));
    // Writes beyond the engine's expected capacity are allowed, because the search looks for that
    // limit.
    flags.push("--force".to_owned());
    flags
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::command::{Cli, Command};

    #[test]
    fn flags_that_no_scenario_can_hold_are_passed_on() {
        let own = ["gridload", "run", "x"];
        let flags = [
            "--target",
            "wss://h:1",
            "--target-pid",
            "7",
            "--token",
            "t",
            "--tls-ca",
            "ca.pem",
            "--threads",
            "2",
            "--cpus",
            "1,3",
            "--count",
        ];
        let parse = |args: Vec<&str>| match Cli::try_parse_from(args).unwrap().command {
            Some(Command::Run(args)) => args.options,
            other => panic!("{other:?}"),
        };
        let flags_passed = host_flags(&parse([&own[..], &flags[..]].concat()));
        assert_eq!(flags_passed, [&flags[..], &["--force"]].concat());
        let flags = ["--engine-cores", "2", "--engine-set", "a.b=1", "--engine-set", "c.d=2"];
        let flags_passed = host_flags(&parse([&own[..], &flags[..]].concat()));
        assert_eq!(flags_passed, [&flags[..], &["--force"]].concat());
        let again =
            [&own[..], &flags_passed.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
        assert!(parse(again).force, "a run takes them");
    }
}
