//! The effect of a signal on a run: the first requests its end, the second ends the process with
//! the exit code of an invalid run. Must not wait for signals itself.

use std::io;
use std::sync::Arc;

use crate::judge::exit::Exit;
use crate::observe::progress::Progress;
use crate::os::interrupt::Interrupt;

/// Waits for signals that concern this run.
///
/// # Errors
/// When the system refuses the handlers or the thread.
pub fn watch_signals(progress: &Arc<Progress>) -> io::Result<Interrupt> {
    let progress = Arc::clone(progress);
    // The embedded engine ends together with this process.
    Interrupt::watch(move || progress.request_stop(), Exit::InvalidRun.code())
}
