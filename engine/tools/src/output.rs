//! What the tools write, and how they end. Owns that a reader who has gone is no failure. Must not
//! know what is written.

use std::io::{self, Write};

use gridcast_client::Error;

/// Why a tool did not do all.
#[derive(Debug)]
pub enum Failure {
    /// Nobody reads the output any more.
    BrokenPipe,
    /// The command line is wrong.
    Usage(String),
    /// Something else.
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(text) => Self::Usage(text),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Writes a line to the standard output; it is shown at once where nothing follows.
///
/// # Errors
/// [`Failure::BrokenPipe`], or what else the system says.
pub fn line(out: &mut impl Write, text: &str, is_last: bool) -> Result<(), Failure> {
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    if is_last {
        out.flush()?;
    }
    Ok(())
}

/// Writes whole text to the standard output.
///
/// # Errors
/// As [`line`].
pub fn all(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A text without what a terminal would take for a command.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c }).collect()
}
