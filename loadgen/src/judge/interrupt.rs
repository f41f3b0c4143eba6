//! What a signal means for a run: the first asks for its end, the second ends the process with the
//! exit code of an invalid run. Must not wait for signals itself.

use std::io;
use std::sync::Arc;

use crate::judge::exit::Exit;
use crate::observe::progress::Progress;
use crate::os::interrupt::Interrupt;

/// Watches for signals that concern this run.
///
/// # Errors
/// When the system gives neither handlers nor a thread.
pub fn watch_signals(progress: &Arc<Progress>) -> io::Result<Interrupt> {
    let progress = Arc::clone(progress);
    // The embedded engine ends with this process.
    Interrupt::watch(move || progress.request_stop(), Exit::InvalidRun.code())
}
