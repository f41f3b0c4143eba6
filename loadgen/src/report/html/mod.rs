//! Writes a result as one HTML page that works without a network. Must not compute or lay out
//! anything itself. The path: `document` → `timeline` → `heatmap`, `curve` and `quantities` with
//! `series` → `plot` with `scale` and `svg` → `page` with `tables`.

pub(crate) mod curve;
pub(crate) mod document;
#[cfg(test)]
mod fixtures;
pub(crate) mod heatmap;
pub(crate) mod over_time;
pub(crate) mod page;
pub(crate) mod plot;
pub(crate) mod quantities;
pub(crate) mod scale;
pub(crate) mod series;
pub(crate) mod svg;
pub(crate) mod tables;
pub(crate) mod timeline;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::judge::exit::Exit;
use crate::result::record::RUN_FILE;
use crate::result::run_file::{RunFile, RunFileError};

/// Why no page was written.
#[derive(Debug, Error)]
pub enum HtmlError {
    /// The directory holds no result.
    #[error(
        "{}: no {RUN_FILE} in it; name a directory that `gridload run` has written its result to",
        .0.display()
    )]
    NoRun(PathBuf),
    /// The result cannot be read.
    #[error(transparent)]
    Run(#[from] RunFileError),
    /// A result of this version has unexpected contents.
    #[error("{}: not what gridload writes: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: serde_json::Error,
    },
    /// Several pages would go into one file.
    #[error("--out names one file, and there are {0} results: leave it out, or name one directory")]
    OneFile(usize),
    /// The template does not fit the data.
    #[error("the page could not be made: {0}")]
    Template(#[from] minijinja::Error),
    /// The file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
}

impl HtmlError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            HtmlError::NoRun(_)
            | HtmlError::Run(_)
            | HtmlError::Malformed { .. }
            | HtmlError::OneFile(_) => Exit::Usage,
            HtmlError::Template(_) | HtmlError::Write { .. } => Exit::Internal,
        }
    }
}

/// Writes the page of a result.
///
/// # Errors
/// [`HtmlError`] when the directory holds no result, or the file cannot be written.
pub fn write(file: RunFile, page: &Path) -> Result<(), HtmlError> {
    let RunFile { path, run } = file;
    let document =
        serde_json::from_value(run).map_err(|cause| HtmlError::Malformed { path, cause })?;
    let text = page::render(&document)?;
    fs::write(page, text).map_err(|cause| HtmlError::Write { path: page.to_owned(), cause })
}

/// The default path of a result's page.
pub fn page_in(directory: &Path) -> PathBuf {
    directory.join("report.html")
}
