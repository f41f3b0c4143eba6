//! The `gridcast` program: the command line, and the engine behind it. Nothing else lives here.

use clap::Parser;
use gridcast::cli::{self, Cli};
use gridcast::server;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(Cli::parse(), |config, reloader| server::serve(config, Some(reloader), |_| ()))
}
