//! The `gridload` program: parses the command line, hands it on, turns the answer into an exit
//! code. Must not do anything else.

use std::io;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use gridload::agents::agent;
use gridload::cli::command::{Cli, Command};
use gridload::cli::flags::merge::MergeArgs;
use gridload::cli::options::RunArgs;
use gridload::cli::{help, merge, report, session};
use gridload::compare::{ab, trend};
use gridload::judge::exit::Exit;
use gridload::os::output::note;
use gridload::replay::{capture, recorder, replay};
use gridload::server::{embedded, external};
use gridload::{capacity, compare, doctor, selftest};

fn main() -> ExitCode {
    let cli = help::parse();
    log_to_stderr();
    let outcome = match cli.command {
        None => run(&RunArgs { scenario: None, options: cli.options }),
        Some(Command::Run(args)) => run(&args),
        Some(Command::Check(args)) => session::check(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Report(args)) => report::run(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Merge(args)) => merge(&args),
        Some(Command::Compare(args)) => compare::run(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Ab(args)) => match Cli::check_run(args.run_args()) {
            Ok(()) => ab::run(&args).map_err(|e| (e.to_string(), e.exit())),
            Err(error) => Err((error.to_string(), Exit::Usage)),
        },
        Some(Command::Trend(args)) => trend::run(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Capture(args)) => capture::run(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Record(args)) => recorder::run(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Replay(args)) => {
            let command = session::command_line(std::env::args());
            replay::run(&args, &command).map_err(|e| (e.to_string(), e.exit()))
        }
        Some(Command::Selftest(args)) => {
            selftest::run(&args).map_err(|e| (e.to_string(), e.exit()))
        }
        Some(Command::Capacity(args)) => {
            capacity::run(&args).map_err(|e| (e.to_string(), e.exit()))
        }
        Some(Command::Doctor(args)) => doctor::run(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Agent(args)) => agent::run(&args).map_err(|e| (e.to_string(), e.exit())),
        Some(Command::Load(_)) => {
            Err(("`load` is a page of help: gridload help load".to_owned(), Exit::Usage))
        }
        Some(Command::Scenarios) => Ok(session::list()),
        Some(Command::Engine(args)) => match embedded::serve(&args) {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err((error.to_string(), Exit::Internal)),
        },
        Some(Command::Launch(args)) => match external::launch(&args) {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err((error.to_string(), Exit::Internal)),
        },
    };
    outcome.unwrap_or_else(|(message, exit)| print_error(&message, exit)).into()
}

/// Warnings by default; `GRIDLOAD_LOG=debug` tells more.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("GRIDLOAD_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A log line that nobody takes is no reason to end.
        .log_internal_errors(false)
        .init();
}

fn run(args: &RunArgs) -> Result<Exit, (String, Exit)> {
    let command = session::command_line(std::env::args());
    session::run(args, &command).map_err(|error| (error.to_string(), error.exit()))
}

fn merge(args: &MergeArgs) -> Result<Exit, (String, Exit)> {
    let command = session::command_line(std::env::args());
    merge::run(args, &command).map_err(|error| (error.to_string(), error.exit()))
}

fn print_error(message: &str, exit: Exit) -> Exit {
    note(format_args!("gridload: {message}"));
    exit
}
