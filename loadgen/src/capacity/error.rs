//! Why a search has no answer. Must not print it.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

use crate::cli::overrides::ResolveError;
use crate::compare::child::ChildRunError;
use crate::judge::exit::Exit;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CapacityError {
    /// No scenario.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The range has no values.
    #[error("--from {from} lies above --to {to}")]
    Range {
        /// Where the search should begin.
        from: u64,
        /// And end.
        to: u64,
    },
    /// A run without a result.
    #[error(transparent)]
    Run(#[from] ChildRunError),
    /// A file that cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl CapacityError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            CapacityError::Resolve(_) | CapacityError::Range { .. } => Exit::Usage,
            CapacityError::Run(error) => error.exit(),
            CapacityError::Write { .. } => Exit::Internal,
        }
    }
}
