//! The `gridcast` program: the command line, and the engine behind it. Nothing else lives here.

use clap::Parser;
use gridcast::cli::{self, Cli};
use gridcast::server;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(Cli::parse(), |config| server::run(config, |_| ()))
}
