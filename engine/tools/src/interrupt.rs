//! SIGINT and SIGTERM: the first asks a tool to end, the second ends it. Must not know what is
//! interrupted.

use std::io;
use std::process::{ExitCode, exit};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

/// As shells have it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit code of what was interrupted.
#[must_use]
pub fn code() -> ExitCode {
    ExitCode::from(INTERRUPTED)
}

/// Answers when the first signal comes.
///
/// # Errors
/// When signals cannot be had.
pub fn first() -> io::Result<oneshot::Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (telling, told) = oneshot::channel();
    thread::spawn(move || {
        let mut telling = Some(telling);
        for _ in signals.forever() {
            // Whoever was asked already, or has gone, is not waited for.
            let is_told = telling.take().is_some_and(|telling| telling.send(()).is_ok());
            if !is_told {
                exit(INTERRUPTED.into());
            }
        }
    });
    Ok(told)
}
