//! The tools of the gridcast program: `pub`, `sub` and `top`, which are clients of a server, and
//! `doctor`, which examines this host. Owns which tool a command line calls. Must not know the
//! engine: a tool sees what any client does.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.

mod args;
mod doctor;
mod interrupt;
mod output;
mod publish;
mod server;
mod subscribe;
mod top;

use std::process::ExitCode;

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};

use args::Tool;
use output::Failure;

/// The command line of the program with the tools.
#[must_use]
pub fn augment(command: Command) -> Command {
    Tool::augment_subcommands(command)
}

/// Runs the tool that a command line calls; none where it calls none.
#[must_use]
pub fn run(matches: &ArgMatches) -> Option<ExitCode> {
    let tool = Tool::from_arg_matches(matches).ok()?;
    let done = match tool {
        Tool::Pub(args) => publish::run(&args),
        Tool::Sub(args) => subscribe::run(&args),
        Tool::Top(args) => top::run(&args),
        Tool::Doctor(args) => doctor::run(&args),
    };
    Some(match done {
        Ok(code) => code,
        // Whoever read the output has enough.
        Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => told(2, &text),
        Err(Failure::Failed(text)) => told(1, &text),
    })
}

fn told(code: u8, text: &str) -> ExitCode {
    eprintln!("gridcast: {text}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_help_fits_eighty_columns() {
        let mut command = augment(Command::new("gridcast").max_term_width(80));
        command.clone().debug_assert();
        for tool in ["pub", "sub", "top", "doctor"] {
            let line = ["gridcast", tool, "--help"];
            let page = command.try_get_matches_from_mut(line).unwrap_err().to_string();
            assert!(page.lines().count() <= 60, "{page}");
            assert!(page.lines().all(|row| row.chars().count() <= 80), "{page}");
            assert!(page.contains("Exit codes"), "{page}");
        }
    }
}
