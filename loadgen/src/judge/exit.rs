//! The exit codes of gridload, one row each. Must not decide which of them applies.

use std::process::ExitCode;

/// The result of the process, as scripts and CI jobs see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The run was valid and every goal was met, or nothing was measured and the command succeeded.
    Ok,
    /// Something failed that is neither the caller's input nor the measured server's doing.
    Internal,
    /// The command line, the scenario, or the size of the load for this host is wrong.
    Usage,
    /// A comparison found the candidate worse than the base.
    Regressed,
    /// The run was valid and at least one goal (SLO) was missed.
    SloViolated,
    /// The generator, the host or an interruption spoiled the run: its numbers prove nothing.
    InvalidRun,
    /// A comparison was undecided, and the caller asked for this to be an error.
    Inconclusive,
    /// The measured server refused connections, stopped taking frames, or ended.
    ServerFailed,
}

impl Exit {
    /// Every way to end, in the order of the codes.
    pub const ALL: [Exit; 8] = [
        Exit::Ok,
        Exit::Internal,
        Exit::Usage,
        Exit::Regressed,
        Exit::SloViolated,
        Exit::InvalidRun,
        Exit::Inconclusive,
        Exit::ServerFailed,
    ];

    /// The number given to the operating system.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::Regressed => 3,
            Exit::SloViolated => 4,
            Exit::InvalidRun => 5,
            Exit::Inconclusive => 6,
            Exit::ServerFailed => 7,
        }
    }

    /// The name of the exit code; for a run, `run.json` stores it as `verdict`.
    pub fn verdict(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Internal => "error",
            Exit::Usage => "usage",
            Exit::Regressed => "regressed",
            Exit::SloViolated => "slo-violated",
            Exit::InvalidRun => "invalid",
            Exit::Inconclusive => "inconclusive",
            Exit::ServerFailed => "server-failed",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_the_documentation_promises() {
        let rows: Vec<_> = Exit::ALL.iter().map(|e| (e.code(), e.verdict())).collect();
        assert_eq!(
            rows,
            [
                (0, "ok"),
                (1, "error"),
                (2, "usage"),
                (3, "regressed"),
                (4, "slo-violated"),
                (5, "invalid"),
                (6, "inconclusive"),
                (7, "server-failed")
            ]
        );
    }
}
