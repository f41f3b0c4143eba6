//! Why the self-test has no result. Must not print it.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

use crate::drive::run::RunError;
use crate::judge::exit::Exit;
use crate::plan::budget::Refusal;
use crate::scenario::section::ScenarioError;

/// Why there is no verdict on the instrument.
#[derive(Debug, Error)]
pub enum SelftestError {
    /// The operating system refused something.
    #[error("{action}: {cause}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        cause: io::Error,
    },
    /// The load of a trial is no scenario: a bug.
    #[error("a trial's load: {0}")]
    Scenario(#[from] ScenarioError),
    /// The host cannot carry even this little.
    #[error("this host cannot carry a trial: {0:?}")]
    Refused(Vec<Refusal>),
    /// A trial could not be run.
    #[error("a trial failed: {0}")]
    Run(#[from] RunError),
    /// The rows cannot be written.
    #[error("--json {}: {cause}", path.display())]
    Json {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl SelftestError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            SelftestError::Json { .. } => Exit::Usage,
            _ => Exit::Internal,
        }
    }
}
