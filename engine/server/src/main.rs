//! The `gridcast` program: the command line, the engine behind it, and what is attached to that.
//! Nothing else lives here.

mod attached;
mod tools;

use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches};
use gridcast::cli::{self, Cli, Program};
use gridcast::engine::{StartError, serve};
use gridcast::settings::config::Config;
use gridcast::settings::layers::SettingsError;
use gridcast::settings::reload::Reloader;

fn main() -> ExitCode {
    let matches = command_line().get_matches();
    if let Some(code) = tools::run(&matches) {
        return code;
    }
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli::run(cli, Gridcast),
        Err(error) => error.exit(),
    }
}

/// The whole command line: of the engine, and of the tools of this build.
fn command_line() -> Command {
    tools::augment(Cli::command())
}

struct Gridcast;

impl Program for Gridcast {
    type Error = StartError;

    fn check(&self, config: &Config) -> Result<(), SettingsError> {
        attached::check(config)
    }

    fn serve(self, mut config: Config, reloader: Reloader) -> Result<(), StartError> {
        let tables = config.attached.clone();
        config.publishing = attached::publishing(&tables);
        serve::run(config, Some(reloader), |engine| attached::start(&tables, engine.handle()))
    }
}
