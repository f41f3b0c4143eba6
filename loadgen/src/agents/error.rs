//! Why agents cannot run a load. Must not print it.

use std::io;
use thiserror::Error;

use crate::judge::exit::Exit;

/// Why agents cannot run a load.
#[derive(Debug, Error)]
pub enum AgentsError {
    /// An agent cannot be reached, or does not answer.
    #[error("agent {name}: {cause}; start it there with `gridload agent --listen …`")]
    Unreachable {
        /// The agent.
        name: String,
        /// The reason.
        cause: io::Error,
    },
    /// An agent refuses its share.
    #[error("agent {name}: {reason}")]
    Refused {
        /// The agent.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The connection to an agent was lost before the measurement began.
    #[error("agent {name} was lost before the start: {reason}")]
    Lost {
        /// The agent.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The operating system refused something.
    #[error("listening to an agent: {0}")]
    System(#[source] io::Error),
}

impl AgentsError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            AgentsError::Unreachable { .. } | AgentsError::Refused { .. } => Exit::Usage,
            AgentsError::Lost { .. } => Exit::InvalidRun,
            AgentsError::System(_) => Exit::Internal,
        }
    }
}
