//! Why the self-test has no result. Must not print it.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

use crate::drive::run::RunError;
use crate::judge::exit::Exit;
use crate::plan::budget::Refusal;
use crate::scenario::section::ScenarioError;

/// Why the self-test has no verdict.
#[derive(Debug, Error)]
pub enum SelftestError {
    /// The operating system refused something.
    #[error("{action}: {cause}")]
    System {
        /// The operation that failed.
        action: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// The scenario of a trial is invalid, which is a bug.
    #[error("a trial's load: {0}")]
    Scenario(#[from] ScenarioError),
    /// The host cannot run even this small load.
    #[error("this host cannot carry a trial: {0:?}")]
    Refused(Vec<Refusal>),
    /// A trial could not be run.
    #[error("a trial failed: {0}")]
    Run(#[from] RunError),
    /// The rows cannot be written.
    #[error("--json {}: {cause}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
}

impl SelftestError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            SelftestError::Json { .. } => Exit::Usage,
            _ => Exit::Internal,
        }
    }
}
