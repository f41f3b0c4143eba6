//! The flags of the examination of a host. Must not act on any of them.

use clap::Args;

use crate::cli::options::RunArgs;

const DOCTOR_HELP: &str = "\
Every limit is shown with what the load needs: TOO LOW means that it will not
run whole, advice that results would be better otherwise. All flags of `run`
are taken, since they change what is needed. Ends with 0 if the load fits,
with 2 if it does not.

  gridload doctor substation --subscribers 100000
  gridload doctor control-room --target ws://10.0.0.5:9400 --fix";

/// A load that this host is examined for.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub struct DoctorArgs {
    /// The load.
    #[command(flatten)]
    pub run: RunArgs,
    /// Make the kernel's settings as large as needed, and the calling shell's soft limit of open
    /// files; says what it did and what it could not do [default: only say what would mend it].
    #[arg(long)]
    pub fix: bool,
}
