//! The `gridcast` program: the command line, and the engine behind it. Nothing else lives here.

use clap::Parser;
use gridcast::cli::{self, Cli};
use gridcast::config::Config;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(Cli::parse(), serve)
}

/// Runs the engine until a signal ends it.
fn serve(_config: Config) -> Result<(), String> {
    Err("this build has no engine".to_owned())
}
