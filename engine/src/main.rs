//! The `gridcast` program: the command line, and the engine behind it. Nothing else lives here.

use clap::Parser;
use gridcast::cli;
use gridcast::cli::Cli;
use gridcast::engine::serve;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(Cli::parse(), |config, reloader| serve::run(config, Some(reloader), |_| ()))
}
