//! Why agents do not carry a load. Must not print it.

use std::io;
use thiserror::Error;

use crate::judge::exit::Exit;

/// Why agents do not carry a load.
#[derive(Debug, Error)]
pub enum AgentsError {
    /// It cannot be reached, or does not answer.
    #[error("agent {name}: {cause}; start it there with `gridload agent --listen …`")]
    Unreachable {
        /// Which.
        name: String,
        /// Why.
        cause: io::Error,
    },
    /// It refuses the task.
    #[error("agent {name}: {reason}")]
    Refused {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// Its connection was lost before the measurement began.
    #[error("agent {name} was lost before the start: {reason}")]
    Lost {
        /// Which.
        name: String,
        /// How.
        reason: String,
    },
    /// The operating system refused something.
    #[error("listening to an agent: {0}")]
    System(#[source] io::Error),
}

impl AgentsError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            AgentsError::Unreachable { .. } | AgentsError::Refused { .. } => Exit::Usage,
            AgentsError::Lost { .. } => Exit::InvalidRun,
            AgentsError::System(_) => Exit::Internal,
        }
    }
}
