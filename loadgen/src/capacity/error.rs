//! Why a search has no answer. Must not print it.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

use crate::cli::overrides::ResolveError;
use crate::compare::child::ChildRunError;
use crate::judge::exit::Exit;

/// Why a search has no answer.
#[derive(Debug, Error)]
pub enum CapacityError {
    /// The scenario is invalid.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The range has no values.
    #[error("--from {from} lies above --to {to}")]
    Range {
        /// The start of the search.
        from: u64,
        /// The end of the search.
        to: u64,
    },
    /// A run left no result.
    #[error(transparent)]
    Run(#[from] ChildRunError),
    /// A file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
}

impl CapacityError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            CapacityError::Resolve(_) | CapacityError::Range { .. } => Exit::Usage,
            CapacityError::Run(error) => error.exit(),
            CapacityError::Write { .. } => Exit::Internal,
        }
    }
}
