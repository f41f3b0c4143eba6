//! What the program says on its two outputs. A reader that has gone (a closed pipe, a full disk)
//! ends the output, never the run behind it: results are files, and are written first. Must not
//! know what is said.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line on the standard output.
pub fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        // Whoever closes a pipe wants no more of it; a full disk is news.
        note(format_args!("gridload: the standard output takes no more: {error}"));
    }
}

/// Prints a line on the standard error.
pub fn note(line: impl Display) {
    // Where this fails there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
