//! The tools of this build. Owns only whether it was built with them. Must not know any of them.

#[cfg(feature = "tools")]
pub use gridcast_tools::{augment, run};

#[cfg(not(feature = "tools"))]
pub use without::{augment, run};

#[cfg(not(feature = "tools"))]
mod without {
    use std::process::ExitCode;

    use clap::{ArgMatches, Command};

    /// There is nothing to add.
    pub fn augment(command: Command) -> Command {
        command
    }

    /// No line calls a tool.
    pub fn run(_: &ArgMatches) -> Option<ExitCode> {
        None
    }
}
