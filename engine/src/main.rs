//! The `gridcast` program: the command line, and the engine behind it. Nothing else lives here.

use clap::Parser;
use gridcast::cli;
use gridcast::cli::Cli;
use gridcast::engine;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(Cli::parse(), |config, reloader| engine::serve(config, Some(reloader), |_| ()))
}
