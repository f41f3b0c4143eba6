//! The `gridcast` program: the command line, the engine behind it, and what is attached to that.
//! Nothing else lives here.

mod attached;

use std::process::ExitCode;

use clap::Parser;
use gridcast::cli::{self, Cli, Program};
use gridcast::engine::{StartError, serve};
use gridcast::settings::config::Config;
use gridcast::settings::layers::SettingsError;
use gridcast::settings::reload::Reloader;

fn main() -> ExitCode {
    cli::run(Cli::parse(), Gridcast)
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
