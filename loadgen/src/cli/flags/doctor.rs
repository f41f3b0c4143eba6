//! The flags of the examination of a host. Must not act on any of them.

use clap::Args;

use crate::cli::options::RunArgs;

const DOCTOR_HELP: &str = "\
Shows every limit of this host and what the load needs. TOO LOW means that the
load cannot run completely; advice means that results could be better. All
flags of `run` are accepted, since they change the load. Exits with 0 if the
load fits, with 2 if it does not.

  gridload doctor substation --subscribers 100000
  gridload doctor control-room --target ws://10.0.0.5:9400 --fix";

/// The load to examine this host for.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub struct DoctorArgs {
    /// The load.
    #[command(flatten)]
    pub run: RunArgs,
    /// Raise the kernel's settings and the calling shell's soft limit of open files as far as
    /// needed, and report each change [default: only print the commands].
    #[arg(long)]
    pub fix: bool,
}
